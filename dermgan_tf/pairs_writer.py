"""Writes a pairs folder: TFRecord shards and the metadata of TensorFlow Datasets."""

import pathlib
from collections.abc import Iterable
from typing import Any

from dermgan_tf.pairs import DATASET_NAME, SPLITS, pair_features
from dermgan_tf.records_writer import RecordsWriter
from dermgan_tf.vocabulary import Vocabulary


class PairsWriter(RecordsWriter):
    """Writes the shards and the metadata of a pairs folder; see `RecordsWriter`.

    Args:
        folder: pathlib.Path, an empty folder.
        vocabulary: the conditions of the maps.
        image_size: int. Height and width of crops and maps in pixels.
    """

    def __init__(self, folder: pathlib.Path, vocabulary: Vocabulary, image_size: int):
        super().__init__(
            folder,
            pair_features(vocabulary, image_size),
            name=DATASET_NAME,
            splits=SPLITS,
            unit="pairs",
            description="Crops of skin photographs with their semantic maps.",
            homepage="https://arxiv.org/abs/1911.08716",  # what pairs are for: DermGAN
        )

    def write(self, split: str, pairs: Iterable[dict[str, Any]]) -> None:
        """Appends pairs: dicts after `pair_features`, with images as PNG bytes."""
        import tensorflow_datasets as tfds

        def as_features(pair):
            boxes = [tfds.features.BBox(*box) for box in pair["boxes"]]
            return {**pair, "boxes": boxes}

        super().write(split, map(as_features, pairs))
