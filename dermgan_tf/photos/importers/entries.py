"""Finds and opens the photos that annotations tell of, and fits what is told to them.

Every importer first collects entries, then `import_entries` does the rest: formats
differ in the first step alone.
"""

import collections
import dataclasses
import functools
import os
import pathlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from dermgan_tf.errors import InputError, Reject, cause
from dermgan_tf.photos.annotations import PhotoAnnotation
from dermgan_tf.photos.folders import file_sha256
from dermgan_tf.photos.importers import over_photos
from dermgan_tf.photos.importers.boxes import Box, fitted_box, overlap, require_pixels
from dermgan_tf.photos.importers.names import case_finder, joined_cases
from dermgan_tf.photos.importers.photo_index import PhotoIndex, Wanted
from dermgan_tf.photos.importers.tables import Table
from dermgan_tf.photos.isolated_map import Lost
from dermgan_tf.photos.masks import mask_rois, read_mask, same_proportions
from dermgan_tf.photos.photo_io import read_upright, require_real
from dermgan_tf.photos.semantic_map import Roi
from dermgan_tf.photos.square import TURN_OF_EXIF, turned_box
from dermgan_tf.progress import silent

# Regions below this share of the photo are slips of the pen: 52 pixels of 512 × 512.
MIN_REGION_AREA = 0.0002
# Two boxes of one photo that share so much (intersection over union) are one lesion.
SAME_LESION = 0.499  # half, with room for rounding

# What boxes and masks of photos that EXIF turns are drawn on: the photo as it is seen;
# as it is stored; or seen, but in shares of the stored size (Label Studio's COCO).
BOXES_IN = ("seen", "stored", "seen_of_stored_size")
# What becomes of the second entry of a photo.
REPEATED = ("merge", "first", "reject")

CUT_BOXES = "boxes cut to the photo"
REPEATED_BOXES = "repeated boxes"
NO_BOXES = "left out: no boxes"
SPECKS = "specks ignored"
NO_ROI = "photos without ROI"
NO_MASK = "photos without mask"
RESIZED = "photos of another size"
TURNED = "photos turned by EXIF"
ABSENT = "images absent"
NO_ENTRY = "photos without entry"
NO_LABEL = "left out: no label"
SPLITS_NAMED = "splits named by "
TOLD_AGAIN = "photos told of again"


@dataclasses.dataclass(frozen=True)
class Shape:
    """A box before it is fitted to its photo.

    Args:
        where: str. Its place in the annotation file, for messages.
        label: str. What it is around.
        box: (top, left, bottom, right), in pixels of the image it was drawn on, or in
            shares of it; see `Entry`.
        size: (height, width) in pixels that this box was made at, if that is not the
            entry's.
    """

    where: str
    label: str
    box: Box
    size: tuple[int, int] | None = None


@dataclasses.dataclass(frozen=True)
class Entry:
    """What annotations say of one photo.

    Args:
        where: str. The place in the annotation file, for messages.
        wanted: the photo's name.
        label: str. The condition; "" = the one that the boxes cover most of.
        fitzpatrick: int, 0…6; 0 = unknown.
        links: what links the photo with others of its case, such as ("patient", "17");
            see `joined_cases`. Without, the case is told by the photo's name.
        split: str or None.
        split_by: str. What names the split, for the summary.
        shapes: the boxes.
        size: (height, width) in pixels that the boxes were drawn on; None = the
            photo's own.
        in_shares: bool. Boxes are in shares of the photo, not in pixels.
        mask: a file whose regions are the boxes.
        bad: boxes that the file itself has damaged, item and reason.
    """

    where: str
    wanted: Wanted
    label: str = ""
    fitzpatrick: int = 0
    links: tuple[tuple[str, str], ...] = ()
    split: str | None = None
    split_by: str = ""
    shapes: tuple[Shape, ...] = ()
    size: tuple[int, int] | None = None
    in_shares: bool = False
    mask: pathlib.Path | None = None
    bad: tuple[Reject, ...] = ()


