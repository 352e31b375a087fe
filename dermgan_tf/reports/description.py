"""Writes a description down: figures, sheets of examples, one offline page."""

import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dermgan_tf.errors import Reject, write_rejects
from dermgan_tf.photos.contact_sheet import contact_sheet
from dermgan_tf.photos.photo_io import encode_png
from dermgan_tf.photos.semantic_map import (
    SKIN_TYPE_NAMES,
)
from dermgan_tf.reports.figures import figure_png, plain_axes
from dermgan_tf.reports.page import render_page

EXAMPLE_SIDE = 192  # pixels, longer side

INK, ACCENT = "#1f2937", "#c2410c"
# From light to dark, near the colours that ITA's classes stand for; grey is unknown.
_TYPE_COLOURS = (
    *("#9ca3af", "#f3d3bb", "#e6b68f", "#cf9366", "#a8693f", "#75431f", "#3b2114"),
)
_SHEET_CONDITIONS = 9  # a sheet: larger ones are hard to open


def draw_figures(numbers: Mapping[str, Any]) -> dict[str, bytes]:
    """Draws the figures that the numbers allow.

    Args:
        numbers: as `dermgan_tf.inspection.description` gives them.

    Returns:
        PNG bytes by file name.
    """
    drawn = {
        "conditions_by_skin_type.png": _conditions(numbers),
        "splits.png": _splits(numbers),
        "photos_per_case.png": _photos_per_case(numbers["counts"]),
        "roi_sizes.png": _roi_sizes(numbers["rois"]),
        "skin_tone.png": _skin_tone(numbers["skin_types"]),
    }
    return {
        name: figure_png(figure) for name, figure in drawn.items() if figure is not None
    }


def draw_sheets(examples: Mapping[str, Sequence[np.ndarray]]) -> dict[str, np.ndarray]:
    """Sheets of photographs, a condition a row.

    Args:
        examples: np.uint8 [H, W, 3] images by condition.

    Returns:
        np.uint8 [H, W, 3] by file name.
    """
    names = list(examples)
    starts = range(0, len(names), _SHEET_CONDITIONS)
    return {
        f"examples_{number}.png": contact_sheet(
            [examples[name] for name in names[start : start + _SHEET_CONDITIONS]],
            row_labels=[
                name.replace(" ", "\n")
                for name in names[start : start + _SHEET_CONDITIONS]
            ],
            cell=EXAMPLE_SIDE,
        )
        for number, start in enumerate(starts, start=1)
    }


def _conditions(numbers: Mapping[str, Any]) -> Figure:
    """Photos by condition and skin type; shades on a logarithmic scale."""
    rows = [row for row in numbers["conditions"] if row["photos"]]
    order = [*range(1, 7), 0]  # unknown last
    counts = np.array([[row["photos_by_skin_type"][t] for t in order] for row in rows])
    figure = Figure(figsize=(7, 1.3 + 0.32 * len(rows)))
    axis = figure.subplots()
    shades = np.log1p(counts) / np.log1p(max(1, counts.max()))
    axis.imshow(shades, cmap="Oranges", vmin=0, vmax=1.15, aspect="auto")
    for (y, x), count in np.ndenumerate(counts):
        colour = "white" if shades[y, x] > 0.75 else INK if count else "#9ca3af"
        axis.text(x, y, f"{count:,}", ha="center", va="center", color=colour, size=8)
    axis.set_xticks(range(len(order)), [SKIN_TYPE_NAMES[t] for t in order])
    axis.set_yticks(range(len(rows)), [_short(row["condition"]) for row in rows])
    axis.xaxis.tick_top()
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    axis.set_xlabel(f"photos by Fitzpatrick skin type ({counts.sum():,} in all)")
    return figure


def _splits(numbers: Mapping[str, Any]) -> Figure:
    rows = [row for row in numbers["conditions"] if row["photos"]]
    figure = Figure(figsize=(7, 1.3 + 0.3 * len(rows)))
    axis = figure.subplots()
    left = np.zeros(len(rows))
    colours = (INK, "#9ca3af", ACCENT)
    for split, colour in zip(numbers["splits"], colours, strict=True):
        cases = np.array([row["cases_by_split"][split] for row in rows])
        axis.barh(range(len(rows)), cases, left=left, color=colour, label=split)
        left += cases
    axis.set_yticks(range(len(rows)), [_short(row["condition"]) for row in rows])
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.set_xlabel("cases")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    plain_axes(axis)
    figure.legend(loc="outside upper left", ncols=3, frameon=False)
    return figure


