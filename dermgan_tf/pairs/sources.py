"""Photographs that pairs and patches are cut from: annotated, masked, drawn.

Worker processes read them; neither TensorFlow nor Keras is imported here.
"""

import dataclasses
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from dermgan_tf.errors import InputError, Reject
from dermgan_tf.photos import photo_io
from dermgan_tf.photos.annotations import PhotoAnnotation
from dermgan_tf.photos.folders import image_files
from dermgan_tf.photos.importers.entries import MIN_REGION_AREA
from dermgan_tf.photos.importers.mask_folder import masks_of
from dermgan_tf.photos.importers.names import case_finder, joined_cases
from dermgan_tf.photos.importers.photo_index import PhotoIndex
from dermgan_tf.photos.masks import mask_rois, read_mask
from dermgan_tf.photos.photo_io import read_real_photo
from dermgan_tf.photos.semantic_map import Roi
from dermgan_tf.photos.skin_tone import skin_mask
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


@dataclasses.dataclass(frozen=True)
class Scene:
    """A photo and what it shows where.

    Args:
        photo: np.uint8 [H, W, 3].
        skin: bool [H, W], pathology included.
        pathology: bool [H, W].
        twin: np.uint8 [H, W, 3], the same scene without pathology, where it was asked
            for and is known.
    """

    photo: np.ndarray
    skin: np.ndarray
    pathology: np.ndarray
    twin: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class MaskedPhoto(PhotoFile):
    """A photo file with the masks that belong to it.

    Args:
        mask: path of the mask of pathology, of the photo's size, white (> 127) there.
        skin: path of a like mask of skin; None = skin is found by
            `dermgan_tf.photos.skin_tone.skin_mask`.
    """

    mask: str
    skin: str | None = None

    def load(self, twin: bool = False) -> Scene:
        photo, pathology = self.read()
        if self.skin is not None:
            skin = read_mask(pathlib.Path(self.skin), *photo.shape[:2])
        else:
            rois, _ = mask_rois(pathology, self.condition, MIN_REGION_AREA)
            skin = skin_mask(photo, rois)
        return Scene(photo, skin | pathology, pathology)

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """The photo, np.uint8 [H, W, 3], and its mask of pathology, bool [H, W]."""
        photo = read_real_photo(self.path)
        return photo, read_mask(pathlib.Path(self.mask), *photo.shape[:2])


@dataclasses.dataclass(frozen=True)
class PhantomScene(PhantomPhoto):
    """A phantom photo with its true masks."""

    @property
    def path(self) -> str:
        return self.name

    def load(self, twin: bool = False) -> Scene:
        from dermgan_tf import phantom

        what = (self.case, self.photo_index, self.vocabulary, self.size)
        drawn = phantom.draw_photo(*what)
        healthy = phantom.draw_photo(*what, healthy=True).photo if twin else None
        return Scene(drawn.photo, drawn.skin_mask, drawn.lesion_mask, healthy)


def annotations_of_folder(
    images_dir: str | os.PathLike, condition: str, case_pattern: str = ""
) -> list[PhotoAnnotation]:
    """Annotations, without ROIs, of the photos of a folder.

    Args:
        images_dir: the folder. Its subfolders are not read.
        condition: str. What the photos show.
        case_pattern: str. See `case_finder`; by default every photo is a case, with
            its augmented copies.

    Raises:
        InputError: for a folder without photos, or a bad pattern.
    """
    find_case = case_finder(case_pattern)
    photos = image_files(images_dir)
    if not photos:
        raise InputError(f"no photos in {os.fspath(images_dir)}")
    cases = [find_case(path.name) for path in photos]
    if not case_pattern:  # a photo and its augmented copies are one case
        cases = [case for case, _ in joined_cases([(p.name, ()) for p in photos])]
    return [
        PhotoAnnotation(path.name, case, condition)
        for path, case in zip(photos, cases, strict=True)
    ]


def masked_photos(
    folder: str | os.PathLike,
    annotations: Sequence[PhotoAnnotation],
    masks_dir: str | os.PathLike,
    mask_suffix: str = "",
    skin_masks_dir: str | os.PathLike | None = None,
) -> tuple[list[MaskedPhoto], list[Reject]]:
    """Finds each photo's masks by its name.

    Args:
        folder: the folder that the annotations' images are relative to.
        annotations: of the photos.
        masks_dir: of the masks: that of `NAME.jpg` is `NAME<mask_suffix>.<any image
            extension>`; a mask that is empty says that the photo shows no pathology.
        mask_suffix: str.
        skin_masks_dir: of masks of skin, named likewise; a photo without one is
            rejected. None = skin is found by its colour.

    Returns:
        (photos, rejects): those without a mask are rejected.
    """
    images = [annotation.image for annotation in annotations]
    masks = masks_of(images, PhotoIndex(masks_dir), mask_suffix)
    skins: list = [None] * len(images)
    if skin_masks_dir is not None:
        skins = masks_of(images, PhotoIndex(skin_masks_dir), mask_suffix, "skin mask")
    photos, rejects = [], []
    for annotation, *found in zip(annotations, masks, skins, strict=True):
        problems = [one for one in found if isinstance(one, InputError)]
        if problems:
            rejects.append(Reject(annotation.image, str(problems[0])))
            continue
        mask, skin = (one and os.fspath(one) for one in found)
        photos.append(MaskedPhoto(os.fspath(folder), annotation, mask, skin))
    return photos, rejects


def read_masked_photo(
    min_side: int, photo: MaskedPhoto
) -> tuple[np.ndarray, np.ndarray] | Reject:
    """Reads a photo and its mask of pathology; raises nothing.

    Args:
        min_side: int. The least rows and columns that will do, in pixels.
        photo: which.

    Returns:
        (np.uint8 [H, W, 3], bool [H, W]), or the reason for having none.
    """
    try:
        pixels, mask = photo.read()
        height, width = mask.shape
        if min(height, width) < min_side:
            raise InputError(
                f"is {width} × {height} pixels, smaller than the {min_side} × "
                f"{min_side} that the translator paints at least"
            )
        return pixels, mask
    # One bad photo must not end the run, whatever its decoder raises.
    except Exception as error:
        return rejected(photo, error)


def rejected(photo: Any, error: Exception) -> Reject:
    """Why nothing became of a photo, in one line that names it once.

    Args:
        photo: with a name and, where it is a file, a path.
        error: what its reading or cutting raised.
    """
    reason = str(error) or type(error).__name__
    if isinstance(error, MemoryError):
        reason = "takes more memory than there is"
    elif not isinstance(error, InputError):
        reason = f"{type(error).__name__}: {error}"
    if isinstance(photo, PhotoFile):  # the item names the file already
        reason = reason.removeprefix(f"{photo.path}: ")
    return Reject(photo.name, " ".join(reason.split()))
