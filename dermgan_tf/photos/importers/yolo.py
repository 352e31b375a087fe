"""Imports YOLO text files: one line per box, with its centre and size, or an outline.

Format: docs.ultralytics.com, datasets, detect and segment; as CVAT ("YOLO 1.1" and
"Ultralytics YOLO"), Label Studio and Roboflow write it.
"""

import os
import pathlib
import posixpath
import re
from collections import Counter
from collections.abc import Sequence

from dermgan_tf.errors import InputError, Reject
from dermgan_tf.photos.annotations import PhotoAnnotation
from dermgan_tf.photos.importers.boxes import Box, is_number, points_box
from dermgan_tf.photos.importers.entries import (
    ABSENT,
    Entry,
    Options,
    Shape,
    import_entries,
)
from dermgan_tf.photos.importers.names import splits_of_folders
from dermgan_tf.photos.importers.photo_index import PhotoIndex, Wanted
from dermgan_tf.photos.importers.tables import read_text
from dermgan_tf.photos.vocabulary import composed

NAME_FILES = ("data.yaml", "data.yml", "dataset.yaml", "classes.txt", "obj.names")
_OTHER_TEXTS = ("classes.txt", "train.txt", "val.txt", "valid.txt", "test.txt")
NO_TEXT = "photos without text file"
FIFTH_NUMBER = "fifth numbers taken for a confidence or a track"


def import_yolo(
    folder: str | os.PathLike, *, annotations_file: str | None = None, **options
) -> tuple[list[PhotoAnnotation], list[Reject], dict[str, int]]:
    """Reads a YOLO data set. It has no skin types, and does not tell photos' sizes.

    Splits come from folders' names: images/train, train/images, obj_train_data.

    Args:
        folder: with photos in folders called images, and text files of the same name in
            folders called labels instead, or beside the photos; and one of NAME_FILES.
        annotations_file: another file of names: YAML with `names`, or a list of lines.
        **options: see `Options`. A photo without a text file shows no condition, too,
            unless one is left over or the photo is the same file as one that has it.

    Returns:
        (annotations, rejects, counts), images relative to `folder`.

    Raises:
        InputError: if there are no photos, no names, or a file of names is damaged.
    """
    folder = pathlib.Path(folder)
    index = PhotoIndex(folder)
    names, with_keypoints = _class_names(folder, annotations_file)
    index.read(folder / name for name in NAME_FILES)
    splits = splits_of_folders(index.images)
    texts = [path for path in index.files.others if _may_tell_boxes(path)]
    photos = index.find_all([_wanted_photo(text) for text in texts])
    entries, rejects, left_over = [], [], []
    counts: Counter = Counter()
    for where, photo in zip(texts, photos, strict=True):
        if photo is None and not _tells_boxes(folder, where):
            continue
        if not isinstance(photo, str):
            counts[ABSENT] += photo is None
            if photo is not None:
                rejects.append(Reject(where, str(photo)))
            left_over.append(where)
            continue
        try:
            shapes, bad = _read_boxes(
                folder / where, where, names, with_keypoints, counts
            )
        except InputError as error:
            rejects.append(Reject(where, str(error)))
            left_over.append(where)
            continue
        index.read([folder / where])
        entries.append(_entry(where, photo, splits, shapes, bad))
    told = {photo for photo in photos if isinstance(photo, str)}
    untold = [image for image in index.images if image not in told]
    copies = index.same_as(untold, told)
    counts[NO_TEXT] = len(untold) - len(copies)
    counts["copies of photos, without text file"] = len(copies)
    index.name_all()
    entries += [_entry(image, image, splits) for image in untold if image not in copies]
    order = {image: number for number, image in enumerate(index.images)}
    entries.sort(key=lambda entry: order[entry.wanted.name])
    return import_entries(
        entries,
        rejects,
        +counts,
        index,
        str(folder),
        Options(**options),
        left_over=left_over,
    )


def _entry(
    where: str,
    photo: str,
    splits: dict[str, str],
    shapes: Sequence[Shape] = (),
    bad: Sequence[Reject] = (),
) -> Entry:
    return Entry(
        where,
        Wanted(photo, (photo,)),
        split=splits.get(photo),
        split_by="folders",
        shapes=tuple(shapes),
        in_shares=True,
        bad=tuple(bad),
    )


