"""Imports DDI (Diverse Dermatology Images): biopsied lesions on all skin tones.

Daneshjou et al. 2022, "Disparities in dermatology AI performance on a diverse, curated
clinical image set", Science Advances 8(31), eabq6147.
"""

import os
from collections.abc import Callable, Iterator

from dermgan_tf.errors import InputError, Reject
from dermgan_tf.photos.annotations import PhotoAnnotation
from dermgan_tf.photos.importers.cases import case_finder
from dermgan_tf.photos.importers.entries import ABSENT, NO_LABEL, Entry, import_rows
from dermgan_tf.photos.importers.photo_index import PhotoIndex
from dermgan_tf.photos.importers.tables import find_table, read_table
from dermgan_tf.progress import silent

LABEL_COLUMNS = ("disease", "malignant")
SKIN_TONES = ("unknown", "lower", "upper")
_PAIRS = {"12": (1, 2), "34": (3, 4), "56": (5, 6)}
_MALIGNANT = {"true": "malignant", "1": "malignant", "false": "benign", "0": "benign"}


def import_ddi(
    folder: str | os.PathLike,
    *,
    images_dir: str | os.PathLike | None = None,
    annotations_file: str | None = None,
    label_column: str = "disease",
    skin_tone: str = "unknown",
    case_pattern: str = "",
    progress: Callable = silent,
    crash_safe: bool = False,
) -> tuple[list[PhotoAnnotation], list[Reject], dict[str, int]]:
    """Reads the data set, whole or in part. It has no boxes, and names no patients.

    Its skin tone is a pair of types (12, 34, 56). Which of the two it is nobody said,
    so that it stays unknown unless a rule is asked for.

    Args:
        folder: with `ddi_metadata.csv` and the photos, in it or in subfolders.
        images_dir: another folder of photos.
        annotations_file: another CSV.
        label_column: "disease", or "malignant" for the conditions malignant and benign.
        skin_tone: "unknown" is 0 for all; "lower" makes 12, 34, 56 to 1, 3, 5; "upper"
            to 2, 4, 6.
        case_pattern: see `case_finder`; by default every photo is a case.
        progress: see `dermgan_tf.progress`.
        crash_safe: see `dermgan_tf.photos.importers.over_photos`.

    Returns:
        (annotations, rejects, counts), images relative to the folder of photos.

    Raises:
        InputError: if the CSV or the photos cannot be read, or columns are missing.
    """
    table = find_table(folder, ["ddi_metadata.csv"], annotations_file)
    rows = read_table(table, ["DDI_file", "skin_tone", label_column])
    index = PhotoIndex(images_dir or folder)
    find_case = case_finder(case_pattern)

    def read_row(where: str, row: dict[str, str]) -> Iterator[Entry | str]:
        image = index.find(row["DDI_file"], ("", "images")) or index.with_name(
            row["DDI_file"]
        )
        label = row[label_column]
        if image is None:
            yield ABSENT
        elif not label:
            yield NO_LABEL
        else:
            if label_column == "malignant":
                label = _malignant(label)
            skin_type = _skin_type(row["skin_tone"], skin_tone)
            yield Entry(where, image, find_case(image), label, skin_type)

    return import_rows(
        table, rows, read_row, index, progress=progress, crash_safe=crash_safe
    )


def _malignant(text: str) -> str:
    try:
        return _MALIGNANT[text.lower()]
    except KeyError:
        raise InputError(f"unknown malignant {text!r}; valid: True, False") from None


def _skin_type(text: str, rule: str) -> int:
    pair = _PAIRS.get(text.removesuffix(".0"))
    if pair is None:
        raise InputError(f"unknown skin_tone {text!r}; valid: {', '.join(_PAIRS)}")
    return {"unknown": 0, "lower": pair[0], "upper": pair[1]}[rule]
