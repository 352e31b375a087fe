"""Compares classifiers on one test set: scores, paired differences, intervals, tests.

Photos of one case are not independent, so that all intervals resample cases. Every arm
is paired with the first, the baseline. `docs/comparison.md` says what every key of the
result is.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.metrics import confusion_matrix

from dermgan_tf.progress import silent
from dermgan_tf.reports.comparison import SIGNIFICANT, comparison_remarks
from dermgan_tf.studies.arms import CLASSIFIER_KEYS, Arm
from dermgan_tf.studies.groups import (
    MINIMUM_CONDITION_CASES,
    MINIMUM_TYPE_CASES,
    Groups,
    groups_of,
    groups_report,
    rarest_report,
    with_photos,
)
from dermgan_tf.studies.resampling import (
    Scores,
    add_holm,
    difference,
    estimate,
    paired_tests,
    resampled_scores,
    seed_noise,
    swapped_p,
)
from dermgan_tf.studies.scores import (
    CALIBRATION_BINS,
    CONDITION_SCORES,
    SCORES,
    TOP,
    Scorer,
    TestSet,
)

FORMAT_VERSION = 1
GAPS = ("top_1", "macro_recall", "shared_recall", "mean_condition_recall")
_WHY = {
    "top_3": f"{TOP} conditions or fewer",
    "macro_sensitivity": "no condition with photos of it and of others",
    "macro_auc": "no condition with photos of it and of others",
    "precision": "never predicted",
    "rarest_f1": "none of these conditions has a test photo",
}
_NO_PHOTO = "no test photo"


def compare(
    arms: Sequence[Arm],
    resamples: int = 2000,
    specificity: float = 0.9,
    rarest: int = 8,
    train_counts: Mapping[str, int] | None = None,
    seed: int = 0,
    progress: Callable = silent,
) -> dict[str, Any]:
    """Compares arms on one test set.

    Args:
        arms: two or more with the same photos in the same order, as `read_arms` gives
            them. The first is the baseline.
        resamples: int. Bootstrap samples of the cases, and random swaps of each test.
        specificity: float, 0…1. One-vs-rest sensitivity is read off there.
        rarest: int. How many conditions the mean F1 of rare conditions is of.
        train_counts: training photos by condition, which say what is rare. Default:
            test photos say it.
        seed: int. The same seed gives the same numbers.
        progress: wraps an iterable; see `dermgan_tf.progress`.

    Returns:
        What comparison.json holds.
    """
    test_set = TestSet.of(arms[0].predictions[0])
    groups = groups_of(test_set, rarest, train_counts)
    scorers = [
        [Scorer(test_set, p.probabilities, specificity) for p in arm.predictions]
        for arm in arms
    ]
    found = resampled_scores(
        scorers, test_set.strata, resamples, seed, groups.derive, progress
    )
    noises = [
        seed_noise(len(arm.predictions), resamples, seed, stream)
        for stream, arm in enumerate(arms)
    ]
    reports = [
        {
            "name": arm.name,
            **_arm_report(test_set, groups, scores, noise),
            "confusion": [_confusion(test_set, scorer) for scorer in files],
            "files": [
                _file(*pair)
                for pair in zip(arm.predictions, arm.classifiers, strict=True)
            ],
        }
        for arm, scores, noise, files in zip(arms, found, noises, scorers, strict=True)
    ]
    comparisons = [
        {
            "arm": arms[i].name,
            "baseline": arms[0].name,
            **_comparison(
                test_set,
                groups,
                (found[i], found[0]),
                (noises[i], noises[0]),
                swapped_p(
                    scorers[i],
                    scorers[0],
                    len(test_set.types),
                    resamples,
                    seed,
                    groups.derive,
                ),
            ),
            **paired_tests(test_set, scorers[i], scorers[0]),
        }
        for i in progress(range(1, len(arms)), desc="comparisons")
    ]
    result = {
        "format_version": FORMAT_VERSION,
        "settings": {
            "resamples": resamples,
            "seed": seed,
            "specificity": specificity,
            "calibration_bins": CALIBRATION_BINS,
            "minimum_type_cases": MINIMUM_TYPE_CASES,
            "minimum_condition_cases": MINIMUM_CONDITION_CASES,
        },
        "test_set": _test_set(test_set, arms[0], train_counts),
        "rarest": rarest_report(test_set, groups, train_counts),
        "compared_groups": groups_report(test_set, groups),
        "arms": reports,
        "comparisons": comparisons,
    }
    return {**result, "remarks": comparison_remarks(result)}


# What is known of an arm and of a difference has one layout: `describe` makes the leaf.


def _arm_report(test_set, groups, scores: Scores, noise) -> dict[str, Any]:
    seeds = len(scores["top_1"])

    def describe(name, place, cases, why):
        values = scores[name][(slice(None), *place)]
        return estimate(values, noise, cases, why, _grows_with_noise(name))

    report = _layout(test_set, groups, describe)
    for name, gap in report["gaps"].items():
        if name in ("top_1", "macro_recall"):
            gap |= _extremes(test_set, groups, scores[name][:, 1:, 0].mean(axis=0))
    return {
        "training_seeds": seeds,
        "interval_covers": "cases and training seeds" if seeds > 1 else "cases alone",
        **report,
    }


def _comparison(test_set, groups, scores, noises, p_values) -> dict[str, Any]:
    arm, baseline = scores
    seeds = len(arm["top_1"]), len(baseline["top_1"])

    def describe(name, place, cases, why):
        p = p_values[name][(*place, ...)] if name in p_values else None
        at = (slice(None), *place)
        return difference(
            arm[name][at],
            baseline[name][at],
            noises,
            cases,
            why,
            None if p is None or np.isnan(p) else float(p),
            _grows_with_noise(name),
        )

    report = _layout(test_set, groups, describe)
    tested = {}
    for name in ("f1", "recall"):
        tested[name] = add_holm([row[name] for row in report["by_condition"]])
    if max(seeds) == 1:
        pairing = "one training seed each"
    elif seeds[0] == seeds[1]:
        pairing = "paired in the order given"
    else:
        pairing = "unequal numbers, varied independently"
    return {
        "training_seeds": pairing,
        "holm_conditions": tested,
        **report,
        "f1_changes": _changes(test_set, arm["f1"], baseline["f1"], report),
    }


def _grows_with_noise(name: str) -> bool:
    return name == "calibration_error" or name.startswith("gap_")


def _layout(test_set: TestSet, groups: Groups, describe: Callable) -> dict[str, Any]:
    cases = len(test_set.case_names)
    conditions, types = test_set.conditions, test_set.types

    def scores(place: int, cases: int) -> dict[str, Any]:
        return {
            name: describe(name, (place,), cases, _WHY.get(name, _NO_PHOTO))
            for name in SCORES
        }

    by_condition, by_both = [], []
    for k, condition in enumerate(conditions):
        counts = test_set.photos_and_cases(test_set.labels == k)
        row = {
            name: describe(name, (k,), counts["cases"], _WHY.get(name, _NO_PHOTO))
            for name in CONDITION_SCORES
        }
        gap = describe("gap_condition", (k,), counts["cases"], _few_types_of_it())
        by_condition.append(
            {"condition": condition, **counts, **row, "skin_type_gap": gap}
        )
        for t, skin_type in enumerate(types):
            which = (test_set.labels == k) & (test_set.skin_types == skin_type)
            if which.any():
                counts = test_set.photos_and_cases(which)
                recall = describe("recall_by_type", (k, t), counts["cases"], _NO_PHOTO)
                by_both.append(
                    {
                        "condition": condition,
                        "fitzpatrick": skin_type,
                        **counts,
                        "recall": recall,
                    }
                )
    by_type = []
    for t, skin_type in enumerate(types):
        counts = test_set.photos_and_cases(test_set.skin_types == skin_type)
        by_type.append(
            {
                "fitzpatrick": skin_type,
                **counts,
                **scores(1 + t, counts["cases"]),
                "left_out": [
                    name for k, name in enumerate(conditions) if not groups.cases[k, t]
                ],
            }
        )
    gaps = {
        name: describe(f"gap_{name}", (), cases, _why_no_gap(name)) for name in GAPS
    }
    rare = test_set.photos_and_cases(np.isin(test_set.labels, groups.rarest))
    return {
        "scores": {
            **scores(0, cases),
            "rarest_f1": describe("rarest_f1", (), rare["cases"], _WHY["rarest_f1"]),
        },
        "left_out": [conditions[k] for k in np.flatnonzero(~with_photos(test_set))],
        "by_condition": by_condition,
        "by_skin_type": by_type,
        "by_condition_and_skin_type": by_both,
        "gaps": gaps,
    }


def _few_types_of_it() -> str:
    return f"fewer than two skin types with {MINIMUM_CONDITION_CASES} cases of it"


def _why_no_gap(name: str) -> str:
    if name == "shared_recall":
        return (
            f"fewer than two skin types with {MINIMUM_TYPE_CASES} cases, or no "
            f"condition with {MINIMUM_CONDITION_CASES} cases of each of them"
        )
    if name == "mean_condition_recall":
        return (
            "no condition with two skin types of "
            f"{MINIMUM_CONDITION_CASES} cases or more"
        )
    return f"fewer than two skin types with {MINIMUM_TYPE_CASES} cases"


def _extremes(test_set, groups, means: np.ndarray) -> dict[str, int | None]:
    """Which skin types the mean over seeds is best and worst of."""
    if len(groups.compared) < 2:
        return {"best": None, "worst": None}
    values = [means[t] for t in groups.compared]
    types = [test_set.types[t] for t in groups.compared]
    return {
        "best": types[int(np.argmax(values))],
        "worst": types[int(np.argmin(values))],
    }


def _changes(test_set, arm, baseline, report) -> dict[str, Any]:
    """Shares of conditions whose F1, averaged over seeds, rises, falls or stays."""
    change = arm.mean(axis=0) - baseline.mean(axis=0)  # [K, 1 + R]
    change = change[with_photos(test_set)]
    cases, nothing = len(test_set.case_names), np.zeros(change.shape[1] - 1)
    defined = ~np.isnan(change)
    found = {}
    for name, which in (
        ("better", change > 1e-12),
        ("worse", change < -1e-12),
        ("same", np.abs(change) <= 1e-12),
    ):
        share = which.sum(axis=0) / np.maximum(1, defined.sum(axis=0))
        entry = estimate(share[None], nothing, cases, _NO_PHOTO)
        found[name] = {
            "value": entry["value"],
            "interval_95": entry["interval_95"],
            "conditions": int(which[:, 0].sum()),
        }
    for name, sign in (("significantly_better", 1), ("significantly_worse", -1)):
        found[name] = [
            row["condition"]
            for row in report["by_condition"]
            if row["f1"]["p_holm"] is not None
            and row["f1"]["p_holm"] < SIGNIFICANT
            and sign * row["f1"]["value"] > 0
        ]
    return found


def _confusion(test_set: TestSet, scorer: Scorer) -> list[list[int]]:
    every = range(len(test_set.conditions))
    return confusion_matrix(test_set.labels, scorer.predicted, labels=every).tolist()


def _file(predictions, classifier) -> dict[str, Any]:
    return {
        "path": predictions.source,
        "sha256": predictions.digest,
        "classifier": classifier
        and {
            **{key: classifier[key] for key in CLASSIFIER_KEYS if key in classifier},
            "synthetic": bool(classifier.get("synthetic")),
        },
    }


def _test_set(test_set: TestSet, arm: Arm, train_counts) -> dict[str, Any]:
    first = arm.predictions[0]
    digest = hashlib.sha256()
    order = np.argsort(first.image_ids)
    for i in order:
        label = first.conditions[first.labels[i]]
        row = (first.image_ids[i], first.cases[i], label, first.skin_types[i])
        digest.update(repr(tuple(map(str, row))).encode())
    everything = np.ones(len(test_set.labels), bool)
    return {
        **test_set.photos_and_cases(everything),
        "fingerprint": digest.hexdigest(),
        "conditions": [
            {
                "condition": name,
                **test_set.photos_and_cases(test_set.labels == k),
                "train_photos": train_counts[name] if train_counts else None,
            }
            for k, name in enumerate(test_set.conditions)
        ],
        "skin_types": [
            {
                "fitzpatrick": t,
                **test_set.photos_and_cases(test_set.skin_types == t),
            }
            for t in range(7)
        ],
    }
