"""What is in a data set of photographs, counted and measured, and what will be hard.

The numbers are those of `description.json`; docs/describe.md says what each one is. No
path and no case id is among them.
"""

import collections
import dataclasses
import functools
import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from dermgan_tf.errors import InputError, Reject, check_reject_fraction
from dermgan_tf.inspection.dedupe import read_with_clashes
from dermgan_tf.inspection.duplicates import map_photos
from dermgan_tf.inspection.numbers import Look, Photo, count, look_at
from dermgan_tf.inspection.warnings import hardships
from dermgan_tf.photos import photo_io
from dermgan_tf.photos.annotations import PhotoAnnotation, case_splits
from dermgan_tf.photos.semantic_map import Roi
from dermgan_tf.progress import silent

FORMAT_VERSION = 1
SHEET_PHOTOS = 6  # examples of a condition
_ANY = 1.0  # share of bad items: a description is how one learns of them
_SPARE = 2  # examples chosen for each that is shown: some cannot be read


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
    crash_safe: bool = False,
) -> Description:
    """Describes the photos of an annotations.jsonl.

    Args:
        path: the file.
        examples: bool. Whether to keep photos to show.
        workers: int ≥ 1. Threads or processes that read photos; None = one a CPU core.
        progress: see `dermgan_tf.progress`.
        crash_safe: bool. Whether they are processes, see
            `dermgan_tf.inspection.duplicates.map_photos`.

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
    look = functools.partial(_look, folder, shown)
    looks, unread = map_photos(look, folder, annotations, workers, progress, crash_safe)
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


def _look(folder: str, shown: set[str], one: PhotoAnnotation) -> Look:
    pixels = photo_io.read_photo(os.path.join(folder, one.image))
    return look_at(pixels, one.rois, one.image in shown)


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
    from dermgan_tf.pairs.pairs import read_pairs, read_pairs_info

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


def _description(
    kind: str,
    photos: Sequence[Photo],
    looks: Sequence[Look],
    rejects: list[Reject],
    workers: int | None,
    progress: Callable[..., Iterable],
) -> Description:
    numbers = {
        "format_version": FORMAT_VERSION,
        "kind": kind,
        **count(photos, looks, rejects, workers, progress),
    }
    numbers["hard"] = list(hardships(numbers))
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
