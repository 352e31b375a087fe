import numpy as np
import pytest
import scipy.stats

from dermgan_tf.errors import InputError
from dermgan_tf.judging.intervals import interval_of, macro_means, mean, share
from dermgan_tf.judging.scenes import drawn_scenes, painted
from dermgan_tf.metrics.bootstrap import percentile_interval
from tests.helpers.judged_pairs import SIZE, Painter, make_pair, paint


@pytest.mark.parametrize(("hits", "total"), [(0, 12), (12, 12), (5, 40), (1, 1)])
def test_a_share_of_independent_images_has_wilsons_interval(hits, total):
    found = share(np.arange(total) < hits, range(total))
    expected = scipy.stats.binomtest(hits, total).proportion_ci(method="wilson")
    assert found["value"] == hits / total
    np.testing.assert_allclose(found["interval_95"], expected, atol=1e-12)
    assert (found["hits"], found["total"], found["cases"]) == (hits, total, total)


def test_images_of_one_case_do_not_narrow_a_share():
    few = share([True, False, True, True], "abcd")
    many = share([True, False, True, True] * 5, "abcd" * 5)
    assert many["interval_95"] == few["interval_95"] and many["total"] == 20
    assert share([], [])["value"] is None and share([], [])["interval_95"] is None


def test_a_mean_resamples_cases():
    rng = np.random.default_rng(0)
    values = rng.normal(size=60)
    cases = [f"c{i % 20}" for i in range(60)]
    found = mean(values, cases, seed=3)
    assert found["value"] == pytest.approx(values.mean())
    assert (found["images"], found["cases"]) == (60, 20)
    same = interval_of(lambda items: values[items].mean(), cases, seed=3)
    np.testing.assert_allclose(found["interval_95"], same)
    spread = values.reshape(3, 20).mean(axis=0).std(ddof=1) / np.sqrt(20)
    low, high = found["interval_95"]
    assert high - low == pytest.approx(2 * 1.96 * spread, rel=0.15)
    assert mean([1.0, 2.0], "aa")["interval_95"] is None
    assert mean([], [])["value"] is None


def test_drawn_scenes_take_one_of_each_case_first():
    pairs = [make_pair(i, case=f"c{i // 4}") for i in range(20)]
    drawn = drawn_scenes(iter(pairs), SIZE, 5, seed=1)
    assert {pair["case_id"] for _, pair in drawn} == {f"c{i}" for i in range(5)}
    assert all(pairs[position] is pair for position, pair in drawn)
    more = drawn_scenes(pairs, SIZE, 12, seed=1)
    assert [p for p, _ in more[:5]] == [p for p, _ in drawn]
    assert len(drawn_scenes(pairs, SIZE)) == 20
    assert drawn_scenes([], SIZE) == []
    with pytest.raises(InputError, match="at least 1 scene"):
        drawn_scenes(pairs, SIZE, 0)
    with pytest.raises(InputError, match="paints 128 × 128 pixels, the map of image0"):
        drawn_scenes(pairs, 128)
    with pytest.raises(InputError, match="image0 is synthetic"):
        drawn_scenes([{**pairs[0], "source": "synthetic"}], SIZE)


def test_painting_goes_in_batches_and_keeps_what_belongs_together():
    pairs = [make_pair(i, fitzpatrick=i % 6 + 1) for i in range(11)]
    painter = Painter()
    scenes = list(enumerate(pairs))

    def variants(position, pair):
        count = position % 3 + 1
        return np.stack([pair["semantic_map"]] * count), list(range(count))

    found = list(painted(painter, scenes, variants))
    assert max(painter.batches) <= 16
    for (position, pair), (*scene, maps, images) in zip(scenes, found, strict=True):
        assert scene == [position, pair] and len(maps) == len(images)
        for seed, image in enumerate(images):
            np.testing.assert_array_equal(image, paint(pair["semantic_map"], seed))


def test_no_group_vanishes_from_macro_means():
    """Group 2, of two cases, is never hit: resamples without it would flatter."""
    groups = np.array([0] * 20 + [1] * 20 + [2] * 16)
    cases = [f"case {i}" for i in range(40)] + ["c"] * 8 + ["d"] * 8
    hits = np.array([1.0] * 20 + [1, 0] * 10 + [0] * 16)
    values, resampled = macro_means([hits], groups, cases)
    assert values[0] == pytest.approx((1 + 0.5 + 0) / 3)
    assert resampled.shape == (1, 1000)
    assert resampled.max() <= 2 / 3
    assert np.ptp(resampled) > 0.1
    alone, nothing = macro_means([hits[:4]], groups[:4], ["one"] * 4)
    assert alone[0] == 1 and nothing is None


def test_intervals_of_macro_means_cover_the_truth():
    """Simulated: eight conditions, from 3 to 40 cases, cases of one to four images."""
    rng = np.random.default_rng(0)
    sizes = [3, 4, 5, 8, 12, 20, 30, 40]
    truth = np.linspace(0.3, 0.95, len(sizes))
    covered = []
    for seed in range(300):
        groups, cases, hits = [], [], []
        for group, (size, recall) in enumerate(zip(sizes, truth, strict=True)):
            for case in range(size):
                # Images of one case are alike: beta-distributed around the recall.
                own = rng.beta(4 * recall, 4 * (1 - recall))
                images = rng.integers(1, 5)
                groups += [group] * images
                cases += [f"{group}-{case}"] * images
                hits += (rng.random(images) < own).tolist()
        _, resampled = macro_means([np.array(hits, float)], groups, cases, seed)
        low, high = percentile_interval(resampled[0])
        covered.append(low <= truth.mean() <= high)
    assert 0.90 <= np.mean(covered) <= 0.99
