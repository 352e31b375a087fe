"""Draws one photo of a case: body, lesions, light, background, camera."""

import dataclasses

import cv2
import numpy as np

from dermgan_tf.errors import InputError
from dermgan_tf.phantom import background, scene, skin
from dermgan_tf.phantom.cases import PhantomCase
from dermgan_tf.phantom.conditions import LOOKS
from dermgan_tf.phantom.patch import Canvas, Patch
from dermgan_tf.photos.semantic_map import Roi
from dermgan_tf.photos.vocabulary import Vocabulary

MIN_SIDE = 64  # pixels

_HAIR_COLOURS = (
    (35, 27, 22),
    (62, 42, 30),
    (96, 70, 48),
    (150, 118, 80),
    (120, 118, 115),
)


@dataclasses.dataclass(frozen=True)
class PhantomPhoto:
    """A drawn photo and all that is known of it.

    Args:
        photo: np.uint8 [H, W, 3], sRGB, upright.
        rois: the tight boxes of the visible lesions.
        condition: str.
        fitzpatrick: int, 1…6.
        case_id: str.
        photo_index: int.
        skin_mask: bool [H, W], bare skin, lesions included.
        lesion_mask: bool [H, W], the lesions.
        exif_orientation: int, 1…8: how a camera would have stored the photo.
    """

    photo: np.ndarray
    rois: tuple[Roi, ...]
    condition: str
    fitzpatrick: int
    case_id: str
    photo_index: int
    skin_mask: np.ndarray
    lesion_mask: np.ndarray
    exif_orientation: int


@dataclasses.dataclass(frozen=True)
class _Lesion:
    place: np.ndarray  # (x, y) on the body, in photo widths, the first at (0, 0)
    radius: float  # in photo widths at the ordinary distance
    seed: int


