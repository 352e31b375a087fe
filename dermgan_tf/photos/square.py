"""The eight positions of a square: mirrored, upside down, transposed.

A turn is an int, 0…7: bit 0 mirrors left and right, then bit 1 turns upside down, then
bit 2 transposes. It is defined for images of any shape, which a transpose lays on their
side.
"""

from collections.abc import Sequence

import numpy as np

TURNS = range(8)

# What makes upright what is stored in EXIF orientation 1…8 (EXIF 2.3, tag 274).
TURN_OF_EXIF = {1: 0, 2: 1, 3: 3, 4: 2, 5: 4, 6: 6, 7: 7, 8: 5}


def turned(image: np.ndarray, turn: int, axes: tuple[int, int] = (0, 1)) -> np.ndarray:
    """One of the eight positions of an image.

    Args:
        image: of any dtype, with rows and columns.
        turn: int, 0…7.
        axes: the axes of rows and of columns.

    Returns:
        A contiguous array.
    """
    rows, columns = axes
    if turn & 1:
        image = np.flip(image, columns)
    if turn & 2:
        image = np.flip(image, rows)
    if turn & 4:
        image = np.swapaxes(image, rows, columns)
    return np.ascontiguousarray(image)


def turn_back(turn: int) -> int:
    """The turn that undoes a turn."""
    if turn & 4:  # behind a transpose mirroring and turning upside down change places
        return 4 | (turn & 1) << 1 | (turn & 2) >> 1
    return turn


def turned_box(box: Sequence[float], turn: int) -> tuple[float, float, float, float]:
    """Where a box is after its image is turned.

    Args:
        box: (ymin, xmin, ymax, xmax), 0…1.
        turn: int, 0…7.
    """
    ymin, xmin, ymax, xmax = box
    if turn & 1:
        xmin, xmax = 1 - xmax, 1 - xmin
    if turn & 2:
        ymin, ymax = 1 - ymax, 1 - ymin
    if turn & 4:
        ymin, xmin, ymax, xmax = xmin, ymin, xmax, ymax
    return ymin, xmin, ymax, xmax
