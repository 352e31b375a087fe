"""Writes the evaluation of a translator down, and what its numbers come to."""

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from dermgan_tf.photos.photo_io import encode_png
from dermgan_tf.reports.page import format_interval, format_number


def write_translator_evaluation(
    folder: str | os.PathLike,
    metrics: Mapping[str, Any],
    sheets: Mapping[str, np.ndarray],
    provenance: Mapping[str, str],
) -> None:
    """Writes metrics.json, and the sheets as PNG files.

    Sheets are marked as synthetic, though they show photographs beside the images:
    nothing should take them for photographs.

    Args:
        folder: an existing folder.
        metrics, sheets: of what `evaluate_translator` returned.
        provenance: the translator's, as PNG text.
    """
    folder = pathlib.Path(folder)
    text = json.dumps(metrics, indent=2, ensure_ascii=False, allow_nan=False)
    (folder / "metrics.json").write_text(text + "\n", "utf-8")
    for name, sheet in sheets.items():
        data = encode_png(sheet, {**provenance, "sheet": name})
        (folder / f"{name}.png").write_bytes(data)


def summary_lines(metrics: dict[str, Any]) -> list[str]:
    """A table of what was found, a line each."""
    data, change = metrics["data"], metrics["change"]
    rows = [
        (
            f"{metrics['translator']['direction']}, {data['split']} split",
            f"{data['images']} patches of {data['cases']} cases",
        ),
        ("changed outside the mask", f"{_shown(change['outside'])} of 255"),
        ("… beyond its soft border", f"{_shown(change['beyond_border'])} of 255"),
        ("changed inside", f"{_shown(change['inside'])} of 255"),
        ("relevancy (squared, outside)", _shown(change["relevancy"])),
    ]
    cycle = metrics["cycle"]
    if cycle["undefined"]:
        rows.append(("cycle", f"undefined, {cycle['undefined']}"))
    else:
        for name in ("add, then remove", "remove, then add"):
            rows += [
                (f"cycle error, {name}", f"{_shown(cycle[name]['whole'])} of 255"),
                ("… inside the mask", f"{_shown(cycle[name]['inside'])} of 255"),
            ]
    twins = metrics["twins"]
    if twins["undefined"]:
        rows.append(("true twins", f"undefined, {twins['undefined']}"))
    else:
        words = {
            "error": "error against the true twin, inside",
            "unchanged": "… of the photo as it was",
            "telea": "… of classical inpainting (Telea)",
        }
        rows += [
            (text, f"{_shown(twins[name])} of 255")
            for name, text in words.items()
            if name in twins
        ]
    distances = metrics["distances"]
    if distances["undefined"]:
        rows.append(("distances", f"undefined, {distances['undefined']}"))
    else:
        rows.append(("embedding", metrics["embedding"]["name"]))
        for key, text in (
            ("translated_real", "translated against real"),
            ("before_real", "before against real"),
            ("real_real", "real against real"),
        ):
            trials = distances[key]["frechet_trials"]
            rows.append(
                (
                    f"Fréchet distance, {text}",
                    f"{format_number(trials['mean'])} (95 % "
                    f"{format_interval(trials['interval_95'])}; {trials['trials']} "
                    f"trials of {trials['sample_size']})",
                )
            )
    judged = metrics["classifier"]
    if judged["undefined"]:
        rows.append(("classifier", f"undefined, {judged['undefined']}"))
    else:
        wanted = " or ".join(judged["wanted"])
        rows += [
            (f"taken for {wanted}: {text}", _counted(judged[name]))
            for name, text in (
                ("translated", "translated"),
                ("before", "before"),
                ("real", "real ones"),
            )
        ]
    width = max(len(name) for name, _ in rows) + 2
    return [f"{name:<{width}}{text}" for name, text in rows]


def _shown(found: dict[str, Any]) -> str:
    value = format_number(found["value"], 3)
    if not found["interval_95"]:
        return value
    return f"{value} (95 % {format_interval(found['interval_95'])})"


def _counted(found: dict[str, Any]) -> str:
    return f"{_shown(found)}, {found['hits']} of {found['total']}"
