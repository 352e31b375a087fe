"""Imports a folder of photos and a folder of masks: connected regions become ROIs."""

import dataclasses
import functools
import os
import pathlib
from collections import Counter
from collections.abc import Callable

import cv2
import numpy as np

from dermgan_tf.errors import InputError, Reject
from dermgan_tf.photos.annotations import PhotoAnnotation
from dermgan_tf.photos.importers import cause, over_photos
from dermgan_tf.photos.importers.cases import case_finder
from dermgan_tf.photos.isolated_map import Lost
from dermgan_tf.photos.photo_io import PHOTO_SUFFIXES, is_synthetic, read_photo
from dermgan_tf.photos.semantic_map import Roi
from dermgan_tf.progress import silent

# Regions below this share of the photo are slips of the pen: 52 pixels of 512 × 512.
MIN_REGION_AREA = 0.0002


@dataclasses.dataclass(frozen=True)
class _Masked:
    """A photo, its mask and its case."""

    path: pathlib.Path
    mask: pathlib.Path
    case_id: str


def import_mask_folder(
    images_dir: str | os.PathLike,
    masks_dir: str | os.PathLike,
    condition: str,
    *,
    mask_suffix: str = "",
    case_pattern: str = "",
    min_region_area: float = MIN_REGION_AREA,
    progress: Callable = silent,
    crash_safe: bool = False,
) -> tuple[list[PhotoAnnotation], list[Reject], dict[str, int]]:
    """Reads photos with masks of one condition.

    A photo `NAME.jpg` has the mask `NAME<mask_suffix>.<any image extension>` of the
    same size, white (> 127) where the condition is. A photo with an empty mask, or with
    specks alone, is kept without ROI: it can serve a classifier.

    Args:
        images_dir: the folder of photos. Its subfolders are not read.
        masks_dir: the folder of masks.
        condition: str. The condition of every photo and region.
        mask_suffix: str. What a mask's name has more than its photo's, e.g. "_mask".
        case_pattern: str. Regular expression that finds the case in a photo's name
            without extension: its first group if it has one, else the whole match. By
            default every photo is a case of its own, named like it.
        min_region_area: float, 0…1. Connected regions smaller than this share of the
            photo are ignored.
        progress: see `dermgan_tf.progress`.
        crash_safe: see `dermgan_tf.photos.importers.over_photos`.

    Returns:
        (annotations, rejects, counts): images relative to `images_dir`; photos without
        a usable mask, unreadable or synthetic ones are rejected.

    Raises:
        InputError: for a missing folder, one without photos, or a bad argument.
    """
    if os.path.realpath(images_dir) == os.path.realpath(masks_dir) and not mask_suffix:
        raise InputError(
            f"photos and masks are in one folder, {images_dir}: say by mask_suffix how "
            "the masks' names differ"
        )
    find_case = case_finder(case_pattern)
    masks: dict[str, list[pathlib.Path]] = {}
    for path in image_files(masks_dir):
        if path.stem.endswith(mask_suffix):
            masks.setdefault(path.stem, []).append(path)
    photos = image_files(images_dir)
    if os.path.realpath(images_dir) == os.path.realpath(masks_dir):
        photos = [path for path in photos if not path.stem.endswith(mask_suffix)]
    if not photos:
        raise InputError(f"no photos in {images_dir}")

    # Of 1.jpg and 1.png neither mask nor case could be told apart: the first counts.
    first_of_name = {path.stem: path for path in reversed(photos)}

    def planned(path: pathlib.Path) -> _Masked | Reject:
        first = first_of_name[path.stem]
        found = masks.get(path.stem + mask_suffix, [])
        if first != path:
            return Reject(path.name, f"has the same name as {first.name}")
        if not found:
            return Reject(path.name, f"has no mask {path.stem}{mask_suffix}.*")
        if len(found) > 1:
            names = ", ".join(mask.name for mask in found)
            return Reject(path.name, f"has {len(found)} masks: {names}")
        try:
            return _Masked(path, found[0], find_case(path.name))
        except InputError as error:
            return Reject(path.name, cause(error, path))

    plan = [planned(path) for path in photos]
    opened = iter(
        over_photos(
            functools.partial(_opened, condition, min_region_area),
            [one for one in plan if isinstance(one, _Masked)],
            progress,
            "reading photos",
            crash_safe,
        )
    )
    counts = Counter({"specks ignored": 0, "photos without ROI": 0})
    annotations, rejects = [], []
    for path, one in zip(photos, plan, strict=True):
        result = one if isinstance(one, Reject) else next(opened)
        if isinstance(result, Lost):
            result = Reject(path.name, result.reason)
        if isinstance(result, Reject):
            rejects.append(result)
            continue
        annotation, specks = result
        annotations.append(annotation)
        counts["specks ignored"] += specks
        counts["photos without ROI"] += not annotation.rois
    names = {path.stem + mask_suffix for path in photos}
    counts["masks without photo"] = len(masks.keys() - names)
    return annotations, rejects, dict(counts)


