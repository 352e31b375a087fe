"""The kernel distance, once and over many trials: KID when the activations are
Inception's."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from dermgan_tf.metrics.activations import checked_activations, checked_pair
from dermgan_tf.metrics.trials import draw_trials, summarize_trials, trial_size
from dermgan_tf.progress import silent

_ROWS_AT_ONCE = 1024  # bounds the memory: 20,000 samples need 160 MB, not 3 GB


def kernel_distance(a: ArrayLike, b: ArrayLike) -> float:
    """The unbiased squared maximum mean discrepancy under a cubic kernel.

    k(x, y) = (x·y/d + 1)³ after Bińkowski et al. 2018 ("Demystifying MMD GANs"), over
    all pairs of samples. Unlike the Fréchet distance its mean does not depend on the
    number of samples.

    Args:
        a, b: [n, d] and [m, d], n, m ≥ 2.

    Returns:
        float; around 0, at times a little below it, for sets of one distribution.

    Raises:
        InputError: for activations that are not finite numbers of equal width.
    """
    a, b = checked_pair(a, b, ("first", "second"))
    return _distance(a, b)


def kernel_trials(
    a: ArrayLike,
    b: ArrayLike | None = None,
    trials: int = 50,
    sample_size: int | None = None,
    seed: int = 0,
    progress: Callable = silent,
) -> dict:
    """The kernel distance over repeated subsamples: how much it varies.

    Draws the samples that `frechet_trials` draws; see there.

    Args:
        a: [n, d].
        b: [m, d]; None compares `a` with itself, by two disjoint samples of it.
        trials: int ≥ 1.
        sample_size: int ≥ 2. Default: half of the smaller set.
        seed: int. The same seed draws the same samples.
        progress: wraps the loop; see dermgan_tf.progress.

    Returns:
        dict of mean, standard_deviation, interval_95 ([low, high], the 2.5th and 97.5th
        percentile of the trials), trials and sample_size.

    Raises:
        InputError: for unfit activations, or more samples asked than there are.
    """
    if b is None:
        a = b = checked_activations(a, "first")
        sizes = (len(a), None)
    else:
        a, b = checked_pair(a, b, ("first", "second"))
        sizes = (len(a), len(b))
    sample_size = trial_size(*sizes, trials, sample_size)
    draws = draw_trials(*sizes, trials, sample_size, seed)
    samples = a if sizes[1] is None else np.concatenate([a, b])
    if len(samples) ** 2 > trials * (2 * sample_size) ** 2:
        distances = [
            _distance(a[first], b[second])
            for first, second in progress(draws, total=trials, desc="trials")
        ]
    else:
        of_first, of_second = np.zeros((2, len(samples), trials))
        offset = 0 if sizes[1] is None else len(a)
        for trial, (first, second) in enumerate(draws):
            of_first[first, trial] = 1
            of_second[offset + second, trial] = 1
        distances = _distances(samples, of_first, of_second, progress)
    return {
        **summarize_trials(distances),
        "trials": trials,
        "sample_size": sample_size,
    }


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    in_first = (np.arange(len(a) + len(b)) < len(a)).astype(np.float64)[:, np.newaxis]
    return float(_distances(np.concatenate([a, b]), in_first, 1 - in_first, silent)[0])


def _distances(
    samples: np.ndarray, first: np.ndarray, second: np.ndarray, progress: Callable
) -> np.ndarray:
    """Kernel distances of many subsamples, with each kernel value computed once.

    A sum of the kernel over pairs of samples is uᵀKv, where u and v are 1 for the
    samples that take part. K is symmetric: one triangle of it is enough.

    Args:
        samples: np.float64 [n, d], of both sets.
        first, second: np.float64 [n, trials], 1 for the samples of a trial, else 0; no
            sample is in both.
        progress: wraps the loop over blocks of rows.

    Returns:
        np.float64 [trials].
    """
    taken = np.concatenate([first, second], axis=1)  # [n, 2 · trials]
    within = np.zeros(taken.shape[1])  # sums over pairs i < j
    between = np.zeros(first.shape[1])
    starts = range(0, len(samples), _ROWS_AT_ONCE)
    for start in progress(starts, total=len(starts), desc="kernel"):
        rows = slice(start, start + _ROWS_AT_ONCE)
        base = samples[rows] @ samples[start:].T
        base /= samples.shape[1]
        base += 1
        kernel = base * base
        kernel *= base
        square = kernel[:, : len(kernel)]  # the block on the diagonal
        square[...] = np.triu(square, k=1)
        sums = kernel @ taken[start:]  # [rows, 2 · trials]
        within += (taken[rows] * sums).sum(axis=0)
        sums_first, sums_second = np.split(sums, 2, axis=1)
        between += (first[rows] * sums_second + second[rows] * sums_first).sum(axis=0)
    n, m = first.sum(axis=0), second.sum(axis=0)
    within_first, within_second = np.split(2 * within, 2)
    return (
        within_first / (n * (n - 1))
        + within_second / (m * (m - 1))
        - 2 * between / (n * m)
    )
