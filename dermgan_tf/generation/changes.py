"""How far a translation changes photographs: outside its masks, and inside."""

import dataclasses

import cv2
import numpy as np

TELEA_RADIUS = 3  # pixels, OpenCV's example


@dataclasses.dataclass(frozen=True)
class PixelSums:
    """Differences of some pixels, photo by photo.

    Args:
        totals: float [N]. Their sums, in levels of 255; of a pixel, the mean over its
            three colours.
        pixels: int [N]. How many pixels.
    """

    totals: np.ndarray
    pixels: np.ndarray

    def mean(self) -> float:
        """Over all such pixels of all photos; NaN where there are none."""
        pixels = self.pixels.sum()
        return float(self.totals.sum() / pixels) if pixels else float("nan")


def pixel_sums(
    photos: np.ndarray, others: np.ndarray, where: np.ndarray, power: int = 1
) -> PixelSums:
    """Sums of absolute differences, to a power, over some pixels.

    Args:
        photos, others: np.uint8 [N, S, S, 3].
        where: bool [N, S, S]. Which pixels.
        power: int. 2 for squared differences.
    """
    difference = np.abs(others.astype(np.int32) - photos) ** power
    difference = difference.mean(axis=-1) * where
    return PixelSums(difference.sum(axis=(1, 2)), where.sum(axis=(1, 2)))


def inpainted(photos: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Photos whose masked parts are filled in from around them (Telea 2004)."""
    return np.stack(
        [
            cv2.inpaint(
                photo, mask.astype(np.uint8), TELEA_RADIUS, flags=cv2.INPAINT_TELEA
            )
            for photo, mask in zip(photos, masks, strict=True)
        ]
    )
