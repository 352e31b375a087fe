"""Writes a comparison down: comparison.json, figures, one offline page."""

import json
import os
import pathlib
from typing import Any

from dermgan_tf.photos.semantic_map import SKIN_TYPE_NAMES
from dermgan_tf.reports.comparison import SCORE_TITLES, draw_figures
from dermgan_tf.reports.page import format_interval, format_number, render_page


def write_comparison(folder: str | os.PathLike, comparison: dict[str, Any]) -> None:
    """Writes comparison.json, report.html, and the figures as PNG files.

    Args:
        folder: an existing folder.
        comparison: what `compare` returned.
    """
    folder = pathlib.Path(folder)
    figures = draw_figures(comparison)
    page = render_page(
        "comparison.html",
        comparison=comparison,
        figures=figures,
        type_names=SKIN_TYPE_NAMES,
        titles=SCORE_TITLES,
    )
    text = json.dumps(comparison, indent=1, ensure_ascii=False, allow_nan=False)
    (folder / "comparison.json").write_text(text + "\n", "utf-8")
    for name, png in figures.items():
        (folder / name).write_bytes(png)
    (folder / "report.html").write_text(page, "utf-8")


def summary_lines(comparison: dict[str, Any]) -> list[str]:
    """What the numbers come to, a line each."""
    test_set, rarest = comparison["test_set"], comparison["rarest"]
    lines = [f"test set: {test_set['photos']} photos, {test_set['cases']} cases"]
    names = {"top_1": "top-1", "macro_f1": "macro F1", "rarest_f1": "F1 of the rarest"}
    for arm in comparison["arms"]:
        scores = "; ".join(
            f"{title} {_shown(arm['scores'][name])}" for name, title in names.items()
        )
        seeds = arm["training_seeds"]
        lines.append(f"{arm['name']}, {seeds} seed{'s'[: seeds > 1]}: {scores}")
    for found in comparison["comparisons"]:
        what = f"{found['arm']} minus {found['baseline']}"
        entries = [
            *((title, found["scores"][name]) for name, title in names.items()),
            ("largest recall gap between skin types", found["gaps"]["macro_recall"]),
        ]
        lines += [f"{what}, {title}: {_tested(entry)}" for title, entry in entries]
        changes = found["f1_changes"]
        lines.append(
            f"{what}, conditions with better F1: {changes['better']['conditions']}, "
            f"with worse: {changes['worse']['conditions']}; after Holm better: "
            f"{', '.join(changes['significantly_better']) or 'none'}, worse: "
            f"{', '.join(changes['significantly_worse']) or 'none'}"
        )
        lines.append(
            f"{what}, McNemar's p: {format_number(found['mcnemar']['p'], 3)} "
            f"({found['mcnemar']['cases']} cases); paired t-test's: "
            f"{format_number(found['t_test']['by_photo']['p'], 3)} by photo, "
            f"{format_number(found['t_test']['by_case']['p'], 3)} by case"
        )
    by = f"rarest {len(rarest['conditions'])} by {rarest['by']}"
    return [*lines, f"{by}: {', '.join(rarest['conditions'])}"]


def _shown(found: dict[str, Any]) -> str:
    value = format_number(found["value"], 3)
    if found["value"] is None:
        return f"{value}, {found['undefined']}"
    if not found["interval_95"]:
        return value
    return f"{value} (95 % {format_interval(found['interval_95'])})"


def _tested(found: dict[str, Any]) -> str:
    if found["p"] is None:
        return _shown(found)
    return f"{_shown(found)}, p = {format_number(found['p'], 3)}"
