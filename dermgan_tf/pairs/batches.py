"""Batches of images out of TFRecord shards: in random order, turned, resumable."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import logging

from dermgan_tf.errors import Damage, InputError
from dermgan_tf.pairs.corrupt_records import (
    Shard,
    first_corrupt_record,
    without_corrupt_records,
)

# Records are shuffled within windows of about this many bytes, of shards in random
# order: a full shuffle for small data, bounded memory for large.
SHUFFLE_BYTES = 128 << 20
MIXED_SHARDS = 4
# Enough for thousands of images a second; fewer cores share them.
PARALLEL_DECODES = 16


def record_batches(
    shards: Sequence[Shard],
    decode: Callable[[Any], tuple],
    batch_size: int,
    *,
    shuffle: bool,
    augment: bool,
    repeat: bool,
    seed: int,
    start_step: int,
    scale: Callable[[tuple], Any],
    weigh: Callable[[Any], Any] | None = None,
):
    """Reads, shuffles, decodes, turns and batches the records of shards.

    Shuffling permutes the shards and then the records within windows of 128 MB, anew
    in every epoch. At most two windows and a few batches are in memory.

    With `weigh`, an epoch takes as many records as there are, but from each window
    every record in proportion to its weight, w / Σw of the window's length, rounded up
    or down at random (systematic resampling).

    Args:
        shards: as of `usable_shards`, at least one record together.
        decode: TensorFlow function of a record that gives a tuple of uint8 [S, S, C].
        batch_size: int ≥ 1. Records per batch.
        shuffle: bool.
        augment: bool. Whether one of the 8 flips and rotations of the square, drawn per
            record, is applied to all images of a record alike.
        repeat: bool. Whether to go on forever, with whole batches across the borders of
            epochs; the n-th is then a pure function of the arguments and n.
        seed: int. Of order and augmentation.
        start_step: int ≥ 0. The number of batches to leave out at the beginning. Whole
            epochs are passed over without reading; within one, records are read, not
            decoded.
        scale: TensorFlow function of a batch, a tuple of uint8 [B, S, S, C].
        weigh: TensorFlow function of records [n] that gives their weights, float32 [n]
            above 0. Only where records are shuffled.

    Returns:
        tf.data.Dataset of what `scale` gives.
    """
    import tensorflow as tf

    count = record_count(shards)
    fold_in = tf.random.experimental.stateless_fold_in
    # Three independent streams; on the CPU, as accelerators may draw other numbers.
    with tf.device("/cpu:0"):
        base_seed = tf.constant([seed % 2**31, 0x9A125], tf.int32)
        shard_seed, record_seed, augment_seed = (
            fold_in(base_seed, i) for i in range(3)
        )

    def decode_and_turn(number, record):
        images = decode(record)
        if augment:
            bits = tf.random.stateless_uniform(
                [3], fold_in(augment_seed, number), 0, 2, tf.int32, alg="philox"
            )
            images = _flip_and_transpose(images, bits > 0)
        return images

    start = start_step * batch_size
    if repeat:
        epochs = tf.data.Dataset.range(start // count, 2**30)
        skipped, num_batches = start % count, tf.data.INFINITE_CARDINALITY
    else:
        # One epoch, of another number at every iteration.
        epochs = tf.data.Dataset.random(seed, rerandomize_each_iteration=True)
        epochs = epochs.take(1).map(lambda number: number % 2**30)
        skipped, num_batches = start, -(-max(count - start, 0) // batch_size)
    if shuffle:
        records = _shuffled_records(
            shards, epochs, shard_seed, record_seed, batch_size, weigh
        )
    else:
        records = _ordered_records(shards, epochs)
    dataset = records.skip(skipped).map(
        decode_and_turn, num_parallel_calls=PARALLEL_DECODES, deterministic=True
    )
    # Bytes are turned and batched, floats only scaled: they take four times the memory.
    dataset = dataset.batch(batch_size, drop_remainder=repeat)
    dataset = dataset.map(lambda *batch: scale(batch))
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(num_batches))
    return dataset.prefetch(2).with_options(reading_options())


def reading_options():
    """tf.data.Options: a fixed order, fixed memory, and whole batches for workers."""
    import tensorflow as tf

    options = tf.data.Options()
    options.deterministic = True
    # All depths are set: what is read ahead must not grow with the free memory.
    options.autotune.enabled = False
    # Shards are few and nested in epochs: workers share records out, not files.
    options.experimental_distribute.auto_shard_policy = (
        tf.data.experimental.AutoShardPolicy.DATA
    )
    return options


def usable_shards(
    data_dir: str | os.PathLike,
    listed: Mapping[str, list[dict[str, Any]]],
    split: str,
    decode: Callable[[Any], Any],
    skip_corrupt_records: bool,
    unit: str,
) -> tuple[list[Shard], list[Damage]]:
    """A split's shards, on request without what is corrupt in them.

    Args:
        data_dir: the folder they lie in.
        listed: by split, as `RecordsWriter.finish` gives them.
        split: str.
        decode: TensorFlow function of a record, which fails for one of no use.
        skip_corrupt_records: bool.
        unit: str. What records are called: "pairs".

    Returns:
        The shards, and what was left out.

    Raises:
        InputError: for a split that is not there, a shard that is missing or, unless
            corrupt records are skipped, of another length; or if nothing is left.
    """
    shards = checked_shards(data_dir, listed, split, unit, skip_corrupt_records)
    if not skip_corrupt_records:
        return shards, []
    sound, damages = without_corrupt_records(shards, decode)
    if damages:
        logging.warning(
            "Of %d %s for %s %d are skipped, as their records are corrupt: %s",
            record_count(shards),
            unit,
            split,
            sum(damage.lost for damage in damages),
            "; ".join(map(str, damages)),
        )
    if not record_count(sound):
        raise InputError(
            f"{os.fspath(data_dir)}: all records of split {split!r} are corrupt; "
            f"prepare or copy the {unit} again"
        )
    return sound, damages


def checked_shards(
    data_dir: str | os.PathLike,
    listed: Mapping[str, list[dict[str, Any]]],
    split: str,
    unit: str,
    any_length: bool = False,
) -> list[Shard]:
    """A split's shards; InputError unless all are there in full length."""
    from etils import epath

    if split not in listed:
        raise InputError(
            f"{os.fspath(data_dir)} has no split {split!r}; it has: {', '.join(listed)}"
        )
    shards = []
    for shard in listed[split]:
        path = epath.Path(data_dir) / shard["file"]
        size = path.stat().length if path.exists() else None
        if size is None or (size != shard["bytes"] and not any_length):
            found = "is missing" if size is None else f"has {size} bytes"
            raise InputError(
                f"{path} {found}, its record says {shard['bytes']} bytes; "
                f"prepare or copy the {unit} again"
            )
        shards.append(Shard(os.fspath(path), shard[unit], shard["bytes"]))
    return shards


