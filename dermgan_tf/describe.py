"""What is in a data set of photographs, counted and measured, and what will be hard.

The numbers are those of `description.json`; docs/describe.md says what each one is. No
path and no case id is among them.
"""

import collections
import dataclasses
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from dermgan_tf import photo_io
from dermgan_tf.annotations import SPLITS, PhotoAnnotation, case_splits
from dermgan_tf.dedupe import read_with_clashes
from dermgan_tf.duplicates import (
    LOOKALIKE,
    PhotoPrint,
    find_duplicates,
    map_photos,
    photo_print,
)
from dermgan_tf.duplicates_report import summarize_duplicates
from dermgan_tf.errors import InputError, Reject, check_reject_fraction
from dermgan_tf.progress import silent
from dermgan_tf.semantic_map import MAX_SKIN_TYPE, Roi, box_pixels
from dermgan_tf.skin_tone import fitzpatrick_from_ita, ita_degrees, skin_mask

FORMAT_VERSION = 1
SKIN_TYPE_NAMES = ("unknown", "I", "II", "III", "IV", "V", "VI")
QUANTILES = (0, 5, 25, 50, 75, 95, 100)  # percent
# What is called hard.
FEW_PHOTOS = 50  # of a condition
FEW_CASES = 10  # of a condition
RARE_SKIN_TYPE = 0.02  # of the photos with a known type
SMALL_ROI = 4  # pixels, shorter side, in a photo shrunk to 256 a side
SMALL_PHOTO = 256  # pixels, shorter side
# Sheets of examples.
SHEET_PHOTOS = 6  # a condition
EXAMPLE_SIDE = 192  # pixels, longer side

_ANY = 1.0  # share of bad items: a description is how one learns of them
_NAMED = 10  # conditions in one line
_SPARE = 2  # examples chosen for each that is shown: some cannot be read
_TONE_SIDE = 160  # pixels, longer side: skin is looked for at this size anyway
_MIN_SKIN = 0.02  # share of the photo: less says nothing reliable of its colour
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


@dataclasses.dataclass(frozen=True)
class Description:
    """A data set, described.

    Args:
        numbers: the content of description.json.
        examples: RGB images by condition, np.uint8 [H, W, 3], boxes drawn.
        rejects: what could not be read.
    """

    numbers: dict[str, Any]
    examples: dict[str, list[np.ndarray]]
    rejects: list[Reject]


def describe_annotations(
    path: str | os.PathLike,
    *,
    examples: bool = True,
    workers: int | None = None,
    progress: Callable[..., Iterable] = silent,
) -> Description:
    """Describes the photos of an annotations.jsonl.

    Args:
        path: the file.
        examples: bool. Whether to keep photos to show.
        workers: int ≥ 1. Threads that read photos; None = one a CPU core.
        progress: see `dermgan_tf.progress`.

    Raises:
        InputError: for a file that cannot be read, or in which nothing is usable.
    """
    annotations, rejects, _ = read_with_clashes(path)
    total = len(annotations) + len(rejects)
    if not total:
        raise InputError(f"{os.fspath(path)} describes no photo")
    check_reject_fraction(rejects, total, _ANY, path)
    folder = os.path.dirname(os.path.abspath(path))
    by_case = case_splits(annotations)
    photos = [
        Photo(
            one.case_id,
            one.condition,
            one.split or by_case[one.case_id],
            one.source,
            one.fitzpatrick,
            one.rois,
            one.split is not None,
        )
        for one in annotations
    ]
    shown = {annotations[n].image for n in _chosen(photos)} if examples else set()

    def look(one: PhotoAnnotation) -> Look:
        pixels = photo_io.read_photo(os.path.join(folder, one.image))
        return look_at(pixels, one.rois, one.image in shown)

    looks, unread = map_photos(look, folder, annotations, workers, progress)
    rejects = [*rejects, *unread]
    check_reject_fraction(rejects, total, _ANY, "the photos")
    read = [n for n, found in enumerate(looks) if found is not None]
    return _description(
        "annotations",
        [photos[n] for n in read],
        [looks[n] for n in read],
        rejects,
        workers,
        progress,
    )


