"""Temperature scaling against cases with a known answer, and against scipy."""

import numpy as np
import pytest
import scipy.optimize
import sklearn.metrics

from dermgan_tf.classifier.calibration import (
    MAX_TEMPERATURE,
    MIN_TEMPERATURE,
    calibrated,
    fit_temperature,
    negative_log_likelihood,
)
from dermgan_tf.errors import InputError


def test_a_case_that_can_be_worked_out_by_hand():
    # Always sure by 3, right in three of four: the likelihood is best where the
    # probability is 3/4, where 3/T = log 3.
    logits = np.array([[3.0, 0.0]] * 4)
    labels = np.array([0, 0, 0, 1])
    temperature = fit_temperature(logits, labels)
    assert temperature == pytest.approx(3 / np.log(3), rel=1e-4)
    assert calibrated(logits, temperature)[0, 0] == pytest.approx(0.75, rel=1e-4)


def test_scipys_minimum_over_the_inverse_and_scikit_learns_loss():
    rng = np.random.default_rng(0)
    labels = rng.integers(5, size=400)
    logits = 4 * (rng.normal(size=(400, 5)) + np.eye(5)[labels])

    def loss(inverse):
        powers = np.exp(logits * inverse[0])
        return -np.log(powers[np.arange(400), labels] / powers.sum(axis=1)).mean()

    found = scipy.optimize.minimize(loss, [0.5], method="L-BFGS-B", tol=1e-12)
    temperature = fit_temperature(logits, labels)
    assert temperature == pytest.approx(1 / found.x[0], rel=1e-3)
    assert temperature > 1.5
    for t in (1.0, temperature):
        assert negative_log_likelihood(logits, labels, t) == pytest.approx(
            sklearn.metrics.log_loss(labels, calibrated(logits, t))
        )
    ranks = (np.argsort(calibrated(logits, t)) for t in (1.0, temperature))
    assert np.array_equal(*ranks)


def test_without_an_optimum_it_stays_within_limits():
    logits = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert fit_temperature(logits, [0, 1]) == pytest.approx(MIN_TEMPERATURE, rel=1e-3)
    assert fit_temperature(logits, [1, 0]) == pytest.approx(MAX_TEMPERATURE, rel=1e-3)


@pytest.mark.parametrize(
    "logits, labels, message",
    [
        (np.zeros((0, 2)), [], "N ≥ 1"),
        (np.zeros((3, 2)), [0, 1], "N labels"),
        (np.array([[np.nan, 0.0]]), [0], "NaN"),
    ],
)
def test_what_cannot_be_calibrated(logits, labels, message):
    with pytest.raises(InputError, match=message):
        fit_temperature(logits, labels)
