"""The kernel distance: KID when the activations are Inception's."""

import numpy as np
from numpy.typing import ArrayLike

from dermgan_tf.metrics.activations import checked_pair

_ROWS_AT_ONCE = 1024  # bounds the memory: 10,000 samples need 80 MB, not 800


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
    n, m = len(a), len(b)
    return float(
        _kernel_sum(a, a, skip_self=True) / (n * (n - 1))
        + _kernel_sum(b, b, skip_self=True) / (m * (m - 1))
        - 2 * _kernel_sum(a, b) / (n * m)
    )


def _kernel_sum(x: np.ndarray, y: np.ndarray, skip_self: bool = False) -> float:
    total = 0.0
    for start in range(0, len(x), _ROWS_AT_ONCE):
        kernel = (x[start : start + _ROWS_AT_ONCE] @ y.T / x.shape[1] + 1) ** 3
        total += kernel.sum()
        if skip_self:
            total -= np.trace(kernel, offset=start)
    return total
