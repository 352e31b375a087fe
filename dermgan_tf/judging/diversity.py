"""Does the generator paint different images, or one image over and over?

The mean pairwise Euclidean distance between activations, by condition:
    same_map      between seeds of one map: what the seed alone changes
    between_maps  between images of maps of different cases: what somebody gets who
                  draws a data set
    real          between photographs of different cases
    real_same_type  the same, of one skin type: the stricter reference, as skin colour
                  makes no part of it
A ratio of 1 is the diversity of the photographs. Noise and artefacts raise distances,
too: a ratio above 1 is no merit, and none of these says that an image is good.
Photographs differ by all that a map holds (type, place, size), so same_map is expected
below real; one well below real_same_type says that the seed does little.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from dermgan_tf.errors import InputError
from dermgan_tf.judging.intervals import case_weights
from dermgan_tf.judging.scenes import drawn_scenes, painted
from dermgan_tf.metrics.bootstrap import percentile_interval
from dermgan_tf.metrics.neighbors import pairwise_distances
from dermgan_tf.progress import silent

RATIOS = (
    ("same_map", "real"),
    ("same_map", "real_same_type"),
    ("between_maps", "real"),
    ("between_maps", "real_same_type"),
)
MIN_CASES = 3  # two have but one distance: resampling tells nothing of it


def diversity(
    generator: Any,
    embedding: Any,
    pairs: Iterable[dict[str, Any]],
    train_pairs: Iterable[dict[str, Any]] = (),
    maps_per_condition: int = 20,
    seeds_per_map: int = 4,
    max_real: int = 60,
    seed: int = 0,
    progress: Callable = silent,
) -> dict[str, Any]:
    """Judges how different the images of a condition are.

    Args:
        generator: with `.paint` and `.image_size`.
        embedding: with `.embed`.
        pairs: held-out pairs as `read_pairs` yields. Those without a box of their
            condition are left out.
        train_pairs: more photographs for the reference, of other cases.
        maps_per_condition: int ≥ 1. At most so many maps of each condition are painted.
        seeds_per_map: int ≥ 2. With so many seeds each.
        max_real: int ≥ 1. At most so many photographs of each condition are taken from
            `pairs`, and as many from `train_pairs`.
        seed: int. Of the draws and of the bootstrap.
        progress: see `dermgan_tf.progress`.

    Returns:
        dict of JSON values:
        seeds_per_map
        by_condition  list of condition, maps, map_cases, real_images, real_cases;
            distances: same_map, between_maps, real, real_same_type, each a dict of
                value (in units of the activations), interval_95 over resampled cases,
                pairs (of images) and cases (that take part). value is None without a
                pair, interval_95 with fewer than three cases.
            ratios: "same_map / real" and the others of `RATIOS`, each a dict of value,
                interval_95 and undefined, which says why those are None
        overall       of each ratio a dict of value (the mean over the conditions that
                      have it), interval_95, conditions (how many) and left_out (the
                      names of the others)

    Raises:
        InputError: for no pair with a box of its condition, a synthetic pair, one of
            another image size, a case in both `pairs` and `train_pairs`, an argument
            out of range, or activations that are not finite.
    """
    if min(maps_per_condition, max_real) < 1 or seeds_per_map < 2:
        raise InputError(
            f"{maps_per_condition} maps a condition, {seeds_per_map} seeds a map, "
            f"{max_real} photographs: want at least 1, 2 and 1"
        )

    def by_condition(some: Iterable[dict[str, Any]], count: int) -> dict[str, list]:
        groups: dict[str, list] = {}
        for scene in drawn_scenes(
            some,
            generator.image_size,
            count,
            seed,
            suits=lambda pair: pair["condition"] in pair["box_conditions"],
            group_of=lambda pair: pair["condition"],
        ):
            groups.setdefault(scene[1]["condition"], []).append(scene)
        return groups

    held_out = by_condition(pairs, max(max_real, maps_per_condition))
    if not held_out:
        raise InputError("there is no pair with a box of its condition to paint from")
    train = by_condition(train_pairs, max_real)
    _require_apart(held_out, train)
    rows, resampled = [], []
    for k, name in enumerate(progress(held_out, total=len(held_out), desc="diversity")):
        maps = held_out[name][:maps_per_condition]
        synthetic = embedding.embed(
            image
            for *_, images in painted(generator, maps, _same_map(seeds_per_map))
            for image in images
        )
        photographs = [*held_out[name][:max_real], *train.get(name, ())]
        real = embedding.embed(pair["image"] for _, pair in photographs)
        cases = _Cases(held_out[name], train.get(name, ()), seed, k)
        row, draws = _compared(cases, maps, synthetic, photographs, real)
        rows.append({"condition": name, **row})
        resampled.append(draws)
    return {
        "seeds_per_map": seeds_per_map,
        "by_condition": rows,
        "overall": {name: _overall(name, rows, resampled) for name in resampled[0]},
    }


class _Cases:
    """The cases of a condition, and how often each is drawn in each resample.

    Held-out cases and training cases are drawn apart: maps are of the former only.
    """

    def __init__(self, held_out: Sequence, train: Sequence, seed: int, condition: int):
        kinds = [sorted({pair["case_id"] for _, pair in k}) for k in (held_out, train)]
        self._index = {case: i for i, case in enumerate(kinds[0] + kinds[1])}
        self.weights = np.concatenate(
            [
                case_weights(len(names), _own_seed(seed, condition, part))
                for part, names in enumerate(kinds)
                if names
            ],
            axis=1,
        )  # [resamples, cases]

    def of(self, scenes: Iterable) -> np.ndarray:
        """int [n]: the case of each scene."""
        return np.array([self._index[pair["case_id"]] for _, pair in scenes])

    def mean_distance(
        self, distances: np.ndarray, compared: np.ndarray, cases: np.ndarray
    ) -> tuple[dict[str, Any], np.ndarray]:
        """The mean of `distances` [n, n] where `compared`, and that of each resample.

        A pair of images counts as often as both their cases were drawn.
        """
        member = (cases[:, np.newaxis] == np.arange(len(self._index))).astype(float)
        sums = member.T @ (distances * compared) @ member
        counts = member.T @ compared @ member
        # Two images of one case come as often as it does.
        own_sums, own_counts = np.diag(sums), np.diag(counts)
        weights = self.weights
        above = ((weights @ (sums - np.diag(own_sums))) * weights).sum(axis=1)
        below = ((weights @ (counts - np.diag(own_counts))) * weights).sum(axis=1)
        above, below = above + weights @ own_sums, below + weights @ own_counts
        resampled = np.full(len(weights), np.nan)
        np.divide(above, below, out=resampled, where=below > 0)
        taking_part = int((counts.sum(axis=1) > 0).sum())
        if taking_part < MIN_CASES:
            resampled[:] = np.nan
        return {
            "value": float(sums.sum() / counts.sum()) if counts.any() else None,
            "interval_95": percentile_interval(resampled),
            "pairs": int(counts.sum()) // 2,
            "cases": taking_part,
        }, resampled


def _compared(
    cases: _Cases, maps: Sequence, synthetic: np.ndarray, photographs: Sequence, real
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """A condition's distances and ratios, and the ratios of each resample."""
    seeds = len(synthetic) // len(maps)
    map_of = np.repeat(np.arange(len(maps)), seeds)
    map_cases, real_cases = np.repeat(cases.of(maps), seeds), cases.of(photographs)
    types = np.array([pair["fitzpatrick"] for _, pair in photographs])
    between_synthetic = pairwise_distances(synthetic, synthetic)
    between_real = pairwise_distances(real, real)
    same_map = _equal(map_of) & ~np.eye(len(synthetic), dtype=bool)
    other_case = ~_equal(real_cases)
    found = {
        "same_map": cases.mean_distance(between_synthetic, same_map, map_cases),
        "between_maps": cases.mean_distance(
            between_synthetic, ~_equal(map_cases), map_cases
        ),
        "real": cases.mean_distance(between_real, other_case, real_cases),
        "real_same_type": cases.mean_distance(
            between_real, other_case & _equal(types) & (types > 0), real_cases
        ),
    }
    ratios, draws = {}, {}
    for a, b in RATIOS:
        ratios[f"{a} / {b}"], draws[f"{a} / {b}"] = _ratio(a, b, found)
    return {
        "maps": len(maps),
        "map_cases": len(np.unique(map_cases)),
        "real_images": len(real),
        "real_cases": len(np.unique(real_cases)),
        "distances": {name: distance for name, (distance, _) in found.items()},
        "ratios": ratios,
    }, draws


