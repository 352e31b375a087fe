"""What an augmentation study came to: curves, a table, one offline page."""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from dermgan_tf.output_folder import atomic_write, write_json
from dermgan_tf.photos.semantic_map import SKIN_TYPE_NAMES
from dermgan_tf.reports.comparison import COLOURS, SCORE_TITLES
from dermgan_tf.reports.figures import figure_png, plain_axes
from dermgan_tf.reports.page import format_interval, format_number, render_page
from dermgan_tf.reports.tables import csv_bytes

# What the curves are of.
CURVE_SCORES = {
    "macro_f1": "macro F1",
    "rarest_f1": "mean F1 of the rarest",
    "top_1": "top-1",
    "gap_macro_recall": "largest gap of macro recall\nbetween skin types (0 is best)",
}

_GREY = "#666666"
_SHIFT = 0.05
_TICKS = {"no_augmentation": "no aug-\nment.", "more_real": "more\nreal"}


def write_augmentation(
    folder: str | os.PathLike,
    metrics: dict[str, Any],
    comparison: dict[str, Any],
    comparison_folder: str | os.PathLike,
) -> None:
    """Writes metrics.json, table.csv, the curves as PNG files, and report.html.

    Args:
        folder: an existing folder.
        metrics: of `dermgan_tf.studies.augmentation_metrics`.
        comparison: of the arms with all training cases; becomes part of the page.
        comparison_folder: where `write_comparison` has written that.
    """
    folder = pathlib.Path(folder)
    curves = draw_curves(metrics)
    drawn = pathlib.Path(comparison_folder).glob("*.png")
    figures = {path.name: path.read_bytes() for path in drawn}
    page = render_page(
        "augmentation.html",
        metrics=metrics,
        curves=curves,
        curve_titles={n: t.replace("\n", " ") for n, t in CURVE_SCORES.items()},
        comparison=comparison,
        figures=figures,
        type_names=SKIN_TYPE_NAMES,
        titles=SCORE_TITLES,
    )
    for name, png in curves.items():
        atomic_write(folder / name, png)
    atomic_write(folder / "table.csv", csv_bytes(table(metrics)))
    atomic_write(folder / "report.html", page.encode())
    write_json(folder / "metrics.json", metrics)


