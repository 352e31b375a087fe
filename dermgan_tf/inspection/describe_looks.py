"""What the pixels of one photo tell: its print, its skin's colour, a small picture."""

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np

from dermgan_tf.inspection.duplicates import PhotoPrint, photo_print
from dermgan_tf.photos.semantic_map import Roi, box_pixels
from dermgan_tf.photos.skin_tone import skin_ita

EXAMPLE_SIDE = 192  # pixels, longer side


@dataclasses.dataclass(frozen=True)
class Look:
    """What the pixels of one photo tell.

    Args:
        print: a PhotoPrint.
        ita: float, degrees; NaN where too little skin shows outside the ROIs.
        example: np.uint8 [H, W, 3], small, boxes drawn; None for most photos.
    """

    print: PhotoPrint
    ita: float
    example: np.ndarray | None = None


def look_at(pixels: np.ndarray, rois: Sequence[Roi], show: bool) -> Look:
    """Looks at one photo.

    Args:
        pixels: np.uint8 [H, W, 3], RGB.
        rois: its boxes.
        show: bool. Whether to keep an example of it.
    """
    example = _example(pixels, rois) if show else None
    return Look(photo_print(pixels), skin_ita(pixels, rois), example)


def _example(photo: np.ndarray, rois: Sequence[Roi]) -> np.ndarray:
    small = _shrunk(photo, EXAMPLE_SIDE).copy()
    for roi in rois:
        top, left, bottom, right = box_pixels(roi.box, *small.shape[:2])
        corners = (left, top), (right - 1, bottom - 1)
        cv2.rectangle(small, *corners, (0, 0, 0), 3)
        cv2.rectangle(small, *corners, (255, 255, 255), 1)
    return small


def _shrunk(photo: np.ndarray, side: int) -> np.ndarray:
    scale = min(1.0, side / max(photo.shape[:2]))
    size = [max(1, round(length * scale)) for length in photo.shape[1::-1]]
    return cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
