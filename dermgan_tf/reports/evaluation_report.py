"""Writes an evaluation down: metrics.json, figures, sheets, one offline page."""

import json
import os
import pathlib
from typing import Any

from dermgan_tf.judging.dermgan import Evaluation
from dermgan_tf.photos.photo_io import encode_png
from dermgan_tf.photos.semantic_map import SKIN_TYPE_NAMES
from dermgan_tf.reports.evaluation import draw_figures
from dermgan_tf.reports.page import format_interval, format_number, render_page


def write_evaluation(folder: str | os.PathLike, evaluation: Evaluation) -> None:
    """Writes metrics.json, report.html, and the figures and sheets as PNG files.

    The sheets are marked as synthetic in their PNG text, though they show real images
    beside the synthetic ones: nothing should take them for photographs.

    Args:
        folder: an existing folder.
        evaluation: what `evaluate` returned.
    """
    folder = pathlib.Path(folder)
    metrics = evaluation.metrics
    sheets = {
        name: encode_png(
            sheet,
            {
                "synthetic": "true",
                "generator": metrics["generator"]["fingerprint"],
                "shows": name.replace("_", " "),
            },
        )
        for name, sheet in evaluation.sheets.items()
    }
    figures = draw_figures(metrics)
    page = render_page(
        "evaluation.html",
        metrics=metrics,
        sheets=sheets,
        figures=figures,
        type_names=SKIN_TYPE_NAMES,
    )
    text = json.dumps(metrics, indent=2, ensure_ascii=False, allow_nan=False)
    (folder / "metrics.json").write_text(text + "\n", "utf-8")
    for name, png in {**figures, **{f"{n}.png": s for n, s in sheets.items()}}.items():
        (folder / name).write_bytes(png)
    (folder / "report.html").write_text(page, "utf-8")


def summary_lines(metrics: dict[str, Any]) -> list[str]:
    """What the numbers come to, a line each."""
    overall, control = metrics["distances"]["overall"], metrics["control"]
    lines = [f"embedding: {metrics['embedding']['name']}"]
    for name, found in overall.items():
        trials = found["frechet_trials"]
        lines.append(
            f"Fréchet distance, {name.replace('_', ' against ')}: "
            f"{format_number(trials['mean'])} (95 % "
            f"{format_interval(trials['interval_95'])}; {trials['trials']} trials of "
            f"{trials['sample_size']} images)"
        )
    tone, place, recall = (
        control[name] for name in ("skin_tone", "placement", "condition")
    )
    diversity = metrics["diversity"]["overall"]["same_map / real"]
    lines += [
        f"Spearman correlation of ITA with the skin type: {_shown(tone['spearman'])}",
        f"darker at every step, I to VI: {_shown(tone['monotonic'])}",
    ]
    if place["undefined"]:
        lines.append(f"place and size: undefined, {place['undefined']}")
    else:
        lines += [
            f"IoU of the changed region, box {what}: {_shown(place[kind]['iou'])}"
            for kind, what in (("move", "moved"), ("grow", "scaled"))
        ]
    lines += [
        f"recall of conditions, undefined: {recall['undefined']}"
        if recall["undefined"]
        else "recall of conditions, synthetic over real: "
        f"{_shown(recall['macro_recall']['ratio'])}",
        f"diversity, seeds of a map over real images: {_shown(diversity)}",
    ]
    memory = metrics["memorization"]
    if memory["undefined"]:
        verdict = f"undefined, {memory['undefined']}"
    else:
        verdict = "yes" if memory["memorised"] else "nothing found"
    return [*lines, f"training images remembered: {verdict}"]


def _shown(found: dict[str, Any]) -> str:
    value = format_number(found["value"], 3)
    if not found["interval_95"]:
        return value
    return f"{value} (95 % {format_interval(found['interval_95'])})"
