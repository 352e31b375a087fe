"""Several processes that train together: TF_CONFIG, who they wait for, who writes."""

import contextlib
import dataclasses
import errno
import hashlib
import json
import os
import re
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf
from absl import logging

from dermgan_tf.errors import InputError

TF_CONFIG_EXAMPLE = (
    '{"cluster": {"worker": ["host:port", "host:port"]}, '
    '"task": {"type": "worker", "index": 0}}'
)
_JOBS = ("chief", "worker")  # TensorFlow's names and order: the first process leads
_QUIET_SECONDS = 3  # of waiting, before it is spoken of
_REMIND_SECONDS = 60
_RETRY_SECONDS = 0.5
_ANSWER_SECONDS = 5  # for one who has connected to say who it is


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The processes that train together, as the environment variable TF_CONFIG says.

    Args:
        tasks: tuple of (job, index) in TensorFlow's order; the first one leads.
        addresses: tuple of str. Of each, "host:port".
        own: int. The place of this process among them.
    """

    tasks: tuple[tuple[str, int], ...]
    addresses: tuple[str, ...]
    own: int

    def name(self, place: int) -> str:
        """What messages call a process: "worker 1 (10.0.0.2:2222)"."""
        job, index = self.tasks[place]
        return f"{job} {index} ({self.addresses[place]})"


def read_cluster() -> Cluster | None:
    """Reads TF_CONFIG; None where it is not set or lists no cluster.

    Raises:
        InputError: if it is not what TensorFlow asks for.
    """
    text = os.environ.get("TF_CONFIG", "")
    try:
        config = json.loads(text or "{}")
    except ValueError as error:
        raise _bad(f"it is no JSON ({error})") from None
    if not isinstance(config, dict):
        raise _bad(f"it is a {type(config).__name__}, not an object")
    if not config.get("cluster"):
        return None
    jobs = config["cluster"]
    if not isinstance(jobs, dict) or not set(jobs) <= set(_JOBS):
        raise _bad(f"its cluster must have the jobs chief and worker only, is {jobs!r}")
    task = config.get("task")
    if not isinstance(task, dict):
        raise _bad("it does not say which task this process is")
    try:
        return make_cluster(jobs, str(task.get("type")), int(task.get("index", "none")))
    except (TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise _bad(f"the index of its task is {task.get('index')!r}") from None


def make_cluster(jobs: Mapping[str, Any], job: str, index: int) -> Cluster:
    """Makes a `Cluster` of lists of addresses by job, and this process' own task."""
    tasks, addresses = [], []
    for name in _JOBS:
        listed = jobs.get(name, [])
        if not isinstance(listed, list):
            raise _bad(f"its {name} must be a list of addresses, is {listed!r}")
        tasks += [(name, i) for i in range(len(listed))]
        addresses += listed
    for address in addresses:
        host, _, port = str(address).rpartition(":")
        if not (host and port.isascii() and port.isdigit() and 0 < int(port) < 65536):
            raise _bad(f"its address {address!r} is not host:port")
    if len(set(addresses)) < len(addresses):
        raise _bad("it lists an address twice")
    if (job, index) not in tasks:
        raise _bad(
            f"its task is {job} {index}, its cluster has "
            + " and ".join(
                f"{len(jobs[name])} {name}(s)" for name in _JOBS if jobs.get(name)
            )
        )
    return Cluster(tuple(tasks), tuple(addresses), tasks.index((job, index)))


def meet(cluster: Cluster, wait_seconds: float) -> None:
    """Returns once every process of the cluster has called this.

    TensorFlow itself waits for an hour without a word, and shares a port that is taken
    with whoever has it. So the processes meet before: each holds its own port, and the
    others come to the first one's. Whom they wait for is logged.

    Args:
        cluster: from `read_cluster`.
        wait_seconds: float. How long to wait for the others.

    Raises:
        InputError: if the own port is taken, if the others did not come in time, or if
            they know of another cluster.
    """
    wait = _Wait(wait_seconds)
    with _own_port(cluster) as port:
        if cluster.own == 0:
            _receive(cluster, port, wait)
        else:
            _go_to_the_first(cluster, wait)


