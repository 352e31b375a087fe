"""Writes found duplicates down: counts, duplicates.csv, a sheet of the groups."""

import csv
import os
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np

from dermgan_tf.errors import InputError
from dermgan_tf.photos.annotations import PhotoAnnotation
from dermgan_tf.photos.contact_sheet import contact_sheet

CSV_COLUMNS = (
    *("group", "image", "case_id", "split", "condition", "height", "width"),
    *("kind", "of", "similarity"),
)
SHEET_GROUPS, SHEET_PHOTOS = 40, 6
_CELL = 192  # pixels


def write_duplicates_csv(
    path: str | os.PathLike,
    annotations: Sequence[PhotoAnnotation],
    splits: Sequence[str],
    prints: Sequence[Any],
    pairs: Sequence[Any],
    groups: Sequence[Sequence[int]],
) -> None:
    """Writes duplicates.csv: one line for each photo of a group.

    `kind` and `similarity` are to the photo named in `of`: the one of the group that it
    is most like, of those told before it where there is one. The first photo of a group
    has none.

    Args:
        path: the file.
        annotations, splits, prints: one for each photo.
        pairs, groups: as `find_duplicates` and `ordered_groups` of
            `dermgan_tf.inspection.duplicates` return them.
    """
    partners = _partners(pairs)
    with open(path, "w", newline="", encoding="utf-8", errors="replace") as file:
        writer = csv.writer(file)
        writer.writerow(CSV_COLUMNS)
        for number, group in enumerate(groups, start=1):
            for place in group:
                one, given = annotations[place], prints[place]
                kind, of, similarity = "", "", ""
                if place != group[0]:
                    pair = _best(partners[place], place)
                    other = pair.first if pair.second == place else pair.second
                    kind, of = pair.kind, annotations[other].image
                    similarity = f"{pair.similarity:.3f}"
                writer.writerow(
                    [number, one.image, one.case_id, splits[place]]
                    + [one.condition, given.height, given.width]
                    + [kind, of, similarity]
                )


def duplicates_sheet(
    load: Callable[[int], np.ndarray],
    splits: Sequence[str],
    pairs: Sequence[Any],
    groups: Sequence[Sequence[int]],
) -> np.ndarray:
    """The first groups, a row each, their photos side by side.

    Args:
        load: gives the pixels of the photo at a place, np.uint8 [H, W, 3].
        splits: str, one for each photo.
        pairs, groups: as `find_duplicates` and `ordered_groups` return them.

    Returns:
        np.uint8 [H, W, 3].
    """
    partners = _partners(pairs)
    rows, labels = [], []
    for number, group in enumerate(groups[:SHEET_GROUPS], start=1):
        shown = group[:SHEET_PHOTOS]
        rows.append([_cell(load, place) for place in shown])
        found = {
            (pair.kind, f"{pair.similarity:.2f}")
            for place in group[1:]
            for pair in [_best(partners[place], place)]
        }
        lines = [f"group {number}", *(" ".join(pair) for pair in sorted(found)[:3])]
        lines.append(" + ".join(dict.fromkeys(splits[place] for place in group)))
        if len(group) > len(shown):
            lines.append(f"{len(shown)} of {len(group)} photos")
        labels.append("\n".join(lines))
    title = f"Photos that look the same: {len(rows)} of {len(groups)} groups"
    return contact_sheet(rows, row_labels=labels, title=title, cell=_CELL)


def _cell(load: Callable[[int], np.ndarray], place: int) -> np.ndarray:
    try:
        photo = load(place)
    except InputError:  # it could be read a minute ago
        return np.full((_CELL, _CELL, 3), 128, np.uint8)
    scale = min(1.0, _CELL / max(photo.shape[:2]))
    size = [max(1, round(side * scale)) for side in photo.shape[1::-1]]
    return cv2.resize(photo, size, interpolation=cv2.INTER_AREA)


def _partners(pairs: Sequence[Any]) -> dict[int, list[Any]]:
    found: dict[int, list[Any]] = {}
    for pair in pairs:
        found.setdefault(pair.first, []).append(pair)
        found.setdefault(pair.second, []).append(pair)
    return found


def _best(pairs: Sequence[Any], place: int) -> Any:
    return max(pairs, key=lambda pair: (pair.second == place, pair.similarity))
