"""Writes a folder of TFRecord shards with the metadata of TensorFlow Datasets."""

import collections
import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

from dermgan_tf.output_folder import tensorflow_errors_as_os_errors
from dermgan_tf.pairs import pairs, patches
from dermgan_tf.photos.vocabulary import Vocabulary

SHARD_BYTES = 128 << 20

# By split its shards in order: dicts with the keys file, the unit, bytes, sha256.
Shards = dict[str, list[dict[str, Any]]]


@dataclasses.dataclass(frozen=True)
class RecordsFormat:
    """How a folder of records is called, and what it is.

    Args:
        name: str. Of the data set; files' names begin with it.
        splits: the splits that there may be, in order.
        unit: str. What the count of a shard is called: "pairs".
        description: str. What the records are.
        homepage: str.
    """

    name: str
    splits: tuple[str, ...]
    unit: str
    description: str
    homepage: str

    def shard_name(self, split: str, number: int, count: int) -> str:
        """The file of a split's shard, as TensorFlow Datasets looks for it."""
        return f"{self.name}-{split}.tfrecord-{number:05d}-of-{count:05d}"

    def fingerprint(self, shards: Shards) -> str:
        """Hexadecimal SHA-256 over the digests of all shards."""
        fingerprint = hashlib.sha256()
        for split in sorted(shards, key=self.splits.index):
            for shard in shards[split]:
                fingerprint.update(shard["sha256"].encode())
        return fingerprint.hexdigest()

    def write_metadata(
        self,
        folder: pathlib.Path,
        features: Any,
        shards: Shards,
        record_bytes: Mapping[str, int],
    ) -> None:
        """Writes what `tfds.builder_from_directory` reads.

        Args:
            folder: where to.
            features: tfds.features.FeaturesDict. Of a record.
            shards: in order of the splits.
            record_bytes: of each split, without the framing of its records.
        """
        import tensorflow_datasets as tfds

        split_infos = [
            tfds.core.SplitInfo(
                name=split,
                shard_lengths=[shard[self.unit] for shard in shards[split]],
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
            description=self.description,
            homepage=self.homepage,
        )


class RecordsWriter:
    """Writes shards of about 128 MB and the metadata of TensorFlow Datasets.

    Args:
        folder: pathlib.Path, an empty folder.
        features: tfds.features.FeaturesDict. Of a record.
        form: what the folder is called.
    """

    def __init__(self, folder: pathlib.Path, features: Any, form: RecordsFormat):
        self._folder = folder
        self._features = features
        self._form = form
        self._shards: Shards = {}
        self._open: dict[str, Any] = {}
        self._record_bytes: collections.Counter = collections.Counter()

    def write(self, split: str, records: Iterable[dict[str, Any]]) -> None:
        """Appends records: dicts after the features, with images as PNG bytes."""
        for record in records:
            data = serialized(self._features, record)
            with tensorflow_errors_as_os_errors(self._folder):
                self._shard(split).write(data)
            self._shards[split][-1][self._form.unit] += 1
            self._shards[split][-1]["bytes"] += len(data)
            self._record_bytes[split] += len(data)

    def finish(self) -> dict[str, Any]:
        """Closes the shards and names them.

        Returns:
            "fingerprint" and "shards", as of `RecordsFormat`.
        """
        shards: Shards = {}
        for split in sorted(self._shards, key=self._form.splits.index):
            with tensorflow_errors_as_os_errors(self._folder):
                self._open.pop(split).close()
            shards[split] = []
            for i, shard in enumerate(self._shards[split]):
                name = self._form.shard_name(split, i, len(self._shards[split]))
                path = self._folder / name
                os.rename(self._folder / shard["file"], path)
                shards[split].append(
                    {
                        "file": name,
                        self._form.unit: shard[self._form.unit],
                        "bytes": path.stat().st_size,
                        "sha256": sha256_of_file(path),
                    }
                )
        self._form.write_metadata(
            self._folder, self._features, shards, self._record_bytes
        )
        return {"fingerprint": self._form.fingerprint(shards), "shards": shards}

    def _shard(self, split: str):
        import tensorflow as tf

        shards = self._shards.setdefault(split, [])
        if not shards or shards[-1]["bytes"] >= SHARD_BYTES:
            if shards:
                self._open.pop(split).close()
            name = f"{split}-{len(shards)}.partial"
            shards.append({"file": name, self._form.unit: 0, "bytes": 0})
            self._open[split] = tf.io.TFRecordWriter(str(self._folder / name))
        return self._open[split]


def serialized(features: Any, record: dict[str, Any]) -> bytes:
    """A record as it stands in a shard: the same bytes in every process.

    Args:
        features: tfds.features.FeaturesDict.
        record: dict after them, with images as PNG bytes.
    """
    import tensorflow as tf

    # The order of features inside a record differs from process to process.
    example = tf.train.Example.FromString(features.serialize_example(record))
    return example.SerializeToString(deterministic=True)


def sha256_of_file(path: pathlib.Path) -> str:
    """The hexadecimal SHA-256 of a file, however long."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


PAIRS = RecordsFormat(
    name=pairs.DATASET_NAME,
    splits=pairs.SPLITS,
    unit="pairs",
    description="Crops of skin photographs with their semantic maps.",
    homepage="https://arxiv.org/abs/1911.08716",  # what pairs are for: DermGAN
)


PATCHES = RecordsFormat(
    name=patches.DATASET_NAME,
    splits=patches.DOMAIN_SPLITS,
    unit="patches",
    description="Patches of healthy skin and of pathology, with its masks.",
    homepage="https://doi.org/10.1007/978-3-030-58309-5_15",  # Furger et al. 2020
)


class PairsWriter(RecordsWriter):
    """Writes the shards and the metadata of a pairs folder; see `RecordsWriter`.

    Args:
        folder: pathlib.Path, an empty folder.
        vocabulary: the conditions of the maps.
        image_size: int. Height and width of crops and maps in pixels.
    """

    def __init__(self, folder: pathlib.Path, vocabulary: Vocabulary, image_size: int):
        super().__init__(folder, pairs.pair_features(vocabulary, image_size), PAIRS)

    def write(self, split: str, records: Iterable[dict[str, Any]]) -> None:
        """Appends pairs: dicts as `pair_record` takes them."""
        super().write(split, map(pair_record, records))


class PatchesWriter(RecordsWriter):
    """Writes the shards and the metadata of a patches folder; see `RecordsWriter`.

    Args:
        folder: pathlib.Path, an empty folder.
        image_size: int. Height and width of patches in pixels.
    """

    def __init__(self, folder: pathlib.Path, image_size: int):
        super().__init__(folder, patches.patch_features(image_size), PATCHES)


def pair_record(pair: dict[str, Any]) -> dict[str, Any]:
    """A pair as `pair_features` take it.

    Args:
        pair: dict after them, with images as PNG bytes and boxes as four numbers.
    """
    import tensorflow_datasets as tfds

    return {**pair, "boxes": [tfds.features.BBox(*box) for box in pair["boxes"]]}
