"""Photos to cut pairs from: files with annotations, or phantoms drawn when needed."""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from dermgan_tf.errors import InputError
from dermgan_tf.photos import photo_io
from dermgan_tf.photos.annotations import PhotoAnnotation
from dermgan_tf.photos.semantic_map import Roi
from dermgan_tf.photos.vocabulary import Vocabulary


@dataclasses.dataclass(frozen=True)
class PhotoFile:
    """A photo file and what is known of it.

    Args:
        folder: the folder that `annotation.image` is relative to.
        annotation: a PhotoAnnotation.
    """

    folder: str
    annotation: PhotoAnnotation

    @property
    def name(self) -> str:
        return self.annotation.image

    @property
    def case_id(self) -> str:
        return self.annotation.case_id

    @property
    def condition(self) -> str:
        return self.annotation.condition

    @property
    def split(self) -> str | None:
        return self.annotation.split

    @property
    def source(self) -> str:
        return self.annotation.source

    @property
    def path(self) -> str:
        return os.path.join(self.folder, self.annotation.image)


@dataclasses.dataclass(frozen=True)
class AnnotatedPhoto(PhotoFile):
    """A photo file that pairs are cut from, by its annotation."""

    def load(self) -> "LoadedPhoto":
        if photo_io.is_synthetic(self.path):
            raise InputError(
                "is a synthetic image, not a photo; pairs are made of photos only"
            )
        return LoadedPhoto(
            photo_io.read_photo(self.path),
            self.annotation.rois,
            self.annotation.condition,
            self.annotation.fitzpatrick,
        )


@dataclasses.dataclass(frozen=True)
class PhantomPhoto:
    """A phantom photo, drawn when it is needed.

    Args:
        case: one of `dermgan_tf.phantom.case_plan`.
        photo_index: int. Which of the case's photos.
        vocabulary: the conditions that the plan was made for.
        size: (height, width) in pixels.
    """

    case: Any
    photo_index: int
    vocabulary: Vocabulary
    size: tuple[int, int] = (480, 640)
    split: str | None = None
    source: str = "phantom"

    @property
    def name(self) -> str:
        return f"{self.case.case_id}/{self.photo_index}"

    @property
    def case_id(self) -> str:
        return self.case.case_id

    @property
    def condition(self) -> str:
        return self.case.condition


@dataclasses.dataclass(frozen=True)
class PhantomSource(PhantomPhoto):
    """A phantom photo that pairs are cut from."""

    def load(self) -> "LoadedPhoto":
        from dermgan_tf import phantom

        drawn = phantom.draw_photo(
            self.case, self.photo_index, self.vocabulary, self.size
        )
        return LoadedPhoto(
            drawn.photo, drawn.rois, drawn.condition, drawn.fitzpatrick, drawn.skin_mask
        )


@dataclasses.dataclass(frozen=True)
class LoadedPhoto:
    """What a source yields: pixels, uint8 [H, W, 3], and truth where it is known."""

    photo: np.ndarray
    rois: Sequence[Roi]
    condition: str
    fitzpatrick: int
    true_skin: np.ndarray | None = None


def phantom_photos(
    num_cases: int,
    vocabulary: Vocabulary,
    seed: int = 0,
    photo_size: tuple[int, int] = (480, 640),
    kind: type[PhantomPhoto] = PhantomSource,
) -> list[Any]:
    """The photos of a phantom data set, to be drawn when they are cut.

    Args:
        num_cases: int, at least 1; a case has 1…6 photos.
        vocabulary: conditions that the phantom can draw.
        seed: int, at least 0.
        photo_size: (height, width) in pixels.
        kind: what the photos are to be.
    """
    from dermgan_tf import phantom

    return [
        kind(case, index, vocabulary, photo_size)
        for case in phantom.case_plan(num_cases, vocabulary, seed)
        for index in range(case.num_photos)
    ]
