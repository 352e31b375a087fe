"""Corrupt records in TFRecord shards: named, or left out of private copies.

A TFRecord frames its data by their length (8 bytes, little-endian) and the length's
checksum (4 bytes) in front, and the data's checksum (4 bytes) behind. Checksums are
CRC-32C, rotated by 15 bits, plus a constant (tensorflow/core/lib/io/record_writer.h).
"""

import atexit
import dataclasses
import functools
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from dermgan_tf.errors import Damage
from dermgan_tf.output_folder import tensorflow_errors_as_os_errors

LENGTH_BYTES = 8
CHECKSUM_BYTES = 4
HEADER_BYTES = LENGTH_BYTES + CHECKSUM_BYTES
SEARCH_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class Shard:
    """A TFRecord file.

    Args:
        path: str.
        records: int. How many records it has, or had.
        bytes: int. Its length, or what that was.
    """

    path: str
    records: int
    bytes: int


def first_corrupt_record(
    shards: Sequence[Shard], decode: Callable[[Any], Any]
) -> str | None:
    """Looks for the first record that cannot be used.

    Args:
        shards: local files, or on any storage TensorFlow reads.
        decode: TensorFlow function of a record, which fails for one of no use.

    Returns:
        Its file, its offset in bytes and what is wrong with it; None if all are sound.
    """
    with tempfile.TemporaryDirectory(prefix="dermgan-records-") as folder:
        for shard in shards:
            if _is_sound(shard, decode):
                continue
            for offset, _, damage in _walk(shard, decode, pathlib.Path(folder)):
                if damage:
                    return f"{shard.path}: corrupted record at {offset} bytes: {damage}"
    return None


def without_corrupt_records(
    shards: Sequence[Shard], decode: Callable[[Any], Any]
) -> tuple[list[Shard], list[Damage]]:
    """Replaces damaged shards by copies of what is sound in them.

    All records are read and decoded once to tell. The copies lie in a folder of this
    process for temporary files, until it ends.

    Args:
        shards, decode: as of `first_corrupt_record`.

    Returns:
        the shards, copies among them in the originals' places; and what was left out.
    """
    import tensorflow as tf

    sound, damages, folder = [], [], None
    for i, shard in enumerate(shards):
        if _is_sound(shard, decode):
            sound.append(shard)
            continue
        if folder is None:
            folder = pathlib.Path(tempfile.mkdtemp(prefix="dermgan-records-"))
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
        copy, places, count = folder / f"{i}.tfrecord", [], 0
        with (
            tensorflow_errors_as_os_errors(folder),
            tf.io.TFRecordWriter(str(copy)) as writer,
        ):
            for offset, record, damage in _walk(shard, decode, folder):
                if damage:
                    places.append((offset, damage))
                else:
                    writer.write(record)
                    count += 1
        sound.append(Shard(str(copy), count, copy.stat().st_size))
        damages.append(Damage(shard.path, shard.records - count, tuple(places)))
    return sound, damages


def _is_sound(shard: Shard, decode: Callable[[Any], Any]) -> bool:
    import tensorflow as tf
    from etils import epath

    if epath.Path(shard.path).stat().length != shard.bytes:
        return False
    decoded = tf.data.TFRecordDataset(shard.path).map(
        decode, num_parallel_calls=tf.data.AUTOTUNE
    )
    count = decoded.ignore_errors().reduce(0, lambda count, _: count + 1)
    return int(count) == shard.records


def _walk(
    shard: Shard, decode: Callable[[Any], Any], folder: pathlib.Path
) -> Iterator[tuple[int, bytes, str]]:
    """Yields (offset, record, "") and, for corrupted stretches, (offset, b"", damage).

    Behind a stretch it goes on with the next length whose checksum is right.
    """
    import tensorflow as tf
    from etils import epath

    decode = tf.function(decode, input_signature=[tf.TensorSpec([], tf.string)])
    data = epath.Path(shard.path).read_bytes()
    checksum = _Checksum(folder / "scratch.tfrecord")
    offset = 0
    while offset < len(data):
        start = offset + HEADER_BYTES
        length = int.from_bytes(data[offset : offset + LENGTH_BYTES], "little")
        end = start + length
        record = data[start:end]
        if checksum.of_length(data, offset) != data[start - CHECKSUM_BYTES : start]:
            damage = "its length does not match the checksum"
        elif end + CHECKSUM_BYTES > len(data):
            damage = "the file ends within it"
        elif checksum(record) != data[end : end + CHECKSUM_BYTES]:
            damage = "its data do not match the checksum"
        else:
            damage = ""
        if damage:
            yield offset, b"", damage
            offset = _next_header(data, offset + 1, checksum)
            continue
        try:
            decode(record)
        except tf.errors.InvalidArgumentError:
            yield offset, b"", "it holds no pair of the right size"
        else:
            yield offset, record, ""
        offset = end + CHECKSUM_BYTES


def _next_header(data: bytes, offset: int, checksum: "_Checksum") -> int:
    """The first place from `offset` on where a record can begin; else the end."""
    while offset + HEADER_BYTES + CHECKSUM_BYTES < len(data):
        part = np.frombuffer(
            data[offset : offset + SEARCH_BYTES + LENGTH_BYTES - 1], np.uint8
        )
        windows = np.lib.stride_tricks.sliding_window_view(part, LENGTH_BYTES)
        # Few places look like the length of a record that ends within the file.
        places = np.flatnonzero(~windows[:, 4:].any(axis=1))
        lengths = windows[places, :4].copy().view("<u4")[:, 0]
        rest = len(data) - offset - HEADER_BYTES - CHECKSUM_BYTES
        for place in places[(lengths > 0) & (lengths <= rest - places)] + offset:
            header = data[place + LENGTH_BYTES : place + HEADER_BYTES]
            if checksum.of_length(data, int(place)) == header:
                return int(place)
        offset += SEARCH_BYTES
    return len(data)


class _Checksum:
    """The checksums of TFRecords, as read from records that TensorFlow writes."""

    def __init__(self, scratch: pathlib.Path):
        self._scratch = scratch
        # Where zeros or a pattern overwrote the file, lengths repeat.
        self._of_length = functools.lru_cache(maxsize=1024)(self)

    def __call__(self, data: bytes) -> bytes:
        import tensorflow as tf

        with tf.io.TFRecordWriter(str(self._scratch)) as writer:
            writer.write(data)
        with open(self._scratch, "rb") as file:
            file.seek(-CHECKSUM_BYTES, os.SEEK_END)
            return file.read()

    def of_length(self, data: bytes, offset: int) -> bytes:
        """Of the length that stands in `data` at `offset`."""
        return self._of_length(data[offset : offset + LENGTH_BYTES])
