"""Does skin get darker when a darker skin type is asked for, all else being equal?

Every scene is painted on all six skin types with one seed. The colour of skin is its
median individual typology angle (ITA) in degrees, over the same pixels in all six
images of a scene: those outside the boxes that most of the six show as likely skin. A
mask of each image's own would choose pixels by the colour that is to be measured.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import scipy.stats

from dermgan_tf.errors import InputError
from dermgan_tf.judging.intervals import interval_of, share
from dermgan_tf.judging.scenes import drawn_scenes, painted, require_photograph
from dermgan_tf.photos.semantic_map import Roi, roi_mask, skin_type_code
from dermgan_tf.photos.skin_tone import fitzpatrick_from_ita, ita_degrees, skin_mask
from dermgan_tf.progress import silent

SKIN_TYPES = (1, 2, 3, 4, 5, 6)
# A smaller share of visible skin outside the boxes says nothing reliable of its colour.
MIN_SKIN_SHARE = 0.02
_MAJORITY = 4  # of the six images must show a pixel as skin

_Measured = tuple[int, float, str]  # requested skin type, ITA, case


def skin_tone_control(
    generator: Any,
    pairs: Iterable[dict[str, Any]],
    max_scenes: int | None = 100,
    seed: int = 0,
    real_ita_by_type: Mapping[int, float | None] | None = None,
    progress: Callable = silent,
) -> dict[str, Any]:
    """Judges how skin colour follows the requested type.

    Args:
        generator: with `.paint` and `.image_size`.
        pairs: held-out pairs as `read_pairs` yields.
        max_scenes: int ≥ 1, or None for all. Scenes to paint, each six times; a scene's
            seed is its position among `pairs`.
        seed: int. Of the draw of scenes and of the bootstrap.
        real_ita_by_type: from `ita_by_type`, of the generator's training images.
        progress: see `dermgan_tf.progress`.

    Returns:
        dict of JSON values:
        scenes, cases     drawn
        measured, unmeasured   sweeps with, and without, enough common skin
        without_skin      by type "1"…"6": images that show hardly any likely skin by
                          themselves, measured or not
        spearman          of ITA with requested type: value, interval_95 over resampled
                          cases, images, cases; best is what perfect order has, which
                          is not −1, as six types rank many images; undefined says why
                          value is None
        monotonic         share of the measured sweeps whose ITA falls at every step
        falling_steps     share of all their steps, five each, at which it falls
        by_type           list of fitzpatrick, images, ita (median, °), interval_95
        classes           the type that ITA suggests by the limits of
                          `fitzpatrick_from_ita`: synthetic and real, see below
        data_colours      the type whose real training images have the nearest median
                          ITA, out of those known (real_ita, by type "1"…"6"), likewise;
                          or None of both and undefined, which says why

        synthetic and real are dicts of confusion (int [6][6], rows requested, columns
        measured), exact and within_one (shares), images and left_out (images of types
        that have no reference). The real images are the scenes' own photographs against
        their annotated types: no generator that is true to the data does better.
        Shares are as `dermgan_tf.judging.intervals.share` returns them.

    Raises:
        InputError: for no pairs, a synthetic one, or one of another image size.
    """
    scenes = drawn_scenes(pairs, generator.image_size, max_scenes, seed)
    if not scenes:
        raise InputError("there are no pairs to judge skin tones by")
    sweeps, cases, without_skin, photographs = [], [], Counter(), []
    progressing = progress(
        painted(generator, scenes, _six_types), total=len(scenes), desc="skin types"
    )
    for _, pair, _, images in progressing:
        masks = np.stack([_likely_skin(image, pair) for image in images])
        for t, mask in zip(SKIN_TYPES, masks, strict=True):
            without_skin[t] += int(mask.mean() < MIN_SKIN_SHARE)
        common = masks.sum(axis=0) >= _MAJORITY
        if common.mean() >= MIN_SKIN_SHARE:
            sweeps.append([np.median(ita_degrees(image[common])) for image in images])
            cases.append(pair["case_id"])
        ita = _photograph_ita(pair)
        if ita is not None:
            photographs.append((pair["fitzpatrick"], ita, pair["case_id"]))
    itas = np.array(sweeps, np.float64).reshape(-1, len(SKIN_TYPES))
    falls = np.diff(itas, axis=1) < 0
    synthetic = [
        (t, ita, case)
        for row, case in zip(itas, cases, strict=True)
        for t, ita in zip(SKIN_TYPES, row, strict=True)
    ]
    return {
        "scenes": len(scenes),
        "cases": len({pair["case_id"] for _, pair in scenes}),
        "measured": len(itas),
        "unmeasured": len(scenes) - len(itas),
        "without_skin": {str(t): without_skin[t] for t in SKIN_TYPES},
        "spearman": _correlation(itas, cases, seed),
        "monotonic": share(falls.all(axis=1), cases),
        "falling_steps": share(falls.ravel(), np.repeat(cases, falls.shape[1])),
        "by_type": [
            _colour_of_type(t, column, cases, seed)
            for t, column in zip(SKIN_TYPES, itas.T, strict=True)
        ],
        "classes": {
            "synthetic": _agreement(synthetic, SKIN_TYPES, fitzpatrick_from_ita),
            "real": _agreement(photographs, SKIN_TYPES, fitzpatrick_from_ita),
        },
        "data_colours": _by_data_colours(synthetic, photographs, real_ita_by_type),
    }


def ita_by_type(pairs: Iterable[dict[str, Any]]) -> dict[int, float]:
    """The median ITA, in degrees, of the photographs of each skin type that has any.

    Args:
        pairs: as `read_pairs` yields; those of unknown type, and those without enough
            visible skin outside their boxes, say nothing.
    """
    itas: dict[int, list[float]] = {}
    for pair in pairs:
        require_photograph(pair)
        ita = _photograph_ita(pair)
        if ita is not None:
            itas.setdefault(pair["fitzpatrick"], []).append(ita)
    return {t: float(np.median(itas[t])) for t in sorted(itas)}


def _six_types(position: int, pair: dict[str, Any]):
    maps = np.repeat(pair["semantic_map"][np.newaxis], len(SKIN_TYPES), axis=0)
    for own, t in zip(maps, SKIN_TYPES, strict=True):
        own[..., 0] = skin_type_code(t)
    return maps, [position] * len(SKIN_TYPES)


def _likely_skin(image: np.ndarray, pair: dict[str, Any]) -> np.ndarray:
    """bool [S, S]: skin outside the boxes."""
    rois = [
        Roi(box.tolist(), name)
        for box, name in zip(pair["boxes"], pair["box_conditions"], strict=True)
    ]
    return skin_mask(image, rois) & (roi_mask(pair["semantic_map"])[..., 0] == 0)


def _photograph_ita(pair: dict[str, Any]) -> float | None:
    """None of an unknown type, or without enough skin."""
    if not pair["fitzpatrick"]:
        return None
    mask = _likely_skin(pair["image"], pair)
    if mask.mean() < MIN_SKIN_SHARE:
        return None
    return float(np.median(ita_degrees(pair["image"][mask])))


def _correlation(itas: np.ndarray, cases: Sequence, seed: int) -> dict[str, Any]:
    def spearman(items) -> float:
        some = itas[items]
        if not len(some) or np.ptp(some) == 0:
            return float("nan")
        types = np.tile(SKIN_TYPES, len(some))
        return float(scipy.stats.spearmanr(types, some.ravel()).statistic)

    value = spearman(slice(None))
    found = {"value": None, "interval_95": None, "best": None, "undefined": None}
    if np.isnan(value):
        why = "every image has the same ITA" if len(itas) else "no sweep was measured"
        found["undefined"] = why
    else:
        types = np.tile(SKIN_TYPES, len(itas))
        in_order = -types - np.arange(itas.size) / itas.size
        found["best"] = float(scipy.stats.spearmanr(types, in_order).statistic)
        found["value"] = value
        if interval := interval_of(spearman, cases, seed):
            # Resamples repeat images, whose ties move the best value by a hair.
            found["interval_95"] = [min(interval[0], value), max(interval[1], value)]
    return {**found, "images": itas.size, "cases": len(set(cases))}


def _colour_of_type(
    fitzpatrick: int, itas: np.ndarray, cases: Sequence, seed: int
) -> dict[str, Any]:
    return {
        "fitzpatrick": fitzpatrick,
        "images": len(itas),
        "ita": float(np.median(itas)) if len(itas) else None,
        "interval_95": interval_of(lambda items: np.median(itas[items]), cases, seed),
    }


def _by_data_colours(
    synthetic: Sequence[_Measured],
    photographs: Sequence[_Measured],
    real_ita_by_type: Mapping[int, float | None] | None,
) -> dict[str, Any]:
    given = (real_ita_by_type or {}).items()
    colours = {
        int(t): float(ita)
        for t, ita in given
        if int(t) in SKIN_TYPES and ita is not None and np.isfinite(ita)
    }
    found = {
        "real_ita": {str(t): colours.get(t) for t in SKIN_TYPES},
        "synthetic": None,
        "real": None,
        "undefined": None,
    }
    if len(colours) < 2:
        why = f"the ITA of {len(colours)} skin types of the data is known; 2 are needed"
        return {**found, "undefined": why}

    def nearest(ita: float) -> int:
        return min(sorted(colours), key=lambda t: abs(colours[t] - ita))

    found["synthetic"] = _agreement(synthetic, colours, nearest)
    found["real"] = _agreement(photographs, colours, nearest)
    return found


def _agreement(
    measured: Sequence[_Measured],
    known: Collection[int],
    type_of: Callable[[float], int],
) -> dict[str, Any]:
    """Requested against measured types, of the types in `known`."""
    compared = [(t, type_of(ita), case) for t, ita, case in measured if t in known]
    confusion = np.zeros((len(SKIN_TYPES), len(SKIN_TYPES)), int)
    for requested, found, _ in compared:
        confusion[requested - 1, found - 1] += 1
    steps = np.array([abs(found - requested) for requested, found, _ in compared])
    cases = [case for _, _, case in compared]
    return {
        "confusion": confusion.tolist(),
        "exact": share(steps == 0, cases),
        "within_one": share(steps <= 1, cases),
        "images": len(compared),
        "left_out": len(measured) - len(compared),
    }
