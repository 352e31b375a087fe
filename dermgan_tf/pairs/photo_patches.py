"""One photo to its patches: windows are chosen and cut.

Worker processes do this; they import neither TensorFlow nor Keras.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np

from dermgan_tf.errors import InputError, Reject
from dermgan_tf.pairs import windows as crops
from dermgan_tf.pairs.jobs import PhotoJob
from dermgan_tf.pairs.patch_windows import PatchFinder, Shares
from dermgan_tf.pairs.sources import Scene
from dermgan_tf.pairs.windows import Window


@dataclasses.dataclass
class PhotoPatches:
    """What became of one photo: its patches by domain, or a reason for having none."""

    job: PhotoJob
    patches: dict[str, list[dict[str, Any]]] = dataclasses.field(default_factory=dict)
    sides: dict[str, list[int]] = dataclasses.field(default_factory=dict)
    reject: Reject | None = None


def patches_of_photo(
    job: PhotoJob,
    image_size: int,
    patches_per_photo: int,
    shares: Mapping[str, Shares],
    healthy_margin: float,
    seed: int,
) -> PhotoPatches:
    """Reads one photo and cuts its patches: a pure function, run in any process."""
    outcome = PhotoPatches(job)
    try:
        scene = job.photo.load(twin=job.split == "test")
        if min(scene.photo.shape[:2]) < image_size:
            height, width = scene.photo.shape[:2]
            raise InputError(
                f"is {width} × {height} pixels, smaller than a patch of {image_size}"
            )
        rng = np.random.default_rng([seed, int(job.image_id, 16)])
        grown = _grown(scene.pathology, healthy_margin)
        finders = {
            "pathology": PatchFinder(scene.skin, scene.pathology, image_size, rng),
            "healthy": PatchFinder(scene.skin, grown, image_size, rng),
        }
        _cut_patches(outcome, scene, finders, image_size, patches_per_photo, shares)
    # One bad photo must not end the run, whatever its decoder raises.
    except Exception as error:
        reason = str(error) or type(error).__name__
        if not isinstance(error, InputError):
            reason = f"{type(error).__name__}: {error}"
        reason = reason.removeprefix(f"{job.photo.path}: ")
        reject = Reject(job.photo.name, " ".join(reason.split()))
        outcome = PhotoPatches(job, reject=reject)
    return outcome


def _grown(mask: np.ndarray, margin: float) -> np.ndarray:
    """A mask and all that is so near to it, as a share of its shorter side."""
    reach = round(margin * min(mask.shape))
    if not reach or not mask.any():
        return mask
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1,) * 2)
    return cv2.dilate(mask.astype(np.uint8), disc) > 0


def _cut_patches(
    outcome: PhotoPatches,
    scene: Scene,
    finders: Mapping[str, PatchFinder],
    image_size: int,
    patches_per_photo: int,
    shares: Mapping[str, Shares],
) -> None:
    sides: list[int] = []
    for domain, finder in finders.items():
        windows: list[Window] = []
        for i in range(patches_per_photo):
            side = sides[i % len(sides)] if sides else None
            window = finder.find(shares[domain], side)
            if window is not None and window not in windows:
                windows.append(window)
        sides = sides or [window.side for window in windows]
        if windows:
            # Of the pathology itself, not of what lies around it.
            shown = [finders["pathology"].shares_in(window) for window in windows]
            outcome.sides[domain] = [window.side for window in windows]
            outcome.patches[domain] = [
                _patch(outcome.job, scene, window, share, image_size)
                for window, share in zip(windows, shown, strict=True)
            ]


def _patch(job, scene, window, shares, image_size) -> dict[str, Any]:
    twin = scene.twin if shares[1] > 0 else None
    mask = scene.pathology.astype(np.uint8) * 255
    mask = crops.cut(mask, window, image_size)
    return {
        "image": _png(crops.cut(scene.photo, window, image_size)),
        "mask": _png(np.where(mask > 127, 255, 0).astype(np.uint8)),
        "twin": [] if twin is None else [_png(crops.cut(twin, window, image_size))],
        "image_id": job.image_id,
        "case_id": job.case_id,
        "condition": job.photo.condition,
        "skin_share": shares[0],
        "pathology_share": shares[1],
        "window": window.box(*scene.photo.shape[:2]),
        "source": job.photo.source,
    }


def _png(image: np.ndarray) -> bytes:
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    # Training decodes each patch many times. Of all filters this one is undone fastest.
    settings = [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]
    return cv2.imencode(".png", image, settings)[1].tobytes()