def table(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row a run."""
    return [
        {
            "arm": arm["arm"],
            "label": arm["label"],
            "synthetic": arm["synthetic"],
            "ratio": arm["ratio"],
            "train_cases": arm["train_cases"] or "all",
            "seed": run["seed"],
            **{name: run[name] for name in CURVE_SCORES},
            "real_images": run["real_images"],
            "real_cases": run["real_cases"],
            "synthetic_images": run["synthetic_images"],
            "validation_macro_f1": run["validation_macro_f1"],
            "best_step": run["best_step"],
            "folder": run["folder"],
        }
        for arm in metrics["arms"]
        for run in arm["runs"]
    ]


def summary_lines(metrics: Mapping[str, Any]) -> list[str]:
    """What the numbers come to, a line an arm."""
    lines = []
    for arm in metrics["arms"]:
        name = arm["label"]
        if arm["train_cases"]:
            name += f", {arm['train_cases']} cases"
        parts = []
        for key, title in CURVE_SCORES.items():
            text = f"{title.splitlines()[0]} {_shown(arm['scores'][key])}"
            if arm["minus"]:
                text += f", minus baseline {_shown(arm['minus'][key])}"
            parts.append(text)
        lines.append(f"{name}: {'; '.join(parts)}")
    return lines


def _shown(found: Mapping[str, Any]) -> str:
    value = format_number(found["value"], 3)
    if not found["interval_95"]:
        return value
    return f"{value} (95 % {format_interval(found['interval_95'])})"


# === Curves ===


def draw_curves(metrics: Mapping[str, Any]) -> dict[str, bytes]:
    """Draws scores against ratios, and, where it was asked for, against cases.

    Args:
        metrics: of `dermgan_tf.studies.augmentation_metrics`.

    Returns:
        PNG bytes by file name.
    """
    drawn = {
        "ratios.png": _ratios(metrics, "scores"),
        "ratio_differences.png": _ratios(metrics, "minus"),
    }
    if metrics["train_cases"]:
        drawn["cases.png"] = _cases(metrics, "scores")
        drawn["case_differences.png"] = _cases(metrics, "minus")
    return {name: figure_png(figure) for name, figure in drawn.items()}


def _ratios(metrics: Mapping[str, Any], what: str) -> Figure:
    arms = [arm for arm in metrics["arms"] if arm["train_cases"] is None]
    baseline = arms[0]
    sets = [one["name"] for one in metrics["synthetic"]]
    apart = [arm for arm in arms if arm["kind"] in ("no_augmentation", "more_real")]
    last = _place(max(metrics["ratios"]))
    ticks = {_place(ratio): f"{ratio:g}" for ratio in metrics["ratios"]}
    places = [last + 0.25 * (last + 1) * n for n in range(1, len(apart) + 1)]
    for place, arm in zip(places, apart, strict=True):
        ticks[place] = _TICKS[arm["kind"]]

    def draw(axis, name: str) -> None:
        if what == "scores":
            _point(axis, 0, baseline["scores"][name], COLOURS[0])
            if baseline["scores"][name]["value"] is not None:
                axis.axhline(
                    baseline["scores"][name]["value"], color=COLOURS[0], lw=0.8, ls=":"
                )
        for number, one in enumerate(sets):
            own = [arm for arm in arms if arm["synthetic"] == one]
            shift = _SHIFT * (number - (len(sets) - 1) / 2)
            points = [(_place(arm["ratio"]) + shift, arm[what][name]) for arm in own]
            start = [(0, baseline["scores"][name])] if what == "scores" else []
            _line(axis, start + points, points, COLOURS[1 + number])
        for place, arm, colour in zip(
            places, apart, COLOURS[1 + len(sets) :], strict=False
        ):
            _point(axis, place, arm[what][name], colour)
        axis.set_xticks(list(ticks), list(ticks.values()))
        axis.set_xlim(-0.1 * (last + 1), max(ticks) + 0.15 * (last + 1))

    names = ["baseline", *sets, *(arm["label"] for arm in apart)]
    return _panels(metrics, what, draw, "synthetic images a real photo", names)


def _cases(metrics: Mapping[str, Any], what: str) -> Figure:
    total = metrics["data"]["train"]["cases"]
    asked = {count or total for count in metrics["train_cases"]}
    counted = [
        (arm["train_cases"] or total, arm)
        for arm in metrics["arms"]
        if arm["kind"] == "baseline"
        or (arm["kind"] == "synthetic" and arm["ratio"] == metrics["train_cases_ratio"])
    ]
    counted = sorted((x for x in counted if x[0] in asked), key=lambda x: x[0])
    sets = [None, *(one["name"] for one in metrics["synthetic"])]

    def draw(axis, name: str) -> None:
        for number, one in enumerate(sets):
            if what == "minus" and one is None:
                continue
            factor = 2 ** (_SHIFT * (number - (len(sets) - 1) / 2))
            points = [
                (count * factor, arm[what][name])
                for count, arm in counted
                if arm["synthetic"] == one
            ]
            _line(axis, points, points, COLOURS[number])
        axis.set_xscale("log")
        axis.set_xticks(sorted(asked), [str(count) for count in sorted(asked)])
        axis.set_xticks([], minor=True)
        axis.set_xlim(min(asked) / 1.3, max(asked) * 1.3)

    ratio = f"{metrics['train_cases_ratio']:g} : 1"
    names = ["without synthetic images", *(f"with {one}, {ratio}" for one in sets[1:])]
    return _panels(metrics, what, draw, "training cases", names)


def _panels(metrics, what: str, draw, label: str, names: Sequence[str]) -> Figure:
    figure = Figure(figsize=(9, 6.4))
    for axis, (name, title) in zip(
        figure.subplots(2, 2).flat, CURVE_SCORES.items(), strict=True
    ):
        if name == "rarest_f1":
            title += f" {len(metrics['rarest'])}"
        if what == "minus":
            title += ", minus baseline's"
            axis.axhline(0, color=_GREY, lw=0.8)
        draw(axis, name)
        axis.set_title(title, fontsize=10, loc="left")
        axis.set_xlabel(label)
        plain_axes(axis)
        if not axis.has_data() or not len(axis.collections) + len(axis.containers):
            _say_undefined(axis, metrics["arms"][0]["scores"][name])
    colours = COLOURS[: len(names)]
    if what == "minus":
        names, colours = names[1:], colours[1:]
    axis = figure.axes[0]
    handles = [axis.plot([], [], "o-", color=c, ms=5)[0] for c in colours]
    figure.legend(
        handles,
        names,
        loc="outside upper left",
        ncols=min(4, len(names)),
        frameon=False,
    )
    return figure


def _place(ratio: float) -> float:
    """0, 1, 3, 7 lie equally far apart: 0 has a place, and 0.5 differs from 1."""
    return float(np.log2(1 + ratio))


def _line(axis, joined: Sequence, points: Sequence, colour: str) -> None:
    known = [(x, entry["value"]) for x, entry in joined if entry["value"] is not None]
    if known:
        axis.plot(*zip(*known, strict=True), color=colour, lw=1)
    for x, entry in points:
        _point(axis, x, entry, colour)


def _point(axis, x: float, entry: Mapping[str, Any], colour: str) -> None:
    if entry["value"] is None:
        return
    low, high = entry["interval_95"] or [entry["value"]] * 2
    axis.vlines(x, low, high, color=colour, lw=1.5)
    seeds = [value for value in entry["seeds"] or [] if value is not None]
    if len(seeds) > 1:
        axis.plot([x] * len(seeds), seeds, "_", color=colour, ms=6, alpha=0.5)
    axis.plot(x, entry["value"], "o", color=colour, ms=5)


def _say_undefined(axis, entry: Mapping[str, Any]) -> None:
    axis.set_yticks([])
    axis.annotate(
        f"undefined: {entry['undefined']}",
        (0.5, 0.5),
        xycoords="axes fraction",
        ha="center",
        color=_GREY,
        fontsize=8,
        wrap=True,
    )
