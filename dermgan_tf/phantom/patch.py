"""The piece of a photo in which one lesion is painted, in the lesion's own coordinates.

Painters draw the same random numbers whatever the photo's size or the lesion's place
in it, so that every photo of a case shows the same lesion.
"""

from collections.abc import Iterator

import cv2
import numpy as np

from dermgan_tf.phantom import skin

MARGIN = 1.35  # a patch reaches this many lesion radii from the centre


class Canvas:
    """What lesions are painted on: float32 [H, W] layers of one photo.

    Attributes:
        melanin, haemoglobin: amounts, as in `skin.reflectance`.
        relief: height in pixels.
        covers: (rows, columns, colour, opacity) of opaque matter (scale, crust, pus),
            in the order of painting.
    """

    def __init__(
        self, melanin: np.ndarray, haemoglobin: np.ndarray, relief: np.ndarray
    ):
        self.melanin = melanin
        self.haemoglobin = haemoglobin
        self.relief = relief
        self.covers: list[tuple[slice, slice, np.ndarray, np.ndarray]] = []


class Patch:
    """One lesion's window on the canvas.

    Args:
        canvas: the photo's layers.
        centre: (x, y) of the lesion in pixels.
        radius: float. Half the lesion's longest extent, in pixels.
        angle: float. The lesion's turn in the photo, radians.
        light: (x, y). Unit vector in the photo towards the light.
        melanin: float. The person's melanin, to adapt strengths to dark skin.

    Attributes:
        u, v: float32 [h, w], coordinates in lesion radii; the lesion lies within 1.
        melanin, haemoglobin, relief: float32 [h, w] views of the canvas.
        light: as the argument, in lesion coordinates.
        darkness: float, 0 (type I) … 1 (type VI).
        mask: bool [h, w], the visible lesion; painters set it.
        hair: float32 [h, w], how much scalp hair is left, 0…1; painters may set it.
    """

    def __init__(self, canvas, centre, radius, angle, light, melanin):
        height, width = canvas.melanin.shape
        x, y = centre
        reach = MARGIN * radius
        self.rows = slice(max(int(y - reach), 0), min(int(y + reach) + 2, height))
        self.columns = slice(max(int(x - reach), 0), min(int(x + reach) + 2, width))
        dx = (np.arange(self.columns.start, self.columns.stop) + 0.5 - x) / radius
        dy = (np.arange(self.rows.start, self.rows.stop) + 0.5 - y) / radius
        cos, sin = np.cos(angle), np.sin(angle)
        self.u = (dx * cos + dy[:, np.newaxis] * sin).astype(np.float32)
        self.v = (dy[:, np.newaxis] * cos - dx * sin).astype(np.float32)
        self.radius = radius
        self.light = (light[0] * cos + light[1] * sin, light[1] * cos - light[0] * sin)
        self.darkness = min(max((melanin - 0.26) / 2.6, 0.0), 1.0)
        self.melanin = canvas.melanin[self.rows, self.columns]
        self.haemoglobin = canvas.haemoglobin[self.rows, self.columns]
        self.relief = canvas.relief[self.rows, self.columns]
        self.mask = np.zeros(self.u.shape, bool)
        self.hair: np.ndarray | None = None
        self._canvas = canvas
        self._origin = (x - self.columns.start, y - self.rows.start)
        self._turn = (cos, sin)

    def noise(self, rng: np.random.Generator, frequency: float) -> np.ndarray:
        """Cloudy noise, deviation 1; the largest clouds are 2/frequency radii long."""
        return self._sample(skin.cloud_tile(), rng, 64 * frequency)

    def cells(self, rng: np.random.Generator, frequency: float) -> np.ndarray:
        """Plates between furrows, 0…1; `frequency` of them to a lesion radius."""
        return self._sample(skin.cell_tile(25), rng, 25 * frequency)

    def outline(
        self,
        rng: np.random.Generator,
        wobble: float,
        stretch: float = 1.0,
        rough: float = 0.0,
        waves: tuple[int, int] = (2, 7),
    ) -> np.ndarray:
        """A closed shape: 1 at its centre, 0 on its border, negative outside.

        Args:
            rng: draws the shape.
            wobble: float. How far the border departs from an ellipse, about 0…0.4.
            stretch: float. Length over width.
            rough: float. Fine raggedness of the border.
            waves: (fewest, most + 1) waves around the border.
        """
        counts = np.arange(*waves)
        strengths = rng.normal(0, 1.6, counts.size) / counts
        phases = rng.uniform(0, 2 * np.pi, counts.size)
        angles = np.arange(1024) * (2 * np.pi / 1024)
        border = (strengths * np.sin(np.multiply.outer(angles, counts) + phases)).sum(1)
        border = np.exp(wobble * border).astype(np.float32)
        # The longest extent is the lesion's radius, also after stretching.
        reach = border * np.hypot(np.cos(angles), np.sin(angles) / stretch)
        border /= reach.max() * (1 + rough)
        radius, angle = cv2.cartToPolar(self.u, self.v * np.float32(stretch))
        index = (angle * np.float32(1024 / (2 * np.pi))).astype(np.int32) & 1023
        shape = 1 - radius / border[index]
        if rough:
            shape += np.float32(rough) * np.clip(self.noise(rng, 3.0), -1.5, 1.5)
        return shape

    def merged(
        self,
        rng: np.random.Generator,
        count: int,
        spread: float,
        rough: float = 0.0,
        sizes: tuple[float, float] = (0.28, 0.7),
    ) -> np.ndarray:
        """A shape grown together from discs: its border bulges outwards.

        Args:
            rng: draws the discs.
            count: int. How many.
            spread: float. How far apart, 0…1; small gives a round shape.
            rough: float. Fine raggedness of the border.
            sizes: (smallest, largest) disc, relative to each other and to `spread`.

        Returns:
            As `outline`.
        """
        sizes = rng.uniform(*sizes, count)
        steps = rng.normal(0, spread, (count, 2))
        # Each disc overlaps the one before, so that the shape is in one piece.
        longest = 0.7 * (sizes + np.roll(sizes, 1))
        steps *= np.minimum(1, longest / np.hypot(*steps.T))[:, np.newaxis]
        places = np.cumsum(steps, 0)
        # The smallest circle around all, nearly: the discs shall fill the radius.
        places -= (places.max(0) + places.min(0)) / 2
        reach = (np.hypot(*places.T) + sizes).max() * (1 + rough)
        places, sizes = places / reach, sizes / reach
        total = np.zeros(self.u.shape, np.float32)
        sharpness = np.float32(12)
        for (x, y), size in zip(places.astype(np.float32), sizes, strict=True):
            distance = cv2.magnitude(self.u - x, self.v - y)
            total += np.exp(sharpness * (np.float32(size) - distance))
        # A soft maximum, lowered so that overlapping discs do not grow.
        shape = (np.log(total) - np.float32(0.25)) / sharpness / np.float32(sizes.max())
        if rough:
            shape += np.float32(rough) * np.clip(self.noise(rng, 3.0), -1.5, 1.5)
        return shape

    def spots(
        self, places: np.ndarray, radii: np.ndarray, *others: np.ndarray
    ) -> Iterator[tuple]:
        """Small windows around spots.

        Args:
            places: float [n, 2], centres in lesion coordinates.
            radii: float [n], in lesion radii.
            *others: [n] each, handed back beside each spot.

        Yields:
            (window, distance, *others): index of the window in the patch, the distance
            from the spot's centre in spot radii, float32, up to about 2, and the rest.
        """
        centres = self._pixels(places)
        for (x, y), size, *rest in zip(centres, radii, *others, strict=True):
            pixels = max(size * self.radius, 0.7)
            rows = slice(max(int(y - 2 * pixels), 0), max(int(y + 2 * pixels) + 2, 0))
            columns = slice(
                max(int(x - 2 * pixels), 0), max(int(x + 2 * pixels) + 2, 0)
            )
            height, width = self.u[rows, columns].shape
            if not height or not width:
                continue
            dx = np.arange(width, dtype=np.float32) + np.float32(
                columns.start + 0.5 - x
            )
            dy = np.arange(height, dtype=np.float32) + np.float32(rows.start + 0.5 - y)
            distance = np.sqrt(dx * dx + (dy * dy)[:, np.newaxis])
            yield (rows, columns), distance / np.float32(pixels), *rest

    def strokes(self, lines: list[np.ndarray], width: float) -> np.ndarray:
        """Thin lines, float32 [h, w], 0…1.

        Args:
            lines: each float [n, 2], points in lesion coordinates.
            width: float. In lesion radii.
        """
        drawn = np.zeros(self.u.shape, np.uint8)
        points = [np.rint(self._pixels(line) * 16).astype(np.int32) for line in lines]
        pixels = width * self.radius
        cv2.polylines(
            drawn, points, False, 255, max(round(pixels), 1), cv2.LINE_AA, shift=4
        )
        return drawn * np.float32(min(pixels, 1.0) / 255)

    def hull(self, places: np.ndarray, radii: np.ndarray) -> np.ndarray:
        """The convex hull of round spots, bool [h, w]."""
        angles = np.arange(16) * (np.pi / 8)
        ring = np.stack([np.cos(angles), np.sin(angles)], -1)
        points = places[:, np.newaxis] + radii[:, np.newaxis, np.newaxis] * ring
        points = self._pixels(points.reshape(-1, 2)).astype(np.float32)
        drawn = np.zeros(self.u.shape, np.uint8)
        outline = np.rint(cv2.convexHull(points) * 16).astype(np.int32)
        cv2.fillConvexPoly(drawn, outline, 1, shift=4)
        return drawn > 0

    def raise_by(self, height: np.ndarray, window=...) -> None:
        """Adds to the relief; `height` in lesion radii."""
        self.relief[window] += np.float32(self.radius) * height

    def cover(self, colour, opacity: np.ndarray, window=None) -> None:
        """Lays opaque matter on the skin.

        Args:
            colour: linear RGB, 0…1.
            opacity: float32, 0…1, of the patch's or the window's shape.
            window: index in the patch; None = the whole of it.
        """
        rows, columns = self.rows, self.columns
        if window is not None:
            height, width = opacity.shape
            top = rows.start + window[0].start
            left = columns.start + window[1].start
            rows, columns = slice(top, top + height), slice(left, left + width)
        self._canvas.covers.append(
            (rows, columns, np.asarray(colour, np.float32), opacity.astype(np.float32))
        )

    def _sample(self, tile, rng, pixels_per_radius):
        u0, v0 = rng.uniform(0, len(tile), 2)
        scale = np.float32(pixels_per_radius)
        return cv2.remap(
            tile,
            self.u * scale + np.float32(u0),
            self.v * scale + np.float32(v0),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_WRAP,
        )

    def _pixels(self, places: np.ndarray) -> np.ndarray:
        """Lesion coordinates [n, 2] to pixels of the patch, (x, y)."""
        cos, sin = self._turn
        u, v = np.asarray(places, np.float64).T * self.radius
        return np.stack(
            [u * cos - v * sin + self._origin[0], u * sin + v * cos + self._origin[1]],
            -1,
        )


