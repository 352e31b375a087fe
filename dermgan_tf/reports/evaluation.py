"""Writes an evaluation down: metrics.json, figures, sheets, one offline page."""

import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from dermgan_tf.photos.photo_io import encode_png
from dermgan_tf.photos.semantic_map import SKIN_TYPE_NAMES
from dermgan_tf.reports.figures import figure_png, plain_axes
from dermgan_tf.reports.page import format_interval, format_number, render_page

SYNTHETIC, REAL = "#c2410c", "#1f2937"
SKIN_TYPES = SKIN_TYPE_NAMES[1:]


def draw_figures(metrics: Mapping[str, Any]) -> dict[str, bytes]:
    """Draws the figures that the numbers allow.

    Args:
        metrics: as `evaluate` returns them; see `dermgan_tf.judging.dermgan`.

    Returns:
        PNG bytes by file name. Figures of parts that are undefined are left out.
    """
    drawn = {
        "distances.png": _distances(metrics["distances"]),
        "sample_size.png": _sample_size(metrics["distances"]["overall"]),
        "skin_tone.png": _skin_tone(metrics["control"]["skin_tone"]),
        "condition_recall.png": _condition_recall(metrics["control"]["condition"]),
        "diversity.png": _diversity(metrics["diversity"]),
        "memorization.png": _memorization(metrics["memorization"]),
    }
    return {
        name: figure_png(figure) for name, figure in drawn.items() if figure is not None
    }


def _distances(distances: Mapping[str, Any]) -> Figure | None:
    """Fréchet distances over trials, by group, against real images and within them."""
    panels = []
    for title, key in (("condition", "by_condition"), ("skin type", "by_skin_type")):
        rows = [row for row in distances[key] if row["synthetic_real"]]
        if rows:
            panels.append((title, rows))
    whole = {"group": "all images", **distances["overall"]}
    figure = Figure(figsize=(7, 1.6 + 0.34 * (1 + sum(len(r) for _, r in panels))))
    heights = [1, *(len(rows) for _, rows in panels)]
    axes = figure.subplots(
        len(heights), 1, squeeze=False, gridspec_kw={"height_ratios": heights}
    )[:, 0]
    for axis, (title, rows) in zip(axes, [("", [whole]), *panels], strict=True):
        for y, row in enumerate(rows):
            for kind, colour, shift in (
                ("synthetic_real", SYNTHETIC, -0.12),
                ("real_real", REAL, 0.12),
            ):
                if row[kind]:
                    _dot(axis, row[kind]["frechet_trials"], y + shift, colour)
        axis.set_yticks(range(len(rows)), [_row_name(row, title) for row in rows])
        axis.set_ylim(len(rows) - 0.5, -0.5)
        axis.set_xlim(left=0)
        plain_axes(axis)
    axes[-1].set_xlabel("Fréchet distance, mean and 95 % of trials")
    _legend(figure, ("synthetic against real", SYNTHETIC), ("real against real", REAL))
    return figure


def _row_name(row: Mapping[str, Any], title: str) -> str:
    name = row["group"]
    if title == "skin type":
        name = f"type {SKIN_TYPE_NAMES[name]}"
    size = (row["synthetic_real"]["frechet_trials"])["sample_size"]
    return f"{name} ({size} a trial)"


