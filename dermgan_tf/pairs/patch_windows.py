"""Square windows by how much skin and how much pathology they show.

After Furger et al. 2020 ("Applications of GANs to Dermatologic Imaging"), who choose
patches by the least share of skin and of pathology pixels. Needs NumPy and OpenCV only,
so that worker processes start quickly.
"""

import dataclasses

import cv2
import numpy as np

from dermgan_tf.errors import InputError
from dermgan_tf.pairs.windows import Window

# Windows are looked for on a grid of this many steps a side; its origin is random.
GRID_STEPS = 16
# Sides that are tried for a window; and how much smaller each next one is, where a side
# was asked for.
SIDES_TRIED = 8
SMALLER = 0.8


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
