"""Measures loading pairs for training against decoding their PNGs, on one core.

Speeds are in pairs per second of processor time, all threads together: other work of
the machine, and pairs that were read ahead, do not count.
"""

import itertools
import json
import os
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from absl import flags

from dermgan_tf.output_folder import atomic_write
from pipelines.shared import program

BATCH_SIZE = 4
SAMPLE = 256  # pairs that bare decoding goes through in circles
IDLE_SECONDS = 0.05


def define_flags():
    flags.DEFINE_string("data_dir", None, "Folder of pairs.", required=True)
    flags.DEFINE_string("out", None, "JSON file to write.", required=True)
    flags.DEFINE_integer("rounds", 5, "Slices of each contender.", lower_bound=1)
    flags.DEFINE_float("seconds", 2.0, "Length of a slice.", lower_bound=0)


def main(args):
    # Before TensorFlow counts the cores to start its threads.
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    program.load_tensorflow()
    result = measure(args.data_dir, args.seconds, args.rounds)
    atomic_write(pathlib.Path(args.out), (json.dumps(result) + "\n").encode())


def measure(
    data_dir: str | os.PathLike,
    seconds: float = 2.0,
    rounds: int = 5,
    progress: Callable = program.progress,
) -> dict[str, Any]:
    """Loads pairs and decodes their PNGs in turns.

    Args:
        data_dir: a folder that `prepare_pairs` wrote.
        seconds: float. The length of a slice.
        rounds: int. Slices of each contender.
        progress: see `dermgan_tf.progress`.

    Returns:
        For "ours" (`load_pairs` with shuffling and augmentation, batches of 4),
        "bare_opencv" and "bare_tensorflow" (map and crop to uint8, in a loop) the pairs
        per second by round; and "unit".
    """
    pngs = list(itertools.islice(_pngs(data_dir), SAMPLE))
    contenders = {
        "ours": _load(data_dir),
        "bare_opencv": _decode_by_opencv(pngs),
        "bare_tensorflow": _decode_by_tensorflow(pngs),
    }
    for contender in contenders.values():
        _rate(contender, seconds=min(seconds, 1.0))  # warm
    rates = {name: [] for name in contenders}
    for _ in progress(range(rounds), desc="measuring"):
        for name, contender in contenders.items():
            rates[name].append(_rate(contender, seconds))
    return {**rates, "unit": "pairs/s"}


def _rate(contender: Iterator[int], seconds: float) -> float:
    """Pairs per second of processor time; nothing is under way before and after."""
    pairs, began, start = 0, time.process_time(), time.perf_counter()
    while not pairs or time.perf_counter() - start < seconds:
        pairs += next(contender)
    _wait_until_idle()
    return pairs / (time.process_time() - began)


def _wait_until_idle() -> None:
    """Waits until what reads ahead has filled its buffers."""
    before = -1.0
    while time.process_time() - before > IDLE_SECONDS / 20:
        before = time.process_time()
        time.sleep(IDLE_SECONDS)


def _load(data_dir) -> Iterator[int]:
    from dermgan_tf.pairs.pairs import load_pairs

    for _ in load_pairs(data_dir, "train", BATCH_SIZE, repeat=True):
        yield BATCH_SIZE


def _decode_by_opencv(pngs: list[tuple[bytes, bytes]]) -> Iterator[int]:
    import cv2
    import numpy as np

    cv2.setNumThreads(1)
    for pair in itertools.cycle(pngs):
        for png in pair:
            cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
        yield 1


def _decode_by_tensorflow(pngs: list[tuple[bytes, bytes]]) -> Iterator[int]:
    import tensorflow as tf

    tensors = [tuple(map(tf.constant, pair)) for pair in pngs]
    for pair in itertools.cycle(tensors):
        for png in pair:
            tf.io.decode_png(png, channels=3)
        yield 1


def _pngs(data_dir) -> Iterator[tuple[bytes, bytes]]:
    """The encoded maps and crops for training."""
    import tensorflow as tf

    from dermgan_tf.pairs.pairs import read_pairs_info

    for shard in read_pairs_info(data_dir).shards["train"]:
        path = os.path.join(data_dir, shard["file"])
        for record in tf.data.TFRecordDataset(path).as_numpy_iterator():
            feature = tf.train.Example.FromString(record).features.feature
            yield tuple(
                feature[key].bytes_list.value[0] for key in ("semantic_map", "image")
            )


if __name__ == "__main__":
    program.run(define_flags, main)
