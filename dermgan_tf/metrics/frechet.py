"""The Fréchet distance between two sets of activations, once and over many trials.

With m and S the mean and covariance of each set (Heusel et al. 2017, after Dowson and
Landau 1982):

    d(a, b) = |m_a − m_b|² + tr S_a + tr S_b − 2 tr (S_a S_b)^½

This is the squared distance, as everyone reports it. It is an "FID" only with
Inception's activations, and comparable only between equal embeddings, resizing and
numbers of samples: it shrinks as samples are added.
"""

import contextlib
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike
from threadpoolctl import threadpool_limits

from dermgan_tf.errors import InputError
from dermgan_tf.metrics.activations import checked_activations, checked_pair
from dermgan_tf.metrics.bootstrap import percentile_interval
from dermgan_tf.metrics.trials import draw_trials, summarize_trials, trial_size
from dermgan_tf.progress import silent

_ROWS_AT_ONCE = 4096  # bounds the memory: 64 MB for 2,048 features
_MOST_WORKERS = 8  # each holds some covariances, of 32 MB for 2,048 features
_SIZES = 5  # points of the line that `frechet_extrapolated` fits


def frechet_distance(a: ArrayLike, b: ArrayLike) -> float:
    """The Fréchet distance between Gaussians fitted to two sets of activations.

    Args:
        a, b: [n, d] and [m, d], n, m ≥ 2.

    Returns:
        float ≥ 0, in squared units of the activations. With no more samples than
        features it is still right for these samples, but far above its value for many:
        a warning says so.

    Raises:
        InputError: for activations that are not finite numbers of equal width.
    """
    a, b = checked_pair(a, b, ("first", "second"))
    _warn_of_few(min(len(a), len(b)), a.shape[1])
    few = min(len(a), len(b)) <= a.shape[1]
    with _threads() as pool:
        return _distance(*pool.map(lambda x: _fit(*_centred(x), few=few), (a, b)))


def frechet_trials(
    a: ArrayLike,
    b: ArrayLike | None = None,
    trials: int = 50,
    sample_size: int | None = None,
    seed: int = 0,
    progress: Callable = silent,
) -> dict:
    """The Fréchet distance over repeated subsamples: how much it varies.

    Each trial draws `sample_size` samples of each set without replacement: drawing
    with replacement repeats samples, which raises the distance. Trials share samples,
    so the interval tells how the distance varies within these sets, not over new
    patients.

    Args:
        a: [n, d].
        b: [m, d]; None compares `a` with itself, by two disjoint samples of it.
        trials: int ≥ 1.
        sample_size: int ≥ 2. Default: half of the smaller set, so that distances to
            another set and within one set are of equal sample size.
        seed: int. The same seed draws the same samples.
        progress: wraps the loop; see dermgan_tf.progress.

    Returns:
        dict of mean, standard_deviation, interval_95 ([low, high], the 2.5th and 97.5th
        percentile of the trials), trials and sample_size.

    Raises:
        InputError: for unfit activations, or more samples asked than there are.
    """
    sets, sizes = _checked_sets(a, b)
    sample_size = trial_size(*sizes, trials, sample_size)
    features = len(sets[0].centre)
    _warn_of_few(sample_size, features)
    draws = draw_trials(*sizes, trials, sample_size, seed)
    distances = list(progress(_distances(sets, draws), total=trials, desc="trials"))
    return {
        **summarize_trials(distances),
        "trials": trials,
        "sample_size": sample_size,
    }


