"""What a reader of a comparison has to know beside its numbers."""

from collections.abc import Mapping
from typing import Any

from dermgan_tf.photos.semantic_map import SKIN_TYPE_NAMES
from dermgan_tf.studies.groups import MINIMUM_TYPE_CASES

FEW_CASES, FEW_SEEDS = 10, 5


def comparison_remarks(result: Mapping[str, Any]) -> list[str]:
    """A sentence or more each, for people.

    Args:
        result: what `compare` returns, but for these.
    """
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
