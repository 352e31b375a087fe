"""The benchmark of distances compares equal values, and tells what it measured."""

import types

import pytest

from benchmarks import contenders, distances


class Noted(Exception):
    pass


def noted(contender, shape):
    """The distance that a contender notes in its first step."""
    values = {}

    def step_done(items):
        raise Noted

    with pytest.raises(Noted):
        contender(shape, types.SimpleNamespace(note=values.update, step_done=step_done))
    return values["distance"]


def test_contenders_compute_one_distance():
    ours = noted(contenders.frechet_ours, (60, 12))
    assert noted(distances.frechet_scipy, (60, 12)) == pytest.approx(ours, rel=1e-6)


def test_trials_draw_from_twice_as_many():
    seconds, sample = distances.time_trials(40, 6, trials=2)
    assert seconds > 0 and sample == 40


def test_table():
    measured = {
        "ours": {"values": [2.0, 4.0, 2.0], "distance": 8.0},
        "tfgan": {"values": [0.2, 0.4, 0.25], "distance": 8.0008},
    }
    rows = distances.render(measured, 10, 4).splitlines()
    assert rows[0].startswith("| 10 × 10 × 4 | seconds |")
    assert rows[2] == "| dermgan_tf | 0.50 (0.25–0.50) | 1.00 (1.00–1.00) | 0.0e+00 |"
    assert rows[3] == "| TF-GAN | 4.00 (2.50–5.00) | 10.00 (8.00–10.00) | 1.0e-04 |"
