"""What metrics.json of an augmentation study holds; see `docs/augmentation.md`."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dermgan_tf.reports.augmentation import CURVE_SCORES
from dermgan_tf.reports.comparison import FEW_SEEDS
from dermgan_tf.studies.augmentation_arms import ALL_CASES, StudyArm, SyntheticSet
from dermgan_tf.studies.recognition import poorly_recognised

FORMAT_VERSION = 1


def study_metrics(
    facts: Mapping[str, Any],
    groups: Mapping[str, Sequence[StudyArm]],
    comparisons: Mapping[str, Mapping[str, Any]],
    runs: Mapping[str, Sequence[Mapping[str, Any]]],
    *,
    seeds: int,
    resamples: int,
    train_cases: Sequence[int | None],
    train_cases_ratio: float | None,
    synthetic: Sequence[SyntheticSet],
    recognised: Mapping[str, Sequence[Mapping[str, Any]]],
    more_real: Mapping[str, int] | None,
    copies: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Puts together what a study came to.

    Args:
        facts: what the study is of: "training" and "data".
        groups: the arms, as of `arm_groups`.
        comparisons: what `compare` returned of each group.
        runs: the runs of each arm, by its name.
        seeds, resamples, train_cases, synthetic: as of `run_augmentation_study`.
        train_cases_ratio: of the arms of few cases; None where there are none.
        recognised: what `recognition` returned of each set of synthetic images.
        more_real: how many photos, of how many cases, were added in the arm of more
            real photos, and how many were left out; None without that arm.
        copies: what `look_for_copies` found; None where they were not looked for.

    Returns:
        JSON values.
    """
    first = comparisons[ALL_CASES]
    metrics = {
        "format_version": FORMAT_VERSION,
        **facts,
        "seeds": seeds,
        "resamples": resamples,
        "rarest": first["rarest"]["conditions"],
        "rarest_by": first["rarest"]["by"],
        "ratios": sorted({arm.ratio for arm in groups[ALL_CASES]}),
        "train_cases": list(train_cases),
        "train_cases_ratio": train_cases_ratio,
        "synthetic": [
            {**_described(one), "recognition": list(recognised[one.name])}
            for one in synthetic
        ],
        "more_real": more_real,
        "copies": copies,
        "arms": [
            row
            for name, group in groups.items()
            for row in _rows(
                group, comparisons[name], runs, facts["data"]["train"]["cases"]
            )
        ],
    }
    return {**metrics, "remarks": _remarks(metrics)}


def _described(one: SyntheticSet) -> dict[str, Any]:
    return {
        "name": one.name,
        "generator": one.generator,
        "images": len(one.images),
        "generator_cases": len(set(one.generator_cases)),
    }


def _rows(
    group: Sequence[StudyArm],
    comparison: Mapping[str, Any],
    runs: Mapping[str, Sequence[Mapping[str, Any]]],
    cases: int,
) -> Iterable[dict[str, Any]]:
    for arm, report, found in zip(
        group, comparison["arms"], [None, *comparison["comparisons"]], strict=True
    ):
        scores = _curve_scores(report)
        saw = None
        if arm.synthetic is not None and arm.train_cases is not None:
            count = len(set(arm.synthetic.generator_cases))
            every = "all " if count == cases else ""
            saw = f"the generator saw {every}{count} training cases"
        yield {
            "arm": arm.name,
            "label": arm.label,
            "kind": arm.kind,
            "synthetic": arm.synthetic and arm.synthetic.name,
            "ratio": arm.ratio,
            "train_cases": arm.train_cases,
            "generator_saw": saw,
            "scores": scores,
            "compared_with": found and group[0].name,
            "minus": found and _curve_scores(found),
            "runs": [
                {**run, **{name: s["seeds"][k] for name, s in scores.items()}}
                for k, run in enumerate(runs[arm.name])
            ],
        }


def _curve_scores(report: Mapping[str, Any]) -> dict[str, Any]:
    known = {**report["scores"], "gap_macro_recall": report["gaps"]["macro_recall"]}
    return {name: known[name] for name in CURVE_SCORES}


def _remarks(metrics: Mapping[str, Any]) -> list[str]:
    training, data = metrics["training"], metrics["data"]
    remarks = [
        f"Every run took {training['steps']} steps of {training['batch_size']} images, "
        "with synthetic images or without: arms differ in what they saw, not in how "
        "long they trained. The checkpoint of best macro-F1 on validation is scored.",
        "No interval and no p-value is corrected for the number of arms: the best of "
        "many ratios looks better than it is. Do not choose a ratio and score it on "
        "the same photos.",
    ]
    if metrics["seeds"] == 1:
        remarks.append(
            "Every arm was trained once: how far runs differ by chance is unknown."
        )
    elif metrics["seeds"] < FEW_SEEDS:
        remarks.append(
            f"{metrics['seeds']} training seeds tell little of how much seeds vary; "
            "intervals are wide for it."
        )
    if any(arm["synthetic"] and not arm["train_cases"] for arm in metrics["arms"]):
        remarks.append(
            "Of one seed, a smaller ratio's images are among a larger one's; every "
            "condition gives the same share of its synthetic images."
        )
    for one in metrics["synthetic"]:
        of = f"{one['generator_cases']} of {data['train']['cases']} training cases"
        remarks.append(
            f"{one['name']}: {one['images']} images of a generator that was trained on "
            f"{of}."
        )
        poor = poorly_recognised(one["recognition"])
        if poor:
            names = ", ".join(row["condition"] for row in poor)
            remarks.append(
                f"{one['name']}: of {len(poor)} of {len(one['recognition'])} "
                "conditions the baseline recognises synthetic images less than half as "
                f"often as photographs: {names}. Such images teach what is wrong. A "
                "generator trained longer, or with train_gan --balance, may paint them "
                "better."
            )
    saw = sorted({a["generator_saw"] for a in metrics["arms"] if a["generator_saw"]})
    if saw:
        remarks.append(
            f"In the arms of few training cases, {', '.join(saw)}: with synthetic "
            "images they know more than their own cases. What they gain is more than "
            "images of a generator of those few cases would give."
        )
    if any(arm["train_cases"] for arm in metrics["arms"]):
        remarks.append(
            "Which few cases are trained on depends on the seed, equally in arms with "
            "and without synthetic images; the smaller sets lie within the larger. "
            "Steps are as many as with all cases, so that few photos are seen often."
        )
    more = metrics["more_real"]
    if more:
        left_out = f", {more['left_out']} left out" if more["left_out"] else ""
        remarks.append(
            f"More real photos: {more['photos']} of {more['cases']} cases, added to "
            f"{data['train']['photos']} (those in training already{left_out}, do not "
            "count). The ceiling of what more images can give."
        )
    copies = metrics["copies"]
    if copies is None:
        remarks.append(
            "Copies of validation and test photos among the training images were not "
            "looked for."
        )
    elif copies["found"]:
        remarks.append(
            f"{copies['found']} of {copies['photos']} training photos look the same as "
            f"validation or test photos ({copies['pairs']}), which was allowed: all "
            "scores are too good."
        )
    return remarks
