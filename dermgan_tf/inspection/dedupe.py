"""Annotations without leaks: cases that share a photo in one split, doubles dropped.

The rule: cases that share a photo, and all photos of a case whose lines name two
splits, go to the earliest of their splits in the order train, validation, test. So a
case that a model has been trained on, or that choices were made on, never becomes one
that it is judged on; test only ever loses. Every move is told.
"""

import collections
import csv
import dataclasses
import json
import os
import pathlib
import tempfile
from collections.abc import Sequence

from dermgan_tf.errors import InputError, Reject
from dermgan_tf.inspection.duplicates import PhotoPrint, connected
from dermgan_tf.photos.annotations import (
    SPLITS,
    PhotoAnnotation,
    annotation_lines,
    case_splits,
    read_annotations,
)


@dataclasses.dataclass(frozen=True)
class Change:
    """What cleaning did to a case or a photo.

    Args:
        change: "moved" (a case, to another split) or "dropped" (a photo).
        case_id: str.
        image: str. The photo that was dropped; "" for a move.
        before, after: str. The case's splits, joined by "+", and the new one; for a
            photo its own split, and "".
        reason: str.
    """

    change: str
    case_id: str
    image: str
    before: str
    after: str
    reason: str


def read_with_clashes(
    path: str | os.PathLike,
) -> tuple[list[PhotoAnnotation], list[Reject], dict[str, list[str]]]:
    """`read_annotations`, but keeps the lines of a case that name different splits.

    Args:
        path: annotations.jsonl.

    Returns:
        (annotations, rejects, clashes): clashes are the named splits of each case that
        has more than one, in the order train, validation, test.

    Raises:
        InputError: if the file cannot be read.
    """
    named: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        aside = pathlib.Path(folder, os.path.basename(path))
        with aside.open("wb") as file:
            written = 0
            for number, line in annotation_lines(path):
                blanks = b"\n" * (number - written - 1)  # lines keep their numbers
                file.write(blanks + _without_split(line, named) + b"\n")
                written = number
        annotations, rejects = read_annotations(aside)
    annotations = [
        dataclasses.replace(one, split=named.get(one.image, one.split))
        for one in annotations
    ]
    splits = collections.defaultdict(set)
    for one in annotations:
        if one.split is not None:
            splits[one.case_id].add(one.split)
    clashes = {
        case: sorted(of_case, key=SPLITS.index)
        for case, of_case in splits.items()
        if len(of_case) > 1
    }
    return annotations, rejects, clashes


def dedupe(
    annotations: Sequence[PhotoAnnotation],
    prints: Sequence[PhotoPrint | None],
    groups: Sequence[Sequence[int]],
) -> tuple[list[PhotoAnnotation], list[Change]]:
    """Puts cases that share a photo in one split, and drops exact doubles of a case.

    Of a case's photos with the same pixels the one with the most ROIs stays, the first
    of equals. Doubles of two cases stay both: they may say different things.

    Args:
        annotations: of photos; a case may name several splits.
        prints: one for each annotation; None where the photo could not be read.
        groups: places of photos that show the same, as `duplicate_groups` gives them.

    Returns:
        (annotations, changes): the cleaned list, every photo with its split, in the
        order given; what was done, moves first.
    """
    new_splits, moves = _one_split_each(annotations, groups)
    dropped: dict[int, int] = {}
    kept: dict[tuple[str, str], int] = {}
    for place, (one, given) in enumerate(zip(annotations, prints, strict=True)):
        if given is None:
            continue
        key = (one.case_id, given.digest)
        other = kept.setdefault(key, place)
        if other == place:
            continue
        if len(one.rois) > len(annotations[other].rois):
            kept[key], dropped[other] = place, place
        else:
            dropped[place] = other
    drops = []
    for place in sorted(dropped):
        one = annotations[place]
        stays = annotations[kept[one.case_id, prints[place].digest]]
        reason = f"the same pixels as {stays.image}"
        if set(one.rois) - set(stays.rois):
            reason += ", which has other ROIs"
        drops.append(
            Change(
                "dropped", one.case_id, one.image, new_splits[one.case_id], "", reason
            )
        )
    cleaned = [
        dataclasses.replace(one, split=new_splits[one.case_id])
        for place, one in enumerate(annotations)
        if place not in dropped
    ]
    return cleaned, moves + drops


def write_changes(path: str | os.PathLike, changes: Sequence[Change]) -> None:
    """Writes changes.csv: the fields of `Change`."""
    names = [field.name for field in dataclasses.fields(Change)]
    with open(path, "w", newline="", encoding="utf-8", errors="replace") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        writer.writerows([getattr(one, name) for name in names] for one in changes)


def require_no_clashes(
    clashes: dict[str, list[str]], path: str | os.PathLike, todo: str
) -> None:
    """Raises InputError naming a case whose lines name two splits."""
    if clashes:
        case, splits = next(iter(clashes.items()))
        more = f" (and {len(clashes) - 1} more cases)" if len(clashes) > 1 else ""
        raise InputError(
            f"{os.fspath(path)}: case {case!r} is in splits {' and '.join(splits)}"
            f"{more}; {todo}"
        )


def _one_split_each(
    annotations: Sequence[PhotoAnnotation], groups: Sequence[Sequence[int]]
) -> tuple[dict[str, str], list[Change]]:
    """The new split by case, and the moves."""
    before = {case: {split} for case, split in case_splits(annotations).items()}
    for one in annotations:
        if one.split is not None:
            before[one.case_id].add(one.split)
    after = {case: min(splits, key=SPLITS.index) for case, splits in before.items()}
    partners = {}
    for group in _case_groups(annotations, groups):
        split = min((after[case] for case in group), key=SPLITS.index)
        for case in group:
            after[case], partners[case] = split, len(group) - 1
    moves = []
    for case, splits in before.items():
        if splits == {after[case]}:
            continue
        reasons = []
        if len(splits) > 1:
            reasons.append("its lines name several splits")
        if case in partners:
            others = partners[case]
            reasons.append(
                f"shares a photo with {others} other case{'s' if others > 1 else ''}"
            )
        named = "+".join(sorted(splits, key=SPLITS.index))
        moves.append(Change("moved", case, "", named, after[case], "; ".join(reasons)))
    return after, moves


def _case_groups(
    annotations: Sequence[PhotoAnnotation], groups: Sequence[Sequence[int]]
) -> list[list[str]]:
    """Cases that hang together by groups of photos."""
    cases = list(dict.fromkeys(one.case_id for one in annotations))
    number = {case: n for n, case in enumerate(cases)}
    links = []
    for group in groups:
        numbers = sorted({number[annotations[place].case_id] for place in group})
        links += [(numbers[0], n) for n in numbers[1:]]
    return [[cases[n] for n in group] for group in connected(links)]


def _without_split(line: bytes, named: dict[str, str]) -> bytes:
    """The line without its split, which is put in `named` by image.

    What is no annotation, or names a split that there is not, stays for
    `read_annotations` to judge.
    """
    try:
        record = json.loads(line)
        if record["split"] not in SPLITS or not isinstance(record["image"], str):
            return line
        image = PhotoAnnotation(record["image"], "x", "x").image  # as it is written
    except (ValueError, RecursionError, KeyError, TypeError):
        return line
    if image not in named:  # the first line of an image counts
        named[image] = record["split"]
    del record["split"]
    return json.dumps(record).encode()
