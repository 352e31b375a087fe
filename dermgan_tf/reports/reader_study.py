"""Writes a reader study's analysis down: figures, tables, one offline page."""

import csv
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from dermgan_tf.reports.evaluation import REAL, SYNTHETIC
from dermgan_tf.reports.figures import figure_png, plain_axes
from dermgan_tf.reports.page import format_number, render_page


def draw_figures(found: Mapping[str, Any]) -> dict[str, bytes]:
    """Draws what there are answers for.

    Args:
        found: of `dermgan_tf.apps.reader_study.analysis.analyze`.

    Returns:
        PNG bytes by file name: figure_10a.png and figure_10b.png, after the paper's.
    """
    drawn = {}
    if found["turing"]:
        drawn["figure_10a.png"] = figure_png(_turing(found["turing"]))
    if found["recognition"]:
        drawn["figure_10b.png"] = figure_png(_recognition(found["recognition"]))
    return drawn


def _turing(turing: Mapping[str, Any]) -> Figure:
    series = (
        ("true_positive_rate", "real images called real (TPR)", REAL),
        ("false_positive_rate", "synthetic images called real (FPR)", SYNTHETIC),
    )
    figure, axis = _bars(_groups(turing), series)
    axis.set_ylabel('share of answers "real"')
    axis.set_title("Part 1: which of these are real?", loc="left")
    axis.axhline(0.5, color="#888888", linewidth=0.8, linestyle=":", zorder=0)
    return figure


def _recognition(recognition: Mapping[str, Any]) -> Figure:
    series = (
        ("recall_real", "real images", REAL),
        ("recall_synthetic", "synthetic images", SYNTHETIC),
    )
    figure, axis = _bars(_groups(recognition), series)
    axis.set_ylabel("share of those that show it, marked")
    axis.set_title("Part 2: which images show the condition?", loc="left")
    return figure


def _groups(found: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    return [
        ("all", found),
        *((row["condition"], row) for row in found["by_condition"]),
        *((f"type {row['name']}", row) for row in found["by_skin_type"]),
    ]


def _bars(groups: Sequence, series: Sequence) -> tuple[Figure, Any]:
    figure = Figure(figsize=(max(5.0, 1.8 + 0.75 * len(groups)), 4.2))
    axis = figure.subplots()
    width = 0.38
    for shift, (key, label, colour) in zip((-0.5, 0.5), series, strict=True):
        for place, (_, row) in enumerate(groups):
            rate = row[key]
            if rate["value"] is None:
                continue
            x = place + shift * width
            axis.bar(x, rate["value"], width * 0.94, color=colour, alpha=0.85)
            if rate["interval_95"]:
                low, high = rate["interval_95"]
                axis.plot([x, x], [low, high], color="black", linewidth=1.3)
                for end in (low, high):
                    axis.plot([x - 0.07, x + 0.07], [end] * 2, color="black", lw=1.3)
        axis.bar(0, 0, color=colour, alpha=0.85, label=label)
    names = [name for name, _ in groups]
    axis.set_xticks(range(len(names)), names, rotation=35, ha="right")
    axis.set_ylim(0, 1)
    axis.set_xlim(-0.6, len(names) - 0.4)
    plain_axes(axis)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure, axis


def write_report(
    folder: str | os.PathLike,
    found: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    judged: bytes | None,
) -> None:
    """Writes analysis.json, answers.csv, report.html, and the figures as PNG files.

    Args:
        folder: an existing folder.
        found: of `dermgan_tf.apps.reader_study.analysis.analyze`.
        rows: the answers, for answers.csv; at least one.
        judged: PNG of the images judged real most and least often, marked as
            synthetic; None without part 1.
    """
    folder = pathlib.Path(folder)
    figures = draw_figures(found)
    if judged:
        figures["judged.png"] = judged
    text = json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False)
    (folder / "analysis.json").write_text(text + "\n", "utf-8")
    with (folder / "answers.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    for name, png in figures.items():
        (folder / name).write_bytes(png)
    page = render_page("reader_study.html", found=found, figures=figures)
    (folder / "report.html").write_text(page, "utf-8")


def summary_lines(found: dict[str, Any]) -> list[str]:
    """What the numbers come to, a line each."""
    lines = []
    if turing := found["turing"]:
        p = turing["p_chance"]
        lines += [
            "part 1, real images called real (TPR): "
            + _shown(turing["true_positive_rate"]),
            "part 1, synthetic images called real (FPR): "
            + _shown(turing["false_positive_rate"]),
            f"part 1, difference: {_shown(turing['difference'])}, test against chance "
            + ("undefined" if p is None else f"p = {format_number(p, 2)}"),
            f"part 1, d′: {_shown(turing['d_prime'])}; Fleiss' κ "
            + format_number(turing["agreement"]["kappa"], 2),
        ]
    if recognition := found["recognition"]:
        lines += [
            f"part 2, recall of real images: {_shown(recognition['recall_real'])}",
            "part 2, recall of synthetic images: "
            + _shown(recognition["recall_synthetic"]),
        ]
    return lines + [f"note: {remark}" for remark in found["remarks"]]


def _shown(found: dict[str, Any]) -> str:
    value = format_number(found["value"], 3)
    if found["interval_95"] is None:
        return value
    low, high = (format_number(end, 3) for end in found["interval_95"])
    return f"{value} (95 % {low} to {high})"