@dataclasses.dataclass(frozen=True)
class Options:
    """What is the same for all photos of an import.

    Args:
        label_without_boxes: str. The condition of photos that have neither label nor
            boxes; "" leaves such photos out, and counts them.
        case_pattern: see `case_finder`; by default `joined_cases` tells the cases.
        repeated: of a photo that several entries tell of, "merge" the boxes, keep the
            "first" entry, or "reject" the photo. Boxes of one condition that overlap by
            half are one; of several conditions they reject the photo.
        boxes_in: one of BOXES_IN.
        lesion_values: see `dermgan_tf.photos.masks.read_mask`.
        min_region_area: float, 0…1. Connected regions of a mask smaller than this share
            of the photo are ignored.
        progress: see `dermgan_tf.progress`.
        crash_safe: see `dermgan_tf.photos.importers.over_photos`.
    """

    label_without_boxes: str = ""
    case_pattern: str = ""
    repeated: str = "merge"
    boxes_in: str = "seen"
    lesion_values: tuple[int, ...] = ()
    min_region_area: float = MIN_REGION_AREA
    progress: Callable = silent
    crash_safe: bool = False


def import_rows(
    table: Table,
    photos_of: Callable[[dict[str, str]], Iterable[Wanted]],
    read_row: Callable[[str, dict[str, str], Wanted], Entry | str],
    index: PhotoIndex,
    options: Options,
    **more,
) -> tuple[list[PhotoAnnotation], list[Reject], dict[str, int]]:
    """Imports photos that a table tells of.

    Args:
        table: see `read_table`.
        photos_of: gives the photos that a row names. Its InputError rejects the row.
        read_row: takes a row's place, its values and a photo of it that is there; gives
            an entry or the name of what to count instead. Its InputError rejects the
            row.
        index: the photos.
        options: see `Options`.
        **more: see `import_entries`.

    Returns:
        (annotations, rejects, counts), images relative to the index's folder.
    """
    counts = Counter({"rows of the table": len(table.rows) + len(table.rejects)})
    counts.update(table.notes)
    rejects, named = list(table.rejects), []
    for line, row in table.rows:
        where = f"{table.path.name}:{line}"
        try:
            photos = list(photos_of(row))
            counts["rows that name no photo"] += not photos
            named += [(where, row, photo) for photo in photos]
        except InputError as error:
            rejects.append(Reject(where, str(error)))
    bad: dict[str, Reject] = {}
    entries = []
    images = index.find_all([photo for _, _, photo in named])
    for (where, row, _), image in zip(named, images, strict=True):
        try:
            if isinstance(image, InputError):
                raise image
            if image is None:
                counts[ABSENT] += 1
                continue
            entry = read_row(where, row, Wanted(image, (image,)))
            if isinstance(entry, str):
                counts[entry] += 1
            else:
                entries.append(entry)
        except InputError as error:
            of_photo = f"{image}: " if isinstance(image, str) else ""
            bad.setdefault(where, Reject(where, f"{of_photo}{error}"))
    rejects += bad.values()
    index.read([table.path])
    source = str(table.path)
    return import_entries(entries, rejects, counts, index, source, options, **more)


