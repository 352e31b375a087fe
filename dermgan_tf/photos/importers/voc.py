"""Imports Pascal VOC: one XML file a photo.

Format: Everingham and Winn, "The PASCAL Visual Object Classes Challenge 2012
Development Kit", section 3; as CVAT, Label Studio, LabelImg and Roboflow write it.
"""

import os
import pathlib
import posixpath
from collections import Counter
from collections.abc import Callable
from typing import Any

from dermgan_tf.errors import InputError, Reject
from dermgan_tf.photos.annotations import PhotoAnnotation
from dermgan_tf.photos.importers import cause
from dermgan_tf.photos.importers.boxes import Box
from dermgan_tf.photos.importers.cases import case_finder
from dermgan_tf.photos.importers.entries import ABSENT, Entry, Shape, import_entries
from dermgan_tf.photos.importers.names import split_of_names
from dermgan_tf.photos.importers.photo_index import PhotoIndex
from dermgan_tf.photos.importers.tables import read_text
from dermgan_tf.progress import silent

MAX_XML = 20_000_000  # bytes; a photo's boxes need a thousandth of it
_SIDES = ("ymin", "xmin", "ymax", "xmax")
_PHOTO_FOLDERS = ("JPEGImages", "images")


def import_voc(
    folder: str | os.PathLike,
    *,
    images_dir: str | os.PathLike | None = None,
    first_pixel: int = 0,
    label_without_boxes: str = "",
    match_names: bool = False,
    case_pattern: str = "",
    progress: Callable = silent,
    crash_safe: bool = False,
) -> tuple[list[PhotoAnnotation], list[Reject], dict[str, int]]:
    """Reads XML files in any subfolders. They have no skin types.

    Splits come from ImageSets/Main/{train,val,test}.txt, else from folders' names.

    Args:
        folder: with Annotations/*.xml and JPEGImages/ or images/, or with XML files
            beside their photos.
        images_dir: another folder of photos.
        first_pixel: int. 0: boxes are edges, xmin of the first pixel is 0 and a box's
            width is xmax − xmin, as today's tools write. 1: they are the numbers of
            pixels from 1 on, both ends included, as in the original challenges.
        label_without_boxes: str. The condition of photos without objects; "" leaves
            them out.
        match_names: bool. Find photos by their own name, whatever folders the file
            names.
        case_pattern: see `case_finder`; by default every photo is a case.
        progress: see `dermgan_tf.progress`.
        crash_safe: see `dermgan_tf.photos.importers.over_photos`.

    Returns:
        (annotations, rejects, counts), images relative to the folder of photos.

    Raises:
        InputError: if there are no XML files or no photos.
    """
    folder = pathlib.Path(folder)
    index = PhotoIndex(images_dir or folder)
    find_case = case_finder(case_pattern)
    splits = _image_sets(folder)
    paths = sorted(folder.rglob("*.xml"))
    if not paths:
        raise InputError(f"no XML files in {folder}")
    entries, rejects = [], []
    counts = Counter({"XML files": len(paths), ABSENT: 0})
    for path in paths:
        where = path.relative_to(folder).as_posix()
        try:
            name, size, shapes, bad = _read_xml(path, where, first_pixel)
            image = _find_photo(index, name, where, match_names)
            if image is None:
                counts[ABSENT] += 1
                continue
            case = find_case(image)
        except InputError as error:
            rejects.append(Reject(where, cause(error, path)))
            continue
        folders = posixpath.dirname(where).split("/")[::-1]
        split = splits.get(path.stem) or split_of_names(folders)
        entries.append(
            Entry(
                where,
                image,
                case,
                split=split,
                shapes=tuple(shapes),
                size=size,
                bad=tuple(bad),
            )
        )
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


def _read_xml(
    path: pathlib.Path, where: str, first_pixel: int
) -> tuple[str, tuple[int, int] | None, list[Shape], list[Reject]]:
    """(file name, size, shapes, bad objects)."""
    root = _parse(path)
    if root.tag != "annotation":
        raise InputError(f"is not a VOC annotation but <{root.tag}>")
    size = None
    if root.find("size") is not None:
        sides = [_number(root.find("size"), side) for side in ("height", "width")]
        if sides != [0, 0]:  # what LabelImg writes when it could not tell
            if min(sides) < 1:
                raise InputError(f"size {sides} is not height and width in pixels")
            size = int(sides[0]), int(sides[1])
    shapes, bad = [], []
    for number, item in enumerate(root.findall("object"), start=1):
        place = f"{where}: object {number}"
        try:
            label = (item.findtext("name") or "").strip()
            if not label or not label.isprintable():
                raise InputError(f"has no name but {label!r}")
            shapes.append(Shape(place, label, _box(item, first_pixel)))
        except InputError as error:
            bad.append(Reject(place, str(error)))
    return (root.findtext("filename") or "").strip(), size, shapes, bad


def _parse(path: pathlib.Path) -> Any:
    """The root element; refuses document types, and with them entities of all kinds."""
    from xml.etree.ElementTree import ParseError

    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import fromstring

    try:
        if path.is_file() and path.stat().st_size > MAX_XML:
            raise InputError(f"is larger than {MAX_XML} bytes")
        if not path.is_file():
            raise InputError("is not a file")
        return fromstring(path.read_bytes(), forbid_dtd=True)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}") from None
    except DefusedXmlException:
        raise InputError("has a document type or entities; they are not read") from None
    except (ParseError, ValueError, LookupError, RecursionError) as error:
        raise InputError(f"is not XML: {error}") from None


def _box(item: Any, first_pixel: int) -> Box:
    box = item.find("bndbox")
    if box is None:
        raise InputError("has no bndbox")
    top, left, bottom, right = (_number(box, side) for side in _SIDES)
    return top - first_pixel, left - first_pixel, bottom, right


def _number(element: Any, name: str) -> float:
    text = (element.findtext(name) or "").strip()
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not abs(value) < 1e300:
        raise InputError(f"{name} is not a number but {text[:60]!r}")
    return value


def _find_photo(
    index: PhotoIndex, name: str, where: str, match_names: bool
) -> str | None:
    """The photo that the file names, else the one that is called like the file."""
    place, own = posixpath.split(where)
    stem = posixpath.splitext(own)[0]
    beside = [place, *(place.replace("Annotations", f) for f in _PHOTO_FOLDERS)]
    bases = [*beside, *_PHOTO_FOLDERS, "."]
    if name:
        found = index.find(name, bases, match_names)
        if found:
            return found
    # Names without or with another extension are common.
    for base in bases:
        found = index.in_folder(base, stem)
        if found:
            return found
    return None


def _image_sets(folder: pathlib.Path) -> dict[str, str]:
    """Photo's name without extension -> split."""
    splits: dict[str, str] = {}
    for path in sorted(folder.glob("ImageSets/Main/*.txt")):
        split = split_of_names([path.stem])
        # Also there: trainval.txt, and cat_train.txt of a class.
        if split is None or not path.stem.isalpha():
            continue
        for line in read_text(path).splitlines():
            name = posixpath.basename(line.strip())
            if name:
                splits.setdefault(name, split)
    return splits
