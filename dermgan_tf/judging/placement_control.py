"""Does the lesion stay where the map puts it, and does nothing else change?

A scene with one box is painted again, with the same seed, with its box moved ("move")
or grown about its centre ("grow"). Where the two images differ is compared with where
their maps say that they may.

The changed region: CIE76 ΔE between the two images, each Lab channel first passed
through a 5 × 5 median filter, which takes away single pixels and fine texture and
leaves edges where they are; changed is what exceeds ΔE = 4.6, twice the
just-noticeable difference of 2.3 (Mahy et al. 1994): a change that is seen beyond
doubt. The threshold is fixed. One fitted to each scene, as Otsu's is, would find a
"lesion" in any noise, and would pass over a visible change of the whole image beside a
stronger one in the box.

Intersection over union (IoU) is that of the changed region with
    move  both boxes, the old and the new
    grow  the larger of the two boxes
exclusive_iou leaves out of account what lies in both boxes: a lesion of one even colour
rightly changes nothing there, so that its IoU by "grow" is 0.56 at most, and less than
1 by "move" where a large box has no place free of itself.

The best value is not 1: an ellipse that fills its box has π/4 = 0.785 by "move" into a
free place. The worst is 0, where nothing changed; where everything did it is the
region's share of the image, which therefore stands beside it. So it does beside
change_inside, which needs no threshold: the share of the summed squared ΔE that lies
inside the region.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import cv2
import numpy as np

from dermgan_tf.errors import InputError
from dermgan_tf.judging.intervals import mean
from dermgan_tf.judging.scenes import drawn_scenes, painted
from dermgan_tf.pairs.windows import MARGIN
from dermgan_tf.photos.contact_sheet import contact_sheet
from dermgan_tf.photos.semantic_map import box_pixels
from dermgan_tf.photos.skin_tone import srgb_to_lab
from dermgan_tf.progress import silent

JUST_NOTICEABLE = 2.3  # ΔE, Mahy et al. 1994
CHANGE_THRESHOLD = 2 * JUST_NOTICEABLE
GROWTH = 1.5  # of the box's sides; where that does not fit, it shrinks by as much
MAX_OVERLAP = 0.5  # of the box with itself moved; with more there is no room to move
SHEET_ROWS = 12
_MEANS = ("iou", "exclusive_iou", "change_inside", "region_share", "exclusive_share")
_SMOOTHING = 5  # pixels, side of the median filter
_OUTLINE = (255, 0, 0)

Pixels = tuple[int, int, int, int]  # top, left, bottom, right; the last two exclusive


def placement_control(
    generator: Any,
    pairs: Iterable[dict[str, Any]],
    max_scenes: int | None = 100,
    seed: int = 0,
    progress: Callable = silent,
) -> tuple[dict[str, Any], np.ndarray]:
    """Judges whether lesions follow their boxes.

    Args:
        generator: with `.paint` and `.image_size`.
        pairs: held-out pairs as `read_pairs` yields; those with exactly one box count.
        max_scenes: int ≥ 1, or None for all. A scene's seed is its position among
            `pairs`.
        seed: int. Of the draw of scenes, of where boxes move, and of the bootstrap.
        progress: see `dermgan_tf.progress`.

    Returns:
        (dict of JSON values, contact sheet np.uint8 [H, W, 3] of the first scenes drawn
        of each condition). The dict has
        scenes, cases     with one box, drawn
        threshold         ΔE
        move, grow        each a dict of
            scenes        painted with another box
            no_room       scenes in which the box cannot be moved by half of its area;
                          0 for grow
            overlapping   scenes whose moved box overlaps the old one, for want of room
            grown, shrunk scenes by how the box was scaled
            unchanged     scenes in which no pixel changed: their IoU counts as 0, and
                          so does change_inside where the images are the same
            iou, exclusive_iou, change_inside: 0…1, and what the first two and the third
            are where everything changed: region_share, exclusive_share,
            region_share; means with intervals as `dermgan_tf.judging.intervals.mean`
            returns them
            by_condition  list of condition, and the same of its scenes
            undefined     why there are no numbers, or None

    Raises:
        InputError: for no pair with exactly one box, a synthetic pair, or one of
            another image size.
    """
    scenes = drawn_scenes(
        pairs,
        generator.image_size,
        max_scenes,
        seed,
        suits=lambda pair: len(pair["boxes"]) == 1,
    )
    if not scenes:
        raise InputError("there is no pair with exactly one box to judge placement by")
    found = {"move": [], "grow": []}  # of dicts, one a scene
    examples = _Examples()
    progressing = progress(
        painted(generator, scenes, lambda *scene: _changed_maps(*scene, seed)),
        total=len(scenes),
        desc="places and sizes",
    )
    for position, pair, maps, images in progressing:
        box, new_boxes = _boxes(position, pair, seed)
        labs = [_smooth_lab(image) for image in images]
        for index, (kind, new_box) in enumerate(new_boxes, start=1):
            change = np.square(labs[index] - labs[0]).sum(axis=-1)
            facts = {
                "case": pair["case_id"],
                "condition": pair["condition"],
                **_compared(change, box, new_box, kind),
            }
            found[kind].append(facts)
            examples.add(facts, kind, maps, images, index, change, (box, new_box))
    metrics = {
        "scenes": len(scenes),
        "cases": len({pair["case_id"] for _, pair in scenes}),
        "threshold": CHANGE_THRESHOLD,
        **{kind: _summary(kind, found[kind], len(scenes), seed) for kind in found},
    }
    return metrics, examples.sheet()


def moved_box(box: Pixels, size: int, rng: np.random.Generator) -> Pixels | None:
    """Another place for a box, drawn at random where it does not overlap the old one.

    Places that keep the margin of training crops go first. Where every place overlaps,
    it is the farthest one; None where even that overlaps by more than half.

    Args:
        box: in pixels.
        size: int. Side of the map in pixels.
        rng: for the draw.
    """
    top, left, bottom, right = box
    height, width = bottom - top, right - left
    tops = np.arange(size - height + 1)[:, np.newaxis]
    lefts = np.arange(size - width + 1)
    down, across = abs(tops - top), abs(lefts - left)
    apart = (down >= height) | (across >= width)
    margin = round(MARGIN * size)
    within = (np.minimum(tops, size - height - tops) >= margin) & (
        np.minimum(lefts, size - width - lefts) >= margin
    )
    for places in (apart & within, apart):
        if places.any():
            new_top, new_left = rng.choice(np.argwhere(places))
            break
    else:
        overlap = (height - down) * (width - across)
        least = np.argwhere(overlap == overlap.min())
        if overlap.min() > MAX_OVERLAP * height * width:
            return None
        new_top, new_left = rng.choice(least)
    return int(new_top), int(new_left), int(new_top) + height, int(new_left) + width


def scaled_box(box: Pixels, size: int) -> Pixels:
    """The box grown about its centre, or shrunk where the grown one does not fit."""
    top, left, bottom, right = box
    for factor in (GROWTH, 1 / GROWTH):
        height = _scaled_side(bottom - top, factor)
        width = _scaled_side(right - left, factor)
        new_top, new_left = (top + bottom - height) // 2, (left + right - width) // 2
        new = (new_top, new_left, new_top + height, new_left + width)
        if min(new) >= 0 and max(new) <= size:
            break
    return new


def changed_region(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Where two images differ visibly; see the module's docstring.

    Args:
        first, second: np.uint8 [H, W, 3], RGB.

    Returns:
        bool [H, W].
    """
    change = np.square(_smooth_lab(first) - _smooth_lab(second)).sum(axis=-1)
    return change > CHANGE_THRESHOLD**2


