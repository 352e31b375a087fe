"""The pairs folder: its format, and reading it back for training and evaluation.

A pairs folder holds TFRecord shards of crops with their semantic maps and the metadata
of TensorFlow Datasets, so that `tfds.builder_from_directory(folder)` opens it, and
`pairs.json` with what this library needs besides: vocabulary, image size, digests of
the shards. `dermgan_tf.pairs.records` writes it.
"""

import dataclasses
import json
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from dermgan_tf.errors import Damage, InputError
from dermgan_tf.pairs.batches import (
    record_batches,
    record_count,
    require_sound_shards,
    usable_shards,
)
from dermgan_tf.pairs.corrupt_records import Shard
from dermgan_tf.photos.vocabulary import Vocabulary

DATASET_NAME = "pairs"
INFO_FILE = "pairs.json"
FORMAT_VERSION = 1
SPLITS = ("train", "validation", "test")

_IMAGES = ("semantic_map", "image")


@dataclasses.dataclass(frozen=True)
class PairsInfo:
    """What a pairs folder holds.

    Args:
        vocabulary: the conditions its maps are painted with.
        image_size: int. Height and width of crops and maps in pixels.
        counts: dict. Number of pairs by split; empty splits are absent.
        fingerprint: str. Hexadecimal SHA-256 over the shards' digests.
        source: str. "real", "phantom", or both joined with "+".
        shards: dict. For each split its shard files in order, as dicts with the keys
            file, pairs, bytes, sha256.
        anonymized_ids: bool. Whether case and image ids are hashes under a salt.
    """

    vocabulary: Vocabulary
    image_size: int
    counts: dict[str, int]
    fingerprint: str
    source: str
    shards: dict[str, list[dict[str, Any]]]
    anonymized_ids: bool = False


def read_pairs_info(data_dir: str | os.PathLike) -> PairsInfo:
    """Reads what a pairs folder holds.

    Args:
        data_dir: the folder, local or on any storage TensorFlow reads (`gs://…`).

    Raises:
        InputError: if it is not a pairs folder.
    """
    from etils import epath  # comes with tensorflow_datasets

    path = epath.Path(data_dir) / INFO_FILE
    try:
        info = json.loads(path.read_text())
        if info["format_version"] != FORMAT_VERSION:
            raise InputError(
                f"{path}: pairs format {info['format_version']}, this version of "
                f"dermgan_tf reads {FORMAT_VERSION}; prepare the pairs again"
            )
        return PairsInfo(
            vocabulary=Vocabulary(info["vocabulary"]),
            image_size=int(info["image_size"]),
            counts={name: int(n) for name, n in info["crops"].items()},
            fingerprint=str(info["fingerprint"]),
            source=str(info["source"]),
            shards=info["shards"],
            anonymized_ids=bool(info.get("anonymized_ids", False)),
        )
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(
            f"{os.fspath(data_dir)} is not a folder of pairs: it has no {INFO_FILE}; "
            "prepare_pairs makes one"
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is damaged: {error!r}; prepare the pairs again"
        ) from None


