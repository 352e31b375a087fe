"""Tests of an arm against the baseline: McNemar's, paired t; Holm's correction."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from dermgan_tf.studies.scores import Scorer, TestSet

SIGNIFICANT = 0.05


def paired_tests(
    test_set: TestSet, arm: Sequence[Scorer], baseline: Sequence[Scorer]
) -> dict[str, Any]:
    """McNemar's test and the paired t-test of an arm and the baseline.

    Args:
        test_set: the photos.
        arm, baseline: scorers of their files.

    Returns:
        "mcnemar", of cases that most seeds are right of; "t_test", by photo, as in the
        paper, and by case.
    """
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


def add_holm(entries: Sequence[dict[str, Any]]) -> int:
    """Adds p_holm to each entry that has a p; says how many have."""
    known = [entry for entry in entries if entry["p"] is not None]
    if known:
        corrected = multipletests([entry["p"] for entry in known], method="holm")[1]
    for entry in entries:
        entry["p_holm"] = None
    for i, entry in enumerate(known):
        entry["p_holm"] = float(corrected[i])
    return len(known)


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