def draw_photo(
    case: PhantomCase,
    photo_index: int,
    vocabulary: Vocabulary,
    size: tuple[int, int] = (480, 640),
    healthy: bool = False,
) -> PhantomPhoto:
    """Draws a photo: a pure function of its arguments.

    All photos of a case show the same person and the same lesions, from another
    distance and side, in other light, before another background.

    Args:
        case: from `case_plan`.
        photo_index: int, 0 or more.
        vocabulary: must hold the case's condition.
        size: (height, width) in pixels, each at least 64.
        healthy: bool. Whether the lesions are left out and all else is as it was: the
            true healthy twin of the photo. It has no ROIs and an empty lesion mask.

    Raises:
        InputError: for a condition outside the vocabulary, or a bad size.
    """
    vocabulary.index(case.condition)
    height, width = size
    if min(height, width) < MIN_SIDE:
        raise InputError(
            f"a phantom photo has at least {MIN_SIDE} pixels a side, "
            f"got {height} × {width}"
        )
    look = LOOKS[case.condition]
    person = _rng(case, 0)
    melanin, haemoglobin = skin.skin_pigments(case.fitzpatrick, person)
    hair_colour, hairiness = _hair(case.fitzpatrick, person)
    freckled = person.random() < (0.4 if melanin < 0.6 else 0.08)
    lesions = _plan_lesions(look, _rng(case, 1))

    view = _rng(case, 2, photo_index)
    zoom = float(np.exp(view.normal(0.0, 0.38)))
    kind = _body_kind(look.site, zoom, view)
    body = scene.body(kind, height, width, view)
    azimuth = view.uniform(0, 2 * np.pi)
    tilt = view.uniform(0.35, 0.75)
    light = (
        np.cos(azimuth) * np.sin(tilt),
        np.sin(azimuth) * np.sin(tilt),
        np.cos(tilt),
    )
    orientation = _orientation(view)
    placed = _place(lesions, zoom, body, height, width, view)

    texture = _rng(case, 3, photo_index)
    canvas = _bare_skin(height, width, melanin, haemoglobin, freckled, zoom, texture)
    lesion_mask = np.zeros((height, width), bool)
    bare = body.alpha > 0.5
    if body.clothing is not None:
        bare &= body.clothing < 0.5
    if body.hair is not None:
        canvas_hair = body.hair
    rois = []
    # Lesions draw from seeds of their own, so that nothing else misses them.
    for lesion, centre, radius, angle in [] if healthy else placed:
        patch = Patch(canvas, centre, radius, angle, light[:2], melanin)
        look.paint(patch, np.random.default_rng(lesion.seed))
        window = (patch.rows, patch.columns)
        mask = _main_part(patch.mask & bare[window])
        if not mask.any():
            continue
        if patch.hair is not None and body.hair is not None:
            np.minimum(canvas_hair[window], patch.hair, out=canvas_hair[window])
        lesion_mask[window] |= mask
        rois.append(Roi(_box(mask, patch, height, width), case.condition))

    np.maximum(canvas.melanin, 0, out=canvas.melanin)
    np.maximum(canvas.haemoglobin, 0, out=canvas.haemoglobin)
    planes = skin.reflectance(canvas.melanin, canvas.haemoglobin)
    for rows, columns, colour, opacity in canvas.covers:
        for c in range(3):
            part = planes[c, rows, columns]
            part += opacity * (colour[c] - part)
    if hairiness and body.hair is None:
        strands = scene.body_hair(height, width, hairiness, 0.08 * zoom**0.7, texture)
        _blend(planes, hair_colour, 0.6 * strands)

    on_body, on_background = scene.lighting(body, light, view)
    kernel = np.outer([0.25, 0.5, 0.25], [-0.5, 0, 0.5])
    kernel = -(light[0] * kernel + light[1] * kernel.T).astype(np.float32)
    # filter2D correlates: a slope that rises towards the light faces away from it.
    facing = cv2.filter2D(canvas.relief, cv2.CV_32F, kernel)
    facing *= np.float32(1.1)
    facing += 1
    np.clip(facing, 0.45, 1.55, out=facing)
    facing *= on_body
    planes *= facing
    if body.hair is not None:
        _grow_scalp_hair(planes, canvas_hair, hair_colour, on_body, texture)
        bare &= canvas_hair < 0.5
    if body.clothing is not None:
        _dress(planes, body.clothing, on_body, view)
    if kind != "close-up":
        behind = background.background(height, width, _rng(case, 4, photo_index))
        _lay_over(planes, behind, body.alpha, on_background, light)
    gains = np.exp(view.normal(0, (0.010, 0.004, 0.018))).astype(np.float32)
    planes *= gains[:, np.newaxis, np.newaxis]
    photo = _camera(planes, view)
    return PhantomPhoto(
        photo=photo,
        rois=tuple(rois),
        condition=case.condition,
        fitzpatrick=case.fitzpatrick,
        case_id=case.case_id,
        photo_index=photo_index,
        skin_mask=bare | lesion_mask,
        lesion_mask=lesion_mask,
        exif_orientation=orientation,
    )


def _rng(case: PhantomCase, *purpose: int) -> np.random.Generator:
    return np.random.default_rng([case.seed, case.index, *purpose])


def _hair(fitzpatrick: int, rng) -> tuple[np.ndarray, int]:
    shares = (
        (0.05, 0.20, 0.25, 0.40, 0.10),
        (0.10, 0.30, 0.30, 0.20, 0.10),
        (0.30, 0.40, 0.20, 0.00, 0.10),
        (0.60, 0.30, 0.00, 0.00, 0.10),
        (0.80, 0.10, 0.00, 0.00, 0.10),
        (0.90, 0.00, 0.00, 0.00, 0.10),
    )[fitzpatrick - 1]
    colour = skin.to_linear(_HAIR_COLOURS[rng.choice(5, p=shares)])
    count = int(rng.choice((0, 60, 160, 420), p=(0.35, 0.3, 0.22, 0.13)))
    return colour, count


