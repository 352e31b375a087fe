"""Repeated subsamples of two sets, drawn in one place so that distances share them.

With the same sets, sizes and seed, every distance sees the same samples in each trial.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from dermgan_tf.errors import InputError
from dermgan_tf.metrics.bootstrap import percentile_interval


def trial_size(
    n: int, m: int | None, trials: int, sample_size: int | None, smallest: int = 2
) -> int:
    """The number of samples that a trial draws of each set.

    Args:
        n: int. Samples of the first set.
        m: int. Samples of the second one; None where trials compare disjoint samples
            of the first set.
        trials: int ≥ 1.
        sample_size: int, or None for half of the smaller set, so that distances to
            another set and within one set are of equal sample size.
        smallest: int. The fewest samples that the distance is defined for.

    Raises:
        InputError: for no trials, or a size that cannot be drawn.
    """
    available = n // 2 if m is None else min(n, m)
    if sample_size is None:
        sample_size = (n if m is None else min(n, m)) // 2
    if trials < 1:
        raise InputError(f"at least 1 trial is needed, got {trials}")
    if not smallest <= sample_size <= available:
        possible = f"{smallest}…{available} are" if smallest <= available else "none is"
        raise InputError(
            f"trials of {sample_size} samples each are not possible: {possible}, with "
            f"the {n if m is None else f'{n} and {m}'} samples there are"
        )
    return sample_size


def draw_trials(
    n: int, m: int | None, trials: int, sample_size: int, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields the rows that each trial compares, without replacement.

    Drawing with replacement would repeat samples, which moves most distances.

    Args:
        n, m: int. Samples of the sets; `m` None draws two disjoint samples of the
            first one.
        trials, sample_size: int, checked by `trial_size`.
        seed: int. The same seed draws the same rows.

    Yields:
        two np.int64 [sample_size]: rows of the first and of the second set.
    """
    rng = np.random.default_rng(seed)
    for _ in range(trials):
        first = rng.permutation(n)
        second = first[sample_size:] if m is None else rng.permutation(m)
        yield first[:sample_size], second[:sample_size]


def summarize_trials(values: Sequence[float]) -> dict:
    """mean, standard_deviation (None of one) and interval_95 of a value per trial."""
    return {
        "mean": float(np.mean(values)),
        "standard_deviation": float(np.std(values, ddof=1))
        if len(values) > 1
        else None,
        "interval_95": percentile_interval(values),
    }
