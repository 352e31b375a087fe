"""Writes a pairs folder: TFRecord shards and the metadata of TensorFlow Datasets."""

import collections
import hashlib
import os
import pathlib
from collections.abc import Iterable
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


def _sha256_of_file(path: pathlib.Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