def _ratio(a: str, b: str, found: dict) -> tuple[dict[str, Any], np.ndarray]:
    (above, above_draws), (below, below_draws) = found[a], found[b]
    undefined = None
    for name, distance in ((a, above), (b, below)):
        if distance["cases"] < MIN_CASES:
            undefined = f"{name} has {distance['cases']} cases; {MIN_CASES} are needed"
    if undefined is None and not below["value"]:
        undefined = f"the images of {b} do not differ"
    if undefined:
        missing = {"value": None, "interval_95": None, "undefined": undefined}
        return missing, np.full(len(above_draws), np.nan)
    draws = np.full(len(above_draws), np.nan)
    np.divide(above_draws, below_draws, out=draws, where=below_draws > 0)
    return {
        "value": above["value"] / below["value"],
        "interval_95": percentile_interval(draws),
        "undefined": None,
    }, draws


def _overall(name: str, rows: Sequence[dict], resampled: Sequence[dict]) -> dict:
    values = [row["ratios"][name]["value"] for row in rows]
    having = [i for i, value in enumerate(values) if value is not None]
    left_out = [row["condition"] for row in rows if row["ratios"][name]["undefined"]]
    found = {"value": None, "interval_95": None}
    if having:
        found = {
            "value": float(np.mean([values[i] for i in having])),
            # A resample that leaves one of them without a ratio tells of other ones.
            "interval_95": percentile_interval(
                np.mean([resampled[i][name] for i in having], axis=0)
            ),
        }
    return {**found, "conditions": len(having), "left_out": left_out}


def _same_map(seeds: int) -> Callable:
    def variants(position: int, pair: dict[str, Any]):
        maps = np.repeat(pair["semantic_map"][np.newaxis], seeds, axis=0)
        return maps, [position * seeds + i for i in range(seeds)]

    return variants


def _require_apart(held_out: dict[str, list], train: dict[str, list]) -> None:
    cases = [
        {pair["case_id"] for scenes in groups.values() for _, pair in scenes}
        for groups in (held_out, train)
    ]
    if shared := cases[0] & cases[1]:
        raise InputError(f"case {min(shared)} is both held out and trained on")


def _equal(values: np.ndarray) -> np.ndarray:
    """bool [n, n]: which two of `values` [n] are equal."""
    return values[:, np.newaxis] == values


def _own_seed(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1)[0])
