"""Compares classifiers on one test set: scores, paired differences, intervals, tests.

Photos of one case are not independent, so that all intervals resample cases. Every arm
is paired with the first, the baseline. `docs/comparison.md` says what every key of the
result is.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import scipy.stats
from sklearn.metrics import confusion_matrix
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from dermgan_tf.comparison_arms import CLASSIFIER_KEYS, Arm
from dermgan_tf.comparison_resampling import (
    Scores,
    difference,
    estimate,
    resampled_scores,
    seed_noise,
    swapped_p,
)
from dermgan_tf.comparison_scores import (
    CALIBRATION_BINS,
    CONDITION_SCORES,
    SCORES,
    SKIN_TYPE_NAMES,
    TOP,
    Scorer,
    TestSet,
    mean_of_defined,
)
from dermgan_tf.progress import silent

FORMAT_VERSION = 1
# A skin type, and a skin type's photos of one condition, are compared with others when
# they are of so many cases.
MINIMUM_TYPE_CASES, MINIMUM_CONDITION_CASES = 10, 5
FEW_CASES, FEW_SEEDS, SIGNIFICANT = 10, 5, 0.05
GAPS = ("top_1", "macro_recall", "shared_recall", "mean_condition_recall")
_WHY = {
    "top_3": f"{TOP} conditions or fewer",
    "macro_sensitivity": "no condition with photos of it and of others",
    "macro_auc": "no condition with photos of it and of others",
    "precision": "never predicted",
    "rarest_f1": "none of these conditions has a test photo",
}
_NO_PHOTO = "no test photo"


@dataclasses.dataclass(frozen=True)
class _Plan:
    """Which groups of the test set go into scores that are made of others."""

    rarest: list[int]  # conditions
    compared: list[int]  # places in the test set's types
    shared: list[int]  # conditions with enough cases of every compared type
    condition_types: list[list[int]]  # of each condition, the places to compare
    cases: np.ndarray  # int [K, T]

    def derive(self, scores: Scores) -> Scores:
        """Adds the F1 of rare conditions and the gaps between skin types."""
        recall = scores["recall_by_type"]
        apart = [_largest_gap(recall[k][t]) for k, t in enumerate(self.condition_types)]
        shared = recall[self.shared][:, self.compared]
        lacking = np.isnan(shared).any(axis=1, keepdims=True)
        shared = mean_of_defined(np.where(lacking, np.nan, shared))
        types = [1 + t for t in self.compared]
        return {
            **scores,
            "rarest_f1": mean_of_defined(scores["f1"][self.rarest]),
            "gap_top_1": _largest_gap(scores["top_1"][types]),
            "gap_macro_recall": _largest_gap(scores["macro_recall"][types]),
            "gap_shared_recall": _largest_gap(shared),
            "gap_condition": np.array(apart),
            "gap_mean_condition_recall": mean_of_defined(np.array(apart)),
        }


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
    plan = _plan(test_set, rarest, train_counts)
    scorers = [
        [Scorer(test_set, p.probabilities, specificity) for p in arm.predictions]
        for arm in arms
    ]
    found = resampled_scores(
        scorers, test_set.strata, resamples, seed, plan.derive, progress
    )
    noises = [
        seed_noise(len(arm.predictions), resamples, seed, stream)
        for stream, arm in enumerate(arms)
    ]
    reports = [
        {
            "name": arm.name,
            **_arm_report(test_set, plan, scores, noise),
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
                plan,
                (found[i], found[0]),
                (noises[i], noises[0]),
                swapped_p(
                    scorers[i],
                    scorers[0],
                    len(test_set.types),
                    resamples,
                    seed,
                    plan.derive,
                ),
            ),
            **_paired_tests(test_set, scorers[i], scorers[0]),
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
        "rarest": _rarest(test_set, plan, train_counts),
        "compared_groups": _compared_groups(test_set, plan),
        "arms": reports,
        "comparisons": comparisons,
    }
    return {**result, "remarks": _remarks(result)}


def _plan(test_set: TestSet, rarest: int, train_counts) -> _Plan:
    k, types = len(test_set.conditions), test_set.types
    cases = np.zeros((k, len(types)), int)
    for i in range(k):
        for j, skin_type in enumerate(types):
            which = (test_set.labels == i) & (test_set.skin_types == skin_type)
            cases[i, j] = test_set.photos_and_cases(which)["cases"]
    of_type = [
        test_set.photos_and_cases(test_set.skin_types == t)["cases"] for t in types
    ]
    compared = [
        j for j, t in enumerate(types) if t and of_type[j] >= MINIMUM_TYPE_CASES
    ]
    enough = cases >= MINIMUM_CONDITION_CASES
    condition_types = [
        [j for j, t in enumerate(types) if t and enough[i, j]] for i in range(k)
    ]
    return _Plan(
        rarest=_rarest_conditions(test_set, rarest, train_counts),
        compared=compared,
        shared=[i for i in range(k) if compared and enough[i, compared].all()],
        condition_types=condition_types,
        cases=cases,
    )


def _rarest_conditions(test_set: TestSet, rarest: int, train_counts) -> list[int]:
    """Positions, the rarest first; ties go by position."""
    k = len(test_set.conditions)
    if train_counts is None:
        counts = np.bincount(test_set.labels, minlength=k)
        chosen = [i for i in np.argsort(counts, kind="stable") if counts[i]]
    else:
        counts = [train_counts[name] for name in test_set.conditions]
        chosen = np.argsort(counts, kind="stable")
    return [int(i) for i in chosen[:rarest]]


def _largest_gap(values: np.ndarray) -> np.ndarray:
    """[groups, R] -> [R]: largest less smallest; NaN unless two or more are defined."""
    if len(values) < 2:
        return np.full(values.shape[1:], np.nan)
    return values.max(axis=0) - values.min(axis=0)


def _with_photos(test_set: TestSet) -> np.ndarray:
    return np.bincount(test_set.labels, minlength=len(test_set.conditions)) > 0


# What is known of an arm and of a difference has one layout: `describe` makes the leaf.


def _arm_report(test_set, plan, scores: Scores, noise) -> dict[str, Any]:
    seeds = len(scores["top_1"])

    def describe(name, place, cases, why):
        values = scores[name][(slice(None), *place)]
        return estimate(values, noise, cases, why, _grows_with_noise(name))

    report = _layout(test_set, plan, describe)
    for name, gap in report["gaps"].items():
        if name in ("top_1", "macro_recall"):
            gap |= _extremes(test_set, plan, scores[name][:, 1:, 0].mean(axis=0))
    return {
        "training_seeds": seeds,
        "interval_covers": "cases and training seeds" if seeds > 1 else "cases alone",
        **report,
    }


def _comparison(test_set, plan, scores, noises, p_values) -> dict[str, Any]:
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

    report = _layout(test_set, plan, describe)
    tested = {}
    for name in ("f1", "recall"):
        tested[name] = _holm([row[name] for row in report["by_condition"]])
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


def _layout(test_set: TestSet, plan: _Plan, describe: Callable) -> dict[str, Any]:
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
                    name for k, name in enumerate(conditions) if not plan.cases[k, t]
                ],
            }
        )
    gaps = {
        name: describe(f"gap_{name}", (), cases, _why_no_gap(name)) for name in GAPS
    }
    rare = test_set.photos_and_cases(np.isin(test_set.labels, plan.rarest))
    return {
        "scores": {
            **scores(0, cases),
            "rarest_f1": describe("rarest_f1", (), rare["cases"], _WHY["rarest_f1"]),
        },
        "left_out": [conditions[k] for k in np.flatnonzero(~_with_photos(test_set))],
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


def _extremes(test_set, plan, means: np.ndarray) -> dict[str, int | None]:
    """Which skin types the mean over seeds is best and worst of."""
    if len(plan.compared) < 2:
        return {"best": None, "worst": None}
    values = [means[t] for t in plan.compared]
    types = [test_set.types[t] for t in plan.compared]
    return {
        "best": types[int(np.argmax(values))],
        "worst": types[int(np.argmin(values))],
    }


def _holm(entries: Sequence[dict[str, Any]]) -> int:
    """Adds p_holm to each entry that has a p; says how many have."""
    known = [entry for entry in entries if entry["p"] is not None]
    if known:
        corrected = multipletests([entry["p"] for entry in known], method="holm")[1]
    for entry in entries:
        entry["p_holm"] = None
    for i, entry in enumerate(known):
        entry["p_holm"] = float(corrected[i])
    return len(known)


def _changes(test_set, arm, baseline, report) -> dict[str, Any]:
    """Shares of conditions whose F1, averaged over seeds, rises, falls or stays."""
    change = arm.mean(axis=0) - baseline.mean(axis=0)  # [K, 1 + R]
    change = change[_with_photos(test_set)]
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


def _paired_tests(test_set, arm, baseline) -> dict[str, Any]:
    photos = np.bincount(test_set.cases)
    # Of unequal numbers of seeds one may allow for ties in a majority, the other not.
    voters = min(len(arm), len(baseline))
    shares = [
        np.bincount(test_set.cases, np.mean([s.hit for s in files], axis=0)) / photos
        for files in (arm[:voters], baseline[:voters])
    ]
    ours, theirs = (
        np.mean([s.hit for s in files], axis=0) for files in (arm, baseline)
    )
    by_case = [np.bincount(test_set.cases, x) / photos for x in (ours, theirs)]
    return {
        "mcnemar": {
            "seeds_of_each": voters,
            **_mcnemar(*(share > 0.5 + 1e-9 for share in shares)),
        },
        "t_test": {
            "by_photo": _t_test(ours, theirs),
            "by_case": _t_test(*by_case),
        },
    }


def _mcnemar(ours: np.ndarray, theirs: np.ndarray) -> dict[str, Any]:
    table = [
        [int((a & b).sum()) for b in (theirs, ~theirs)] for a in (ours, ~ours)
    ]  # rows: the arm right, wrong; columns: the baseline
    differ = table[0][1] + table[1][0]
    p = mcnemar(table, exact=True).pvalue if differ else 1.0
    return {
        "cases": len(ours),
        "right_in_both": table[0][0],
        "right_in_arm_only": table[0][1],
        "right_in_baseline_only": table[1][0],
        "wrong_in_both": table[1][1],
        "p": min(1.0, float(p)),
    }


def _t_test(ours: np.ndarray, theirs: np.ndarray) -> dict[str, Any]:
    apart = ours - theirs
    found = {"difference": float(apart.mean()), "count": len(apart)}
    if np.ptp(apart) < 1e-12:  # no spread: nothing to divide by
        equal = abs(found["difference"]) < 1e-12
        return {
            **found,
            "statistic": None,
            "p": 1.0 if equal else None,
            "undefined": "both are equal everywhere"
            if equal
            else "both differ by the same everywhere",
        }
    test = scipy.stats.ttest_rel(ours, theirs)
    return {
        **found,
        "statistic": float(test.statistic),
        "p": float(test.pvalue),
        "undefined": None,
    }


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


def _rarest(test_set: TestSet, plan: _Plan, train_counts) -> dict[str, Any]:
    names, present = test_set.conditions, _with_photos(test_set)
    return {
        "by": "test photos" if train_counts is None else "training photos",
        "conditions": [names[k] for k in plan.rarest],
        **test_set.photos_and_cases(np.isin(test_set.labels, plan.rarest)),
        "left_out": [names[k] for k in plan.rarest if not present[k]],
    }


def _compared_groups(test_set: TestSet, plan: _Plan) -> dict[str, Any]:
    types, names = test_set.types, test_set.conditions
    compared = [types[t] for t in plan.compared]
    return {
        "skin_types": compared,
        "left_out_types": [t for t in types if t not in compared],
        "shared_conditions": [names[k] for k in plan.shared],
        "types_of_condition": {
            names[k]: [types[t] for t in places]
            for k, places in enumerate(plan.condition_types)
            if len(places) > 1
        },
    }


def _remarks(result: Mapping[str, Any]) -> list[str]:
    test_set, settings = result["test_set"], result["settings"]
    remarks = [
        f"Intervals are 95 % percentile intervals of {settings['resamples']} resamples "
        f"of the {test_set['cases']} cases (not of the {test_set['photos']} photos). "
        "They say how scores would vary with other patients like these; no condition "
        "is ever lost from a resample. Of one case there is no interval; an interval "
        "without width means only that no resample changed the score.",
        "Tests of single conditions are corrected for their number (Holm); no other "
        "p-value or interval is corrected for how many there are.",
        f"Sensitivity is read off at a specificity of {settings['specificity']:g} or "
        "more, at thresholds chosen on this very test set (anew in each resample): a "
        "threshold fixed beforehand would do a little worse.",
    ]
    arms = result["arms"]
    once = [arm["name"] for arm in arms if arm["training_seeds"] == 1]
    if once:
        remarks.append(
            f"Trained once: {', '.join(once)}. Such intervals do not tell how much "
            "another training seed would change."
        )
    few = [
        f"{arm['name']} ({arm['training_seeds']})"
        for arm in arms
        if 1 < arm["training_seeds"] < FEW_SEEDS
    ]
    if few:
        remarks.append(
            f"Trained with few seeds: {', '.join(few)}. They tell little of how much "
            "seeds vary, and intervals are wide for it."
        )
    unguarded = [
        file["path"] for arm in arms for file in arm["files"] if not file["classifier"]
    ]
    if unguarded:
        files = sum(len(arm["files"]) for arm in arms)
        remarks.append(
            f"No classifier.json lies beside {len(unguarded)} of {files} files (the "
            f"first: {unguarded[0]}): nothing here can tell whether test cases were "
            "trained on."
        )
    if test_set["photos"] > test_set["cases"]:
        remarks.append(
            "The paper's paired t-test takes photos as independent; some here are of "
            "one case, so that its p by photo is too small. Its p by case is not."
        )
    without = result["arms"][0]["left_out"]
    if without:
        remarks.append(
            f"No test photo shows {', '.join(without)}: undefined, and in no mean."
        )
    few = [
        row["condition"]
        for row in test_set["conditions"]
        if 0 < row["cases"] < FEW_CASES
    ]
    if few:
        remarks.append(
            f"Fewer than {FEW_CASES} cases show {', '.join(few)}: intervals of so "
            "few are too narrow; trust the tests, which also swap cases, before them."
        )
    groups = result["compared_groups"]
    if groups["left_out_types"]:
        names = ", ".join(SKIN_TYPE_NAMES[t] for t in groups["left_out_types"])
        remarks.append(
            f"Skin types left out of all gaps (unknown, or fewer than "
            f"{MINIMUM_TYPE_CASES} cases): {names}."
        )
    if len(groups["skin_types"]) > 1:
        remarks.append(
            "A largest gap is never below 0 and grows with noise: between small groups "
            "there is one by chance. Its interval is centred on the value and no test "
            "of there being a gap; compare the gaps of two arms."
        )
    return remarks
