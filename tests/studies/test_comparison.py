import itertools
import json
import pathlib
import re
import warnings

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics

from dermgan_tf.metrics.bootstrap import stratified_case_weights
from dermgan_tf.studies.arms import Arm
from dermgan_tf.studies.comparison import compare
from dermgan_tf.studies.resampling import (
    bootstrap_p,
    difference,
    estimate,
    over_seeds,
    swapped_p,
)
from dermgan_tf.studies.scores import SCORES, Scorer, TestSet
from tests.helpers.prediction_sets import drawn_arms, predictions

SPECIFICITY = 0.9


@pytest.fixture(scope="module")
def arms():
    return drawn_arms()


@pytest.fixture(scope="module")
def compared(arms):
    return compare(arms, resamples=200, rarest=2)


def sklearn_scores(labels, probabilities, weights):
    """Scores of photos that count as often as `weights` says."""
    k = probabilities.shape[1]
    predicted = probabilities.argmax(axis=1)
    shown = [i for i in range(k) if weights[labels == i].sum()]
    both = {"sample_weight": weights, "labels": shown, "average": "macro"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # conditions that were never predicted
        found = {
            "top_1": sklearn.metrics.accuracy_score(
                labels, predicted, sample_weight=weights
            ),
            "macro_f1": sklearn.metrics.f1_score(labels, predicted, **both),
            "macro_recall": sklearn.metrics.recall_score(labels, predicted, **both),
        }
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :3]
    top_3 = (order == labels[:, None]).any(axis=1)
    found["top_3"] = np.average(top_3, weights=weights)
    bins = np.digitize(probabilities.max(axis=1), np.linspace(0, 1, 16), right=True)
    errors = []
    for b in range(1, 16):
        w = weights * (bins == b)
        if w.sum():
            gap = np.average(predicted == labels, weights=w) - np.average(
                probabilities.max(axis=1), weights=w
            )
            errors.append(abs(gap) * w.sum() / weights.sum())
    found["calibration_error"] = sum(errors)
    ranked = [
        one_against_rest(labels == i, probabilities[:, i], weights) for i in shown
    ]
    ranked = [pair for pair in ranked if pair]
    for place, name in enumerate(("macro_auc", "macro_sensitivity")):
        values = [pair[place] for pair in ranked]
        found[name] = np.mean(values) if values else np.nan
    return found


def one_against_rest(positive, scores, weights):
    if not weights[positive].sum() or not weights[~positive].sum():
        return None
    auc = sklearn.metrics.roc_auc_score(positive, scores, sample_weight=weights)
    false, true, _ = sklearn.metrics.roc_curve(
        positive, scores, sample_weight=weights, drop_intermediate=False
    )
    return auc, true[false <= 1 - SPECIFICITY + 1e-9].max()


@pytest.mark.parametrize("digits", [2, 6])  # with many ties, and with none
def test_scores_are_those_of_scikit_learn_on_any_resample(digits):
    given = drawn_arms(seeds=(1, 1), photos=150, cases=70)[0].predictions[0]
    labels, probabilities = given.labels, given.probabilities.round(digits)
    test_set = TestSet.of(given)
    rng = np.random.default_rng(0)
    weights = rng.multinomial(70, np.full(70, 1 / 70), size=4).T.astype(float)
    weights[:, 0] = 1
    found = Scorer(test_set, probabilities, SPECIFICITY).scores(weights)
    for r in range(4):
        of_photo = weights[test_set.cases, r]
        for place, skin_type in enumerate([None, *test_set.types]):
            chosen = slice(None)
            if skin_type is not None:
                chosen = given.skin_types == skin_type
            if not of_photo[chosen].sum():
                assert np.isnan(found["top_1"][place, r])
                continue
            expected = sklearn_scores(
                labels[chosen], probabilities[chosen], of_photo[chosen]
            )
            for name in SCORES:
                np.testing.assert_allclose(
                    found[name][place, r], expected[name], 1e-9, 1e-12, err_msg=name
                )
        for k in range(5):
            hit = (labels == k) & (probabilities.argmax(axis=1) == k)
            true, said = labels == k, probabilities.argmax(axis=1) == k
            total = of_photo @ said
            expected = of_photo @ hit / total if total else np.nan
            np.testing.assert_allclose(found["precision"][k, r], expected)
            np.testing.assert_allclose(
                found["recall"][k, r], of_photo @ hit / (of_photo @ true)
            )
            expected = one_against_rest(labels == k, probabilities[:, k], of_photo)
            np.testing.assert_allclose(
                (found["auc"][k, r], found["sensitivity"][k, r]), expected
            )