def _plan_lesions(look, rng) -> list[_Lesion]:
    low, high = look.size
    count = int(rng.integers(look.count[0], look.count[1] + 1))
    main = 0.5 * np.exp(rng.uniform(np.log(low), np.log(high)))
    lesions = [_Lesion(np.zeros(2), main, int(rng.integers(2**62)))]
    for _ in range(count - 1):
        radius = main * rng.uniform(0.55, 1.0)
        seed = int(rng.integers(2**62))
        for _ in range(12):
            reach = rng.uniform(2.1, 4.5) * main
            turn = rng.uniform(0, 2 * np.pi)
            place = reach * np.array([np.cos(turn), np.sin(turn)])
            if all(
                np.hypot(*(place - other.place)) > 1.2 * (radius + other.radius)
                for other in lesions
            ):
                lesions.append(_Lesion(place, radius, seed))
                break
    return lesions


def _body_kind(site: str, zoom: float, rng) -> str:
    draw = rng.random()
    if site == "scalp":
        return "scalp"
    close = 0.85 if zoom > 1.5 else 0.35 if zoom > 0.9 else 0.1
    if draw < close:
        return "close-up"
    rest = (draw - close) / (1 - close)
    return "limb" if rest < 0.45 else "torso" if rest < 0.8 else "hand"


def _orientation(rng) -> int:
    turned, kind = rng.random() < 0.2, rng.random()
    mirrored = int(rng.choice((2, 4, 5, 7)))
    if not turned:
        return 1
    return 6 if kind < 0.38 else 8 if kind < 0.66 else 3 if kind < 0.84 else mirrored


def _place(lesions, zoom, body, height, width, rng) -> list[tuple]:
    """Chooses the camera so that the first lesion is seen; others where they fit.

    Returns:
        (lesion, (x, y), radius, angle), in pixels and radians.
    """
    draws = rng.uniform(0, 1, (40, 2))
    angle = rng.uniform(0, 2 * np.pi)
    shrink = rng.uniform(0.75, 0.95)
    step = height / body.room.shape[0]
    most = 0.44 * min(height, width)
    room = float(body.room.max())
    # At least 5 % of the photo's width, and never wider than the skin.
    radius = max(lesions[0].radius * zoom * width, 0.025 * width)
    radius = max(min(radius, most, shrink * room), 1.5)
    scale = radius / lesions[0].radius
    inset = min(1.05 * radius, 0.49 * min(height, width))
    best, score = None, -np.inf
    for dx, dy in draws:
        x = inset + dx * (width - 2 * inset)
        y = inset + dy * (height - 2 * inset)
        free = _room_at(body.room, x, y, step) - 1.02 * radius
        # Any place with room will do; the middle is a little likelier.
        off = np.hypot((x - width / 2) / width, (y - height / 2) / height)
        value = min(free, 0) * 10 - off + 0.6 * rng.random()
        if value > score:
            best, score = (x, y), value
    if _room_at(body.room, *best, step) < radius:
        row, column = np.unravel_index(np.argmax(body.room), body.room.shape)
        best = ((column + 0.5) * step, (row + 0.5) * step)
    cos, sin = np.cos(angle), np.sin(angle)
    placed = []
    for lesion in lesions:
        px, py = lesion.place * scale
        x, y = best[0] + px * cos - py * sin, best[1] + px * sin + py * cos
        r = lesion.radius * scale
        if placed:
            inside = min(x, y, width - x, height - y) > 0.5 * r
            if not inside or _room_at(body.room, x, y, step) < 1.02 * r:
                continue
        placed.append((lesion, (x, y), r, angle + lesion.seed % 628 / 100))
    return placed


def _room_at(room, x, y, step) -> float:
    row = min(max(int(y / step), 0), room.shape[0] - 1)
    column = min(max(int(x / step), 0), room.shape[1] - 1)
    return float(room[row, column])


