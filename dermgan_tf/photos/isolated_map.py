"""A map over processes in which a job that crashes its process costs that job alone.

Photos are decoded by native code, which a damaged file can crash (Pillow 11.2.1 did on
some TIFFs). The executors of Python and of loky break as a whole when a process dies;
Pebble's go on, but share one pipe, which a process that is killed while it sends leaves
garbled. Here each process has a pipe of its own, so that it is always known which job a
dead process was at. Nothing is started for a job: processes work until they die.
"""

import collections
import contextlib
import dataclasses
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import connection, reduction
from typing import Any

from dermgan_tf.errors import InputError

JOB_SECONDS = 300.0  # for one job; a photo takes a fraction of a second

# Results that wait for an earlier one, by process: few, or a slow one fills the memory.
_AHEAD = 4
# The next job lies in a process' pipe while it works, if it surely fits in there.
_PIPE_BYTES = 4096
# Of these a process dies by its own doing. Another one may have been sent by the
# kernel, which was out of memory, or by a person: that job is tried once more.
_FAULTS = (
    signal.SIGSEGV,
    signal.SIGBUS,
    signal.SIGABRT,
    signal.SIGFPE,
    signal.SIGILL,
)
_TRIES = 2


@dataclasses.dataclass(frozen=True)
class Lost:
    """What stands in the place of the result of a job that its process did not survive.

    Args:
        reason: str. What happened, such as "the decoder crashed (signal 11, SIGSEGV)".
    """

    reason: str


def isolated_map(
    work: Callable[[Any], Any],
    jobs: Sequence[Any],
    workers: int,
    prepare: Callable[[], None] | None = None,
    seconds: float = JOB_SECONDS,
) -> Iterator[Any]:
    """Yields `work(job)`, or a `Lost`, for each job, in order.

    New Python processes are started, so that a script that uses this keeps its own work
    under `if __name__ == "__main__":`.

    Args:
        work: a function that can be pickled, and that raises nothing.
        jobs: what it is called with; can be pickled too.
        workers: int ≥ 1. Processes.
        prepare: called first in every process.
        seconds: a job that takes longer is lost, and its process killed.

    Raises:
        InputError: if processes cannot be started.
        RuntimeError: with the text of what `work` raised.
    """
    with contextlib.closing(
        IsolatedCrew(work, min(workers, len(jobs)), prepare, seconds)
    ) as crew:
        yield from crew.map(jobs)


class _Worker:
    """A process, our end of its pipe, and the numbers of the jobs that it was given."""

    def __init__(self, context, work, prepare):
        self.pipe, theirs = context.Pipe()
        # Not started by fork: with TensorFlow's threads that can deadlock.
        self.process = context.Process(
            target=_serve, args=(theirs, work, prepare), daemon=True
        )
        self.process.start()
        theirs.close()  # so that its death is the end of the pipe
        self.ready = False
        self.given: collections.deque[int] = collections.deque()
        self.since = time.monotonic()  # … it has been at the first of them

    def end(self) -> int:
        """Kills the process if it lives; returns its exit code."""
        self.pipe.close()
        self.process.join(0)
        self.process.kill()
        self.process.join()
        return self.process.exitcode


