"""What the processes of a multi-worker run settle among themselves.

All of it costs nothing where one process does the work: on one device, several of one
machine, or a TPU.
"""

import contextlib
import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf

from dermgan_tf.errors import InputError
from dermgan_tf.training.cluster import Cluster, make_cluster

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
