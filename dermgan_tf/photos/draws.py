"""Random orders and draws: stratified ones, and ones that no version of Python changes.

The latter are made of `random.Random.random`, whose sequence Python promises to keep,
and are whole numbers, which no platform rounds another way.
"""

import random
from collections.abc import Iterable

import numpy as np

_CASE_ORDER = 7  # a random stream of its own, mixed into the seed


def case_order(cases: np.ndarray, labels: np.ndarray, seed: int) -> np.ndarray:
    """An order of the cases whose every start has about the conditions' shares.

    The first 10 are among the first 50, so that nested sets can be cut off. A case's
    condition is that of its first photo.

    Args:
        cases: str [N], of each photo.
        labels: int [N], the conditions.
        seed: int. Of the draw.

    Returns:
        str, each case once.
    """
    cases, first = np.unique(cases, return_index=True)
    rng = np.random.default_rng([seed, _CASE_ORDER])
    return cases[even_order(np.asarray(labels)[first], rng)]


def even_order(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random order whose every start has about the shares that the labels have.

    Args:
        labels: int [N].
        rng: draws.

    Returns:
        int64 [N], positions, each once.
    """
    rank = np.empty(len(labels))
    for label in np.unique(labels):
        (items,) = np.nonzero(labels == label)
        rank[rng.permutation(items)] = (np.arange(len(items)) + 0.5) / len(items)
    return np.lexsort([rng.random(len(labels)), rank])


def shuffled(items: Iterable, rng: random.Random) -> list:
    """A permutation (Fisher and Yates). `random.shuffle` may change with Python."""
    shuffled = list(items)
    for i in range(len(shuffled) - 1, 0, -1):
        k = below(rng, i + 1)
        shuffled[i], shuffled[k] = shuffled[k], shuffled[i]
    return shuffled


def below(rng: random.Random, n: int) -> int:
    """A whole number 0 … n − 1; n is far below 2⁵³."""
    return int(rng.random() * n)