class _Examples:
    """The first scenes of each condition in turn: not chosen for looks."""

    _COLUMNS = ("map", "map changed", "image", "image changed", "changed region")

    def __init__(self):
        self._found = {}  # (condition, kind) -> rows

    def add(self, facts, kind, maps, images, index, change, boxes) -> None:
        found = self._found.setdefault((facts["condition"], kind), [])
        if len(found) < SHEET_ROWS // 2:
            region = _outlined(change > CHANGE_THRESHOLD**2, boxes)
            label = f"{facts['condition']}\n{kind}\nIoU {facts['iou']:.2f}"
            cells = [maps[0], maps[index], images[0], images[index], region]
            found.append((label, cells))

    def sheet(self) -> np.ndarray:
        groups = [self._found[key] for key in sorted(self._found)]
        rounds = max((len(rows) for rows in groups), default=0)
        rows = [rows[i] for i in range(rounds) for rows in groups if i < len(rows)]
        # At least one of every condition and kind.
        rows = rows[: max(SHEET_ROWS, len(groups))]
        return contact_sheet(
            [cells for _, cells in rows],
            row_labels=[label for label, _ in rows],
            column_labels=self._COLUMNS,
            title="SYNTHETIC images of one seed, the box changed",
        )


def _boxes(
    position: int, pair: dict[str, Any], seed: int
) -> tuple[Pixels, list[tuple[str, Pixels]]]:
    """The scene's box, and (kind, other box) for what it is changed to."""
    size = len(pair["semantic_map"])
    box = box_pixels(pair["boxes"][0], size, size)
    moved = moved_box(box, size, np.random.default_rng([seed, position]))
    new_boxes = [] if moved is None else [("move", moved)]
    return box, [*new_boxes, ("grow", scaled_box(box, size))]


