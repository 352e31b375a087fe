"""Imports photos of the ISIC archive with its metadata CSV, and HAM10000.

Both name photos ISIC_… and masks ISIC_…_segmentation.png (in challenges of 2016 and
2017 _Segmentation). HAM10000: Tschandl et al. 2018, "The HAM10000 dataset, a large
collection of multi-source dermatoscopic images", doi 10.7910/DVN/DBW86T; its lesion
masks: Tschandl et al. 2020, doi 10.1038/s41591-020-0942-0.
"""

import os
import pathlib
from collections.abc import Sequence

from dermgan_tf.errors import InputError, Reject
from dermgan_tf.photos.annotations import PhotoAnnotation
from dermgan_tf.photos.importers.entries import NO_LABEL, Entry, Options, import_rows
from dermgan_tf.photos.importers.mask_folder import mask_finder
from dermgan_tf.photos.importers.photo_index import (
    PhotoIndex,
    Wanted,
    wanted,
)
from dermgan_tf.photos.importers.tables import (
    Table,
    find_table,
    links_of_ids,
    parse_skin_type,
    read_table,
)

# Code -> condition, after the data set's description. akiec and bkl are wider than any
# one condition, so that they keep names of their own.
HAM10000_CONDITIONS = {
    "akiec": "actinic keratosis or intraepithelial carcinoma",
    "bcc": "basal cell carcinoma",
    "bkl": "benign keratosis-like lesion",
    "df": "dermatofibroma",
    "mel": "melanoma",
    "nv": "melanocytic nevus",
    "vasc": "vascular lesion",
}
MASK_SUFFIX = "_segmentation"
# Of the archive, of its challenges 2019 and 2020, and its label columns: `diagnosis` of
# older exports; of newer ones, diagnosis_1 tells benign from malignant, diagnosis_3
# names the disease; iddx_3 is the same in SLICE-3D (2024).
_ID_COLUMNS = ("isic_id", "image_name", "image")
_LABEL_COLUMNS = ("diagnosis", "diagnosis_3", "iddx_3")


def import_ham10000(
    folder: str | os.PathLike,
    *,
    images_dir: str | os.PathLike | None = None,
    masks_dir: str | os.PathLike | None = None,
    annotations_file: str | None = None,
    **options,
) -> tuple[list[PhotoAnnotation], list[Reject], dict[str, int]]:
    """Reads HAM10000 and its lesion masks, whole or in part. It has no skin types.

    A case is a lesion: of patients the data set says nothing.

    Args:
        folder: with `HAM10000_metadata.csv` (or without extension, or `.tab`), and the
            photos and masks in any subfolders.
        images_dir: another folder of photos.
        masks_dir: another folder of masks.
        annotations_file: another CSV.
        **options: see `Options`.

    Returns:
        (annotations, rejects, counts), images relative to the folder of photos.

    Raises:
        InputError: if the CSV or the photos cannot be read, or columns are missing.
    """
    names = [f"HAM10000_metadata{suffix}" for suffix in (".csv", "", ".tab")]
    path = find_table(folder, names, annotations_file)
    table = read_table(path, ["lesion_id", "image_id", "dx"])
    index = PhotoIndex(images_dir or folder)
    masks = PhotoIndex(masks_dir) if masks_dir else index
    mask_of = mask_finder(table, "image_id", masks, MASK_SUFFIX)

    def read_row(where: str, row: dict[str, str], photo: Wanted) -> Entry | str:
        if not row["dx"]:
            return NO_LABEL
        condition = HAM10000_CONDITIONS.get(row["dx"].lower())
        if condition is None:
            known = ", ".join(HAM10000_CONDITIONS)
            raise InputError(f"unknown dx {row['dx']!r}; known: {known}")
        links = links_of_ids(row, lesion="lesion_id")
        mask = mask_of(row["image_id"])
        return Entry(where, photo, condition, links=links, mask=mask)

    return import_rows(
        table,
        lambda row: [wanted(row["image_id"], anywhere=True)],
        read_row,
        index,
        Options(**options),
        masks=masks,
        mask_suffix=MASK_SUFFIX,
    )


def import_isic(
    folder: str | os.PathLike,
    *,
    images_dir: str | os.PathLike | None = None,
    masks_dir: str | os.PathLike | None = None,
    annotations_file: str | None = None,
    label_column: str = "",
    **options,
) -> tuple[list[PhotoAnnotation], list[Reject], dict[str, int]]:
    """Reads photos with a metadata CSV of the ISIC archive.

    A case is a patient, with all photos of the patient's lesions; where no patient is
    told a lesion; where that is not either, the photo. Rows without a diagnosis are
    left out.

    Args:
        folder: with one CSV (or TSV, or JSON lines), and the photos and masks in any
            subfolders.
        images_dir: another folder of photos.
        masks_dir: another folder of masks.
        annotations_file: the CSV, where the folder has several.
        label_column: str. The column of conditions; "" = the first there is of
            diagnosis, diagnosis_3, iddx_3.
        **options: see `Options`.

    Returns:
        (annotations, rejects, counts), images relative to the folder of photos.

    Raises:
        InputError: if the CSV or the photos cannot be read, or columns are missing.
    """
    path = _only_csv(folder) if not annotations_file else pathlib.Path(annotations_file)
    table = read_table(path, [label_column] if label_column else [])
    id_column = _first_there(_ID_COLUMNS, table)
    label_column = label_column or _first_there(_LABEL_COLUMNS, table)
    index = PhotoIndex(images_dir or folder)
    masks = PhotoIndex(masks_dir) if masks_dir else index
    mask_of = mask_finder(table, id_column, masks, MASK_SUFFIX)

    def read_row(where: str, row: dict[str, str], photo: Wanted) -> Entry | str:
        label = row[label_column]
        if not label:
            return NO_LABEL
        skin_type = parse_skin_type(
            row.get("fitzpatrick_skin_type", ""), "fitzpatrick_skin_type"
        )
        links = links_of_ids(row, patient="patient_id", lesion="lesion_id")
        mask = mask_of(row[id_column])
        return Entry(where, photo, label, skin_type, links, mask=mask)

    return import_rows(
        table,
        lambda row: [wanted(row[id_column], anywhere=True)],
        read_row,
        index,
        Options(**options),
        masks=masks,
        mask_suffix=MASK_SUFFIX,
    )


def _only_csv(folder: str | os.PathLike) -> pathlib.Path:
    tables: list[pathlib.Path] = []
    for ending in ("csv", "tsv", "jsonl"):
        tables = tables or sorted(pathlib.Path(folder).glob(f"*.{ending}"))
    if len(tables) == 1:
        return tables[0]
    names = ", ".join(path.name for path in tables[:5]) or "none"
    raise InputError(
        f"{folder} does not have one CSV but {names}: name it by annotations_file"
    )


def _first_there(columns: Sequence[str], table: Table) -> str:
    for column in columns:
        if column in table.columns:
            return column
    raise InputError(
        f"{table.path} has no column {' or '.join(columns)}; it has "
        f"{', '.join(table.columns) or 'no rows'}"
    )
