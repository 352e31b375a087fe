"""Imports Pascal VOC: one XML file a photo.

Format: Everingham and Winn, "The PASCAL Visual Object Classes Challenge 2012
Development Kit", section 3; as CVAT, Label Studio, LabelImg and Roboflow write it.
"""

import math
import os
import pathlib
import posixpath
from collections import Counter
from typing import Any

from dermgan_tf.errors import InputError, Reject, cause
from dermgan_tf.photos.annotations import PhotoAnnotation
from dermgan_tf.photos.importers.boxes import Box, points_box, rotated_box
from dermgan_tf.photos.importers.entries import Entry, Options, Shape, import_entries
from dermgan_tf.photos.importers.names import split_of_word, splits_of_folders
from dermgan_tf.photos.importers.photo_index import (
    PhotoIndex,
    Wanted,
    wanted,
    without_ending,
)
from dermgan_tf.photos.importers.tables import read_text
from dermgan_tf.photos.vocabulary import composed

MAX_XML = 20_000_000  # bytes; a photo's boxes need a thousandth of it
_SIDES = ("ymin", "xmin", "ymax", "xmax")
_PHOTO_FOLDERS = ("JPEGImages", "images")
ROTATED = "boxes around turned boxes"
MARKED = ("difficult", "occluded", "truncated")


