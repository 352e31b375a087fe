"""The colour of skin from its two pigments, and the fine structure of its surface.

Colour: light that leaves the skin is what the surface mirrors plus what the pigments
below let through (the two-pigment optical density model of Tsumura et al. 2003,
"Image-based skin color and texture analysis/synthesis by extracting hemoglobin and
melanin information in the skin"), per camera channel c and in linear RGB:

    R_c = s + (1 - s) exp(-(BASE_c + melanin MELANIN_c + haemoglobin HAEMOGLOBIN_c))

A lesion is drawn as a change of the pigments' amounts, so it has the right colour on
every skin: erythema is more haemoglobin, a mole more melanin, vitiligo less.
"""

import functools

import cv2
import numpy as np

# Mirrored by the surface: Fresnel at normal incidence, refractive index 1.4.
SURFACE = ((1.4 - 1) / (1.4 + 1)) ** 2

# Melanin absorbs as wavelength^-3.33 (Jacques 1998, "Skin optics"): taken at 600, 540
# and 465 nm, the middles of a camera's three channels, relative to green.
MELANIN = np.array([0.704, 1.0, 1.645], np.float32)

# Mean absorption of haemoglobin, 75 % oxygenated, over 590-650, 500-580 and 450-490 nm
# (Prahl's tabulated extinction, 1999), relative to green.
HAEMOGLOBIN = np.array([0.13, 1.0, 1.0], np.float32)

# Bloodless skin without melanin: nearly white, slightly warm.
BASE = -np.log(np.array([0.87, 0.80, 0.73], np.float32))

# Amounts by Fitzpatrick type. Melanin is chosen so that evenly lit skin has an ITA of
# 60, 48, 34.5, 18, -12 and -48 degrees: inside the classes of Chardon et al. 1991.
MELANIN_OF_TYPE = (0.291, 0.493, 0.713, 1.019, 1.738, 2.855)
HAEMOGLOBIN_OF_TYPE = (0.30, 0.30, 0.33, 0.36, 0.42, 0.50)

_TILE = 1024  # pixels a side of every periodic texture
_LEVELS = 4096


def skin_pigments(fitzpatrick: int, rng: np.random.Generator) -> tuple[float, float]:
    """One person's amounts of melanin and haemoglobin, for a skin type 1…6."""
    spread = (0.03, 0.035, 0.05, 0.07, 0.10, 0.14)[fitzpatrick - 1]
    melanin = MELANIN_OF_TYPE[fitzpatrick - 1] + spread * rng.uniform(-1, 1)
    haemoglobin = HAEMOGLOBIN_OF_TYPE[fitzpatrick - 1] * rng.uniform(0.85, 1.15)
    return melanin, haemoglobin


def reflectance(melanin: np.ndarray, haemoglobin: np.ndarray) -> np.ndarray:
    """Linear RGB of skin.

    Args:
        melanin, haemoglobin: float32 [H, W], amounts as in MELANIN_OF_TYPE.

    Returns:
        float32 [3, H, W], 0…1.
    """
    planes = np.empty((3, *melanin.shape), np.float32)
    for c in range(3):
        density = cv2.addWeighted(
            melanin, -float(MELANIN[c]), haemoglobin, -float(HAEMOGLOBIN[c]), -BASE[c]
        )
        np.exp(density, out=density)
        np.multiply(density, np.float32(1 - SURFACE), out=density)
        np.add(density, np.float32(SURFACE), out=planes[c])
    return planes


def to_srgb(planes: np.ndarray) -> np.ndarray:
    """Encodes linear RGB planes as an sRGB image.

    Args:
        planes: float32 [3, H, W]; values outside 0…1 are clipped. Overwritten.

    Returns:
        np.uint8 [H, W, 3].
    """
    np.clip(planes, 0, 1, out=planes)
    np.multiply(planes, np.float32(_LEVELS - 1), out=planes)
    return cv2.merge(list(_srgb_table()[planes.astype(np.uint16)]))


def to_linear(rgb: tuple[int, int, int]) -> np.ndarray:
    """The linear RGB, float32 [3], of one sRGB colour given as 0…255."""
    c = np.asarray(rgb, np.float32) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4).astype(
        np.float32
    )


@functools.cache
def _srgb_table() -> np.ndarray:
    """IEC 61966-2-1's transfer function for linear values k / (_LEVELS - 1)."""
    linear = np.arange(_LEVELS) / (_LEVELS - 1)
    encoded = np.where(
        linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055
    )
    return np.rint(255 * encoded).astype(np.uint8)


# Periodic textures, made once a process from fixed seeds: drawing only cuts from them.


@functools.cache
def cloud_tile() -> np.ndarray:
    """Cloudy noise: all wavelengths up to 128 pixels; mean 0, standard deviation 1."""
    return _spectral_noise(seed=1, exponent=2.1, longest=128)


