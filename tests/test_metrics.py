"""The distances against TF-GAN, SciPy, closed forms and plain loops."""

import itertools
import warnings

import numpy as np
import pytest
import scipy.linalg

from dermgan_tf.errors import InputError
from dermgan_tf.metrics import (
    case_resamples,
    frechet_distance,
    frechet_trials,
    kernel_distance,
    percentile_interval,
    precision_recall,
)

pytestmark = pytest.mark.filterwarnings("ignore:Fréchet distance of")


def activations(n, d, seed, shift=0.0):
    """Correlated, non-negative, with a dead feature: like a network's."""
    rng = np.random.default_rng(seed)
    mix = np.random.default_rng(d).normal(size=(d, d)) / np.sqrt(d)
    samples = np.maximum(rng.normal(size=(n, d)) @ mix + shift, 0)
    samples[:, 0] = 0.0
    return samples


def frechet_by_sqrtm(a, b):
    sigma_a, sigma_b = np.cov(a.T), np.cov(b.T)
    root = scipy.linalg.sqrtm(sigma_a @ sigma_b)
    return np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(
        sigma_a + sigma_b - 2 * root.real
    )


@pytest.mark.filterwarnings("ignore:Matrix is singular")
@pytest.mark.parametrize("n, m", [(200, 150), (60, 25), (25, 60), (20, 30)])
def test_frechet_distance_is_scipys(n, m):
    a, b = activations(n, 40, seed=1), activations(m, 40, seed=2, shift=0.3)
    # Where sqrtm meets singular matrices it is the less exact of the two.
    assert frechet_distance(a, b) == pytest.approx(frechet_by_sqrtm(a, b), rel=1e-5)


def test_frechet_distance_of_two_images_a_side():
    """So singular that sqrtm may give up; eigenvalues have the same trace of roots."""
    a, b = activations(2, 40, seed=1), activations(2, 40, seed=2, shift=0.3)
    sigma_a, sigma_b = np.cov(a.T), np.cov(b.T)
    eigenvalues = scipy.linalg.eigvals(sigma_a @ sigma_b).real.clip(min=0)
    expected = np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(sigma_a + sigma_b)
    expected -= 2 * np.sqrt(eigenvalues).sum()
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("n", [400, 64])
def test_distances_are_tfgans(n):
    import tensorflow as tf

    from dermgan_tf.tfgan import tfgan

    a, b = activations(n, 96, seed=1), activations(n, 96, seed=2, shift=0.2)
    a, b = tf.constant(a, tf.float32), tf.constant(b, tf.float32)
    theirs = tfgan.eval.frechet_classifier_distance_from_activations(a, b)
    assert frechet_distance(a, b) == pytest.approx(float(theirs), rel=1e-4)
    # TF-GAN's is our unbiased estimate while all samples fit into one of its blocks.
    theirs = tfgan.eval.kernel_classifier_distance_from_activations(a, b)
    assert kernel_distance(a, b) == pytest.approx(float(theirs), rel=1e-3)


def test_frechet_distance_of_known_gaussians():
    rng = np.random.default_rng(0)
    samples = rng.normal(size=(500, 3))
    samples -= samples.mean(0)
    # Exactly zero mean and unit covariance, so that scales give the covariances.
    white = samples @ np.linalg.inv(np.linalg.cholesky(np.cov(samples.T))).T
    a = white * [1.0, 2.0, 3.0] + [1.0, 0.0, -1.0]
    b = white * [4.0, 2.0, 1.0] + [1.0, 2.0, 0.0]
    # Commuting covariances: Σ (mean difference)² + Σ (scale difference)².
    assert frechet_distance(a, b) == pytest.approx((0 + 4 + 1) + (9 + 0 + 4))


@pytest.mark.parametrize("n, d", [(300, 60), (30, 60)])
def test_frechet_distance_of_a_set_to_itself_is_nothing(n, d):
    a = activations(n, d, seed=3)
    scale = a.var(axis=0).sum()
    assert 0 <= frechet_distance(a, a) <= 1e-5 * scale
    shuffled = np.random.default_rng(0).permutation(a)
    assert 0 <= frechet_distance(a, shuffled) <= 1e-5 * scale


