"""Imports COCO JSON: boxes, polygons and run lengths; exports of Label Studio and CVAT.

Format: cocodataset.org, "Data format", object detection.
"""

import math
import os
import pathlib
import re
from collections import Counter, defaultdict
from typing import Any

from dermgan_tf.errors import InputError, Reject
from dermgan_tf.photos.annotations import PhotoAnnotation
from dermgan_tf.photos.folders import is_junk
from dermgan_tf.photos.importers.boxes import (
    Box,
    is_number,
    points_box,
    rotated_box,
    run_lengths,
    runs_box,
    union,
)
from dermgan_tf.photos.importers.entries import Entry, Options, Shape, import_entries
from dermgan_tf.photos.importers.names import split_of_word
from dermgan_tf.photos.importers.photo_index import PhotoIndex, wanted
from dermgan_tf.photos.importers.tables import links_of_ids, read_json
from dermgan_tf.photos.vocabulary import composed

_LISTS = ("images", "annotations", "categories")
# Ids that some people add to images: what they are of, and how they are called.
_IDS = {"patient": "patient_id", "case": "case_id", "lesion": "lesion_id"}
CROWDS = "crowds taken as one box"
ROTATED = "boxes around turned boxes"
BAD_PARTS = "outlines left out of several"
OCCLUDED = "boxes said to be occluded"


def import_coco(
    folder: str | os.PathLike,
    *,
    images_dir: str | os.PathLike | None = None,
    annotations_file: str | None = None,
    match_names: bool = False,
    **options,
) -> tuple[list[PhotoAnnotation], list[Reject], dict[str, int]]:
    """Reads one or several COCO files. It has no skin types.

    An annotation's `bbox` is its box, turned by CVAT's `attributes.rotation`; where
    that is missing or empty, the box around its `segmentation`. A crowd (`iscrowd`) is
    one box: there the condition is.

    Args:
        folder: with the JSON file, as Label Studio writes it (result.json), or
            annotations/instances_SPLIT.json, as COCO and CVAT do, or
            SPLIT/_annotations.coco.json; photos beside it, in images/, SPLIT/ or
            images/SPLIT/.
        images_dir: another folder of photos.
        annotations_file: the JSON file, if only one of several shall be read.
        match_names: bool. Find photos by their own name, whatever folders the file
            names.
        **options: see `Options`.

    Returns:
        (annotations, rejects, counts), images relative to the folder of photos.

    Raises:
        InputError: if a file cannot be read or is not COCO, or there are no photos.
    """
    folder = pathlib.Path(folder)
    index = PhotoIndex(images_dir or folder)
    entries, rejects, left_over = [], [], []
    counts = Counter({"images in JSON": 0})
    files, others = _coco_files(folder, annotations_file)
    splits = _splits([path for path, _ in files])
    index.read(path for path, _ in files)
    for path, content in files:
        place = os.path.relpath(path.parent, index.folder).replace(os.sep, "/")
        read = _File(path.name if len(files) == 1 else _short(path, folder), content)
        bases = _bases(place, path.stem.removeprefix("instances_"))
        before = len(rejects)
        shapes = read.shapes_of_images(rejects)
        left_over += [reject.item for reject in rejects[before:]]
        for number, image in enumerate(content["images"]):
            counts["images in JSON"] += 1
            where = f"{read.name}: image {number}"
            try:
                name, image_id, size = _image_fields(image)
                where = f"{read.name}: image {image_id}"
                read.require_one_name(image_id)
                name = wanted(name, bases, by_name=match_names)
            except InputError as error:
                rejects.append(Reject(where, str(error)))
                left_over.append(where)
                continue
            of_image = shapes[image_id]
            counts += of_image.counts
            entries.append(
                Entry(
                    where,
                    name,
                    links=links_of_ids(
                        {key: str(image.get(key) or "") for key in _IDS.values()},
                        **_IDS,
                    ),
                    split=splits.get(path),
                    split_by="the names of JSON files",
                    shapes=tuple(of_image.good),
                    size=size,
                    bad=tuple(of_image.bad),
                )
            )
    if others:
        counts["JSON files that are not COCO"] = len(others)
        left_over += others
    return import_entries(
        entries,
        rejects,
        counts,
        index,
        annotations_file or str(folder),
        Options(**options),
        left_over=left_over,
    )


class _OfImage:
    """The boxes of one image."""

    def __init__(self):
        self.good: list[Shape] = []
        self.bad: list[Reject] = []
        self.counts: Counter = Counter()


