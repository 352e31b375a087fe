"""Maps of scenes that were never photographed."""

import collections
import dataclasses
import os
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from dermgan_tf.errors import InputError
from dermgan_tf.generation.plan import Box
from dermgan_tf.pairs.pairs import read_pairs, read_pairs_info
from dermgan_tf.photos.annotations import PhotoAnnotation, case_splits
from dermgan_tf.photos.draws import shuffled
from dermgan_tf.photos.semantic_map import MAX_SKIN_TYPE, checked_box
from dermgan_tf.progress import silent

BOX_DECIMALS = 8  # a map of 512 pixels keeps its borders

# Images by Fitzpatrick skin type 0…6, 0 = unknown.
TypeCounts = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Scene:
    """What a training crop lends to a plan.

    Args:
        condition: str. The crop's condition.
        fitzpatrick: int, 0…6; 0 = unknown.
        boxes: of (ymin, xmin, ymax, xmax), 0…1, of that condition alone; may be none.
        case_id: str. The case that the crop is of.
    """

    condition: str
    fitzpatrick: int
    boxes: tuple[Box, ...]
    case_id: str = ""


def read_training_scenes(
    data_dir: str | os.PathLike, progress: Callable = silent
) -> list[Scene]:
    """Reads what the training crops of a pairs folder lend to a plan.

    Args:
        data_dir: a folder that `prepare_pairs` wrote. Its training split alone is read.
        progress: see `dermgan_tf.progress`.

    Returns:
        A Scene a crop, in the folder's order.

    Raises:
        InputError: for a folder without pairs or without training crops, or a synthetic
            image among them.
    """
    total = read_pairs_info(data_dir).counts.get("train")
    pairs = read_pairs(data_dir, "train")
    return training_scenes(progress(pairs, total=total, desc="reading"), data_dir)


def training_scenes(
    pairs: Iterable[Mapping[str, Any]], data_dir: str | os.PathLike = "pairs"
) -> list[Scene]:
    """What training pairs lend to a plan.

    A plan's map has one condition, so boxes of another one that stand in a crop are
    left away.

    Args:
        pairs: as from `read_pairs(data_dir, "train")`.
        data_dir: where they are from, for messages.

    Raises:
        InputError: for a synthetic image: it is no part of the real distribution.
    """
    scenes = []
    for pair in pairs:
        if pair["source"] == "synthetic":
            raise InputError(
                f"{os.fspath(data_dir)}: {pair['image_id']} of split 'train' is "
                "synthetic; plans are made from photographs only"
            )
        boxes = zip(pair["boxes"], pair["box_conditions"], strict=True)
        scenes.append(
            Scene(
                pair["condition"],
                int(pair["fitzpatrick"]),
                tuple(rounded_box(b) for b, name in boxes if name == pair["condition"]),
                pair["case_id"],
            )
        )
    return scenes


def count_crops(scenes: Iterable[Scene]) -> dict[str, TypeCounts]:
    """Training crops by class and skin type, of those classes that have one."""
    return _counted((scene.condition, scene.fitzpatrick) for scene in scenes)


def count_photos(annotations: Sequence[PhotoAnnotation]) -> dict[str, TypeCounts]:
    """Photos of the training split by class and skin type, with boxes or without."""
    splits = case_splits(annotations)
    return _counted(
        (annotation.condition, annotation.fitzpatrick)
        for annotation in annotations
        if splits[annotation.case_id] == "train"
    )


def require_training_cases(
    scenes: Iterable[Scene],
    annotations: Sequence[PhotoAnnotation],
    data_dir: str | os.PathLike,
    annotations_path: str | os.PathLike,
) -> None:
    """Raises InputError if a case of the crops is held out in the annotations.

    The maps, and the generator trained on these crops, would tell of cases that a
    classifier is later judged by.
    """
    splits = case_splits(annotations)
    held_out = sorted(
        {s.case_id for s in scenes if splits.get(s.case_id, "train") != "train"}
    )
    if held_out:
        raise InputError(
            f"{len(held_out)} training cases of {os.fspath(data_dir)} are not in split "
            f"train of {os.fspath(annotations_path)}: first {held_out[0]!r} (there "
            f"{splits[held_out[0]]}); prepare the pairs from these annotations"
        )


