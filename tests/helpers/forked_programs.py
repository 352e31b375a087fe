"""Programs in processes of their own, without each one's wait for TensorFlow's import.

They are forked from one process that has imported it. All else is as with
`python -m pipelines.NAME`: arguments, streams, exit code, signals. That itself is to be
started by one test at least of each program (`afresh`).
"""

import multiprocessing
import os
import pathlib
import runpy
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).parents[2]
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        "dermgan_tf.models.dermgan.task",
        "dermgan_tf.judging.dermgan",
        "dermgan_tf.studies.ablation",
        "dermgan_tf.studies.augmentation",
        "dermgan_tf.generation.painting",
        "dermgan_tf.models.dermgan.served",
    ]
)


class ForkedProgram:
    """What is needed of subprocess.Popen."""

    def __init__(self, name: str, arguments: list[str]):
        # Closed with this object.
        self._streams = [tempfile.TemporaryFile() for _ in range(2)]  # noqa: SIM115
        self._process = CONTEXT.Process(
            target=_run,
            args=(name, arguments, [_Inherited(s) for s in self._streams]),
            daemon=True,
        )
        self._process.start()
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self, timeout: float) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            self._process.kill()
            raise subprocess.TimeoutExpired("program", timeout)
        return self._process.exitcode

    def communicate(self, timeout: float) -> tuple[str, str]:
        self.wait(timeout)
        for stream in self._streams:
            stream.seek(0)
        out, err = (stream.read().decode() for stream in self._streams)
        return out, err


def start_program(
    name: str, *arguments, afresh: bool = False
) -> ForkedProgram | subprocess.Popen:
    """Starts `pipelines.NAME` with these arguments.

    Args:
        name: of the program.
        arguments: what can be made to str.
        afresh: as people do, in a new Python.
    """
    arguments = list(map(str, arguments))
    if not afresh:
        return ForkedProgram(name, arguments)
    return subprocess.Popen(
        [sys.executable, "-m", f"pipelines.{name}", *arguments],
        cwd=ROOT,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_program(
    name: str, *arguments, afresh: bool = False
) -> subprocess.CompletedProcess:
    """Starts a program and waits for its end; see `start_program`."""
    process = start_program(name, *arguments, afresh=afresh)
    out, err = process.communicate(timeout=300)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


class _Inherited:
    """A file that goes to another process open."""

    def __init__(self, file):
        self._file = file

    def __reduce__(self):
        from multiprocessing.reduction import DupFd

        return _Inherited._opened, (DupFd(self._file.fileno()),)

    @staticmethod
    def _opened(duplicate) -> int:
        return duplicate.detach()


def _run(name: str, arguments: list[str], streams: list[int]) -> None:
    # As any program, it may start processes, which else a daemon must not.
    multiprocessing.current_process()._config.pop("daemon", None)
    for own, given in enumerate(streams, start=1):
        os.dup2(given, own)
        os.close(given)
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    sys.argv = [name, *arguments]
    runpy.run_module(f"pipelines.{name}", run_name="__main__", alter_sys=True)
