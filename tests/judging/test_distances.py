"""Distances put together: what is compared with what, and which groups are too few."""

import json
import warnings

import numpy as np
import pytest

from dermgan_tf.judging.distances import grouped_distances, overall_distances
from dermgan_tf.metrics import (
    frechet_distance,
    frechet_trials,
    kernel_distance,
    precision_recall,
)


def cloud(n, shift=0.0, seed=0, d=3):
    return np.random.default_rng(seed).normal(shift, 1, (n, d))


def test_overall_distances_are_the_metrics_own():
    synthetic, real, other = cloud(60, 2, 1), cloud(60, 0, 2), cloud(90, 0, 3)
    found = overall_distances(synthetic, real, other, "test", trials=5, seed=7)
    json.dumps(found, allow_nan=False)
    ours = found["synthetic_real"]
    assert ours["images"] == 60
    assert ours["frechet_distance"] == pytest.approx(frechet_distance(synthetic, real))
    assert ours["kernel_distance"] == pytest.approx(kernel_distance(synthetic, real))
    expected = precision_recall(real, synthetic, k=3)
    assert {name: ours[name] for name in expected} == expected
    assert ours["frechet_trials"] == frechet_trials(synthetic, real, 5, 30, seed=7)
    assert ours["frechet_extrapolated"]["reliable"]

    beside = found["real_real"]
    assert beside["compared"].startswith("real train images")
    assert beside["images"] == 60
    for kind in ("frechet_trials", "kernel_trials", "neighbour_trials"):
        assert beside[kind]["sample_size"] == ours[kind]["sample_size"] == 30
    assert beside["frechet_distance"] < ours["frechet_distance"] / 4
    # Precision is of the first set, and recall of the second.
    far = overall_distances(
        np.zeros((60, 3)) + 0.01 * cloud(60), real, other, "test", trials=2
    )["synthetic_real"]["neighbour_trials"]
    assert far["precision"]["mean"] == 1 and far["recall"]["mean"] < 0.2


def test_without_others_the_halves_are_compared():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = overall_distances(
            cloud(8, 1, d=20), cloud(8, d=20), cloud(0, d=20), "test", trials=3
        )
    beside = found["real_real"]
    assert beside["compared"] == "random halves of the real test images"
    assert beside["images"] == 4 and beside["frechet_trials"]["sample_size"] == 4
    assert not found["synthetic_real"]["frechet_extrapolated"]["reliable"]


def test_groups_are_compared_with_their_own_kind():
    sizes = {"eczema": 24, "scar": 30, "tinea": 7}
    groups = [name for name, n in sizes.items() for _ in range(n)]
    others = ["eczema"] * 40 + ["scar"] * 5
    real = np.concatenate([cloud(n, 5 * i, i) for i, n in enumerate(sizes.values())])
    other = np.concatenate([cloud(40, 0, 8), cloud(5, 5, 9)])
    rows = grouped_distances(real + 1, real, groups, other, others, trials=4, seed=3)
    json.dumps(rows, allow_nan=False)
    eczema, scar, tinea = rows
    assert [row["group"] for row in rows] == ["eczema", "scar", "tinea"]
    assert eczema["too_few"] is None
    assert eczema["synthetic_real"]["frechet_trials"] == frechet_trials(
        real[:24] + 1, real[:24], 4, 12, seed=3
    )
    assert eczema["real_real"]["frechet_trials"] == frechet_trials(
        other[:40], real[:24], 4, 12, seed=3
    )
    assert scar["synthetic_real"] and scar["real_real"] is None
    assert scar["too_few"] == "5 other real images; 15, as in a trial, are needed"
    assert tinea["synthetic_real"] is tinea["real_real"] is None
    assert tinea["too_few"] == "7 images; at least 20 are needed"


def test_constant_images_are_no_distance_apart():
    same = np.ones((20, 4))
    found = overall_distances(same, same, same, "test", trials=2)
    json.dumps(found, allow_nan=False)
    assert found["synthetic_real"]["frechet_trials"]["mean"] == 0
    assert found["synthetic_real"]["kernel_trials"]["mean"] == pytest.approx(0)
