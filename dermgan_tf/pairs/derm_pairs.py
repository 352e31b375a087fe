"""derm_pairs: the pairs of a folder that prepare_pairs made, as TensorFlow Datasets.

Such a folder is a data set of TensorFlow Datasets already, and is best read where it
lies: `tfds.builder_from_directory(folder)`. This builder is for what needs a copy:
another file format (array_record, parquet), other shards, a place beside others.
"""

import collections
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from dermgan_tf.errors import InputError
from dermgan_tf.pairs.input_builder import InputBuilder
from dermgan_tf.pairs.pairs import PairsInfo, read_pairs_info, require_sound_records
from dermgan_tf.pairs.tfds_features import CITATION, doc

_DESCRIPTION = """
Square crops of skin photographs with their semantic maps, for training a generator
that paints the one from the other. Several crops may come from one photograph. Splits
are made by case.
"""


class DermPairs(InputBuilder):
    """Pairs of a crop and its semantic map.

    Args:
        pairs: a folder that `prepare_pairs` made.
        **kwargs: data_dir, config (any name) and others of `tfds.core.DatasetBuilder`.

    Example:

    >>> tfds.load("derm_pairs/ulcers", builder_kwargs={"pairs": "data/ulcer_pairs"})
    """

    def __init__(self, *, pairs: str | os.PathLike | None = None, **kwargs: Any):
        self._pairs = None if pairs is None else str(pairs)
        super().__init__(**kwargs)
        self._original_state.update(pairs=pairs)  # for pickling

    def _info(self) -> tfds.core.DatasetInfo:
        built = (self.data_path / "features.json").exists()
        if built:
            features = None  # as they were stored
        elif self._pairs:
            info = read_pairs_info(self._pairs)
            features = pairs_features(info)
        else:
            features = pairs_features(None)
        return tfds.core.DatasetInfo(
            builder=self,
            description=_DESCRIPTION,
            features=features,
            supervised_keys=("semantic_map", "image"),
            citation=CITATION,
            metadata=tfds.core.MetadataDict(),
        )

    def _input_digest(self) -> str | None:
        return read_pairs_info(self._pairs).fingerprint if self._pairs else None

    def _split_generators(self, dl_manager) -> dict[str, Iterator]:
        if not self._pairs:
            raise InputError(
                "derm_pairs needs pairs: give pairs=FOLDER, made by prepare_pairs, to "
                "the builder"
            )
        info = read_pairs_info(self._pairs)
        features = self.info.features
        self._set_conditions(
            list(info.vocabulary),
            features["condition"],
            features["box_conditions"].feature,
        )
        self.info.metadata["made_of"] = info.fingerprint
        return {split: self._generate_examples(info, split) for split in info.counts}

    def _generate_examples(
        self, info: PairsInfo, split: str
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        crops: collections.Counter = collections.Counter()
        try:
            for pair in self._stored_pairs(info, split):
                name = pair["image_id"].decode()
                boxes = [tfds.features.BBox(*map(float, box)) for box in pair["boxes"]]
                yield f"{name}/{crops[name]}", {**pair, "boxes": boxes}
                crops[name] += 1
        except tf.errors.OpError:
            require_sound_records(self._pairs, split)  # names file and record
            raise
        if crops.total() != info.counts[split]:
            require_sound_records(self._pairs, split)
            raise InputError(
                f"{self._pairs} has {crops.total()} pairs in split {split!r}, its "
                f"record says {info.counts[split]}; prepare or copy the pairs again"
            )

    def _stored_pairs(self, info: PairsInfo, split: str) -> Iterator[dict[str, Any]]:
        """The pairs of a split in order, images as the bytes that are stored."""
        features = self.info.features
        encoded = dict.fromkeys(("image", "semantic_map"), tfds.decode.SkipDecoding())
        paths = [os.path.join(self._pairs, s["file"]) for s in info.shards[split]]
        return (
            tf.data.TFRecordDataset(paths)
            .map(lambda record: features.deserialize_example(record, decoders=encoded))
            .as_numpy_iterator()
        )


def pairs_features(info: PairsInfo | None) -> tfds.features.FeaturesDict:
    """`dermgan_tf.pairs.pairs.pair_features`, each told what it means.

    Args:
        info: of the pairs; None = neither conditions nor size are known.
    """
    names = None if info is None else list(info.vocabulary)
    size = None if info is None else info.image_size
    image, semantic_map = (
        tfds.features.Image(shape=(size, size, 3), encoding_format="png", doc=doc(name))
        for name in ("image", "semantic_map")
    )
    return tfds.features.FeaturesDict(
        {
            "image": image,
            "semantic_map": semantic_map,
            "image_id": tfds.features.Text(doc=doc("image_id")),
            "case_id": tfds.features.Text(doc=doc("case_id")),
            "condition": tfds.features.ClassLabel(names=names, doc=doc("condition")),
            "fitzpatrick": tfds.features.Scalar(np.int32, doc=doc("fitzpatrick")),
            "boxes": tfds.features.Sequence(
                tfds.features.BBoxFeature(), doc=doc("bbox")
            ),
            "box_conditions": tfds.features.Sequence(
                tfds.features.ClassLabel(names=names), doc=doc("box_condition")
            ),
            "window": tfds.features.Tensor(
                shape=(4,), dtype=np.float32, doc=doc("window")
            ),
            "source": tfds.features.Text(doc=doc("source")),
        }
    )
