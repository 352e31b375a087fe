"""How far a translation changes photographs: outside its masks, and inside."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

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


def change_figures(
    photos: np.ndarray, masks: np.ndarray, changed: np.ndarray
) -> dict[str, float]:
    """Mean absolute differences of the pixels outside and inside the masks.

    Args:
        photos, changed: np.uint8 [N, S, S, 3].
        masks: bool [N, S, S].

    Returns:
        "outside" and "inside", in levels of 255: the mean over all such pixels of all
        photos, NaN where there are none; and "n", the number of photos.
    """
    outside = pixel_sums(photos, changed, ~masks)
    inside = pixel_sums(photos, changed, masks)
    return {"n": len(photos), "outside": outside.mean(), "inside": inside.mean()}


def twin_figures(
    patches: Iterable[dict[str, Any]],
    direction: str,
    translate: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> dict[str, float]:
    """How far a translation is from the truth, of scenes whose twins are known.

    Args:
        patches: as from `read_patches(…, "pathology")`; those without twin are left
            out. To remove, the photo with pathology is changed and the twin without it
            is the truth; to add, it is the other way round.
        direction: "add" or "remove".
        translate: function of photos, np.uint8 [N, S, S, 3], and masks, bool
            [N, S, S], that gives photos.

    Returns:
        "n"; the "outside" and "inside" of `change_figures`; "error": the mean absolute
        difference from the twin inside the masks, in levels of 255; "unchanged": that
        of the photo as it was; and for removal "telea": that of classical inpainting
        (Telea 2004, OpenCV).

    Raises:
        ValueError: if no patch has a twin.
    """
    known = [patch for patch in patches if patch["twin"] is not None]
    if not known:
        raise ValueError("no patch has a twin: only the test split of phantoms does")
    sick, healthy, masks = (
        np.stack([patch[name] for patch in known]) for name in ("image", "twin", "mask")
    )
    photos, truth = (healthy, sick) if direction == "add" else (sick, healthy)
    changed = translate(photos, masks)

    def error(images):
        return change_figures(truth, masks, images)["inside"]

    figures = {
        **change_figures(photos, masks, changed),
        "error": error(changed),
        "unchanged": error(photos),
    }
    if direction == "remove":
        figures["telea"] = error(inpainted(photos, masks))
    return figures


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
