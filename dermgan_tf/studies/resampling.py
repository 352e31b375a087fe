"""Intervals and tests of a comparison: cases are drawn again, and swapped between arms.

Every array of values has the score on the real cases in its first column and the scores
on resamples of the cases in the others.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import scipy.stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from dermgan_tf.metrics.bootstrap import percentile_interval, stratified_case_weights
from dermgan_tf.progress import silent
from dermgan_tf.studies.scores import Scorer, TestSet, count_scores

BLOCK = 250  # resamples that are worked on at once; more take memory, not less time
_HAIR = 1e-12

Scores = dict[str, np.ndarray]


def resampled_scores(
    arms: Sequence[Sequence[Scorer]],
    strata: np.ndarray,
    resamples: int,
    seed: int,
    derive: Callable[[Scores], Scores],
    progress: Callable = silent,
) -> list[Scores]:
    """Scores all files on the same resamples of cases.

    Args:
        arms: scorers of each arm's files.
        strata: int [C]; see `stratified_case_weights`.
        resamples: int, R.
        seed: int. Of the draws.
        derive: adds scores made of others.
        progress: wraps an iterable; see `dermgan_tf.progress`.

    Returns:
        for each arm the scores by name, float64 [files, …, 1 + R].
    """
    rng = np.random.default_rng(seed)
    found: list[list[list[Scores]]] = [[[] for _ in files] for files in arms]
    starts = range(0, resamples, BLOCK)
    for start in progress([None, *starts], desc="resamples"):
        if start is None:
            weights = np.ones((len(strata), 1))
        else:
            weights = stratified_case_weights(
                strata, min(BLOCK, resamples - start), rng
            )
        for files, parts in zip(arms, found, strict=True):
            for scorer, part in zip(files, parts, strict=True):
                part.append(derive(scorer.scores(weights)))
    return [
        {
            name: np.stack(
                [np.concatenate([p[name] for p in part], -1) for part in parts]
            )
            for name in parts[0][0]
        }
        for parts in found
    ]


def over_seeds(values: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """The mean over training seeds on each resample, with the seeds' own uncertainty.

    Resampling cases tells how the mean over these very seeds varies. What other seeds
    would have given comes on top: a draw of Student's t times the standard error that
    the variance between seeds gives, less the part of it that the cases explain (each
    seed errs on other photos). It is the usual estimate of a random effect's variance,
    and 0 where seeds differ no more than the choice of cases makes them.

    Args:
        values: [S, 1 + R], a row a seed.
        noise: [R], draws of Student's t with S − 1 degrees of freedom.

    Returns:
        [R].
    """
    draws = values[:, 1:].mean(axis=0)
    seeds = len(values)
    defined = ~np.isnan(draws)
    if seeds == 1 or not defined.any():
        return draws
    apart = (values[:, 1:] - draws)[:, defined]
    explained = apart.var(axis=1).sum() / (seeds - 1)
    own = max(0.0, values[:, 0].var(ddof=1) - explained)
    return draws + np.sqrt(own / seeds) * noise


def seed_noise(seeds: int, resamples: int, seed: int, stream: int) -> np.ndarray:
    """Draws for `over_seeds`: [resamples], of Student's t; zeros for one seed."""
    if seeds == 1:
        return np.zeros(resamples)
    rng = np.random.default_rng([seed, stream])
    return rng.standard_t(seeds - 1, resamples)


def estimate(
    values: np.ndarray,
    noise: np.ndarray,
    cases: int,
    why: str,
    centred: bool = False,
) -> dict[str, Any]:
    """A score of one arm: the mean over its seeds.

    Args:
        values: [S, 1 + R], in 0…1.
        noise: [R]; see `over_seeds`.
        cases: int. How many the score is of; fewer than two give no interval.
        why: str. What makes the score undefined where it is.
        centred: bool. Whether the resamples' scores are moved so that their mean is
            the value: for scores that noise only makes larger, as the largest of gaps,
            and that have more of it in resamples than in the data.

    Returns:
        dict of value, interval_95, standard_deviation (between seeds), seeds (their
        values), resamples (that define it) and undefined (why, or None).
    """
    draws = over_seeds(values, noise)
    if centred:
        draws = _centred(draws, values[:, 0])
    return _entry(values[:, 0], draws, cases, why, (0.0, 1.0))


