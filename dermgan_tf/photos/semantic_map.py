"""The semantic map: what the generator reads. Painted, read back, and its ROI mask.

A uint8 RGB image (after patent US20240119586A1): R holds the skin colour over the whole
image; G and B hold the condition inside its boxes and are 0 outside. With t the
Fitzpatrick skin type (0 = unknown), k the 0-based condition of K, and n = ceil(sqrt K):

    R = round(255 t / 6)
    G = round(255 (k // n + 1) / n)
    B = round(255 (k % n + 1) / n)
"""

import dataclasses
import math
from collections.abc import Sequence

import cv2
import numpy as np

from dermgan_tf.errors import InputError
from dermgan_tf.photos.vocabulary import HEALTHY, Vocabulary, composed

BOX_DECIMALS = 4  # a box's edge is read to a ten-thousandth of a pixel
MAX_SKIN_TYPE = 6  # Fitzpatrick VI; 0 stands for unknown
SKIN_TYPE_NAMES = ("unknown", "I", "II", "III", "IV", "V", "VI")


@dataclasses.dataclass(frozen=True)
class Roi:
    """A box around a visible condition.

    Args:
        box: (ymin, xmin, ymax, xmax), floats, normalised 0…1, ymin < ymax, xmin < xmax.
        condition: str. The condition's name.

    Raises:
        InputError: for a box that is not four finite numbers, lies outside 0…1, or is
            inverted or empty, and for healthy skin, which has no ROI.
    """

    box: tuple[float, float, float, float]
    condition: str

    def __post_init__(self):
        object.__setattr__(self, "box", checked_box(self.box))
        object.__setattr__(self, "condition", composed(self.condition))
        if self.condition == HEALTHY:
            raise InputError(f"{HEALTHY!r} has no box: it is what is outside of them")


def checked_box(box: Sequence[float]) -> tuple[float, float, float, float]:
    """Returns `box` as four floats; raises InputError when it is not a valid box."""
    shown = f"box {list(box) if isinstance(box, Sequence | np.ndarray) else box!r}"
    try:
        ymin, xmin, ymax, xmax = (float(value) for value in box)
    except (TypeError, ValueError):
        raise InputError(
            f"{shown} is not four numbers [ymin, xmin, ymax, xmax]"
        ) from None
    values = (ymin, xmin, ymax, xmax)
    if not all(math.isfinite(value) for value in values):
        raise InputError(f"{shown} has a value that is not finite")
    if min(values) < 0 or max(values) > 1:
        raise InputError(f"{shown} reaches outside 0…1")
    if ymin >= ymax or xmin >= xmax:
        raise InputError(
            f"{shown} is inverted or empty: want ymin < ymax and xmin < xmax"
        )
    return values


def box_pixels(
    box: Sequence[float], height: int, width: int
) -> tuple[int, int, int, int]:
    """The pixel rows and columns that a normalised box covers, at least one of each.

    Args:
        box: [ymin, xmin, ymax, xmax], 0…1.
        height, width: ints. The image's size in pixels.

    Returns:
        (top, left, bottom, right) with bottom and right exclusive: rows
        floor(ymin·H) … ceil(ymax·H) − 1.
    """
    ymin, xmin, ymax, xmax = (float(value) for value in box)
    top = min(math.floor(_pixels(ymin, height)), height - 1)
    left = min(math.floor(_pixels(xmin, width)), width - 1)
    bottom = min(max(math.ceil(_pixels(ymax, height)), top + 1), height)
    right = min(max(math.ceil(_pixels(xmax, width)), left + 1), width)
    return top, left, bottom, right


def _pixels(position: float, size: int) -> float:
    # A box made as pixel/size stays on its own pixels, also after a stay in float32.
    return round(position * size, BOX_DECIMALS)