def _photos_per_case(counts: Mapping[str, Any]) -> Figure:
    histogram = counts["photos_per_case"]["histogram"]
    most = max(int(number) for number in histogram)
    shown = min(most, 20)
    heights = np.zeros(shown, int)
    for number, cases in histogram.items():
        heights[min(int(number), shown) - 1] += cases
    figure = Figure(figsize=(6, 2.6))
    axis = figure.subplots()
    axis.bar(range(1, shown + 1), heights, color=INK)
    names = [str(n) for n in range(1, shown + 1)]
    if most > shown:
        names[-1] += "+"
    step = 1 if shown <= 12 else 2
    axis.set_xticks(range(shown, 0, -step), names[::-step])
    axis.set_xlabel("photos of a case")
    axis.set_ylabel("cases")
    axis.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    plain_axes(axis)
    return figure


def _roi_sizes(rois: Mapping[str, Any]) -> Figure | None:
    if not rois["count"]:
        return None
    edges = np.array(rois["longer_side_bin_edges"])
    figure = Figure(figsize=(6, 2.8))
    axis = figure.subplots()
    axis.bar(
        edges[:-1],
        rois["longer_side_histogram"],
        width=np.diff(edges),
        align="edge",
        color=INK,
        edgecolor="white",
    )
    axis.set_xlim(0, 1)
    axis.set_xlabel("longer side of a ROI, share of the photo's side")
    axis.set_ylabel("ROIs")
    plain_axes(axis)
    return figure


def _skin_tone(rows: Sequence[Mapping[str, Any]]) -> Figure | None:
    """ITA of skin outside the ROIs, a row a stated skin type."""
    rows = [row for row in [*rows[1:], rows[0]] if row["ita"]["photos"]]
    if not rows:
        return None
    figure = Figure(figsize=(6, 1.1 + 0.8 * len(rows)))
    axes = figure.subplots(len(rows), 1, sharex=True, squeeze=False)[:, 0]
    for axis, row in zip(axes, rows, strict=True):
        edges = np.array(row["ita"]["bin_edges"])
        axis.bar(
            edges[:-1],
            row["ita"]["histogram"],
            width=np.diff(edges),
            align="edge",
            color=_TYPE_COLOURS[row["fitzpatrick"]],
            edgecolor=INK,
            linewidth=0.4,
        )
        middle = row["ita"]["quantiles"]["p50"]
        axis.axvline(middle, color=ACCENT, lw=1.2)
        label = f"{row['name']}\n({row['ita']['photos']})"
        axis.set_ylabel(label, rotation=0, ha="right", va="center")
        axis.yaxis.set_label_coords(-0.09, 0.5)
        axis.yaxis.set_major_locator(MaxNLocator(2, integer=True))
        plain_axes(axis)
    axes[-1].set_xlim(edges[-1], edges[0])  # light skin left, as the types run
    axes[-1].set_xlabel("ITA in degrees, light to dark (line: median)")
    return figure


def _short(name: str) -> str:
    return name if len(name) <= 40 else f"{name[:39]}…"


def write_description(
    folder: str | os.PathLike,
    numbers: Mapping[str, Any],
    examples: Mapping[str, Sequence[np.ndarray]],
    rejects: Sequence[Reject],
) -> None:
    """Writes description.json, report.html, rejects.csv, figures and sheets.

    Photographs in the page and the sheets are shrunk and encoded anew: no EXIF, no
    name, no path.

    Args:
        folder: an existing folder.
        numbers, examples, rejects: what `dermgan_tf.inspection.description` made.
    """
    folder = pathlib.Path(folder)
    figures = draw_figures(numbers)
    sheets = {name: encode_png(sheet) for name, sheet in draw_sheets(examples).items()}
    page = render_page("describe.html", numbers=numbers, figures=figures, sheets=sheets)
    text = json.dumps(numbers, indent=2, ensure_ascii=False, allow_nan=False)
    (folder / "description.json").write_text(text + "\n", "utf-8")
    for name, png in {**figures, **sheets}.items():
        (folder / name).write_bytes(png)
    write_rejects(folder / "rejects.csv", rejects)
    (folder / "report.html").write_text(page, "utf-8")


def summary_lines(numbers: dict[str, Any]) -> list[str]:
    """What the numbers come to, a line each."""
    counts, rois = numbers["counts"], numbers["rois"]
    crops = f" ({counts['crops']} crops)" if counts["crops"] else ""
    lines = [
        f"photos: {counts['photos']}{crops} of {counts['cases']} cases, "
        f"{counts['conditions']} conditions, {rois['count']} ROIs",
        "cases by split: "
        + ", ".join(f"{s} {found['cases']}" for s, found in numbers["splits"].items()),
        "photos by skin type: "
        + ", ".join(f"{r['name']} {r['photos']}" for r in numbers["skin_types"]),
    ]
    if numbers["hard"]:
        lines.append("what will be hard:")
    return [*lines, *(f"  {one['about']}: {one['what']}" for one in numbers["hard"])]
