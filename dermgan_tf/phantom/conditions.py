"""How each skin condition looks: one small painter for each.

A painter changes the pigments under a `Patch`, its relief, and what covers it, and
sets the mask of what is visibly diseased. What it paints follows the short morphology
of dermatology textbooks (primary lesion, border, colour, surface); strengths were set
by eye. Melanin and haemoglobin are in the amounts of `skin.reflectance`, lengths in
lesion radii.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from dermgan_tf.phantom.patch import Patch, bump, dome, ramp, scattered

# Linear RGB of matter that lies on or in the skin.
SCALE = np.array([0.86, 0.82, 0.78])
GREASE = np.array([0.80, 0.62, 0.30])
KERATIN = np.array([0.62, 0.47, 0.27])
CRUST = np.array([0.16, 0.045, 0.02])
PUS = np.array([0.85, 0.76, 0.45])
BLOOD = np.array([0.20, 0.012, 0.012])
BLACK = np.array([0.008, 0.006, 0.006])
SLATE = np.array([0.075, 0.095, 0.13])
GLOSS = np.array([1.0, 0.98, 0.96])


def _redden(patch: Patch, amount: np.ndarray, window=...) -> None:
    """Erythema. On dark skin it needs more blood to show, and turns violet-brown."""
    patch.haemoglobin[window] += amount * np.float32(1 + 0.9 * patch.darkness)
    patch.melanin[window] += amount * np.float32(0.25 * patch.darkness)


def _on_skin(patch: Patch, colour: np.ndarray) -> np.ndarray:
    """Whitish matter is thin: the skin below makes it greyer on dark skin."""
    return colour * (1 - 0.5 * patch.darkness)


def _shine(patch: Patch, places: np.ndarray, radii: np.ndarray, opacity: float) -> None:
    """Small highlights of wet or smooth domes, on the side of the light."""
    places = places + 0.35 * radii[:, np.newaxis] * np.asarray(patch.light)
    for window, distance in patch.spots(places, 0.45 * radii):
        patch.cover(GLOSS, opacity * ramp(-distance, -1.2, 0), window)


def _flakes(patch: Patch, rng, frequency: float, share: float) -> np.ndarray:
    """Where loose scale lies: ragged, thin at the edge, over about `share`, 0…1."""
    ragged = patch.noise(rng, 0.5 * frequency) + 0.7 * patch.noise(rng, frequency)
    least = 3.2 * (0.5 - share)
    return ramp(ragged, least - 0.8, least + 1.6)


# Pigmented and other single growths.


def melanoma(patch: Patch, rng: np.random.Generator) -> None:
    """Asymmetric, notched border, several colours from tan to blue-black."""
    shape = patch.merged(rng, rng.integers(4, 7), 0.42, rough=0.07)
    clouds = patch.noise(rng, 1.3)
    body = ramp(shape + 0.05 * clouds, -0.02, 0.12)
    lean = rng.uniform(0, 2 * np.pi)  # one side is darker than the other
    side = patch.u * np.float32(np.cos(lean)) + patch.v * np.float32(np.sin(lean))
    depth = 1.1 * side + 0.55 * clouds
    patch.melanin += body * (1.2 + 2.2 * ramp(depth, -0.6, 0.5))
    patch.haemoglobin += 0.5 * body
    dark = body * ramp(depth, 0.0, 0.7) * ramp(shape, 0.0, 0.2)
    patch.cover(BLACK, 0.9 * dark)
    veil = body * ramp(patch.noise(rng, 1.1) + 0.5 * depth, 0.5, 1.5)
    veil *= ramp(shape, 0.1, 0.4)
    patch.cover(SLATE * (1 - 0.5 * patch.darkness), 0.75 * veil)
    red = body * ramp(patch.noise(rng, 1.2) - 0.5 * depth, 0.7, 1.5)
    patch.melanin -= 1.0 * red
    _redden(patch, 0.9 * red)
    if rng.random() < 0.4:  # regression: a whitish scar inside
        pale = ramp(patch.noise(rng, 1.0), 0.9, 1.6) * ramp(shape, 0.1, 0.3)
        patch.cover(_on_skin(patch, 0.8 * SCALE), 0.35 * pale)
    patch.raise_by(
        0.05 * body
        + 0.20 * dome(shape - 0.2) * ramp(depth, -0.1, 0.6)
        + 0.02 * body * patch.noise(rng, 4)
    )
    patch.mask = body > 0.35


def basal_cell_carcinoma(patch: Patch, rng: np.random.Generator) -> None:
    """A pearly pink dome: rolled shiny rim, fine vessels, often a crusted centre."""
    shape = patch.outline(rng, 0.10, rng.uniform(1.0, 1.35), rough=0.015)
    lumps = patch.noise(rng, 1.6)
    body = ramp(shape, -0.03, 0.16)
    rim = bump(shape, 0.0, 0.22, 0.6)
    ulcer_edge = rng.uniform(0.50, 0.85)
    ulcer = ramp(shape + 0.08 * patch.noise(rng, 2), ulcer_edge, ulcer_edge + 0.12)
    _redden(patch, 0.60 * body)
    patch.melanin -= 0.35 * body * np.minimum(patch.melanin, 1.6)
    pearl = np.array([0.86, 0.64, 0.58]) * (1 - 0.65 * patch.darkness)
    patch.cover(pearl, 0.12 * body + 0.30 * rim)
    vessels = patch.strokes([_vessel(rng) for _ in range(9)], 0.03)
    patch.haemoglobin += 1.3 * vessels * body * (1 - ulcer)
    if patch.darkness > 0.3 or rng.random() < 0.2:  # pigmented form
        dots = body * ramp(patch.noise(rng, 4), 0.8, 1.6) * (1 - ulcer)
        patch.melanin += 1.4 * dots
        patch.cover(SLATE * (1 - 0.5 * patch.darkness), 0.4 * dots)
    patch.cover(CRUST, 0.85 * ulcer)
    patch.cover(BLOOD, 0.6 * ulcer * ramp(patch.noise(rng, 2), 0.2, 1.0))
    patch.raise_by(0.36 * dome(1.3 * shape) - 0.20 * ulcer + 0.03 * body * lumps)
    # Pearly shine along the rim that faces the light.
    facing = patch.u * np.float32(patch.light[0]) + patch.v * np.float32(patch.light[1])
    shine = bump(shape, 0.12, 0.28, 0.46) * ramp(facing, 0.25, 0.7)
    patch.cover(GLOSS, 0.75 * shine * ramp(lumps, -0.8, 0.6))
    patch.mask = shape > 0.03


def _vessel(rng) -> np.ndarray:
    """A winding line from the border inwards."""
    start = rng.uniform(0, 2 * np.pi)
    angles = start + np.cumsum(rng.normal(0, 0.16, 8))
    return np.linspace(0.95, 0.35, 8)[:, np.newaxis] * np.stack(
        [np.cos(angles), np.sin(angles)], -1
    )


def melanocytic_nevus(patch: Patch, rng: np.random.Generator) -> None:
    """Small, round, even brown, with a regular border; often slightly domed."""
    shape = patch.outline(rng, 0.035, rng.uniform(1.0, 1.25), waves=(2, 5))
    body = ramp(shape + 0.02 * patch.noise(rng, 2), 0, 0.18)
    depth = rng.uniform(1.1, 2.0)
    patch.melanin += body * (
        depth + 0.5 * ramp(shape, 0.1, 0.8) + 0.10 * patch.noise(rng, 3)
    )
    patch.haemoglobin += 0.35 * body
    patch.cover(BLACK * 2, 0.35 * patch.darkness * body)
    patch.raise_by(rng.uniform(0.05, 0.40) * dome(shape))
    patch.mask = shape > 0.05


def seborrheic_keratosis(patch: Patch, rng: np.random.Generator) -> None:
    """Stuck on like wax: sharp edge, dull brown, warty surface with plugs and pits."""
    shape = patch.outline(rng, 0.10, rng.uniform(1.05, 1.5), rough=0.03)
    body = ramp(shape, 0, 0.05)
    clouds = patch.noise(rng, 2.5)
    warts = 0.6 * patch.cells(rng, rng.uniform(3, 4.5)) + 0.4 * patch.cells(rng, 7)
    warts += 0.15 * clouds
    cracks = 1 - ramp(warts, 0.12, 0.40)
    depth = rng.uniform(0.5, 1.6)
    patch.melanin += body * (depth + 0.9 * cracks + 0.25 * clouds)
    patch.haemoglobin += 0.35 * body
    wax = _on_skin(patch, np.array([0.38, 0.23, 0.12]))
    patch.cover(wax, 0.40 * body * (1 - 0.8 * cracks))
    places = scattered(rng, 14, 0.22, 0.65)
    plugs = rng.random(len(places)) < 0.55
    sizes = rng.uniform(0.03, 0.06, len(places))
    for window, distance, plug in patch.spots(places, sizes, plugs):
        colour = BLACK if plug else _on_skin(patch, PUS)
        spot = body[window] * ramp(-distance, -1.2, -0.6)
        patch.cover(colour, 0.75 * spot, window)
    patch.raise_by(body * (0.15 + 0.10 * warts) + 0.10 * dome(shape))
    patch.mask = shape > 0.02


def lentigo(patch: Patch, rng: np.random.Generator) -> None:
    """A flat, even, light-brown spot with a sharp moth-eaten edge."""
    shape = patch.outline(rng, 0.15, rng.uniform(1.1, 1.6), rough=0.08, waves=(3, 12))
    body = ramp(shape, 0, 0.08)
    patch.melanin += body * (
        rng.uniform(0.5, 0.9) * (1 + 0.5 * patch.darkness)
        + 0.35 * (0.6 - patch.cells(rng, 10))
        + 0.08 * patch.noise(rng, 3)
    )
    patch.haemoglobin += 0.16 * body
    patch.mask = shape > 0.03


def skin_tag(patch: Patch, rng: np.random.Generator) -> None:
    """A soft skin-coloured bag on a thin stalk, casting a shadow."""
    lu, lv = patch.light
    # The bag hangs away from its stalk: only the bag and its shadow are seen.
    du = patch.u + np.float32(0.30 * lu)
    dv = patch.v + np.float32(0.30 * lv)
    shadow = np.exp(-(((du**2 + dv**2) / 0.55) ** 2))
    patch.haemoglobin += 0.8 * shadow
    patch.melanin += 0.5 * shadow
    shape = patch.outline(rng, 0.12, rng.uniform(1.15, 1.7), rough=0.01)
    body = ramp(shape, 0, 0.06)
    patch.haemoglobin -= 0.8 * shadow * body
    patch.melanin += body * (rng.uniform(0.15, 0.7) - 0.5 * shadow)
    patch.haemoglobin += 0.25 * body
    wrinkles = patch.cells(rng, 4)
    patch.raise_by(0.5 * dome(shape) + 0.05 * body * wrinkles)
    patch.mask = shape > 0.02


def cyst(patch: Patch, rng: np.random.Generator) -> None:
    """A smooth deep dome, skin-coloured to yellowish, with a dark central pore."""
    shape = patch.outline(rng, 0.05, rng.uniform(1.0, 1.2))
    body = ramp(shape, -0.05, 0.35)
    patch.haemoglobin += 0.30 * bump(shape, -0.15, 0.12, 0.6)
    patch.melanin -= 0.12 * body * np.minimum(patch.melanin, 1.2)
    patch.cover(_on_skin(patch, np.array([0.80, 0.60, 0.36])), 0.16 * body)
    lift = ramp(shape, -0.1, 0.9)
    patch.raise_by(0.55 * lift + 0.015 * body * patch.noise(rng, 2))
    pore = rng.uniform(-0.18, 0.18, (1, 2))
    size = np.array([rng.uniform(0.05, 0.09)])
    for window, distance in patch.spots(pore, 2.2 * size):
        patch.raise_by(-0.04 * ramp(-distance, -1, 0), window)
    for window, distance in patch.spots(pore, size):
        patch.cover(BLACK * 3, 0.85 * ramp(-distance, -1.4, -0.5), window)
    side = 0.35 * np.array([patch.light])
    for window, distance in patch.spots(side, np.array([0.3])):
        patch.cover(GLOSS, 0.25 * np.exp(-2.5 * distance**2), window)
    patch.mask = shape > 0.06


def verruca_vulgaris(patch: Patch, rng: np.random.Generator) -> None:
    """A rough grey-white horny dome like cauliflower, with black points."""
    shape = patch.outline(rng, 0.08, rng.uniform(1.0, 1.25), rough=0.05)
    body = ramp(shape, 0, 0.08)
    clouds = patch.noise(rng, 2.5)
    florets = 0.75 * patch.cells(rng, 4) + 0.25 * patch.cells(rng, 8) + 0.12 * clouds
    grey = _on_skin(patch, np.array([0.56, 0.46, 0.35]))
    patch.cover(grey, body * (0.30 + 0.5 * ramp(florets, 0.2, 0.8)))
    clefts = body * (1 - ramp(florets, 0.08, 0.36))
    patch.cover(_on_skin(patch, CRUST * 2), 0.55 * clefts)
    places = scattered(rng, 11, 0.22, 0.65)
    sizes = rng.uniform(0.03, 0.055, len(places))
    for window, distance in patch.spots(places, sizes):
        patch.cover(BLACK, 0.8 * ramp(-distance, -1.3, -0.4), window)
    patch.raise_by(0.35 * dome(shape) + 0.20 * body * florets)
    patch.mask = shape > 0.02


def actinic_keratosis(patch: Patch, rng: np.random.Generator) -> None:
    """A small rough pink patch under a hard yellow-white scale."""
    shape = patch.outline(rng, 0.20, rng.uniform(1.1, 1.5), rough=0.12)
    body = ramp(shape, -0.05, 0.25)
    _redden(patch, 0.55 * body)
    patch.melanin += 0.2 * body
    scale = ramp(shape, 0.12, 0.4) * _flakes(patch, rng, 6, 0.62)
    patch.cover(_on_skin(patch, np.array([0.78, 0.66, 0.44])), 0.85 * scale)
    patch.raise_by(0.05 * scale + 0.02 * body)
    patch.mask = shape > 0.06


def squamous_cell_carcinoma(patch: Patch, rng: np.random.Generator) -> None:
    """A firm red mound crowned by thick yellow horn and bleeding crust."""
    shape = patch.outline(rng, 0.14, rng.uniform(1.0, 1.3), rough=0.05)
    body = ramp(shape, -0.03, 0.14)
    clouds = patch.noise(rng, 2)
    _redden(patch, body * (1.1 + 0.2 * clouds) + 0.25 * ramp(shape, -0.35, 0))
    crown = ramp(shape + 0.10 * clouds, 0.26, 0.42)
    horn = patch.noise(rng, 3) + 0.5 * patch.noise(rng, 8)
    patch.cover(_on_skin(patch, KERATIN), crown * (0.55 + 0.4 * ramp(horn, -1, 0.8)))
    patch.cover(CRUST, 0.85 * crown * (1 - ramp(horn, -1.1, -0.2)))
    bleeding = crown * ramp(patch.noise(rng, 1.5), 0.6, 1.2)
    patch.cover(BLOOD, 0.85 * bleeding)
    patch.raise_by(0.40 * dome(shape) + crown * (0.10 + 0.05 * horn))
    patch.mask = shape > 0.03


def scar(patch: Patch, rng: np.random.Generator) -> None:
    """A long smooth shiny cord, pink to pale, with the marks of stitches."""
    stretch = rng.uniform(3.6, 5.5)
    bend = np.float32(rng.uniform(-0.22, 0.22))
    straight = patch.v
    patch.v = patch.v + bend * (patch.u**2 - np.float32(0.4))
    shape = patch.outline(rng, 0.12, stretch, rough=0.03)
    body = ramp(shape, 0, 0.2)
    _redden(patch, rng.uniform(0.35, 0.9) * body)
    patch.melanin -= 0.5 * body * np.minimum(patch.melanin, 1.5)
    patch.cover(_on_skin(patch, np.array([0.85, 0.62, 0.58])), 0.30 * body)
    along = np.linspace(-0.7, 0.7, 9)
    half = 1.45 / stretch
    middle = -bend * (along**2 - 0.4)
    stitches = patch.strokes(
        [
            np.array([[x, y - half], [x, y + half]])
            for x, y in zip(along, middle, strict=True)
        ],
        0.035,
    )
    _redden(patch, 0.45 * stitches)
    patch.raise_by(0.16 * dome(shape) + 0.02 * body * patch.noise(rng, 3))
    light = np.float32(patch.light[1])
    patch.cover(
        GLOSS,
        0.45
        * body
        * bump(patch.v * light * stretch, 0.05, 0.35, 0.65)
        * ramp(patch.noise(rng, 2), -0.2, 0.8),
    )
    patch.mask = (shape > 0.03) | (stitches > 0.3)
    patch.v = straight


# Inflamed, scaling and pigment-changing patches.


def psoriasis(patch: Patch, rng: np.random.Generator) -> None:
    """A sharply edged red plaque under thick silvery scale."""
    shape = patch.merged(rng, rng.integers(3, 7), 0.30, rough=0.035)
    body = ramp(shape, 0, 0.06)
    clouds = patch.noise(rng, 1.5)
    _redden(patch, body * (1.05 + 0.12 * clouds))
    thick = ramp(clouds + 2.2 * shape, rng.uniform(-0.9, 0.1), 1.3)
    thick *= ramp(shape + 0.03 * patch.noise(rng, 4), 0.07, 0.20)
    # Layered flakes with red cracks between them.
    flakes = patch.noise(rng, 5) + 0.6 * patch.noise(rng, 11)
    lamellae = ramp(flakes + 1.2 * patch.cells(rng, 5), -0.5, 1.0)
    silver = _on_skin(patch, np.array([0.78, 0.74, 0.72]))
    patch.cover(silver, thick * (0.25 + 0.65 * lamellae))
    patch.raise_by(0.05 * body + 0.008 * thick * flakes)
    patch.mask = shape > 0.02


def eczema(patch: Patch, rng: np.random.Generator) -> None:
    """Ill-defined pink patches with papules, dry cracks and scratch marks."""
    shape = patch.merged(rng, rng.integers(4, 8), 0.36, rough=0.10)
    clouds = patch.noise(rng, 1.8)
    body = ramp(shape + 0.12 * clouds, -0.16, 0.60)
    _redden(patch, body * (0.80 + 0.22 * clouds))
    patch.melanin += 0.2 * body * (1 + patch.darkness)
    dry = patch.cells(rng, 14)  # lichenified: thickened skin lines
    patch.haemoglobin += 0.15 * body * (0.5 - dry)
    fine = ramp(patch.noise(rng, 9), 0.9, 2.6)
    patch.cover(_on_skin(patch, SCALE), 0.40 * body * fine)
    places = scattered(rng, 30, 0.10, 0.95)
    sizes = rng.uniform(0.025, 0.045, len(places))
    for window, distance in patch.spots(places, sizes):
        spot = ramp(-distance, -1.6, 0) * ramp(shape[window], -0.06, 0.04)
        _redden(patch, 0.7 * spot, window)
        patch.raise_by(0.02 * spot, window)
    lines = []
    for _ in range(rng.integers(3, 8)):
        middle = rng.uniform(-0.45, 0.45, 2)
        way = rng.normal(0, 0.07, 2) + (0.22, 0.07)
        bent = middle + rng.normal(0, 0.03, 2)
        lines.append(np.array([middle - way, bent, middle + way]))
    scratches = patch.strokes(lines, 0.02) * ramp(patch.noise(rng, 4), -0.8, 0.6)
    patch.cover(CRUST * 1.5, 0.7 * scratches * ramp(shape, 0, 0.2))
    patch.raise_by(0.02 * body * dry)
    patch.mask = shape > 0.0


def vitiligo(patch: Patch, rng: np.random.Generator) -> None:
    """Milk-white, flat, with sharp scalloped borders that bulge outwards."""
    shape = patch.merged(rng, rng.integers(6, 12), 0.30, rough=0.025, sizes=(0.15, 0.5))
    body = ramp(shape, 0, 0.05)
    # The border, and on fair skin the tan around, make the loss of colour visible.
    patch.melanin += (0.22 - 0.10 * patch.darkness) * ramp(shape, -0.45, -0.02)
    patch.melanin -= body * (patch.melanin - 0.03)
    patch.haemoglobin -= 0.35 * body * patch.haemoglobin
    patch.cover(np.array([0.90, 0.82, 0.76]), 0.30 * body)
    places = scattered(rng, rng.integers(0, 9), 0.2, 0.7)  # pigment back at follicles
    for window, distance in patch.spots(places, np.full(len(places), 0.035)):
        patch.melanin[window] += 0.5 * body[window] * ramp(-distance, -1.4, -0.2)
    patch.mask = shape > 0.015


def tinea(patch: Patch, rng: np.random.Generator) -> None:
    """A ring: raised, red, scaling edge around a clearing centre."""
    shape = patch.outline(rng, 0.07, rng.uniform(1.0, 1.2), rough=0.035)
    body = ramp(shape, 0, 0.06)
    ring = bump(shape + 0.03 * patch.noise(rng, 2), 0.0, 0.12, 0.40)
    broken = 0.70 + 0.30 * ramp(patch.noise(rng, 1.0), -1, 0.5)
    _redden(patch, 1.2 * ring * broken + 0.20 * body)
    patch.melanin += 0.10 * body
    scale = bump(shape, 0.08, 0.20, 0.42) * ramp(patch.noise(rng, 5), 0.0, 1.4)
    patch.cover(_on_skin(patch, SCALE), 0.75 * scale)
    places = scattered(rng, 5, 0.2, 0.55)  # a few bumps are left inside
    for window, distance in patch.spots(places, rng.uniform(0.03, 0.05, len(places))):
        spot = ramp(-distance, -1.4, -0.2)
        _redden(patch, 0.45 * spot, window)
        patch.raise_by(0.03 * spot, window)
    patch.raise_by(ring * (0.08 + 0.02 * patch.noise(rng, 4)))
    patch.mask = shape > 0.02


def allergic_contact_dermatitis(patch: Patch, rng: np.random.Generator) -> None:
    """Fiery red with the straight outline of what touched the skin, and blisters."""
    width = rng.uniform(0.35, 0.75)
    box = np.maximum(
        np.abs(patch.u) / np.float32(0.94), np.abs(patch.v) / np.float32(width)
    )
    shape = 1 - box + 0.025 * patch.noise(rng, 2)
    body = ramp(shape, -0.03, 0.16)
    _redden(patch, body * (0.95 + 0.15 * patch.noise(rng, 2)))
    count = int(34 + 30 * width)
    places = scattered(rng, count, 0.10, 0.92)
    places = places[np.abs(places[:, 1]) < 0.85 * width]
    sizes = rng.uniform(0.03, 0.065, len(places))
    for window, distance in patch.spots(places, sizes):
        blister = ramp(-distance, -1.1, -0.6)
        patch.haemoglobin[window] -= 0.45 * blister
        patch.raise_by(0.05 * dome(1 - distance), window)
    _shine(patch, places, sizes, 0.75)
    patch.raise_by(0.05 * body)
    patch.mask = shape > 0.03


def seborrheic_dermatitis(patch: Patch, rng: np.random.Generator) -> None:
    """Ill-defined orange-pink under large greasy yellow flakes."""
    shape = patch.merged(rng, rng.integers(3, 6), 0.32, rough=0.10)
    body = ramp(shape, -0.12, 0.40)
    _redden(patch, 0.70 * body * (1 + 0.2 * patch.noise(rng, 1.5)))
    patch.cover(_on_skin(patch, GREASE), 0.20 * body)
    flakes = body * _flakes(patch, rng, 5, 0.45)
    patch.cover(_on_skin(patch, GREASE * 1.1), 0.80 * flakes)
    patch.raise_by(0.03 * flakes)
    patch.mask = shape > 0.0


def stasis_dermatitis(patch: Patch, rng: np.random.Generator) -> None:
    """A large rust-brown speckled stain with a red scaling core and winding veins."""
    shape = patch.outline(rng, 0.20, rng.uniform(1.2, 1.7), rough=0.16)
    body = ramp(shape, -0.05, 0.35)
    specks = ramp(patch.noise(rng, 9), 0.0, 1.2) + 0.8 * ramp(
        patch.noise(rng, 4), 0, 1.5
    )
    patch.melanin += body * (0.35 + 0.75 * specks)
    _redden(patch, body * (0.50 + 0.6 * ramp(patch.noise(rng, 1.2), 0.2, 1.0)))
    patch.cover(_on_skin(patch, SCALE), 0.28 * body * _flakes(patch, rng, 9, 0.2))
    lines = []
    for _ in range(3):
        x = np.linspace(-0.95, 0.95, 14)
        y = rng.uniform(-0.5, 0.5) + np.cumsum(rng.normal(0, 0.07, 14))
        lines.append(np.stack([x, y], -1))
    veins = patch.strokes(lines, 0.05) * ramp(shape, 0, 0.15)
    patch.cover(np.array([0.16, 0.12, 0.20]) * (1 - 0.5 * patch.darkness), 0.45 * veins)
    patch.raise_by(0.05 * veins)
    patch.mask = shape > 0.05


def post_inflammatory_hyperpigmentation(patch: Patch, rng: np.random.Generator) -> None:
    """Flat grey-brown stains with faded edges, left where spots have healed."""
    places = scattered(rng, rng.integers(7, 13), 0.34, 0.78)
    sizes = rng.uniform(0.13, 0.27, len(places))
    clouds = patch.noise(rng, 4)
    for window, distance in patch.spots(places, sizes):
        stain = ramp(-distance + 0.2 * clouds[window], -1.35, -0.25)
        patch.melanin[window] += (
            rng.uniform(0.45, 0.9) * (1 + 0.6 * patch.darkness) * stain
        )
        patch.haemoglobin[window] += 0.10 * stain
    patch.mask = patch.hull(places, 1.1 * sizes)


def tinea_versicolor(patch: Patch, rng: np.random.Generator) -> None:
    """Many small pale (on fair skin also tan) ovals, flat, finely scaling, merging."""
    places = scattered(rng, rng.integers(26, 40), 0.17, 0.88)
    sizes = rng.uniform(0.05, 0.15, len(places))
    tan = patch.darkness < 0.12 and rng.random() < 0.6
    clouds = patch.noise(rng, 3)
    spots = np.zeros_like(patch.u)
    for window, distance in patch.spots(places, sizes):
        spot = ramp(-distance + 0.15 * clouds[window], -1.15, -0.75)
        spots[window] = np.maximum(spots[window], spot)
    if tan:
        patch.melanin += 0.40 * spots
        patch.haemoglobin += 0.15 * spots
    else:
        patch.melanin -= (0.62 - 0.28 * patch.darkness) * spots * patch.melanin
        patch.haemoglobin -= 0.25 * spots * patch.haemoglobin
    patch.cover(_on_skin(patch, SCALE), 0.25 * spots * _flakes(patch, rng, 14, 0.3))
    patch.mask = patch.hull(places, 1.1 * sizes)


def urticaria(patch: Patch, rng: np.random.Generator) -> None:
    """Smooth swollen wheals, pink at the edge and paler inside, in a red flare."""
    shape = patch.merged(rng, rng.integers(2, 6), 0.38, rough=0.015)
    body = ramp(shape, -0.02, 0.14)
    flare = ramp(shape + 0.06 * patch.noise(rng, 1.5), -0.32, 0.0)
    _redden(patch, 0.35 * flare + 0.40 * body)
    pale = ramp(shape, 0.14, 0.60)
    patch.haemoglobin -= 0.55 * pale
    patch.cover(_on_skin(patch, np.array([0.90, 0.74, 0.68])), 0.18 * pale)
    patch.raise_by(0.10 * ramp(shape, -0.04, 0.30))
    patch.mask = shape > -0.03


# Spots around follicles.


def acne(patch: Patch, rng: np.random.Generator) -> None:
    """A crowd of red bumps of all sizes, some with pus, blackheads, brown marks."""
    places = scattered(rng, rng.integers(13, 21), 0.25, 0.82)
    sizes = rng.uniform(0.06, 0.15, len(places))
    kinds = rng.choice(4, len(places), p=[0.42, 0.28, 0.15, 0.15])
    kinds[:3] = (0, 1, 1)
    clouds = patch.noise(rng, 3)
    _redden(patch, 0.12 * ramp(1 - np.hypot(patch.u, patch.v), -0.1, 0.5))
    for window, distance, kind in patch.spots(places, sizes, kinds):
        distance = distance * (1 + 0.14 * clouds[window])
        bumped = ramp(-distance, -1.25, -0.1)
        if kind < 2:  # papule or pustule
            _redden(patch, 0.85 * bumped + 0.35 * ramp(-distance, -2, -0.8), window)
            patch.raise_by(0.045 * ramp(-distance, -1.2, 0), window)
        if kind == 1:
            pus = PUS * (1 - 0.35 * patch.darkness)
            patch.cover(pus, 0.75 * ramp(-distance, -0.55, -0.05), window)
        if kind == 2:  # blackhead
            patch.cover(BLACK, 0.7 * ramp(-distance, -0.5, -0.15), window)
        if kind == 3:  # mark of an old one
            patch.melanin[window] += 0.4 * (1 + patch.darkness) * bumped
            patch.haemoglobin[window] += 0.3 * bumped
    patch.mask = patch.hull(places, 1.1 * sizes)


def folliculitis(patch: Patch, rng: np.random.Generator) -> None:
    """Many small equal bumps, each pierced by a hair and with a point of pus."""
    places = scattered(rng, rng.integers(20, 32), 0.20, 0.88)
    sizes = rng.uniform(0.055, 0.08, len(places))
    clouds = patch.noise(rng, 4)
    for window, distance in patch.spots(places, sizes):
        distance = distance * (1 + 0.12 * clouds[window])
        _redden(
            patch,
            0.9 * ramp(-distance, -1.3, -0.3) + 0.2 * ramp(-distance, -2, -1),
            window,
        )
        patch.raise_by(0.025 * ramp(-distance, -1.1, 0), window)
        pus = PUS * (1 - 0.35 * patch.darkness)
        patch.cover(pus, 0.55 * ramp(-distance, -0.6, -0.1), window)
    ways = np.array([0.10, 0.03]) + rng.normal(0, 0.03, (len(places), 2))
    hairs = [
        np.array([place, place + way]) for place, way in zip(places, ways, strict=True)
    ]
    patch.cover(BLACK, 0.7 * patch.strokes(hairs, 0.01))
    patch.mask = patch.hull(places, 1.3 * sizes)


def hidradenitis(patch: Patch, rng: np.random.Generator) -> None:
    """Deep violet nodules, draining openings and rope-like scars between them."""
    places = scattered(rng, rng.integers(5, 8), 0.40, 0.65)
    sizes = rng.uniform(0.17, 0.32, len(places))
    clouds = patch.noise(rng, 1.8)
    base = np.zeros_like(patch.u)
    for window, distance in patch.spots(places, 1.3 * sizes):
        spot = ramp(-distance + 0.18 * clouds[window], -1.4, -0.2)
        base[window] = np.maximum(base[window], spot)
        patch.raise_by(0.12 * ramp(-distance + 0.15 * clouds[window], -1.0, 0), window)
    _redden(patch, 0.85 * base * (1 + 0.2 * patch.noise(rng, 4)))
    patch.melanin += 0.40 * base
    violet = np.array([0.22, 0.07, 0.10]) * (1 - 0.4 * patch.darkness)
    patch.cover(violet, 0.28 * base)
    ropes = []
    for k in range(1, len(places), 2):
        middle = (places[k] + places[k - 1]) / 2 + rng.normal(0, 0.10, 2)
        steps = np.linspace(0.15, 0.85, 9)[:, np.newaxis]  # a quadratic curve
        ropes.append(
            (1 - steps) ** 2 * places[k]
            + 2 * steps * (1 - steps) * middle
            + steps**2 * places[k - 1]
        )
    cords = patch.strokes(ropes, 0.07) * ramp(patch.noise(rng, 3), -1.2, 0.4)
    patch.cover(_on_skin(patch, np.array([0.70, 0.44, 0.40])), 0.5 * cords)
    patch.raise_by(0.05 * cords)
    openings = rng.permutation(len(places))[:3]
    for k, (window, distance) in enumerate(
        patch.spots(places[openings], 0.24 * sizes[openings])
    ):
        hole = ramp(-distance * (1 + 0.3 * clouds[window]), -1.4, -0.3)
        patch.cover(PUS * 0.8 if k == 1 else BLOOD, 0.8 * hole, window)
    patch.mask = patch.hull(places, 1.3 * sizes)


# On the scalp: the scene draws the hair, less of it where `hair` is below 1.


def alopecia_areata(patch: Patch, rng: np.random.Generator) -> None:
    """A smooth, round, bald patch in dense hair."""
    shape = patch.outline(rng, 0.07, rng.uniform(1.0, 1.3), rough=0.03)
    patch.haemoglobin += 0.08 * ramp(shape, 0, 0.3)
    patch.hair = 1 - ramp(shape + 0.05 * patch.noise(rng, 5), -0.06, 0.10)
    places = scattered(rng, 14, 0.15, 0.85)  # broken hairs, thinner at the root
    hairs = [np.array([p, p + rng.normal(0, 0.05, 2)]) for p in places]
    patch.cover(BLACK, 0.6 * patch.strokes(hairs, 0.012))
    patch.mask = shape > 0.0


def androgenetic_alopecia(patch: Patch, rng: np.random.Generator) -> None:
    """Hair that thins gradually towards the crown; the scalp shines through."""
    shape = patch.outline(rng, 0.12, rng.uniform(1.1, 1.5), rough=0.05)
    thinning = ramp(shape + 0.05 * patch.noise(rng, 2), -0.15, 0.65)
    patch.hair = 1 - 0.80 * thinning
    patch.mask = shape > 0.08


# Whatever else comes to a clinic.


def other(patch: Patch, rng: np.random.Generator) -> None:
    """One of: a bruise, a cherry angioma, an ulcer."""
    (_bruise, _cherry_angioma, _ulcer)[rng.integers(0, 3)](patch, rng)


def _bruise(patch: Patch, rng) -> None:
    shape = patch.outline(rng, 0.2, rng.uniform(1.0, 1.5), rough=0.12)
    body = ramp(shape, -0.1, 0.5)
    violet = ramp(patch.noise(rng, 1.3) + 1.5 * shape, 0.1, 1.2)
    _redden(patch, 0.6 * body)
    patch.cover(
        np.array([0.14, 0.07, 0.16]) * (1 - 0.5 * patch.darkness), 0.6 * body * violet
    )
    patch.cover(
        np.array([0.45, 0.36, 0.10]) * (1 - 0.5 * patch.darkness),
        0.35 * body * (1 - violet),
    )
    patch.mask = shape > 0.05


def _cherry_angioma(patch: Patch, rng) -> None:
    shape = patch.outline(rng, 0.06, rng.uniform(1.0, 1.15))
    body = ramp(shape, 0, 0.12)
    patch.haemoglobin += 2.6 * body
    lobes = patch.cells(rng, 3)
    patch.cover(np.array([0.34, 0.02, 0.035]), body * (0.35 + 0.35 * lobes))
    patch.raise_by(0.3 * dome(shape) + 0.08 * body * lobes)
    _shine(patch, np.zeros((1, 2)), np.array([0.35]), 0.5)
    patch.mask = shape > 0.04


def _ulcer(patch: Patch, rng) -> None:
    shape = patch.outline(rng, 0.14, rng.uniform(1.0, 1.5), rough=0.04)
    _redden(patch, 0.7 * ramp(shape, -0.2, 0.1))
    floor = ramp(shape, 0.10, 0.20)
    grains = patch.cells(rng, 8) + 0.3 * patch.noise(rng, 3)
    patch.cover(np.array([0.30, 0.04, 0.035]), floor * (0.75 + 0.2 * grains))
    slough = np.array([0.52, 0.38, 0.16])
    patch.cover(slough, 0.7 * floor * ramp(patch.noise(rng, 1.6), 0.2, 1.4))
    patch.raise_by(
        0.08 * bump(shape, 0, 0.1, 0.2) - 0.10 * floor + 0.05 * floor * grains
    )
    patch.mask = shape > 0.02


@dataclasses.dataclass(frozen=True)
class Look:
    """How a condition appears in the clinic.

    Args:
        paint: the painter of one lesion.
        weight: float. How often it comes, relative to the others. The order follows
            the case mix of Liu et al. 2019: inflammatory diseases lead, skin cancers
            are rare.
        size: (least, most). A lesion's longest extent, as a share of the photo's width
            at the ordinary distance.
        count: (fewest, most). Lesions of one case.
        site: "skin" or "scalp".
    """

    paint: Callable[[Patch, np.random.Generator], None]
    weight: float
    size: tuple[float, float]
    count: tuple[int, int] = (1, 1)
    site: str = "skin"


# In the order in which a vocabulary of n conditions takes them.
LOOKS = {
    "melanoma": Look(melanoma, 1.6, (0.07, 0.26)),
    "basal cell carcinoma": Look(basal_cell_carcinoma, 2.6, (0.07, 0.24)),
    "melanocytic nevus": Look(melanocytic_nevus, 7.5, (0.05, 0.14), (1, 4)),
    "SK/ISK": Look(seborrheic_keratosis, 6.5, (0.07, 0.24), (1, 4)),
    "psoriasis": Look(psoriasis, 10.5, (0.12, 0.50), (1, 5)),
    "eczema": Look(eczema, 14.0, (0.18, 0.55), (1, 3)),
    "vitiligo": Look(vitiligo, 3.6, (0.10, 0.45), (1, 5)),
    "tinea": Look(tinea, 5.0, (0.12, 0.42), (1, 3)),
    "acne": Look(acne, 11.0, (0.22, 0.50), (1, 3)),
    "urticaria": Look(urticaria, 2.8, (0.08, 0.32), (2, 6)),
    "verruca vulgaris": Look(verruca_vulgaris, 4.2, (0.05, 0.18), (1, 4)),
    "seborrheic dermatitis": Look(seborrheic_dermatitis, 4.6, (0.16, 0.40), (1, 2)),
    "folliculitis": Look(folliculitis, 3.2, (0.20, 0.45), (1, 2)),
    "allergic contact dermatitis": Look(allergic_contact_dermatitis, 3.0, (0.18, 0.50)),
    "post-inflammatory hyperpigmentation": Look(
        post_inflammatory_hyperpigmentation, 2.6, (0.20, 0.45), (1, 2)
    ),
    "actinic keratosis": Look(actinic_keratosis, 2.4, (0.05, 0.16), (1, 5)),
    "alopecia areata": Look(alopecia_areata, 2.2, (0.12, 0.38), (1, 3), "scalp"),
    "tinea versicolor": Look(tinea_versicolor, 1.8, (0.28, 0.60), (1, 2)),
    "cyst": Look(cyst, 2.4, (0.07, 0.24)),
    "scar condition": Look(scar, 2.0, (0.15, 0.45), (1, 2)),
    "skin tag": Look(skin_tag, 1.6, (0.05, 0.13), (1, 4)),
    "androgenetic alopecia": Look(
        androgenetic_alopecia, 1.5, (0.30, 0.60), (1, 1), "scalp"
    ),
    "SCC/SCCIS": Look(squamous_cell_carcinoma, 1.4, (0.08, 0.28)),
    "lentigo": Look(lentigo, 1.2, (0.05, 0.16), (1, 5)),
    "stasis dermatitis": Look(stasis_dermatitis, 0.9, (0.30, 0.60)),
    "hidradenitis": Look(hidradenitis, 0.8, (0.20, 0.45)),
    "other": Look(other, 6.0, (0.06, 0.30)),
}
