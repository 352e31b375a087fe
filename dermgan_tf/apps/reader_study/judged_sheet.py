"""The images judged real most and least often, as one sheet."""

import numpy as np
from PIL import Image

from dermgan_tf.apps.reader_study.answers import Answers
from dermgan_tf.photos.contact_sheet import contact_sheet
from dermgan_tf.photos.photo_io import encode_png, read_photo

SHOWN = 6  # images a row of the sheet
_FRAME = 5  # pixels, of 128


def judged_sheet(answers: Answers) -> bytes:
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
