"""Imports SCIN: people's own photos, with the diagnoses of up to three dermatologists.

Ward et al. 2024, "Creating an Empirical Dermatology Dataset Through Crowdsourcing With
Web Search Advertisements"; columns after dataset_schema.md of the data set.
"""

import ast
import os
import pathlib
import statistics
from collections.abc import Callable, Iterator

from dermgan_tf.errors import InputError, Reject
from dermgan_tf.photos.annotations import PhotoAnnotation
from dermgan_tf.photos.importers.boxes import is_number
from dermgan_tf.photos.importers.entries import ABSENT, NO_LABEL, Entry, import_rows
from dermgan_tf.photos.importers.photo_index import PhotoIndex
from dermgan_tf.photos.importers.tables import find_table, parse_skin_type, read_table
from dermgan_tf.progress import silent

_IMAGES = tuple(f"image_{i}_path" for i in (1, 2, 3))
_TYPES = tuple(f"dermatologist_fitzpatrick_skin_type_label_{i}" for i in (1, 2, 3))
_LABEL = "weighted_skin_condition_label"


def import_scin(
    folder: str | os.PathLike,
    *,
    images_dir: str | os.PathLike | None = None,
    progress: Callable = silent,
    crash_safe: bool = False,
) -> tuple[list[PhotoAnnotation], list[Reject], dict[str, int]]:
    """Reads the data set, whole or in part. It has no boxes.

    The condition is the one with the greatest weight, the first of equals; cases
    without any are left out. The skin type is the median of what the dermatologists
    said, of two in the middle the lower: where two of three agree it is theirs, and it
    is always one that somebody said. What people said of themselves is not used.

    Args:
        folder: with `scin_cases.csv` and `scin_labels.csv`, in it or one level below,
            and the photos anywhere in it.
        images_dir: another folder of photos.
        progress: see `dermgan_tf.progress`.
        crash_safe: see `dermgan_tf.photos.importers.over_photos`.

    Returns:
        (annotations, rejects, counts), images relative to the folder of photos.

    Raises:
        InputError: if a CSV or the photos cannot be read, columns are missing, or a
            case has two rows of labels.
    """
    table = find_table(folder, ["scin_cases.csv"])
    cases = read_table(table, ["case_id", *_IMAGES])
    labels = _labels_of_cases(find_table(folder, ["scin_labels.csv"]))
    index = PhotoIndex(images_dir or folder)

    def read_row(where: str, row: dict[str, str]) -> Iterator[Entry | str]:
        found = []
        for column in _IMAGES:
            if not row[column]:
                continue
            name = row[column]
            image = index.find(name) or index.with_name(name.rpartition("/")[2])
            if image is None:
                yield ABSENT
            else:
                found.append(image)
        if not found:
            return
        line, told = labels.get(row["case_id"], ("", {}))
        try:
            condition = top_condition(told.get(_LABEL, ""))
            skin_type = _median_type([told.get(column, "") for column in _TYPES])
        except InputError as error:
            raise InputError(f"{error} ({line})") from None
        for image in found:
            if condition:
                yield Entry(where, image, row["case_id"], condition, skin_type)
            else:
                yield NO_LABEL

    return import_rows(
        table, cases, read_row, index, progress=progress, crash_safe=crash_safe
    )


def top_condition(text: str) -> str:
    """The condition with the greatest weight of {'Eczema': 0.69, 'Psoriasis': 0.31}.

    Args:
        text: a dictionary as Python or JSON write it; "" and {} say nothing.

    Returns:
        The condition, the first of equals; "" if there is none.

    Raises:
        InputError: for anything but a dictionary of texts and numbers.
    """
    if not text:
        return ""
    try:
        weights = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        weights = None
    if not isinstance(weights, dict) or not all(
        isinstance(name, str) and is_number(weight) for name, weight in weights.items()
    ):
        raise InputError(f"{_LABEL} {text[:60]!r} is not condition: weight pairs")
    return max(weights, key=weights.__getitem__, default="").strip()


def _labels_of_cases(table: pathlib.Path) -> dict[str, tuple[str, dict[str, str]]]:
    """case_id -> (place, row)."""
    labels: dict[str, tuple[str, dict[str, str]]] = {}
    for line, row in read_table(table, ["case_id", _LABEL, *_TYPES]):
        where = f"{table.name}:{line}"
        earlier, _ = labels.setdefault(row["case_id"], (where, row))
        if earlier != where:
            raise InputError(
                f"{table}: case {row['case_id']!r} has two rows, {earlier} and {where}"
            )
    return labels


def _median_type(texts: list[str]) -> int:
    types = [parse_skin_type(text, "skin type of a dermatologist") for text in texts]
    known = [value for value in types if value]
    return statistics.median_low(known) if known else 0