class _File:
    """One file's annotations, by image."""

    def __init__(self, name: str, content: dict[str, list]):
        self.name = name
        self._annotations = content["annotations"]
        self._images = _values_of_ids(content["images"], "file_name")
        self._labels = _values_of_ids(content["categories"], "name")

    def require_one_name(self, image: str) -> None:
        """Raises InputError where boxes could be of either of two images."""
        if len(self._images[image]) > 1:
            raise InputError(f"id is that of {len(self._images[image])} images")

    def shapes_of_images(self, rejects: list[Reject]) -> dict[str, _OfImage]:
        """image id -> its boxes; annotations of no image go to `rejects`."""
        shapes: dict[str, _OfImage] = defaultdict(_OfImage)
        for number, annotation in enumerate(self._annotations):
            where = f"{self.name}: annotation {number}"
            if not isinstance(annotation, dict):
                rejects.append(Reject(where, "is not an object"))
                continue
            if isinstance(annotation.get("id"), int | str):
                where = f"{self.name}: annotation {annotation['id']!r}"
            image = _id(annotation.get("image_id"))
            if image is None or image not in self._images:
                rejects.append(
                    Reject(
                        where,
                        f"is of no image: image_id {annotation.get('image_id')!r}",
                    )
                )
                continue
            of_image = shapes[image]
            try:
                label = self._label(annotation.get("category_id"))
                box, size = annotation_box(annotation, of_image.counts)
                of_image.good.append(Shape(where, label, box, size))
            except InputError as error:
                of_image.bad.append(Reject(where, str(error)))
        return shapes

    def _label(self, category: Any) -> str:
        names = self._labels.get(_id(category), [])
        if not names:
            raise InputError(f"unknown category_id {category!r}")
        if len(names) > 1:
            raise InputError(f"category {category!r} has several names")
        (name,) = names
        if isinstance(name, int) and not isinstance(name, bool):
            name = str(name)
        if not isinstance(name, str) or not name.strip() or not name.isprintable():
            raise InputError(f"category {category!r} has no name but {name!r}")
        return composed(name.strip())


def _id(value: Any) -> str | None:
    """An id as text: programs write 1, 1.0 and "1" for one; None if it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    return str(int(value) if is_number(value) and value == int(value) else value)


def _values_of_ids(items: list, key: str) -> dict[str, list]:
    """id -> the distinct values under `key` of the items with this id."""
    values: dict[str, list] = {}
    for item in items:
        if isinstance(item, dict) and (number := _id(item.get("id"))) is not None:
            of_id = values.setdefault(number, [])
            if item.get(key) not in of_id:
                of_id.append(item.get(key))
    return values


def annotation_box(
    annotation: dict[str, Any], counts: Counter | None = None
) -> tuple[Box, tuple[int, int] | None]:
    """The box of one COCO annotation.

    Args:
        annotation: its `bbox` is [x, y, width, height] in pixels; its `segmentation`
            polygons [[x, y, x, y, …], …], or {"counts": …, "size": [height, width]}.
        counts: what is worth telling is counted here.

    Returns:
        (box, size): (top, left, bottom, right) in pixels; the size of a mask, which
        may be another than the photo's, else None.

    Raises:
        InputError: if it has neither a box with an area nor a good outline, or says
            that it is not to be taken.
    """
    counts = Counter() if counts is None else counts
    told = annotation.get("attributes")
    told = {**annotation, **(told if isinstance(told, dict) else {})}
    for name in ("ignore", "outside", "deleted"):
        if told.get(name) in (1, True, "1", "true", "True"):
            raise InputError(f"says that it is not to be taken: {name}")
    box, size = _box_of(annotation, counts)
    rotation = told.get("rotation") or told.get("angle") or 0
    if not is_number(rotation):
        raise InputError(f"rotation {str(rotation)[:60]!r} is not a number of degrees")
    if rotation % 180 and size is None and annotation.get("bbox"):
        box = rotated_box(box, rotation)
        counts[ROTATED] += 1
    crowd = [told.get("iscrowd"), told.get("isgroupof"), told.get("is_group_of")]
    counts[CROWDS] += any(value in (1, True) for value in crowd)
    counts[OCCLUDED] += told.get("occluded") in (1, True)
    return box, size


def _box_of(
    annotation: dict[str, Any], counts: Counter
) -> tuple[Box, tuple[int, int] | None]:
    box, outline = annotation.get("bbox"), annotation.get("segmentation")
    problem = "has neither bbox nor segmentation"
    if box not in (None, []):
        numbers = [_number(value) for value in box] if isinstance(box, list) else []
        if len(numbers) != 4 or None in numbers:
            problem = f"bbox {str(box)[:60]} is not [x, y, width, height]"
        elif numbers[2] <= 0 or numbers[3] <= 0:
            problem = f"bbox {box} has no area"
        else:
            left, top, width, height = numbers
            return (top, left, top + height, left + width), None
    if isinstance(outline, dict):
        size = outline.get("size")
        if not _is_size(size):
            raise InputError(f"mask's size {size!r} is not [height, width]")
        size = int(size[0]), int(size[1])
        return runs_box(run_lengths(outline.get("counts")), *size), size
    if isinstance(outline, list) and outline:
        if all(map(is_number, outline)):
            outline = [outline]  # one polygon, not in a list of its own
        boxes = []
        for polygon in outline:
            try:
                if not isinstance(polygon, list):
                    raise InputError("segmentation is neither polygons nor a mask")
                boxes.append(points_box(polygon))
            except InputError as error:
                problem = str(error)
        counts[BAD_PARTS] += (len(outline) - len(boxes)) if boxes else 0
        if boxes:
            return union(boxes), None
    raise InputError(problem)


def _number(value: Any) -> float | None:
    """A number, also one that is written as text; None for anything else."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    return value if is_number(value) else None


