"""Writes a pairs folder: TFRecord shards and the metadata of TensorFlow Datasets."""

import pathlib
from collections.abc import Iterable
from typing import Any

from dermgan_tf.pairs.pairs import DATASET_NAME, SPLITS, pair_features
from dermgan_tf.pairs.records import RecordsFormat, RecordsWriter
from dermgan_tf.photos.vocabulary import Vocabulary

PAIRS = RecordsFormat(
    name=DATASET_NAME,
    splits=SPLITS,
    unit="pairs",
    description="Crops of skin photographs with their semantic maps.",
    homepage="https://arxiv.org/abs/1911.08716",  # what pairs are for: DermGAN
)


class PairsWriter(RecordsWriter):
    """Writes the shards and the metadata of a pairs folder; see `RecordsWriter`.

    Args:
        folder: pathlib.Path, an empty folder.
        vocabulary: the conditions of the maps.
        image_size: int. Height and width of crops and maps in pixels.
    """

    def __init__(self, folder: pathlib.Path, vocabulary: Vocabulary, image_size: int):
        super().__init__(folder, pair_features(vocabulary, image_size), PAIRS)

    def write(self, split: str, pairs: Iterable[dict[str, Any]]) -> None:
        """Appends pairs: dicts as of `pair_record`."""
        super().write(split, map(pair_record, pairs))


def pair_record(pair: dict[str, Any]) -> dict[str, Any]:
    """A pair as `pair_features` take it.

    Args:
        pair: dict after them, with images as PNG bytes and boxes as four numbers.
    """
    import tensorflow_datasets as tfds

    return {**pair, "boxes": [tfds.features.BBox(*box) for box in pair["boxes"]]}