def test_an_example_by_hand():
    # Two cases of two photos and two of one; type I but for the last, which is VI.
    probabilities = [
        [0.7, 0.2, 0.1],
        [0.4, 0.5, 0.1],
        [0.1, 0.8, 0.1],
        [0.3, 0.6, 0.1],
        [0.5, 0.4, 0.1],
        [0.2, 0.1, 0.7],
    ]
    baseline = predictions(
        [0, 0, 1, 1, 1, 0], probabilities, [0, 0, 1, 1, 2, 3], [1, 1, 1, 1, 1, 6]
    )
    better = np.array(probabilities)
    better[1], better[4] = [0.6, 0.3, 0.1], [0.4, 0.5, 0.1]
    arms = [
        Arm("a", (baseline,)),
        Arm(
            "b",
            (
                predictions(
                    [0, 0, 1, 1, 1, 0], better, [0, 0, 1, 1, 2, 3], [1] * 5 + [6]
                ),
            ),
        ),
    ]
    found = compare(arms, resamples=100, rarest=2)
    a, b = (arm["scores"] for arm in found["arms"])
    assert a["top_1"]["value"] == pytest.approx(3 / 6)
    assert b["top_1"]["value"] == pytest.approx(5 / 6)
    # Baseline: condition 0 has 1 hit, 2 predicted, 3 true; condition 1: 2 of 3 and 3.
    assert a["macro_f1"]["value"] == pytest.approx((2 / 5 + 4 / 6) / 2)
    assert b["macro_f1"]["value"] == pytest.approx((4 / 5 + 1) / 2)
    # |right − sure| by bins, all of them with one photo but (.4, .46667] and such:
    # .7 right, .5 and .5 wrong (one bin), .8 right, .6 right, .7 wrong (with .7).
    error = abs(1 - 0.7 + 0 - 0.7) + abs(-0.5 - 0.5) + 0.2 + 0.4
    assert a["calibration_error"]["value"] == pytest.approx(error / 6)
    # Condition 0 scores .7 .4 .2, the rest .1 .3 .5: 6 of 9 pairs in order.
    auc = found["arms"][0]["by_condition"][0]["auc"]["value"]
    assert auc == pytest.approx(6 / 9)
    assert found["arms"][0]["by_condition"][0]["sensitivity"]["value"] == pytest.approx(
        1 / 3
    )
    assert a["top_3"]["value"] is None and "3 conditions" in a["top_3"]["undefined"]
    row = found["arms"][0]["by_condition"][2]
    assert row["photos"] == row["cases"] == 0 and row["f1"]["value"] is None
    assert row["f1"]["undefined"] == row["auc"]["undefined"] == "no test photo"
    assert row["precision"]["value"] == 0  # predicted once, wrongly
    assert found["arms"][0]["left_out"] == ["k2"]
    assert found["arms"][0]["confusion"] == [[[1, 1, 1], [1, 2, 0], [0, 0, 0]]]
    assert any("No test photo shows k2" in remark for remark in found["remarks"])
    gaps = found["arms"][0]["gaps"]
    assert gaps["top_1"]["value"] is None and gaps["top_1"]["best"] is None
    assert gaps["top_1"]["undefined"] == "fewer than two skin types with 10 cases"
    difference = found["comparisons"][0]
    assert difference["scores"]["top_1"]["value"] == pytest.approx(2 / 6)
    # Of case 0 the baseline has 1 of 2 right, which is no majority; case 2 none.
    assert difference["mcnemar"] == {
        "seeds_of_each": 1,
        "cases": 4,
        "right_in_both": 1,
        "right_in_arm_only": 2,
        "right_in_baseline_only": 0,
        "wrong_in_both": 1,
        "p": pytest.approx(0.5),
    }
    # Photos of one case: fewer than two cases give no interval.
    assert found["arms"][0]["by_skin_type"][1]["top_1"]["interval_95"] is None