def describe_pairs(
    data_dir: str | os.PathLike,
    *,
    examples: bool = True,
    workers: int | None = None,
    progress: Callable[..., Iterable] = silent,
) -> Description:
    """Describes the crops of a pairs folder.

    Args:
        data_dir: what `prepare_pairs` wrote.
        examples, workers, progress: as of `describe_annotations`.

    Raises:
        InputError: for a folder that holds no pairs, or a damaged shard.
    """
    from dermgan_tf.pairs import read_pairs, read_pairs_info

    counts = read_pairs_info(data_dir).counts
    photos, looks = [], []
    kept: collections.Counter = collections.Counter()
    for split in counts:
        pairs = progress(read_pairs(data_dir, split), total=counts[split], desc=split)
        for pair in pairs:
            rois = tuple(
                Roi(tuple(float(v) for v in box), name)
                for box, name in zip(pair["boxes"], pair["box_conditions"], strict=True)
            )
            new = not photos or photos[-1].case_id != pair["case_id"]
            show = examples and new and kept[pair["condition"]] < SHEET_PHOTOS
            kept[pair["condition"]] += show
            photos.append(
                Photo(
                    pair["case_id"],
                    pair["condition"],
                    split,
                    pair["source"],
                    pair["fitzpatrick"],
                    rois,
                    group=pair["image_id"],
                )
            )
            looks.append(look_at(pair["image"], rois, show))
    return _description(
        "pairs",
        photos,
        looks,
        [],
        workers,
        progress,
    )


def look_at(pixels: np.ndarray, rois: Sequence[Roi], show: bool) -> Look:
    """Looks at one photo.

    Args:
        pixels: np.uint8 [H, W, 3], RGB.
        rois: its boxes.
        show: bool. Whether to keep an example of it.
    """
    example = _example(pixels, rois) if show else None
    return Look(photo_print(pixels), skin_ita(pixels, rois), example)


def skin_ita(photo: np.ndarray, rois: Sequence[Roi] = ()) -> float:
    """The median ITA, in degrees, of likely skin outside the ROIs.

    As `dermgan_tf.skin_tone.estimate_skin_type` measures it; light moves it.

    Returns:
        float; NaN if less than 2 % of the photo is visible skin outside the ROIs.
    """
    small = _shrunk(photo, _TONE_SIDE)
    mask = skin_mask(small, rois)
    for roi in rois:
        top, left, bottom, right = box_pixels(roi.box, *small.shape[:2])
        mask[top:bottom, left:right] = False
    # The outermost pixels mix skin with what lies behind it.
    inner = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    if inner.sum() < _MIN_SKIN * inner.size:
        return float("nan")
    return float(np.median(ita_degrees(cv2.medianBlur(small, 5)[inner])))


def _description(
    kind: str,
    photos: Sequence[Photo],
    looks: Sequence[Look],
    rejects: list[Reject],
    workers: int | None,
    progress: Callable[..., Iterable],
) -> Description:
    duplicates = _duplicates(photos, looks, workers, progress)
    splits = collections.defaultdict(set)
    for photo in photos:
        splits[photo.case_id].add(photo.split)
    numbers = {
        "format_version": FORMAT_VERSION,
        "kind": kind,
        "counts": _counts(photos, rejects),
        "sources": _ordered(collections.Counter(photo.source for photo in photos)),
        "splits": _by_split(photos),
        "cases_in_several_splits": sum(len(of_case) > 1 for of_case in splits.values()),
        "conditions": _by_condition(photos),
        "skin_types": _by_skin_type(photos, looks),
        "rois": _rois(photos),
        "resolutions": _resolutions(looks),
        "duplicates": duplicates,
    }
    numbers["hard"] = list(_hard(numbers))
    examples: dict[str, list[np.ndarray]] = {}
    for photo, look in zip(photos, looks, strict=True):
        if look.example is not None:
            shown = examples.setdefault(photo.condition, [])
            if len(shown) < SHEET_PHOTOS:
                shown.append(look.example)
    order = [row["condition"] for row in numbers["conditions"]]
    return Description(
        numbers, {name: examples[name] for name in order if name in examples}, rejects
    )


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