def import_entries(
    entries: Sequence[Entry],
    rejects: Sequence[Reject],
    counts: Counter,
    index: PhotoIndex,
    source: str,
    options: Options,
    *,
    masks: PhotoIndex | None = None,
    mask_suffix: str = "",
    left_over: Sequence[str] = (),
    labels_are_files: bool = False,
) -> tuple[list[PhotoAnnotation], list[Reject], dict[str, int]]:
    """Finds and opens the photos of entries.

    A bad box is rejected; its photo stays while it has a good one. A photo that was
    annotated in another size is taken where only the scale differs.

    Args:
        entries: as read.
        rejects: bad items so far.
        counts: of what was met so far.
        index: the photos. Those that nothing has named are counted.
        source: str. What was imported, for messages.
        options: see `Options`.
        masks: where masks were looked for, perhaps the photos' index.
        mask_suffix: str. How masks' names end.
        left_over: annotations that could not be read or are of no photo.
        labels_are_files: bool. An entry without a photo is such an annotation too.

    Returns:
        (annotations, rejects, counts), images relative to the index's folder, in the
        order of the entries.

    Raises:
        InputError: if there are no photos, or none of them is told of, or if photos
            without boxes shall have a condition while annotations are left over, which
            could be theirs.
    """
    if not index.images:
        raise InputError(f"no photos in {index.folder}")
    rejects, counts, left_over = list(rejects), Counter(counts), list(left_over)
    find_case = case_finder(options.case_pattern)
    of_photo: dict[str, list[Entry]] = {}
    counts[ABSENT] += 0
    for entry, found in zip(
        entries, index.find_all([entry.wanted for entry in entries]), strict=True
    ):
        try:
            if isinstance(found, InputError):
                raise found
            if found is None:
                counts[ABSENT] += 1
            else:
                if options.case_pattern:
                    pattern = ("pattern", find_case(found))
                    entry = dataclasses.replace(entry, links=(pattern,))
                of_photo.setdefault(found, []).append(entry)
                continue
        except InputError as error:
            rejects.append(Reject(entry.where, str(error)))
        if labels_are_files:
            left_over.append(entry.where)
    if options.label_without_boxes and left_over:
        shown = ", ".join(left_over[:3]) + (", …" if len(left_over) > 3 else "")
        raise InputError(
            f"{len(left_over)} annotations of {source} belong to no photo or cannot be "
            f"read ({shown}): a photo that they are of could be taken for "
            f"{options.label_without_boxes!r}; put them right or away, or import "
            "without a condition for photos without boxes"
        )
    groups = []
    for image, group in of_photo.items():
        try:
            groups.append((image, _joined(image, group, options.repeated)))
            counts[TOLD_AGAIN] += len(group) - 1
        except InputError as error:
            rejects.append(Reject(group[-1].where, str(error)))
    counts.update(index.loosely)
    # A photo links cases even where it is rejected.
    cases = joined_cases(
        [
            (image, [k for e in group for k in e.links])
            for image, group in of_photo.items()
        ]
    )
    case_of = dict(zip(of_photo, cases, strict=True))
    opened = over_photos(
        functools.partial(_opened, os.fspath(index.folder), options),
        [(image, group, case_of[image][0]) for image, group in groups],
        options.progress,
        "reading photos",
        options.crash_safe,
    )
    annotations = []
    alike: dict[str, set[str]] = {}
    for (image, group), result in zip(groups, opened, strict=True):
        if isinstance(result, Lost):
            rejects.append(Reject(image, result.reason))
            continue
        annotation, bad, its, digest = result
        rejects += bad
        counts += its
        if annotation:
            annotations.append(annotation)
            if digest in alike:
                counts["copies of another photo, byte for byte"] += 1
                other = annotation.condition not in alike[digest]
                counts["copies under another condition"] += other
            alike.setdefault(digest, set()).add(annotation.condition)
            counts[NO_MASK] += bool(mask_suffix) and group[0].mask is None
            if annotation.split:
                counts[SPLITS_NAMED + group[0].split_by] += 1
    counts = +counts
    counts[ABSENT] += 0
    counts[NO_ENTRY] = len(index.unnamed(mask_suffix))
    if masks:
        others = len(masks.unnamed()) - len(masks.unnamed(mask_suffix))
        counts["masks without photo"] += others
    unread, passed_over = index.left_over()
    rejects += unread
    counts.update(passed_over)
    kept = {case_of[annotation.image] for annotation in annotations}
    counts.update(f"cases by {kind}" for _, kind in kept)
    if not annotations and not rejects:
        met = ", ".join(f"{name}: {count}" for name, count in counts.items())
        raise InputError(
            f"{source} tells of none of the {len(index.images)} photos in "
            f"{index.folder} what they show ({met})"
        )
    return annotations, sorted(rejects, key=lambda reject: reject.item), dict(counts)


def _joined(image: str, group: list[Entry], repeated: str) -> list[Entry]:
    """The entries of one photo that count; InputError if they contradict each other."""
    first, *later = group
    for entry in later:
        both = f"{image} stands already in {first.where}"
        if repeated == "reject":
            raise InputError(both)
        if first.split and entry.split and entry.split != first.split:
            raise InputError(f"{both}, in the split {first.split}")
        if repeated == "merge":
            if entry.label != first.label:
                raise InputError(f"{both}, as {first.label!r}, not {entry.label!r}")
            if 0 != entry.fitzpatrick != first.fitzpatrick != 0:
                raise InputError(f"{both}, of another skin type")
    return [first] if repeated == "first" else group


