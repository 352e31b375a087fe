"""Groups of a test set whose scores are made one: rare conditions, skin types.

Skin types are compared where they have enough cases, and so are a skin type's photos of
one condition.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from dermgan_tf.studies.resampling import Scores
from dermgan_tf.studies.scores import TestSet, mean_of_defined

# A skin type, and a skin type's photos of one condition, are compared with others when
# they are of so many cases.
MINIMUM_TYPE_CASES, MINIMUM_CONDITION_CASES = 10, 5


@dataclasses.dataclass(frozen=True)
class Groups:
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


def groups_of(
    test_set: TestSet, rarest: int, train_counts: Mapping[str, int] | None
) -> Groups:
    """Chooses the groups by what is known before any prediction is looked at.

    Args:
        test_set: the photos.
        rarest: int. How many conditions count as rare.
        train_counts: training photos by condition; None: test photos say what is rare.
    """
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
    return Groups(
        rarest=_rarest_conditions(test_set, rarest, train_counts),
        compared=compared,
        shared=[i for i in range(k) if compared and enough[i, compared].all()],
        condition_types=condition_types,
        cases=cases,
    )


def rarest_report(
    test_set: TestSet, groups: Groups, train_counts: Mapping[str, int] | None
) -> dict[str, Any]:
    """What comparison.json says under "rarest"."""
    names, present = test_set.conditions, with_photos(test_set)
    return {
        "by": "test photos" if train_counts is None else "training photos",
        "conditions": [names[k] for k in groups.rarest],
        **test_set.photos_and_cases(np.isin(test_set.labels, groups.rarest)),
        "left_out": [names[k] for k in groups.rarest if not present[k]],
    }


def groups_report(test_set: TestSet, groups: Groups) -> dict[str, Any]:
    """What comparison.json says under "compared_groups"."""
    types, names = test_set.types, test_set.conditions
    compared = [types[t] for t in groups.compared]
    return {
        "skin_types": compared,
        "left_out_types": [t for t in types if t not in compared],
        "shared_conditions": [names[k] for k in groups.shared],
        "types_of_condition": {
            names[k]: [types[t] for t in places]
            for k, places in enumerate(groups.condition_types)
            if len(places) > 1
        },
    }


def with_photos(test_set: TestSet) -> np.ndarray:
    """bool [K]: which conditions have a test photo."""
    return np.bincount(test_set.labels, minlength=len(test_set.conditions)) > 0


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