class IsolatedCrew:
    """The processes of `isolated_map`, for one map after another; see there.

    To be closed; after a map that was not used up as well, as they are still at it.
    """

    def __init__(
        self,
        work: Callable[[Any], Any],
        workers: int,
        prepare: Callable[[], None] | None = None,
        seconds: float = JOB_SECONDS,
    ):
        self._seconds = seconds
        context = multiprocessing.get_context("spawn")
        self._hire = lambda: _Worker(context, work, prepare)
        self._workers: list[_Worker] = []
        for _ in range(workers):
            self._workers.append(self._hire())

    def map(self, jobs: Sequence[Any]) -> Iterator[Any]:
        """`isolated_map` over these jobs, which are asked for one by one, in order."""
        self._jobs = jobs
        self._waiting = collections.deque(range(len(jobs)))
        self._tries: collections.Counter = collections.Counter()
        self._results: dict[int, Any] = {}
        for number in range(len(jobs)):
            self._hand_out(number)
            # What is done is always fetched: a process waits until it is.
            self._fetch(wait=number not in self._results)
            while number not in self._results:
                self._hand_out(number)
                self._fetch(wait=True)
            self._hand_out(number)
            yield self._results.pop(number)

    def close(self) -> None:
        for worker in self._workers:
            worker.end()

    def _hand_out(self, first: int) -> None:
        """Gives every process a job and one more, none far ahead of the `first`."""
        last = first + _AHEAD * len(self._workers)
        for depth in (1, 2):
            for worker in self._workers:
                if not self._waiting or self._waiting[0] > last:
                    return
                if len(worker.given) >= depth:
                    continue
                job = reduction.ForkingPickler.dumps(self._jobs[self._waiting[0]])
                # A longer one would be waited for by us, and its process for us.
                if worker.given and len(job) > _PIPE_BYTES:
                    continue
                if not worker.given:
                    worker.since = time.monotonic()
                worker.given.append(self._waiting.popleft())
                with contextlib.suppress(OSError):  # it is dead, as will be seen
                    worker.pipe.send_bytes(job)

    def _fetch(self, wait: bool) -> None:
        """Takes the results that are there; waits for something to happen."""
        pipes = {worker.pipe: worker for worker in self._workers}
        starts = [w.since for w in self._workers if w.given and w.ready]
        left = min(starts, default=time.monotonic()) + self._seconds - time.monotonic()
        for pipe in connection.wait(pipes, max(0.0, left) if wait else 0.0):
            worker = pipes[pipe]
            try:
                message = pipe.recv()
            except (EOFError, OSError):
                self._bury(worker)
                continue
            worker.since = time.monotonic()
            if not worker.ready:
                worker.ready = True
                continue
            done, result = message
            if not done:
                raise RuntimeError(result)
            self._results[worker.given.popleft()] = result
        for worker in [w for w in self._workers if w.ready and w.given]:
            if time.monotonic() - worker.since > self._seconds:
                self._lose(worker, f"took longer than {self._seconds:g} seconds")
                self._replace(worker)

    def _bury(self, worker: _Worker) -> None:
        # The end of its pipe may come a moment before that of the process.
        worker.process.join(1)
        code = worker.end()
        if not worker.ready:
            raise InputError(
                "worker processes cannot be started: no memory is left, or the script "
                'lacks `if __name__ == "__main__":`'
            )
        if worker.given:
            number = worker.given[0]
            self._tries[number] += 1
            if -code in _FAULTS or self._tries[number] >= _TRIES:
                self._lose(worker, _death(code))
        self._replace(worker)

    def _lose(self, worker: _Worker, reason: str) -> None:
        self._results[worker.given.popleft()] = Lost(reason)

    def _replace(self, worker: _Worker) -> None:
        worker.end()
        self._waiting.extendleft(reversed(worker.given))
        self._workers[self._workers.index(worker)] = self._hire()


def _death(code: int) -> str:
    if code >= 0:
        return f"the decoder ended its process (exit code {code})"
    name = f"signal {-code}"
    with contextlib.suppress(ValueError):
        name += f", {signal.Signals(-code).name}"
    if -code in _FAULTS:
        return f"the decoder crashed ({name})"
    return f"its process was killed, twice ({name}): too little memory?"


# === In the process ===


def one_thread() -> None:
    """To `prepare` with: OpenCV's threads, where the processes are the parallelism."""
    import cv2

    cv2.setNumThreads(1)


def _serve(pipe, work, prepare) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    if prepare is not None:
        prepare()
    _silence()
    pipe.send("ready")
    while True:
        try:
            message = True, work(pipe.recv())
        except EOFError:
            return
        except Exception as error:  # noqa: BLE001 - told to the parent
            message = False, f"{type(error).__name__}: {error}"
        pipe.send(message)


def _leave_with_parent() -> None:
    # When the parent is killed, its processes would wait for work forever.
    multiprocessing.parent_process().join()
    os._exit(1)


def _silence() -> None:
    """Native decoders write of every damaged file, without its name."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
