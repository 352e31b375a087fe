"""Labelled grids of images: the pictures beside the numbers."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

BACKGROUND = (255, 255, 255)
INK = (32, 32, 32)
GAP = 4  # pixels between cells


def contact_sheet(
    rows: Sequence[Sequence[np.ndarray]],
    row_labels: Sequence[str] | None = None,
    column_labels: Sequence[str] | None = None,
    title: str = "",
    cell: int | None = None,
) -> np.ndarray:
    """Lays images out in a grid with labels.

    Args:
        rows: rows of np.uint8 [H, W, 3] or [H, W] images; rows may differ in length.
        row_labels: a text left of each row.
        column_labels: a text above each column.
        title: a text above everything.
        cell: int. The side in pixels of the square that each image is fitted into;
            by default the longest side found, at least 96.

    Returns:
        np.uint8 [H, W, 3], RGB.
    """
    if cell is None:
        sides = [max(image.shape[:2]) for row in rows for image in row]
        cell = max([96, *sides])
    size = max(11, min(18, cell // 8))
    font = ImageFont.load_default(size)
    line = size + 4
    columns = max((len(row) for row in rows), default=0)
    labels = [label.split("\n") for label in row_labels or []]
    left = GAP + max((_width(t, font) for ls in labels for t in ls), default=0)
    heads = [_wrap(label, font, cell) for label in column_labels or []]
    head_lines = max((len(lines) for lines in heads), default=0)
    top = GAP + (line + GAP if title else 0) + head_lines * line
    width = left + GAP + columns * (cell + GAP)
    width = max(width, _width(title, font) + 2 * GAP)
    height = top + len(rows) * (cell + GAP)
    sheet = Image.new("RGB", (width, height), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, GAP), title, fill=INK, font=font)
    for j, lines in enumerate(heads):
        x = left + GAP + j * (cell + GAP)
        for k, text in enumerate(lines):  # set on the row's lower edge
            y = top - (len(lines) - k) * line
            draw.text((x, y), text, fill=INK, font=font)
    for i, row in enumerate(rows):
        y = top + i * (cell + GAP)
        for k, text in enumerate(labels[i] if i < len(labels) else []):
            draw.text((GAP, y + k * line), text, fill=INK, font=font)
        for j, image in enumerate(row):
            sheet.paste(_fit(image, cell), (left + GAP + j * (cell + GAP), y))
    return np.asarray(sheet)


def _fit(image: np.ndarray, cell: int) -> Image.Image:
    picture = Image.fromarray(np.ascontiguousarray(image)).convert("RGB")
    scale = cell / max(picture.size)
    size = tuple(max(1, round(side * scale)) for side in picture.size)
    # Enlarged pixels stay sharp, so that a sheet does not flatter a small image.
    method = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
    return picture.resize(size, method)


def _width(text: str, font) -> int:
    return round(font.getlength(text))


def _wrap(text: str, font, width: int) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        joined = f"{lines[-1]} {word}" if lines else word
        if lines and _width(joined, font) <= width:
            lines[-1] = joined
        else:
            lines.append(word)
    return lines
