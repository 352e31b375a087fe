"""What to paint: single images, varied series, plans from a file, and sweeps.

Needs no TensorFlow: everything here is settled and checked before a generator loads.
"""

import dataclasses
import json
import math
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from absl import logging

from dermgan_tf.errors import InputError
from dermgan_tf.pairs.windows import MARGIN, PROMINENCE
from dermgan_tf.photos.semantic_map import (
    MAX_SKIN_TYPE,
    SKIN_TYPE_NAMES,
    Roi,
    checked_box,
    encode_semantic_map,
    skin_type_code,
)
from dermgan_tf.photos.vocabulary import HEALTHY, Vocabulary

Box = tuple[float, float, float, float]

SWEEPS = ("skin_color", "size", "condition", "place")
MAX_SEED = 2**31 - 1  # seeds are int32

# What a sweep holds constant unless told otherwise: a middle skin type, and a box in
# the image's middle, about as large as the lesions of training crops on average.
SWEEP_SKIN_TYPE = 3
SWEEP_BOX: Box = (0.3, 0.3, 0.7, 0.7)
SWEEP_SIZES = 6
SWEEP_PLACES = ("top", "middle", "bottom"), ("left", "centre", "right")

_ENTRY_KEYS = ("condition", "fitzpatrick", "boxes", "count", "seed")
_PLAN_KEYS = ("conditions", "data_fingerprint", "settings", "classes", "images")
_SHOWN_PROBLEMS = 20  # of a plan; it may have 100,000 entries


@dataclasses.dataclass(frozen=True)
class ImageSpec:
    """All that a synthetic image depends on, besides the generator.

    Args:
        condition: str. The skin condition in all of the boxes.
        fitzpatrick: int, 0…6; 0 = unknown.
        boxes: of (ymin, xmin, ymax, xmax), 0…1; none for skin without the condition.
        seed: int, 0…2³¹ − 1.
    """

    condition: str
    fitzpatrick: int
    boxes: tuple[Box, ...]
    seed: int

    def texts(self) -> dict[str, str]:
        """The spec as texts of a PNG file."""
        return {
            "condition": self.condition,
            "fitzpatrick": str(self.fitzpatrick),
            "boxes": json.dumps(self.boxes),
            "seed": str(self.seed),
        }

    def semantic_map(self, size: int, vocabulary: Vocabulary) -> np.ndarray:
        """The map to paint from: np.uint8 [size, size, 3].

        Raises:
            InputError: if the condition is not in `vocabulary`, boxes or not.
        """
        vocabulary.index(self.condition)
        rois = [Roi(box, self.condition) for box in self.boxes]
        return encode_semantic_map(size, self.fitzpatrick, rois, vocabulary)


@dataclasses.dataclass(frozen=True)
class Sweep:
    """A sheet of images in which one thing varies.

    Args:
        title: str. What varies.
        rows: rows of (spec, shows_map): a cell shows the image painted from the spec,
            or, with shows_map, the spec's semantic map.
        row_labels: a text a row.
        column_labels: a text a column.
    """

    title: str
    rows: tuple[tuple[tuple[ImageSpec, bool], ...], ...]
    row_labels: tuple[str, ...]
    column_labels: tuple[str, ...]

    def image_specs(self) -> list[ImageSpec]:
        """The specs of the images shown, in reading order, each once."""
        cells = [cell for row in self.rows for cell in row]
        return list(dict.fromkeys(spec for spec, shows_map in cells if not shows_map))


def parse_boxes(text: str) -> tuple[Box, ...]:
    """Reads boxes as people type them: "ymin,xmin,ymax,xmax;…"; "none" for no box.

    Raises:
        InputError: for anything else, and for a bad box.
    """
    if text.strip().lower() == "none":
        return ()
    boxes = []
    for part in text.strip().strip(";").split(";"):
        try:
            numbers = [float(number) for number in part.split(",")]
        except ValueError:
            numbers = []
        if len(numbers) != 4:
            raise InputError(
                f"boxes {text!r}: {part.strip()!r} is not ymin,xmin,ymax,xmax; "
                'separate boxes with ";"; "none" is skin without the condition'
            )
        boxes.append(checked_box(numbers))
    return tuple(boxes)


