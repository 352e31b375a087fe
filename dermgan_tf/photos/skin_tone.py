"""Skin colour: ITA, the skin type it suggests, and which pixels of a photo are skin."""

import hashlib
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from dermgan_tf.errors import InputError
from dermgan_tf.photos.semantic_map import MAX_SKIN_TYPE, Roi, box_pixels

# ITA limits, in degrees, between the colour classes very light, light, intermediate,
# tan, brown and dark: Chardon et al. 1991 ("Skin colour typology and suntanning
# pathways"), with the limit of dark skin from Del Bino & Bernerd 2013.
ITA_LIMITS = (55.0, 41.0, 28.0, 10.0, -30.0)

# sRGB to CIE XYZ for illuminant D65 (IEC 61966-2-1); its rows sum to the white point.
_XYZ_FROM_RGB = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
_WHITE_FROM_RGB = _XYZ_FROM_RGB / _XYZ_FROM_RGB.sum(axis=1, keepdims=True)
_CODES = np.arange(256) / 255
_LINEAR = np.where(_CODES <= 0.04045, _CODES / 12.92, ((_CODES + 0.055) / 1.055) ** 2.4)
# For the search of skin. The constant keeps the noise of dark pixels out of ratios.
_LINEAR_32 = _LINEAR.astype(np.float32)
_LOG_32 = np.log(_LINEAR + 0.01).astype(np.float32)

# Skin is searched for on a copy of the photo with this longest side, in pixels: enough
# to follow an outline, a hundredth of the work.
_WORKING_SIDE = 160
# A smaller share of skin than this says nothing reliable of its colour.
_MIN_SKIN_SHARE = 0.02
# Limits are fitted to no fewer known skin types, and judged in so many parts.
_LEAST_KNOWN, _LEAST_CASES, _FOLDS = 30, 10, 5


