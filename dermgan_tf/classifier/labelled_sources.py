"""Where labelled photographs come from: annotations, folders, pairs, patches.

Each source is opened to a list or a stream of photos that are not yet decoded, each
with its case, condition and split. None lets a case stand in two splits.
"""

import collections
import dataclasses
import functools
import json
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from dermgan_tf.errors import InputError, Reject, cause, printable
from dermgan_tf.pairs import patches
from dermgan_tf.pairs.pairs import INFO_FILE, SPLITS, read_pairs, read_pairs_info
from dermgan_tf.photos.annotations import (
    PhotoAnnotation,
    annotation_lines,
    case_splits,
    read_annotations,
    split_of_case,
)
from dermgan_tf.photos.importers.class_folders import read_class_folders
from dermgan_tf.photos.photo_io import (
    is_synthetic,
    read_photo,
)
from dermgan_tf.photos.vocabulary import HEALTHY

_SPLIT_NAMES = {name: name for name in SPLITS} | dict.fromkeys(
    ("val", "valid"), "validation"
)


@dataclasses.dataclass(frozen=True)
class LabelledPhoto:
    """A photo that can be read, and what is known of it.

    Args:
        image_id: str. Unique in its source.
        case_id: str; None for a synthetic image.
        condition: str.
        fitzpatrick: int, 0…6; 0 = unknown.
        split: "train", "validation" or "test"; "synthetic" for a synthetic image.
        read: gives np.uint8 [H, W, 3], or raises InputError, whose text is the cause.
    """

    image_id: str
    case_id: str | None
    condition: str
    fitzpatrick: int
    split: str
    read: Callable[[], np.ndarray]


class SyntheticImage(InputError):
    """Where photographs are read, an image that says that it was painted."""


@dataclasses.dataclass(frozen=True)
class PhotoSource:
    """What a source holds.

    Args:
        name: str. For messages.
        photos: of which no case stands in two splits; to be gone through once.
        total: int. How many photos come.
        conditions: those that may be among them.
        rejects: bad items found so far.
        left_out: items that are no part of the data, but not bad.
        in_files: whether image ids are paths of files.
        anonymized_ids: whether case and image ids are hashes under a salt already.
    """

    name: str
    photos: Iterable[LabelledPhoto]
    total: int
    conditions: Sequence[str]
    rejects: Sequence[Reject] = ()
    left_out: Sequence[Reject] = ()
    in_files: bool = False
    anonymized_ids: bool = False


def open_source(source: str | os.PathLike, case_pattern: str = "") -> PhotoSource:
    """Opens what `dermgan_tf.classifier.labelled_reading.read_labelled_splits` reads;
    see there.

    Raises:
        InputError: for a source that cannot be read or is of no known form, or a case
            in two splits: at once for annotations and folders of classes, while going
            through the photos of others.
    """
    name = os.fspath(source)
    in_classes = False
    if os.path.isfile(os.path.join(name, INFO_FILE)):
        opened = _pairs_source(name)
    elif os.path.isfile(os.path.join(name, patches.INFO_FILE)):
        opened = _patches_source(name)
    elif os.path.isdir(name):
        in_classes = True
        opened = _classes_source(pathlib.Path(name), case_pattern)
    else:
        opened = _annotations_source(name)
    if case_pattern and not in_classes:
        raise InputError(
            f"{name} tells the cases itself; leave out the case pattern "
            f"{case_pattern!r}, which is for folders of classes"
        )
    return opened


def _cases_apart(
    source: str, photos: Iterable[LabelledPhoto]
) -> Iterator[LabelledPhoto]:
    """Yields the photos; InputError at the first case that is in two splits."""
    splits: dict[str | None, tuple[str, str]] = {}
    for photo in photos:
        split, first = splits.setdefault(photo.case_id, (photo.split, photo.image_id))
        if split != photo.split:
            raise InputError(
                f"{source}: case {photo.case_id!r} is in two splits, {split} "
                f"({printable(first)}) and {photo.split} "
                f"({printable(photo.image_id)}): put all of a case in one, or tell "
                "equal names of different cases apart by a case pattern"
            )
        yield photo


