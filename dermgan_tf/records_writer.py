"""Writes a folder of TFRecord shards with the metadata of TensorFlow Datasets."""

import collections
import hashlib
import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

from dermgan_tf.output_folder import tensorflow_errors_as_os_errors

SHARD_BYTES = 128 << 20


class RecordsWriter:
    """Writes shards of about 128 MB and the metadata of TensorFlow Datasets.

    Args:
        folder: pathlib.Path, an empty folder.
        features: tfds.features.FeaturesDict. Of a record.
        name: str. Of the data set; files' names begin with it.
        splits: the splits that there may be, in order.
        unit: str. What the count of a shard is called: "pairs".
        description: str. What the records are.
        homepage: str.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        features: Any,
        *,
        name: str,
        splits: Sequence[str],
        unit: str,
        description: str,
        homepage: str,
    ):
        self._folder = folder
        self._features = features
        self._name = name
        self._splits = list(splits)
        self._unit = unit
        self._about = {"description": description, "homepage": homepage}
        self._shards: dict[str, list[dict[str, Any]]] = {}
        self._open: dict[str, Any] = {}
        self._record_bytes: collections.Counter = collections.Counter()

    def write(self, split: str, records: Iterable[dict[str, Any]]) -> None:
        """Appends records: dicts after the features, with images as PNG bytes."""
        import tensorflow as tf

        for record in records:
            data = self._features.serialize_example(record)
            # The order of features inside a record differs from process to process.
            example = tf.train.Example.FromString(data)
            data = example.SerializeToString(deterministic=True)
            with tensorflow_errors_as_os_errors(self._folder):
                self._shard(split).write(data)
            self._shards[split][-1][self._unit] += 1
            self._shards[split][-1]["bytes"] += len(data)
            self._record_bytes[split] += len(data)

    def finish(self) -> dict[str, Any]:
        """Closes the shards and names them.

        Returns:
            "fingerprint": str, hexadecimal SHA-256 over the shards' digests; "shards":
            for each split its files in order, as dicts with the keys file, the unit,
            bytes and sha256.
        """
        import tensorflow_datasets as tfds

        fingerprint = hashlib.sha256()
        shards, split_infos = {}, []
        for split in sorted(self._shards, key=self._splits.index):
            with tensorflow_errors_as_os_errors(self._folder):
                self._open.pop(split).close()
            shards[split] = []
            for i, shard in enumerate(self._shards[split]):
                name = (
                    f"{self._name}-{split}.tfrecord-"
                    f"{i:05d}-of-{len(self._shards[split]):05d}"
                )
                path = self._folder / name
                os.rename(self._folder / shard["file"], path)
                digest = _sha256_of_file(path)
                fingerprint.update(digest.encode())
                shards[split].append(
                    {
                        "file": name,
                        self._unit: shard[self._unit],
                        "bytes": path.stat().st_size,
                        "sha256": digest,
                    }
                )
            split_infos.append(
                tfds.core.SplitInfo(
                    name=split,
                    shard_lengths=[shard[self._unit] for shard in shards[split]],
                    num_bytes=self._record_bytes[split],
                )
            )
        tfds.folder_dataset.write_metadata(
            data_dir=self._folder,
            features=self._features,
            split_infos=split_infos,
            version="1.0.0",
            check_data=False,
            **self._about,
        )
        return {"fingerprint": fingerprint.hexdigest(), "shards": shards}

    def _shard(self, split: str):
        import tensorflow as tf

        shards = self._shards.setdefault(split, [])
        if not shards or shards[-1]["bytes"] >= SHARD_BYTES:
            if shards:
                self._open.pop(split).close()
            name = f"{split}-{len(shards)}.partial"
            shards.append({"file": name, self._unit: 0, "bytes": 0})
            self._open[split] = tf.io.TFRecordWriter(str(self._folder / name))
        return self._open[split]


def _sha256_of_file(path: pathlib.Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
