"""Square windows of a photo: around its ROIs, of healthy skin, by shares of pathology.

Around ROIs after patent US20240119586A1: "crops a random window around an ROI or a
group of adjacent ROIs while removing the presence of background information". By shares
after Furger et al. 2020 ("Applications of GANs to Dermatologic Imaging"), who choose
patches by the least share of skin and of pathology pixels. Needs NumPy and OpenCV only,
so that worker processes start quickly.
"""

import dataclasses
import math
from collections.abc import Sequence

import cv2
import numpy as np

from dermgan_tf.errors import InputError
from dermgan_tf.photos.semantic_map import Roi, box_pixels

# The longer side of the group takes this share of the window's side, drawn anew for
# every candidate: prominent, yet with skin around it.
PROMINENCE = (0.25, 0.75)
# Between the group and the window's edge stays at least this share of the side, unless
# the photo itself ends there.
MARGIN = 0.05
# Two ROIs are adjacent when the gap between them is at most this share of the longer
# side of the larger one.
ADJACENT_GAP = 0.5
# Windows drawn per crop, and how far below the best share of skin a window may stay and
# still be taken: the first such one is, so that crops differ where all is skin.
CANDIDATES = 24
TOLERANCE = 0.03
# A window is of healthy skin if so much of it is likely skin.
HEALTHY_SKIN = 0.75
# Where there is no place for a window of the side that was asked for, smaller ones are
# tried, by this factor.
SMALLER = 0.8
# Rows and columns at a photo's edges in which less than this share of the pixels is
# brighter than this are padding: JPEG noise speckles black bars a little.
BLACK = 16
SPECKLE = 0.01
_STRIP = 8  # so many of them are looked at at once
# A box is dropped from a crop where less than this share of the smaller of the two, box
# and window, is visible.
SLIVER = 0.02


@dataclasses.dataclass(frozen=True)
class Window:
    """A square of whole pixels within a photo.

    Args:
        top, left: ints. The first row and column.
        side: int. Rows and columns, at least 1.
    """

    top: int
    left: int
    side: int

    def box(self, height: int, width: int) -> tuple[float, float, float, float]:
        """The window as [ymin, xmin, ymax, xmax], normalised by the photo's size."""
        return (
            self.top / height,
            self.left / width,
            (self.top + self.side) / height,
            (self.left + self.side) / width,
        )


class MaskMeans:
    """A mask, ready to be asked for its mean inside many windows.

    Args:
        mask: bool or float [h, w], at any resolution, or the MaskMeans of one.
        height, width: ints. The photo's size in pixels.
    """

    def __init__(self, mask: "np.ndarray | MaskMeans", height: int, width: int):
        self._height, self._width = height, width
        if isinstance(mask, MaskMeans):
            self._sums = mask._sums
            return
        mask = np.asarray(mask)
        # Sums of a bool mask are whole numbers: floats hold them exactly.
        kind = np.uint8 if mask.dtype == bool else np.float32
        self._sums = cv2.integral(mask.astype(kind), sdepth=cv2.CV_64F)

    def inside(self, window: Window) -> float:
        """The mean inside a window of the photo."""
        rows, columns = self._sums.shape[0] - 1, self._sums.shape[1] - 1
        box = window.box(self._height, self._width)
        top, left, bottom, right = box_pixels(box, rows, columns)
        at = self._sums.item
        total = at(bottom, right) - at(top, right) - at(bottom, left) + at(top, left)
        return total / ((bottom - top) * (right - left))


def group_rois(rois: Sequence[Roi], height: int, width: int) -> list[list[Roi]]:
    """Groups adjacent ROIs, the nearest first, while a group still fits a window.

    Two groups join only when the longer side of the joint bounding box stays within
    three quarters (the greatest prominence) of the photo's shorter side.

    Args:
        rois: the photo's ROIs.
        height, width: ints. The photo's size in pixels.

    Returns:
        The groups, in the order of their first ROI. Every ROI is in exactly one.
    """
    boxes = np.array([box_pixels(roi.box, height, width) for roi in rois], np.int64)
    boxes = boxes.reshape(-1, 4)
    longer = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0)
    # Chebyshev distance between boxes; negative where they overlap.
    starts = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    ends = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    gaps = (starts - ends).max(axis=2, initial=-(height + width))
    adjacent = gaps <= ADJACENT_GAP * np.maximum(longer[:, None], longer[None, :])
    first, second = np.nonzero(np.triu(adjacent, k=1))
    order = np.argsort(gaps[first, second], kind="stable")

    limit = PROMINENCE[1] * min(height, width)
    members = {i: [i] for i in range(len(boxes))}
    bounds = {i: boxes[i] for i in range(len(boxes))}
    group_of = list(range(len(boxes)))
    for i, j in zip(first[order], second[order], strict=True):
        a, b = sorted((group_of[i], group_of[j]))
        if a == b:
            continue
        low = np.minimum(bounds[a][:2], bounds[b][:2])
        high = np.maximum(bounds[a][2:], bounds[b][2:])
        if (high - low).max() > limit:
            continue
        bounds[a] = np.concatenate([low, high])
        for k in members[b]:
            group_of[k] = a
        members[a] += members.pop(b)
    return [[rois[k] for k in sorted(ks)] for _, ks in sorted(members.items())]