def _coco_files(
    folder: pathlib.Path, given: str | None
) -> tuple[list[tuple[pathlib.Path, dict[str, list]]], list[str]]:
    """(files with their content, names of JSON files that are not COCO)."""
    if given:
        path = pathlib.Path(given)
        content = read_json(path)
        if not _is_coco(content):
            raise InputError(f"{path} is not COCO: want the lists {', '.join(_LISTS)}")
        return [(path, content)], []
    paths = sorted([*folder.glob("*.json"), *folder.glob("*/*.json")])
    paths = [
        path for path in paths if not any(map(is_junk, path.relative_to(folder).parts))
    ]
    # COCO's own folder has captions and keypoints of the same photos as well.
    instances = [path for path in paths if path.name.startswith("instances_")]
    contents = [(path, read_json(path)) for path in instances or paths]
    files = [(path, content) for path, content in contents if _is_coco(content)]
    if not files:
        raise InputError(
            f"no COCO JSON in {folder}, its annotations/ or other subfolders (with the "
            f"lists {', '.join(_LISTS)}); name it by annotations_file"
        )
    read = {path for path, _ in files}
    others = [
        _short(path, folder)
        for path in paths
        if path not in read and not re.match(r"(captions|person_keypoints)_", path.name)
    ]
    return files, others


def _is_coco(content: Any) -> bool:
    return isinstance(content, dict) and all(
        isinstance(content.get(key), list) for key in _LISTS
    )


def _splits(paths: list[pathlib.Path]) -> dict[pathlib.Path, str]:
    """The splits of instances_SPLIT.json, SPLIT.json and SPLIT/_annotations.coco.json.

    Where only some files are called so, only instances_SPLIT.json is believed.
    """
    splits, sure = {}, {}
    for path in paths:
        own = split_of_word(path.stem.removeprefix("instances_"))
        splits[path] = own or split_of_word(path.parent.name)
        if path.stem.startswith("instances_") and own:
            sure[path] = own
    return splits if all(splits.values()) else sure


def _bases(place: str, subset: str) -> list[str]:
    """The folders that file names may be relative to, the likeliest first."""
    outside = place == ".." or place.startswith("../")
    beside = [] if outside else [place, f"{place}/images"]
    return [*beside, f"images/{subset}", subset, "images", "."]


def _image_fields(image: Any) -> tuple[Any, str, tuple[int, int] | None]:
    if not isinstance(image, dict):
        raise InputError("is not an object")
    image_id = _id(image.get("id"))
    if image_id is None:
        raise InputError("has no id")
    told = [image.get("height"), image.get("width")]
    if told in ([None, None], [0, 0], ["", ""]):
        return image.get("file_name"), image_id, None
    size = [_number(side) for side in told]
    if not _is_size(size):
        raise InputError(f"height and width {told} are not numbers of pixels")
    return image.get("file_name"), image_id, (int(size[0]), int(size[1]))


def _is_size(size: Any) -> bool:
    """Whether it is [height, width] in whole pixels."""
    if not isinstance(size, list) or len(size) != 2:
        return False
    return all(is_number(n) and n >= 1 and n == math.floor(n) for n in size)


def _short(path: pathlib.Path, folder: pathlib.Path) -> str:
    return path.relative_to(folder).as_posix()
