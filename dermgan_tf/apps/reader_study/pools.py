"""What a study's images are drawn from: held-out crops, and images of `generate`."""

import dataclasses
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from dermgan_tf.errors import InputError
from dermgan_tf.generation.folder import read_generated, read_generated_image
from dermgan_tf.photos.vocabulary import Vocabulary

KINDS = ("real", "synthetic")


@dataclasses.dataclass(frozen=True)
class Candidate:
    """An image that may be drawn.

    Args:
        source: "real", "phantom" (drawn, stands where a photograph would) or
            "synthetic".
        condition: str. What it shows most of.
        shows: all conditions in it.
        fitzpatrick: int, 0…6; 0 = unknown.
        case: str. Images of one case look alike; they are drawn last.
        origin: str. Where it comes from, for the answer key.
    """

    source: str
    condition: str
    shows: frozenset[str]
    fitzpatrick: int
    case: str
    origin: str

    @property
    def kind(self) -> str:
        """ "synthetic", or "real" for all that no generator painted."""
        return "synthetic" if self.source == "synthetic" else "real"


class PairsPool:
    """The crops of one split of a pairs folder.

    Args:
        data_dir: folder of `prepare_pairs`.
        split: "train", "validation" or "test".

    Attributes: candidates (list of Candidate, in the split's order), vocabulary,
    fingerprint (of the pairs).

    Raises:
        InputError: for a folder without pairs, or one that holds synthetic images.
    """

    def __init__(self, data_dir: str | os.PathLike, split: str):
        from dermgan_tf.pairs.pairs import read_pairs, read_pairs_info

        info = read_pairs_info(data_dir)
        self._data_dir, self._split = data_dir, split
        self.vocabulary, self.fingerprint = info.vocabulary, info.fingerprint
        self.candidates = [
            self._candidate(place, pair)
            for place, pair in enumerate(read_pairs(data_dir, split))
        ]

    def _candidate(self, place: int, pair: dict[str, Any]) -> Candidate:
        if pair["source"] == "synthetic":
            raise InputError(
                f"{os.fspath(self._data_dir)}: {pair['image_id']} of split "
                f"{self._split!r} is synthetic; the real images of a study are "
                "photographs"
            )
        return Candidate(
            pair["source"],
            pair["condition"],
            frozenset([pair["condition"], *pair["box_conditions"]]),
            pair["fitzpatrick"],
            pair["case_id"],
            f"{self._split}/{place}",
        )

    def images(self, places: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """(place, np.uint8 [S, S, 3]) of some candidates, in any order."""
        from dermgan_tf.pairs.pairs import read_pairs_at

        for place, pair in read_pairs_at(self._data_dir, self._split, places):
            yield place, pair["image"]


class GeneratedPool:
    """The images that `generate` wrote.

    Args:
        folder: its output folder.
        vocabulary: of the real images; no other condition may occur.

    Attributes: candidates (list of Candidate), generator (fingerprint of its weights).

    Raises:
        InputError: for a folder that `generate` did not write, images of two
            generators, or a vocabulary that differs.
    """

    def __init__(self, folder: str | os.PathLike, vocabulary: Vocabulary):
        self._folder = pathlib.Path(folder)
        self._lines = read_generated(folder)
        strange = [x for x in self._lines if x["condition"] not in vocabulary]
        if strange:
            raise InputError(
                f"vocabularies differ: {self._folder} shows "
                f"{strange[0]['condition']!r} ({strange[0]['image']}), the real images "
                f"have {', '.join(vocabulary)}; take a generator that was trained on "
                "these conditions"
            )
        generators = sorted({line["generator"] for line in self._lines})
        if len(generators) > 1:
            raise InputError(
                f"{self._folder} holds images of {len(generators)} generators; a study "
                "is about one"
            )
        self.generator = generators[0]
        self.candidates = [
            Candidate(
                "synthetic",
                line["condition"],
                frozenset([line["condition"]]),
                line["fitzpatrick"],
                line["image"],
                line["image"],
            )
            for line in self._lines
        ]

    def images(self, places: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """(place, np.uint8 [H, W, 3]) of some candidates; each says it is synthetic."""
        for place in places:
            path = self._folder / self._lines[place]["image"]
            try:
                yield place, read_generated_image(path, self._lines[place])
            except InputError as error:
                raise InputError(f"{path}: {error}") from None


def pairs_of_annotations(
    annotations: str | os.PathLike,
    split: str,
    folder: str | os.PathLike,
    image_size: int,
    crops_per_photo: int = 1,
    max_reject_fraction: float = 0.1,
    seed: int = 0,
) -> None:
    """Cuts the crops of one split as `prepare_pairs` does, into a pairs folder.

    Args:
        annotations: an annotations.jsonl.
        split: whose photos are cut.
        folder: the pairs folder to make.
        image_size: int, pixels.
        crops_per_photo: int.
        max_reject_fraction: float, 0…1.
        seed: int.

    Raises:
        InputError: when no photo of the split has a box, or too many lines or photos
            are bad.
    """
    from dermgan_tf.errors import check_reject_fraction
    from dermgan_tf.pairs.prepare import AnnotatedPhoto, prepare_pairs
    from dermgan_tf.photos.annotations import (
        annotations_vocabulary,
        case_splits,
        read_annotations,
    )

    found, rejects = read_annotations(annotations)
    total = len(found) + len(rejects)
    check_reject_fraction(rejects, total, max_reject_fraction, os.fspath(annotations))
    splits = case_splits(found)
    where = os.path.dirname(os.path.abspath(annotations))
    photos = [
        # The split that a hash decided is said, so that it stays.
        AnnotatedPhoto(where, dataclasses.replace(one, split=split))
        for one in found
        if splits[one.case_id] == split and one.rois
    ]
    if not photos:
        raise InputError(f"{annotations}: no photo of split {split!r} has a box")
    prepare_pairs(
        photos,
        annotations_vocabulary(found),
        folder,
        image_size,
        crops_per_photo=crops_per_photo,
        seed=seed,
        max_reject_fraction=max_reject_fraction,
    )