def ramp(value: np.ndarray, low: float, high: float) -> np.ndarray:
    """Rises smoothly from 0 at `low` to 1 at `high`."""
    t = np.clip((value - np.float32(low)) * np.float32(1 / (high - low)), 0, 1)
    return t * t * (3 - 2 * t)


def bump(value: np.ndarray, low: float, peak: float, high: float) -> np.ndarray:
    """Rises smoothly from 0 at `low` to 1 at `peak` and falls to 0 at `high`."""
    return ramp(value, low, peak) * (1 - ramp(value, peak, high))


def dome(shape: np.ndarray) -> np.ndarray:
    """The height of a round cap over a shape: 1 at its centre, 0 on its border."""
    inside = np.clip(shape, 0, 1)
    return np.sqrt(inside * (2 - inside))


def scattered(
    rng: np.random.Generator, count: int, apart: float, reach: float = 0.85
) -> np.ndarray:
    """Up to `count` points in the unit disc, at least `apart` apart; float [n, 2]."""
    points = np.empty((0, 2))
    for _ in range(6 * count):
        if len(points) == count:
            break
        point = rng.uniform(-1, 1, 2) * reach
        if np.hypot(*point) > reach:
            continue
        if len(points) and np.hypot(*(points - point).T).min() < apart:
            continue
        points = np.vstack([points, point])
    return points
