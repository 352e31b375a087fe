"""The maps of synthetic images: those of training crops, turned, mirrored and moved."""

import collections
import random
from collections.abc import Sequence

from dermgan_tf.generation.plan import Box
from dermgan_tf.generation.scenes import Scene, rounded_box
from dermgan_tf.photos.draws import shuffled

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
