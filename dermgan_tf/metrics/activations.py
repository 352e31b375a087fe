"""The one check that every distance makes of its activations."""

import numpy as np
from numpy.typing import ArrayLike

from dermgan_tf.errors import InputError


def checked_activations(
    activations: ArrayLike, name: str, min_samples: int = 2
) -> np.ndarray:
    """Returns `activations` as float64 [n, d]; raises InputError when they are unfit.

    Args:
        activations: numbers [n, d], one row per image.
        name: str. What they are, for the message.
        min_samples: int. The fewest rows that the distance is defined for.

    Raises:
        InputError: for another rank, fewer rows, no features, or NaN or infinity.
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
            f"at least {min_samples} rows of 1 are needed"
        )
    bad = samples - np.isfinite(activations).all(axis=1).sum()
    if bad:
        raise InputError(
            f"{name} activations have NaN or infinity in {bad} of {samples} rows"
        )
    return activations.astype(np.float64)


def checked_pair(
    a: ArrayLike, b: ArrayLike, names: tuple[str, str], min_samples: int = 2
) -> tuple[np.ndarray, np.ndarray]:
    """Both sets checked, and of one width; see `checked_activations`."""
    a = checked_activations(a, names[0], min_samples)
    b = checked_activations(b, names[1], min_samples)
    if a.shape[1] != b.shape[1]:
        raise InputError(
            f"{names[0]} activations have {a.shape[1]} features, {names[1]} ones "
            f"{b.shape[1]}: they come from different embeddings"
        )
    return a, b