def difference(
    arm: np.ndarray,
    baseline: np.ndarray,
    noises: tuple[np.ndarray, np.ndarray],
    cases: int,
    why: str,
    p_permutation: float | None,
    centred: bool = False,
) -> dict[str, Any]:
    """A score of one arm minus the baseline's, on the same resamples.

    Args:
        arm, baseline: [S, 1 + R], [S′, 1 + R]. Seeds are paired where S = S′.
        noises: draws for `over_seeds`, of each.
        cases, why, centred: see `estimate`.
        p_permutation: of `swapped_p`, where there is one.

    Returns:
        as `estimate`, and p_bootstrap, p_permutation and p, the larger of the two.
        Without pairs of seeds, standard_deviation and seeds are None.
    """
    if len(arm) == len(baseline):
        values = arm - baseline
        points, draws = values[:, 0], over_seeds(values, noises[0])
    else:
        points = arm[:, 0].mean(keepdims=True) - baseline[:, 0].mean()
        draws = over_seeds(arm, noises[0]) - over_seeds(baseline, noises[1])
    if centred:
        draws = _centred(draws, points)
    entry = _entry(points, draws, cases, why, (-1.0, 1.0))
    if len(arm) != len(baseline):
        entry |= {"standard_deviation": None, "seeds": None}
    p = None
    if entry["interval_95"]:
        p = bootstrap_p(draws)
    undefined = entry["value"] is None
    known = [x for x in (p, p_permutation) if x is not None]
    return {
        **entry,
        "p_bootstrap": p,
        "p_permutation": None if undefined else p_permutation,
        "p": max(known) if known and not undefined else None,
    }


def bootstrap_p(draws: np.ndarray) -> float:
    """Two-sided: how often resamples lie on the other side of 0 (0 is on both)."""
    draws = draws[~np.isnan(draws)]
    below = 1 + (draws <= _HAIR).sum()
    above = 1 + (draws >= -_HAIR).sum()
    return min(1.0, float(2 * min(below, above) / (1 + len(draws))))


def swapped_p(
    arm: Sequence[Scorer],
    baseline: Sequence[Scorer],
    types: int,
    resamples: int,
    seed: int,
    derive: Callable[[Scores], Scores],
) -> dict[str, np.ndarray]:
    """Permutation tests of all scores that are made of counts, between two arms.

    Were both arms alike, their predictions of a case could be swapped. The difference
    is compared with those after random swaps of whole cases, of all seeds together;
    scores are of counts averaged over the seeds. Unlike a bootstrap it stays honest of
    few cases: two of them never give a p below 1/2. With unequal numbers of seeds it is
    approximate.

    Args:
        arm, baseline: scorers of the arms' files.
        types: int. Skin types that have photos.
        resamples: int. How many random swaps.
        seed: int. Of the swaps.
        derive: adds scores made of others.

    Returns:
        p by the score's name, as its values without the last axis; NaN if undefined.
    """
    ours, theirs = _mean_counts(arm), _mean_counts(baseline)
    both = {name: ours[name] + theirs[name] for name in ours}
    apart = {name: ours[name] - theirs[name] for name in ours}
    cases = ours["true"].shape[1]
    ones = np.ones((cases, 1))

    def differences(signs: np.ndarray) -> Scores:
        total = {name: x @ ones for name, x in both.items()}
        moved = {name: x @ signs for name, x in apart.items()}
        first = {name: (total[name] + moved[name]) / 2 for name in both}
        second = {name: (total[name] - moved[name]) / 2 for name in both}
        first, second = (derive(count_scores(c, types)) for c in (first, second))
        return {name: first[name] - second[name] for name in first}

    seen = differences(ones)
    rng = np.random.default_rng(seed)
    beyond = {name: np.zeros(x.shape[:-1]) for name, x in seen.items()}
    for start in range(0, resamples, BLOCK):
        count = min(BLOCK, resamples - start)
        swapped = differences(rng.integers(2, size=(cases, count)) * 2.0 - 1)
        for name, x in swapped.items():
            # A swap may take the last prediction of a condition away: that is no sign
            # against the difference, but counts as one.
            reached = ~(np.abs(x) < np.abs(seen[name]) - _HAIR)
            beyond[name] += reached.sum(axis=-1)
    return {
        name: np.where(np.isnan(seen[name][..., 0]), np.nan, (1 + x) / (1 + resamples))
        for name, x in beyond.items()
    }