def load_pairs(
    data_dir: str | os.PathLike,
    split: str,
    batch_size: int,
    *,
    shuffle: bool | None = None,
    augment: bool | None = None,
    repeat: bool = False,
    seed: int = 0,
    start_step: int = 0,
    skip_corrupt_records: bool = False,
    balance: float = 0.0,
):
    """Loads pairs for training or evaluation.

    By default an iteration is an epoch, as Keras' `fit(dataset, epochs=…)` wants it,
    and each iteration shuffles and augments anew.

    With `repeat`, the n-th batch is a pure function of the folder, the arguments and n:
    a run that stopped after k batches goes on exactly where it was with `start_step=k`.
    Whole epochs are passed over without reading; within one, records are read, not
    decoded.

    Shuffling permutes the shards and then the records within windows of 128 MB, anew
    in every epoch. Augmenting applies one of the 8 flips and rotations of the square,
    drawn per pair, to image and map alike. At most two windows and a few batches are
    in memory.

    Args:
        data_dir: a folder that `prepare_pairs` wrote.
        split: "train", "validation" or "test".
        batch_size: int. Pairs per batch (over all replicas).
        shuffle: bool, default: True for "train" only.
        augment: bool, default: True for "train" only.
        repeat: bool. Whether to go on forever, with whole batches across the borders of
            epochs; otherwise each pair comes once and the last batch may be smaller.
        seed: int. Of order and augmentation.
        start_step: int. The number of batches to leave out at the beginning.
        skip_corrupt_records: bool. Whether to leave out, with a warning, what is
            damaged or holds no pair, for which an iteration otherwise fails. To find
            it, all pairs of the split are read and decoded once beforehand.
        balance: float, 0…1. Above 0, pairs of rare conditions and rare skin types come
            more than once in an epoch, others not in every one: each in proportion to
            (pairs of its condition × pairs of its skin type) ** -balance, counted
            within the window that is shuffled. With 1, were the two independent, all
            conditions would come alike often, and all skin types. Needs `shuffle`.

    Returns:
        tf.data.Dataset of dicts "semantic_map" and "image", both float32 [B, S, S, 3],
        byte / 127.5 - 1, in [-1, 1]. Its attribute `damages` lists what was left out,
        as `dermgan_tf.errors.Damage`.

    Raises:
        InputError: for a folder that holds no pairs, a split it has not, a shard that
            is missing or, unless corrupt records are skipped, of another length, or a
            repeated split smaller than one batch.

    Example:

    >>> for batch in load_pairs("pairs", "train", 16).take(1):
    ...     batch["image"].shape
    TensorShape([16, 256, 256, 3])
    """
    import tensorflow as tf

    info = read_pairs_info(data_dir)
    shards, damages = _usable_shards(data_dir, info, split, skip_corrupt_records)
    shuffle, augment = (
        split == "train" if choice is None else choice for choice in (shuffle, augment)
    )
    if batch_size < 1 or start_step < 0:
        raise InputError(
            f"batch size {batch_size}, start step {start_step}: want at least 1 and 0"
        )
    if not 0 <= balance <= 1 or (balance and not shuffle):
        raise InputError(
            f"balance {balance}: want 0 to 1, and above 0 only where pairs are shuffled"
        )
    count = record_count(shards)
    if repeat and count < batch_size:
        raise InputError(
            f"split {split!r} of {os.fspath(data_dir)} has {count} pairs, fewer than "
            f"one batch of {batch_size}; take a smaller batch or prepare more crops"
        )

    def scale(batch):
        return {
            key: tf.cast(image, tf.float32) / 127.5 - 1.0
            for key, image in zip(_IMAGES, batch, strict=True)
        }

    dataset = record_batches(
        shards,
        _decoder(info),
        batch_size,
        shuffle=shuffle,
        augment=augment,
        repeat=repeat,
        seed=seed,
        start_step=start_step,
        scale=scale,
        weigh=(lambda records: _rarity(records, balance)) if balance else None,
    )
    dataset.damages = tuple(damages)
    return dataset


def read_pairs(
    data_dir: str | os.PathLike, split: str, *, skip_corrupt_records: bool = False
) -> Iterator[dict[str, Any]]:
    """Reads all features of a split, in the order of `load_pairs(…, shuffle=False)`.

    Args:
        data_dir: a folder that `prepare_pairs` wrote.
        split: "train", "validation" or "test".
        skip_corrupt_records: bool. As of `load_pairs`.

    Yields:
        dicts of
        image, semantic_map: np.uint8 [S, S, 3];
        image_id, case_id, condition, source: str;
        fitzpatrick: int, 0…6;
        boxes: np.float32 [n, 4], normalised to the crop;
        box_conditions: tuple of n str;
        window: np.float32 [4], normalised to the photo.

    Raises:
        InputError: for a folder that holds no pairs, a split it has not, or a damaged
            shard.
    """
    import tensorflow as tf

    info = read_pairs_info(data_dir)
    shards, _ = _usable_shards(data_dir, info, split, skip_corrupt_records)
    features = pair_features(info.vocabulary, info.image_size)
    names = info.vocabulary.conditions
    records = tf.data.TFRecordDataset([shard.path for shard in shards])
    records = records.map(features.deserialize_example).as_numpy_iterator()
    while True:
        try:
            pair = next(records)
        except StopIteration:
            return
        except (tf.errors.DataLossError, tf.errors.InvalidArgumentError):
            require_sound_records(data_dir, split)
            raise
        yield {
            "image": pair["image"],
            "semantic_map": pair["semantic_map"],
            "image_id": pair["image_id"].decode(),
            "case_id": pair["case_id"].decode(),
            "condition": names[pair["condition"]],
            "fitzpatrick": int(pair["fitzpatrick"]),
            "boxes": pair["boxes"],
            "box_conditions": tuple(names[k] for k in pair["box_conditions"]),
            "window": pair["window"],
            "source": pair["source"].decode(),
        }