def rounded_box(box: Iterable[float]) -> Box:
    """A box as plans hold it: of few digits, and checked."""
    return checked_box([round(float(value), BOX_DECIMALS) for value in box])


def _counted(images: Iterable[tuple[str, int]]) -> dict[str, TypeCounts]:
    counts: dict[str, list[int]] = {}
    for name, fitzpatrick in images:
        counts.setdefault(name, [0] * (MAX_SKIN_TYPE + 1))[fitzpatrick] += 1
    return {name: tuple(by_type) for name, by_type in counts.items()}


SYMMETRIES = range(8)  # of the square


def drawn_maps(
    scenes: Sequence[Scene], types: Sequence[int], jitter: float, rng: random.Random
) -> dict[tuple[int, tuple[Box, ...]], int]:
    """Draws a map for each image of a class.

    Every scene comes once before any comes again, each time in another symmetry while
    there is one.

    Args:
        scenes: of the class, with boxes unless it is healthy skin.
        types: the images' skin types, 0…6.
        jitter: float, 0…0.5; see `plan_synthetic`.
        rng: draws.

    Returns:
        {(skin type, boxes): how often}, in order.
    """
    order = shuffled(scenes, rng)[: len(types)]
    turns = [shuffled(SYMMETRIES, rng) for _ in order]
    maps: collections.Counter = collections.Counter()
    for i, fitzpatrick in enumerate(types):
        again, place = divmod(i, len(order))
        boxes = order[place].boxes
        if jitter and boxes:
            boxes = _jittered(boxes, jitter, rng)
        boxes = turned(boxes, turns[place][again % len(SYMMETRIES)])
        maps[fitzpatrick, boxes] += 1
    return maps


def turned(boxes: Sequence[Box], symmetry: int) -> tuple[Box, ...]:
    """Boxes after one of the square's 8 symmetries, as training turns maps.

    Args:
        boxes: of (ymin, xmin, ymax, xmax), 0…1.
        symmetry: int, 0…7: 1 transposes, 2 turns upside down, 4 mirrors left to right;
            sums do them in that order.

    Returns:
        The boxes, sorted: two lists of the same boxes are one map.
    """
    turned_boxes = []
    for ymin, xmin, ymax, xmax in boxes:
        if symmetry & 1:
            ymin, xmin, ymax, xmax = xmin, ymin, xmax, ymax
        if symmetry & 2:
            ymin, ymax = 1 - ymax, 1 - ymin
        if symmetry & 4:
            xmin, xmax = 1 - xmax, 1 - xmin
        turned_boxes.append(rounded_box((ymin, xmin, ymax, xmax)))
    return tuple(sorted(turned_boxes))


def _jittered(
    boxes: Sequence[Box], jitter: float, rng: random.Random
) -> tuple[Box, ...]:
    """Scales and shifts boxes together, within the image."""

    def drawn() -> float:
        return jitter * (2 * rng.random() - 1)

    low = [min(box[axis] for box in boxes) for axis in (0, 1)]
    sides = [max(box[axis + 2] for box in boxes) - low[axis] for axis in (0, 1)]
    scale = min(1 + drawn(), *(1 / side for side in sides))
    start = []
    for axis in (0, 1):
        side = sides[axis] * scale
        moved = low[axis] + (sides[axis] - side) / 2 + drawn() * sides[axis]
        start.append(min(max(moved, 0.0), 1 - side))
    return tuple(
        tuple(
            min(max(start[k % 2] + (box[k] - low[k % 2]) * scale, 0.0), 1.0)
            for k in range(4)
        )
        for box in boxes
    )
