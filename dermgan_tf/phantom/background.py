"""What lies behind the patient: cloth, blanket, wall, table, floor, and things."""

import cv2
import numpy as np

from dermgan_tf.phantom import skin

# sRGB colours of a clinic: drapes, gowns, blankets, walls, tables, floors.
_CLOTH = (
    (70, 120, 165), (50, 95, 120), (88, 140, 128), (205, 210, 212), (150, 158, 166),
    (44, 52, 74), (32, 32, 36), (150, 60, 70), (180, 160, 190), (222, 216, 200),
)  # fmt: skip
_BLANKET = (
    (170, 190, 205), (225, 220, 205), (120, 140, 110), (190, 150, 120), (140, 80, 90),
    (96, 112, 150), (200, 190, 160),
)  # fmt: skip
_WALL = (
    (225, 223, 215), (205, 212, 208), (190, 205, 216), (228, 216, 192), (175, 180, 182),
)  # fmt: skip
_WOOD = ((150, 105, 68), (185, 140, 92), (110, 74, 50), (205, 172, 130))
_FLOOR = ((160, 158, 150), (120, 128, 130), (176, 160, 138), (98, 104, 110))
_THINGS = (
    (235, 235, 235), (40, 42, 48), (30, 90, 160), (190, 50, 50), (60, 140, 90),
    (225, 190, 60), (160, 165, 170), (90, 60, 120),
)  # fmt: skip


