"""Imports COCO JSON: boxes, polygons and run lengths; exports of Label Studio and CVAT.

Format: cocodataset.org, "Data format", object detection.
"""

import json
import math
import os
import pathlib
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable
from typing import Any

from dermgan_tf.errors import InputError, Reject
from dermgan_tf.photos.annotations import PhotoAnnotation
from dermgan_tf.photos.importers.boxes import (
    Box,
    is_number,
    points_box,
    run_lengths,
    runs_box,
    union,
)
from dermgan_tf.photos.importers.cases import case_finder
from dermgan_tf.photos.importers.entries import ABSENT, Entry, Shape, import_entries
from dermgan_tf.photos.importers.names import split_of_names
from dermgan_tf.photos.importers.photo_index import PhotoIndex
from dermgan_tf.progress import silent

_LISTS = ("images", "annotations", "categories")
CROWDS = "crowds taken as one box"


def import_coco(
    folder: str | os.PathLike,
    *,
    images_dir: str | os.PathLike | None = None,
    annotations_file: str | None = None,
    label_without_boxes: str = "",
    match_names: bool = False,
    case_pattern: str = "",
    progress: Callable = silent,
    crash_safe: bool = False,
) -> tuple[list[PhotoAnnotation], list[Reject], dict[str, int]]:
    """Reads one or several COCO files. It has no skin types.

    An annotation's `bbox` is its box; where that is missing or empty, the box around
    its `segmentation`. A crowd (`iscrowd`) is one box: there the condition is.

    Args:
        folder: with the JSON file, as Label Studio writes it (result.json), or
            annotations/instances_SPLIT.json, as COCO and CVAT do, or
            SPLIT/_annotations.coco.json; photos beside it, in images/, SPLIT/ or
            images/SPLIT/.
        images_dir: another folder of photos.
        annotations_file: the JSON file, if only one of several shall be read.
        label_without_boxes: str. The condition of photos without annotations; "" leaves
            them out.
        match_names: bool. Find photos by their own name, whatever folders the file
            names.
        case_pattern: see `case_finder`; by default every photo is a case.
        progress: see `dermgan_tf.progress`.
        crash_safe: see `dermgan_tf.photos.importers.over_photos`.

    Returns:
        (annotations, rejects, counts), images relative to the folder of photos.

    Raises:
        InputError: if a file cannot be read or is not COCO, or there are no photos.
    """
    folder = pathlib.Path(folder)
    index = PhotoIndex(images_dir or folder)
    find_case = case_finder(case_pattern)
    entries, rejects = [], []
    counts = Counter({"images in JSON": 0, ABSENT: 0})
    files = _coco_files(folder, annotations_file)
    for path, content in files:
        place = os.path.relpath(path.parent, index.folder).replace(os.sep, "/")
        read = _File(path.name if len(files) == 1 else _short(path, folder), content)
        split = split_of_names([path.stem, path.parent.name])
        bases = _bases(place, path.stem.removeprefix("instances_"))
        shapes = read.shapes_of_images(rejects)
        for number, image in enumerate(content["images"]):
            counts["images in JSON"] += 1
            where = f"{read.name}: image {number}"
            try:
                name, image_id, size = _image_fields(image)
                where = f"{read.name}: image {image_id!r}"
                found = index.find(name, bases, match_names)
                if found is None:
                    counts[ABSENT] += 1
                    continue
                read.require_one_name(image_id)
                case = find_case(found)
            except InputError as error:
                rejects.append(Reject(where, str(error)))
                continue
            of_image = shapes[image_id]
            counts[CROWDS] += of_image.crowds
            entries.append(
                Entry(
                    where,
                    found,
                    case,
                    split=split,
                    shapes=tuple(of_image.good),
                    size=size,
                    bad=tuple(of_image.bad),
                )
            )
    return import_entries(
        entries,
        rejects,
        counts,
        index,
        annotations_file or str(folder),
        label_without_boxes=label_without_boxes,
        progress=progress,
        crash_safe=crash_safe,
    )


class _OfImage:
    """The boxes of one image."""

    def __init__(self):
        self.good: list[Shape] = []
        self.bad: list[Reject] = []
        self.crowds = 0


class _File:
    """One file's annotations, by image."""

    def __init__(self, name: str, content: dict[str, list]):
        self.name = name
        self._annotations = content["annotations"]
        self._images = _values_of_ids(content["images"], "file_name")
        self._labels = _values_of_ids(content["categories"], "name")

    def require_one_name(self, image: Hashable) -> None:
        """Raises InputError where boxes could be of either of two images."""
        if len(self._images[image]) > 1:
            raise InputError(f"id is that of {len(self._images[image])} images")

    def shapes_of_images(self, rejects: list[Reject]) -> dict[Hashable, _OfImage]:
        """image id -> its boxes; annotations of no image go to `rejects`."""
        shapes: dict[Hashable, _OfImage] = defaultdict(_OfImage)
        for number, annotation in enumerate(self._annotations):
            where = f"{self.name}: annotation {number}"
            if not isinstance(annotation, dict):
                rejects.append(Reject(where, "is not an object"))
                continue
            if isinstance(annotation.get("id"), int | str):
                where = f"{self.name}: annotation {annotation['id']!r}"
            image = annotation.get("image_id")
            if not isinstance(image, Hashable) or image not in self._images:
                rejects.append(Reject(where, f"is of no image: image_id {image!r}"))
                continue
            of_image = shapes[image]
            try:
                label = self._label(annotation.get("category_id"))
                box = annotation_box(annotation)
                of_image.good.append(Shape(where, label, box))
                of_image.crowds += annotation.get("iscrowd") in (1, True)
            except InputError as error:
                of_image.bad.append(Reject(where, str(error)))
        return shapes

    def _label(self, category: Any) -> str:
        if not isinstance(category, Hashable) or category not in self._labels:
            raise InputError(f"unknown category_id {category!r}")
        if len(self._labels[category]) > 1:
            raise InputError(f"category {category!r} has several names")
        (name,) = self._labels[category]
        if isinstance(name, int) and not isinstance(name, bool):
            name = str(name)
        if not isinstance(name, str) or not name.strip() or not name.isprintable():
            raise InputError(f"category {category!r} has no name but {name!r}")
        return name.strip()