def _hard(numbers: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What will be hard: {"about", "what"} each, what a reader should see first."""

    def told(about: str, what: str) -> dict[str, str]:
        return {"about": about, "what": what}

    if numbers["cases_in_several_splits"]:
        yield told(
            "leakage",
            f"cases in more than one split: {numbers['cases_in_several_splits']} "
            "(find_duplicates --dedupe puts each in one)",
        )
    yield from _hard_copies(numbers["duplicates"], told)
    for split, found in numbers["splits"].items():
        if not found["cases"]:
            yield told("splits", f"no case is in split {split}")
    rows = numbers["conditions"]
    for unit, enough in (("photos", FEW_PHOTOS), ("cases", FEW_CASES)):
        few = [f"{r['condition']} ({r[unit]})" for r in rows if r[unit] < enough]
        if few:
            yield told(
                "conditions",
                f"{len(few)} under {enough} {unit}: {_listed(few[::-1])}",
            )
    one_split = [
        row["condition"]
        for row in rows
        if sum(count > 0 for count in row["cases_by_split"].values()) == 1
    ]
    if one_split:
        yield told(
            "conditions", f"{len(one_split)} in one split only: {_listed(one_split)}"
        )
    yield from _hard_skin_types(numbers["skin_types"], told)
    rois, counts = numbers["rois"], numbers["counts"]
    images = counts["crops"] or counts["photos"]
    if rois["photos_without"]:
        yield told(
            "ROIs",
            f"photos without ROI: {rois['photos_without']} of {images}; they serve a "
            "classifier, not the GAN",
        )
    if rois["small"]:
        yield told(
            "ROIs",
            f"under {SMALL_ROI} pixels in a photo of 256 a side: {rois['small']} of "
            f"{rois['count']}",
        )
    if numbers["resolutions"]["small"] and not counts["crops"]:  # crops were asked for
        yield told(
            "resolution",
            f"photos under {SMALL_PHOTO} pixels a side: "
            f"{numbers['resolutions']['small']} of {images}",
        )
    if len(numbers["sources"]) > 1:
        mixed = (f"{name} {count}" for name, count in numbers["sources"].items())
        yield told("sources", f"mixed: {', '.join(mixed)}")
    if counts["rejected"]:
        yield told(
            "files",
            f"bad items that were left out: {counts['rejected']}, see rejects.csv",
        )


def _hard_copies(
    copies: Mapping[str, Any], told: Callable[[str, str], dict[str, str]]
) -> Iterator[dict[str, str]]:
    if copies["groups_across_splits"]:
        yield told(
            "leakage",
            "groups of copies in more than one split: "
            f"{copies['groups_across_splits']}; what is trained on is tested on "
            "(find_duplicates --dedupe puts their cases in one)",
        )
    elif copies["groups_across_cases"]:
        yield told(
            "duplicates",
            f"groups of copies in several cases: {copies['groups_across_cases']}",
        )
    if copies["groups_of_several_conditions"]:
        yield told(
            "labels",
            "groups of copies said to show different conditions: "
            f"{copies['groups_of_several_conditions']}",
        )
    if copies["lookalike_pairs_across_cases"]:
        yield told(
            "leakage",
            "pairs of photos of different cases that look alike: "
            f"{copies['lookalike_pairs_across_cases']}; the same patients again? "
            f"(find_duplicates --min_similarity={LOOKALIKE:g} shows them)",
        )


def _hard_skin_types(
    rows: Sequence[Mapping[str, Any]], told: Callable[[str, str], dict[str, str]]
) -> Iterator[dict[str, str]]:
    unknown, photos = rows[0]["photos"], sum(row["photos"] for row in rows)
    if unknown:
        yield told("skin types", f"unknown for {unknown} of {photos} photos")
    if unknown == photos:
        return
    absent = [row["name"] for row in rows[1:] if not row["photos"]]
    if absent:
        yield told("skin types", f"no photo of type {_listed(absent)}")
    rare = [
        f"{row['name']} ({row['photos']})"
        for row in rows[1:]
        if row["photos"] and row["share_of_known"] < RARE_SKIN_TYPE
    ]
    if rare:
        yield told("skin types", f"under 2 % of those known: type {_listed(rare)}")


def _chosen(photos: Sequence[Photo]) -> list[int]:
    """Places of examples: of each condition, of many cases and skin types.

    Not chosen for looks: by a hash of the case, one photo a case, skin types in turn.
    Some more than are shown, for those that cannot be read.
    """
    of_condition = collections.defaultdict(dict)
    for place, photo in enumerate(photos):
        of_condition[photo.condition].setdefault(photo.case_id, place)
    chosen = []
    for cases in of_condition.values():
        by_type = collections.defaultdict(list)
        for case in sorted(cases, key=lambda c: hashlib.sha256(c.encode()).digest()):
            by_type[photos[cases[case]].fitzpatrick].append(cases[case])
        rounds = [
            (rank, skin_type, place)
            for skin_type, places in by_type.items()
            for rank, place in enumerate(places)
        ]
        wanted = SHEET_PHOTOS * _SPARE
        chosen += [place for _, _, place in sorted(rounds)[:wanted]]
    return chosen


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


def _quantiles(values: Sequence[float] | np.ndarray) -> dict[str, float] | None:
    if not len(values):
        return None
    found = np.percentile(values, QUANTILES)
    return {f"p{q}": round(float(v), 4) for q, v in zip(QUANTILES, found, strict=True)}


def _ordered(counts: Mapping[Any, int]) -> dict[str, int]:
    return {str(key): counts[key] for key in sorted(counts)}


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
