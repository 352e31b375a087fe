"""Where the networks train: one device, several, several machines, or a TPU."""

import re
import socket
import urllib.error

import tensorflow as tf

from dermgan_tf.errors import InputError, plain_message
from dermgan_tf.training.workers import (
    TF_CONFIG_EXAMPLE,
    host_and_port,
    meet,
    read_cluster,
)

STRATEGIES = ("auto", "one_device", "mirrored", "multi_worker", "tpu")
_ANSWER_SECONDS = 10
_SETTINGS = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])  # HTTP/2: an empty frame of type 4


def make_strategy(
    name: str = "auto", tpu: str | None = None, wait_seconds: float = 600
) -> tf.distribute.Strategy:
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
        wait_seconds: float. How long to wait for the other workers to come up.

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
        return _multi_worker(wait_seconds)
    if name == "tpu":
        return _tpu(tpu)
    return tf.distribute.get_strategy()


def _fitting(tpu: str | None) -> str:
    if tpu:
        return "tpu"
    cluster = read_cluster()
    if cluster and len(cluster.tasks) > 1:
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


def _multi_worker(wait_seconds: float) -> tf.distribute.Strategy:
    cluster = read_cluster()
    if cluster is None:
        raise InputError(
            f"strategy 'multi_worker' needs the environment variable TF_CONFIG with "
            f"the workers' addresses: {TF_CONFIG_EXAMPLE}"
        )
    meet(cluster, wait_seconds)
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except (tf.errors.OpError, ValueError, RuntimeError) as error:
        raise InputError(
            f"strategy 'multi_worker' cannot connect {', '.join(cluster.addresses)}: "
            f"{plain_message(error)}"
        ) from error


def _tpu(tpu: str | None) -> tf.distribute.Strategy:
    if not tpu:
        raise InputError(
            "strategy 'tpu' needs the TPU's name or address; 'local' on a TPU VM"
        )
    for address in re.findall(r"grpc://([^,]+)", tpu):
        _require_grpc(address)
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu)
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    except urllib.error.URLError as error:
        raise InputError(
            f"no TPU named {tpu!r}: only machines of Google Cloud can look names up "
            f"({error.reason}); there give its name, on a TPU VM 'local', elsewhere "
            f"grpc://host:port"
        ) from error
    except tf.errors.NotFoundError as error:
        raise InputError(
            f"no TPU at {tpu!r}: this TensorFlow finds none, or was built without "
            f"support for it; on a TPU VM install tensorflow-tpu instead of tensorflow"
        ) from error
    except (tf.errors.OpError, ValueError, RuntimeError, OSError, ImportError) as error:
        raise InputError(f"no TPU at {tpu!r}: {plain_message(error)}") from error


def _require_grpc(address: str) -> None:
    """Raises InputError unless a gRPC server answers, for which TensorFlow would wait.

    What answers is the first that HTTP/2 has a server send: a frame of settings (RFC
    9113, section 3.4).
    """
    try:
        with socket.create_connection(
            host_and_port(address), timeout=_ANSWER_SECONDS
        ) as connection:
            connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _SETTINGS)
            answer = connection.makefile("rb").read(len(_SETTINGS))
    except (OSError, ValueError) as error:
        raise InputError(f"no TPU at grpc://{address}: {error}") from error
    if answer[3:4] != _SETTINGS[3:4]:
        raise InputError(f"no TPU at grpc://{address}: what answers there is no gRPC")