def import_voc(
    folder: str | os.PathLike,
    *,
    images_dir: str | os.PathLike | None = None,
    first_pixel: int = 0,
    match_names: bool = False,
    **options,
) -> tuple[list[PhotoAnnotation], list[Reject], dict[str, int]]:
    """Reads XML files in any subfolders. They have no skin types.

    Splits come from ImageSets/Main/{train,val,test}.txt, else from the folders of one
    level, if all are called train, val, test or the like.

    Args:
        folder: with Annotations/*.xml and JPEGImages/ or images/, or with XML files
            beside their photos.
        images_dir: another folder of photos.
        first_pixel: int. 0: boxes are edges, xmin of the first pixel is 0 and a box's
            width is xmax − xmin, as today's tools write. 1: they are the numbers of
            pixels from 1 on, both ends included, as in the original challenges.
        match_names: bool. Find photos by their own name, whatever folders the file
            names.
        **options: see `Options`.

    Returns:
        (annotations, rejects, counts), images relative to the folder of photos.

    Raises:
        InputError: if there are no XML files or no photos.
    """
    folder = pathlib.Path(folder)
    index = PhotoIndex(images_dir or folder)
    beside = index if not images_dir else PhotoIndex(folder)
    paths = [path for path in beside.files.others if path.lower().endswith(".xml")]
    if not paths:
        raise InputError(f"no XML files in {folder}")
    listed = _image_sets(folder, beside.files.others)
    index.read(folder / path for path in paths)
    index.read(folder.glob("ImageSets/Main/*.txt"))
    by_folders = {} if listed else splits_of_folders(paths)
    entries, rejects, left_over = [], [], []
    counts: Counter = Counter({"XML files": len(paths)})
    own_names = Counter(posixpath.basename(_listed_name(path)) for path in paths)
    one_folder = 1 in (
        len({posixpath.dirname(path) for path in files})
        for files in (paths, index.images)
    )
    for where in paths:
        try:
            name, size, shapes, bad = _read_xml(
                folder / where, where, first_pixel, counts
            )
            photo = _wanted_photo(name, where, one_folder, match_names)
        except InputError as error:
            rejects.append(Reject(where, cause(error, folder / where)))
            left_over.append(where)
            continue
        name = _listed_name(where)
        own = posixpath.basename(name)
        bare = listed.get(own) if own_names[own] == 1 else None
        split = listed.get(name) or bare or by_folders.get(where)
        entries.append(
            Entry(
                where,
                photo,
                split=split,
                split_by="ImageSets/Main" if listed else "folders",
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
        Options(**options),
        left_over=left_over,
        labels_are_files=True,
    )


def _read_xml(
    path: pathlib.Path, where: str, first_pixel: int, counts: Counter
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
            label = composed((item.findtext("name") or "").strip())
            if not label or not label.isprintable():
                raise InputError(f"has no name but {label!r}")
            shapes.append(Shape(place, label, _box(item, first_pixel, counts)))
        except InputError as error:
            bad.append(Reject(place, str(error)))
            continue
        for mark in MARKED:
            counts[f"boxes said to be {mark}"] += _told(item, mark) in ("1", "true")
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


def _box(item: Any, first_pixel: int, counts: Counter) -> Box:
    for name in ("deleted", "outside"):
        if _told(item, name) in ("1", "true"):
            raise InputError(f"says that it is not to be taken: {name}")
    turned = item.find("robndbox")  # roLabelImg's, its angle in radians
    if turned is not None:
        x, y, width, height, angle = (
            _number(turned, name) for name in ("cx", "cy", "w", "h", "angle")
        )
        box = y - height / 2, x - width / 2, y + height / 2, x + width / 2
        counts[ROTATED] += 1
        return rotated_box(box, math.degrees(angle))
    box = item.find("bndbox")
    outline = item.find("polygon")
    if box is None and outline is not None:
        return points_box(_outline(outline))
    if box is None:
        raise InputError("has no bndbox")
    top, left, bottom, right = (_number(box, side) for side in _SIDES)
    if first_pixel and min(top, left) < first_pixel:
        raise InputError(
            f"begins at pixel {min(top, left):g}, but pixels are numbered from "
            f"{first_pixel} on"
        )
    told = top - first_pixel, left - first_pixel, bottom, right
    rotation = _told(item, "rotation")
    if not rotation:
        return told
    try:
        degrees = float(rotation)
    except ValueError:
        raise InputError(f"rotation {rotation[:60]!r} is not a number") from None
    if not math.isfinite(degrees):
        raise InputError("rotation is not finite")
    counts[ROTATED] += bool(degrees % 180)
    return rotated_box(told, degrees) if degrees % 180 else told


def _outline(element: Any) -> list[float]:
    """x, y, … of LabelMe's <pt><x/><y/></pt>, or of <x1/><y1/><x2/>…."""
    points = [_number(pt, side) for pt in element.findall("pt") for side in ("x", "y")]
    number = 1
    while not element.findall("pt") and element.find(f"x{number}") is not None:
        points += [_number(element, f"x{number}"), _number(element, f"y{number}")]
        number += 1
    return points


def _told(item: Any, name: str) -> str:
    """A field of an object, or one of its attributes as CVAT writes them."""
    told = item.findtext(name)
    for attribute in item.iterfind("attributes/attribute"):
        if attribute.findtext("name") == name:
            told = attribute.findtext("value")
    return (told or "").strip().lower()


def _number(element: Any, name: str) -> float:
    text = (element.findtext(name) or "").strip()
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not abs(value) < 1e300:
        raise InputError(f"{name} is not a number but {text[:60]!r}")
    return value


def _wanted_photo(name: str, where: str, one_folder: bool, match_names: bool) -> Wanted:
    """The photo that the file names, else the one that is called like the file.

    The photos of Annotations/p01 are those of JPEGImages/p01, and no others; where all
    XML files or all photos are in one folder, it may be any of those known.
    """
    place, own = posixpath.split(where)
    beside = [place, *(place.replace("Annotations", f) for f in _PHOTO_FOLDERS)]
    apart = one_folder or place == "Annotations" or "/" in name
    bases = [*beside, *(_PHOTO_FOLDERS if apart else ()), *([""] if apart else ())]
    told = wanted(name, bases, by_name=match_names) if name else None
    stem = posixpath.splitext(own)[0]
    if told is None:
        return wanted(stem, bases, ending=False)
    # A name of a kind of its own is followed; what is called like the file comes after.
    if without_ending(posixpath.basename(told.name)) != composed(stem):
        return told
    like_file = wanted(stem, beside, ending=False)
    return Wanted(
        told.name, (*told.places, *like_file.places), False, told.ending, match_names
    )


def _image_sets(folder: pathlib.Path, files: list[str]) -> dict[str, str]:
    """Photo's path without ending, as the lists have it -> split."""
    splits: dict[str, str] = {}
    for path in files:
        place, name = posixpath.split(path)
        split = split_of_word(name.removesuffix(".txt"))
        # Also there: trainval.txt, and cat_train.txt of a class.
        if split is None or not place.endswith("ImageSets/Main"):
            continue
        for line in read_text(folder / path).splitlines():
            line = line.strip()
            quoted = line.startswith('"') and line.count('"') > 1
            line = line.split('"')[1] if quoted else line
            if line:
                name = without_ending(line.replace("\\", "/").removeprefix("./"))
                name = name.removeprefix("JPEGImages/")
                if splits.setdefault(name, split) != split:
                    raise InputError(
                        f"{folder}: {line!r} is in two lists of ImageSets/Main, of "
                        f"{splits[name]} and {split}"
                    )
    return splits


def _listed_name(where: str) -> str:
    """A file's name as ImageSets has it: below Annotations, without ending."""
    name = posixpath.splitext(where)[0]
    return composed(name.rpartition("Annotations/")[2])
