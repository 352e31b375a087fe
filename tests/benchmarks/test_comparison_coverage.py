"""The simulated comparisons know their truth, and count what they say."""

import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from benchmarks import comparison_coverage as coverage
from benchmarks.comparison_coverage import Setting

SHARES = (3, 2, 1)


def test_the_truth_is_that_of_many_cases():
    """Of the very networks, whose cases share errors."""
    setting = Setting("drawn", (1, 1), seed_effect=0.5, shares=SHARES)
    arms, truths = coverage.draw_arms(setting, 8_000, np.random.default_rng(0))
    for arm, truth in zip(arms, truths, strict=True):
        [given] = arm.predictions
        right = given.probabilities.argmax(axis=1) == given.labels
        assert np.mean(right) == pytest.approx(truth["top_1"], abs=0.02)
    assert truths[0] != truths[1]
    # Of several seeds it is the mean over all, so that it is known before any is drawn.
    setting = Setting("drawn", (2, 3), seed_effect=0.5, shares=SHARES)
    _, truths = coverage.draw_arms(setting, 10, np.random.default_rng(0))
    assert truths[0] == truths[1]
    effects = 0.5 * np.random.default_rng(1).normal(size=10_000)
    values = coverage.true_scores(setting.shares)(effects)
    for name in coverage.SCORES:
        assert truths[0][name] == pytest.approx(values[name].mean(), abs=0.005)


def test_tables():
    settings = [
        Setting("one", (1, 1), shares=SHARES),
        Setting("better", (1, 1), gain=3.0, shares=SHARES),
    ]
    tallies = {
        setting: {
            key: [happened]
            for key, happened in coverage.simulate(
                setting, 40, 50, np.random.default_rng(0)
            ).items()
        }
        for setting in settings
    }
    lines = coverage.render(tallies, 40).splitlines()
    rows = [line.split(" |")[0] for line in lines]
    assert [row for row in rows if row in ("| one", "| better")] == [
        "| one",
        "| better",
        "| one",
        "| better",
        "| one",  # the better arm is no false alarm
    ]
    assert tallies[settings[1]]["p", "top_1"] == [True]


def test_percent():
    low, high = proportion_confint(3, 4, method="wilson")
    expected = f"75.0 ({100 * low:.1f}–{100 * high:.1f})"
    assert coverage.percent([True, True, False, True]) == expected
    assert coverage.percent([True, None, True, False, True]) == expected + " of 4"