def frechet_extrapolated(
    a: ArrayLike,
    b: ArrayLike | None = None,
    sizes: Sequence[int] | None = None,
    trials: int = 10,
    seed: int = 0,
    progress: Callable = silent,
) -> dict:
    """The Fréchet distance that endless samples would have, by a line through 1/N.

    After "FID∞" (Chong and Forsyth 2020): the distance is biased upwards by about c/N,
    where c depends on the sets, so that distances of equal N can even be in the wrong
    order. In each trial, equally many samples N of both sets are drawn at each size,
    the smaller draws out of the larger ones; a line is fitted to the distances over
    1/N by ordinary least squares, and its value at 1/N = 0 is the answer.

    The bias is a line in 1/N only while N is well above the number of features: with
    no more samples than features the covariances lack ranks, and the line misses by
    far. The result says so in "reliable", and the warning of few samples is given.

    Args:
        a: [n, d].
        b: [m, d]; None compares disjoint samples of `a`, which are 0 apart.
        sizes: at least two different numbers of samples, each ≥ 2. Default: five,
            evenly from a quarter of the smaller set (from d + 1 where that is more, but
            half of the set at most) to all of it.
        trials: int ≥ 1.
        seed: int. The same seed draws the same samples; the largest size's are those
            that `frechet_trials` draws.
        progress: wraps the loop; see dermgan_tf.progress.

    Returns:
        dict of
        distance: float, the mean of the trials' intercepts; near 0 it may be negative.
        interval_95: [low, high], the 2.5th and 97.5th percentile of the trials'
            intercepts; None of one trial. Trials share samples (at the size of the
            whole set, all of them), so it tells how the fit varies within these sets,
            not over new patients, and is too narrow for that.
        slope: float, of distance over 1/N.
        points: by size, dicts of samples, mean, standard_deviation, interval_95.
        trials: int.
        features: int, d.
        reliable: bool, whether the smallest size is above the number of features.

    Raises:
        InputError: for unfit activations, or sizes that cannot be drawn or fitted.
    """
    sets, counts = _checked_sets(a, b)
    features = len(sets[0].centre)
    if sizes is None:
        available = counts[0] // 2 if b is None else min(counts)
        smallest = min(max(available // 4, features + 1), available // 2)
        sizes = np.linspace(smallest, available, _SIZES).round()
    sizes = sorted({int(size) for size in sizes})
    if len(sizes) < 2:
        raise InputError(f"a line needs at least 2 different sizes, got {sizes}")
    for size in sizes:
        trial_size(*counts, trials, size)
    _warn_of_few(sizes[0], features)
    draws = (
        (first[:size], second[:size])
        for first, second in draw_trials(*counts, trials, sizes[-1], seed)
        for size in sizes
    )
    total = trials * len(sizes)
    distances = list(progress(_distances(sets, draws), total=total, desc="distances"))
    distances = np.reshape(distances, (trials, len(sizes)))
    slopes, intercepts = np.polyfit(1 / np.array(sizes), distances.T, deg=1)
    return {
        "distance": float(intercepts.mean()),
        "interval_95": percentile_interval(intercepts) if trials > 1 else None,
        "slope": float(slopes.mean()),
        "points": [
            {"samples": size, **summarize_trials(values)}
            for size, values in zip(sizes, distances.T, strict=True)
        ],
        "trials": trials,
        "features": features,
        "reliable": sizes[0] > features,
    }


class _Centred(NamedTuple):
    """A set as deviations from its mean.

    Taken once for all trials: a subsample's own mean then is small, and correcting its
    covariance for it costs no digits.
    """

    centre: np.ndarray  # [d]
    deviations: np.ndarray  # [n, d]


class _Gaussian(NamedTuple):
    mean: np.ndarray  # [d]
    variance: float  # the trace of the covariance
    covariance: np.ndarray | None  # [d, d]
    factor: np.ndarray | None  # [n, d], XᵀX = covariance; instead, of few samples


def _centred(activations: np.ndarray) -> _Centred:
    """Centres np.float64 [n, d], in place."""
    centre = activations.mean(axis=0)
    activations -= centre
    return _Centred(centre, activations)


def _checked_sets(
    a: ArrayLike, b: ArrayLike | None
) -> tuple[tuple[_Centred, _Centred], tuple[int, int | None]]:
    """Both sets and their sizes; without the second the first twice, and None."""
    if b is None:
        a = _centred(checked_activations(a, "first"))
        return (a, a), (len(a.deviations), None)
    a, b = (_centred(x) for x in checked_pair(a, b, ("first", "second")))
    return (a, b), (len(a.deviations), len(b.deviations))


@contextlib.contextmanager
def _threads() -> Iterator[ThreadPoolExecutor]:
    """Threads that work side by side, and BLAS with one thread in each of them.

    Its own threads wait for each other in each of an eigen-decomposition's thousands of
    steps: on two cores they gain nothing, on busy ones they take several times as long.
    """
    workers = min(os.cpu_count() or 1, _MOST_WORKERS)
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(workers) as pool:
        yield pool


def _distances(
    sets: tuple[_Centred, _Centred], draws: Iterable[tuple[np.ndarray, np.ndarray]]
) -> Iterator[float]:
    """Yields the distance between the drawn rows of both sets, for each draw."""

    def distance(draw):
        few = len(draw[0]) <= len(sets[0].centre)
        fits = (_fit(*s, rows, few) for s, rows in zip(sets, draw, strict=True))
        return _distance(*fits)

    with _threads() as pool:
        yield from pool.map(distance, draws)


def _fit(
    centre: np.ndarray,
    deviations: np.ndarray,
    rows: np.ndarray | None = None,
    few: bool = False,
) -> _Gaussian:
    """The Gaussian of all deviations, or of some rows of them."""
    n = len(deviations if rows is None else rows)
    if few:
        factor = deviations.copy() if rows is None else deviations[rows]
        mean = factor.mean(axis=0)
        factor -= mean
        factor /= np.sqrt(n - 1)
        return _Gaussian(centre + mean, np.sum(factor**2), None, factor)
    total = np.zeros(len(centre))
    products = np.zeros((len(centre), len(centre)))
    for start in range(0, n, _ROWS_AT_ONCE):
        some = slice(start, start + _ROWS_AT_ONCE)
        block = deviations[some if rows is None else rows[some]]
        total += block.sum(axis=0)
        products += block.T @ block  # BLAS' dsyrk: half of a product's work
    mean = total / n
    products -= np.outer(total, mean)
    products /= n - 1
    return _Gaussian(centre + mean, np.trace(products), products, None)


def _distance(a: _Gaussian, b: _Gaussian) -> float:
    difference = a.mean - b.mean
    if a.factor is not None:
        roots = _trace_of_root_by_samples(a.factor, b.factor)
    else:
        roots = _trace_of_root(a.covariance, b.covariance)
    # Rounding can leave the distance of equal sets a hair below 0.
    return max(
        0.0, float(difference @ difference + a.variance + b.variance - 2 * roots)
    )


def _trace_of_root_by_samples(a: np.ndarray, b: np.ndarray) -> float:
    """tr (S_a S_b)^½ of S = XᵀX, for few samples X: see `_trace_of_root`.

    With few samples the samples themselves are the smallest factor F.
    """
    if len(a) > len(b):
        a, b = b, a
    cross = a @ b.T
    return _sum_of_roots(np.linalg.eigvalsh(cross @ cross.T))


def _trace_of_root(a: np.ndarray, b: np.ndarray) -> float:
    """tr (S_a S_b)^½ of two covariances.

    For any factor F with FᵀF = S_b, S_a S_b and F S_a Fᵀ have the same non-zero
    eigenvalues. The latter is symmetric, so its eigenvalues are real and quick to
    find, and only rounding makes one negative. Cholesky's factor takes a tenth of the
    work of a root.
    """
    # A feature that is constant in one set adds nothing, and has no such factor.
    varies = np.ones(len(a), bool)
    for covariance in (a, b):
        variances = covariance.diagonal()
        varies &= variances > 1e-28 * variances.max()
    if not varies.any():
        return 0.0
    if not varies.all():
        a, b = (covariance[np.ix_(varies, varies)] for covariance in (a, b))
    try:
        eigenvalues = scipy.linalg.eigvalsh(
            a, b, type=2, driver="gv", check_finite=False
        )
    except np.linalg.LinAlgError:  # S_b is singular
        variances, axes = np.linalg.eigh(b)
        factor = np.sqrt(np.maximum(variances, 0))[:, np.newaxis] * axes.T
        eigenvalues = np.linalg.eigvalsh(factor @ a @ factor.T)
    return _sum_of_roots(eigenvalues)


def _sum_of_roots(eigenvalues: np.ndarray) -> float:
    return float(np.sqrt(np.maximum(eigenvalues, 0)).sum())


def _warn_of_few(samples: int, features: int) -> None:
    if samples <= features:
        warnings.warn(
            f"Fréchet distance of {samples} samples in {features} dimensions: strongly "
            "biased upwards; compare it only with others of equal sample size",
            stacklevel=3,
        )
