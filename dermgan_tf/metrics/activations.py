"""The one check that every distance makes of its activations."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import ArrayLike

from dermgan_tf.errors import InputError

_LARGEST = 1e30  # of a row's length; its sixth power still is a number


def checked_activations(
    activations: ArrayLike, name: str, min_samples: int = 2
) -> np.ndarray:
    """Returns `activations` as float64 [n, d]; raises InputError when they are unfit.

    Args:
        activations: numbers [n, d], one row per image.
        name: str. What they are, for the message.
        min_samples: int. The fewest rows that the distance is defined for.

    Raises:
        InputError: for another rank, fewer rows, no features, or NaN, infinity or
            numbers too large to compute with.
    """
    activations = np.asarray(activations)
    if activations.ndim != 2 or activations.dtype.kind not in "fiu":
        raise InputError(
            f"{name} activations are numbers [n, d], got {activations.dtype} "
            f"{list(activations.shape)}"
        )
    samples, features = activations.shape
    if samples < min_samples or features < 1:
        raise InputError(
            f"{name} activations have {samples} rows of {features} features; "
            f"at least {min_samples} of 1 are needed"
        )
    activations = activations.astype(np.float64)
    # NaN and infinity spread into the sums, which costs one pass.
    squares = np.einsum("ij,ij->i", activations, activations)
    if not np.all(squares < _LARGEST**2):
        bad = samples - np.isfinite(activations).all(axis=1).sum()
        raise InputError(
            f"{name} activations have NaN or infinity in {bad} of {samples} rows"
            if bad
            else f"{name} activations are too large to compute with"
        )
    return activations


def checked_pair(
    a: ArrayLike, b: ArrayLike, names: tuple[str, str], min_samples: int = 2
) -> tuple[np.ndarray, np.ndarray]:
    """Both sets checked, and of one width; see `checked_activations`."""
    with ThreadPoolExecutor(2) as pool:  # copying large sets takes its time
        a, b = pool.map(checked_activations, (a, b), names, (min_samples,) * 2)
    if a.shape[1] != b.shape[1]:
        raise InputError(
            f"{names[0]} activations have {a.shape[1]} features, {names[1]} ones "
            f"{b.shape[1]}: they come from different embeddings"
        )
    return a, b