def _opened(
    folder: str, options: Options, one: tuple[str, list[Entry], str]
) -> tuple[PhotoAnnotation | None, list[Reject], Counter, str]:
    """A photo's annotation, if it has one, rejects, counts, and the file's digest."""
    image, group, case = one
    counts: Counter = Counter()
    path = os.path.join(folder, image)
    rois: list[Roi] = []
    bad: list[Reject] = []
    try:
        require_real(path)
        photo, orientation = read_upright(path)
        height, width = photo.shape[:2]
        for entry in group:
            its, its_bad = _rois(entry, height, width, orientation, options, counts)
            bad += its_bad
            rois = _merged(rois, its, counts)
        skin_type = max(entry.fitzpatrick for entry in group)
        label = group[0].label or main_condition(rois) or options.label_without_boxes
        if bad and not rois:
            raise InputError(f"has no good box: {bad[0].reason} ({bad[0].item})")
        if not label:
            counts[NO_BOXES] += 1
            return None, [], counts, ""
        annotation = PhotoAnnotation(
            image,
            case,
            label,
            skin_type,
            tuple(rois),
            group[0].split,
            skin_type_source="given" if skin_type else None,
        )
    except InputError as error:
        return None, [Reject(image, cause(error, path))], Counter(), ""
    counts[TURNED] += orientation != 1
    counts[NO_ROI] += not rois
    bad = [Reject(r.item, f"{image}: {r.reason}") for r in bad]
    return annotation, bad, +counts, file_sha256(path)


def main_condition(rois: Iterable[Roi]) -> str:
    """The condition whose boxes have the largest area together; "" without boxes."""
    areas: dict[str, float] = collections.defaultdict(float)
    for roi in rois:
        ymin, xmin, ymax, xmax = roi.box
        areas[roi.condition] += (ymax - ymin) * (xmax - xmin)
    return max(areas, key=areas.__getitem__) if areas else ""


def _rois(
    entry: Entry,
    height: int,
    width: int,
    orientation: int,
    options: Options,
    counts: Counter,
) -> tuple[list[Roi], list[Reject]]:
    """(ROIs, bad boxes) of one entry; the photo's size is that seen."""
    stored = orientation if options.boxes_in == "stored" else 1
    if entry.mask:
        mask = read_mask(
            entry.mask,
            height,
            width,
            orientation=stored,
            lesion_values=options.lesion_values,
        )
        rois, specks = mask_rois(mask, entry.label, options.min_region_area)
        counts[SPECKS] += specks
        return list(rois), []
    if stored >= 5:  # it lies on its side
        height, width = width, height
    rois: dict[Roi, None] = {}
    rejects = list(entry.bad)
    if entry.size:
        counts[RESIZED] += _is_resized(
            *entry.size, height, width, orientation, options.boxes_in
        )
    for shape in entry.shapes:
        try:
            size = shape.size or entry.size or (height, width)
            if shape.size:
                _is_resized(*shape.size, height, width, orientation, options.boxes_in)
            if not entry.in_shares:
                require_pixels(shape.box)
            box, cut = fitted_box(shape.box, *((1, 1) if entry.in_shares else size))
            roi = Roi(turned_box(box, TURN_OF_EXIF[stored]), shape.label)
        except InputError as error:
            rejects.append(Reject(shape.where, str(error)))
            continue
        counts[CUT_BOXES] += cut
        counts[REPEATED_BOXES] += roi in rois
        rois[roi] = None
    return list(rois), rejects


def _merged(rois: list[Roi], more: list[Roi], counts: Counter) -> list[Roi]:
    """The boxes of two entries; InputError where they differ about one lesion."""
    merged = list(rois)
    for roi in more:
        same = [one for one in rois if overlap(one.box, roi.box) > SAME_LESION]
        other = {one.condition for one in same} - {roi.condition}
        if other:
            raise InputError(
                f"is told of twice, and one lesion is {min(other)!r} and "
                f"{roi.condition!r}"
            )
        counts["boxes of a second entry that repeat the first's"] += bool(same)
        if not same:
            merged.append(roi)
    return merged


def _is_resized(
    drawn_height: int,
    drawn_width: int,
    height: int,
    width: int,
    orientation: int,
    boxes_in: str,
) -> bool:
    """Whether a size is not the photo's; InputError if it is not its proportions."""
    if (drawn_height, drawn_width) == (height, width):
        return False
    if same_proportions(drawn_height, drawn_width, height, width):
        return True
    on_its_side = orientation >= 5 and same_proportions(
        drawn_width, drawn_height, height, width
    )
    if on_its_side and boxes_in == "seen_of_stored_size":
        return False
    raise InputError(
        f"was annotated at {drawn_width} × {drawn_height} pixels but has "
        f"{width} × {height}"
        + (
            " once upright: say by boxes_in what the boxes are in"
            if on_its_side
            else ""
        )
    )
