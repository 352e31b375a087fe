"""Discriminators that know photographs by heart, and honest ones, told apart."""

import numpy as np
import pytest

from dermgan_tf.judging.overfitting import overfitting

KINDS = ("train", "held_out", "synthetic")


def judged(*logits, cases=None):
    logits = dict(zip(KINDS, logits, strict=True))
    alone = {kind: [f"{kind} {i}" for i in range(len(x))] for kind, x in logits.items()}
    return overfitting(logits, alone | (cases or {}))


def test_the_formula():
    found = judged([3.0, 1.0], [1.0, 0.0, -0.5], [-1.0, -3.0])
    assert found["mean_logit"] == pytest.approx(
        {"train": 2.0, "held_out": 1 / 6, "synthetic": -2.0}
    )
    assert found["r_v"]["value"] == pytest.approx((2 - 1 / 6) / 4)
    taken = found["taken_for_photographs"]
    assert [(taken[k]["hits"], taken[k]["total"]) for k in KINDS] == [
        (2, 2), (1, 3), (0, 2),
    ]  # fmt: skip


def photographs_and_images(rng):
    """Reddish photographs, 40 of each kind, and images painted too green."""
    photos = rng.normal([0.4, 0.0, -0.2], 0.1, (80, 6, 6, 3))
    return photos[:40], photos[40:], rng.normal([0.2, 0.1, -0.2], 0.1, (40, 6, 6, 3))


def by_heart(known):
    known = {photo.tobytes() for photo in known}
    return lambda x: np.array([4.0 * (photo.tobytes() in known) - 2 for photo in x])


def by_colour(_):
    return lambda x: 20 * (x[..., 0] - x[..., 1] - 0.25).mean((1, 2))


@pytest.mark.parametrize(("learns", "heart"), [(by_heart, 1.0), (by_colour, 0.0)])
def test_planted_discriminators(learns, heart):
    kinds = photographs_and_images(np.random.default_rng(1))
    discriminator = learns(kinds[0])
    found = judged(*(discriminator(kind) for kind in kinds))
    low, high = found["r_v"]["interval_95"]
    assert low <= heart <= high and high - low < 0.2
    taken = [found["taken_for_photographs"][kind]["value"] for kind in KINDS]
    assert taken == pytest.approx([1, 1 - heart, 0], abs=0.1)


def test_half_by_heart_lies_between():
    rng = np.random.default_rng(2)
    kinds = photographs_and_images(rng)
    heart, colour = by_heart(kinds[0]), by_colour(None)
    found = judged(*(heart(kind) + colour(kind) for kind in kinds))
    assert 0.2 < found["r_v"]["interval_95"][0] < found["r_v"]["interval_95"][1] < 0.8


def test_photographs_of_few_cases_tell_less():
    rng = np.random.default_rng(3)
    level = np.repeat(rng.normal(size=6), 20)
    train, held_out = 2 + level, level[::-1] + 1
    cases = {kind: list(np.repeat(list("abcdef"), 20)) for kind in KINDS[:2]}
    widths = []
    for given in (None, cases):
        found = judged(train, held_out, np.full(50, -2.0), cases=given)
        low, high = found["r_v"]["interval_95"]
        widths.append(high - low)
    assert widths[1] > 2 * widths[0]


def test_one_case_has_no_interval():
    one = {"held_out": ["a", "a"]}
    found = judged([3.0, 1.0], [1.0, 0.0], [-1.0, -3.0], cases=one)
    assert found["r_v"] == {"value": pytest.approx(0.375), "interval_95": None}


def test_undefined_where_synthetic_images_are_judged_as_well():
    found = judged([1.0, 1.0], [0.0, 0.0], [2.0, 2.0])
    assert found["r_v"] == {"value": None, "interval_95": None}
