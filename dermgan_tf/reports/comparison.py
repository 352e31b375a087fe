"""Writes a comparison of classifiers down: figures, remarks, one offline page."""

import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from dermgan_tf.photos.semantic_map import SKIN_TYPE_NAMES
from dermgan_tf.reports.figures import figure_png, plain_axes
from dermgan_tf.reports.page import format_interval, format_number, render_page

SIGNIFICANT = 0.05

SCORE_TITLES = {
    "top_1": "top-1",
    "top_3": "top-3",
    "macro_f1": "macro F1",
    "macro_recall": "macro recall",
    "macro_sensitivity": "macro sensitivity at the specificity",
    "macro_auc": "macro ROC-AUC",
    "calibration_error": "calibration error (small is good)",
    "rarest_f1": "mean F1 of the rarest",
}
# The first is the baseline's: the other reports' colours of real and synthetic.
COLOURS = (
    *("#1f2937", "#c2410c", "#0369a1", "#4d7c0f", "#7e22ce", "#a16207"),
    *("#be185d", "#0f766e", "#64748b", "#f59e0b"),
)
_GREY = "#666666"


def draw_figures(comparison: Mapping[str, Any]) -> dict[str, bytes]:
    """Draws the figures.

    Args:
        comparison: as `compare` returns it; see `dermgan_tf.studies.comparison`.

    Returns:
        PNG bytes by file name; confusion_1.png, … in the order of the arms.
    """
    arms = comparison["arms"]
    drawn = {
        "scores.png": _scores(arms),
        "differences.png": _differences(comparison["comparisons"]),
        "f1_by_condition.png": _f1_by_condition(arms),
        "f1_differences.png": _f1_differences(comparison["comparisons"]),
        "skin_types.png": _skin_types(arms),
        "skin_type_differences.png": _skin_type_differences(comparison["comparisons"]),
    }
    for number, arm in enumerate(arms, start=1):
        drawn[f"confusion_{number}.png"] = _confusion(arm)
    return {name: figure_png(figure) for name, figure in drawn.items()}


def _scores(arms: Sequence[Mapping[str, Any]]) -> Figure:
    names = list(SCORE_TITLES)
    return _dots(
        [SCORE_TITLES[name] for name in names],
        [[arm["scores"][name] for name in names] for arm in arms],
        [arm["name"] for arm in arms],
        "score and 95 % interval; small marks: training seeds",
    )


def _differences(comparisons: Sequence[Mapping[str, Any]]) -> Figure:
    names = list(SCORE_TITLES)
    return _dots(
        [SCORE_TITLES[name] for name in names],
        [[c["scores"][name] for name in names] for c in comparisons],
        [c["arm"] for c in comparisons],
        f"difference from {comparisons[0]['baseline']} and 95 % interval",
        COLOURS[1:],
        zero=True,
    )


def _f1_by_condition(arms: Sequence[Mapping[str, Any]]) -> Figure:
    order = _by_cases(arms[0]["by_condition"])
    return _dots(
        [_counted(arms[0]["by_condition"][k]) for k in order],
        [[arm["by_condition"][k]["f1"] for k in order] for arm in arms],
        [arm["name"] for arm in arms],
        "F1 and 95 % interval (cases); the rarest first",
    )


def _f1_differences(comparisons: Sequence[Mapping[str, Any]]) -> Figure:
    rows = comparisons[0]["by_condition"]
    order = _by_cases(rows)
    return _dots(
        [_counted(rows[k]) for k in order],
        [[c["by_condition"][k]["f1"] for k in order] for c in comparisons],
        [c["arm"] for c in comparisons],
        f"F1 minus {comparisons[0]['baseline']}'s, 95 % interval\n"
        "filled: p < 0.05 after Holm; in brackets: cases",
        COLOURS[1:],
        zero=True,
    )


def _skin_types(arms: Sequence[Mapping[str, Any]]) -> Figure:
    figure = Figure(figsize=(8.5, 3.6))
    for axis, name in zip(
        figure.subplots(1, 2), ("top_1", "macro_recall"), strict=True
    ):
        for number, arm in enumerate(arms):
            rows = arm["by_skin_type"]
            shift = _shifts(len(arms))[number]
            for x, row in enumerate(rows):
                _upright(axis, x + shift, row[name], _colour(number))
        axis.set_xticks(range(len(rows)), [_type_name(row) for row in rows])
        axis.set_xlim(-0.6, len(rows) - 0.4)
        axis.set_ylim(0, 1)
        axis.set_xlabel("skin type (cases)")
        axis.set_ylabel(SCORE_TITLES[name])
        plain_axes(axis)
    _legend(figure, [arm["name"] for arm in arms])
    return figure


def _skin_type_differences(comparisons: Sequence[Mapping[str, Any]]) -> Figure:
    rows = comparisons[0]["by_skin_type"]
    titles = [
        *(f"macro recall, {_type_name(row, 'type ')}" for row in rows),
        "largest gap of top-1",
        "largest gap of macro recall",
        "… over conditions all types share",
        "mean over conditions of the gap",
    ]
    entries = [
        [
            *(row["macro_recall"] for row in c["by_skin_type"]),
            *(
                c["gaps"][name]
                for name in (
                    "top_1",
                    "macro_recall",
                    "shared_recall",
                    "mean_condition_recall",
                )
            ),
        ]
        for c in comparisons
    ]
    return _dots(
        titles,
        entries,
        [c["arm"] for c in comparisons],
        f"difference from {comparisons[0]['baseline']} and 95 % interval\n"
        "a gap's below 0: it has shrunk",
        COLOURS[1:],
        zero=True,
    )