@functools.cache
def grain_tile() -> np.ndarray:
    """Camera noise: int16 [_TILE, _TILE, 3], standard deviation 2.2 grey levels."""
    rng = np.random.default_rng(2)
    noise = rng.standard_normal((_TILE, _TILE, 3), np.float32)
    # A camera interpolates its colour mosaic, which makes noise slightly blotchy.
    noise = cv2.GaussianBlur(noise, (3, 3), 0.6)
    return np.rint(noise * (2.2 / noise.std())).astype(np.int16)


@functools.cache
def cell_tile(spacing: int) -> np.ndarray:
    """Raised plates between furrows: each cell is a cone.

    Args:
        spacing: int. Mean distance of neighbouring cells in pixels.

    Returns:
        float32 [_TILE, _TILE]; 0 in the furrows, about 1 on the plates.
    """
    rng = np.random.default_rng([3, spacing])
    count = _TILE // spacing
    grid = np.stack(np.meshgrid(np.arange(count), np.arange(count)), -1)
    points = (grid + rng.uniform(0.1, 0.9, grid.shape)) * (_TILE / count)
    points = points.reshape(-1, 2).astype(int) % _TILE
    free = np.full((_TILE, _TILE), 255, np.uint8)
    free[points[:, 1], points[:, 0]] = 0
    margin = 4 * spacing
    free = cv2.copyMakeBorder(free, *[margin] * 4, cv2.BORDER_WRAP)
    distance = cv2.distanceTransform(free, cv2.DIST_L2, 5)[
        margin:-margin, margin:-margin
    ]
    return np.clip(1 - distance / (0.8 * spacing), 0, 1).astype(np.float32)


@functools.cache
def strand_tile() -> np.ndarray:
    """Noise drawn out along the columns, as hair or wood grain; deviation 1."""
    noise = np.random.default_rng(4).standard_normal((_TILE, _TILE)).astype(np.float32)
    spectrum = np.fft.rfft2(noise)
    along = np.fft.fftfreq(_TILE)[:, np.newaxis] * 220
    across = np.fft.rfftfreq(_TILE)[np.newaxis] * 2.2
    spectrum *= np.exp(-(along**2)) * np.exp(-(across**2))
    tile = np.fft.irfft2(spectrum).astype(np.float32)
    return tile / tile.std()


@functools.cache
def furrow_tile(coarseness: int) -> np.ndarray:
    """The relief of bare skin: criss-cross furrows, pores and unevenness, in pixels.

    Args:
        coarseness: int, 0…2. Seen from afar, at arm's length, from close by.

    Returns:
        float32 [_TILE, _TILE]; height in pixels of a photo whose short side is 480.
    """
    fine, coarse = ((4, 8), (7, 14), (12, 25))[coarseness]
    depth = (0.25, 0.5, 0.9)[coarseness]
    relief = 0.7 * cell_tile(fine) + 0.7 * cell_tile(coarse) + 0.10 * cloud_tile()
    return cv2.GaussianBlur(depth * relief, (3, 3), 0.7)


def _spectral_noise(seed: int, exponent: float, longest: float) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal((_TILE, _TILE))
    fy = np.fft.fftfreq(_TILE)[:, np.newaxis]
    fx = np.fft.rfftfreq(_TILE)[np.newaxis]
    frequency = np.hypot(fx, fy)
    frequency[0, 0] = 1
    weight = frequency**-exponent * (frequency >= 1 / longest)
    weight[0, 0] = 0
    tile = np.fft.irfft2(np.fft.rfft2(noise) * weight).astype(np.float32)
    return tile / tile.std()


def cut(
    tile: np.ndarray,
    height: int,
    width: int,
    rng: np.random.Generator,
    scale: float = 1,
) -> np.ndarray:
    """A random cutting from a periodic texture, turned and mirrored at random.

    Args:
        tile: [_TILE, _TILE] or [_TILE, _TILE, channels].
        height, width: ints. Size of the cutting in pixels.
        rng: where and how to cut. The draws do not depend on the size.
        scale: float. Output pixels per texture pixel.

    Returns:
        Like `tile`, [height, width, ...].
    """
    top, left = rng.integers(0, _TILE, 2)
    turns = rng.integers(0, 4)
    mirrored = rng.integers(0, 2)
    tile = np.rot90(tile[::-1] if mirrored else tile, turns)
    rows = min(max(round(height / scale), 2), 4 * _TILE)
    columns = min(max(round(width / scale), 2), 4 * _TILE)
    piece = _wrapped(_wrapped(tile, top, rows, 0), left, columns, 1)
    if (rows, columns) == (height, width):
        return np.ascontiguousarray(piece)
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return cv2.resize(
        np.ascontiguousarray(piece), (width, height), interpolation=method
    )


def _wrapped(array: np.ndarray, start: int, count: int, axis: int) -> np.ndarray:
    """`count` rows or columns from `start` on, beginning anew at the end."""
    pieces = []
    while count > 0:
        stop = min(start + count, array.shape[axis])
        pieces.append(array[start:stop] if axis == 0 else array[:, start:stop])
        count -= stop - start
        start = 0
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces, axis)
