"""The distances against TF-GAN, SciPy, closed forms and plain loops."""

import functools
import itertools
import warnings

import numpy as np
import pytest
import scipy.linalg
from scipy.spatial.distance import cdist

from dermgan_tf.errors import InputError
from dermgan_tf.metrics import (
    case_resamples,
    frechet_distance,
    frechet_extrapolated,
    frechet_trials,
    kernel_distance,
    kernel_trials,
    nearest_neighbours,
    pairwise_distances,
    percentile_interval,
    precision_recall,
    precision_recall_trials,
)
from dermgan_tf.metrics.trials import draw_trials

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

    from dermgan_tf.metrics.tfgan import tfgan

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


def test_frechet_distance_with_singular_covariances():
    """Features that are constant in one set, and features that repeat others."""
    a, b = activations(90, 12, seed=1), activations(80, 12, seed=2, shift=0.3)
    a[:, 3], b[:, 5] = 0.7, 0.1
    a, b = (np.concatenate([x, x[:, 6:8]], axis=1) for x in (a, b))
    sigma_a, sigma_b = np.cov(a.T), np.cov(b.T)
    eigenvalues = scipy.linalg.eigvals(sigma_a @ sigma_b).real.clip(min=0)
    expected = np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(sigma_a + sigma_b)
    expected -= 2 * np.sqrt(eigenvalues).sum()
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)


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
        (broken(1e200), "too large"),
        (np.ones((1, 3)), "1 rows"),
        (np.ones((5, 0)), "0 features"),
        (np.ones(5), r"\[5\]"),
        (np.ones((5, 2)), "different embeddings"),
        (np.ones((5, 3), complex), "complex"),
        (np.full((5, 3), "a"), "<U1"),
    ],
)
@pytest.mark.parametrize(
    "distance",
    [
        frechet_distance,
        kernel_distance,
        frechet_trials,
        frechet_extrapolated,
        kernel_trials,
        functools.partial(precision_recall, k=1),
        functools.partial(precision_recall_trials, k=1),
    ],
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
    possible = {round(frechet_distance(a[list(p)], a[list(q)]), 6) for p, q in pairs}
    seen = {
        round(frechet_trials(a, trials=1, seed=seed)["mean"], 6) for seed in range(30)
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
@pytest.mark.parametrize("trials_of", [frechet_trials, kernel_trials])
def test_impossible_trials_are_refused(trials_of, arguments, message):
    with pytest.raises(InputError, match=message):
        trials_of(activations(10, 3, 1), **arguments)


def test_trials_need_more_samples_than_neighbours():
    a = activations(7, 3, 1)
    with pytest.raises(InputError, match="none is, with the 7 samples there are"):
        precision_recall_trials(a, k=3)
    with pytest.raises(InputError, match="4…7 are, with the 7 and 7"):
        precision_recall_trials(a, a, k=3, sample_size=3)
    with pytest.raises(InputError, match="k is at least 1"):
        precision_recall_trials(a, a, k=0)


def trials_by_definition(distance, a, b, trials, sample_size, seed):
    """A value per trial, of the plain distance of each trial's samples."""
    m = None if b is None else len(b)
    draws = draw_trials(len(a), m, trials, sample_size, seed)
    return [distance(a[i], (a if b is None else b)[j]) for i, j in draws]


def assert_summary(found, values, **tolerance):
    assert found["mean"] == pytest.approx(np.mean(values), **tolerance)
    assert found["standard_deviation"] == pytest.approx(
        np.std(values, ddof=1), **tolerance
    )
    assert found["interval_95"] == pytest.approx(
        np.percentile(values, [2.5, 97.5]), **tolerance
    )


@pytest.mark.filterwarnings("ignore:Matrix is singular")
@pytest.mark.parametrize("within", [False, True])
# More trials than 1 share the work on all samples, few small ones do not.
@pytest.mark.parametrize("trials, sample_size", [(30, 20), (2, 6)])
def test_trials_of_all_distances_are_the_plain_ones_of_equal_samples(
    trials, sample_size, within, monkeypatch
):
    for module in ("kernel", "neighbors", "frechet"):
        monkeypatch.setattr(f"dermgan_tf.metrics.{module}._ROWS_AT_ONCE", 7)
    a = activations(48, 5, seed=1)
    b = None if within else activations(41, 5, seed=2, shift=0.4)
    settings = {"trials": trials, "sample_size": sample_size, "seed": 3}

    for of_trials, distance in (
        (frechet_trials, frechet_by_sqrtm),
        (kernel_trials, kernel_distance),
    ):
        found = of_trials(a, b, **settings)
        assert (found["trials"], found["sample_size"]) == (trials, sample_size)
        values = trials_by_definition(distance, a, b, **settings)
        assert_summary(found, values, rel=1e-6)

    found = precision_recall_trials(a, b, k=2, **settings)
    assert found["trials"] == trials and found["sample_size"] == sample_size
    assert found["k"] == 2
    values = trials_by_definition(
        functools.partial(precision_recall, k=2), a, b, **settings
    )
    for name in ("precision", "recall", "density", "coverage"):
        assert_summary(found[name], [v[name] for v in values], abs=1e-12)


def test_trials_of_constant_images():
    """A collapsed generator: no NaN, no warning, and the right distance."""
    one, other = np.full((20, 6), 0.1), np.full((20, 6), 0.3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert frechet_trials(one, trials=3)["mean"] == pytest.approx(0, abs=1e-12)
        found = frechet_trials(one, other, trials=3)
        assert found["mean"] == pytest.approx(6 * 0.2**2)
        assert kernel_trials(one, trials=3)["mean"] == pytest.approx(0, abs=1e-12)
        same = precision_recall_trials(one, trials=3)
        assert same["precision"]["mean"] == same["coverage"]["mean"] == 1.0
        apart = precision_recall_trials(one, other, trials=3)
        assert apart["precision"]["mean"] == apart["recall"]["mean"] == 0.0


def test_extrapolation_finds_the_distance_of_endless_samples():
    rng = np.random.default_rng(2)
    scale = np.linspace(0.5, 1.5, 20)
    a, b = rng.normal(size=(20000, 20)), rng.normal(size=(20000, 20)) * scale + 0.1
    truth = np.sum((1 - scale) ** 2) + 20 * 0.1**2
    found = frechet_extrapolated(a, b, sizes=[100, 150, 300], trials=20)
    assert found["reliable"] is True and found["features"] == 20
    low, high = found["interval_95"]
    assert low < found["distance"] < high
    assert [point["samples"] for point in found["points"]] == [100, 150, 300]
    means = [point["mean"] for point in found["points"]]
    assert means == sorted(means, reverse=True) and found["slope"] > 0
    # Twice too large by 100 samples, and right but for the error of these 20,000.
    assert means[0] > 2 * truth
    assert abs(found["distance"] - truth) < 0.1 * (means[-1] - truth)


@pytest.mark.filterwarnings("ignore:Matrix is singular")
def test_extrapolation_is_an_ordinary_least_squares_line():
    a, b = activations(90, 4, seed=1), activations(80, 4, seed=2, shift=0.3)
    sizes = [20, 50, 80]
    found = frechet_extrapolated(a, b, sizes=sizes[::-1], trials=4, seed=7)
    intercepts = []
    for first, second in draw_trials(90, 80, 4, 80, seed=7):
        values = [frechet_by_sqrtm(a[first[:n]], b[second[:n]]) for n in sizes]
        design = np.stack([np.ones(3), 1 / np.array(sizes)], axis=1)
        intercepts.append(np.linalg.lstsq(design, values)[0][0])
    assert found["distance"] == pytest.approx(np.mean(intercepts), rel=1e-5)
    assert found["interval_95"] == pytest.approx(
        np.percentile(intercepts, [2.5, 97.5]), rel=1e-5
    )
    one = frechet_extrapolated(a, b, sizes=sizes, trials=1)
    assert one["interval_95"] is None


def test_extrapolation_says_when_there_are_too_few_samples():
    a, b = activations(60, 20, seed=1), activations(60, 20, seed=2)
    with pytest.warns(UserWarning, match="20 samples in 20 dimensions"):
        assert not frechet_extrapolated(a, b, sizes=[20, 40], trials=1)["reliable"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = frechet_extrapolated(a, b, trials=1)
    assert found["reliable"] is True
    assert [point["samples"] for point in found["points"]] == [21, 31, 40, 50, 60]
    within = frechet_extrapolated(a, trials=2)["points"]
    assert [point["samples"] for point in within] == [15, 19, 22, 26, 30]
    for sizes, message in (
        ([40, 40], "2 different sizes"),
        ([1, 40], "2…60"),
        ([40, 61], "2…60"),
    ):
        with pytest.raises(InputError, match=message):
            frechet_extrapolated(a, b, sizes=sizes)


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


def test_pairwise_distances_are_scipys(monkeypatch):
    monkeypatch.setattr("dermgan_tf.metrics.neighbors._ROWS_AT_ONCE", 7)
    monkeypatch.setattr("dermgan_tf.metrics.neighbors._PAIRS_AT_ONCE", 5)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 9)) + 1e3  # far from the origin
    copies, near = x[:10], x[10:30] + 1e-6 * rng.normal(size=(20, 9))
    y = np.concatenate([copies, near, rng.normal(size=(12, 9)) + 1e3])
    distances, expected = pairwise_distances(x, y), cdist(x, y)
    assert distances.dtype == np.float64
    np.testing.assert_allclose(distances, expected, rtol=1e-8)
    assert np.all(distances[np.arange(10), np.arange(10)] == 0)

    nearest, indices = nearest_neighbours(x, y)
    np.testing.assert_array_equal(indices, expected.argmin(axis=1))
    np.testing.assert_allclose(nearest, expected.min(axis=1), rtol=1e-8)
    assert nearest.dtype == np.float64 and indices.dtype.kind == "i"


def test_nearest_neighbours_of_single_and_repeated_samples():
    one = np.array([[3.0, 4.0]])
    np.testing.assert_array_equal(pairwise_distances(one, -one), [[10.0]])
    distances, indices = nearest_neighbours(one, np.zeros((5, 2)))
    assert distances.tolist() == [5.0] and indices.tolist() == [0]
    np.testing.assert_array_equal(
        pairwise_distances(np.array([[0.0, -0.0]]), np.array([[-0.0, 0.0]])), [[0.0]]
    )
    with pytest.raises(InputError, match="different embeddings"):
        nearest_neighbours(one, np.zeros((5, 3)))
    with pytest.raises(InputError, match="second activations have NaN"):
        pairwise_distances(one, [[np.nan, 0.0]])
    with pytest.raises(InputError, match="first activations have 0 rows"):
        nearest_neighbours(np.zeros((0, 2)), one)


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