def test_seeds_are_averaged_and_shown(arms, compared):
    for arm, found in zip(arms, compared["arms"], strict=True):
        values = [
            sklearn.metrics.accuracy_score(p.labels, p.probabilities.argmax(axis=1))
            for p in arm.predictions
        ]
        top_1 = found["scores"]["top_1"]
        np.testing.assert_allclose(top_1["seeds"], values)
        assert top_1["value"] == pytest.approx(np.mean(values))
        assert top_1["standard_deviation"] == pytest.approx(np.std(values, ddof=1))
        assert top_1["interval_95"][0] < top_1["value"] < top_1["interval_95"][1]
        assert found["interval_covers"] == "cases and training seeds"
        for matrix, p in zip(found["confusion"], arm.predictions, strict=True):
            np.testing.assert_array_equal(
                matrix,
                sklearn.metrics.confusion_matrix(
                    p.labels, p.probabilities.argmax(axis=1), labels=range(5)
                ),
            )
    difference = compared["comparisons"][0]
    assert difference["training_seeds"] == "paired in the order given"
    expected = np.subtract(*(a["scores"]["top_1"]["seeds"] for a in compared["arms"]))
    np.testing.assert_allclose(difference["scores"]["top_1"]["seeds"], -expected)


def test_tests_are_those_of_scipy(arms, compared):
    found = compared["comparisons"][0]
    right = [
        np.mean(
            [p.probabilities.argmax(1) == p.labels for p in arm.predictions], axis=0
        )
        for arm in arms
    ]
    test = scipy.stats.ttest_rel(right[1], right[0])
    by_photo = found["t_test"]["by_photo"]
    assert by_photo["p"] == pytest.approx(test.pvalue) and by_photo["count"] == 300
    assert by_photo["statistic"] == pytest.approx(test.statistic)
    cases = TestSet.of(arms[0].predictions[0]).cases
    by_case = [[r[cases == c].mean() for c in range(120)] for r in right]
    test = scipy.stats.ttest_rel(by_case[1], by_case[0])
    assert found["t_test"]["by_case"]["p"] == pytest.approx(test.pvalue)
    base, ours = np.array(by_case) > 0.5
    table, only = found["mcnemar"], (ours & ~base).sum()
    assert table["right_in_arm_only"] == only
    differ = (ours != base).sum()
    assert table["p"] == pytest.approx(scipy.stats.binomtest(only, differ).pvalue)


def test_holm_corrects_over_conditions(compared):
    for name in ("f1", "recall"):
        rows = [row[name] for row in compared["comparisons"][0]["by_condition"]]
        p = np.array([row["p"] for row in rows])
        order, expected = np.argsort(p), np.empty(5)
        expected[order] = np.maximum.accumulate(p[order] * np.arange(5, 0, -1))
        np.testing.assert_allclose(
            [row["p_holm"] for row in rows], np.minimum(expected, 1)
        )
        assert compared["comparisons"][0]["holm_conditions"][name] == 5
        for row in rows:
            assert row["p"] == max(row["p_bootstrap"], row["p_permutation"])


