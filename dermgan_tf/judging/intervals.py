"""Shares and means with their 95 % intervals: images of one case are not independent.

Both forms say how many images and cases they are of. What is undefined is None.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from dermgan_tf.metrics.bootstrap import (
    case_resamples,
    percentile_interval,
    stratified_case_weights,
)

RESAMPLES = 1000
_Z = 1.959963984540054  # the standard normal's 97.5th percentile


def share(hits: ArrayLike, cases: Sequence) -> dict[str, Any]:
    """The share of True, with Wilson's interval (Wilson 1927).

    The interval counts every case as one observation, which is right where all images
    of a case are alike and too wide where they are not; with one image a case it is the
    ordinary one. Unlike a bootstrap's it has a width where all or none are True.

    Args:
        hits: bool [n], n ≥ 0.
        cases: [n], the case of each.

    Returns:
        dict of value (0…1), interval_95, hits, total (ints) and cases (how many).
    """
    hits = np.asarray(hits, bool)
    total, count = len(hits), len(np.unique(np.asarray(cases)))
    value = interval = None
    if total:
        value = float(hits.mean())
        spread = _Z * np.sqrt(value * (1 - value) / count + _Z**2 / (4 * count**2))
        middle, scale = value + _Z**2 / (2 * count), 1 + _Z**2 / count
        interval = [
            float((middle - spread) / scale) if hits.any() else 0.0,
            float((middle + spread) / scale) if not hits.all() else 1.0,
        ]
    return {
        "value": value,
        "interval_95": interval,
        "hits": int(hits.sum()),
        "total": total,
        "cases": count,
    }


def mean(values: ArrayLike, cases: Sequence, seed: int = 0) -> dict[str, Any]:
    """The mean over images, with an interval over resampled cases.

    Args:
        values: [n], finite, n ≥ 0.
        cases: [n], the case of each.
        seed: int. Of the resamples.

    Returns:
        dict of value, interval_95 (None of fewer than two cases), images and cases (how
        many of each).
    """
    values = np.asarray(values, np.float64)
    names, case_of = np.unique(np.asarray(cases), return_inverse=True)
    interval = None
    if len(names) > 1:
        weights = case_weights(len(names), seed)
        sums = np.bincount(case_of, values)
        interval = percentile_interval(
            weights @ sums / (weights @ np.bincount(case_of))
        )
    return {
        "value": float(values.mean()) if len(values) else None,
        "interval_95": interval,
        "images": len(values),
        "cases": len(names),
    }


def macro_means(
    values: ArrayLike, groups: ArrayLike, cases: Sequence, seed: int = 0
) -> tuple[np.ndarray, np.ndarray | None]:
    """Means over groups of the means over their items, and the same of resamples.

    Cases are drawn by `stratified_case_weights`, in which no group vanishes: where
    groups are lost with their cases, the mean is over others than the data's, and each
    lost group without a hit flatters.

    Args:
        values: float [A, n]: A quantities of the n items.
        groups: int [n], 0…: the group of each item.
        cases: [n], the case of each.
        seed: int. Of the resamples.

    Returns:
        float64 [A], and [A, RESAMPLES] or, of a single case, None.
    """
    values, groups = np.asarray(values, np.float64), np.asarray(groups)
    names, case_of = np.unique(np.asarray(cases), return_inverse=True)
    _, group_of = np.unique(groups, return_inverse=True)
    shape = (group_of.max() + 1, len(names))

    def by_group_and_case(weights: np.ndarray | None) -> np.ndarray:
        places = group_of * shape[1] + case_of
        return np.bincount(places, weights, np.prod(shape)).reshape(shape)

    counts = by_group_and_case(None)
    sums = np.stack([by_group_and_case(row) for row in values])

    def means(weights: np.ndarray) -> np.ndarray:
        return (sums @ weights / (counts @ weights)).mean(axis=1)

    observed = means(np.ones((len(names), 1)))[:, 0]
    if len(names) < 2:
        return observed, None
    _, strata = np.unique(counts > 0, axis=1, return_inverse=True)
    rng = np.random.default_rng(seed)
    return observed, means(stratified_case_weights(strata.ravel(), RESAMPLES, rng))


def interval_of(
    statistic: Callable[[np.ndarray], float], cases: Sequence, seed: int = 0
) -> list[float] | None:
    """The interval of any statistic over resampled cases.

    Args:
        statistic: of int [about n], the items drawn; NaN where it is undefined.
        cases: [n], the case of each item.
        seed: int. Of the resamples.

    Returns:
        [low, high]; None of fewer than two cases, or where no resample defines it.
    """
    if len(np.unique(np.asarray(cases))) < 2:
        return None
    draws = case_resamples(cases, RESAMPLES, seed)
    return percentile_interval([statistic(items) for items in draws])


def case_weights(count: int, seed: int = 0) -> np.ndarray:
    """How often each of `count` cases is drawn: int [RESAMPLES, count]."""
    draws = case_resamples(range(count), RESAMPLES, seed)
    return np.stack([np.bincount(drawn, minlength=count) for drawn in draws])
