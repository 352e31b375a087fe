"""One photo to its pairs or its patches: windows are chosen, cut and mapped.

Worker processes do this; they import neither TensorFlow nor Keras.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from dermgan_tf.errors import InputError, Reject
from dermgan_tf.pairs import windows
from dermgan_tf.pairs.jobs import PhotoJob
from dermgan_tf.pairs.sources import LoadedPhoto, Scene, rejected
from dermgan_tf.photos.semantic_map import Roi, encode_semantic_map
from dermgan_tf.photos.skin_tone import skin_mask
from dermgan_tf.photos.vocabulary import HEALTHY, Vocabulary

# A crop is enlarged at most this much, unless the photo itself is smaller.
MAX_ENLARGEMENT = 2.0
# Skin is looked for at this resolution (longer side, pixels): enough to place a window.
SKIN_RESOLUTION = 192
# Settings of a PNG that is written fast; its strategy follows.
_FAST = cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY
_HEALTHY = 1  # a random stream of its own, mixed into the seed


@dataclasses.dataclass
class PhotoPairs:
    """What became of one photo: its pairs, or the reason for having none."""

    image_id: str
    split: str
    pairs: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    # Mean shares of skin over the photo's windows: (ours, random) by measure.
    skin_shares: dict[str, tuple[float, float]] = dataclasses.field(
        default_factory=dict
    )
    reject: Reject | None = None


def pairs_of_photo(
    job: PhotoJob,
    vocabulary: Vocabulary,
    image_size: int,
    crops_per_photo: int,
    healthy_crops_per_photo: int,
    seed: int,
) -> PhotoPairs:
    """Reads one photo and cuts its pairs: a pure function, run in any process."""
    photo, outcome = job.photo, PhotoPairs(job.image_id, job.split)
    try:
        loaded = photo.load()
        for name in [loaded.condition, *(roi.condition for roi in loaded.rois)]:
            vocabulary.index(name)
        if loaded.rois:
            _cut_pairs(
                outcome,
                job,
                loaded,
                vocabulary,
                image_size,
                crops_per_photo,
                healthy_crops_per_photo,
                seed,
            )
    # One bad photo must not end the run, whatever its decoder raises.
    except Exception as error:
        outcome = PhotoPairs(job.image_id, job.split, reject=rejected(photo, error))
    return outcome


def _cut_pairs(
    outcome: PhotoPairs,
    job: PhotoJob,
    loaded: LoadedPhoto,
    vocabulary: Vocabulary,
    image_size: int,
    crops_per_photo: int,
    healthy_crops_per_photo: int,
    seed: int,
) -> None:
    height, width = loaded.photo.shape[:2]
    skin = windows.MaskMeans(_skin(loaded.photo, loaded.rois), height, width)
    masks = {"skin_mask": skin}
    if loaded.true_skin is not None:
        masks["truth"] = windows.MaskMeans(loaded.true_skin, height, width)
    shares = {name: ([], []) for name in masks}
    groups = windows.group_rois(loaded.rois, height, width)
    number = int(outcome.image_id, 16)
    area = windows.unpadded_area(loaded.photo, loaded.rois)
    min_side = math.ceil(image_size / MAX_ENLARGEMENT)
    first = np.random.default_rng([seed, number]).integers(len(groups))
    sides = []
    for i in range(crops_per_photo):
        rng = np.random.default_rng([seed, number, i])
        window = windows.choose_window(
            groups[(first + i) % len(groups)],
            skin,
            height,
            width,
            rng,
            min_side=min_side,
            area=area,
        )
        outcome.pairs.append(_pair(job, loaded, window, vocabulary, image_size))
        sides.append(window.side)
        anywhere = windows.random_window(window.side, height, width, rng)
        for name, mask in masks.items():
            for values, place in zip(shares[name], (window, anywhere), strict=True):
                values.append(mask.inside(place))
    outcome.skin_shares = {
        name: (float(np.mean(ours)), float(np.mean(random)))
        for name, (ours, random) in shares.items()
    }
    for i in range(healthy_crops_per_photo):
        window = windows.choose_healthy_window(
            loaded.rois,
            skin,
            height,
            width,
            # As large as the others: the size of a window must not tell what it shows.
            sides[i % len(sides)],
            np.random.default_rng([seed, number, i, _HEALTHY]),
            min_side=min_side,
            area=area,
        )
        if window is not None:
            outcome.pairs.append(_pair(job, loaded, window, vocabulary, image_size))


def _pair(
    job: PhotoJob,
    loaded: LoadedPhoto,
    window: windows.Window,
    vocabulary: Vocabulary,
    image_size: int,
) -> dict[str, Any]:
    """A window as the features of a pair; one without a ROI is of healthy skin."""
    height, width = loaded.photo.shape[:2]
    rois = windows.rois_in_window(loaded.rois, window, height, width)
    condition = HEALTHY
    if rois:
        largest = max(
            rois, key=lambda roi: np.ptp(roi.box[::2]) * np.ptp(roi.box[1::2])
        )
        condition = largest.condition
    semantic_map = encode_semantic_map(image_size, loaded.fitzpatrick, rois, vocabulary)
    crop = windows.cut(loaded.photo, window, image_size)
    return {
        "image": _png(crop, *_FAST, cv2.IMWRITE_PNG_STRATEGY_RLE),
        # Its equal rows are found as long repetitions.
        "semantic_map": _png(semantic_map, *_FAST, cv2.IMWRITE_PNG_STRATEGY_DEFAULT),
        "image_id": job.image_id,
        "case_id": job.case_id,
        "condition": condition,
        "fitzpatrick": loaded.fitzpatrick,
        "boxes": [roi.box for roi in rois],
        "box_conditions": [roi.condition for roi in rois],
        "window": window.box(height, width),
        "source": job.photo.source,
    }


def _skin(photo: np.ndarray, rois: Sequence[Roi]) -> np.ndarray:
    """Likely skin and the ROIs, bool [h, w], at a resolution that is enough."""
    height, width = photo.shape[:2]
    scale = SKIN_RESOLUTION / max(height, width)
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        # Large ones by halves first: several times as fast as the whole way at once.
        while min(photo.shape[:2]) > 1 and max(photo.shape[:2]) >= 2 * SKIN_RESOLUTION:
            rows, columns = photo.shape[0] // 2, photo.shape[1] // 2
            photo = cv2.resize(
                photo[: 2 * rows, : 2 * columns],
                (columns, rows),
                interpolation=cv2.INTER_AREA,
            )
        photo = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
    return skin_mask(photo, rois)


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
    shares: Mapping[str, windows.Shares],
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
            "pathology": windows.PatchFinder(
                scene.skin, scene.pathology, image_size, rng
            ),
            "healthy": windows.PatchFinder(scene.skin, grown, image_size, rng),
        }
        _cut_patches(outcome, scene, finders, image_size, patches_per_photo, shares)
    # One bad photo must not end the run, whatever its decoder raises.
    except Exception as error:
        outcome = PhotoPatches(job, reject=rejected(job.photo, error))
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
    finders: Mapping[str, windows.PatchFinder],
    image_size: int,
    patches_per_photo: int,
    shares: Mapping[str, windows.Shares],
) -> None:
    sides: list[int] = []
    for domain, finder in finders.items():
        found: list[windows.Window] = []
        for i in range(patches_per_photo):
            side = sides[i % len(sides)] if sides else None
            window = finder.find(shares[domain], side)
            if window is not None and window not in found:
                found.append(window)
        sides = sides or [window.side for window in found]
        if found:
            # Of the pathology itself, not of what lies around it.
            shown = [finders["pathology"].shares_in(window) for window in found]
            outcome.sides[domain] = [window.side for window in found]
            outcome.patches[domain] = [
                _patch(outcome.job, scene, window, share, image_size)
                for window, share in zip(found, shown, strict=True)
            ]


def _patch(job, scene, window, shares, image_size) -> dict[str, Any]:
    twin = scene.twin if shares[1] > 0 else None
    mask = scene.pathology.astype(np.uint8) * 255
    mask = windows.cut(mask, window, image_size)
    return {
        "image": _png(windows.cut(scene.photo, window, image_size)),
        "mask": _png(np.where(mask > 127, 255, 0).astype(np.uint8)),
        "twin": [] if twin is None else [_png(windows.cut(twin, window, image_size))],
        "image_id": job.image_id,
        "case_id": job.case_id,
        "condition": job.photo.condition,
        "skin_share": shares[0],
        "pathology_share": shares[1],
        "window": window.box(*scene.photo.shape[:2]),
        "source": job.photo.source,
    }


def _png(image: np.ndarray, *settings: int) -> bytes:
    """PNG by OpenCV: ten times as fast as Pillow for a seventh more bytes."""
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    # Training decodes each image many times. Of all filters this one is undone fastest.
    settings = cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP, *settings
    return cv2.imencode(".png", image, settings)[1].tobytes()