def read_pairs_at(
    data_dir: str | os.PathLike, split: str, positions: Sequence[int]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Reads the photographs at some places of a split; see `read_pairs`.

    Args:
        data_dir: a folder that `prepare_pairs` wrote.
        split: a split of it.
        positions: places in the split, from 0.

    Yields:
        (position, pair), in order of position.

    Raises:
        InputError: as `read_pairs`, or if one of these pairs is synthetic: images are
            judged against photographs only.
    """
    wanted = {int(position) for position in positions}
    for position, pair in enumerate(read_pairs(data_dir, split) if wanted else ()):
        if position in wanted:
            if pair["source"] == "synthetic":
                raise InputError(
                    f"{os.fspath(data_dir)}: {pair['image_id']} of split {split!r} is "
                    "synthetic; synthetic images are judged against photographs only"
                )
            yield position, pair


def drawn_positions(total: int, count: int, seed: int) -> np.ndarray:
    """`count` of the places 0 … total − 1, drawn at random, in order: int64."""
    return np.sort(np.random.default_rng(seed).permutation(total)[:count])


def require_sound_records(data_dir: str | os.PathLike, split: str) -> None:
    """Raises InputError for the first corrupt record, if the split has one.

    To be asked when an iteration has failed: TensorFlow's errors name no file.
    """
    info = read_pairs_info(data_dir)
    require_sound_shards(data_dir, info.shards, split, _decoder(info), "pairs")


def pair_features(vocabulary: Vocabulary, image_size: int):
    """The feature specification of a pair, as `tfds.features.FeaturesDict`."""
    import tensorflow_datasets as tfds

    shape = (image_size, image_size, 3)
    names = list(vocabulary)
    return tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=shape, encoding_format="png"),
            "semantic_map": tfds.features.Image(shape=shape, encoding_format="png"),
            "image_id": tfds.features.Text(),
            "case_id": tfds.features.Text(),
            "condition": tfds.features.ClassLabel(names=names),
            "fitzpatrick": tfds.features.Scalar(np.int32),
            "boxes": tfds.features.Sequence(tfds.features.BBoxFeature()),
            "box_conditions": tfds.features.Sequence(
                tfds.features.ClassLabel(names=names)
            ),
            "window": tfds.features.Tensor(shape=(4,), dtype=np.float32),
            "source": tfds.features.Text(),
        }
    )


def _usable_shards(
    data_dir, info: PairsInfo, split: str, skip_corrupt_records: bool
) -> tuple[list[Shard], list[Damage]]:
    return usable_shards(
        data_dir, info.shards, split, _decoder(info), skip_corrupt_records, "pairs"
    )


def _decoder(info: PairsInfo) -> Callable[[Any], Any]:
    return lambda record: _decode(record, info.image_size)


def _rarity(records, balance: float):
    """(pairs of the condition × pairs of the skin type) ** -balance, float32 [n]."""
    import tensorflow as tf

    number = tf.io.FixedLenFeature([], tf.int64)
    features = ("condition", "fitzpatrick")
    parsed = tf.io.parse_example(records, dict.fromkeys(features, number))
    counts = tf.ones_like(records, tf.float32)
    for values in parsed.values():
        counts *= tf.cast(tf.gather(tf.math.bincount(values), values), tf.float32)
    return counts**-balance


def _decode(record, image_size: int):
    """Map and image of a record, uint8 [S, S, 3] each."""
    import tensorflow as tf

    feature = tf.io.FixedLenFeature([], tf.string)
    parsed = tf.io.parse_single_example(record, dict.fromkeys(_IMAGES, feature))
    shape = (image_size, image_size, 3)
    return tuple(
        tf.ensure_shape(tf.io.decode_png(parsed[key], channels=3), shape)
        for key in _IMAGES
    )