def _annotations_source(path: str) -> PhotoSource:
    annotations, rejects = read_annotations(path)
    if not annotations and not rejects:
        raise InputError(f"{path} describes no photo")
    _require_lines_apart(path)
    splits = case_splits(annotations)
    folder = os.path.dirname(os.path.abspath(path))

    def photo(annotation: PhotoAnnotation) -> LabelledPhoto:
        return LabelledPhoto(
            annotation.image,
            annotation.case_id,
            annotation.condition,
            annotation.fitzpatrick,
            splits[annotation.case_id],
            functools.partial(_read_file, os.path.join(folder, annotation.image)),
        )

    return PhotoSource(
        path,
        list(_cases_apart(path, map(photo, annotations))),
        len(annotations),
        sorted({annotation.condition for annotation in annotations}),
        rejects,
        in_files=True,
    )


def _require_lines_apart(path: str) -> None:
    """InputError for a case that two lines put in two splits.

    `read_annotations` leaves the later line out; but which of the two is right, and
    what else of the splits is wrong, only the user can tell.
    """
    splits: dict[str, tuple[str, int]] = {}
    for number, line in annotation_lines(path):
        try:
            record = json.loads(line)
            case, split = record["case_id"], record["split"]
        except (ValueError, KeyError, TypeError, RecursionError):
            continue  # damaged or without split
        if isinstance(case, str) and split in SPLITS:
            other, first = splits.setdefault(case, (split, number))
            if other != split:
                raise InputError(
                    f"{path}: case {case!r} is in two splits, {other} (line {first}) "
                    f"and {split} (line {number}): put all of a case in one"
                )


def _classes_source(folder: pathlib.Path, case_pattern: str) -> PhotoSource:
    found, rejects = read_class_folders(folder, case_pattern)
    named = {photo.split for photo in found if photo.split}
    photos = [
        LabelledPhoto(
            photo.image,
            photo.case_id,
            photo.condition,
            0,
            _cut(photo.split, photo.case_id, named),
            functools.partial(_read_file, folder / photo.image),
        )
        for photo in found
    ]
    return PhotoSource(
        os.fspath(folder),
        list(_cases_apart(os.fspath(folder), photos)),
        len(photos),
        sorted({photo.condition for photo in photos}),
        rejects,
        in_files=True,
    )


def _cut(split: str | None, case: str, named: set[str]) -> str:
    """The split of a case; what is not named is cut off train, or off all."""
    if split not in (None, "train"):
        return split
    by_hash = split_of_case(case)
    return split if split and by_hash in named else by_hash


def _pairs_source(data_dir: str) -> PhotoSource:
    info = read_pairs_info(data_dir)

    def photos() -> Iterator[LabelledPhoto]:
        for split in info.counts:
            crops: collections.Counter = collections.Counter()
            for pair in read_pairs(data_dir, split):
                crops[pair["image_id"]] += 1
                yield LabelledPhoto(
                    f"{pair['image_id']}/{crops[pair['image_id']] - 1}",
                    pair["case_id"],
                    pair["condition"],
                    pair["fitzpatrick"],
                    split,
                    functools.partial(_read_pair, pair),
                )

    return PhotoSource(
        data_dir,
        _cases_apart(data_dir, photos()),
        sum(info.counts.values()),
        info.vocabulary.conditions,
        anonymized_ids=info.anonymized_ids,
    )


def _patches_source(data_dir: str) -> PhotoSource:
    """Patches of pathology are of their photo's condition, the others healthy skin."""
    info = patches.read_patches_info(data_dir)

    def photos() -> Iterator[LabelledPhoto]:
        for name in info.counts:
            split, _, domain = name.rpartition("_")
            seen: collections.Counter = collections.Counter()
            for patch in patches.read_patches(data_dir, split, domain):
                seen[patch["image_id"]] += 1
                number = seen[patch["image_id"]] - 1
                yield LabelledPhoto(
                    f"{patch['image_id']}/{domain}/{number}",
                    patch["case_id"],
                    HEALTHY if domain == "healthy" else patch["condition"],
                    0,
                    split,
                    functools.partial(_read_pair, patch),
                )

    return PhotoSource(
        data_dir,
        _cases_apart(data_dir, photos()),
        sum(info.counts.values()),
        sorted({*info.conditions, HEALTHY}),
        anonymized_ids=info.anonymized_ids,
    )


def _read_file(path: str | os.PathLike) -> np.ndarray:
    try:
        if is_synthetic(path):
            raise SyntheticImage("is a synthetic image")
        return read_photo(path)
    except SyntheticImage:
        raise
    except InputError as error:
        raise InputError(cause(error, path)) from None


def _read_pair(pair: dict[str, Any]) -> np.ndarray:
    """The image of a pair or a patch."""
    if pair["source"] == "synthetic":
        raise SyntheticImage("is a synthetic image")
    return pair["image"]