def test_gaps_between_skin_types(arms, compared):
    assert compared["compared_groups"]["skin_types"] == [1, 2, 3, 4, 5]
    assert compared["compared_groups"]["left_out_types"] == [0, 6]
    p = arms[0].predictions[0]
    cases = TestSet.of(p).cases
    recalls, gaps = [], []
    for k in range(5):
        of_type = []
        for t in range(1, 7):
            chosen = (p.labels == k) & (p.skin_types == t)
            if len(set(cases[chosen])) >= 5:
                of_type.append((p.probabilities.argmax(axis=1) == k)[chosen].mean())
        if len(of_type) > 1:
            gaps.append(max(of_type) - min(of_type))
    for t in range(1, 6):
        chosen = p.skin_types == t
        said = p.probabilities.argmax(axis=1)[chosen]
        shown = np.unique(p.labels[chosen])
        recalls.append(
            sklearn.metrics.recall_score(
                p.labels[chosen], said, labels=shown, average="macro"
            )
        )
    found = compared["arms"][0]["gaps"]
    assert found["macro_recall"]["seeds"][0] == pytest.approx(np.ptp(recalls))
    assert found["mean_condition_recall"]["seeds"][0] == pytest.approx(np.mean(gaps))
    types = {row["fitzpatrick"]: row for row in compared["arms"][0]["by_skin_type"]}
    best, worst = found["macro_recall"]["best"], found["macro_recall"]["worst"]
    assert best != worst
    values = {t: types[t]["macro_recall"]["value"] for t in range(1, 6)}
    assert max(values, key=values.get) == best and min(values, key=values.get) == worst
    apart = compared["comparisons"][0]["gaps"]["macro_recall"]
    expected = [a["gaps"]["macro_recall"]["value"] for a in compared["arms"]]
    assert apart["value"] == pytest.approx(expected[1] - expected[0])
    assert apart["interval_95"][0] < apart["value"] < apart["interval_95"][1]


def test_the_rarest_conditions(arms):
    counts = {"k0": 5, "k1": 9, "k2": 9, "k3": 4, "k4": 100}
    found = compare(arms, resamples=100, rarest=3, train_counts=counts)
    assert found["rarest"]["conditions"] == ["k3", "k0", "k1"]
    assert found["rarest"]["by"] == "training photos"
    f1 = [found["arms"][1]["by_condition"][k]["f1"]["value"] for k in (3, 0, 1)]
    assert found["arms"][1]["scores"]["rarest_f1"]["value"] == pytest.approx(
        np.mean(f1)
    )
    assert found["test_set"]["conditions"][4]["train_photos"] == 100
    found = compare(arms, resamples=100, rarest=2)
    photos = [row["photos"] for row in found["test_set"]["conditions"]]
    expected = [f"k{k}" for k in np.argsort(photos, kind="stable")[:2]]
    assert found["rarest"]["conditions"] == expected
    assert found["rarest"]["by"] == "test photos"


