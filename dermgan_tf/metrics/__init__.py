"""Distances between sets of activations: NumPy in, plain numbers out."""

from dermgan_tf.metrics.bootstrap import case_resamples, percentile_interval
from dermgan_tf.metrics.frechet import frechet_distance, frechet_trials
from dermgan_tf.metrics.kernel import kernel_distance
from dermgan_tf.metrics.neighbors import precision_recall

__all__ = [
    "case_resamples",
    "frechet_distance",
    "frechet_trials",
    "kernel_distance",
    "percentile_interval",
    "precision_recall",
]
