"""Masks: images whose pixels are data and say where a lesion is."""

import os
import pathlib
from collections.abc import Collection

import cv2
import numpy as np
from PIL import Image

from dermgan_tf.errors import InputError, cause
from dermgan_tf.photos.photo_io import read_upright
from dermgan_tf.photos.semantic_map import Roi
from dermgan_tf.photos.square import TURN_OF_EXIF, turned

# A mask of more values than this, black left out, is a picture of a mask: its edges are
# blended, or JPEG has smeared them.
_MOST_NUMBERS = 8
# Of such a picture no more pixels than this share may be neither dark nor light.
_MOST_UNSURE = 0.25
_MOST_COLOURS = 256
_LOSSY = ("JPEG", "MPO", "JPEG2000")


def read_mask(
    path: str | os.PathLike,
    height: int,
    width: int,
    *,
    orientation: int = 1,
    lesion_values: Collection[int] = (),
) -> np.ndarray:
    """Reads where a mask says that the lesion is.

    Pixels are numbers, of 1 to 16 bits, indices into a palette, colours, or
    transparency; all but 0, black and what is transparent is lesion. In a mask of many
    shades, with blended edges or from JPEG, it is what is lighter than half of white.

    Args:
        path: an image file of any mode.
        height, width: ints. The photo's size as seen. A mask of another size is scaled
            if its proportions are the same.
        orientation: int, 1…8. The photo's EXIF orientation, if the mask was drawn on
            the photo as it is stored; else 1.
        lesion_values: the numbers that are lesion; by default all but 0.

    Returns:
        bool [height, width].

    Raises:
        InputError: for an unreadable mask, other proportions, shades without white,
            or, with `lesion_values`, a mask without numbers.
    """
    path = pathlib.Path(path)
    try:
        mask, _ = read_upright(path, lambda image: _lesion(image, set(lesion_values)))
    except InputError as error:
        raise InputError(f"mask {path.name} {cause(error, path)}") from None
    mask = turned(mask, TURN_OF_EXIF[orientation])
    rows, columns = mask.shape
    if (rows, columns) == (height, width):
        return mask
    if not same_proportions(rows, columns, height, width):
        on_its_side = (rows, columns) == (width, height)
        raise InputError(
            f"mask {path.name} is {columns} × {rows} pixels, the photo "
            f"{width} × {height}"
            + (" once upright: turn the mask like the photo" if on_its_side else "")
        )
    scaled = cv2.resize(
        mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST
    )
    return scaled > 0


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


def same_proportions(rows: int, columns: int, height: int, width: int) -> bool:
    """Whether one size is the other, scaled and rounded to whole pixels."""
    skew = abs(columns * height - width * rows)
    return skew <= max(rows, columns, height, width)


def _lesion(image: Image.Image, lesion_values: set[int]) -> np.ndarray:
    """bool [H, W] of Pillow's image, which is loaded and not yet converted."""
    lossy = image.format in _LOSSY
    if image.mode in ("P", "PA") and _black_is_not_first(image):
        image = image.convert("RGBA")
    visible = None
    if image.mode in ("1", "P", "L", "F") or image.mode.startswith("I"):
        numbers = np.asarray(image).astype(np.float64 if image.mode == "F" else int)
        visible = ~np.isin(numbers, _transparent_numbers(image))
    else:
        colours = np.asarray(image.convert("RGBA"))
        alpha = colours[..., 3]
        if not alpha.any():
            raise InputError("is wholly transparent")
        if alpha.min() < 255:
            visible = alpha > (127 if _is_picture(alpha, lossy) else 0)
        numbers = colours[..., :3].max(axis=-1).astype(int)
        if visible is not None and not np.ptp(colours[visible][:, :3], axis=0).any():
            numbers = np.full_like(numbers, 255)  # the shape is in the transparency
        coloured = np.ptp(colours[..., :3], axis=-1).any()
        if lesion_values and coloured:
            raise InputError("has colours, no numbers")
        if (
            coloured
            and not lossy
            and len(image.getcolors(numbers.size)) > _MOST_COLOURS
        ):
            raise InputError("is a picture in many colours, no mask")
    if lesion_values:
        lesion = np.isin(numbers, list(lesion_values))
    elif _is_picture(numbers, lossy):
        white = 255 if numbers.max() <= 255 else 65535
        if numbers.max() <= white // 2:
            raise InputError(
                f"has no white: its brightest pixel is {int(numbers.max())} of {white}"
            )
        unsure = np.mean((numbers > white // 4) & (numbers < 3 * white // 4))
        if unsure > _MOST_UNSURE:
            raise InputError(
                f"is no mask: {unsure:.0%} of its pixels are neither dark nor light"
            )
        lesion = numbers > white // 2
    else:
        lesion = numbers != 0
    return lesion if visible is None else lesion & visible


def _transparent_numbers(image: Image.Image) -> list[int]:
    """The numbers that a palette or a grey image says are transparent."""
    told = image.info.get("transparency", b"")
    if isinstance(told, int):
        return [told]
    return [i for i, alpha in enumerate(told) if not alpha] if image.mode == "P" else []


def _is_picture(numbers: np.ndarray, lossy: bool) -> bool:
    """Whether pixels are shades between black and white, and not numbers."""
    values = np.unique(numbers)
    values = values[values != 0]
    if lossy:
        return len(values) > 0
    numbered = len(values) > 0 and values[-1] == len(values)  # 1, 2, … of regions
    return len(values) > _MOST_NUMBERS and not numbered


def _black_is_not_first(image: Image.Image) -> bool:
    """Whether a palette's black has another number than 0: then it shows a picture."""
    palette = np.reshape(image.getpalette("RGB"), (-1, 3))
    used = np.unique(np.asarray(image.getchannel(0)))
    black = [number for number in used if not palette[number].any()]
    return bool(black) and palette[0].any()
