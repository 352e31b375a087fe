"""Random orders whose every start has the shares of the whole, for small sets."""

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