def _sample_size(overall: Mapping[str, Any]) -> Figure:
    """How the distance falls as images are added, and where the line would end."""
    figure = Figure(figsize=(6, 3.6))
    axis = figure.subplots()
    for kind, colour in (("synthetic_real", SYNTHETIC), ("real_real", REAL)):
        fit = overall[kind]["frechet_extrapolated"]
        x = [1 / point["samples"] for point in fit["points"]]
        axis.errorbar(
            x,
            [point["mean"] for point in fit["points"]],
            yerr=_errors(fit["points"], "mean"),
            fmt="o",
            color=colour,
            markersize=4,
        )
        ends = np.array([0, max(x)])
        axis.plot(ends, fit["distance"] + fit["slope"] * ends, color=colour, lw=1)
    sizes = [point["samples"] for point in fit["points"]]
    ticks = sizes[:: max(1, len(sizes) // 2)]  # all of them would overlap
    axis.set_xticks([0, *(1 / n for n in ticks)], ["∞", *map(str, ticks)])
    axis.set_xlim(left=0)
    axis.set_xlabel("images a side")
    axis.set_ylabel("Fréchet distance")
    plain_axes(axis)
    _legend(figure, ("synthetic against real", SYNTHETIC), ("real against real", REAL))
    return figure


def _skin_tone(tone: Mapping[str, Any]) -> Figure | None:
    if not tone["measured"]:
        return None
    colours = tone["data_colours"]
    agreement = colours["synthetic"] or tone["classes"]["synthetic"]
    figure = Figure(figsize=(8, 3.6))
    left, right = figure.subplots(1, 2)
    rows = tone["by_type"]
    left.errorbar(
        range(6),
        [row["ita"] for row in rows],
        yerr=_errors(rows, "ita"),
        fmt="o-",
        color=SYNTHETIC,
        lw=1,
    )
    real = [colours["real_ita"][str(t)] for t in range(1, 7)]
    left.plot(range(6), [np.nan if v is None else v for v in real], "o", color=REAL)
    left.set_xticks(range(6), SKIN_TYPES)
    left.set_xlabel("skin type asked for")
    left.set_ylabel("median ITA of skin, degrees")
    plain_axes(left)
    confusion = np.array(agreement["confusion"], float)
    totals = confusion.sum(axis=1, keepdims=True)
    shares = np.divide(confusion, totals, out=np.zeros((6, 6)), where=totals > 0)
    _matrix(right, shares, SKIN_TYPES, SKIN_TYPES)
    right.set_xlabel(
        "type of the nearest real colour" if colours["synthetic"] else "type by ITA"
    )
    right.set_ylabel("type asked for")
    _legend(figure, ("synthetic", SYNTHETIC), ("real training images", REAL))
    return figure


def _condition_recall(recall: Mapping[str, Any]) -> Figure | None:
    if recall["undefined"]:
        return None
    rows = [
        row
        for row in recall["by_condition"]
        if row["real"]["value"] is not None and row["synthetic"]["value"] is not None
    ]
    return _pairs_of_dots(
        [f"{row['condition']} ({row['scenes']})" for row in rows],
        [row["synthetic"] for row in rows],
        [row["real"] for row in rows],
        "recall of the judge, and 95 % interval (images)",
        ("synthetic", "real"),
    )


def _diversity(diversity: Mapping[str, Any]) -> Figure | None:
    rows = [
        row
        for row in diversity["by_condition"]
        if all(row["distances"][k]["value"] is not None for k in ("same_map", "real"))
    ]
    if not rows:
        return None
    return _pairs_of_dots(
        [row["condition"] for row in rows],
        [row["distances"]["same_map"] for row in rows],
        [row["distances"]["real"] for row in rows],
        "mean pairwise distance, and 95 % interval",
        ("seeds of one map", "real images of one condition"),
    )


def _memorization(found: Mapping[str, Any]) -> Figure | None:
    if "distance" not in found:
        return None
    histogram = found["distance"]["histogram"]
    edges = np.array(histogram["edges"])
    figure = Figure(figsize=(7, 3.2))
    axis = figure.subplots()
    for kind, colour in (("held_out", REAL), ("synthetic", SYNTHETIC)):
        counts = np.array(histogram[kind], float)
        axis.stairs(counts / max(counts.sum(), 1), edges, color=colour, lw=1.5)
    axis.axvline(found["distance"]["threshold"], color="#666", ls=":")
    axis.set_xlim(left=0)
    axis.set_xlabel("distance to the nearest training image (dotted: threshold)")
    axis.set_ylabel("share of images")
    plain_axes(axis)
    _legend(figure, ("synthetic", SYNTHETIC), ("held-out real", REAL))
    return figure


def _pairs_of_dots(names, synthetic, real, label, legend) -> Figure:
    figure = Figure(figsize=(7, 1.3 + 0.34 * len(names)))
    axis = figure.subplots()
    for y, (a, b) in enumerate(zip(synthetic, real, strict=True)):
        for values, colour, shift in ((a, SYNTHETIC, -0.12), (b, REAL, 0.12)):
            _dot(axis, {**values, "mean": values["value"]}, y + shift, colour)
    axis.set_yticks(range(len(names)), names)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.set_xlim(left=0)
    axis.set_xlabel(label)
    plain_axes(axis)
    _legend(figure, (legend[0], SYNTHETIC), (legend[1], REAL))
    return figure


def _dot(axis, values: Mapping[str, Any], y: float, colour: str) -> None:
    if values["interval_95"]:
        axis.plot(values["interval_95"], [y, y], color=colour, lw=1.5)
    axis.plot(values["mean"], y, "o", color=colour, markersize=5)


def _errors(rows: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    """[2, n]: how far the intervals reach below and above; 0 where there is none."""
    ends = [row["interval_95"] or [row[name]] * 2 for row in rows]
    return np.maximum(
        [
            [row[name] - low for row, (low, _) in zip(rows, ends, strict=True)],
            [high - row[name] for row, (_, high) in zip(rows, ends, strict=True)],
        ],
        0,  # a mean may lie outside its percentiles by a hair
    )


def _matrix(axis, shares: np.ndarray, rows: Sequence[str], columns: Sequence[str]):
    axis.imshow(shares, cmap="Greys", vmin=0, vmax=1)
    for (i, j), value in np.ndenumerate(shares):
        if value:
            colour = "white" if value > 0.5 else "black"
            text = f"{value:.2f}".removeprefix("0")
            axis.text(j, i, text, ha="center", va="center", color=colour, fontsize=8)
    axis.set_xticks(range(len(columns)), columns)
    axis.set_yticks(range(len(rows)), rows)


def _legend(figure: Figure, *entries: tuple[str, str]) -> None:
    axis = figure.axes[0]
    handles = [axis.plot([], [], "o", color=colour)[0] for _, colour in entries]
    names = [name for name, _ in entries]
    figure.legend(
        handles, names, loc="outside upper left", ncols=len(entries), frameon=False
    )


def write_evaluation(
    folder: str | os.PathLike,
    metrics: Mapping[str, Any],
    sheets: Mapping[str, np.ndarray],
) -> None:
    """Writes metrics.json, report.html, and the figures and sheets as PNG files.

    The sheets are marked as synthetic in their PNG text, though they show real images
    beside the synthetic ones: nothing should take them for photographs.

    Args:
        folder: an existing folder.
        metrics, sheets: of what `dermgan_tf.judging.dermgan.evaluate` returned.
    """
    folder = pathlib.Path(folder)
    marked = {
        name: encode_png(
            sheet,
            {
                "synthetic": "true",
                "generator": metrics["generator"]["fingerprint"],
                "shows": name.replace("_", " "),
            },
        )
        for name, sheet in sheets.items()
    }
    figures = draw_figures(metrics)
    page = render_page(
        "evaluation.html",
        metrics=metrics,
        sheets=marked,
        figures=figures,
        type_names=SKIN_TYPE_NAMES,
    )
    text = json.dumps(metrics, indent=2, ensure_ascii=False, allow_nan=False)
    (folder / "metrics.json").write_text(text + "\n", "utf-8")
    for name, png in {**figures, **{f"{n}.png": s for n, s in marked.items()}}.items():
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