def _confusion(arm: Mapping[str, Any]) -> Figure:
    """Shares of each condition's photos, the training seeds together."""
    counts = np.sum(arm["confusion"], axis=0, dtype=float)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
    names = [row["condition"] for row in arm["by_condition"]]
    side = 2.6 + 0.3 * len(names)
    figure = Figure(figsize=(side, side))
    axis = figure.subplots()
    axis.imshow(shares, cmap="Greys", vmin=0, vmax=1)
    for (i, j), value in np.ndenumerate(shares):
        if value >= 0.005:
            colour = "white" if value > 0.5 else "black"
            text = f"{value:.2f}".removeprefix("0")
            axis.text(j, i, text, ha="center", va="center", color=colour, fontsize=6)
    axis.set_xticks(range(len(names)), names, rotation=90, fontsize=8)
    rows = [f"{row['condition']} ({row['photos']})" for row in arm["by_condition"]]
    axis.set_yticks(range(len(names)), rows, fontsize=8)
    axis.set_xlabel(f"{arm['name']}: predicted")
    axis.set_ylabel("condition (photos)")
    return figure


def _dots(titles, entries, names, label, colours=COLOURS, zero=False) -> Figure:
    """A row a title, in it a dot with an interval for each of `names`."""
    height = 0.2 + 0.16 * len(names)
    figure = Figure(figsize=(8, 1.3 + height * len(titles)))
    axis = figure.subplots()
    for number, row in enumerate(entries):
        colour = colours[number % len(colours)]
        shift = _shifts(len(names))[number]
        for y, entry in enumerate(row):
            _dot(axis, y + shift, entry, colour, zero)
    for y in range(len(titles)):
        if all(row[y]["value"] is None for row in entries):
            axis.annotate(
                "undefined",
                (0.01, y),
                xycoords=("axes fraction", "data"),
                va="center",
                color=_GREY,
                fontsize=8,
            )
    axis.set_yticks(range(len(titles)), titles)
    axis.set_ylim(len(titles) - 0.5, -0.5)
    if zero:
        axis.axvline(0, color=_GREY, lw=0.8)
    else:
        axis.set_xlim(0, 1)
    axis.set_xlabel(label)
    plain_axes(axis)
    _legend(figure, names, colours)
    return figure


def _dot(axis, y: float, entry: Mapping[str, Any], colour: str, zero: bool) -> None:
    if entry["value"] is None:
        return
    if entry["interval_95"]:
        axis.plot(entry["interval_95"], [y, y], color=colour, lw=1.5)
    seeds = entry["seeds"] or []
    if len(seeds) > 1:
        axis.plot(seeds, [y] * len(seeds), "|", color=colour, ms=5, alpha=0.6)
    hollow = "p_holm" in entry and not _is_significant(entry["p_holm"])
    face = "white" if hollow else colour
    axis.plot(entry["value"], y, "o", color=colour, mfc=face, ms=5)


def _is_significant(p: float | None) -> bool:
    return p is not None and p < SIGNIFICANT


def _upright(axis, x: float, entry: Mapping[str, Any], colour: str) -> None:
    if entry["value"] is None:
        return
    if entry["interval_95"]:
        axis.plot([x, x], entry["interval_95"], color=colour, lw=1.5)
    axis.plot(x, entry["value"], "o", color=colour, ms=5)


def _shifts(count: int) -> np.ndarray:
    """Where in a row of height 1 the arms lie."""
    return (np.arange(count) - (count - 1) / 2) * min(0.24, 0.8 / count)


def _by_cases(rows: Sequence[Mapping[str, Any]]) -> list[int]:
    return np.argsort([row["cases"] for row in rows], kind="stable").tolist()


def _counted(row: Mapping[str, Any]) -> str:
    return f"{row['condition']} ({row['cases']})"


def _type_name(row: Mapping[str, Any], word: str = "") -> str:
    name = SKIN_TYPE_NAMES[row["fitzpatrick"]]
    if word:
        return f"{word}{name} ({row['cases']})"
    return f"{name}\n({row['cases']})"


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def _legend(figure: Figure, names: Sequence[str], colours=COLOURS) -> None:
    axis = figure.axes[0]
    handles = [
        axis.plot([], [], "o", color=colours[number % len(colours)])[0]
        for number in range(len(names))
    ]
    figure.legend(
        handles,
        list(names),
        loc="outside upper left",
        ncols=min(4, len(names)),
        frameon=False,
    )


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
            f"{result['settings']['minimum_type_cases']} cases): {names}."
        )
    if len(groups["skin_types"]) > 1:
        remarks.append(
            "A largest gap is never below 0 and grows with noise: between small groups "
            "there is one by chance. Its interval is centred on the value and no test "
            "of there being a gap; compare the gaps of two arms."
        )
    return remarks
