"""Writes an analysis down: analysis.json, answers.csv, figures, one offline page."""

import csv
import json
import os
import pathlib
from typing import Any

from dermgan_tf.apps.reader_study.answers import Answers
from dermgan_tf.reports.page import format_number, render_page
from dermgan_tf.reports.reader_study import draw_figures


def write_report(
    folder: str | os.PathLike, answers: Answers, found: dict[str, Any]
) -> None:
    """Writes analysis.json, answers.csv, report.html, and the figures as PNG files.

    Args:
        folder: an existing folder.
        answers: from `read_answers`.
        found: what `analyze` made of them.
    """
    folder = pathlib.Path(folder)
    figures = draw_figures(found, answers)
    text = json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False)
    (folder / "analysis.json").write_text(text + "\n", "utf-8")
    with (folder / "answers.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, answers.rows[0])
        writer.writeheader()
        writer.writerows(answers.rows)
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
