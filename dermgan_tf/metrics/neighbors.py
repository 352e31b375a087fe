"""Fidelity and diversity told apart: precision, recall, density, coverage."""

import numpy as np
from numpy.typing import ArrayLike

from dermgan_tf.errors import InputError
from dermgan_tf.metrics.activations import checked_pair

_ROWS_AT_ONCE = 1024  # bounds the memory: 10,000 samples need 80 MB, not 800


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
    if k < 1:
        raise InputError(f"k is at least 1, got {k}")
    real, synthetic = checked_pair(real, synthetic, ("real", "synthetic"), k + 1)
    # Rounding in |x|² + |y|² − 2x·y grows with the distance from the origin.
    centre = real.mean(axis=0)
    real, synthetic = real - centre, synthetic - centre
    real_radii = _radii(real, k)
    synthetic_radii = _radii(synthetic, k)
    in_real_balls = np.zeros(len(synthetic), np.int64)  # how many, of each synthetic
    recalled = np.zeros(len(real), bool)
    covered = np.zeros(len(real), bool)
    for start in range(0, len(real), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        squared = _squared_distances(real[rows], synthetic)  # [rows, m]
        inside = squared <= real_radii[rows, None]
        in_real_balls += inside.sum(axis=0)
        covered[rows] = inside.any(axis=1)
        recalled[rows] = (squared <= synthetic_radii).any(axis=1)
    return {
        "precision": float((in_real_balls > 0).mean()),
        "recall": float(recalled.mean()),
        "density": float(in_real_balls.mean() / k),
        "coverage": float(covered.mean()),
    }


def _radii(samples: np.ndarray, k: int) -> np.ndarray:
    """Squared distance of each sample to its k-th nearest other one."""
    radii = np.empty(len(samples))
    for start in range(0, len(samples), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        squared = _squared_distances(samples[rows], samples)
        own = np.arange(len(squared))
        squared[own, start + own] = np.inf
        radii[rows] = np.partition(squared, k - 1, axis=1)[:, k - 1]
    return radii


def _squared_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    squared = (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1) - 2 * x @ y.T
    return np.maximum(squared, 0)