def unpadded_area(
    photo: np.ndarray, rois: Sequence[Roi] = ()
) -> tuple[int, int, int, int]:
    """The part of a photo inside black bars, and in any case all ROIs.

    Args:
        photo: np.uint8 [H, W, 3].
        rois: the photo's ROIs.

    Returns:
        (top, left, bottom, right) in pixels, bottom and right exclusive.
    """
    height, width = photo.shape[:2]
    rows = _bright_ends(photo, axis=0)
    columns = _bright_ends(photo, axis=1)
    if rows is None or columns is None:
        return 0, 0, height, width
    boxes = [box_pixels(roi.box, height, width) for roi in rois]
    tops, lefts, bottoms, rights = zip(
        (rows[0], columns[0], rows[1], columns[1]), *boxes, strict=True
    )
    return min(tops), min(lefts), max(bottoms), max(rights)


def choose_window(
    group: Sequence[Roi],
    likely_skin: np.ndarray | MaskMeans,
    height: int,
    width: int,
    rng: np.random.Generator,
    min_side: int = 1,
    area: tuple[int, int, int, int] | None = None,
) -> Window:
    """Chooses a random window that contains ROIs and shows much skin.

    It contains the whole group, or only one ROI of it: drawn anew for each candidate,
    so that a group with background between its ROIs is rarely taken whole.

    The window always lies within the photo. ROIs longer than the shorter side of
    `area` cannot be contained: the window is then the largest square, at a random place
    along them.

    Args:
        group: at least one ROI.
        likely_skin: bool or float [h, w], the photo's skin (lesions included) at any
            resolution, or its MaskMeans.
        height, width: ints. The photo's size in pixels.
        rng: where randomness comes from.
        min_side: int. The smallest side wanted, in pixels; a smaller area wins.
        area: (top, left, bottom, right) in pixels; where the window must lie. Contains
            the group. Default: the photo.

    Returns:
        The window.
    """
    boxes = np.array([box_pixels(roi.box, height, width) for roi in group])
    whole = np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])
    top, left, bottom, right = area or (0, 0, height, width)
    fits = (whole[2:] - whole[:2]).max() <= min(bottom - top, right - left)
    skin = MaskMeans(likely_skin, height, width)

    candidates, scores = [], []
    first = 0  # that is good enough, of those so far
    for _ in range(CANDIDATES):
        together = rng.random() < 0.5 and fits
        part = whole if together else boxes[rng.integers(len(boxes))]
        ymin, xmin, ymax, xmax = (int(edge) for edge in part)
        longer = max(ymax - ymin, xmax - xmin)
        side = round(longer / rng.uniform(*PROMINENCE))
        side = min(max(side, min_side), bottom - top, right - left)
        candidates.append(
            Window(
                _draw_start(ymin, ymax, side, top, bottom, rng),
                _draw_start(xmin, xmax, side, left, right, rng),
                side,
            )
        )
        scores.append(skin.inside(candidates[-1]))
        enough = max(scores) - TOLERANCE
        first = next(i for i in range(first, len(scores)) if scores[i] >= enough)
        if scores[first] >= 1 - TOLERANCE:  # no later one can be too good for it
            break
    return candidates[first]


