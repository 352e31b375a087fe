"""Opens the photos that annotation files tell of, and fits what is told to the pixels.

Every importer first collects entries, then `open_entries` reads the photos: formats
differ in the first step alone.
"""

import collections
import dataclasses
import functools
import os
import pathlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from dermgan_tf.errors import InputError, Reject
from dermgan_tf.photos.annotations import PhotoAnnotation
from dermgan_tf.photos.importers import cause, over_photos
from dermgan_tf.photos.importers.boxes import Box, fitted_box
from dermgan_tf.photos.importers.mask_folder import (
    MIN_REGION_AREA,
    mask_rois,
    read_mask,
    read_real_photo,
)
from dermgan_tf.photos.importers.photo_index import PhotoIndex
from dermgan_tf.photos.isolated_map import Lost
from dermgan_tf.photos.semantic_map import Roi
from dermgan_tf.progress import silent

CUT_BOXES = "boxes cut to the photo"
REPEATED_BOXES = "repeated boxes"
NO_BOXES = "left out: no boxes"
SPECKS = "specks ignored"
NO_ROI = "photos without ROI"
RESIZED = "photos of another size"
ABSENT = "images absent"
NO_ENTRY = "photos without entry"
NO_LABEL = "left out: no label"


@dataclasses.dataclass(frozen=True)
class Shape:
    """A box before it is fitted to its photo.

    Args:
        where: str. Its place in the annotation file, for messages.
        label: str. What it is around.
        box: (top, left, bottom, right), in pixels of the image it was drawn on, or in
            shares of it; see `Entry`.
    """

    where: str
    label: str
    box: Box


@dataclasses.dataclass(frozen=True)
class Entry:
    """What annotations say of one photo that is there.

    Args:
        where: str. The place in the annotation file, for messages.
        image: str. The photo, relative to the folder of photos.
        case_id: str.
        label: str. The condition; "" = the one that the boxes cover most of.
        fitzpatrick: int, 0…6; 0 = unknown.
        split: str or None.
        shapes: the boxes.
        size: (height, width) in pixels that the boxes were drawn on; None = the
            photo's own.
        in_shares: bool. Boxes are in shares of the photo, not in pixels.
        mask: a file whose regions are the boxes.
        bad: boxes that the file itself has damaged, item and reason.
    """

    where: str
    image: str
    case_id: str
    label: str = ""
    fitzpatrick: int = 0
    split: str | None = None
    shapes: tuple[Shape, ...] = ()
    size: tuple[int, int] | None = None
    in_shares: bool = False
    mask: pathlib.Path | None = None
    bad: tuple[Reject, ...] = ()


def import_rows(
    table: pathlib.Path,
    rows: Iterable[tuple[int, dict[str, str]]],
    read_row: Callable[[str, dict[str, str]], Iterable[Entry | str]],
    index: PhotoIndex,
    **options,
) -> tuple[list[PhotoAnnotation], list[Reject], dict[str, int]]:
    """Imports photos that a table tells of.

    Args:
        table: the file, for messages.
        rows: see `read_table`.
        read_row: takes a row's place and values; gives entries, or, where there is
            none, the name of what to count instead. Its InputError rejects the row.
        index: the photos.
        **options: see `import_entries`.

    Returns:
        (annotations, rejects, counts), images relative to the index's folder.
    """
    rows = list(rows)
    counts = Counter({"rows of the table": len(rows), ABSENT: 0})
    entries, rejects = [], []
    for line, row in rows:
        where = f"{table.name}:{line}"
        try:
            for found in read_row(where, row):
                if isinstance(found, str):
                    counts[found] += 1
                else:
                    entries.append(found)
        except InputError as error:
            rejects.append(Reject(where, str(error)))
    return import_entries(entries, rejects, counts, index, str(table), **options)


def import_entries(
    entries: Sequence[Entry],
    rejects: Sequence[Reject],
    counts: Counter,
    index: PhotoIndex,
    source: str,
    *,
    mask_suffix: str = "",
    **options,
) -> tuple[list[PhotoAnnotation], list[Reject], dict[str, int]]:
    """Opens the photos of entries and ends an import.

    Args:
        entries: of photos that are there; the later ones of one photo are rejected.
        rejects: bad items so far.
        counts: of what was met so far.
        index: the photos. Those that nothing has named are counted.
        source: str. What was imported, for messages.
        mask_suffix: str. How masks' names end, which lie among the photos.
        **options: see `open_entries`.

    Returns:
        (annotations, rejects, counts), images relative to the index's folder.

    Raises:
        InputError: if there are no photos, or none of them is told of.
    """
    if not index.images:
        raise InputError(f"no photos in {index.folder}")
    entries, repeated = without_repeats(entries)
    annotations, bad, opened = open_entries(entries, index.folder, **options)
    counts.update({name: count for name, count in opened.items() if count})
    counts[NO_ENTRY] = len(index.unnamed(mask_suffix))
    rejects = [*rejects, *repeated, *bad]
    if not annotations and not rejects:
        met = ", ".join(f"{name}: {count}" for name, count in counts.items())
        raise InputError(
            f"{source} tells of none of the {len(index.images)} photos in "
            f"{index.folder} what they show ({met})"
        )
    return annotations, sorted(rejects, key=lambda reject: reject.item), dict(counts)


