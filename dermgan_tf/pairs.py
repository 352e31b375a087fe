"""The pairs folder: its format, and reading it back for training and evaluation.

A pairs folder holds TFRecord shards of crops with their semantic maps and the metadata
of TensorFlow Datasets, so that `tfds.builder_from_directory(folder)` opens it, and
`pairs.json` with what this library needs besides: vocabulary, image size, digests of
the shards. `dermgan_tf.prepare` writes it.
"""

import collections
import dataclasses
import hashlib
import json
import os
import pathlib
import re
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from dermgan_tf.errors import InputError
from dermgan_tf.output_folder import tensorflow_errors_as_os_errors
from dermgan_tf.vocabulary import Vocabulary

DATASET_NAME = "pairs"
INFO_FILE = "pairs.json"
FORMAT_VERSION = 1
SPLITS = ("train", "validation", "test")

SHARD_BYTES = 128 << 20
# Records are shuffled within windows of about this many bytes, of shards in random
# order: a full shuffle for small data, bounded memory for large.
SHUFFLE_BYTES = 128 << 20
PARALLEL_READS = 4


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
    """

    vocabulary: Vocabulary
    image_size: int
    counts: dict[str, int]
    fingerprint: str
    source: str
    shards: dict[str, list[dict[str, Any]]]


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
    drawn per pair, to image and map alike.

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

    Returns:
        tf.data.Dataset of dicts "semantic_map" and "image", both float32 [B, S, S, 3],
        byte / 127.5 - 1, in [-1, 1].

    Raises:
        InputError: for a folder that holds no pairs, a split it has not, a damaged
            shard, or a repeated split smaller than one batch.

    Example:

    >>> for batch in load_pairs("pairs", "train", 16).take(1):
    ...     batch["image"].shape
    TensorShape([16, 256, 256, 3])
    """
    import tensorflow as tf

    info = read_pairs_info(data_dir)
    shards = _checked_shards(data_dir, info, split)
    shuffle, augment = (
        split == "train" if choice is None else choice for choice in (shuffle, augment)
    )
    if batch_size < 1 or start_step < 0:
        raise InputError(
            f"batch size {batch_size}, start step {start_step}: want at least 1 and 0"
        )
    count = info.counts[split]
    if repeat and count < batch_size:
        raise InputError(
            f"split {split!r} of {os.fspath(data_dir)} has {count} pairs, fewer than "
            f"one batch of {batch_size}; take a smaller batch or prepare more crops"
        )
    fold_in = tf.random.experimental.stateless_fold_in
    permuted = tf.random.experimental.stateless_shuffle
    # Three independent streams; on the CPU, as accelerators may draw other numbers.
    with tf.device("/cpu:0"):
        base_seed = tf.constant([seed % 2**31, 0x9A125], tf.int32)
        shard_seed, record_seed, augment_seed = (
            fold_in(base_seed, i) for i in range(3)
        )
    num_bytes = sum(shard["bytes"] for shard in info.shards[split])
    window = min(count, max(batch_size, SHUFFLE_BYTES * count // max(num_bytes, 1)))

    def epoch_records(epoch):
        files = tf.constant(shards)
        if not shuffle:
            return tf.data.TFRecordDataset(files)
        files = permuted(files, fold_in(shard_seed, epoch))
        records = tf.data.Dataset.from_tensor_slices(files).interleave(
            tf.data.TFRecordDataset,
            cycle_length=PARALLEL_READS,
            num_parallel_calls=PARALLEL_READS,
            deterministic=True,
        )
        epoch_seed = fold_in(record_seed, epoch)
        return (
            records.batch(window)
            .enumerate()
            .map(lambda i, block: permuted(block, fold_in(epoch_seed, i)))
            .unbatch()
        )

    def decode(index, record):
        parsed = tf.io.parse_single_example(
            record,
            {
                "semantic_map": tf.io.FixedLenFeature([], tf.string),
                "image": tf.io.FixedLenFeature([], tf.string),
            },
        )
        both = tf.concat(
            [
                tf.io.decode_png(parsed["semantic_map"], channels=3),
                tf.io.decode_png(parsed["image"], channels=3),
            ],
            axis=-1,
        )
        if augment:
            bits = tf.random.stateless_uniform(
                [3], fold_in(augment_seed, index), 0, 2, tf.int32, alg="philox"
            )
            both = _flip_and_transpose(both, bits > 0)
        both.set_shape([info.image_size, info.image_size, 6])
        scaled = tf.cast(both, tf.float32) / 127.5 - 1.0
        return {"semantic_map": scaled[..., :3], "image": scaled[..., 3:]}

    start = start_step * batch_size
    if repeat:
        epochs = tf.data.Dataset.range(start // count, 2**30)
        skipped, num_batches = start % count, tf.data.INFINITE_CARDINALITY
    else:
        # One epoch, of another number at every iteration.
        epochs = tf.data.Dataset.random(seed, rerandomize_each_iteration=True)
        epochs = epochs.take(1).map(lambda number: number % 2**30)
        skipped, num_batches = start, -(-max(count - start, 0) // batch_size)
    records = epochs.flat_map(
        lambda epoch: epoch_records(epoch).enumerate(epoch * count)
    )
    dataset = records.skip(skipped).map(
        decode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    dataset = dataset.batch(batch_size, drop_remainder=repeat)
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(num_batches))
    options = tf.data.Options()
    options.deterministic = True
    # Shards are few and nested in epochs: workers share pairs out, not files.
    options.experimental_distribute.auto_shard_policy = (
        tf.data.experimental.AutoShardPolicy.DATA
    )
    return dataset.prefetch(tf.data.AUTOTUNE).with_options(options)


def read_pairs(data_dir: str | os.PathLike, split: str) -> Iterator[dict[str, Any]]:
    """Reads all features of a split, in the order of `load_pairs(…, shuffle=False)`.

    Args:
        data_dir: a folder that `prepare_pairs` wrote.
        split: "train", "validation" or "test".

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
    shards = _checked_shards(data_dir, info, split)
    features = pair_features(info.vocabulary, info.image_size)
    names = info.vocabulary.conditions
    records = tf.data.TFRecordDataset(shards).map(features.deserialize_example)
    records = records.as_numpy_iterator()
    while True:
        try:
            pair = next(records)
        except StopIteration:
            return
        except tf.errors.DataLossError as error:
            raise damaged_shards(data_dir, info, split, error) from error
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


def damaged_shards(
    data_dir: str | os.PathLike, info: PairsInfo, split: str, error: Exception
) -> InputError:
    """The error to raise for the DataLossError of a split, which names no file."""
    from etils import epath

    damaged = [
        shard["file"]
        for shard in info.shards[split]
        if _sha256_of_file(epath.Path(data_dir) / shard["file"]) != shard["sha256"]
    ]
    where = re.search(r"corrupted record at \d+", str(error))
    return InputError(
        f"{os.fspath(data_dir)}: {', '.join(damaged) or f'a {split} shard'}: "
        f"{where.group() if where else 'damaged'}; prepare or copy the pairs again"
    )


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


class PairsWriter:
    """Writes shards of about 128 MB and the metadata of TensorFlow Datasets.

    Args:
        folder: pathlib.Path, an empty folder.
        vocabulary: the conditions of the maps.
        image_size: int. Height and width of crops and maps in pixels.
    """

    def __init__(self, folder: pathlib.Path, vocabulary: Vocabulary, image_size: int):
        self._folder = folder
        self._features = pair_features(vocabulary, image_size)
        self._shards: dict[str, list[dict[str, Any]]] = {}
        self._open: dict[str, Any] = {}
        self._record_bytes: collections.Counter = collections.Counter()

    def write(self, split: str, pairs: Iterable[dict[str, Any]]) -> None:
        """Appends pairs: dicts after `pair_features`, with images as PNG bytes."""
        import tensorflow as tf
        import tensorflow_datasets as tfds

        for pair in pairs:
            boxes = [tfds.features.BBox(*box) for box in pair["boxes"]]
            record = self._features.serialize_example({**pair, "boxes": boxes})
            # The order of features inside a record differs from process to process.
            example = tf.train.Example.FromString(record)
            record = example.SerializeToString(deterministic=True)
            with tensorflow_errors_as_os_errors(self._folder):
                self._shard(split).write(record)
            self._shards[split][-1]["pairs"] += 1
            self._shards[split][-1]["bytes"] += len(record)
            self._record_bytes[split] += len(record)

    def finish(self) -> dict[str, Any]:
        """Closes the shards and names them.

        Returns:
            "fingerprint" and "shards", as in `PairsInfo`.
        """
        import tensorflow_datasets as tfds

        fingerprint = hashlib.sha256()
        shards, split_infos = {}, []
        for split in sorted(self._shards, key=SPLITS.index):
            with tensorflow_errors_as_os_errors(self._folder):
                self._open.pop(split).close()
            shards[split] = []
            for i, shard in enumerate(self._shards[split]):
                name = (
                    f"{DATASET_NAME}-{split}.tfrecord-"
                    f"{i:05d}-of-{len(self._shards[split]):05d}"
                )
                path = self._folder / name
                os.rename(self._folder / shard["file"], path)
                digest = _sha256_of_file(path)
                fingerprint.update(digest.encode())
                shards[split].append(
                    {
                        "file": name,
                        "pairs": shard["pairs"],
                        "bytes": path.stat().st_size,
                        "sha256": digest,
                    }
                )
            split_infos.append(
                tfds.core.SplitInfo(
                    name=split,
                    shard_lengths=[shard["pairs"] for shard in shards[split]],
                    num_bytes=self._record_bytes[split],
                )
            )
        tfds.folder_dataset.write_metadata(
            data_dir=self._folder,
            features=self._features,
            split_infos=split_infos,
            version="1.0.0",
            check_data=False,
            description="Crops of skin photographs with their semantic maps.",
            homepage="https://arxiv.org/abs/1911.08716",  # what pairs are for: DermGAN
        )
        return {"fingerprint": fingerprint.hexdigest(), "shards": shards}

    def _shard(self, split: str):
        import tensorflow as tf

        shards = self._shards.setdefault(split, [])
        if not shards or shards[-1]["bytes"] >= SHARD_BYTES:
            if shards:
                self._open.pop(split).close()
            name = f"{split}-{len(shards)}.partial"
            shards.append({"file": name, "pairs": 0, "bytes": 0})
            self._open[split] = tf.io.TFRecordWriter(str(self._folder / name))
        return self._open[split]


def _checked_shards(data_dir, info: PairsInfo, split: str) -> list[str]:
    """The paths of a split's shards; InputError unless all are there in full length."""
    from etils import epath

    if split not in info.shards:
        raise InputError(
            f"{os.fspath(data_dir)} has no split {split!r}; it has: "
            f"{', '.join(info.shards)}"
        )
    paths = [epath.Path(data_dir) / shard["file"] for shard in info.shards[split]]
    for path, shard in zip(paths, info.shards[split], strict=True):
        size = path.stat().length if path.exists() else None
        if size != shard["bytes"]:
            found = "is missing" if size is None else f"has {size} bytes"
            raise InputError(
                f"{path} {found}, its record says {shard['bytes']} bytes; "
                "prepare or copy the pairs again"
            )
    return [os.fspath(path) for path in paths]


def _flip_and_transpose(image, choices):
    """One of the square's 8 symmetries: transposed, upside down, mirrored, or not."""
    import tensorflow as tf

    image = tf.cond(choices[0], lambda: tf.transpose(image, [1, 0, 2]), lambda: image)
    image = tf.cond(choices[1], lambda: tf.reverse(image, [0]), lambda: image)
    return tf.cond(choices[2], lambda: tf.reverse(image, [1]), lambda: image)


def _sha256_of_file(path: pathlib.Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