def background(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """A cluttered background, out of focus.

    Returns:
        float32 [3, height, width], linear RGB.
    """
    # Blurred anyway, so drawn at half the resolution.
    rows, columns = (height + 1) // 2, (width + 1) // 2
    kind = rng.choice(5, p=(0.32, 0.18, 0.18, 0.17, 0.15))
    draw = (cloth, _blanket, _wall, _table, _floor)[kind]
    planes = draw(rows, columns, rng)
    image = np.ascontiguousarray(planes.transpose(1, 2, 0), np.float32)
    for _ in range(rng.integers(0, 4)):
        _thing(image, rng)
    image = cv2.GaussianBlur(image, (0, 0), max(0.004 * min(rows, columns), 0.3))
    planes = np.empty((3, height, width), np.float32)
    for c, small in enumerate(cv2.split(image)):
        planes[c] = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    return planes


def cloth(rows: int, columns: int, rng: np.random.Generator) -> np.ndarray:
    """Woven cloth with folds, plain or patterned; float32 [3, rows, columns]."""
    colour, second = _pick(_CLOTH, rng), _pick(_CLOTH, rng)
    x, y = _turned_grid(rows, columns, rng)
    pattern = rng.choice(4, p=(0.5, 0.2, 0.15, 0.15))
    pitch = rng.uniform(14, 40)
    mix = np.zeros((rows, columns), np.float32)
    if pattern == 1:  # stripes
        mix = _square_wave(x, pitch)
    elif pattern == 2:  # checks
        mix = 0.5 * (_square_wave(x, pitch) + _square_wave(y, pitch))
    elif pattern == 3:  # dots
        mix = ((np.cos(x * (6.28 / pitch)) + np.cos(y * (6.28 / pitch))) > 1.3) * 1.0
    folds = _stretched_noise(rows, columns, rng, 5)
    weave = 0.5 * np.sin(1.9 * x) * np.sin(1.9 * y)
    light = np.exp(0.20 * folds + 0.05 * weave).astype(np.float32)
    return _mixed(colour, second, mix.astype(np.float32)) * light


def _blanket(rows, columns, rng) -> np.ndarray:
    colour, second = _pick(_BLANKET, rng), _pick(_BLANKET, rng)
    scale = min(rows, columns) / 240
    knit = skin.cut(skin.cell_tile(14), rows, columns, rng, scale)
    folds = _stretched_noise(rows, columns, rng, 3)
    x, _ = _turned_grid(rows, columns, rng)
    mix = _square_wave(x, rng.uniform(70, 160)) * rng.integers(0, 2)
    light = np.exp(0.35 * (knit - 0.5) + 0.22 * folds).astype(np.float32)
    return _mixed(colour, second, mix) * light


def _wall(rows, columns, rng) -> np.ndarray:
    colour, second = _pick(_WALL, rng), _pick(_WALL + _FLOOR, rng)
    x, y = _turned_grid(rows, columns, rng, 0.1)
    mix = np.zeros_like(x)
    if rng.random() < 0.6:  # a corner, a door frame or a skirting board
        mix = ((x if rng.random() < 0.5 else y) > rng.uniform(-60, 60)).astype(
            np.float32
        )
    plaster = skin.cut(skin.cloud_tile(), rows, columns, rng, min(rows, columns) / 240)
    light = np.exp(0.03 * plaster + rng.uniform(-0.002, 0.002) * x)
    return _mixed(colour, second, mix) * light.astype(np.float32)


def _table(rows, columns, rng) -> np.ndarray:
    x, y = _turned_grid(rows, columns, rng)
    if rng.random() < 0.4:  # a sheet of paper on it, creased
        creases = skin.cut(
            skin.cell_tile(25), rows, columns, rng, min(rows, columns) / 90
        )
        light = np.exp(0.12 * (creases - 0.5)).astype(np.float32)
        return _mixed(_pick(((228, 230, 232),), rng), 0 * x, 0 * x) * light
    grain = _stretched_noise(rows, columns, rng, 0)
    planks = np.exp(-(np.abs(np.mod(y, 95) - 47) ** 2) / 3.0)
    light = np.exp(0.16 * grain - 0.6 * planks).astype(np.float32)
    return _mixed(_pick(_WOOD, rng), _pick(_WOOD, rng), 0 * x) * light


def _floor(rows, columns, rng) -> np.ndarray:
    x, y = _turned_grid(rows, columns, rng)
    pitch = rng.uniform(60, 130)
    lines = np.minimum(np.abs(np.mod(x, pitch) - pitch / 2),
                       np.abs(np.mod(y, pitch) - pitch / 2))  # fmt: skip
    grout = np.clip(2.2 - lines, 0, 1)
    checks = _square_wave(x, 2 * pitch) * rng.integers(0, 2)
    speckle = skin.cut(skin.cloud_tile(), rows, columns, rng, min(rows, columns) / 700)
    light = np.exp(0.10 * speckle - 0.6 * grout).astype(np.float32)
    return _mixed(_pick(_FLOOR, rng), _pick(_FLOOR, rng), checks) * light


def _thing(image: np.ndarray, rng) -> None:
    """A box, a cup seen from above, a pen or cable, with its shadow."""
    rows, columns = image.shape[:2]
    m = min(rows, columns)
    colour = [float(c) for c in _pick(_THINGS, rng)]
    x, y = rng.uniform(0, columns), rng.uniform(0, rows)
    size = rng.uniform(0.06, 0.22) * m
    aspect, angle = rng.uniform(0.4, 1.0), rng.uniform(0, 180)
    kind = rng.integers(0, 3)
    for dx, tone in ((0.012 * m, None), (0.0, colour)):
        stencil = np.zeros((rows, columns), np.uint8)
        place = (x + dx, y + dx)
        if kind == 0:
            corners = cv2.boxPoints((place, (2 * size, 2 * size * aspect), angle))
            cv2.fillConvexPoly(stencil, np.rint(corners * 16).astype(np.int32), 255,
                               cv2.LINE_AA, 4)  # fmt: skip
        elif kind == 1:
            cv2.ellipse(stencil, (place, (2 * size, 2 * size), 0), 255, -1, cv2.LINE_AA)
        else:
            way = np.array([np.cos(angle), np.sin(angle)]) * size * 2.5
            ends = [tuple(int(c) for c in np.array(place) + s * way) for s in (-1, 1)]
            cv2.line(stencil, *ends, 255, max(int(0.02 * m), 1), cv2.LINE_AA)
        where = stencil > 127
        if tone is None:
            image[where] *= 0.55
        else:
            image[where] = tone


def _pick(colours, rng) -> np.ndarray:
    colour = np.array(colours[rng.integers(0, len(colours))]) + rng.normal(0, 6, 3)
    return skin.to_linear(tuple(np.clip(colour, 5, 250)))


def _mixed(first, second, mix) -> np.ndarray:
    return np.stack([a + (b - a) * mix for a, b in zip(first, second, strict=False)])


def _turned_grid(rows, columns, rng, spread=np.pi) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates about the middle, turned at random; the short side is 240 long."""
    angle = rng.uniform(-spread, spread)
    scale = 240 / min(rows, columns)
    x = (np.arange(columns, dtype=np.float32) - columns / 2) * np.float32(scale)
    y = ((np.arange(rows, dtype=np.float32) - rows / 2) * np.float32(scale))[:, None]
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return c * x + s * y, c * y - s * x


def _square_wave(x, period) -> np.ndarray:
    return (np.mod(x, period) < period / 2).astype(np.float32)


def _stretched_noise(rows, columns, rng, smoothness) -> np.ndarray:
    """Noise drawn out in one direction: folds (smooth) or wood grain (0)."""
    scale = min(rows, columns) / 240
    if smoothness:
        grid = rng.normal(0, 1, (3 + smoothness, 14)).astype(np.float32)
        angle = rng.uniform(0, 180)
        size = int(1.5 * max(rows, columns)) + 2
        field = cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC)
        turn = cv2.getRotationMatrix2D((size / 2, size / 2), angle, 1)
        turn[:, 2] -= ((size - columns) / 2, (size - rows) / 2)
        return cv2.warpAffine(
            field, turn, (columns, rows), borderMode=cv2.BORDER_REFLECT
        )
    return skin.cut(skin.strand_tile(), rows, columns, rng, 2.5 * scale)