def host_and_port(address: str) -> tuple[str, int]:
    """Splits "host:port"; the host of "[::1]:80" is "::1"."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


class _Wait:
    """Logs whom a process waits for, and ends the waiting when its time is over."""

    def __init__(self, seconds: float):
        self._seconds = seconds
        self._until = time.monotonic() + seconds
        self._speak_at = time.monotonic() + _QUIET_SECONDS
        self._said = ""

    def go_on(self, missing: str) -> None:
        now = time.monotonic()
        if now >= self._until:
            raise InputError(
                f"waited {self._seconds:g} s for {missing}: start all workers with the "
                f"same command, each with its own task in TF_CONFIG, and see that they "
                f"reach each other's ports"
            )
        if now >= self._speak_at or self._said not in ("", missing):
            logging.warning("waiting for %s", missing)
            self._said, self._speak_at = missing, now + _REMIND_SECONDS


@contextlib.contextmanager
def _own_port(cluster: Cluster) -> Iterator[socket.socket]:
    """Yields a socket that listens at this process' port, on all interfaces."""
    _, port = host_and_port(cluster.addresses[cluster.own])
    both = socket.has_dualstack_ipv6()
    try:
        listener = socket.create_server(
            ("", port),
            family=socket.AF_INET6 if both else socket.AF_INET,
            dualstack_ipv6=both,
        )
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        raise InputError(
            f"the port of {cluster.name(cluster.own)} "
            + ("is in use by another process" if taken else f"fails: {error.strerror}")
            + "; end what uses it, or give TF_CONFIG other ports on all workers"
        ) from None
    with listener:
        yield listener


def _receive(cluster: Cluster, listener: socket.socket, wait: _Wait) -> None:
    """The first process: waits until all others have come, then lets them go."""
    came: dict[int, socket.socket] = {}
    listener.settimeout(_RETRY_SECONDS)
    with contextlib.ExitStack() as connections:
        while True:
            came = {place: guest for place, guest in came.items() if _is_there(guest)}
            missing = [i for i in range(1, len(cluster.tasks)) if i not in came]
            if not missing:
                break
            names = " and ".join(map(cluster.name, missing))
            for guest in came.values():
                _say(guest, missing=names)
            wait.go_on(names)
            try:
                guest, _ = listener.accept()
            except TimeoutError:
                continue
            connections.enter_context(guest)
            place, problem = _who_is_it(cluster, guest, came)
            if place is not None:
                came[place] = guest
            else:
                _say(guest, problem=problem)
        for guest in came.values():
            _say(guest, go=True)


def _who_is_it(cluster, guest, came) -> tuple[int | None, str]:
    """The place of one who has connected; else None, and what is wrong with it."""
    guest.settimeout(_ANSWER_SECONDS)
    try:
        with guest.makefile("rb") as lines:
            hello = json.loads(lines.readline(1 << 20))
        place, addresses = int(hello["place"]), tuple(hello["addresses"])
    except (OSError, ValueError, TypeError, KeyError):
        return None, "no greeting came"
    if addresses != cluster.addresses:
        return None, (
            f"TF_CONFIG lists {', '.join(addresses)} here, but "
            f"{', '.join(cluster.addresses)} on {cluster.name(0)}; give all workers "
            f"the same cluster"
        )
    if place in came and _is_there(came[place]):
        return None, (
            f"another process is {cluster.name(place)} already; give each its own task "
            f"in TF_CONFIG"
        )
    return place, ""


def _go_to_the_first(cluster: Cluster, wait: _Wait) -> None:
    """All others: go to the first process, and wait until it lets them go."""
    while True:
        wait.go_on(cluster.name(0))
        try:
            if _visit_the_first(cluster, wait):
                return
        except InputError:
            raise
        except (OSError, ValueError, TypeError, AttributeError):
            pass  # not there yet, or gone again, or not the one it should be
        time.sleep(_RETRY_SECONDS)


def _visit_the_first(cluster: Cluster, wait: _Wait) -> bool:
    first = host_and_port(cluster.addresses[0])
    with socket.create_connection(first, timeout=_ANSWER_SECONDS) as connection:
        _say(connection, place=cluster.own, addresses=cluster.addresses)
        # It speaks every half second, but may first have others to listen to.
        connection.settimeout(4 * _ANSWER_SECONDS)
        with connection.makefile("rb") as lines:
            for line in lines:
                heard = json.loads(line)
                if heard.get("go"):
                    return True
                if "problem" in heard:
                    raise InputError(heard["problem"])
                wait.go_on(heard.get("missing", cluster.name(0)))
    return False


def _say(peer: socket.socket, **message: Any) -> None:
    with contextlib.suppress(OSError):  # gone; who asks next will notice
        peer.sendall(json.dumps(message).encode() + b"\n")


