"""Probabilities that mean what they say: temperature scaling.

One number T, fitted on photographs that were not trained on, divides the logits before
the softmax (Guo et al. 2017, "On Calibration of Modern Neural Networks", section 4.2).
The order of the conditions, and so top-1, stays as it is.
"""

import numpy as np
import scipy.optimize
import scipy.special

from dermgan_tf.errors import InputError

# Beyond these a classifier is all wrong or all right on what it is fitted on, and the
# likelihood has no optimum to find.
MIN_TEMPERATURE, MAX_TEMPERATURE = 0.05, 20.0


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature of least negative log-likelihood.

    That likelihood is convex in 1/T, so it has one optimum; it is looked for between
    0.05 and 20.

    Args:
        logits: float [N, K], N ≥ 1.
        labels: int [N], 0…K-1.

    Returns:
        float, T. More than 1 for a classifier that is too sure of itself.

    Raises:
        InputError: for no images, or logits that are not finite.
    """
    logits, labels = np.asarray(logits, np.float64), np.asarray(labels)
    if logits.ndim != 2 or logits.shape[:1] != labels.shape or not len(labels):
        raise InputError(
            f"a temperature needs logits [N, K] and N labels, N ≥ 1; got "
            f"{list(logits.shape)} and {list(labels.shape)}"
        )
    if not np.isfinite(logits).all():
        raise InputError("logits to calibrate have NaN or infinity")
    found = scipy.optimize.minimize_scalar(
        lambda log_t: negative_log_likelihood(logits, labels, np.exp(log_t)),
        bounds=np.log([MIN_TEMPERATURE, MAX_TEMPERATURE]),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(np.exp(found.x))


def negative_log_likelihood(
    logits: np.ndarray, labels: np.ndarray, temperature: float = 1.0
) -> float:
    """Mean of -log softmax(logits / T)[label], in nats; logits [N, K], labels [N]."""
    log_p = scipy.special.log_softmax(
        np.asarray(logits, np.float64) / temperature, axis=1
    )
    return float(-log_p[np.arange(len(labels)), labels].mean())


def calibrated(logits: np.ndarray, temperature: float) -> np.ndarray:
    """softmax(logits / T): np.float64 [N, K], rows sum to 1."""
    return scipy.special.softmax(np.asarray(logits, np.float64) / temperature, axis=1)