def row_box(numbers: Sequence[float], with_keypoints: bool = False) -> Box:
    """The box of one line, without its class.

    Args:
        numbers: centre x, centre y, width, height; a track's number or confidence may
            follow; or three and more points x, y of an outline or a turned box.
        with_keypoints: bool. Keypoints follow the box, whatever their number.

    Returns:
        (top, left, bottom, right) in shares of the photo.

    Raises:
        InputError: for another number of values, or a size below 0.
    """
    if len(numbers) in (4, 5) or (with_keypoints and len(numbers) > 5):
        x, y, width, height = numbers[:4]
        more = numbers[4] if len(numbers) == 5 else 0
        if more < 0 or (more > 1 and more != int(more)):
            raise InputError(
                f"has a fifth number, {more:g}: is the box turned by it? Outlines are "
                "read, angles are not"
            )
        if width <= 0 or height <= 0:
            raise InputError(f"box of {width:g} × {height:g} has no area")
        return y - height / 2, x - width / 2, y + height / 2, x + width / 2
    if len(numbers) >= 6 and len(numbers) % 2 == 0:
        return points_box(numbers)
    raise InputError(
        f"has {len(numbers)} numbers after the class; want 4 of a box or x, y of three "
        "and more points"
    )


def _read_boxes(
    path: pathlib.Path,
    where: str,
    names: dict[int, str],
    with_keypoints: bool,
    counts: Counter,
) -> tuple[list[Shape], list[Reject]]:
    shapes, bad = [], []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        place = f"{where}:{number}"
        try:
            values = [float(word) for word in line.split()]
        except ValueError:
            bad.append(Reject(place, f"is not numbers: {line.strip()[:60]!r}"))
            continue
        try:
            if not all(map(is_number, values)):
                raise InputError("has a value that is not finite")
            if values[0] not in names:
                raise InputError(f"unknown class {values[0]:g}; {len(names)} are named")
            box = row_box(values[1:], with_keypoints)
            counts[FIFTH_NUMBER] += len(values) == 6
            shapes.append(Shape(place, names[int(values[0])], box))
        except InputError as error:
            bad.append(Reject(place, str(error)))
    return shapes, bad


def _wanted_photo(text: str) -> Wanted:
    """The photo of a text file: the last folder `labels` is `images`, or beside it."""
    stem = composed(posixpath.splitext(text)[0])
    swapped = re.sub(r"^(.*/|)labels/", r"\1images/", stem, count=1)
    return Wanted(stem, (swapped, stem), ending=False)


def _may_tell_boxes(path: str) -> bool:
    """Whether a file is a text, or lies in a folder of labels, and is no list."""
    *folders, name = path.lower().split("/")
    known = name in (*_OTHER_TEXTS, *NAME_FILES) or name.startswith("readme")
    return not known and (name.endswith(".txt") or "labels" in folders)


def _tells_boxes(folder: pathlib.Path, path: str) -> bool:
    """Whether a file that belongs to no photo is of boxes, and not of other text."""
    if not path.lower().endswith(".txt"):
        return not path.lower().endswith(".cache")
    try:
        lines = [line.split() for line in read_text(folder / path).splitlines()]
        numbers = [[float(word) for word in line] for line in lines if line]
    except (InputError, ValueError):
        return "labels" in path.lower().split("/")
    return all(len(line) > 4 for line in numbers)


def _class_names(
    folder: pathlib.Path, given: str | None
) -> tuple[dict[int, str], bool]:
    """(number -> name, whether boxes are followed by keypoints)."""
    paths = [pathlib.Path(given)] if given else [folder / name for name in NAME_FILES]
    path = next((path for path in paths if given or path.is_file()), None)
    if path is None:
        raise InputError(
            f"no names of classes in {folder}: want one of {', '.join(NAME_FILES)}, or "
            "annotations_file"
        )
    with_keypoints = False
    if path.suffix.lower() in (".yaml", ".yml"):
        content = _read_yaml(path)
        with_keypoints = "kpt_shape" in content
        listed = content.get("names")
        if isinstance(listed, list):
            listed = dict(enumerate(listed))
        if not isinstance(listed, dict):
            raise InputError(f"{path} has no names: want a list or number: name")
    else:
        listed = dict(enumerate(read_text(path).splitlines()))
    names = {}
    for number, name in listed.items():
        if not str(number).isdecimal() or not isinstance(name, str):
            raise InputError(f"{path}: name {name!r} of class {number!r} is no text")
        if name.strip():
            if not name.strip().isprintable():
                raise InputError(f"{path}: name {name!r} cannot be shown")
            names[int(number)] = composed(name.strip())
    if not names:
        raise InputError(f"{path} has no names")
    return names, with_keypoints


def _read_yaml(path: pathlib.Path) -> dict:
    import yaml

    try:
        # As texts: a class may be called `no`, which is else a truth value.
        content = yaml.load(read_text(path), Loader=yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError) as error:
        text = " ".join(str(error).split())
        raise InputError(f"{path} is not YAML: {text}") from None
    if not isinstance(content, dict):
        raise InputError(f"{path} is not a mapping")
    return content