def test_equal_arms_do_not_differ(arms):
    found = compare([arms[0], Arm("same", arms[0].predictions)], resamples=100)[
        "comparisons"
    ][0]

    def leaves(value):
        if isinstance(value, dict):
            if "p_bootstrap" in value:
                yield value
            for inner in value.values():
                yield from leaves(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from leaves(inner)

    entries = [entry for entry in leaves(found) if entry["undefined"] is None]
    assert len(entries) > 60
    for entry in entries:
        assert entry["value"] == 0
        assert entry["p"] in (1, None) and entry["p_permutation"] in (1, None)
        assert entry["interval_95"] in ([0, 0], None)
    assert found["mcnemar"]["p"] == found["t_test"]["by_photo"]["p"] == 1
    assert found["f1_changes"]["same"]["value"] == 1
    assert found["f1_changes"]["significantly_better"] == []


def test_unequal_numbers_of_seeds_are_not_paired():
    found = compare(drawn_arms(seeds=(1, 3)), resamples=100)
    assert [arm["interval_covers"] for arm in found["arms"]] == [
        "cases alone",
        "cases and training seeds",
    ]
    assert any("Trained once: baseline." in remark for remark in found["remarks"])
    assert any("few seeds: augmented (3)" in remark for remark in found["remarks"])
    apart = found["comparisons"][0]
    assert apart["training_seeds"] == "unequal numbers, varied independently"
    top_1 = apart["scores"]["top_1"]
    assert top_1["seeds"] is None and top_1["interval_95"] and top_1["p"]
    values = [arm["scores"]["top_1"]["value"] for arm in found["arms"]]
    assert top_1["value"] == pytest.approx(values[1] - values[0])
    assert apart["mcnemar"]["seeds_of_each"] == 1


def test_values_lie_in_their_intervals(compared):
    for arm in compared["arms"]:
        for part in (arm["scores"], arm["gaps"], *arm["by_skin_type"][:6]):
            for name, found in part.items():
                if isinstance(found, dict) and found["interval_95"]:
                    low, high = found["interval_95"]
                    assert low <= found["value"] <= high, name


def test_the_same_seed_gives_the_same_numbers(arms, compared):
    again = compare(arms, resamples=200, rarest=2)
    assert json.dumps(again) == json.dumps(compared)
    other = compare(arms, resamples=200, rarest=2, seed=1)
    assert json.dumps(other) != json.dumps(compared)


def test_resamples_keep_conditions_and_variances():
    strata = np.repeat([0, 1, 2], [1, 3, 40])
    weights = stratified_case_weights(strata, 20_000, np.random.default_rng(0))
    for stratum, n in ((0, 1), (1, 3), (2, 40)):
        own = weights[strata == stratum]
        assert (own.sum(axis=0) > 0).all()
        np.testing.assert_allclose(own.mean(axis=0).mean(), 1, atol=0.03)
        values = np.random.default_rng(1).normal(size=n)
        means = values @ own / own.sum(axis=0)
        expected = values.var(ddof=1) / n if n > 1 else 0
        np.testing.assert_allclose(means.var(), expected, rtol=0.05, atol=1e-12)
    # The mix varies as that of as many cases drawn anew.
    share = weights[strata == 2].sum(axis=0) / weights.sum(axis=0)
    np.testing.assert_allclose(share.var(), (40 / 44) * (4 / 44) / 45, rtol=0.05)


def test_a_mean_is_covered_as_promised():
    """Over cases and seeds, whichever of the two varies more."""
    rng = np.random.default_rng(0)
    strata = np.zeros(100, int)
    for seeds, of_case, of_seed, of_both in (
        (1, 1, 0, 0),
        (2, 1, 0, 1),
        (3, 1, 0.1, 1),
        (5, 0.2, 0.3, 0.2),
        (5, 1, 0, 2),
    ):
        held = 0
        for _ in range(300):
            x = of_case * rng.normal(size=100) + of_both * rng.normal(size=(seeds, 100))
            x += of_seed * rng.normal(size=(seeds, 1))
            weights = stratified_case_weights(strata, 200, rng)
            values = np.c_[x.mean(axis=1), x @ weights / weights.sum(axis=0)]
            noise = rng.standard_t(seeds - 1, 200) if seeds > 1 else np.zeros(200)
            low, high = np.percentile(over_seeds(values, noise), [2.5, 97.5])
            held += low <= 0 <= high
        assert 0.91 <= held / 300 <= 0.985, (seeds, held)


def test_arms_that_are_alike_are_told_apart_in_one_of_twenty():
    """Two photos a case, and classifiers of which none is better."""
    rng = np.random.default_rng(0)
    strata, false = np.zeros(150, int), []
    for _ in range(400):
        ease = rng.random(150)
        arms = []
        for _ in range(2):
            right = (rng.random((2, 150)) < ease).mean(axis=0)
            arms.append(right)
        weights = stratified_case_weights(strata, 200, rng)
        values = [
            np.r_[r.mean(), r @ weights / weights.sum(axis=0)][None] for r in arms
        ]
        nothing = (np.zeros(200),) * 2
        found = difference(*values, nothing, 150, "", None)
        excludes = not found["interval_95"][0] <= 0 <= found["interval_95"][1]
        false.append((excludes, found["p"] < 0.05))
    rates = np.mean(false, axis=0)
    assert (rates > 0.025).all() and (rates < 0.08).all()


def test_a_larger_difference_is_found():
    found = compare(drawn_arms(gain=3, photos=200), resamples=200)["comparisons"][0]
    assert found["scores"]["top_1"]["p"] < 0.02
    assert found["scores"]["top_1"]["interval_95"][0] > 0
    assert found["f1_changes"]["better"]["conditions"] == 5
    assert found["f1_changes"]["significantly_better"]
    assert found["f1_changes"]["significantly_worse"] == []


def test_swaps_are_those_of_an_exact_permutation_test():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [9, 6])
    right = [rng.random(15) < 0.3, rng.random(15) < 0.8]
    files = [
        predictions(labels, np.eye(2)[np.where(r, labels, 1 - labels)]) for r in right
    ]
    test_set = TestSet.of(files[0])
    scorers = [Scorer(test_set, p.probabilities, 0.9) for p in files]
    found = swapped_p([scorers[1]], [scorers[0]], 1, 4000, 0, lambda scores: scores)
    for k in (0, 1):
        apart = (right[1].astype(float) - right[0])[labels == k]
        swaps = np.array(list(itertools.product([1, -1], repeat=len(apart))))
        expected = np.mean(np.abs(swaps @ apart) >= abs(apart.sum()) - 1e-9)
        assert found["recall"][k] == pytest.approx(expected, abs=0.03)
    everything = np.array(list(itertools.product([0, 1], repeat=15)), bool)
    said = [np.where(r, labels, 1 - labels) for r in right]

    def f1(of, k):
        hits = ((of == k) & (labels == k)).sum(axis=-1)
        return 2 * hits / ((of == k).sum(axis=-1) + (labels == k).sum())

    swapped = np.where(everything, said[1], said[0]), np.where(everything, *said)
    apart = f1(swapped[0], 0) - f1(swapped[1], 0)
    expected = np.mean(np.abs(apart) >= abs(f1(said[1], 0) - f1(said[0], 0)) - 1e-9)
    assert found["f1"][0] == pytest.approx(expected, abs=0.03)


