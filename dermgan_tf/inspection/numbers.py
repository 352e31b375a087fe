"""What is in a data set, counted and measured."""

import collections
import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from dermgan_tf.errors import Reject
from dermgan_tf.inspection.duplicates import (
    LOOKALIKE,
    PhotoPrint,
    find_duplicates,
    photo_print,
    summarize_duplicates,
)
from dermgan_tf.photos.annotations import SPLITS
from dermgan_tf.photos.semantic_map import (
    MAX_SKIN_TYPE,
    SKIN_TYPE_NAMES,
    Roi,
    box_pixels,
)
from dermgan_tf.photos.skin_tone import fitzpatrick_from_ita, skin_ita
from dermgan_tf.progress import silent
from dermgan_tf.reports.description import EXAMPLE_SIDE


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


QUANTILES = (0, 5, 25, 50, 75, 95, 100)  # percent
SMALL_ROI = 4  # pixels, shorter side, in a photo shrunk to 256 a side
SMALL_PHOTO = 256  # pixels, shorter side
_ITA_RANGE, _ITA_BIN = (-90, 90), 5  # degrees


@dataclasses.dataclass(frozen=True)
class Photo:
    """What is known of one photo (of pairs: of one crop).

    Args:
        case_id, condition, split, source: str.
        fitzpatrick: int, 0…6.
        rois: boxes with conditions.
        explicit: bool. Whether its split was stated.
        group: str. What it was cut from: equal for the crops of one photo; "" alone.
    """

    case_id: str
    condition: str
    split: str
    source: str
    fitzpatrick: int
    rois: tuple[Roi, ...]
    explicit: bool = True
    group: str = ""


def count(
    photos: Sequence[Photo],
    looks: Sequence[Look],
    rejects: Sequence[Reject],
    workers: int | None = None,
    progress: Callable[..., Iterable] = silent,
) -> dict[str, Any]:
    """Counts and measures all that description.json holds but what will be hard.

    Args:
        photos: what is known of each.
        looks: what their pixels tell, in the same order.
        rejects: what could not be read.
        workers: int ≥ 1. Threads that compare photos; None = one a CPU core.
        progress: see `dermgan_tf.progress`.

    Returns:
        JSON values; docs/describe.md says what each one is.
    """
    splits = collections.defaultdict(set)
    for photo in photos:
        splits[photo.case_id].add(photo.split)
    return {
        "counts": _counts(photos, rejects),
        "sources": _ordered(collections.Counter(photo.source for photo in photos)),
        "splits": _by_split(photos),
        "cases_in_several_splits": sum(len(of_case) > 1 for of_case in splits.values()),
        "conditions": _by_condition(photos),
        "skin_types": _by_skin_type(photos, looks),
        "rois": _rois(photos),
        "resolutions": _resolutions(looks),
        "duplicates": _duplicates(photos, looks, workers, progress),
    }


def _counts(photos: Sequence[Photo], rejects: Sequence[Reject]) -> dict[str, Any]:
    names = [_photo_name(n, photo) for n, photo in enumerate(photos)]
    of_case = collections.defaultdict(set)
    for name, photo in zip(names, photos, strict=True):
        of_case[photo.case_id].add(name)
    per_case = [len(of_one) for of_one in of_case.values()]
    return {
        "photos": len(set(names)),
        "crops": len(photos) if any(photo.group for photo in photos) else None,
        "cases": len(of_case),
        "conditions": len({photo.condition for photo in photos}),
        "rejected": len(rejects),
        "photos_per_case": {
            "mean": round(float(np.mean(per_case)), 3),
            "quantiles": _quantiles(per_case),
            "histogram": _ordered(collections.Counter(per_case)),
        },
    }


def _photo_name(place: int, photo: Photo) -> Any:
    """Equal for crops of one photo."""
    return photo.group or place


def _by_split(photos: Sequence[Photo]) -> dict[str, dict[str, int]]:
    found = {}
    for split in SPLITS:
        of_split = [photo for photo in photos if photo.split == split]
        found[split] = {
            "photos": len(of_split),
            "cases": len({photo.case_id for photo in of_split}),
            "stated": sum(photo.explicit for photo in of_split),
        }
    return found


def _by_condition(photos: Sequence[Photo]) -> list[dict[str, Any]]:
    rois = collections.Counter(roi.condition for photo in photos for roi in photo.rois)
    of_condition = collections.defaultdict(list)
    for photo in photos:
        of_condition[photo.condition].append(photo)
    rows = []
    for name in sorted({*of_condition, *rois}):
        some = of_condition.get(name, [])
        types = collections.Counter(photo.fitzpatrick for photo in some)
        rows.append(
            {
                "condition": name,
                "photos": len(some),
                "cases": len({photo.case_id for photo in some}),
                "rois": rois[name],
                "cases_by_split": {
                    split: len({p.case_id for p in some if p.split == split})
                    for split in SPLITS
                },
                "photos_by_skin_type": [types[t] for t in range(MAX_SKIN_TYPE + 1)],
            }
        )
    return sorted(rows, key=lambda row: (-row["photos"], row["condition"]))