def choose_healthy_window(
    rois: Sequence[Roi],
    likely_skin: np.ndarray | MaskMeans,
    height: int,
    width: int,
    side: int,
    rng: np.random.Generator,
    min_side: int = 1,
    area: tuple[int, int, int, int] | None = None,
) -> Window | None:
    """Chooses a random window of skin that stays clear of all ROIs.

    Between it and a ROI lies at least the margin that `choose_window` keeps. That the
    skin there is healthy is as true as that the ROIs are all there are.

    Args:
        rois: all ROIs of the photo.
        likely_skin: as of `choose_window`.
        height, width: ints. The photo's size in pixels.
        side: int. The side wanted, in pixels.
        rng: where randomness comes from.
        min_side: int. The smallest side that will do, in pixels.
        area: (top, left, bottom, right) in pixels; where the window must lie. Default:
            the photo.

    Returns:
        The window, at least three quarters of it likely skin; None if none was found.
    """
    top, left, bottom, right = area or (0, 0, height, width)
    boxes = np.array([box_pixels(roi.box, height, width) for roi in rois])
    boxes = boxes.reshape(-1, 4)
    skin = MaskMeans(likely_skin, height, width)
    side = min(side, bottom - top, right - left)
    while side >= max(min_side, 1):
        margin = round(MARGIN * side)
        best, best_share = None, HEALTHY_SKIN
        for _ in range(CANDIDATES):
            window = Window(
                int(rng.integers(top, bottom - side + 1)),
                int(rng.integers(left, right - side + 1)),
                side,
            )
            start = np.array([window.top, window.left])
            clear = (boxes[:, :2] >= start + side + margin) | (
                boxes[:, 2:] <= start - margin
            )
            if not clear.any(axis=1).all():
                continue
            share = skin.inside(window)
            if share >= 1 - TOLERANCE:
                return window
            if share >= best_share:
                best, best_share = window, share
        if best is not None:
            return best
        side = math.floor(side * SMALLER)
    return None


def random_window(
    side: int, height: int, width: int, rng: np.random.Generator
) -> Window:
    """A window of this side anywhere in the photo: what `choose_window` must beat."""
    return Window(
        int(rng.integers(0, height - side + 1)),
        int(rng.integers(0, width - side + 1)),
        side,
    )


def rois_in_window(
    rois: Sequence[Roi], window: Window, height: int, width: int
) -> list[Roi]:
    """The ROIs that a window shows, clipped to it, in the window's coordinates.

    Args:
        rois: all ROIs of the photo.
        window: the window.
        height, width: ints. The photo's size in pixels.

    Returns:
        The visible ROIs without slivers: a box of which less than 2 % (or which covers
        less than 2 % of the window, where the window is the smaller of the two) is seen
        is left out.
    """
    origin = np.array([window.top, window.left] * 2, np.float64)
    visible = []
    for roi in rois:
        box = (
            np.array(roi.box) * [height, width, height, width] - origin
        ) / window.side
        clipped = np.clip(np.round(box, 9), 0, 1)
        if (clipped[:2] >= clipped[2:]).any():
            continue
        smaller = min(np.prod(box[2:] - box[:2]), 1.0)
        if np.prod(clipped[2:] - clipped[:2]) >= SLIVER * smaller:
            visible.append(Roi(tuple(clipped.tolist()), roi.condition))
    return visible


def cut(photo: np.ndarray, window: Window, size: int) -> np.ndarray:
    """Cuts a window out of a photo and resizes it.

    Args:
        photo: np.uint8 [H, W, 3].
        window: a window within the photo.
        size: int. Rows and columns of the crop.

    Returns:
        np.uint8 [size, size, 3], area-averaged when shrinking, cubic when enlarging.
    """
    crop = photo[
        window.top : window.top + window.side, window.left : window.left + window.side
    ]
    if window.side == size:
        return crop.copy()
    method = cv2.INTER_AREA if window.side > size else cv2.INTER_CUBIC
    return cv2.resize(crop, (size, size), interpolation=method)


