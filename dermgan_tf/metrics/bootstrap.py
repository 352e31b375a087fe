"""Intervals by resampling cases: photos of one patient are not independent."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike


def case_resamples(
    cases: Sequence, resamples: int = 1000, seed: int = 0
) -> Iterator[np.ndarray]:
    """Draws cases with replacement, and yields the indices of all their items.

    Args:
        cases: [n], the case that each item belongs to.
        resamples: int. How many bootstrap samples to yield.
        seed: int. The same seed draws the same cases, so that two arms can be
            compared on equal resamples.

    Yields:
        int64 [about n]: the items of as many cases as there are, each as often as it
        was drawn.
    """
    _, case_of_item, sizes = np.unique(
        np.asarray(cases), return_inverse=True, return_counts=True
    )
    items = np.split(np.argsort(case_of_item, kind="stable"), np.cumsum(sizes)[:-1])
    rng = np.random.default_rng(seed)
    for _ in range(resamples):
        drawn = rng.integers(len(items), size=len(items))
        yield np.concatenate([items[case] for case in drawn])


def percentile_interval(values: ArrayLike) -> list[float] | None:
    """The 2.5th and 97.5th percentile of `values`, NaN left out; None if none is."""
    values = np.asarray(values, np.float64)
    values = values[~np.isnan(values)]
    if not len(values):
        return None
    return [float(value) for value in np.percentile(values, [2.5, 97.5])]


def stratified_case_weights(
    strata: np.ndarray, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Weights of the cases in `count` resamples.

    Plain resampling loses rare conditions, so that means over conditions would be of
    others than the data's. Here the mix of conditions is drawn (from the Dirichlet
    distribution of the cases' counts, as in Rubin's Bayesian bootstrap, 1981: none
    vanishes), and then within each condition's n cases n − 1, with replacement, each
    weighing n / (n − 1), which keeps the variance unbiased (Rao and Wu 1988).

    Args:
        strata: int [C], 0…: which conditions each case shows. A case that is alone in
            its stratum always stays.
        count: int, R.
        rng: draws.

    Returns:
        float64 [C, R]; a column's mean is about 1.
    """
    weights = np.ones((len(strata), count))
    for stratum in np.unique(strata):
        cases = np.flatnonzero(strata == stratum)
        n = len(cases)
        if n > 1:
            drawn = rng.integers(n, size=(count, n - 1))
            drawn += np.arange(count)[:, None] * n
            times = np.bincount(drawn.ravel(), minlength=count * n)
            weights[cases] = times.reshape(count, n).T * (n / (n - 1))
        weights[cases] *= rng.gamma(n, size=count) / n
    return weights