def _is_there(peer: socket.socket) -> bool:
    peer.settimeout(0)
    try:
        return bool(peer.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return True
    except OSError:
        return False


def _bad(problem: str) -> InputError:
    return InputError(
        f"TF_CONFIG is wrong: {problem}; it looks like {TF_CONFIG_EXAMPLE}"
    )


_AGREE_SECONDS = 1.0
_MAX_INTERVAL = 1000
# What a collective operation fails with when one of those who take part is gone.
_LOST = (
    tf.errors.UnavailableError,
    tf.errors.DeadlineExceededError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.InternalError,
)


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process is the one that writes files (with several workers: one)."""
    cluster = _cluster(strategy)
    return cluster is None or cluster.own == 0


@contextlib.contextmanager
def chief_first(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Lets the other workers into the block once the chief has left it."""
    if not is_chief(strategy):
        _exchange(strategy, [0])
    yield
    if is_chief(strategy):
        _exchange(strategy, [0])


def require_same_everywhere(
    strategy: tf.distribute.Strategy, values: Mapping[str, Any], todo: str
) -> None:
    """Raises InputError, everywhere, at the first value that workers do not share.

    Args:
        strategy: of the run.
        values: by name, anything that JSON can hold.
        todo: str. What to do about a difference, for the message.
    """
    cluster = _cluster(strategy)
    if cluster is None:
        return
    digests = [
        int.from_bytes(hashlib.sha256(json.dumps(v).encode()).digest()[:7], "big")
        for v in values.values()
    ]
    rows = _exchange(strategy, digests)
    for column, (name, value) in enumerate(values.items()):
        for place, row in enumerate(rows):
            if row[column] != rows[0][column]:
                raise InputError(
                    f"{cluster.name(place)} has another {name} than {cluster.name(0)} "
                    f"(here: {value}); {todo}"
                )


def asked_anywhere(
    strategy: tf.distribute.Strategy, asked: Callable[[], bool]
) -> Callable[[], bool]:
    """Makes a question that only one worker may hear one that all answer alike.

    Args:
        strategy: of the run.
        asked: says whether this process was asked to stop.

    Returns:
        A function that all workers have to call equally often, after every step. It
        says True on all of them at the same call, once `asked` did on any. They talk
        about it about once a second, whatever a step takes; the chief says when next.
    """
    if _cluster(strategy) is None:
        return asked
    left, interval, since = 1, 1, time.monotonic()

    def asked_of_any() -> bool:
        nonlocal left, interval, since
        left -= 1
        if left:
            return False
        now = time.monotonic()
        pace = (now - since) / interval  # seconds a call
        since = now
        wanted = int(_AGREE_SECONDS / max(pace, _AGREE_SECONDS / _MAX_INTERVAL))
        rows = _exchange(strategy, [bool(asked()), max(1, wanted)])
        left = interval = rows[0][1]
        return any(row[0] for row in rows)

    return asked_of_any


@contextlib.contextmanager
def lost_workers_named(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Turns the failure of an operation that all workers share into an InputError."""
    cluster = _cluster(strategy)
    if cluster is None:
        yield
        return
    try:
        yield
    except (tf.errors.OpError, InputError) as error:
        lost = _lost(error, cluster)
        if lost is None:
            raise
        raise InputError(
            f"lost {lost}: look at what it said last; the same command on all workers "
            f"goes on from the last checkpoint, and so does one with the strategy "
            f"'one_device'"
        ) from error


def _lost(error: BaseException | None, cluster: Cluster) -> str | None:
    """The name of the worker for whose loss an operation failed; None if for none."""
    while error is not None and not isinstance(error, tf.errors.OpError):
        error = error.__cause__
    text = str(error)
    if not isinstance(error, _LOST) or "Collective ops is aborted" not in text:
        return None
    for job, index in re.findall(r"/job:(\w+)/(?:replica:0/)?task:(\d+)", text):
        task = job, int(index)
        if task in cluster.tasks and task != cluster.tasks[cluster.own]:
            return cluster.name(cluster.tasks.index(task))
    # The first process is the one whom all ask whether the others are well.
    if "CoordinationService" in text and cluster.own:
        return cluster.name(0)
    return "a worker"


def _cluster(strategy: tf.distribute.Strategy) -> Cluster | None:
    """The processes that train together; None for a run of one process."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return None
    resolver = strategy.cluster_resolver
    jobs = resolver.cluster_spec().as_dict()
    cluster = make_cluster(jobs, resolver.task_type, resolver.task_id)
    return cluster if len(cluster.tasks) > 1 else None


def _exchange(strategy, values: Sequence[int]) -> list[list[int]]:
    """Gives every worker the values of all: a row each, in the cluster's order.

    To be called by all, with equally many values. None goes on before all have called.
    """
    cluster = _cluster(strategy)
    if cluster is None:
        return [list(values)]
    rows = [
        values if place == cluster.own else [0] * len(values)
        for place in range(len(cluster.tasks))
    ]
    rows = tf.constant(rows, tf.int64)
    return strategy.reduce("SUM", rows, axis=None).numpy().tolist()
