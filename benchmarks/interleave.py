"""Measures contenders against each other in one run, so that noise hits all alike.

Every contender is a process of its own: it loads once, warms up and then waits on a
pipe until it is told to work for a slice of a few seconds. In a round each gets one
slice, one after another; the order turns round in every other round. A waiting process
uses no processor time, and the peak of its memory is its own.
"""

import contextlib
import dataclasses
import multiprocessing
import multiprocessing.connection
import os
import pathlib
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

WARM_UP_SECONDS = 2.0
WARM_UP_STEPS = 2  # the first one compiles


class ContenderFailed(Exception):
    """A contender's process ended with an error."""


class Stopwatch:
    """A contender's end of the pipe: times its steps, slice by slice."""

    def __init__(self, connection, warm_up_seconds: float):
        self._connection = connection
        self._warm = False
        self._notes = {}
        self._begin(warm_up_seconds)

    def step_done(self, items: float) -> None:
        """Counts a step; at the end of a slice reports it and waits for the next.

        Args:
            items: float. What the step got done, in the unit of the measurement.

        Raises:
            SystemExit: when the measurement is over.
        """
        self._steps += 1
        self._items += items
        elapsed = time.perf_counter() - self._start
        if elapsed < self._seconds or not (self._warm or self._steps >= WARM_UP_STEPS):
            return
        self._connection.send({"rate": self._items / elapsed})
        self._warm = True
        seconds = self._connection.recv()
        if seconds is None:
            self._connection.send({"peak_memory": peak_memory(), **self._notes})
            raise SystemExit
        self._begin(seconds)

    def note(self, **values: Any) -> None:
        """Adds something to the contender's result, as JSON can hold it."""
        self._notes.update(values)

    def _begin(self, seconds: float) -> None:
        self._seconds = seconds
        self._steps, self._items = 0, 0.0
        self._start = time.perf_counter()


def measure(
    contenders: Mapping[str, Callable[[Stopwatch], None]],
    rounds: int,
    slice_seconds: float,
    progress: Callable,
) -> dict[str, dict[str, Any]]:
    """Runs the contenders in turn, slice by slice.

    Args:
        contenders: name -> a picklable function, called with a Stopwatch in a process
            of its own; it loads, then works in an endless loop of steps.
        rounds: int. Slices that each contender gets.
        slice_seconds: float. A slice ends with the first step after that time.
        progress: wraps the loops; see dermgan_tf.progress.

    Returns:
        Name -> {"values": items per second by round, "foreign_load": share of the
        processor that went to other processes meanwhile, by round (on Linux),
        "peak_memory": bytes}, and what the contender noted.

    Raises:
        ContenderFailed: if a contender raised or was killed.
    """
    results = {name: {"values": []} for name in contenders}
    with contextlib.ExitStack() as stack:
        running = {
            name: stack.enter_context(_started(name, work, slice_seconds))
            for name, work in progress(contenders.items(), desc="starting")
        }
        turns = [
            name
            for i in range(rounds)
            for name in (running if i % 2 == 0 else reversed(running))
        ]
        for name in progress(turns, desc="measuring"):
            with _foreign_load(running.values(), results[name]):
                rate = running[name].ask(slice_seconds)["rate"]
            results[name]["values"].append(rate)
        for name, contender in running.items():
            results[name].update(contender.ask(None))
    return results


def peak_memory() -> int:
    """The largest resident set that this process ever had, in bytes.

    Linux' getrusage also counts what the parent held when it forked, so the kernel's
    own figure is preferred.
    """
    try:
        lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    except FileNotFoundError:
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return next(int(s.split()[1]) * 1024 for s in lines if s.startswith("VmHWM:"))


@contextlib.contextmanager
def _foreign_load(contenders: Iterable["_Contender"], result: dict) -> Iterator[None]:
    """Adds to result["foreign_load"] what others took of the processor meanwhile."""
    if not pathlib.Path("/proc/stat").exists():
        yield
        return
    pids = [os.getpid(), *(c.process.pid for c in contenders)]
    before = _ticks_of_others(pids)
    start = time.perf_counter()
    yield
    available = (time.perf_counter() - start) * os.sysconf("SC_CLK_TCK")
    taken = (_ticks_of_others(pids) - before) / (available * os.cpu_count())
    result.setdefault("foreign_load", []).append(round(max(0.0, taken), 3))


def _ticks_of_others(pids: Iterable[int]) -> int:
    """Processor time since the start of all processes but these (see proc(5))."""
    fields = pathlib.Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    user, nice, system, _idle, _waiting, *interrupts_and_stolen = map(int, fields[:8])
    total = user + nice + system + sum(interrupts_and_stolen)
    for pid in pids:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text()
        after_name = text.rpartition(")")[2].split()  # a name may hold anything
        total -= int(after_name[11]) + int(after_name[12])  # utime, stime
    return total


@dataclasses.dataclass
class _Contender:
    name: str
    process: multiprocessing.process.BaseProcess
    connection: multiprocessing.connection.Connection

    def ask(self, seconds: float | None) -> dict[str, Any]:
        """Orders a slice, or with None the end, and waits for the answer."""
        with self._alive():
            self.connection.send(seconds)
        return self.answer()

    def answer(self) -> dict[str, Any]:
        with self._alive():
            answer = self.connection.recv()
        if "error" in answer:
            raise ContenderFailed(f"{self.name}: {answer['error']}")
        return answer

    @contextlib.contextmanager
    def _alive(self) -> Iterator[None]:
        try:
            yield
        except (EOFError, BrokenPipeError, ConnectionResetError) as error:
            self.process.join()
            raise ContenderFailed(
                f"{self.name} ended with exit code {self.process.exitcode} "
                "(-9 is most often too little memory)"
            ) from error


@contextlib.contextmanager
def _started(
    name: str, work: Callable[[Stopwatch], None], slice_seconds: float
) -> Iterator[_Contender]:
    """Starts a contender and waits until it has warmed up."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(
        target=_serve, args=(work, theirs, min(slice_seconds, WARM_UP_SECONDS))
    )
    process.start()
    theirs.close()
    contender = _Contender(name, process, ours)
    try:
        contender.answer()
        yield contender
    finally:
        ours.close()
        process.join(timeout=1)
        if process.is_alive():
            process.kill()
            process.join()


def _serve(work, connection, warm_up_seconds: float) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends us
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    with tempfile.TemporaryFile() as chatter:  # of native libraries
        os.dup2(chatter.fileno(), 2)
        try:
            work(Stopwatch(connection, warm_up_seconds))
        except (EOFError, BrokenPipeError):  # the parent is gone
            pass
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            connection.send(
                {
                    "error": f"{type(error).__name__}: {error} "
                    f"({place.filename}, line {place.lineno})"
                }
            )