def _opened(
    condition: str, min_region_area: float, one: _Masked
) -> tuple[PhotoAnnotation, int] | Reject:
    """A photo's annotation and how many specks its mask has."""
    try:
        height, width = read_real_photo(one.path).shape[:2]
        mask = read_mask(one.mask, height, width)
        rois, specks = mask_rois(mask, condition, min_region_area)
        annotation = PhotoAnnotation(one.path.name, one.case_id, condition, rois=rois)
    except InputError as error:
        return Reject(one.path.name, cause(error, one.path))
    return annotation, specks


def image_files(folder: str | os.PathLike) -> list[pathlib.Path]:
    """The files in a folder that are named like images, in order of name.

    Raises:
        InputError: if the folder cannot be read.
    """
    try:
        paths = sorted(pathlib.Path(folder).iterdir())
    except OSError as error:
        raise InputError(f"cannot read folder {folder}: {error.strerror}") from None
    return [
        path
        for path in paths
        if path.suffix.lower() in PHOTO_SUFFIXES
        and not path.name.startswith(".")
        and not path.is_dir()
    ]


def read_real_photo(path: str | os.PathLike) -> np.ndarray:
    """`read_photo`, but refuses an image that says that a generator painted it."""
    if is_synthetic(path):
        raise InputError(f"{path}: is a synthetic image, not a photo")
    return read_photo(path)


def read_mask(path: pathlib.Path, height: int, width: int) -> np.ndarray:
    """Reads a mask: white (> 127) where the condition is; 0 and 1 will do as well.

    Args:
        path: an image file of any mode.
        height, width: ints. The size in pixels that it must have.

    Returns:
        bool [height, width].

    Raises:
        InputError: for an unreadable mask, another size, or shades without white.
    """
    try:
        mask = read_photo(path, min_side=1).max(axis=-1)
    except InputError as error:
        raise InputError(f"mask {path.name} {cause(error, path)}") from None
    if mask.shape != (height, width):
        turned = mask.shape == (width, height)
        raise InputError(
            f"mask {path.name} is {mask.shape[1]} × {mask.shape[0]} pixels, the photo "
            f"{width} × {height}"
            + (" once upright: turn the mask like the photo" if turned else "")
        )
    brightest = int(mask.max())
    if 1 < brightest <= 127:
        raise InputError(
            f"mask {path.name} has no white: its brightest pixel is {brightest} of 255"
        )
    return mask > (127 if brightest > 1 else 0)


def mask_rois(
    mask: np.ndarray, condition: str, min_region_area: float
) -> tuple[tuple[Roi, ...], int]:
    """The bounding boxes of a mask's connected regions (8 neighbours).

    Args:
        mask: bool [H, W].
        condition: str. The ROIs' condition.
        min_region_area: float, 0…1. The smallest share of the mask that is a region.

    Returns:
        (rois, specks): how many regions were smaller.
    """
    height, width = mask.shape
    _, _, stats, _ = cv2.connectedComponentsWithStats(
        mask.astype(np.uint8), connectivity=8
    )
    regions = stats[1:]  # the first is the background
    large = regions[:, cv2.CC_STAT_AREA] >= min_region_area * mask.size
    rois = tuple(
        Roi(
            (
                top / height,
                left / width,
                (top + rows) / height,
                (left + columns) / width,
            ),
            condition,
        )
        for left, top, columns, rows, _ in regions[large].tolist()
    )
    return rois, int((~large).sum())
