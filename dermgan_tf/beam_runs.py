"""Work in parts, done by the workers of Apache Beam on one machine or many.

Beam gets the numbers of the parts and nothing else. A worker reads what a part is to do
from a file, and writes what came of it to another one, in a folder that all workers
reach. Images never go through Beam: its shuffles would copy them, and its local runner
would hold them all in memory.
"""

import contextlib
import dataclasses
import logging
import os
import pickle
import re
import shlex
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from etils import epath

from dermgan_tf.errors import InputError
from dermgan_tf.progress import silent
from dermgan_tf.remote_storage import is_remote, write_whole

# It warns of other extras that it lacks.
_disabled = logging.root.manager.disable
logging.disable(logging.WARNING)
try:
    import apache_beam as beam
    from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner
    from apache_beam.transforms.environments import SubprocessSDKEnvironment
except ImportError as error:
    raise InputError(
        f'Apache Beam cannot be imported ({error}): pip install "dermgan_tf[beam]"'
    ) from error
finally:
    logging.disable(_disabled)

_PARTS = "parts-{}.partial"  # the folder of what parts are to do, and have done
_LOCAL_POLL, _REMOTE_POLL = 0.3, 10.0  # seconds between looks at what is done
# How Beam tells the exception of a worker: the last line of its traceback.
_TOLD = re.compile(r"^(?:[\w.]+\.)?(\w+(?:Error|Exception))\b(?: \[.*?\])?: (.*)$")


@dataclasses.dataclass(frozen=True)
class BeamRun:
    """Where work is done.

    Args:
        runner: a Beam runner, e.g. "DirectRunner" (processes of this machine),
            "DataflowRunner", "FlinkRunner", "SparkRunner", "PortableRunner".
        folder: a folder that all workers and this process reach.
        options: of Beam and the runner, as on a command line: "--project=p", ….
        workers: int. Processes of DirectRunner; None = one a CPU core.
    """

    runner: str
    folder: str
    options: Sequence[str] = ()
    workers: int | None = None


def parse_options(values: Sequence[str]) -> list[str]:
    """Reads options written like those of `tfds build --beam_pipeline_options`.

    Args:
        values: each "key=value,key=value,flag"; or one option with leading dashes,
            that may have commas: "--environment_config={…}".

    Returns:
        options as on a command line: "--key=value".
    """
    options = []
    for value in values:
        if value.startswith("--"):
            options.append(value)
        else:
            names = (name.strip() for name in value.split(","))
            options += [f"--{name}" for name in names if name]
    return options


def run_parts(
    make_worker: Callable[[], Any],
    parts: Iterable[Sequence[Any]],
    run: BeamRun,
    progress: Callable[..., Iterable] = silent,
    desc: str = "",
) -> Iterator[Any]:
    """Does parts of work, and yields what came of them, in their order.

    A part may be done twice, by engines that try again: it has to come to the same.

    Args:
        make_worker: called in the workers, once a thread; can be pickled. What it
            returns has `do(number, part)`, whose result can be pickled, and `close()`.
        parts: their items can be pickled.
        run: where.
        progress: shows how many items are done; see `dermgan_tf.progress`.
        desc: str. What the progress bar says.

    Raises:
        InputError: if a worker raised one, an OSError, or was killed.
        RuntimeError: with the text of what else it raised.
    """
    # Of this run alone: what is left of a killed one finds nothing, and ends.
    folder = epath.Path(run.folder) / _PARTS.format(uuid.uuid4().hex)
    folder.mkdir(parents=True, exist_ok=True)
    sizes = []
    for number, part in enumerate(parts):
        sizes.append(len(part))
        write_whole(_place(folder, number, "todo"), pickle.dumps(part))
    try:
        with _pipeline(make_worker, folder, len(sizes), run) as running:
            done = _done(running, folder, sizes)
            for _ in progress(done, total=sum(sizes), desc=desc):
                pass
        for number in range(len(sizes)):
            yield pickle.loads(epath.Path(_place(folder, number, "done")).read_bytes())
    finally:
        # Workers that are still at it fail when they look for their next part.
        if folder.exists():
            folder.rmtree()


class _Parts(beam.DoFn):
    """Does the parts of the numbers that come."""

    def __init__(self, make_worker: Callable[[], Any], folder: str):
        self._make_worker, self._folder = make_worker, folder
        self._worker = None

    def process(self, number: int):
        folder = epath.Path(self._folder)
        part = pickle.loads(epath.Path(_place(folder, number, "todo")).read_bytes())
        if self._worker is None:
            self._worker = self._make_worker()
        try:
            result = self._worker.do(number, part)
        except BaseException:
            self.teardown()
            raise
        write_whole(_place(folder, number, "done"), pickle.dumps(result))
        yield number

    def teardown(self):
        if self._worker is not None:
            self._worker.close()
            self._worker = None


class _LocalParts(_Parts):
    """The same in a process of DirectRunner, which nobody else ends.

    It would do all its parts when the run has failed, was interrupted or killed.
    """

    def __init__(self, make_worker: Callable[[], Any], folder: str):
        super().__init__(make_worker, folder)
        self._run = os.getpid()

    def setup(self):
        if os.getpid() != self._run:
            threading.Thread(target=self._leave_with_run, daemon=True).start()

    def _leave_with_run(self):
        while os.path.isdir(self._folder) or is_remote(self._folder):
            try:
                os.kill(self._run, 0)  # asks whether it lives
            except ProcessLookupError:
                break
            time.sleep(1.0)
        os._exit(0)


