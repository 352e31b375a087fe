"""Writes a description down: description.json, figures, sheets, one offline page."""

import json
import os
import pathlib
from typing import Any

from dermgan_tf.errors import write_rejects
from dermgan_tf.inspection.description import Description
from dermgan_tf.photos.photo_io import encode_png
from dermgan_tf.reports.description import draw_figures, draw_sheets
from dermgan_tf.reports.page import render_page


def write_description(folder: str | os.PathLike, description: Description) -> None:
    """Writes description.json, report.html, rejects.csv, figures and sheets.

    Photographs in the page and the sheets are shrunk and encoded anew: no EXIF, no
    name, no path.

    Args:
        folder: an existing folder.
        description: what `dermgan_tf.inspection.description` made.
    """
    folder = pathlib.Path(folder)
    numbers = description.numbers
    figures = draw_figures(numbers)
    sheets = {
        name: encode_png(sheet)
        for name, sheet in draw_sheets(description.examples).items()
    }
    page = render_page("describe.html", numbers=numbers, figures=figures, sheets=sheets)
    text = json.dumps(numbers, indent=2, ensure_ascii=False, allow_nan=False)
    (folder / "description.json").write_text(text + "\n", "utf-8")
    for name, png in {**figures, **sheets}.items():
        (folder / name).write_bytes(png)
    write_rejects(folder / "rejects.csv", description.rejects)
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