def _centred(draws: np.ndarray, points: np.ndarray) -> np.ndarray:
    defined = draws[~np.isnan(draws)]
    return draws - defined.mean() + points.mean() if len(defined) else draws


def _mean_counts(scorers: Sequence[Scorer]) -> Mapping[str, Any]:
    return {
        name: sum(s.counts[name] for s in scorers) / len(scorers)
        for name in scorers[0].counts
    }


def _entry(points, draws, cases, why, bounds) -> dict[str, Any]:
    defined = int((~np.isnan(draws)).sum())
    undefined = np.isnan(points).sum()
    interval = None
    if not undefined and cases > 1 and 2 * defined > len(draws):
        interval = [float(x) for x in np.clip(percentile_interval(draws), *bounds)]
    if undefined and undefined < len(points):
        why = f"{why}, by {undefined} of {len(points)} training seeds"
    several = len(points) > 1 and not undefined
    return {
        "value": None if undefined else float(points.mean()),
        "interval_95": interval,
        "standard_deviation": float(points.std(ddof=1)) if several else None,
        "seeds": [None if np.isnan(x) else float(x) for x in points],
        "resamples": defined,
        "undefined": why if undefined else None,
    }


def paired_tests(
    test_set: TestSet, arm: Sequence[Scorer], baseline: Sequence[Scorer]
) -> dict[str, Any]:
    """McNemar's test and the paired t-test of an arm and the baseline.

    Args:
        test_set: the photos.
        arm, baseline: scorers of their files.

    Returns:
        "mcnemar", of cases that most seeds are right of; "t_test", by photo, as in the
        paper, and by case.
    """
    photos = np.bincount(test_set.cases)
    # Of unequal numbers of seeds one may allow for ties in a majority, the other not.
    voters = min(len(arm), len(baseline))
    shares = [
        np.bincount(test_set.cases, np.mean([s.hit for s in files], axis=0)) / photos
        for files in (arm[:voters], baseline[:voters])
    ]
    ours, theirs = (
        np.mean([s.hit for s in files], axis=0) for files in (arm, baseline)
    )
    by_case = [np.bincount(test_set.cases, x) / photos for x in (ours, theirs)]
    return {
        "mcnemar": {
            "seeds_of_each": voters,
            **_mcnemar(*(share > 0.5 + 1e-9 for share in shares)),
        },
        "t_test": {
            "by_photo": _t_test(ours, theirs),
            "by_case": _t_test(*by_case),
        },
    }


def add_holm(entries: Sequence[dict[str, Any]]) -> int:
    """Adds p_holm to each entry that has a p; says how many have."""
    known = [entry for entry in entries if entry["p"] is not None]
    if known:
        corrected = multipletests([entry["p"] for entry in known], method="holm")[1]
    for entry in entries:
        entry["p_holm"] = None
    for i, entry in enumerate(known):
        entry["p_holm"] = float(corrected[i])
    return len(known)


def _mcnemar(ours: np.ndarray, theirs: np.ndarray) -> dict[str, Any]:
    table = [
        [int((a & b).sum()) for b in (theirs, ~theirs)] for a in (ours, ~ours)
    ]  # rows: the arm right, wrong; columns: the baseline
    differ = table[0][1] + table[1][0]
    p = mcnemar(table, exact=True).pvalue if differ else 1.0
    return {
        "cases": len(ours),
        "right_in_both": table[0][0],
        "right_in_arm_only": table[0][1],
        "right_in_baseline_only": table[1][0],
        "wrong_in_both": table[1][1],
        "p": min(1.0, float(p)),
    }


def _t_test(ours: np.ndarray, theirs: np.ndarray) -> dict[str, Any]:
    apart = ours - theirs
    found = {"difference": float(apart.mean()), "count": len(apart)}
    if np.ptp(apart) < 1e-12:  # no spread: nothing to divide by
        equal = abs(found["difference"]) < 1e-12
        return {
            **found,
            "statistic": None,
            "p": 1.0 if equal else None,
            "undefined": "both are equal everywhere"
            if equal
            else "both differ by the same everywhere",
        }
    test = scipy.stats.ttest_rel(ours, theirs)
    return {
        **found,
        "statistic": float(test.statistic),
        "p": float(test.pvalue),
        "undefined": None,
    }
