"""What the quickstart came to: a verdict of five lines, and the page below it."""

import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from dermgan_tf.output_folder import write_json
from dermgan_tf.reports.page import format_interval, format_number, render_page

# The least share of the way from a guess to the best possible, by grade.
GRADES = {"well": 0.8, "in part": 0.5}
ELLIPSE_IOU = math.pi / 4  # of an ellipse and the box that it fills
FEW_SEEDS = 3  # trainings an arm, below which no verdict on arms is given


def write_quickstart(
    folder: str | os.PathLike,
    metrics: Mapping[str, Any],
    sheets: Sequence[Mapping[str, Any]],
    held_out: bytes,
) -> None:
    """Writes metrics.json and report.html.

    Args:
        folder: an existing folder.
        metrics: as `run_quickstart` returns them.
        sheets: dicts of title, look_for and png.
        held_out: PNG of held-out maps, their phantom crops and synthetic images.
    """
    folder = pathlib.Path(folder)
    page = render_page(
        "quickstart.html",
        metrics=metrics,
        verdict=verdict(metrics),
        conditions=condition_rows(metrics["evaluation"]["control"]["condition"]),
        grades=GRADES,
        ellipse_iou=ELLIPSE_IOU,
        sheets=sheets,
        held_out=held_out,
    )
    write_json(folder / "metrics.json", metrics)
    (folder / "report.html").write_text(page, encoding="utf-8")


def verdict(metrics: Mapping[str, Any]) -> list[dict[str, str]]:
    """Five lines: what was asked, how well it went, and the numbers behind it.

    Returns:
        dicts of subject, grade ("well", "in part", "poorly", "undefined", or "no
        verdict") and text.
    """
    evaluation = metrics["evaluation"]
    lines = (
        ("skin colour", *_colour(evaluation["control"]["skin_tone"])),
        ("place", *_place(evaluation["control"]["placement"])),
        ("condition", *_condition(evaluation["control"]["condition"])),
        ("variety", *_variety(evaluation)),
        ("help for a classifier", *_help(metrics["classifier"])),
    )
    names = ("subject", "grade", "text")
    return [dict(zip(names, line, strict=True)) for line in lines]


def grade(value: float | None, guess: float, best: float) -> str:
    """How far a value gets from a guess to the best possible, as a word of `GRADES`."""
    if value is None or best <= guess:
        return "undefined"
    share = (value - guess) / (best - guess)
    return next((word for word, least in GRADES.items() if share >= least), "poorly")


def condition_rows(condition: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row per condition that has held-out crops, the worst first.

    Returns:
        dicts of condition, scenes, phantom and synthetic (see
        `dermgan_tf.judging.intervals.share`), and failed: whether the judge sees it
        less than half as often in synthetic images as in phantoms.
    """
    rows = [
        {
            "condition": row["condition"],
            "scenes": row["scenes"],
            "phantom": row["real"],
            "synthetic": row["synthetic"],
            "failed": row["synthetic"]["value"] < row["real"]["value"] / 2,
        }
        for row in condition.get("by_condition", ())
        if row["scenes"]
    ]
    return sorted(rows, key=lambda row: row["synthetic"]["value"])


def _colour(tone: Mapping[str, Any]) -> tuple[str, str]:
    steps, rank = tone["monotonic"], tone["spearman"]
    text = (
        f"darker at every step from type I to VI in {steps['hits']} of "
        f"{steps['total']} scenes"
    )
    if rank["value"] is not None:
        text += (
            f"; Spearman correlation {format_number(rank['value'], 3)}, "
            f"{format_number(rank['best'], 3)} is the best possible"
        )
    return grade(steps["value"], 0, 1), text


def _place(placement: Mapping[str, Any]) -> tuple[str, str]:
    move = {} if placement["undefined"] else placement["move"]
    if not move or move["undefined"]:
        return "undefined", "no scene has a single box with room to move"
    guess = move["region_share"]["value"]
    text = (
        f"where a box moves, the image changes with an IoU of "
        f"{format_number(move['iou']['value'], 2)}; {format_number(guess, 2)} by "
        f"guessing, {format_number(ELLIPSE_IOU, 3)} for ellipses that fill their boxes"
    )
    return grade(move["iou"]["value"], guess, ELLIPSE_IOU), text


def _condition(condition: Mapping[str, Any]) -> tuple[str, str]:
    if condition["undefined"]:
        return "undefined", condition["undefined"]
    recall, guess = condition["macro_recall"], condition["chance"]
    real, synthetic = recall["real"]["value"], recall["synthetic"]["value"]
    text = (
        f"a judge sees the one asked for in {format_number(synthetic, 2)} of synthetic "
        f"images and in {format_number(real, 2)} of phantoms (means over conditions; "
        f"{format_number(guess, 2)} by guessing)"
    )
    rows = condition_rows(condition)
    failed = [row["condition"] for row in rows if row["failed"]]
    if failed:
        text += f"; seen less than half as often as in phantoms: {', '.join(failed)}"
    if recall["ratio"]["value"] is None:
        return "undefined", f"{text}; {recall['ratio']['undefined']}".replace(
            "real images", "phantoms"
        )
    return grade(synthetic, guess, real), text


def _variety(evaluation: Mapping[str, Any]) -> tuple[str, str]:
    overall = evaluation["distances"]["overall"]
    found, best = (
        overall[key]["neighbour_trials"]["recall"]["mean"]
        for key in ("synthetic_real", "real_real")
    )
    seeds = evaluation["diversity"]["overall"]["same_map / real"]["value"]
    memory = evaluation["memorization"]
    copied = "undefined" if memory["undefined"] else "none found"
    if memory["memorised"]:
        copied = "found"
    text = (
        f"synthetic images reach {format_number(found, 2)} of the phantoms' range, "
        f"other phantoms {format_number(best, 2)}; seeds of one map differ "
        f"{format_number(seeds, 2)} times as much as phantoms of one condition; copies "
        f"of training images: {copied}"
    )
    return "poorly" if memory["memorised"] else grade(found, 0, best), text


def _help(classifier: Mapping[str, Any]) -> tuple[str, str]:
    comparison = classifier["comparison"]
    (difference,) = comparison["comparisons"]
    without, with_synthetic = (
        format_number(arm["scores"]["macro_f1"]["value"], 3)
        for arm in comparison["arms"]
    )
    change = difference["scores"]["macro_f1"]
    text = (
        f"macro F1 {without} without and {with_synthetic} with synthetic images, both "
        f"arms having seen {classifier['arms'][0]['real_images_seen']} phantom images; "
        f"difference {format_number(change['value'], 3)} (95 % "
        f"{format_interval(change['interval_95'])})"
    )
    seeds = min(arm["training_seeds"] for arm in comparison["arms"])
    if seeds < FEW_SEEDS:
        trainings = "one training" if seeds == 1 else f"{seeds} trainings"
        return "no verdict", f"{text}; {trainings} per arm can't tell"
    low, high = change["interval_95"]
    return "well" if low > 0 else "poorly" if high < 0 else "in part", text