class _Running(threading.Thread):
    """A pipeline that runs, while this process looks at what is done."""

    def __init__(self, pipeline: beam.Pipeline, lost: str):
        super().__init__(daemon=True)
        self._pipeline, self._lost = pipeline, lost
        self._result = None
        self.error: BaseException | None = None

    def run(self):
        try:
            self._result = self._pipeline.run()
            state = self._result.wait_until_finish() or self._result.state
            if state != "DONE":
                self.error = InputError(f"the pipeline ended as {state}")
        except BaseException as error:  # noqa: BLE001 - told by who waits
            self.error = error

    def goes_on(self) -> bool:
        """Whether it runs. The loss of a worker is its end."""
        if self.is_alive() and os.path.exists(self._lost) and self.error is None:
            self.join(2.0)  # or a worker raised something, which tells more
            if self.is_alive():
                self.error = InputError(
                    "a worker process ended before its work was done: too little "
                    "memory for so many --workers?"
                )
        return self.is_alive() and self.error is None

    def cancel(self):
        """Stops a job elsewhere; that of this machine ends with its folder."""
        if self._result is not None and self.is_alive():
            with contextlib.suppress(Exception):
                self._result.cancel()


@contextlib.contextmanager
def _pipeline(
    make_worker: Callable[[], Any], folder: epath.Path, count: int, run: BeamRun
) -> Iterator[_Running]:
    """Runs the pipeline while the block waits for it; raises what went wrong."""
    options = PipelineOptions(list(run.options))
    debug = logging.getLogger().getEffectiveLevel() <= logging.INFO
    local = run.runner.lower() in ("direct", "directrunner")
    runner: Any = run.runner
    with tempfile.TemporaryDirectory() as scratch:
        lost = os.path.join(scratch, "lost")
        if local:
            runner = _direct_runner(options, run, count, lost, debug)
        try:
            pipeline = beam.Pipeline(runner=runner, options=options)
        except (ValueError, ImportError) as error:
            raise InputError(
                f"--beam_runner={run.runner}: {_one_line(error)}"
            ) from None
        do = (_LocalParts if local else _Parts)(make_worker, os.fspath(folder))
        (
            pipeline
            | "parts" >> beam.Create(range(count), reshuffle=False)
            | "share out" >> beam.Reshuffle()
            | "do" >> beam.ParDo(do)
        )
        running = _Running(pipeline, lost)
        with contextlib.nullcontext() if debug else _quiet(local):
            running.start()
            try:
                yield running
                if running.error is not None:
                    raise _told(running.error, run.runner)
            except BaseException:
                running.cancel()
                raise


def _direct_runner(
    options: PipelineOptions, run: BeamRun, count: int, lost: str, debug: bool
) -> FnApiRunner:
    """The local runner; by its name Beam would look for Prism, and download it."""
    given = {option.partition("=")[0] for option in run.options}
    if "--direct_num_workers" not in given:
        workers = min(run.workers or os.cpu_count() or 1, count)
        options.view_as(DirectOptions).direct_num_workers = workers
    if "--direct_running_mode" in given:
        return FnApiRunner()
    # As its mode multi_processing, but without the chatter of Beam and TensorFlow, and
    # with a note of a worker that was killed, for which Beam would wait for ever.
    command = f"{shlex.quote(sys.executable)} -m apache_beam.runners.worker"
    command += ".sdk_worker_main" + ("" if debug else " 2>/dev/null")
    command += f" || {{ echo $? > {shlex.quote(lost)}; }} 2>/dev/null"
    return FnApiRunner(SubprocessSDKEnvironment.from_command_string(command))


@contextlib.contextmanager
def _quiet(local: bool) -> Iterator[None]:
    """Keeps Beam from telling what is raised here, in one line instead of pages."""
    logger, hook = logging.getLogger("apache_beam"), threading.excepthook

    def told(error):
        name = error.thread.name if error.thread else ""
        if not name.startswith(("beam_", "read_grpc_client", "run_worker")):
            hook(error)

    level = logger.level
    logger.setLevel(logging.CRITICAL)
    if local:  # its threads fail when their process has gone
        threading.excepthook = told
    try:
        yield
        threading.excepthook = hook
    finally:
        logger.setLevel(level)


def _done(running: _Running, folder: epath.Path, sizes: Sequence[int]) -> Iterator:
    """Yields once for each item that is done, as long as the pipeline runs."""
    pause = _REMOTE_POLL if is_remote(folder) else _LOCAL_POLL
    seen: set[str] = set()
    while True:
        alive = running.goes_on()
        names = {path.name for path in folder.iterdir() if path.name.endswith(".done")}
        names = {name for name in names if not name.startswith(".")}  # being written
        for name in sorted(names - seen):
            yield from range(sizes[int(name.partition(".")[0])])
        seen |= names
        if not alive:
            return
        running.join(pause)


def _place(folder: epath.Path, number: int, what: str) -> str:
    return os.fspath(folder / f"{number:06d}.{what}")


def _told(error: BaseException, runner: str) -> Exception:
    """What a worker raised, without Beam's pages around it."""
    if isinstance(error, InputError):
        return InputError(f"{runner}: {error}")
    lines = str(error).strip().splitlines()
    for line in reversed(lines):
        if match := _TOLD.match(line.strip()):
            name, text = match.groups()
            text = re.sub(r" ?\[while running .*?\]$", "", text).strip()
            if name == "InputError":
                return InputError(text)
            if name in ("OSError", "PermissionError", "FileNotFoundError"):
                return InputError(f"{runner}: {text}")
            return RuntimeError(f"{name}: {text}")
    if "return code" in str(error):
        return InputError(f"{runner}: a worker ended: {_one_line(error)}")
    return RuntimeError(f"{runner}: {type(error).__name__}: {_one_line(error)}")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
