"""The quickstart's verdict says what failed, and how good is as good as can be."""

import copy

import pytest

from dermgan_tf.reports.quickstart import condition_rows, grade, verdict


def share(value):
    return {"value": value, "interval_95": [0.0, 1.0], "cases": 3}


def row(condition, phantom, synthetic, scenes=4):
    recalls = {"real": share(phantom), "synthetic": share(synthetic)}
    return {"condition": condition, "scenes": scenes, **recalls}


def neighbours(recall):
    return {"neighbour_trials": {"recall": {"mean": recall}}}


METRICS = {
    "evaluation": {
        "control": {
            "skin_tone": {
                "monotonic": {"value": 0.9, "hits": 9, "total": 10},
                "spearman": {"value": -0.95, "best": -0.986},
            },
            "placement": {
                "undefined": None,
                "move": {
                    "undefined": None,
                    "iou": {"value": 0.5},
                    "region_share": {"value": 0.2},
                },
            },
            "condition": {
                "undefined": None,
                "chance": 0.25,
                "macro_recall": {
                    "real": share(0.9),
                    "synthetic": share(0.45),
                    "ratio": {"value": 0.5, "undefined": None},
                },
                "by_condition": [
                    row("eczema", 0.9, 0.8),
                    row("tinea", 0.9, 0.1),
                    row("vitiligo", None, None, scenes=0),
                ],
            },
        },
        "distances": {
            "overall": {
                "synthetic_real": neighbours(0.15),
                "real_real": neighbours(0.9),
            }
        },
        "diversity": {"overall": {"same_map / real": {"value": 0.4}}},
        "memorization": {"memorised": False, "undefined": None},
    },
    "classifier": {
        "arms": [{"real_images_seen": 768}, {"real_images_seen": 768}],
        "comparison": {
            "arms": [
                {"training_seeds": 1, "scores": {"macro_f1": {"value": 0.9}}},
                {"training_seeds": 1, "scores": {"macro_f1": {"value": 0.8}}},
            ],
            "comparisons": [
                {"scores": {"macro_f1": {"value": -0.1, "interval_95": [-0.2, -0.05]}}}
            ],
        },
    },
}


def lines(change=lambda metrics: None):
    metrics = copy.deepcopy(METRICS)
    change(metrics)
    return {line["subject"]: line for line in verdict(metrics)}


def test_five_lines_say_what_failed_beside_what_went_well():
    found = lines()
    assert [line["grade"] for line in found.values()] == [
        "well",
        "in part",
        "poorly",
        "poorly",
        "no verdict",
    ]
    assert "-0.986 is the best possible" in found["skin colour"]["text"]
    assert "half as often as in phantoms: tinea" in found["condition"]["text"]
    assert "0.15 of the phantoms' range, other phantoms 0.9" in found["variety"]["text"]
    assert "768 phantom images" in found["help for a classifier"]["text"]


def test_conditions_stand_worst_first_without_those_of_no_map():
    rows = condition_rows(METRICS["evaluation"]["control"]["condition"])
    assert [(r["condition"], r["failed"]) for r in rows] == [
        ("tinea", True),
        ("eczema", False),
    ]


@pytest.mark.parametrize(
    "value, guess, best, word",
    [
        (0.785, 0.3, 0.785, "well"),
        (0.54, 0.3, 0.785, "poorly"),
        (0.55, 0.3, 0.785, "in part"),
        (0.1, 0.3, 0.785, "poorly"),
        (None, 0, 1, "undefined"),
        (0.1, 0.2, 0.15, "undefined"),  # the judge itself does not see it
    ],
)
def test_a_grade_is_the_share_of_the_way_from_a_guess(value, guess, best, word):
    assert grade(value, guess, best) == word


@pytest.mark.parametrize(
    "interval, word",
    [([-0.2, -0.05], "poorly"), ([0.01, 0.2], "well"), ([-0.1, 0.1], "in part")],
)
def test_arms_are_judged_from_three_trainings_on(interval, word):
    def change(metrics, seeds):
        comparison = metrics["classifier"]["comparison"]
        comparison["comparisons"][0]["scores"]["macro_f1"]["interval_95"] = interval
        for arm in comparison["arms"]:
            arm["training_seeds"] = seeds

    for seeds, expected in ((2, "no verdict"), (3, word)):
        found = lines(lambda metrics, n=seeds: change(metrics, n))
        assert found["help for a classifier"]["grade"] == expected


def test_copies_of_training_images_are_poor_whatever_the_variety():
    def copied(metrics):
        metrics["evaluation"]["memorization"]["memorised"] = True
        metrics["evaluation"]["distances"]["overall"]["synthetic_real"] = neighbours(1)

    assert lines(copied)["variety"]["grade"] == "poorly"
    assert "training images: found" in lines(copied)["variety"]["text"]


def test_what_is_undefined_says_why_and_calls_no_phantom_real():
    def undefined(metrics):
        control = metrics["evaluation"]["control"]
        control["skin_tone"]["monotonic"]["value"] = None
        control["skin_tone"]["spearman"]["value"] = None
        control["placement"] = {"undefined": "no boxes"}
        why = "the judge itself is not surely better than guessing on real images"
        control["condition"]["macro_recall"]["ratio"] = {
            "value": None,
            "undefined": why,
        }

    found = lines(undefined)
    for subject in ("skin colour", "place", "condition"):
        assert found[subject]["grade"] == "undefined"
    assert found["condition"]["text"].endswith("better than guessing on phantoms")
    assert not any(" real" in line["text"] for line in found.values())
