"""Imports Fitzpatrick17k: atlas photos with skin types, and labels of three depths.

Groh et al. 2021, "Evaluating Deep Neural Networks Trained on Clinical Images in
Dermatology with the Fitzpatrick 17k Dataset", arXiv 2104.09957.
"""

import os
from collections.abc import Callable, Iterator

from dermgan_tf.errors import Reject
from dermgan_tf.photos.annotations import PhotoAnnotation
from dermgan_tf.photos.importers.cases import case_finder
from dermgan_tf.photos.importers.entries import ABSENT, NO_LABEL, Entry, import_rows
from dermgan_tf.photos.importers.photo_index import PhotoIndex
from dermgan_tf.photos.importers.tables import find_table, parse_skin_type, read_table
from dermgan_tf.progress import silent

LABEL_COLUMNS = ("label", "nine_partition_label", "three_partition_label")
WRONGLY_LABELLED = "left out: wrongly labelled"
# What a dermatologist wrote into the column `qc` of 17 of the 504 photos looked at.
_WRONG = "3 Wrongly labelled"


def import_fitzpatrick17k(
    folder: str | os.PathLike,
    *,
    images_dir: str | os.PathLike | None = None,
    annotations_file: str | None = None,
    label_column: str = "label",
    case_pattern: str = "",
    progress: Callable = silent,
    crash_safe: bool = False,
) -> tuple[list[PhotoAnnotation], list[Reject], dict[str, int]]:
    """Reads the data set, whole or in part. It has no boxes, and names no patients.

    Args:
        folder: with `fitzpatrick17k.csv` and the photos, named by their md5hash with
            any image extension, in it or in subfolders.
        images_dir: another folder of photos.
        annotations_file: another CSV.
        label_column: one of LABEL_COLUMNS, of 114, 9 and 3 labels.
        case_pattern: see `case_finder`; by default every photo is a case.
        progress: see `dermgan_tf.progress`.
        crash_safe: see `dermgan_tf.photos.importers.over_photos`.

    Returns:
        (annotations, rejects, counts), images relative to the folder of photos.

    Raises:
        InputError: if the CSV or the photos cannot be read, or columns are missing.
    """
    table = find_table(folder, ["fitzpatrick17k.csv"], annotations_file)
    rows = read_table(table, ["md5hash", "fitzpatrick_scale", label_column])
    index = PhotoIndex(images_dir or folder)
    find_case = case_finder(case_pattern)

    def read_row(where: str, row: dict[str, str]) -> Iterator[Entry | str]:
        image = index.with_stem(row["md5hash"])
        if image is None:
            yield ABSENT
        elif row.get("qc") == _WRONG:
            yield WRONGLY_LABELLED
        elif not row[label_column]:
            yield NO_LABEL
        else:
            skin_type = parse_skin_type(row["fitzpatrick_scale"], "fitzpatrick_scale")
            yield Entry(where, image, find_case(image), row[label_column], skin_type)

    return import_rows(
        table, rows, read_row, index, progress=progress, crash_safe=crash_safe
    )