def _changed_maps(position: int, pair: dict[str, Any], seed: int):
    box, new_boxes = _boxes(position, pair, seed)
    own = pair["semantic_map"]
    maps = [own]
    for _, (top, left, bottom, right) in new_boxes:
        changed = own.copy()
        changed[..., 1:] = 0
        changed[top:bottom, left:right, 1:] = own[box[0], box[1], 1:]
        maps.append(changed)
    return np.stack(maps), [position] * len(maps)


def _smooth_lab(image: np.ndarray) -> np.ndarray:
    return cv2.medianBlur(srgb_to_lab(image).astype(np.float32), _SMOOTHING)


def _compared(
    squared: np.ndarray, box: Pixels, new_box: Pixels, kind: str
) -> dict[str, Any]:
    """Squared ΔE [S, S] against what the boxes allow."""
    old, new = (_inside(b, squared.shape) for b in (box, new_box))
    changed = squared > CHANGE_THRESHOLD**2
    region, both = old | new, old & new
    total = squared.sum(dtype=np.float64)
    return {
        "iou": _iou(changed, region),
        "exclusive_iou": _iou(changed & ~both, region & ~both),
        "change_inside": squared[region].sum(dtype=np.float64) / total if total else 0,
        "region_share": region.mean(),
        "exclusive_share": _iou(~both, region & ~both),
        "unchanged": not changed.any(),
        "overlapping": both.any(),
        "grown": new.sum() > old.sum(),
    }


def _summary(kind: str, facts: Sequence[dict], scenes: int, seed: int) -> dict:
    def count(name: str) -> int:
        return sum(bool(fact[name]) for fact in facts)

    def means(some: Sequence[dict]) -> dict[str, Any]:
        cases = [fact["case"] for fact in some]
        return {n: mean([fact[n] for fact in some], cases, seed) for n in _MEANS}

    own_counts = (
        {"overlapping": count("overlapping")}
        if kind == "move"
        else {"grown": count("grown"), "shrunk": len(facts) - count("grown")}
    )
    conditions = sorted({fact["condition"] for fact in facts})
    return {
        "scenes": len(facts),
        "no_room": scenes - len(facts),
        **own_counts,
        "unchanged": count("unchanged"),
        **means(facts),
        "by_condition": [
            {
                "condition": name,
                **means([fact for fact in facts if fact["condition"] == name]),
            }
            for name in conditions
        ],
        "undefined": None if facts else "no box has room to move",
    }


def _inside(box: Pixels, shape: tuple[int, ...]) -> np.ndarray:
    inside = np.zeros(shape, bool)
    inside[box[0] : box[2], box[1] : box[3]] = True
    return inside


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    union = (a | b).sum()
    return float((a & b).sum() / union) if union else 0.0


def _scaled_side(side: int, factor: float) -> int:
    scaled = max(1, round(side * factor))
    # At least a pixel of difference, where there is one to take.
    return max(scaled, side + 1) if factor > 1 else scaled


def _outlined(region: np.ndarray, boxes: Iterable[Pixels]) -> np.ndarray:
    image = np.repeat(np.where(region, 255, 0).astype(np.uint8)[..., None], 3, axis=-1)
    for top, left, bottom, right in boxes:
        cv2.rectangle(image, (left, top), (right - 1, bottom - 1), _OUTLINE)
    return image