def sample_boxes(seed: int) -> tuple[Box, ...]:
    """Draws one box the way training crops show their lesions. A function of `seed`.

    Its longer side takes a quarter to three quarters of the image, and it stands
    anywhere but at the very edge.
    """
    rng = np.random.default_rng([seed, 0xB0C5])  # apart from other uses of the seed
    longer = rng.uniform(*PROMINENCE)
    shorter = longer * rng.uniform(0.6, 1.0)
    height, width = (longer, shorter) if rng.random() < 0.5 else (shorter, longer)
    top = rng.uniform(MARGIN, 1 - MARGIN - height)
    left = rng.uniform(MARGIN, 1 - MARGIN - width)
    return (_rounded((top, left, top + height, left + width)),)


def varied_specs(
    vocabulary: Vocabulary,
    count: int,
    seed: int = 0,
    condition: str | None = None,
    fitzpatrick: int | None = None,
    boxes: Sequence[Box] | None = None,
) -> Iterator[ImageSpec]:
    """A series of specs in which everything not given varies.

    Omitted conditions and skin types take turns, so that every combination comes
    equally often; omitted boxes are drawn by each image's own seed, which counts up
    from `seed`.

    Args:
        vocabulary: the generator's conditions.
        count: int, at least 1. How many specs.
        seed: int, 0…2³¹ − 1. Seed of the first image.
        condition: str, or None for all in turn.
        fitzpatrick: int, 0…6 (0 = unknown), or None for 1…6 in turn.
        boxes: the boxes of all images, or None for boxes drawn anew for each. Healthy
            skin has none in any case.

    Returns:
        An iterator: a long series takes no memory.

    Raises:
        InputError: at once, for an argument out of range.
    """
    if count < 1:
        raise InputError(f"count must be at least 1, got {count}")
    check_seed(seed)
    if condition is not None:
        vocabulary.index(condition)
    if fitzpatrick is not None:
        skin_type_code(fitzpatrick)
    if boxes is not None:
        boxes = tuple(checked_box(box) for box in boxes)
        if boxes and condition == HEALTHY:
            raise InputError(f"{HEALTHY!r} has no box; leave the boxes away")
    names = vocabulary.conditions if condition is None else (condition,)
    types = (
        tuple(range(1, MAX_SKIN_TYPE + 1)) if fitzpatrick is None else (fitzpatrick,)
    )
    # Both take turns from the first image on; each time the pairing would come round
    # again, the types move on by one, until all combinations have been.
    common = math.gcd(len(names), len(types))
    period = len(names) * len(types) // common

    def spec(i: int) -> ImageSpec:
        own_seed = (seed + i) % (MAX_SEED + 1)
        name = names[i % len(names)]
        own_boxes = sample_boxes(own_seed) if boxes is None else boxes
        return ImageSpec(
            condition=name,
            fitzpatrick=types[(i + i // period % common) % len(types)],
            boxes=() if name == HEALTHY else own_boxes,
            seed=own_seed,
        )

    return (spec(i) for i in range(count))


def read_plan(
    path: str | os.PathLike,
    vocabulary: Vocabulary,
    seed: int = 0,
    data_fingerprint: str | None = None,
) -> tuple[int, Iterator[ImageSpec]]:
    """Reads a plan: a JSON list with one object a series of images.

    Its keys: condition, fitzpatrick, boxes, count, seed. What an entry leaves out (or
    gives as null) varies as in `varied_specs`; its count is 1 unless given, and its
    first seed is `seed` plus the number of images before it, so that no two images are
    the same by accident.

    `plan_synthetic` wraps the list in an object, as "images", and says beside it which
    "conditions" and which pairs ("data_fingerprint") it was made for.

    Args:
        path: the file.
        vocabulary: the generator's conditions.
        seed: int. Seed of the first image.
        data_fingerprint: str. Of the pairs that the generator was trained on; None =
            unknown, then a plan made from any pairs is taken, with a warning.

    Returns:
        (how many images, iterator over their specs).

    Raises:
        InputError: for a file that is not such a plan, naming its problems, and for a
            plan made for another vocabulary or from other pairs.
    """
    plan = _read_json(path)
    entries = plan
    if isinstance(plan, dict):
        entries = plan.get("images")
        _check_origin(path, plan, vocabulary, data_fingerprint)
        if entries == []:
            raise InputError(f"plan {path} has no image to paint")
    if not isinstance(entries, list) or not entries:
        raise InputError(
            f"plan {path} is not a list of entries such as "
            '[{"condition": "…", "fitzpatrick": 3, "boxes": [[0.3, 0.3, 0.7, 0.7]], '
            '"count": 10, "seed": 0}], nor an object that has one as "images"'
        )
    problems = [
        f"entry {number}: {problem}"
        for number, entry in enumerate(entries, start=1)
        for problem in _entry_problems(entry, vocabulary)
    ]
    if problems:
        known = (
            f"; known conditions: {', '.join(vocabulary)}"
            if any("unknown condition" in problem for problem in problems)
            else ""
        )
        more = len(problems) - _SHOWN_PROBLEMS
        ending = f"; and {more} more problems" if more > 0 else ""
        shown = "; ".join(problems[:_SHOWN_PROBLEMS])
        raise InputError(f"plan {path}: {shown}{ending}{known}")
    total = sum(_count(entry) for entry in entries)
    return total, _planned_specs(entries, vocabulary, seed)


def plan_sweep(
    kind: str,
    vocabulary: Vocabulary,
    seed: int = 0,
    condition: str | None = None,
    fitzpatrick: int | None = None,
    boxes: Sequence[Box] | None = None,
    variants: int = 1,
) -> Sweep:
    """Plans a sheet in which skin colour, size, condition or place varies.

    All else is the same in all images of a series, the seed included. The sheets of
    the DermGAN paper's figures 5 (skin colour), 6 (size) and 7 (condition), and one of
    the place.

    Args:
        kind: "skin_color" (six types), "size" (six sizes about the boxes' centre),
            "condition" (the whole vocabulary) or "place" (3 × 3).
        vocabulary: the generator's conditions.
        seed: int, 0…2³¹ − 1.
        condition: str, or None for a series of each condition.
        fitzpatrick: int, 0…6, or None for type III. Not with "skin_color".
        boxes: None for one box in the middle.
        variants: int, at least 1. How many seeds, counted up from `seed`, each series
            is painted with.

    Returns:
        The sweep; each series has its maps beside it.

    Raises:
        InputError: for an unknown kind, or an argument that is out of range or is the
            one that varies.
    """
    if kind not in SWEEPS:
        raise InputError(f"unknown sweep {kind!r}; known: {', '.join(SWEEPS)}")
    if variants < 1:
        raise InputError(f"a sweep shows at least 1 seed, got {variants}")
    check_seed(seed)
    if kind == "skin_color" and fitzpatrick is not None:
        raise InputError("the sweep skin_color varies the skin type: give none")
    if kind == "condition" and condition is not None:
        raise InputError("the sweep condition varies the condition: give none")
    if boxes is not None and not boxes and kind in ("size", "place"):
        raise InputError(
            f"the sweep {kind} varies the boxes: give at least one, or none"
        )
    names = vocabulary.conditions
    if condition is not None:
        names = (vocabulary.conditions[vocabulary.index(condition)],)
    if kind in ("size", "place"):
        names = tuple(name for name in names if name != HEALTHY)
        if not names:
            raise InputError(f"{HEALTHY!r} has no box whose {kind} could vary")
    skin_type = SWEEP_SKIN_TYPE if fitzpatrick is None else fitzpatrick
    skin_type_code(skin_type)
    boxes = (SWEEP_BOX,) if boxes is None else tuple(map(checked_box, boxes))
    seeds = [(seed + i) % (MAX_SEED + 1) for i in range(variants)]
    on_skin = f"on skin type {SKIN_TYPE_NAMES[skin_type]}"
    if kind == "condition":
        title = f"condition, {on_skin}"
        return _condition_sweep(title, names, skin_type, boxes, seeds)
    if kind == "place":
        return _place_sweep(f"place, {on_skin}", names, skin_type, boxes, seeds)
    if kind == "skin_color":
        scenes = [(t, boxes) for t in range(1, MAX_SKIN_TYPE + 1)]
        labels = [f"skin type {SKIN_TYPE_NAMES[t]}" for t, _ in scenes]
        return _series_sweep("skin colour", names, scenes, labels, seeds)
    shares = np.linspace(*PROMINENCE, SWEEP_SIZES)
    scenes = [(skin_type, _grown(boxes, share)) for share in shares]
    labels = [f"{_longest_side(grown):.0%} of the side" for _, grown in scenes]
    return _series_sweep(f"size, {on_skin}", names, scenes, labels, seeds)


def _planned_specs(
    entries: list[dict[str, Any]], vocabulary: Vocabulary, seed: int
) -> Iterator[ImageSpec]:
    before = 0
    for entry in entries:
        values = {key: value for key, value in entry.items() if value is not None}
        count = values.pop("count", 1)
        first = values.pop("seed", (seed + before) % (MAX_SEED + 1))
        yield from varied_specs(vocabulary, count, first, **values)
        before += count


def _series_sweep(title, names, scenes, labels, seeds) -> Sweep:
    """Columns: (skin type, boxes) scenes. Per condition a row of maps, then images."""
    rows, row_labels = [], []
    for name in names:
        for k, seed in enumerate(seeds):
            row = [ImageSpec(name, t, _boxes_of(name, b), seed) for t, b in scenes]
            if k == 0:
                rows.append(tuple((spec, True) for spec in row))
                row_labels.append(f"{name}\nmap")
            rows.append(tuple((spec, False) for spec in row))
            row_labels.append(f"{name}\nseed {seed}")
    return Sweep(title, tuple(rows), tuple(row_labels), tuple(labels))


def _condition_sweep(title, names, skin_type, boxes, seeds) -> Sweep:
    """A row a condition: its map, then an image a seed."""
    rows = []
    for name in names:
        own = _boxes_of(name, boxes)
        specs = [ImageSpec(name, skin_type, own, seed) for seed in seeds]
        rows.append(((specs[0], True), *((spec, False) for spec in specs)))
    labels = ("map", *(f"seed {seed}" for seed in seeds))
    return Sweep(title, tuple(rows), names, labels)


def _place_sweep(title, names, skin_type, boxes, seeds) -> Sweep:
    """Per condition and seed a square of maps and, right of it, one of images."""
    heights, widths = SWEEP_PLACES
    rows, row_labels = [], []
    for name in names:
        for seed in seeds:
            for i, height in enumerate(heights):
                specs = [
                    ImageSpec(name, skin_type, _moved(boxes, i / 2, j / 2), seed)
                    for j in range(len(widths))
                ]
                rows.append(
                    tuple((spec, maps) for maps in (True, False) for spec in specs)
                )
                row_labels.append(f"{name}\nseed {seed}\n{height}")
    labels = (*(f"map, {width}" for width in widths), *widths)
    return Sweep(title, tuple(rows), tuple(row_labels), labels)


def _boxes_of(name: str, boxes: tuple[Box, ...]) -> tuple[Box, ...]:
    return () if name == HEALTHY else boxes


def _grown(boxes: Sequence[Box], share: float) -> tuple[Box, ...]:
    """Scales each box about its centre, until the longest side takes `share`."""
    factor = share / _longest_side(boxes)
    grown = []
    for ymin, xmin, ymax, xmax in boxes:
        centre = np.array([ymin + ymax, xmin + xmax] * 2) / 2
        scaled = centre + (np.array([ymin, xmin, ymax, xmax]) - centre) * factor
        grown.append(_rounded(np.clip(scaled, 0, 1)))  # the image's edge cuts it off
    return tuple(grown)


def _moved(boxes: Sequence[Box], down: float, across: float) -> tuple[Box, ...]:
    """Moves boxes together: 0 is the top (left) end of the way, 1 the other."""
    corners = np.array(boxes)
    ymin, xmin = corners[:, :2].min(axis=0)
    ymax, xmax = corners[:, 2:].max(axis=0)
    shift = []
    for low, high, part in ((ymin, ymax, down), (xmin, xmax, across)):
        room = 1 - (high - low)
        margin = min(MARGIN, room / 2)
        shift.append(margin + part * (room - 2 * margin) - low)
    return tuple(
        _rounded(np.clip(np.array(box) + np.array(shift * 2), 0, 1)) for box in boxes
    )


def _longest_side(boxes: Sequence[Box]) -> float:
    corners = np.array(boxes)
    return float((corners[:, 2:] - corners[:, :2]).max())


def _rounded(box: Sequence[float]) -> Box:
    """Six decimals: far below a pixel, and still readable in files."""
    return tuple(round(float(value), 6) for value in box)


def check_seed(seed: Any) -> None:
    """Raises InputError unless `seed` is a whole number 0…2³¹ − 1."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= MAX_SEED:
        raise InputError(f"bad seed {seed!r}; valid: whole numbers 0…{MAX_SEED}")


def _read_json(path: str | os.PathLike) -> Any:
    try:
        return json.loads(pathlib.Path(path).read_text("utf-8"))
    except OSError as error:
        raise InputError(f"cannot read plan {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"plan {path} is not JSON: {error}") from error


def _check_origin(
    path: str | os.PathLike,
    plan: dict[str, Any],
    vocabulary: Vocabulary,
    data_fingerprint: str | None,
) -> None:
    """InputError for a plan that was not made for a generator of these pairs."""
    for key in plan:
        if key not in _PLAN_KEYS:
            raise InputError(
                f"plan {path}: unknown key {key!r} (known: {', '.join(_PLAN_KEYS)})"
            )
    names = plan.get("conditions")
    if names is not None:
        if not isinstance(names, list):
            raise InputError(f"plan {path}: conditions {names!r} is not a list")
        Vocabulary(names).require_equal(vocabulary, f"plan {path}", "the generator")
    planned = plan.get("data_fingerprint")
    if planned is not None and not isinstance(planned, str):
        raise InputError(f"plan {path}: data_fingerprint {planned!r} is not text")
    if planned and not data_fingerprint:
        logging.warning(
            "Plan %s was made from pairs %s; whether the generator was trained on "
            "them is unknown.",
            path,
            planned,
        )
    elif planned and planned != data_fingerprint:
        raise InputError(
            f"plan {path} was made from other pairs ({planned}) than the generator was "
            f"trained on ({data_fingerprint}); make it from those with plan_synthetic"
        )


def _count(entry: dict[str, Any]) -> int:
    count = entry.get("count")
    return 1 if count is None else count


def _entry_problems(entry: Any, vocabulary: Vocabulary) -> list[str]:
    if not isinstance(entry, dict):
        return [f"{entry!r} is not an object"]
    problems = [
        f"unknown key {key!r} (known: {', '.join(_ENTRY_KEYS)})"
        for key in entry
        if key not in _ENTRY_KEYS
    ]
    values = {key: value for key, value in entry.items() if value is not None}
    if "condition" in values and values["condition"] not in vocabulary.conditions:
        problems.append(f"unknown condition {values['condition']!r}")
    if "fitzpatrick" in values:
        problems += _problem(skin_type_code, values["fitzpatrick"])
    boxes = values.get("boxes", [])
    if isinstance(boxes, list):
        for box in boxes:
            problems += _problem(checked_box, box)
        if boxes and values.get("condition") == HEALTHY:
            problems.append(f"{HEALTHY!r} has no box")
    else:
        problems.append(f"boxes {boxes!r} is not a list of boxes")
    count = values.get("count", 1)
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        problems.append(f"bad count {count!r}; valid: whole numbers from 1")
    if "seed" in values:
        problems += _problem(check_seed, values["seed"])
    return problems


def _problem(check, value) -> list[str]:
    try:
        check(value)
    except InputError as error:
        return [str(error)]
    return []