def _by_skin_type(
    photos: Sequence[Photo], looks: Sequence[Look]
) -> list[dict[str, Any]]:
    rows = []
    known = sum(photo.fitzpatrick > 0 for photo in photos)
    edges = np.arange(_ITA_RANGE[0], _ITA_RANGE[1] + 1, _ITA_BIN)
    for skin_type, name in enumerate(SKIN_TYPE_NAMES):
        some = [
            (photo, look)
            for photo, look in zip(photos, looks, strict=True)
            if photo.fitzpatrick == skin_type
        ]
        ita = np.array([look.ita for _, look in some])
        ita = ita[np.isfinite(ita)]
        by_colour = collections.Counter(fitzpatrick_from_ita(value) for value in ita)
        inside = np.clip(ita, *_ITA_RANGE)
        rows.append(
            {
                "fitzpatrick": skin_type,
                "name": name,
                "photos": len(some),
                "cases": len({photo.case_id for photo, _ in some}),
                "share_of_known": len(some) / known if known and skin_type else None,
                "ita": {
                    "photos": len(ita),
                    "quantiles": _quantiles(ita),
                    "bin_edges": edges.tolist(),
                    "histogram": np.histogram(inside, edges)[0].tolist(),
                    "types_by_colour": [
                        by_colour[t] for t in range(1, MAX_SKIN_TYPE + 1)
                    ],
                },
            }
        )
    return rows


def _rois(photos: Sequence[Photo]) -> dict[str, Any]:
    boxes = np.array([roi.box for photo in photos for roi in photo.rois]).reshape(-1, 4)
    sides = boxes[:, 2:] - boxes[:, :2]
    longer, shorter = sides.max(axis=1), sides.min(axis=1)
    edges = np.linspace(0, 1, 21)
    return {
        "count": len(boxes),
        "photos_without": sum(not photo.rois for photo in photos),
        "per_photo": _ordered(collections.Counter(len(p.rois) for p in photos)),
        "longer_side": _quantiles(longer),
        "shorter_side": _quantiles(shorter),
        "area": _quantiles(sides.prod(axis=1)),
        "longer_side_bin_edges": [round(float(edge), 2) for edge in edges],
        "longer_side_histogram": np.histogram(longer, edges)[0].tolist(),
        "small": int((shorter * 256 < SMALL_ROI).sum()),
    }


def _resolutions(looks: Sequence[Look]) -> dict[str, Any]:
    sizes = [(look.print.width, look.print.height) for look in looks]
    common = collections.Counter(sizes).most_common()
    shorter = [min(size) for size in sizes]
    return {
        "different": len(common),
        "most_common": [
            {"width": width, "height": height, "photos": count}
            for (width, height), count in sorted(common, key=lambda c: (-c[1], c[0]))
        ][:10],
        "shorter_side": _quantiles(shorter),
        "longer_side": _quantiles([max(size) for size in sizes]),
        "megapixels": _quantiles([w * h / 1e6 for w, h in sizes]),
        "small": sum(side < SMALL_PHOTO for side in shorter),
    }


def _duplicates(
    photos: Sequence[Photo],
    looks: Sequence[Look],
    workers: int | None,
    progress: Callable[..., Iterable],
) -> dict[str, Any]:
    """Copies, and the number of pairs that only look alike."""
    prints = [look.print for look in looks]
    pairs = [
        pair
        for pair in find_duplicates(prints, LOOKALIKE, workers, progress)
        # Crops of one photo show the same by design.
        if not photos[pair.first].group
        or photos[pair.first].group != photos[pair.second].group
    ]
    copies = [pair for pair in pairs if pair.kind != "lookalike"]
    cases = [photo.case_id for photo in photos]
    found = summarize_duplicates(
        copies,
        cases,
        [photo.split for photo in photos],
        [photo.condition for photo in photos],
    )
    found["pairs"].pop("lookalike")
    found["lookalike_pairs_across_cases"] = sum(
        pair.kind == "lookalike" and cases[pair.first] != cases[pair.second]
        for pair in pairs
    )
    return found


def _quantiles(values: Sequence[float] | np.ndarray) -> dict[str, float] | None:
    if not len(values):
        return None
    found = np.percentile(values, QUANTILES)
    return {f"p{q}": round(float(v), 4) for q, v in zip(QUANTILES, found, strict=True)}


def _ordered(counts: Mapping[Any, int]) -> dict[str, int]:
    return {str(key): counts[key] for key in sorted(counts)}