def _values_of_ids(items: list, key: str) -> dict[Hashable, list]:
    """id -> the distinct values under `key` of the items with this id."""
    values: dict[Hashable, list] = {}
    for item in items:
        if isinstance(item, dict) and isinstance(item.get("id"), Hashable):
            of_id = values.setdefault(item["id"], [])
            if item.get(key) not in of_id:
                of_id.append(item.get(key))
    return values


def annotation_box(annotation: dict[str, Any]) -> Box:
    """The box of one COCO annotation.

    Args:
        annotation: its `bbox` is [x, y, width, height] in pixels; its `segmentation`
            polygons [[x, y, x, y, …], …], or {"counts": …, "size": [height, width]}.

    Returns:
        (top, left, bottom, right) in pixels.

    Raises:
        InputError: if it has neither a box with an area nor a good outline.
    """
    box, outline = annotation.get("bbox"), annotation.get("segmentation")
    problem = "has neither bbox nor segmentation"
    if box not in (None, []):
        if not isinstance(box, list) or len(box) != 4 or not all(map(is_number, box)):
            problem = f"bbox {str(box)[:60]} is not [x, y, width, height]"
        elif box[2] <= 0 or box[3] <= 0:
            problem = f"bbox {box} has no area"
        else:
            left, top, width, height = box
            return top, left, top + height, left + width
    if isinstance(outline, dict):
        size = outline.get("size")
        if not _is_size(size):
            raise InputError(f"mask's size {size!r} is not [height, width]")
        return runs_box(run_lengths(outline.get("counts")), *map(int, size))
    if isinstance(outline, list) and outline:
        if all(map(is_number, outline)):  # one polygon, not in a list of its own
            outline = [outline]
        if all(isinstance(polygon, list) for polygon in outline):
            return union([points_box(polygon) for polygon in outline])
        problem = "segmentation is neither polygons nor a mask"
    raise InputError(problem)


def _coco_files(
    folder: pathlib.Path, given: str | None
) -> list[tuple[pathlib.Path, dict[str, list]]]:
    if given:
        path = pathlib.Path(given)
        content = _read_json(path)
        if not _is_coco(content):
            raise InputError(f"{path} is not COCO: want the lists {', '.join(_LISTS)}")
        return [(path, content)]
    paths = sorted([*folder.glob("*.json"), *folder.glob("*/*.json")])
    # COCO's own folder has captions and keypoints of the same photos as well.
    paths = [path for path in paths if path.name.startswith("instances_")] or paths
    contents = [(path, _read_json(path)) for path in paths]
    files = [(path, content) for path, content in contents if _is_coco(content)]
    if not files:
        raise InputError(
            f"no COCO JSON in {folder}, its annotations/ or other subfolders (with the "
            f"lists {', '.join(_LISTS)}); name it by --annotations_file"
        )
    return files


def _read_json(path: pathlib.Path) -> Any:
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{path} is not a file")
        return json.loads(path.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # also bad UTF-8
        raise InputError(f"{path} is not JSON: {error}") from None


def _is_coco(content: Any) -> bool:
    return isinstance(content, dict) and all(
        isinstance(content.get(key), list) for key in _LISTS
    )


def _bases(place: str, subset: str) -> list[str]:
    """The folders that file names may be relative to, the likeliest first."""
    outside = place == ".." or place.startswith("../")
    beside = [] if outside else [place, f"{place}/images"]
    return [*beside, f"images/{subset}", subset, "images", "."]


def _image_fields(image: Any) -> tuple[Any, Hashable, tuple[int, int] | None]:
    if not isinstance(image, dict):
        raise InputError("is not an object")
    if not isinstance(image.get("id"), Hashable) or image.get("id") is None:
        raise InputError("has no id")
    size = [image.get("height"), image.get("width")]
    if size in ([None, None], [0, 0]):
        return image.get("file_name"), image["id"], None
    if not _is_size(size):
        raise InputError(f"height and width {size} are not numbers of pixels")
    return image.get("file_name"), image["id"], (int(size[0]), int(size[1]))


def _is_size(size: Any) -> bool:
    """Whether it is [height, width] in whole pixels."""
    if not isinstance(size, list) or len(size) != 2:
        return False
    return all(is_number(n) and n >= 1 and n == math.floor(n) for n in size)


def _short(path: pathlib.Path, folder: pathlib.Path) -> str:
    return path.relative_to(folder).as_posix()