def test_frechet_distance_of_constant_sets_is_that_of_their_means():
    assert frechet_distance(np.full((5, 3), 2.0), np.full((4, 3), 4.0)) == 12.0


def test_frechet_distance_is_symmetric_and_blind_to_rotation_and_shift():
    a, b = activations(80, 20, seed=1), activations(70, 20, seed=2, shift=0.5)
    distance = frechet_distance(a, b)
    turn = scipy.linalg.qr(np.random.default_rng(0).normal(size=(20, 20)))[0]
    assert frechet_distance(b, a) == pytest.approx(distance, rel=1e-9)
    assert frechet_distance(a @ turn + 100, b @ turn + 100) == pytest.approx(
        distance, rel=1e-9
    )


def test_few_samples_warn_and_enough_do_not():
    with pytest.warns(UserWarning, match="20 samples in 20 dimensions"):
        frechet_distance(activations(20, 20, 1), activations(50, 20, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frechet_distance(activations(21, 20, 1), activations(50, 20, 2))


def broken(value):
    a = np.ones((5, 3))
    a[2, 1] = value
    return a


@pytest.mark.parametrize(
    "a, message",
    [
        (broken(np.nan), "NaN or infinity in 1 of 5 rows"),
        (broken(np.inf), "NaN or infinity in 1 of 5 rows"),
        (np.ones((1, 3)), "1 rows"),
        (np.ones((5, 0)), "0 features"),
        (np.ones(5), r"\[5\]"),
        (np.ones((5, 2)), "different embeddings"),
        (np.ones((5, 3), complex), "complex"),
        (np.full((5, 3), "a"), "<U1"),
    ],
)
@pytest.mark.parametrize(
    "distance", [frechet_distance, kernel_distance, frechet_trials]
)
def test_unfit_activations_are_refused(distance, a, message):
    good = np.random.default_rng(0).normal(size=(5, 3))
    with pytest.raises(InputError, match=message):
        distance(good, a)
    with pytest.raises(InputError, match=message):
        distance(a, good)


def test_trials_vary_around_the_distance_of_equal_samples():
    a, b = activations(400, 10, seed=1), activations(300, 10, seed=2, shift=0.5)
    result = frechet_trials(a, b, trials=40, seed=5)
    assert result["sample_size"] == 150 and result["trials"] == 40
    low, high = result["interval_95"]
    assert low < result["mean"] < high
    assert result["standard_deviation"] > 0
    assert result == frechet_trials(a, b, trials=40, seed=5)
    assert result != frechet_trials(a, b, trials=40, seed=6)
    # Without replacement, all of the samples give the plain distance every time.
    whole = frechet_trials(a[:300], b, trials=3, sample_size=300)
    assert whole["mean"] == pytest.approx(frechet_distance(a[:300], b))
    assert whole["standard_deviation"] == pytest.approx(0, abs=1e-6)


def test_trials_within_one_set_compare_disjoint_halves():
    a = np.random.default_rng(0).normal(size=(4, 3))
    pairs = [((0, 1), (2, 3)), ((0, 2), (1, 3)), ((0, 3), (1, 2))]
    possible = {round(frechet_distance(a[list(p)], a[list(q)]), 9) for p, q in pairs}
    seen = {
        round(frechet_trials(a, trials=1, seed=seed)["mean"], 9) for seed in range(30)
    }
    assert seen == possible


def test_one_trial_has_no_deviation():
    assert frechet_trials(activations(9, 2, 1), trials=1)["standard_deviation"] is None


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"sample_size": 6}, "2…5"),
        ({"sample_size": 1}, "2…5"),
        ({"trials": 0}, "at least 1 trial"),
    ],
)
def test_impossible_trials_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        frechet_trials(activations(10, 3, 1), **arguments)


def test_kernel_distance_by_loops_and_over_blocks(monkeypatch):
    monkeypatch.setattr("dermgan_tf.metrics.kernel._ROWS_AT_ONCE", 7)
    a, b = activations(18, 5, seed=1), activations(11, 5, seed=2, shift=0.4)

    def mean_kernel(pairs):
        return np.mean([(x @ y / 5 + 1) ** 3 for x, y in pairs])

    expected = (
        mean_kernel(itertools.permutations(a, 2))
        + mean_kernel(itertools.permutations(b, 2))
        - 2 * mean_kernel(itertools.product(a, b))
    )
    assert kernel_distance(a, b) == pytest.approx(expected, rel=1e-9)


