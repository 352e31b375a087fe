"""Runs programs as people do, but with a limit of memory and of time."""

import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).parents[2]


# A small process between the test's and the program's: a process that is started by a
# large one is told to have had the memory of that. macOS sets no such limit, and counts
# bytes where Linux counts kilobytes.
_LIMITED = """
import os, resource, subprocess, sys
limit, report, *arguments = sys.argv[1:]
linux = sys.platform == "linux"
if linux:
    resource.setrlimit(resource.RLIMIT_AS, (int(limit), int(limit)))
process = subprocess.Popen([sys.executable, *arguments])
_, status, usage = os.wait4(process.pid, 0)
with open(report, "w") as file:
    peak = usage.ru_maxrss >> (10 if linux else 20)
    file.write(f"{os.waitstatus_to_exitcode(status)} {peak}")
"""


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a program ended.

    Args:
        code: its exit code, below 0 the signal that ended it.
        stdout, stderr: str.
        peak: MiB that the largest of its processes had in memory.
    """

    code: int
    stdout: str
    stderr: str
    peak: int


def run_program(
    name: str, *flags: str, gigabytes: float = 8, seconds: float = 300, **env: str
) -> Ended:
    """Runs `python -m pipelines.<name>`; see `run_bounded`."""
    return run_bounded(
        ["-m", f"pipelines.{name}", *map(str, flags)], gigabytes, seconds, **env
    )


def run_bounded(
    arguments: list[str], gigabytes: float, seconds: float, **env: str
) -> Ended:
    """Runs Python with these arguments.

    Args:
        arguments: of Python.
        gigabytes: of address space that each of its processes may have.
        seconds: after these it is killed, and the code is -9.
        env: environment variables to add.
    """
    with tempfile.TemporaryDirectory() as folder:
        report, out, err = (pathlib.Path(folder, name) for name in ("r", "out", "err"))
        limit = str(int(gigabytes * 2**30))
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-c", _LIMITED, limit, report, *arguments],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
                env={**os.environ, **env},
            )
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        code, peak = report.read_text().split() if report.exists() else (-9, 0)
        texts = [path.read_text("utf-8", errors="replace") for path in (out, err)]
        return Ended(int(code), *texts, int(peak))
