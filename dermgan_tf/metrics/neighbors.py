"""Distances between single samples, and what they tell: precision, recall, density,
coverage."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike

from dermgan_tf.errors import InputError
from dermgan_tf.metrics.activations import checked_activations, checked_pair
from dermgan_tf.metrics.trials import draw_trials, summarize_trials, trial_size
from dermgan_tf.progress import silent

_ROWS_AT_ONCE = 1024  # bounds the memory: 10,000 samples need 80 MB, not 800
_PAIRS_AT_ONCE = 1024
# |x|² + |y|² − 2x·y is right to about 1e-15 of |x|² + |y|². Below this share of it the
# difference is taken first, so that every distance is right to about 1e-9 of itself.
_NEAR = 1e-6
_ROUNDING = 1e-9


def pairwise_distances(x: ArrayLike, y: ArrayLike) -> np.ndarray:
    """The Euclidean distance of every row of `x` to every row of `y`.

    Args:
        x, y: [n, d] and [m, d], n, m ≥ 1.

    Returns:
        np.float64 [n, m], in units of the activations; exactly 0 for equal rows, and
        right to about 1e-9 of itself between nearly equal ones.

    Raises:
        InputError: for activations that are not finite numbers of equal width.
    """
    x, y = checked_pair(x, y, ("first", "second"), min_samples=1)
    distances = np.empty((len(x), len(y)))
    for rows, squared in _squared_distances(x, y):
        np.sqrt(squared, out=distances[rows])
    return distances


def nearest_neighbours(x: ArrayLike, y: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """The row of `y` nearest to each row of `x`.

    Args:
        x, y: [n, d] and [m, d], n, m ≥ 1. The n × m distances are never held at once.

    Returns:
        np.float64 [n], the Euclidean distances, as of `pairwise_distances`, and
        np.int64 [n], the indices into `y`: of equally near rows, the first.

    Raises:
        InputError: for activations that are not finite numbers of equal width.
    """
    x, y = checked_pair(x, y, ("first", "second"), min_samples=1)
    distances = np.empty(len(x))
    indices = np.empty(len(x), np.int64)
    for rows, squared in _squared_distances(x, y):
        indices[rows] = squared.argmin(axis=1)
        distances[rows] = np.sqrt(squared.min(axis=1))
    return distances, indices


def precision_recall(real: ArrayLike, synthetic: ArrayLike, k: int = 3) -> dict:
    """How much of the synthetic set looks real, and how much of the real set it spans.

    Each sample's ball reaches to its k-th nearest neighbour within its own set.
    Precision and recall after Kynkäänniemi et al. 2019, density and coverage after
    Naeem et al. 2020 (whose own choice is k = 5).

    Args:
        real: [n, d], n > k.
        synthetic: [m, d], m > k.
        k: int ≥ 1. The neighbour that sets the radius.

    Returns:
        dict of floats: precision (share of synthetic samples in any real ball), recall
        (share of real samples in any synthetic ball), density (real balls that a
        synthetic sample lies in, over k; may exceed 1), coverage (share of real balls
        with a synthetic sample in them).

    Raises:
        InputError: for unfit activations, or not more than k samples.
    """
    _check_k(k)
    real, synthetic = checked_pair(real, synthetic, ("real", "synthetic"), k + 1)
    everything = (np.arange(len(real)), np.arange(len(synthetic)))
    return _measures(real, synthetic, [everything], k, silent)[0]


def precision_recall_trials(
    real: ArrayLike,
    synthetic: ArrayLike | None = None,
    k: int = 3,
    trials: int = 50,
    sample_size: int | None = None,
    seed: int = 0,
    progress: Callable = silent,
) -> dict:
    """`precision_recall` over repeated subsamples: how much it varies.

    Draws the samples that `frechet_trials(real, synthetic)` draws; see there. All four
    depend on the number of samples: compare them at equal `sample_size` only.

    Args:
        real: [n, d].
        synthetic: [m, d]; None compares `real` with itself, by two disjoint samples.
        k: int ≥ 1. The neighbour that sets the radius.
        trials: int ≥ 1.
        sample_size: int > k. Default: half of the smaller set.
        seed: int. The same seed draws the same samples.
        progress: wraps the loops; see dermgan_tf.progress.

    Returns:
        dict of precision, recall, density and coverage, each a dict of mean,
        standard_deviation and interval_95 ([low, high], the 2.5th and 97.5th percentile
        of the trials), and of trials, sample_size and k.

    Raises:
        InputError: for unfit activations, or more samples asked than there are.
    """
    _check_k(k)
    if synthetic is None:
        real = synthetic = checked_activations(real, "real", k + 1)
        sizes = (len(real), None)
    else:
        names = ("real", "synthetic")
        real, synthetic = checked_pair(real, synthetic, names, k + 1)
        sizes = (len(real), len(synthetic))
    sample_size = trial_size(*sizes, trials, sample_size, smallest=k + 1)
    draws = draw_trials(*sizes, trials, sample_size, seed)
    if len(real) * len(synthetic) > trials * sample_size**2:
        measures = [
            precision_recall(real[first], synthetic[second], k)
            for first, second in progress(draws, total=trials, desc="trials")
        ]
    else:
        draws = [(np.sort(first), np.sort(second)) for first, second in draws]
        measures = _measures(real, synthetic, draws, k, progress)
    return {
        **{name: summarize_trials([m[name] for m in measures]) for name in measures[0]},
        "trials": trials,
        "sample_size": sample_size,
        "k": k,
    }


def _check_k(k: int) -> None:
    if k < 1:
        raise InputError(f"k is at least 1, got {k}")


def _measures(
    real: np.ndarray,
    synthetic: np.ndarray,
    draws: Sequence[tuple[np.ndarray, np.ndarray]],
    k: int,
    progress: Callable,
) -> list[dict]:
    """Precision and so on of subsamples; each distance is computed once for all.

    Args:
        real, synthetic: np.float64 [n, d] and [m, d].
        draws: by trial, the rows of either set that take part, in order.
        k: int.
        progress: wraps the loops.
    """
    real_rows, synthetic_rows = zip(*draws, strict=True)
    real_radii = _radii(real, real_rows, k, progress)
    synthetic_radii = _radii(synthetic, synthetic_rows, k, progress)
    in_real_balls = [np.zeros(len(rows), np.int64) for rows in synthetic_rows]
    recalled = [np.zeros(len(rows), bool) for rows in real_rows]
    covered = [np.zeros(len(rows), bool) for rows in real_rows]
    for rows, squared in _blocks(real, synthetic, progress, "between the sets"):
        for t, (first, second) in enumerate(draws):
            own = _within(first, rows)
            some = squared[np.ix_(first[own] - rows.start, second)]
            inside = some <= real_radii[t][own, None]
            in_real_balls[t] += inside.sum(axis=0)
            covered[t][own] = inside.any(axis=1)
            recalled[t][own] = (some <= synthetic_radii[t]).any(axis=1)
    return [
        {
            "precision": float((in_real_balls[t] > 0).mean()),
            "recall": float(recalled[t].mean()),
            "density": float(in_real_balls[t].mean() / k),
            "coverage": float(covered[t].mean()),
        }
        for t in range(len(draws))
    ]


def _radii(
    samples: np.ndarray, draws: Sequence[np.ndarray], k: int, progress: Callable
) -> list[np.ndarray]:
    """By trial, the squared distance of each drawn row to its k-th nearest other."""
    radii = [np.empty(len(rows)) for rows in draws]
    for rows, squared in _blocks(samples, samples, progress, "within a set"):
        diagonal = np.arange(len(squared))
        squared[diagonal, rows.start + diagonal] = np.inf
        for drawn, found in zip(draws, radii, strict=True):
            own = _within(drawn, rows)
            some = squared[np.ix_(drawn[own] - rows.start, drawn)]
            found[own] = np.partition(some, k - 1, axis=1)[:, k - 1]
    # A sample just on the edge is inside, however its distance was rounded.
    return [(1 + _ROUNDING) * found for found in radii]


def _within(drawn: np.ndarray, rows: slice) -> slice:
    """The part of the sorted `drawn` that lies in `rows`."""
    return slice(*np.searchsorted(drawn, [rows.start, rows.stop]))


def _blocks(x: np.ndarray, y: np.ndarray, progress: Callable, desc: str) -> Iterable:
    total = -(-len(x) // _ROWS_AT_ONCE)
    return progress(_squared_distances(x, y), total=total, desc=f"distances {desc}")


def _squared_distances(
    x: np.ndarray, y: np.ndarray
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yields (rows of x, their squared distances [rows, m] to all of y), in blocks."""
    x_names, y_names = _names(x), _names(y)
    # Rounding in |x|² + |y|² − 2x·y grows with the distance from the origin.
    centre = y.mean(axis=0)
    x, y = x - centre, y - centre
    y_squares = np.einsum("ij,ij->i", y, y)
    for start in range(0, len(x), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        block = x[rows]
        sums = np.einsum("ij,ij->i", block, block)[:, None] + y_squares
        squared = block @ y.T
        squared *= -2
        squared += sums
        # Equal rows are told by name: thousands of them are what a collapsed generator
        # gives, and differences of each pair would take long.
        equal = x_names[rows, None] == y_names
        squared[equal] = 0
        sums *= _NEAR
        near = np.argwhere((squared < sums) & ~equal)
        for pairs in np.split(near, range(_PAIRS_AT_ONCE, len(near), _PAIRS_AT_ONCE)):
            i, j = pairs.T
            squared[i, j] = ((block[i] - y[j]) ** 2).sum(axis=1)
        yield rows, squared


def _names(samples: np.ndarray) -> np.ndarray:
    """uint64 [n]: a hash of each row, the same for equal rows only."""
    rows = np.ascontiguousarray(samples) + 0.0  # −0 = 0
    digests = [hashlib.blake2b(row, digest_size=8).digest() for row in rows]
    return np.frombuffer(b"".join(digests), np.uint64)
