"""Square windows around the ROIs of a photo: grouping, choosing, cutting.

After patent US20240119586A1: "crops a random window around an ROI or a group of
adjacent ROIs while removing the presence of background information". Needs NumPy and
OpenCV only, so that worker processes start quickly.
"""

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np

from dermgan_tf.semantic_map import Roi, box_pixels

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


def choose_window(
    group: Sequence[Roi],
    likely_skin: np.ndarray,
    height: int,
    width: int,
    rng: np.random.Generator,
    min_side: int = 1,
) -> Window:
    """Chooses a random window that contains a group of ROIs and shows much skin.

    The window always lies within the photo. A group longer than the photo's shorter
    side cannot be contained: the window is then the largest square, at a random place
    along the group.

    Args:
        group: at least one ROI.
        likely_skin: bool or float [h, w], the photo's skin (lesions included) at any
            resolution.
        height, width: ints. The photo's size in pixels.
        rng: where randomness comes from.
        min_side: int. The smallest side wanted, in pixels; a smaller photo wins.

    Returns:
        The window.
    """
    boxes = np.array([box_pixels(roi.box, height, width) for roi in group])
    low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    longer, shorter_side = int((high - low).max()), min(height, width)
    integral = cv2.integral(np.asarray(likely_skin, np.float32), sdepth=cv2.CV_64F)

    candidates, scores = [], []
    for _ in range(CANDIDATES):
        side = round(longer / rng.uniform(*PROMINENCE))
        side = min(max(side, longer, min_side), shorter_side)
        top = _draw_start(low[0], high[0], side, height, rng)
        left = _draw_start(low[1], high[1], side, width, rng)
        candidates.append(Window(top, left, side))
        scores.append(_mean_in_window(integral, candidates[-1], height, width))
    enough = max(scores) - TOLERANCE
    return next(w for w, s in zip(candidates, scores, strict=True) if s >= enough)


def random_window(
    side: int, height: int, width: int, rng: np.random.Generator
) -> Window:
    """A window of this side anywhere in the photo: what `choose_window` must beat."""
    return Window(
        int(rng.integers(0, height - side + 1)),
        int(rng.integers(0, width - side + 1)),
        side,
    )


def share_in_window(mask: np.ndarray, window: Window, height: int, width: int) -> float:
    """The mean of a mask (of any resolution) inside a window of the photo, 0…1."""
    integral = cv2.integral(np.asarray(mask, np.float32), sdepth=cv2.CV_64F)
    return _mean_in_window(integral, window, height, width)


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
    low: int, high: int, side: int, length: int, rng: np.random.Generator
) -> int:
    """The first row (or column) of a window that covers low…high, where it can."""
    margin = min(round(MARGIN * side), max(side - int(high - low), 0) // 2)
    low, high = max(int(low) - margin, 0), min(int(high) + margin, length)
    first, last = sorted((high - side, low))
    first, last = max(first, 0), min(last, length - side)
    return int(rng.integers(first, last + 1))


def _mean_in_window(
    integral: np.ndarray, window: Window, height: int, width: int
) -> float:
    rows, columns = integral.shape[0] - 1, integral.shape[1] - 1
    top, left, bottom, right = box_pixels(window.box(height, width), rows, columns)
    total = (
        integral[bottom, right]
        - integral[top, right]
        - integral[bottom, left]
        + integral[top, left]
    )
    return float(total) / ((bottom - top) * (right - left))
