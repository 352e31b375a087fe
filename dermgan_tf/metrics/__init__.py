"""Distances between sets of activations: NumPy in, plain numbers out."""

from dermgan_tf.metrics.bootstrap import case_resamples, percentile_interval
from dermgan_tf.metrics.frechet import (
    frechet_distance,
    frechet_extrapolated,
    frechet_trials,
)
from dermgan_tf.metrics.kernel import kernel_distance, kernel_trials
from dermgan_tf.metrics.neighbors import (
    nearest_neighbours,
    pairwise_distances,
    precision_recall,
    precision_recall_trials,
)

__all__ = [
    "case_resamples",
    "frechet_distance",
    "frechet_extrapolated",
    "frechet_trials",
    "kernel_distance",
    "kernel_trials",
    "nearest_neighbours",
    "pairwise_distances",
    "percentile_interval",
    "precision_recall",
    "precision_recall_trials",
]
