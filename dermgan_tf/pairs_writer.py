"""Writes a pairs folder: TFRecord shards and the metadata of TensorFlow Datasets."""

import collections
import hashlib
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

from dermgan_tf.output_folder import tensorflow_errors_as_os_errors
from dermgan_tf.pairs import DATASET_NAME, SPLITS, pair_features
from dermgan_tf.vocabulary import Vocabulary

SHARD_BYTES = 128 << 20


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
        for pair in pairs:
            record = pair_record(self._features, pair)
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
        shards = {}
        for split in sorted(self._shards, key=SPLITS.index):
            with tensorflow_errors_as_os_errors(self._folder):
                self._open.pop(split).close()
            shards[split] = []
            for i, shard in enumerate(self._shards[split]):
                name = shard_name(split, i, len(self._shards[split]))
                path = self._folder / name
                os.rename(self._folder / shard["file"], path)
                shards[split].append(
                    {
                        "file": name,
                        "pairs": shard["pairs"],
                        "bytes": path.stat().st_size,
                        "sha256": sha256_of_file(path),
                    }
                )
        write_metadata(self._folder, self._features, shards, self._record_bytes)
        return {"fingerprint": pairs_fingerprint(shards), "shards": shards}

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


def pair_record(features: Any, pair: dict[str, Any]) -> bytes:
    """A pair as it stands in a shard: the same bytes in every process.

    Args:
        features: of `pair_features`.
        pair: dict after them, with images as PNG bytes and boxes as four numbers.
    """
    import tensorflow as tf
    import tensorflow_datasets as tfds

    boxes = [tfds.features.BBox(*box) for box in pair["boxes"]]
    record = features.serialize_example({**pair, "boxes": boxes})
    # The order of features inside a record differs from process to process.
    example = tf.train.Example.FromString(record)
    return example.SerializeToString(deterministic=True)


def shard_name(split: str, number: int, count: int) -> str:
    """The file of a split's shard, as TensorFlow Datasets looks for it."""
    return f"{DATASET_NAME}-{split}.tfrecord-{number:05d}-of-{count:05d}"


def pairs_fingerprint(shards: dict[str, list[dict[str, Any]]]) -> str:
    """SHA-256 over the digests of all shards; see `PairsInfo`."""
    fingerprint = hashlib.sha256()
    for split in sorted(shards, key=SPLITS.index):
        for shard in shards[split]:
            fingerprint.update(shard["sha256"].encode())
    return fingerprint.hexdigest()


def write_metadata(
    folder: pathlib.Path,
    features: Any,
    shards: dict[str, list[dict[str, Any]]],
    record_bytes: Mapping[str, int],
) -> None:
    """Writes what `tfds.builder_from_directory` reads.

    Args:
        folder: where to.
        features: of `pair_features`.
        shards: as in `PairsInfo`, in order of the splits.
        record_bytes: of each split, without the framing of its records.
    """
    import tensorflow_datasets as tfds

    split_infos = [
        tfds.core.SplitInfo(
            name=split,
            shard_lengths=[shard["pairs"] for shard in shards[split]],
            num_bytes=record_bytes[split],
        )
        for split in shards
    ]
    tfds.folder_dataset.write_metadata(
        data_dir=folder,
        features=features,
        split_infos=split_infos,
        version="1.0.0",
        check_data=False,
        description="Crops of skin photographs with their semantic maps.",
        homepage="https://arxiv.org/abs/1911.08716",  # what pairs are for: DermGAN
    )


def sha256_of_file(path: pathlib.Path) -> str:
    """The hexadecimal SHA-256 of a file, however long."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
