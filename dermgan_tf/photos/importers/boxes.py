"""Boxes as other formats write them: pixels, polygons and run lengths, maybe too large.

Boxes here are (top, left, bottom, right) in any unit, bottom and right exclusive: the
box around the pixel in the corner is (0, 0, 1, 1).
"""

import math
from collections.abc import Sequence
from typing import Any

from dermgan_tf.errors import InputError

Box = tuple[float, float, float, float]

# Annotators draw over the edge by a few pixels; a box that is mostly elsewhere was
# drawn on another image.
MIN_INSIDE = 0.5
_ROUNDING = 1e-6  # of the image's side: files have six decimals

# Compressed run lengths have five bits a character, from this one on.
_RLE_ZERO = ord("0")


def fitted_box(box: Box, height: float, width: float) -> tuple[Box, bool]:
    """Cuts a box to its image and normalises it.

    Args:
        box: (top, left, bottom, right).
        height, width: floats. The image's size in the box's unit.

    Returns:
        (box, cut): (ymin, xmin, ymax, xmax) in 0…1, and whether a part was cut off.

    Raises:
        InputError: for a box that is not finite, has no area, or lies outside with more
            than half of its area.
    """
    shown = ", ".join(f"{value:g}" for value in box)
    if not all(math.isfinite(value) for value in box):
        raise InputError(f"box ({shown}) has a value that is not finite")
    top, left, bottom, right = (
        value / side for value, side in zip(box, (height, width) * 2, strict=True)
    )
    if top >= bottom or left >= right:
        raise InputError(f"box (top, left, bottom, right) = ({shown}) has no area")
    inside = _inside(top, bottom) * _inside(left, right)
    if inside < MIN_INSIDE:
        raise InputError(
            f"box (top, left, bottom, right) = ({shown}) lies "
            f"{'wholly' if inside <= 0 else 'mostly'} outside the image of "
            f"{width:g} × {height:g}"
        )
    cut = min(top, left) < -_ROUNDING or max(bottom, right) > 1 + _ROUNDING
    return (max(top, 0.0), max(left, 0.0), min(bottom, 1.0), min(right, 1.0)), cut


def require_pixels(box: Box) -> None:
    """Raises InputError for a box of less than a pixel, such as one in shares."""
    top, left, bottom, right = box
    if 0 < bottom - top < 1 or 0 < right - left < 1:
        raise InputError(
            f"box of {right - left:g} × {bottom - top:g} is less than a pixel: is it "
            "in shares of the photo?"
        )


def rotated_box(box: Box, degrees: float) -> Box:
    """The box around a box that is turned about its centre.

    Args:
        box: (top, left, bottom, right), before it is turned, in pixels.
        degrees: float. Clockwise or not makes no difference to the box around it.
    """
    top, left, bottom, right = box
    sine, cosine = (
        abs(math.sin(math.radians(degrees))),
        abs(math.cos(math.radians(degrees))),
    )
    height = (bottom - top) * cosine + (right - left) * sine
    width = (bottom - top) * sine + (right - left) * cosine
    y, x = (top + bottom) / 2, (left + right) / 2
    return y - height / 2, x - width / 2, y + height / 2, x + width / 2


def overlap(box: Box, other: Box) -> float:
    """Intersection over union, 0…1, of two boxes (top, left, bottom, right)."""
    height = min(box[2], other[2]) - max(box[0], other[0])
    width = min(box[3], other[3]) - max(box[1], other[1])
    shared = max(height, 0) * max(width, 0)
    areas = [
        (bottom - top) * (right - left) for top, left, bottom, right in (box, other)
    ]
    return shared / (sum(areas) - shared)


def points_box(points: Sequence[Any]) -> Box:
    """The box around points given as x, y, x, y, ….

    Raises:
        InputError: for fewer than three points, half a point, or what is no number.
    """
    if len(points) < 6 or len(points) % 2 or not all(map(is_number, points)):
        raise InputError("outline is not a list of three or more points x, y")
    xs, ys = points[0::2], points[1::2]
    return min(ys), min(xs), max(ys), max(xs)


def union(boxes: Sequence[Box]) -> Box:
    """The box around boxes, of which there is one at least."""
    tops, lefts, bottoms, rights = zip(*boxes, strict=True)
    return min(tops), min(lefts), max(bottoms), max(rights)


def run_lengths(counts: Any) -> list[int]:
    """The run lengths of a COCO mask, of background and foreground in turn.

    A text is COCO's compressed form (`rleToString` in cocoapi's maskApi.c): little
    endian groups of five bits, bit 6 says that more follow, the last group's highest
    bit is the sign, and from the fourth number on the one two places before is added.
    It is decoded here and not by pycocotools, which reads past the end of damaged text.

    Args:
        counts: list of ints, or str.

    Raises:
        InputError: for anything else.
    """
    if isinstance(counts, list):
        runs = counts
    elif isinstance(counts, str):
        runs = _decompressed(counts)
    else:
        raise InputError("mask's counts are neither a list nor text")
    if not all(isinstance(run, int) and is_number(run) and run >= 0 for run in runs):
        raise InputError("mask's counts are not whole numbers of 0 and more")
    return runs


def runs_box(runs: Sequence[int], height: int, width: int) -> Box:
    """The box around the foreground of a mask, without painting the mask.

    Args:
        runs: see `run_lengths`; they go down the columns, from left to right.
        height, width: ints. The mask's size in pixels.

    Raises:
        InputError: if the runs do not fill the mask, or there is no foreground.
    """
    if sum(runs) != height * width:
        raise InputError(
            f"mask's counts fill {sum(runs)} pixels, its size is {width} × {height}"
        )
    boxes, start = [], 0
    for i, run in enumerate(runs):
        end = start + run
        if i % 2 and run:
            left, right = start // height, (end - 1) // height
            one_column = left == right
            top = start % height if one_column else 0
            bottom = (end - 1) % height + 1 if one_column else height
            boxes.append((top, left, bottom, right + 1))
        start = end
    if not boxes:
        raise InputError("mask is empty")
    return union(boxes)


def is_number(value: Any) -> bool:
    """Whether a value of JSON is a finite number."""
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and abs(value) < 1e300  # also refuses NaN, and integers beyond any float
    )


def _inside(low: float, high: float) -> float:
    """The share of low…high that lies in 0…1."""
    return max(0.0, min(high, 1.0) - max(low, 0.0)) / (high - low)


def _decompressed(text: str) -> list[int]:
    runs: list[int] = []
    value = shift = 0
    for character in text:
        group = ord(character) - _RLE_ZERO
        if not 0 <= group < 64 or shift > 60:
            raise InputError("mask's counts are not compressed run lengths")
        value |= (group & 0x1F) << shift
        shift += 5
        if group & 0x20:
            continue
        if group & 0x10:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = shift = 0
    if shift:
        raise InputError("mask's counts end too early")
    return runs
