"""The body in the photo: its outline, its shading, its hair, and where lesions fit."""

import dataclasses

import cv2
import numpy as np

from dermgan_tf.phantom import skin


@dataclasses.dataclass(frozen=True)
class Body:
    """A body part in the frame.

    Attributes:
        alpha: float32 [H, W], 1 on the body (bare or clothed), 0 on the background.
        clothing: float32 [H, W], 1 where clothing covers the body; None for none.
        hair: float32 [H, W], 1 where dense scalp hair grows; None for none.
        room: float32 [h, w], at a lower resolution: how far, in photo pixels, the
            nearest pixel is that is not bare skin (or scalp).
        normal: float32 [2, h, w], slopes of the body's surface, x and y.
    """

    alpha: np.ndarray
    clothing: np.ndarray | None
    hair: np.ndarray | None
    room: np.ndarray
    normal: np.ndarray


def body(kind: str, height: int, width: int, rng: np.random.Generator) -> Body:
    """Draws a body part: "close-up", "limb", "torso", "hand" or "scalp"."""
    m = min(height, width)
    stencil = np.zeros((height, width), np.uint8)
    angle = rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.array([width, height]) / 2 + rng.uniform(-0.08, 0.08, 2) * m

    def place(points):  # body coordinates (short side 1) to pixels
        return np.asarray(points) @ turn.T * m + middle

    clothing = hair = None
    if kind == "close-up":
        stencil[:] = 255
    elif kind == "limb":
        _fill(stencil, place(_limb(rng)))
    elif kind == "torso":
        _fill(stencil, place(_torso(rng)))
    elif kind == "hand":
        for start, end, thick in _hand(rng):
            ends = np.rint(place([start, end]) * 16).astype(int)
            cv2.line(stencil, ends[0].tolist(), ends[1].tolist(), 255,
                     max(round(thick * m), 1), cv2.LINE_AA, 4)  # fmt: skip
        stencil = cv2.GaussianBlur(stencil, (0, 0), 0.012 * m)
        # Sharp again: rounded where fingers meet.
        stencil = np.clip(4 * stencil.astype(np.float32) - 382, 0, 255).astype(np.uint8)
    else:
        hair = np.full((height, width), 1, np.float32)
        stencil[:] = 255
        if rng.random() < 0.55:  # the head's outline, forehead or nape bare
            stencil[:] = 0
            long, short = rng.uniform(0.80, 0.95), rng.uniform(0.62, 0.75)
            turns = np.linspace(0, 2 * np.pi, 80)
            rim = np.stack([long * np.cos(turns) - 0.1, short * np.sin(turns)], -1)
            _fill(stencil, place(rim))
            line = rng.uniform(-0.62, -0.45)
            y = np.linspace(-2, 2, 60)
            x = line - 0.12 * y**2 + 0.012 * rng.normal(0, 1, 60)
            bare = np.concatenate([np.stack([x, y], -1), [[-3, 2], [-3, -2]]])
            cut = np.zeros_like(stencil)
            _fill(cut, place(bare))
            hair -= cv2.GaussianBlur(cut, (0, 0), 0.008 * m).astype(np.float32) / 255
    if kind in ("limb", "torso") and rng.random() < 0.4:
        edge = rng.uniform(0.36, 0.5)
        y = np.linspace(-2, 2, 40)
        x = edge + 0.03 * np.sin(9 * y + rng.uniform(0, 6)) + 0.05 * y
        sleeve = np.zeros_like(stencil)
        _fill(sleeve, place(np.concatenate([np.stack([x, y], -1), [[4, 2], [4, -2]]])))
        clothing = sleeve.astype(np.float32) / 255
    alpha = stencil.astype(np.float32) / 255
    step = max(round(m / 120), 1)
    small = cv2.resize(
        stencil, (-(-width // step), -(-height // step)), interpolation=cv2.INTER_AREA
    )
    bare = small > 250
    if clothing is not None:
        covered = cv2.resize(clothing, small.shape[::-1], interpolation=cv2.INTER_AREA)
        bare &= covered < 0.02
    if hair is not None:
        haired = cv2.resize(hair, small.shape[::-1], interpolation=cv2.INTER_AREA)
        bare &= haired > 0.98
    room = np.minimum(_distance(bare) * step, float(height + width))
    return Body(alpha, clothing, hair, room, _slopes(small > 127, step, rng))


def _limb(rng) -> np.ndarray:
    x = np.linspace(-2.2, 2.2, 60)
    half = rng.uniform(0.29, 0.44) * (1 + rng.uniform(-0.12, 0.12) * x)
    sides = []
    for sign in (-1, 1):
        waves = rng.uniform(0.02, 0.06) * np.sin(
            x * rng.uniform(1.2, 2.4) + rng.uniform(0, 6)
        )
        bend = rng.uniform(-0.02, 0.02) * x**2
        sides.append(np.stack([x, sign * half * (1 + waves) + bend], -1)[::sign])
    return np.concatenate(sides)


def _torso(rng) -> np.ndarray:
    x = np.linspace(-2.2, 2.2, 60)
    y = -rng.uniform(0.26, 0.42) + 0.10 * np.sin(
        x * rng.uniform(1, 2) + rng.uniform(0, 6)
    )
    y += rng.uniform(0.02, 0.14) * x**2
    return np.concatenate([np.stack([x, y], -1), [[2.2, 3], [-2.2, 3]]])


def _hand(rng) -> list[tuple]:
    """Capsules (start, end, thickness): wrist, palm, four fingers and the thumb."""
    s = rng.uniform(1.0, 1.2)
    spread = rng.uniform(0.6, 1.4)
    parts = [((-0.25, 0), (-2.0, 0.0), 0.36), ((-0.16, 0.05), (0.06, 0.06), 0.42),
             ((-0.16, -0.06), (0.08, -0.06), 0.42)]  # fmt: skip
    lengths = (0.30, 0.38, 0.41, 0.35)
    for k, length in enumerate(lengths):
        y = -0.195 + 0.13 * k
        tip = (0.20 + length, y * (1 + 0.5 * spread))
        parts.append(((0.12, y), tip, 0.105))
    parts.append(((-0.12, 0.2), (0.17, 0.42), 0.125))
    side = rng.choice((-1, 1))
    return [
        (np.array(a) * (s, s * side), np.array(b) * (s, s * side), t * s)
        for a, b, t in parts
    ]


def _fill(stencil: np.ndarray, points: np.ndarray) -> None:
    cv2.fillPoly(stencil, [np.rint(points * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)


def _distance(mask: np.ndarray) -> np.ndarray:
    if mask.all():
        return np.full(mask.shape, 1e6, np.float32)
    return cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)


def _slopes(mask: np.ndarray, step: int, rng) -> np.ndarray:
    """The slopes of a body that is round across its outline, and softly uneven."""
    rows, columns = mask.shape
    uneven = cv2.resize(
        rng.normal(0, 1, (5, 6)).astype(np.float32), (columns, rows),
        interpolation=cv2.INTER_CUBIC,
    )  # fmt: skip
    z = 0.022 * min(rows, columns) * uneven
    if not mask.all():
        distance = _distance(mask)
        half = (
            min(max(np.percentile(distance[mask], 98), 4), 0.45 * min(rows, columns))
            if mask.any()
            else 4
        )
        t = np.clip(distance / half, 0, 1)
        z += (
            0.9
            * half
            * cv2.GaussianBlur(np.sqrt(t * (2 - t)), (0, 0), 0.06 * half + 0.5)
        )
    return np.stack(
        [cv2.Sobel(z, cv2.CV_32F, 1, 0) / 8, cv2.Sobel(z, cv2.CV_32F, 0, 1) / 8]
    )


def lighting(
    body: Body, light: tuple[float, float, float], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Light on the body and on the background behind it.

    Args:
        body: its slopes shade it.
        light: unit vector (x, y, z) towards the light; z towards the camera.
        rng: draws gradient, vignette and the flash.

    Returns:
        (on_body, on_background), float32 [H, W]. The mean of on_body over bare skin
        is the exposure, near 1, so that the skin keeps its colour.
    """
    rows, columns = body.room.shape
    x = np.linspace(-1, 1, columns, dtype=np.float32)
    y = np.linspace(-1, 1, rows, dtype=np.float32)[:, np.newaxis]
    slant = rng.uniform(0.0, 0.16)
    falling = 1 + np.float32(slant) * (x * light[0] + y * light[1])
    falling = falling * (1 - np.float32(rng.uniform(0.02, 0.16)) * 0.5 * (x**2 + y**2))
    if rng.random() < 0.35:  # the camera's flash
        cx, cy = rng.uniform(-0.5, 0.5, 2)
        falling += np.float32(rng.uniform(0.05, 0.16)) * np.exp(
            -((x - cx) ** 2 + (y - cy) ** 2) / 0.35
        )
    sx, sy = body.normal
    upright = 1 / np.sqrt(1 + sx**2 + sy**2)
    facing = np.clip((light[2] - sx * light[0] - sy * light[1]) * upright, 0, None)
    ambient = rng.uniform(0.40, 0.60)
    shade = falling * (ambient + (1 - ambient) * facing / light[2])
    shade *= 0.6 + 0.4 * upright  # less of the room's light reaches the sides
    bare = body.room > 0
    exposure = rng.uniform(0.95, 1.05)
    shade *= exposure / max(float(shade[bare].mean()) if bare.any() else 1.0, 0.2)
    size = body.alpha.shape[::-1]
    return (
        cv2.resize(shade.astype(np.float32), size, interpolation=cv2.INTER_LINEAR),
        cv2.resize(falling.astype(np.float32), size, interpolation=cv2.INTER_LINEAR),
    )


def body_hair(
    height: int, width: int, count: int, length: float, rng: np.random.Generator
) -> np.ndarray:
    """Single hairs, all leaning the same way: float32 [H, W], 0…1.

    Args:
        height, width: ints. The photo's size.
        count: int. How many hairs.
        length: float. Mean length as a share of the photo's short side.
        rng: draws them.
    """
    m = min(height, width)
    starts = rng.uniform(-0.05, 1.05, (count, 2)) * (width, height)
    # Neighbours lean alike: the direction drifts over the body.
    drift = rng.uniform(-1.2, 1.2, 2)
    lean = rng.uniform(0, 2 * np.pi) + starts / (width, height) @ drift
    lean += rng.normal(0, 0.30, count)
    lengths = length * m * rng.uniform(0.4, 1.5, count)
    bend = rng.normal(0, 0.7, count)
    steps = np.linspace(0, 1, 8)
    turns = lean[:, np.newaxis] + bend[:, np.newaxis] * steps
    paths = np.cumsum(
        np.stack([np.cos(turns), np.sin(turns)], -1) * (lengths / 8)[:, None, None], 1
    )
    paths += starts[:, np.newaxis]
    paths = np.rint(paths * 16).astype(np.int32)
    drawn = np.zeros((height, width), np.uint8)
    # The tip is finer than the root.
    cv2.polylines(drawn, list(paths), False, 130, 1, cv2.LINE_AA, 4)
    cv2.polylines(drawn, list(paths[:, :5]), False, 255, 1, cv2.LINE_AA, 4)
    strength = min(m / 480, 1.0)  # thinner than a pixel in small photos
    return drawn * np.float32(strength / 255)


def scalp_hair(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Dense combed hair: the strands' brightness, deviation 1, float32 [H, W]."""
    m = min(height, width)
    x = (np.arange(width, dtype=np.float32) - width / 2) * np.float32(480 / m)
    y = ((np.arange(height, dtype=np.float32) - height / 2) * np.float32(480 / m))[
        :, None
    ]
    angle = rng.uniform(0, 2 * np.pi)
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    across, along = c * x + s * y, c * y - s * x
    curl = np.float32(rng.uniform(-0.0012, 0.0012))
    across = across + curl * along * along
    wave = rng.uniform(0, 14)
    across += np.float32(wave) * np.sin(along * np.float32(rng.uniform(0.01, 0.03)))
    u0, v0 = rng.uniform(0, 1024, 2).astype(np.float32)
    return cv2.remap(skin.strand_tile(), across + u0, along + v0, cv2.INTER_LINEAR,
                     borderMode=cv2.BORDER_WRAP)  # fmt: skip
