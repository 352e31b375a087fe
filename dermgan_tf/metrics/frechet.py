"""The Fréchet distance between two sets of activations, once and over many trials.

With m and S the mean and covariance of each set (Heusel et al. 2017, after Dowson and
Landau 1982):

    d(a, b) = |m_a − m_b|² + tr S_a + tr S_b − 2 tr (S_a S_b)^½

This is the squared distance, as everyone reports it. It is an "FID" only with
Inception's activations, and comparable only between equal embeddings, resizing and
numbers of samples: it shrinks as samples are added.
"""

import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from dermgan_tf.errors import InputError
from dermgan_tf.metrics.activations import checked_activations, checked_pair
from dermgan_tf.metrics.bootstrap import percentile_interval
from dermgan_tf.progress import silent


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
    return _distance(a, b)


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
    a = checked_activations(a, "first")
    if b is None:
        available = len(a) // 2
    else:
        a, b = checked_pair(a, b, ("first", "second"))
        available = min(len(a), len(b))
    if sample_size is None:
        sample_size = min(len(a), len(a if b is None else b)) // 2
    if trials < 1:
        raise InputError(f"at least 1 trial is needed, got {trials}")
    if not 2 <= sample_size <= available:
        raise InputError(
            f"trials of {sample_size} samples each are not possible: "
            f"2…{available} are, with the samples there are"
        )
    _warn_of_few(sample_size, a.shape[1])
    rng = np.random.default_rng(seed)
    distances = []
    for _ in progress(range(trials), total=trials, desc="trials"):
        first = rng.permutation(len(a))
        if b is None:
            other = a[first[sample_size : 2 * sample_size]]
        else:
            other = b[rng.permutation(len(b))[:sample_size]]
        distances.append(_distance(a[first[:sample_size]], other))
    return {
        "mean": float(np.mean(distances)),
        "standard_deviation": float(np.std(distances, ddof=1)) if trials > 1 else None,
        "interval_95": percentile_interval(distances),
        "trials": trials,
        "sample_size": sample_size,
    }


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    mean_difference = a.mean(axis=0) - b.mean(axis=0)
    a = (a - a.mean(axis=0)) / np.sqrt(len(a) - 1)
    b = (b - b.mean(axis=0)) / np.sqrt(len(b) - 1)
    # Rounding can leave the distance of equal sets a hair below 0.
    return max(
        0.0,
        float(
            mean_difference @ mean_difference
            + np.sum(a**2)
            + np.sum(b**2)
            - 2 * _trace_of_root(a, b)
        ),
    )


def _trace_of_root(a: np.ndarray, b: np.ndarray) -> float:
    """tr (S_a S_b)^½ for centred, scaled samples, S = aᵀa.

    For any factor F with FᵀF = S_a, S_a S_b and F S_b Fᵀ have the same non-zero
    eigenvalues. The latter is symmetric, so its eigenvalues are real and quick to
    find, and only rounding makes one negative. With few samples the samples
    themselves are the smallest factor.
    """
    if len(a) > len(b):
        a, b = b, a
    if len(a) <= a.shape[1]:
        cross = a @ b.T
        symmetric = cross @ cross.T
    else:
        factor = _factor(a.T @ a)
        symmetric = factor @ (b.T @ b) @ factor.T
    return float(np.sqrt(np.maximum(np.linalg.eigvalsh(symmetric), 0)).sum())


def _factor(covariance: np.ndarray) -> np.ndarray:
    """F with FᵀF = covariance: Cholesky's, a tenth of the work of a root."""
    try:
        return np.linalg.cholesky(covariance).T
    except np.linalg.LinAlgError:  # singular
        eigenvalues, eigenvectors = np.linalg.eigh(covariance)
        return np.sqrt(np.maximum(eigenvalues, 0))[:, np.newaxis] * eigenvectors.T


def _warn_of_few(samples: int, features: int) -> None:
    if samples <= features:
        warnings.warn(
            f"Fréchet distance of {samples} samples in {features} dimensions: strongly "
            "biased upwards; compare it only with others of equal sample size",
            stacklevel=3,
        )
