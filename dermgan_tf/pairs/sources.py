"""What patches are cut from: photos with masks of pathology, or drawn phantoms."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from dermgan_tf.errors import InputError, Reject
from dermgan_tf.pairs.photo_sources import PhantomPhoto, PhotoFile
from dermgan_tf.photos.annotations import PhotoAnnotation
from dermgan_tf.photos.folders import image_files
from dermgan_tf.photos.importers.entries import MIN_REGION_AREA
from dermgan_tf.photos.importers.mask_folder import masks_of
from dermgan_tf.photos.importers.names import case_finder, joined_cases
from dermgan_tf.photos.importers.photo_index import PhotoIndex
from dermgan_tf.photos.masks import mask_rois, read_mask
from dermgan_tf.photos.photo_io import read_real_photo
from dermgan_tf.photos.skin_tone import skin_mask


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