def _draw_start(
    low: int, high: int, side: int, start: int, end: int, rng: np.random.Generator
) -> int:
    """The first row (or column) of a window within start…end over low…high."""
    margin = min(round(MARGIN * side), max(side - (high - low), 0) // 2)
    low, high = max(low - margin, start), min(high + margin, end)
    first, last = sorted((high - side, low))
    first, last = max(first, start), min(last, end - side)
    return int(rng.integers(first, last + 1))


def _bright_ends(photo: np.ndarray, axis: int) -> tuple[int, int] | None:
    """The first bright row (or column) and the one behind the last; None for none.

    Looked for from both ends: most photos have no bars, and need no look at the rest.
    """
    length = photo.shape[axis]
    starts = range(0, length, _STRIP)

    def bright(start):
        strip = [slice(None), slice(None)]
        strip[axis] = slice(start, start + _STRIP)
        red, green, blue = cv2.split(np.ascontiguousarray(photo[tuple(strip)]))
        brightest = cv2.max(cv2.max(red, green), blue)
        return start + np.flatnonzero((brightest > BLACK).mean(axis=1 - axis) > SPECKLE)

    first = next((found[0] for found in map(bright, starts) if found.size), None)
    if first is None:
        return None
    last = next(found[-1] for found in map(bright, reversed(starts)) if found.size)
    return int(first), int(last) + 1


# Windows are looked for on a grid of this many steps a side; its origin is random.
GRID_STEPS = 16
# Sides that are tried for a window of a patch.
SIDES_TRIED = 8


@dataclasses.dataclass(frozen=True)
class Shares:
    """What a window has to show.

    Args:
        skin: (least, most) share of skin pixels, those of pathology included, 0…1.
        pathology: (least, most) share of pathology pixels, 0…1.

    Raises:
        InputError: for limits that are none.
    """

    skin: tuple[float, float]
    pathology: tuple[float, float]

    def __post_init__(self):
        for name in ("skin", "pathology"):
            least, most = getattr(self, name)
            if not 0 <= least <= most <= 1:
                raise InputError(
                    f"shares of {name} are two numbers, 0 to 1, the least first; got "
                    f"{least:g}, {most:g}"
                )


HEALTHY_SHARES = Shares(skin=(0.9, 1.0), pathology=(0.0, 0.0))
PATHOLOGY_SHARES = Shares(skin=(0.75, 1.0), pathology=(0.03, 0.5))


class PatchFinder:
    """Finds windows in one photo.

    Args:
        skin: bool [H, W], pathology included.
        pathology: bool [H, W].
        min_side: int. The least side of a window, in pixels; at most the photo's.
        rng: draws.
    """

    def __init__(
        self,
        skin: np.ndarray,
        pathology: np.ndarray,
        min_side: int,
        rng: np.random.Generator,
    ):
        self._sums = [
            cv2.integral(mask.astype(np.uint8)).astype(np.int64)
            for mask in (skin, pathology)
        ]
        self._size = skin.shape
        self._min_side = min_side
        self._rng = rng

    def find(self, shares: Shares, side: int | None = None) -> Window | None:
        """A random window that shows these shares; None where none was found.

        Args:
            shares: limits.
            side: int. The side wanted, in pixels; where no window of it will do,
                smaller ones are tried. By default sides are drawn between the least and
                the photo's shorter side, evenly in their logarithm.
        """
        sides: list[int] = []
        if side is None:
            low, high = np.log([self._min_side, min(self._size)])
            drawn = np.exp(self._rng.uniform(low, high, SIDES_TRIED))
            sides = [int(round(side)) for side in drawn]
        while side is not None and side >= self._min_side:
            sides.append(side)
            side = int(side * SMALLER)
        for side in sides:
            window = self._of_side(shares, side)
            if window is not None:
                return window
        return None

    def shares_in(self, window: Window) -> tuple[float, float]:
        """The shares of skin and of pathology pixels in a window, 0…1."""
        tops, lefts = np.array([window.top]), np.array([window.left])
        skin, pathology = self._shares(tops, lefts, window.side)
        return float(skin[0, 0]), float(pathology[0, 0])

    def _of_side(self, shares: Shares, side: int) -> Window | None:
        step = max(side // GRID_STEPS, 1)
        starts = []
        for length in self._size:
            room = length - side
            first = int(self._rng.integers(0, min(step, room + 1)))
            starts.append(np.arange(first, room + 1, step))
        found = np.ones((len(starts[0]), len(starts[1])), bool)
        limits = (shares.skin, shares.pathology)
        for share, (least, most) in zip(
            self._shares(*starts, side), limits, strict=True
        ):
            found &= (share >= least) & (share <= most)
        places = np.argwhere(found)
        if not len(places):
            return None
        row, column = places[self._rng.integers(len(places))]
        return Window(int(starts[0][row]), int(starts[1][column]), side)

    def _shares(self, tops, lefts, side: int) -> list[np.ndarray]:
        """Of all windows on a grid: [rows, columns], of skin and of pathology."""
        bottoms, rights = tops[:, np.newaxis] + side, lefts + side
        tops = tops[:, np.newaxis]
        return [
            (
                sums[bottoms, rights]
                - sums[tops, rights]
                - sums[bottoms, lefts]
                + sums[tops, lefts]
            )
            / side**2
            for sums in self._sums
        ]
