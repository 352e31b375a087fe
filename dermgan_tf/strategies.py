"""Where the networks train: one device, several, several machines, or a TPU."""

import json
import os

import tensorflow as tf

from dermgan_tf.errors import InputError

STRATEGIES = ("auto", "one_device", "mirrored", "multi_worker", "tpu")


def make_strategy(name: str = "auto", tpu: str | None = None) -> tf.distribute.Strategy:
    """Makes the `tf.distribute` strategy that the networks are built and trained under.

    Call it before anything else touches TensorFlow's devices: `multi_worker` has to
    set up its collective operations first.

    Args:
        name: str. `"one_device"`: the first GPU, else the CPU. `"mirrored"`: all GPUs
            of this machine, or all logical CPU devices where it has no GPU.
            `"multi_worker"`: the machines that the environment variable TF_CONFIG
            lists. `"tpu"`: the TPU named by `tpu`. `"auto"`: the first that fits of
            `tpu` (if one is named), `multi_worker` (if TF_CONFIG lists several
            workers), `mirrored` (if there are several GPUs) and `one_device`.
        tpu: str. The TPU's name or grpc address; `"local"` on a TPU VM.

    Returns:
        A `tf.distribute.Strategy`. For one device it is TensorFlow's default strategy,
        which costs nothing.

    Raises:
        InputError: for an unknown name, or a strategy that this machine cannot give.
    """
    if name not in STRATEGIES:
        raise InputError(f"unknown strategy {name!r}; known: {', '.join(STRATEGIES)}")
    if name == "auto":
        name = _fitting(tpu)
    if tpu and name != "tpu":
        raise InputError(f"a TPU is named ({tpu}), but the strategy is {name!r}")
    if name == "mirrored":
        return _mirrored()
    if name == "multi_worker":
        return _multi_worker()
    if name == "tpu":
        return _tpu(tpu)
    return tf.distribute.get_strategy()


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process is the one that writes files (with several workers: one)."""
    resolver = strategy.cluster_resolver
    if resolver is None or not getattr(resolver, "task_type", None):
        return True
    has_chief = "chief" in resolver.cluster_spec().jobs
    return resolver.task_type == ("chief" if has_chief else "worker") and (
        resolver.task_id == 0
    )


def _fitting(tpu: str | None) -> str:
    if tpu:
        return "tpu"
    if len(_workers()) > 1:
        return "multi_worker"
    if len(tf.config.list_logical_devices("GPU")) > 1:
        return "mirrored"
    return "one_device"


def _mirrored() -> tf.distribute.Strategy:
    devices = tf.config.list_logical_devices("GPU")
    devices = devices or tf.config.list_logical_devices("CPU")
    if len(devices) < 2:
        raise InputError(
            f"strategy 'mirrored' needs several devices, this machine has one "
            f"({devices[0].name}); use 'one_device'"
        )
    return tf.distribute.MirroredStrategy([device.name for device in devices])


def _multi_worker() -> tf.distribute.Strategy:
    workers = _workers()
    if not workers:
        raise InputError(
            "strategy 'multi_worker' needs the environment variable TF_CONFIG with "
            'the workers\' addresses: {"cluster": {"worker": ["host:port", …]}, '
            '"task": {"type": "worker", "index": 0}}'
        )
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except (tf.errors.OpError, ValueError, RuntimeError) as error:
        raise InputError(
            f"strategy 'multi_worker' cannot connect {', '.join(workers)}: {error}"
        ) from error


def _tpu(tpu: str | None) -> tf.distribute.Strategy:
    if not tpu:
        raise InputError(
            "strategy 'tpu' needs the TPU's name or address; 'local' on a TPU VM"
        )
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu)
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    except (tf.errors.OpError, ValueError, RuntimeError, OSError) as error:
        raise InputError(f"no TPU at {tpu!r}: {error}") from error


def _workers() -> list[str]:
    """The addresses in TF_CONFIG of all that train, in its order."""
    text = os.environ.get("TF_CONFIG", "")
    try:
        cluster = json.loads(text or "{}").get("cluster", {})
        return [*cluster.get("chief", []), *cluster.get("worker", [])]
    except (ValueError, AttributeError, TypeError) as error:
        raise InputError(f"TF_CONFIG is not what it should be: {error}") from None