def test_two_cases_are_no_evidence():
    """Though every resample of them says so."""
    labels = [0] * 40 + [1] * 2
    wrong, right = np.zeros(42, int), np.array(labels)
    arms = [
        Arm(n, (predictions(labels, np.eye(2)[x]),))
        for n, x in (("a", wrong), ("b", right))
    ]
    row = compare(arms, resamples=500)["comparisons"][0]["by_condition"][1]["recall"]
    assert row["value"] == 1 and row["interval_95"] == [1, 1]
    assert row["p_bootstrap"] < 0.01
    assert row["p"] == row["p_permutation"] == pytest.approx(0.5, abs=0.1)


def test_entries_of_undefined_scores():
    values = np.array([[0.5, 0.4, 0.6], [np.nan, 0.5, 0.5]])
    found = estimate(values, np.zeros(2), 9, "never predicted")
    assert found["value"] is found["interval_95"] is None
    assert found["seeds"] == [0.5, None]
    assert found["undefined"] == "never predicted, by 1 of 2 training seeds"
    mostly = np.array([[0.5, np.nan, np.nan, 0.4]])
    found = estimate(mostly, np.zeros(3), 9, "never predicted")
    assert found["value"] == 0.5 and found["interval_95"] is None
    assert found["resamples"] == 1 and found["undefined"] is None
    assert bootstrap_p(np.zeros(10)) == 1
    assert bootstrap_p(np.r_[-1, np.ones(98)]) == pytest.approx(2 * 2 / 100)


def test_every_number_is_documented(compared):
    text = pathlib.Path(__file__).parents[2] / "docs" / "comparison.md"
    documented = set(re.findall(r"[a-z_0-9]+", text.read_text("utf-8")))

    def keys(value):
        if isinstance(value, dict):
            for key, inner in value.items():
                yield key
                yield from keys(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from keys(inner)

    found = {key for key in keys(compared) if not re.fullmatch(r"k\d", key)}
    assert len(found) > 70
    assert not found - documented