def srgb_to_lab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB (D65, 2°) of sRGB colours.

    Args:
        rgb: np.uint8 [..., 3].

    Returns:
        np.float64 [..., 3]: L* in 0…100, a* and b*. White is (100, 0, 0).

    Raises:
        InputError: for another dtype or last dimension.
    """
    rgb = np.asarray(rgb)
    if rgb.dtype != np.uint8 or rgb.ndim < 1 or rgb.shape[-1] != 3:
        raise InputError(
            f"sRGB colours are uint8 [..., 3], got {rgb.dtype} {list(rgb.shape)}"
        )
    return np.moveaxis(_lab_planes(_LINEAR[np.moveaxis(rgb, -1, 0)]), 0, -1)


def ita_degrees(rgb: np.ndarray) -> np.ndarray:
    """The individual typology angle: atan2(L* − 50, b*) in degrees.

    Falls as skin gets darker: about 60° for very light, −50° for dark skin (Chardon et
    al. 1991). It says something of skin pixels only.

    Args:
        rgb: np.uint8 sRGB [..., 3].

    Returns:
        np.float64 [...], −180…180.
    """
    lab = srgb_to_lab(rgb)
    return np.degrees(np.arctan2(lab[..., 0] - 50, lab[..., 2]))


def fitzpatrick_from_ita(ita: float, limits: Sequence[float] = ITA_LIMITS) -> int:
    """The skin type whose usual colour class holds `ita`: an approximation.

    The Fitzpatrick type is how skin reacts to sun, told by the patient; ITA measures
    colour under the photo's light. The six colour classes of ITA are commonly put in
    the place of the six types, and often differ from them by one.

    Args:
        ita: float, degrees.
        limits: between the six types, in degrees, falling.

    Returns:
        int, 1…6.

    Raises:
        InputError: for an angle that is not a number.
    """
    if np.isnan(ita):
        raise InputError("ITA is not a number: of no pixels, or of bad ones?")
    return 1 + sum(bool(ita <= limit) for limit in limits)


def skin_mask(photo: np.ndarray, rois: Sequence[Roi] = ()) -> np.ndarray:
    """Which pixels are likely skin: not cloth, wall, floor, blanket or black padding.

    A heuristic without training. Colours are compared as logarithms of ratios, which
    shading leaves alone. A Gaussian is fitted to the skin-like pixels around the ROIs
    (without ROIs: of the whole photo), so that the photo's own skin colour and light
    count, not an average. What fits it well and hangs together with the surroundings of
    a ROI is skin, what fits it badly is not, and a watershed draws the line between
    along the photo's edges. What has the colour of skin and touches it (a wooden floor,
    beige cloth, another person) can be taken for skin; with ROIs that is rare.

    Args:
        photo: np.uint8 [H, W, 3], RGB.
        rois: boxes that are known to lie on skin; all of each counts as skin.

    Returns:
        bool [H, W].
    """
    height, width = photo.shape[:2]
    mask = _small_skin_mask(_small_copy(photo), rois)
    smooth = cv2.resize(
        mask.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR
    )
    return smooth > 0.5


def estimate_skin_type(photo: np.ndarray, rois: Sequence[Roi] = ()) -> int:
    """The Fitzpatrick skin type that the colour of the skin outside the ROIs suggests.

    That of `skin_ita`, by `fitzpatrick_from_ita`. Light and camera move it: a photo in
    shade reads darker. Not a measurement.

    Args:
        photo: np.uint8 [H, W, 3], RGB.
        rois: boxes to leave out.

    Returns:
        int, 1…6; 0 if less than 2 % of the photo is visible skin outside the ROIs.
    """
    ita = skin_ita(photo, rois)
    return 0 if np.isnan(ita) else fitzpatrick_from_ita(ita)


def skin_ita(photo: np.ndarray, rois: Sequence[Roi] = ()) -> float:
    """The median ITA, in degrees, of the likely skin outside the ROIs.

    Args:
        photo: np.uint8 [H, W, 3], RGB.
        rois: boxes to leave out.

    Returns:
        float; NaN if less than 2 % of the photo is visible skin outside the ROIs.
    """
    small = _small_copy(photo)
    mask = _small_skin_mask(small, rois) & ~_inside_boxes(rois, *small.shape[:2])
    # The outermost pixels mix skin with what lies behind it.
    inner = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    if inner.sum() < _MIN_SKIN_SHARE * inner.size:
        return float("nan")
    return float(np.median(ita_degrees(small[inner])))


def estimation_error(
    known: Sequence[int], estimated: Sequence[int]
) -> dict[str, float]:
    """How far estimated skin types are from known ones.

    Args:
        known: skin types 1…6; photos with 0 (unknown) are left out.
        estimated: as many skin types; photos with 0 (not estimable) are left out.

    Returns:
        "n": photos compared; "exact", "within_one": shares, 0…1;
        "mean_absolute_error" and "mean_error" (estimated − known), in types.
        All but n are NaN when n is 0.
    """
    pairs = [(k, e) for k, e in zip(known, estimated, strict=True) if k and e]
    error = np.array([e - k for k, e in pairs], np.float64)
    mean = np.mean if len(pairs) else lambda values: float("nan")
    return {
        "n": len(pairs),
        "exact": float(mean(error == 0)),
        "within_one": float(mean(abs(error) <= 1)),
        "mean_absolute_error": float(mean(abs(error))),
        "mean_error": float(mean(error)),
    }


def estimated_types(
    itas: Sequence[float], known: Sequence[int], cases: Sequence[str]
) -> tuple[list[int], dict[str, Any]]:
    """Skin types by ITA, with limits fitted to known types where these are enough.

    ITA measures a photo's colour; the Fitzpatrick type is how skin answers to sun. What
    links them differs with light and camera, so that usual limits can be worse than to
    say the commonest type of all photos: that is the error to compare with.

    Args:
        itas: degrees, of each photo; NaN where there is too little skin.
        known: 0…6; 0 = unknown.
        cases: the case of each photo.

    Returns:
        (types, errors): 1…6, 0 where the ITA is NaN; `estimation_error` of "usual"
        limits, of the "commonest" known type for all, with "type", and of the
        "fitted" limits, each case judged by limits fitted to others, None where fewer
        than 30 photos of 10 cases are known; and which is "used".
    """
    usual = [0 if np.isnan(ita) else fitzpatrick_from_ita(ita) for ita in itas]
    judged = [i for i, type_ in enumerate(known) if type_ and not np.isnan(itas[i])]
    truth = [known[i] for i in judged]
    commonest = max(sorted(set(truth)), key=truth.count) if truth else 0
    errors: dict[str, Any] = {
        "usual": estimation_error(truth, [usual[i] for i in judged]),
        "commonest": {
            "type": commonest,
            **estimation_error(truth, [commonest] * len(truth)),
        },
        "fitted": None,
        "used": "usual",
    }
    names = sorted({cases[i] for i in judged})
    if len(judged) < _LEAST_KNOWN or len(names) < _LEAST_CASES:
        return usual, errors
    # Folds by digest: the same whatever the order of photos.
    fold_of = {
        case: hashlib.sha256(case.encode("utf-8", "surrogatepass")).digest()[0] % _FOLDS
        for case in names
    }
    folds = np.array([fold_of[cases[i]] for i in judged])
    angles, types = np.array([itas[i] for i in judged]), np.array(truth)
    left_out = np.zeros(len(judged), int)
    for fold in range(_FOLDS):
        of_fold = folds == fold
        if of_fold.all():
            return usual, errors
        limits = fitted_limits(angles[~of_fold], types[~of_fold])
        left_out[of_fold] = [fitzpatrick_from_ita(a, limits) for a in angles[of_fold]]
    errors["fitted"] = estimation_error(truth, left_out.tolist())
    error = "mean_absolute_error"
    if errors["fitted"][error] >= errors["usual"][error]:
        return usual, errors
    errors["used"] = "fitted"
    limits = fitted_limits(angles, types)
    fitted = [0 if np.isnan(a) else fitzpatrick_from_ita(a, limits) for a in itas]
    return fitted, errors


def fitted_limits(itas: np.ndarray, types: np.ndarray) -> list[float]:
    """The limits of ITA between six types that err least in all, in absolute types.

    Args:
        itas: [n], degrees.
        types: [n], ints 1…6.

    Returns:
        Five angles, falling. Limits between types that no angle is given are equal.
    """
    order = np.argsort(-itas, kind="stable")
    angles, levels = itas[order], np.arange(1, MAX_SKIN_TYPE + 1)
    # The least error of the lightest i photos when the i-th has a type, by dynamic
    # programming: types never fall where the skin gets darker. Equal angles are one.
    starts = np.flatnonzero(np.r_[True, angles[1:] != angles[:-1]])
    costs = np.abs(types[order][:, np.newaxis] - levels)
    costs = np.add.reduceat(costs, starts)
    best, came_from = np.zeros(MAX_SKIN_TYPE), []
    for cost in costs:
        lowest = np.minimum.accumulate(best)
        came_from.append(np.maximum.accumulate(np.where(best == lowest, levels - 1, 0)))
        best = lowest + cost
    level = int(best.argmin())
    given = np.empty(len(starts), int)
    for i in reversed(range(len(starts))):
        given[i] = levels[level]
        level = came_from[i][level]
    middles = angles[starts]
    limits = []
    for type_ in levels[:-1]:
        darker = np.flatnonzero(given > type_)
        if not len(darker):
            limits.append(-180.0)  # no angle is below it
        elif darker[0] == 0:
            limits.append(180.0)
        else:
            limits.append(float(middles[darker[0] - 1] + middles[darker[0]]) / 2)
    return limits


def _small_copy(photo: np.ndarray) -> np.ndarray:
    """The photo with a longest side of at most _WORKING_SIDE, hairs smoothed away."""
    height, width = photo.shape[:2]
    scale = min(1.0, _WORKING_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
    return cv2.medianBlur(small, 5)


def _inside_boxes(rois: Sequence[Roi], height: int, width: int) -> np.ndarray:
    inside = np.zeros((height, width), bool)
    for roi in rois:
        top, left, bottom, right = box_pixels(roi.box, height, width)
        inside[top:bottom, left:right] = True
    return inside


def _around_boxes(rois: Sequence[Roi], height: int, width: int) -> np.ndarray:
    """The boxes with a margin of half their longer side, at least 5 % of the photo."""
    around = np.zeros((height, width), bool)
    for roi in rois:
        top, left, bottom, right = box_pixels(roi.box, height, width)
        margin = max(bottom - top, right - left) / 2
        margin = int(max(margin, 0.05 * max(height, width)))
        rows = slice(max(top - margin, 0), bottom + margin)
        around[rows, max(left - margin, 0) : right + margin] = True
    return around


def _small_skin_mask(small: np.ndarray, rois: Sequence[Roi]) -> np.ndarray:
    """`skin_mask` of a photo of working size.

    The constants were set by eye on clinic photographs of feet before floors, blankets
    and walls, and on close-ups of lesions, of light to dark skin.
    """
    shape = small.shape[:2]
    # Colours are float32 planes, [3, H, W]: several times as fast to compute with.
    planes = np.stack(cv2.split(small))
    lab = _lab_planes(_LINEAR_32[planes])
    likelihood = _skin_likelihood(lab)
    lit = lab[0] > 5  # not black padding
    inside = _inside_boxes(rois, *shape)
    around = _around_boxes(rois, *shape)
    features = _chromaticity(planes)
    sample = around & ~inside & lit if rois else lit
    weights = np.square(likelihood[sample])
    # Where little around the ROIs looks like skin, their surroundings are believed to
    # be skin all the same: very pale, or in green or blue light.
    believed = bool(rois) and weights.size > 0 and weights.mean() < 0.1
    if believed:
        weights = weights + 0.05
    if weights.sum() > 1:  # else the boxes fill the photo, or nothing is like skin
        distance = _distance_from_main_colour(features, features[:, sample], weights)
    else:
        distance = np.full(shape, np.inf)
    # Squared Mahalanobis distance, 3 degrees of freedom: 93 % of a Gaussian lies within
    # 7, 99.99 % within 22. Likelihood is judged against that of the main colour.
    main = distance < 3
    typical = np.median(likelihood[main]) if main.any() and not believed else 0.0
    near, likely = distance < 7, likelihood >= 0.25 * typical
    sure = near & likely & lit
    hopeless = (distance > 22) | (likelihood < 0.1 * typical) | ~(near | likely) | ~lit
    square = np.ones((3, 3), np.uint8)
    sure = cv2.morphologyEx(sure.astype(np.uint8), cv2.MORPH_OPEN, square)
    sure = _connected_skin(sure, around if rois else None)
    hopeless &= ~inside & (cv2.dilate(sure, square) == 0)
    markers = np.zeros(shape, np.int32)
    markers[cv2.erode(hopeless.astype(np.uint8), square) > 0] = 1
    markers[cv2.erode(sure, square) > 0] = 2
    markers[inside] = 2
    if not (markers == 2).any():
        return np.zeros(shape, bool)
    skin = (cv2.watershed(small, markers) == 2).astype(np.uint8)
    # Closing takes back the line that the watershed leaves between regions.
    skin = cv2.morphologyEx(skin, cv2.MORPH_CLOSE, square)
    return _small_holes_filled(skin) | inside


def _lab_planes(linear: np.ndarray) -> np.ndarray:
    """CIELAB of linear light, floats [3, ...], in the same precision."""
    xyz = np.tensordot(_WHITE_FROM_RGB.astype(linear.dtype), linear, axes=1)
    # CIE 15:2004: a cube root with a straight line near black.
    delta = 6 / 29
    f = np.cbrt(xyz)
    dark = xyz <= delta**3
    f[dark] = xyz[dark] / (3 * delta**2) + 4 / 29
    x, y, z = f
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def _skin_likelihood(lab: np.ndarray) -> np.ndarray:
    """0…1: how much a CIELAB colour, [3, ...], looks like skin in any usual light.

    Skin of all six types has hues around 50° (Xiao et al. 2017, "Characterising the
    variations in ethnic skin colours": 40…65° for whole populations), wider in
    photographs, and is not grey. Dark colours may have less chroma. Yellowish ones need
    more: a sole is a strong yellow, wood and beige walls are a weak one.
    """
    lightness, a, b = lab
    chroma = np.sqrt(a * a + b * b)
    hue = np.degrees(np.arctan2(b, a))
    least_chroma = 9 * np.clip(lightness / 40, 0.6, 1) + np.clip(hue - 55, 0, 25) / 4
    likelihood = np.exp(-0.5 * ((hue - 48) / 22) ** 2)
    likelihood /= 1 + np.exp((least_chroma - chroma) / 2)
    return likelihood * ((lightness > 5) & (lightness < 97))


def _chromaticity(planes: np.ndarray) -> np.ndarray:
    """[3, ...] of linear light: log R/G, log G/B, mean log; shading moves the last."""
    red, green, blue = logs = _LOG_32[planes]
    return np.stack([red - green, green - blue, logs.mean(axis=0)])


def _distance_from_main_colour(
    features: np.ndarray, sample: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Squared Mahalanobis distance of `features` from the main cluster of `sample`.

    A weighted Gaussian, refitted with weights that fall with the distance, so that it
    settles on one cluster. A floor under the variances keeps even skin from becoming
    too choosy, of brightness most of all.

    Args:
        features: [3, H, W].
        sample: [3, n].
        weights: [n].

    Returns:
        [H, W].
    """
    floor = np.diag(np.square([0.12, 0.12, 0.6]))
    fitted = weights
    for _ in range(4):
        mean = sample @ fitted / fitted.sum()
        offset = sample - mean[:, np.newaxis]
        covariance = (fitted * offset) @ offset.T / fitted.sum() + floor
        inverse = np.linalg.inv(covariance).astype(sample.dtype)
        fitted = weights * np.exp(((inverse @ offset) * offset).sum(axis=0) / -4)
    offset = features.reshape(3, -1) - mean[:, np.newaxis]
    distance = ((inverse @ offset) * offset).sum(axis=0)
    return distance.reshape(features.shape[1:])


def _connected_skin(mask: np.ndarray, around: np.ndarray | None) -> np.ndarray:
    """The regions that reach `around` the ROIs; without ROIs, the large ones."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
    if around is None:
        keep = stats[:, cv2.CC_STAT_AREA] > _MIN_SKIN_SHARE * mask.size
    else:
        keep = np.bincount(labels[around], minlength=len(stats)) > 0
    keep[0] = False
    return keep[labels].astype(np.uint8)


def _small_holes_filled(mask: np.ndarray) -> np.ndarray:
    """Fills holes of less than 1 % of the photo: nails, pen marks, highlights."""
    height, width = mask.shape
    _, labels, stats, _ = cv2.connectedComponentsWithStats(1 - mask, connectivity=8)
    left, top, columns, rows, area = stats.T
    enclosed = (left > 0) & (top > 0) & (left + columns < width) & (top + rows < height)
    fill = enclosed & (area < 0.01 * mask.size)
    fill[0] = True  # the mask itself
    return fill[labels]
