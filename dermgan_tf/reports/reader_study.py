"""Figures of a reader study: PNG bytes, drawn from analysis.json and the images."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from dermgan_tf.apps.reader_study.answers import Answers
from dermgan_tf.photos.contact_sheet import contact_sheet
from dermgan_tf.photos.photo_io import encode_png, read_photo
from dermgan_tf.reports.evaluation import REAL, SYNTHETIC
from dermgan_tf.reports.figures import figure_png, plain_axes

SHOWN = 6  # images a row of the sheet
_FRAME = 5  # pixels, of 128


def draw_figures(found: Mapping[str, Any], answers: Answers) -> dict[str, bytes]:
    """Draws what there are answers for.

    Args:
        found: of `dermgan_tf.apps.reader_study.analysis.analyze`.
        answers: what it was made of, for the images.

    Returns:
        PNG bytes by file name: figure_10a.png and figure_10b.png, after the paper's,
        and judged.png, which marks the synthetic images.
    """
    drawn = {}
    if found["turing"]:
        drawn["figure_10a.png"] = figure_png(_turing(found["turing"]))
        drawn["judged.png"] = _judged(answers)
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


def _judged(answers: Answers) -> bytes:
    """The synthetic images most often called real, and the least often; real ones."""
    table = answers.tables["turing"]
    counts = np.count_nonzero(~np.isnan(table.said), axis=0)
    share = np.nansum(table.said, axis=0) / np.maximum(counts, 1)
    rows, labels = [], []
    for kind, text in (("synthetic", "SYNTHETIC"), ("real", "real")):
        chosen = np.flatnonzero(table.where(kind=kind) & (counts > 0))
        if kind == "real" and any(table.images[p].source == "phantom" for p in chosen):
            text = "drawn\nphantom"
        order = chosen[np.argsort(-share[chosen], kind="stable")]
        for places, how in ((order[:SHOWN], "most"), (order[::-1][:SHOWN], "least")):
            rows.append([_framed(answers, table.images[p].image, kind) for p in places])
            shares = "  ".join(f"{100 * share[p]:.0f} %" for p in places)
            labels.append(f"{text},\n{how} often\ncalled real\n{_wrapped(shares)}")
    title = "Judged real most and least often. Framed in red: synthetic"
    sheet = contact_sheet(rows, row_labels=labels, title=title, cell=128)
    return encode_png(sheet, {"synthetic": "true", "title": title})


def _framed(answers: Answers, name: str, kind: str) -> np.ndarray:
    image = Image.fromarray(read_photo(answers.study.image_path(name)))
    image = np.array(image.resize((128, 128), Image.Resampling.LANCZOS))
    if kind == "synthetic":
        for edge in (np.s_[:_FRAME], np.s_[-_FRAME:]):
            image[edge] = image[:, edge] = (208, 36, 36)
    return image


def _wrapped(shares: str) -> str:
    parts = shares.split("  ")
    return "\n".join("  ".join(parts[i : i + 3]) for i in range(0, len(parts), 3))