def require_sound_shards(
    data_dir: str | os.PathLike,
    listed: Mapping[str, list[dict[str, Any]]],
    split: str,
    decode: Callable[[Any], Any],
    unit: str,
) -> None:
    """Raises InputError for the first corrupt record, if the split has one."""
    shards = checked_shards(data_dir, listed, split, unit)
    if corrupt := first_corrupt_record(shards, decode):
        raise InputError(
            f"{corrupt}; prepare or copy the {unit} again, or train with "
            "skip_corrupt_records"
        )


def record_count(shards: Sequence[Shard]) -> int:
    return sum(shard.records for shard in shards)


def _ordered_records(shards: Sequence[Shard], epochs):
    """Yields (number of the record over all epochs, record)."""
    import tensorflow as tf

    paths, count = [shard.path for shard in shards], record_count(shards)
    return epochs.flat_map(
        lambda epoch: tf.data.TFRecordDataset(paths).enumerate(epoch * count)
    )


def _shuffled_records(
    shards: Sequence[Shard], epochs, shard_seed, record_seed, min_window: int, weigh
):
    """Yields (number of the record over all epochs, record) in an epoch's own order."""
    import tensorflow as tf

    fold_in = tf.random.experimental.stateless_fold_in
    permuted = tf.random.experimental.stateless_shuffle
    paths, count = [shard.path for shard in shards], record_count(shards)
    num_bytes = sum(shard.bytes for shard in shards)
    window = min(count, max(min_window, SHUFFLE_BYTES * count // max(num_bytes, 1)))

    def epoch_windows(epoch):
        """Yields (number of the first record, records, their order)."""
        files = permuted(tf.constant(paths), fold_in(shard_seed, epoch))
        records = tf.data.Dataset.from_tensor_slices(files).interleave(
            tf.data.TFRecordDataset, cycle_length=MIXED_SHARDS
        )
        epoch_seed = fold_in(record_seed, epoch)

        def with_order(i, block):
            window_seed = fold_in(epoch_seed, i)
            order = permuted(tf.range(tf.size(block)), window_seed)
            if weigh:
                order = tf.gather(order, _resampled(weigh(block), order, window_seed))
            return epoch * count + i * window, block, order

        return records.batch(window).enumerate().map(with_order)

    def in_order(first, block, order):
        """Takes the records one by one: no second window is made of them."""
        order = tf.data.Dataset.from_tensor_slices(order)
        return order.map(lambda place: block[place]).enumerate(first)

    # The next window is read while the records of one are used. One thread reads: with
    # more, their allocations scatter over ever more memory.
    return epochs.flat_map(epoch_windows).prefetch(1).flat_map(in_order)


def _resampled(weights, order, seed):
    """Places in `order` [n], each as often as its record's weight asks for, shuffled.

    Systematic resampling: n pointers at equal distances, begun at random, on the
    weights laid end to end.
    """
    import tensorflow as tf

    fold_in = tf.random.experimental.stateless_fold_in
    count = tf.size(order)
    ends = tf.cumsum(tf.cast(tf.gather(weights, order), tf.float64))
    start = tf.random.stateless_uniform(
        [], fold_in(seed, 1), dtype=tf.float64, alg="philox"
    )
    pointers = tf.range(tf.cast(count, tf.float64), dtype=tf.float64) + start
    pointers *= ends[-1] / tf.cast(count, tf.float64)
    places = tf.searchsorted(ends, pointers, side="right")
    # Rounding may put the last pointer at the very end.
    places = tf.minimum(places, count - 1)
    return tf.random.experimental.stateless_shuffle(places, fold_in(seed, 2))


def _flip_and_transpose(images, choices):
    """One of the square's 8 symmetries: transposed, upside down, mirrored, or not."""
    import tensorflow as tf

    def changed(images, choice, change):
        return tf.cond(choice, lambda: tuple(map(change, images)), lambda: images)

    images = changed(images, choices[0], lambda image: tf.transpose(image, [1, 0, 2]))
    # Rows one by one: quicker than reverse, which has a fast way for columns only.
    rows = tf.range(tf.shape(images[0])[0] - 1, -1, -1)
    images = changed(images, choices[1], lambda image: tf.gather(image, rows))
    return changed(images, choices[2], lambda image: tf.reverse(image, [1]))