def without_repeats(entries: Iterable[Entry]) -> tuple[list[Entry], list[Reject]]:
    """The first entry of every photo; the later ones are rejected."""
    first: dict[str, Entry] = {}
    rejects = []
    for entry in entries:
        earlier = first.setdefault(entry.image, entry)
        if earlier is not entry:
            reason = f"{entry.image} stands already in {earlier.where}"
            rejects.append(Reject(entry.where, reason))
    return list(first.values()), rejects


def open_entries(
    entries: Sequence[Entry],
    folder: str | os.PathLike,
    *,
    label_without_boxes: str = "",
    min_region_area: float = MIN_REGION_AREA,
    progress: Callable = silent,
    crash_safe: bool = False,
) -> tuple[list[PhotoAnnotation], list[Reject], Counter]:
    """Reads the photos and makes their annotations.

    A bad box is rejected; its photo stays while it has a good one. A photo that was
    annotated in another size is taken where only the scale differs.

    Args:
        entries: one a photo.
        folder: the folder of photos.
        label_without_boxes: str. The condition of a photo that has neither label nor
            boxes; "" leaves such photos out, and counts them.
        min_region_area: float, 0…1. See `import_mask_folder`.
        progress: see `dermgan_tf.progress`.
        crash_safe: bool. Whether photos are decoded by processes; see
            `dermgan_tf.photos.importers.over_photos`.

    Returns:
        (annotations, rejects, counts): images relative to `folder`, in the order of the
        entries. Of the counts only those above 0 are there.
    """
    open_one = functools.partial(
        _opened, os.fspath(folder), label_without_boxes, min_region_area
    )
    opened = over_photos(open_one, entries, progress, "reading photos", crash_safe)
    annotations, rejects, counts = [], [], Counter()
    for entry, result in zip(entries, opened, strict=True):
        if isinstance(result, Lost):
            rejects.append(Reject(entry.image, result.reason))
            continue
        annotation, bad, its = result
        if annotation:
            annotations.append(annotation)
        rejects += bad
        counts += its
    return annotations, rejects, counts


def _opened(
    folder: str, label_without_boxes: str, min_region_area: float, entry: Entry
) -> tuple[PhotoAnnotation | None, list[Reject], Counter]:
    """One of `open_entries`: its annotation, if it has one, rejects and counts."""
    counts: Counter = Counter()
    path = os.path.join(folder, entry.image)
    try:
        height, width = read_real_photo(path).shape[:2]
        if entry.mask:
            mask = read_mask(entry.mask, height, width)
            rois, specks = mask_rois(mask, entry.label, min_region_area)
            counts[SPECKS] += specks
            bad = []
        else:
            rois, bad = _fitted_shapes(entry, height, width, counts)
        label = entry.label or main_condition(rois) or label_without_boxes
        if not label and not bad:
            counts[NO_BOXES] += 1
            return None, [], counts
        if bad and not rois:
            raise InputError(f"has no good box: {bad[0].reason} ({bad[0].item})")
        annotation = PhotoAnnotation(
            entry.image,
            entry.case_id,
            label,
            entry.fitzpatrick,
            tuple(rois),
            entry.split,
        )
    except InputError as error:
        return None, [Reject(entry.image, cause(error, path))], Counter()
    counts[NO_ROI] += not rois
    bad = [Reject(r.item, f"{entry.image}: {r.reason}") for r in bad]
    return annotation, bad, counts


def main_condition(rois: Iterable[Roi]) -> str:
    """The condition whose boxes have the largest area together; "" without boxes."""
    areas: dict[str, float] = collections.defaultdict(float)
    for roi in rois:
        ymin, xmin, ymax, xmax = roi.box
        areas[roi.condition] += (ymax - ymin) * (xmax - xmin)
    return max(areas, key=areas.__getitem__) if areas else ""


def _fitted_shapes(
    entry: Entry, height: int, width: int, counts: Counter
) -> tuple[list[Roi], list[Reject]]:
    drawn_height, drawn_width = entry.size or (height, width)
    if (drawn_height, drawn_width) != (height, width):
        _require_same_proportions(drawn_height, drawn_width, height, width)
        counts[RESIZED] += 1
    unit = (1, 1) if entry.in_shares else (drawn_height, drawn_width)
    rois: dict[Roi, None] = {}
    rejects = list(entry.bad)
    for shape in entry.shapes:
        try:
            box, cut = fitted_box(shape.box, *unit)
            roi = Roi(box, shape.label)
        except InputError as error:
            rejects.append(Reject(shape.where, str(error)))
            continue
        counts[CUT_BOXES] += cut
        counts[REPEATED_BOXES] += roi in rois
        rois[roi] = None
    return list(rois), rejects


def _require_same_proportions(
    drawn_height: int, drawn_width: int, height: int, width: int
) -> None:
    """Raises InputError unless one size is the other, scaled and rounded to pixels."""
    skew = abs(drawn_width * height - width * drawn_height)
    if skew <= max(drawn_height, drawn_width, height, width):
        return
    turned = (drawn_height, drawn_width) == (width, height)
    raise InputError(
        f"was annotated at {drawn_width} × {drawn_height} pixels but has "
        f"{width} × {height}"
        + (" once upright: annotate it as it is seen" if turned else "")
    )
