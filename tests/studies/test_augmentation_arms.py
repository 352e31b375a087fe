"""Which arms a study has, and which cases they are trained on."""

import dataclasses

import numpy as np
import pytest

from dermgan_tf.errors import InputError
from dermgan_tf.photos.draws import case_order
from dermgan_tf.studies.augmentation_arms import SyntheticSet, study_arms
from tests.helpers.coloured_spots import spots

TRAIN = spots(24, 0, labels=np.arange(24) % 3)
PAINTED = SyntheticSet(
    "painted",
    dataclasses.replace(spots(30, 3), cases=None),
    "f" * 64,
    sorted(set(TRAIN.cases)),
)


def arms_of(**changes):
    arguments = {
        "synthetic": [PAINTED],
        "ratios": [0, 0.5, 1],
        "no_augmentation_arm": True,
        "more_real": True,
        "train_cases": [],
        "train_cases_ratio": None,
    }
    return study_arms(TRAIN, **{**arguments, **changes})


def test_every_arm_is_named_for_what_it_is():
    assert [arm.name for arm in arms_of()] == [
        "baseline",
        "no-augmentation",
        "painted-x0.5",
        "painted-x1",
        "more-real",
    ]
    few = arms_of(train_cases=[4, None, 2], no_augmentation_arm=False, more_real=False)
    assert [(arm.name, arm.train_cases) for arm in few[3:]] == [
        ("baseline-2-cases", 2),
        ("painted-x1-2-cases", 2),
        ("baseline-4-cases", 4),
        ("painted-x1-4-cases", 4),
    ]
    # The end of the curve over cases is trained, too, where no ratio has it.
    more = arms_of(train_cases=[2, None], train_cases_ratio=1.25)
    assert "painted-x1.25" in [arm.name for arm in more]
    # Of few cases a ratio may ask for more than there is.
    assert "painted-x9-2-cases" in [
        arm.name for arm in arms_of(train_cases=[2], train_cases_ratio=9)
    ]


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"ratios": [0, 2]},
            "painted holds 30 synthetic images; a ratio of 2 to 24 training photos "
            "takes 48: generate more, or stay at 1.25 or less",
        ),
        ({"ratios": [-1]}, "from 0 on"),
        (
            {"ratios": [0], "no_augmentation_arm": False, "more_real": False},
            "nothing to compare",
        ),
        ({"train_cases": [9]}, "9 of 8 training cases; want 2 to 8"),
        ({"train_cases": [4], "synthetic": []}, "with and without synthetic images"),
        ({"train_cases": [4], "ratios": [0]}, "a ratio above 0"),
        ({"synthetic": [PAINTED, PAINTED]}, "'painted' is taken"),
        ({"synthetic": [dataclasses.replace(PAINTED, name="a/b")]}, "letters, digits"),
    ],
)
def test_arms_that_cannot_be(changes, message):
    with pytest.raises(InputError, match=message):
        arms_of(**changes)


def test_the_first_cases_have_the_shares_of_all_and_are_nested():
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    images = spots(100, 5, labels=labels)
    images = dataclasses.replace(images, cases=np.array([f"c{i}" for i in range(100)]))
    order = case_order(images.cases, images.labels, seed=3)
    assert sorted(order) == sorted(images.cases)
    label_of = dict(zip(images.cases, labels, strict=True))
    for count in (10, 20, 50):
        counts = np.bincount([label_of[case] for case in order[:count]], minlength=3)
        assert abs(counts - np.array([0.6, 0.3, 0.1]) * count).max() <= 1
    assert order.tolist() != case_order(images.cases, images.labels, seed=4).tolist()
    assert order.tolist() == case_order(images.cases, images.labels, seed=3).tolist()