def condition_code(index: int, num_conditions: int) -> tuple[int, int]:
    """The (G, B) values, 1…255, of condition `index` among `num_conditions`."""
    n = codes_per_channel(num_conditions)
    return (
        round(255 * (index // n + 1) / n),
        round(255 * (index % n + 1) / n),
    )


def codes_per_channel(num_conditions: int) -> int:
    """How many non-zero levels G and B have: n = ceil(sqrt(K))."""
    return math.isqrt(num_conditions - 1) + 1


def skin_type_code(fitzpatrick: int) -> int:
    """The R value of a Fitzpatrick skin type 0…6."""
    if isinstance(fitzpatrick, bool) or fitzpatrick not in range(MAX_SKIN_TYPE + 1):
        raise InputError(
            f"unknown Fitzpatrick skin type {fitzpatrick!r}; valid: 0 (unknown), 1…6"
        )
    return round(255 * int(fitzpatrick) / MAX_SKIN_TYPE)


def encode_semantic_map(
    size: int, fitzpatrick: int, rois: Sequence[Roi], vocabulary: Vocabulary
) -> np.ndarray:
    """Paints the semantic map of a square image.

    Smaller boxes are painted over larger ones; of equal ones, the later in `rois`.

    Args:
        size: int. Height and width in pixels, at least 1.
        fitzpatrick: int, 0…6; 0 = unknown.
        rois: the regions of interest; may be empty.
        vocabulary: the conditions that may be painted.

    Returns:
        np.uint8 [size, size, 3], RGB.

    Raises:
        InputError: for a condition that is not in `vocabulary` or a skin type outside
            0…6.
    """
    if size < 1:
        raise InputError(f"a semantic map has at least 1 pixel a side, got {size}")
    skin = skin_type_code(fitzpatrick)
    row = np.tile(np.array([skin, 0, 0], np.uint8), (size, 1))
    semantic_map = np.tile(row, (size, 1, 1))  # many times as fast as by channel
    painted = []
    for roi in rois:
        top, left, bottom, right = box_pixels(roi.box, size, size)
        code = condition_code(vocabulary.index(roi.condition), len(vocabulary))
        painted.append(
            ((bottom - top) * (right - left), top, left, bottom, right, code)
        )
    for _, top, left, bottom, right, code in sorted(painted, key=lambda p: -p[0]):
        row[left:right] = skin, *code
        semantic_map[top:bottom, left:right] = row[left:right]
    return semantic_map


def decode_semantic_map(
    semantic_map: np.ndarray, vocabulary: Vocabulary
) -> tuple[int, list[Roi]]:
    """Reads a semantic map back. Survives noise up to just under half a code step.

    Every connected region of one condition becomes the ROI of its bounding box: the
    round trip is exact for boxes on pixel borders that do not touch a box of the same
    condition and are not wholly or partly painted over.

    Args:
        semantic_map: np.uint8 [H, W, 3].
        vocabulary: the vocabulary that the map was painted with.

    Returns:
        (fitzpatrick, rois), the ROIs sorted by box.

    Raises:
        InputError: for another shape or dtype, or a code outside the vocabulary.
    """
    semantic_map = np.asarray(semantic_map)
    if semantic_map.ndim != 3 or semantic_map.shape[-1] != 3 or not semantic_map.size:
        raise InputError(
            f"a semantic map has shape [H, W, 3], got {list(semantic_map.shape)}"
        )
    if semantic_map.dtype != np.uint8:
        raise InputError(f"a semantic map is uint8, got {semantic_map.dtype}")
    height, width, _ = semantic_map.shape
    # The median over the image: the nearest type to most pixels.
    fitzpatrick = round(float(np.median(semantic_map[..., 0])) * MAX_SKIN_TYPE / 255)
    n = codes_per_channel(len(vocabulary))
    levels = np.rint(semantic_map[..., 1:].astype(np.float64) * n / 255).astype(int)
    inside = (levels > 0).all(axis=-1)
    codes = np.where(inside, (levels[..., 0] - 1) * n + levels[..., 1] - 1, -1)
    rois = []
    for k in np.unique(codes[inside]):
        if k >= len(vocabulary):
            raise InputError(
                f"condition code {k} in the map, but the vocabulary has "
                f"{len(vocabulary)} conditions: another vocabulary painted it"
            )
        region = (codes == k).astype(np.uint8)
        _, _, stats, _ = cv2.connectedComponentsWithStats(region, connectivity=4)
        for left, top, columns, rows, _ in stats[1:]:
            rois.append(
                Roi(
                    (
                        top / height,
                        left / width,
                        (top + rows) / height,
                        (left + columns) / width,
                    ),
                    vocabulary.conditions[k],
                )
            )
    return fitzpatrick, sorted(rois, key=lambda roi: roi.box)


def roi_mask(semantic_map):
    """The ROI mask of one map or a batch: 1 where G > 0 or B > 0.

    Args:
        semantic_map: uint8 [..., H, W, 3], a NumPy array or a tensor of any backend.

    Returns:
        float32 [..., H, W, 1], of the same kind as the input.
    """
    if isinstance(semantic_map, np.ndarray):
        return (semantic_map[..., 1:].max(axis=-1, keepdims=True) > 0).astype("float32")
    from keras import ops  # Keras is slow to import, and NumPy users need none of it

    return ops.cast(
        ops.max(semantic_map[..., 1:], axis=-1, keepdims=True) > 0, "float32"
    )