def test_kernel_distance_is_unbiased():
    rng = np.random.default_rng(0)
    distances = [
        kernel_distance(rng.normal(size=(20, 4)), rng.normal(size=(10, 4)))
        for _ in range(400)
    ]
    error = np.std(distances) / np.sqrt(400)
    assert abs(np.mean(distances)) < 3 * error
    assert min(distances) < 0


@pytest.mark.parametrize("k", [1, 3])
def test_precision_recall_by_loops(k, monkeypatch):
    monkeypatch.setattr("dermgan_tf.metrics.neighbors._ROWS_AT_ONCE", 7)
    rng = np.random.default_rng(4)
    real, synthetic = rng.normal(size=(23, 3)), rng.normal(size=(17, 3)) * 0.7 + 0.5

    def radius(points, i):
        return sorted(
            np.linalg.norm(points[i] - p) for j, p in enumerate(points) if j != i
        )[k - 1]

    def balls(points, x):
        return sum(
            np.linalg.norm(x - p) <= radius(points, i) for i, p in enumerate(points)
        )

    assert precision_recall(real, synthetic, k) == pytest.approx(
        {
            "precision": np.mean([balls(real, y) > 0 for y in synthetic]),
            "recall": np.mean([balls(synthetic, x) > 0 for x in real]),
            "density": np.mean([balls(real, y) for y in synthetic]) / k,
            "coverage": np.mean(
                [
                    any(np.linalg.norm(x - y) <= radius(real, i) for y in synthetic)
                    for i, x in enumerate(real)
                ]
            ),
        }
    )


def test_precision_and_recall_tell_fidelity_from_diversity():
    rng = np.random.default_rng(0)
    real = rng.normal(size=(300, 2))
    narrow = precision_recall(real, rng.normal(size=(300, 2)) * 0.05)
    assert narrow["precision"] == 1 and narrow["recall"] < 0.1
    assert narrow["coverage"] < 0.2
    wide = precision_recall(real, rng.normal(size=(300, 2)) * 20)
    assert wide["precision"] < 0.3 and wide["recall"] > 0.9
    apart = precision_recall(real, real + 1000)
    assert set(apart.values()) == {0.0}
    assert precision_recall(real + 1e6, real + 1e6)["precision"] == 1.0


def test_precision_recall_of_constant_images():
    constant = np.full((6, 4), 0.1)
    assert precision_recall(constant, constant.copy()) == {
        "precision": 1.0,
        "recall": 1.0,
        "density": 2.0,  # all 6 real balls over k = 3
        "coverage": 1.0,
    }


def test_precision_recall_needs_more_samples_than_neighbours():
    with pytest.raises(InputError, match="synthetic activations have 3 rows"):
        precision_recall(np.ones((9, 2)), np.ones((3, 2)))
    with pytest.raises(InputError, match="k is at least 1"):
        precision_recall(np.ones((9, 2)), np.ones((9, 2)), k=0)


def test_resamples_draw_whole_cases():
    cases = np.array(["b", "a", "b", "c", "b", "a"])
    items_of = {"a": [1, 5], "b": [0, 2, 4], "c": [3]}
    samples = list(case_resamples(cases, resamples=200, seed=1))
    for sample in samples:
        drawn = 0
        for case, items in items_of.items():
            times = {np.count_nonzero(sample == i) for i in items}
            assert len(times) == 1, f"case {case} came in part"
            drawn += times.pop()
        assert drawn == 3
    again = list(case_resamples(cases, resamples=200, seed=1))
    assert all(np.array_equal(x, y) for x, y in zip(samples, again, strict=True))
    share_of_a = np.mean([np.count_nonzero(s == 1) for s in samples])
    assert share_of_a == pytest.approx(1.0, abs=0.2)


def test_percentile_interval_leaves_nan_out():
    assert percentile_interval(np.arange(101)) == [2.5, 97.5]
    assert percentile_interval([np.nan, 1.0, np.nan]) == [1.0, 1.0]
    assert percentile_interval([np.nan]) is None
