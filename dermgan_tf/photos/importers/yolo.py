"""Imports YOLO text files: a line a box, with its centre and size, or an outline.

Format: docs.ultralytics.com, datasets, detect and segment; as CVAT ("YOLO 1.1" and
"Ultralytics YOLO"), Label Studio and Roboflow write it.
"""

import os
import pathlib
import posixpath
import re
from collections import Counter
from collections.abc import Callable, Sequence

from dermgan_tf.errors import InputError, Reject
from dermgan_tf.photos.annotations import PhotoAnnotation
from dermgan_tf.photos.importers.boxes import Box, is_number, points_box
from dermgan_tf.photos.importers.cases import case_finder
from dermgan_tf.photos.importers.entries import ABSENT, Entry, Shape, import_entries
from dermgan_tf.photos.importers.names import split_of_names
from dermgan_tf.photos.importers.photo_index import PhotoIndex
from dermgan_tf.photos.importers.tables import read_text
from dermgan_tf.progress import silent

NAME_FILES = ("data.yaml", "data.yml", "dataset.yaml", "classes.txt", "obj.names")
_OTHER_TEXTS = ("classes.txt", "train.txt", "val.txt", "valid.txt", "test.txt")


def import_yolo(
    folder: str | os.PathLike,
    *,
    annotations_file: str | None = None,
    label_without_boxes: str = "",
    case_pattern: str = "",
    progress: Callable = silent,
    crash_safe: bool = False,
) -> tuple[list[PhotoAnnotation], list[Reject], dict[str, int]]:
    """Reads a YOLO data set. It has no skin types, and does not tell photos' sizes.

    Splits come from folders' names: images/train, train/images, obj_train_data.

    Args:
        folder: with photos in folders called images, and text files of the same name in
            folders called labels instead, or beside the photos; and one of NAME_FILES.
        annotations_file: another file of names: YAML with `names`, or a name a line.
        label_without_boxes: str. The condition of photos with an empty text file or
            none; "" leaves them out.
        case_pattern: see `case_finder`; by default every photo is a case.
        progress: see `dermgan_tf.progress`.
        crash_safe: see `dermgan_tf.photos.importers.over_photos`.

    Returns:
        (annotations, rejects, counts), images relative to `folder`.

    Raises:
        InputError: if there are no photos, no names, or a file of names is damaged.
    """
    folder = pathlib.Path(folder)
    index = PhotoIndex(folder)
    find_case = case_finder(case_pattern)
    names, with_keypoints = _class_names(folder, annotations_file)
    texts = {path.relative_to(folder).as_posix() for path in folder.rglob("*.txt")}
    entries, rejects = [], []
    counts = Counter({ABSENT: 0})
    read = set()
    index.name_all()
    for image in index.images:
        stem = posixpath.splitext(image)[0]
        where = next((t for t in _text_places(stem) if t in texts), None)
        try:
            case = find_case(image)
            shapes, bad = [], []
            if where:
                if where in read:
                    raise InputError(f"has the same text file as another, {where}")
                read.add(where)
                shapes, bad = _read_boxes(folder / where, where, names, with_keypoints)
        except InputError as error:
            rejects.append(Reject(image, str(error)))
            continue
        split = split_of_names(posixpath.dirname(image).split("/")[::-1])
        entries.append(
            Entry(
                where or image,
                image,
                case,
                split=split,
                shapes=tuple(shapes),
                in_shares=True,
                bad=tuple(bad),
            )
        )
    counts[ABSENT] = len([text for text in texts - read if _is_label_file(text)])
    return import_entries(
        entries,
        rejects,
        counts,
        index,
        str(folder),
        label_without_boxes=label_without_boxes,
        progress=progress,
        crash_safe=crash_safe,
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
    path: pathlib.Path, where: str, names: dict[int, str], with_keypoints: bool
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
            shapes.append(Shape(place, names[int(values[0])], box))
        except InputError as error:
            bad.append(Reject(place, str(error)))
    return shapes, bad


def _text_places(stem: str) -> list[str]:
    """Where a photo's text file may lie; the last folder `images` becomes `labels`."""
    swapped = re.sub(r"^(.*/|)images/", r"\1labels/", stem, count=1)
    return [f"{swapped}.txt", f"{stem}.txt"]


def _is_label_file(text: str) -> bool:
    """Whether a text file has boxes: others lie at the top or are lists of photos."""
    folder, name = posixpath.split(text)
    return bool(folder) and name not in _OTHER_TEXTS and not name.startswith("README")


def _class_names(
    folder: pathlib.Path, given: str | None
) -> tuple[dict[int, str], bool]:
    """(number -> name, whether boxes are followed by keypoints)."""
    paths = [pathlib.Path(given)] if given else [folder / name for name in NAME_FILES]
    path = next((path for path in paths if given or path.is_file()), None)
    if path is None:
        raise InputError(
            f"no names of classes in {folder}: want one of {', '.join(NAME_FILES)}, or "
            "--annotations_file"
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
            names[int(number)] = name.strip()
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
