"""Writes an evaluation down: metrics.json, the sheet, a page that opens offline."""

import json
import os
import pathlib

from dermgan_tf.evaluation import SKIN_TYPE_NAMES, Evaluation
from dermgan_tf.photo_io import encode_png
from dermgan_tf.report import render_page

SHEET_FILE = "held_out_maps.png"


def write_evaluation(folder: str | os.PathLike, evaluation: Evaluation) -> None:
    """Writes metrics.json, held_out_maps.png and report.html.

    The sheet is marked as synthetic in its PNG text, though it shows the real images
    beside the synthetic ones: nothing should take it for a photograph.

    Args:
        folder: an existing folder.
        evaluation: what `evaluate` returned.
    """
    folder = pathlib.Path(folder)
    metrics = evaluation.metrics
    sheet = encode_png(
        evaluation.sheet,
        {
            "synthetic": "true",
            "generator": metrics["generator"]["fingerprint"],
            "shows": "held-out maps with real and synthetic images",
        },
    )
    page = render_page(
        "evaluation.html", metrics=metrics, sheet=sheet, type_names=SKIN_TYPE_NAMES
    )
    text = json.dumps(metrics, indent=2, ensure_ascii=False, allow_nan=False)
    (folder / "metrics.json").write_text(text + "\n", "utf-8")
    (folder / SHEET_FILE).write_bytes(sheet)
    (folder / "report.html").write_text(page, "utf-8")