def _bare_skin(height, width, melanin, haemoglobin, freckled, zoom, rng) -> Canvas:
    scale = min(height, width) / 480
    mottle = skin.cut(skin.cloud_tile(), height, width, rng, 1.5 * scale)
    blush = skin.cut(skin.cloud_tile(), height, width, rng, 2.5 * scale)
    coarseness = 0 if zoom < 0.85 else 1 if zoom < 1.5 else 2
    relief = skin.cut(skin.furrow_tile(coarseness), height, width, rng, scale)
    spread = np.float32(0.025 + 0.035 * melanin)
    layer = np.float32(melanin) + spread * mottle
    if freckled:
        spots = skin.cut(skin.cloud_tile(), height, width, rng, 0.5 * scale)
        layer += np.float32(0.35) * np.clip(spots - 1.6, 0, 0.8)
    blood = np.float32(haemoglobin) * (1 + np.float32(0.11) * blush)
    return Canvas(layer, blood, relief * np.float32(scale))


def _main_part(mask: np.ndarray) -> np.ndarray:
    """The largest connected part: specks at a ragged border do not widen the box."""
    if not mask.any():
        return mask
    count, labels, stats, _ = cv2.connectedComponentsWithStats(
        mask.astype(np.uint8), connectivity=8
    )
    if count == 2:
        return mask
    return labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))


def _box(mask, patch, height, width) -> tuple[float, float, float, float]:
    rows = np.flatnonzero(mask.any(1)) + patch.rows.start
    columns = np.flatnonzero(mask.any(0)) + patch.columns.start
    return (
        float(rows[0] / height),
        float(columns[0] / width),
        float((rows[-1] + 1) / height),
        float((columns[-1] + 1) / width),
    )


def _blend(planes, colour, opacity) -> None:
    for c in range(3):
        planes[c] += opacity * (colour[c] - planes[c])


def _grow_scalp_hair(planes, amount, colour, light, rng) -> None:
    """Lays hair over the scalp; where it thins, single strands remain."""
    height, width = amount.shape
    strands = scene.scalp_hair(height, width, rng)
    opacity = np.clip((amount * np.float32(4.4) - 2.2 + strands) * 1.2 + 0.5, 0, 1)
    opacity *= np.clip(amount * 8, 0, 1)
    tone = np.exp(np.float32(0.38) * strands) * light
    for c in range(3):
        planes[c] += opacity * (colour[c] * tone - planes[c])


def _dress(planes, clothing, light, rng) -> None:
    height, width = clothing.shape
    fabric = background.cloth((height + 1) // 2, (width + 1) // 2, rng)
    soft = cv2.GaussianBlur(clothing, (0, 0), 0.012 * min(height, width))
    for c in range(3):
        piece = cv2.resize(fabric[c], (width, height), interpolation=cv2.INTER_LINEAR)
        planes[c] *= 1 - np.float32(0.4) * soft  # its shadow on the skin
        planes[c] += clothing * (piece * light - planes[c])


def _lay_over(planes, behind, alpha, light, direction) -> None:
    height, width = alpha.shape
    m = min(height, width)
    quarter = cv2.resize(
        alpha, (-(-width // 4), -(-height // 4)), interpolation=cv2.INTER_AREA
    )
    shift = np.float32(
        [[1, 0, -0.02 * m * direction[0]], [0, 1, -0.02 * m * direction[1]]]
    )
    shadow = cv2.warpAffine(
        quarter, shift, quarter.shape[::-1], borderMode=cv2.BORDER_REPLICATE
    )
    shadow = cv2.GaussianBlur(shadow, (0, 0), 0.012 * m)
    shadow = cv2.resize(shadow, (width, height), interpolation=cv2.INTER_LINEAR)
    dim = light * (1 - np.float32(0.55) * shadow)
    for c in range(3):
        planes[c] -= behind[c] * dim
        planes[c] *= alpha
        planes[c] += behind[c] * dim


def _camera(planes, rng) -> np.ndarray:
    """Focus, sensor noise and the transfer to 8-bit sRGB."""
    height, width = planes.shape[1:]
    photo = skin.to_srgb(planes)
    blur = rng.uniform(0.0, 1.0) * min(height, width) / 480
    if blur > 0.3:
        photo = cv2.GaussianBlur(photo, (0, 0), blur)
    grain = skin.cut(skin.grain_tile(), height, width, rng)
    return cv2.add(photo, grain, dtype=cv2.CV_8U)
