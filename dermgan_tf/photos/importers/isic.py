"""Imports photos of the ISIC archive with its metadata CSV, and HAM10000.

Both name photos ISIC_… and masks ISIC_…_segmentation.png (in challenges of 2016 and
2017 _Segmentation). HAM10000: Tschandl et al. 2018, "The HAM10000 dataset, a large
collection of multi-source dermatoscopic images", doi 10.7910/DVN/DBW86T; its lesion
masks: Tschandl et al. 2020, doi 10.1038/s41591-020-0942-0.
"""

import os
import pathlib
from collections.abc import Callable, Iterator, Sequence

from dermgan_tf.errors import InputError, Reject
from dermgan_tf.photos.annotations import PhotoAnnotation
from dermgan_tf.photos.importers.entries import ABSENT, NO_LABEL, Entry, import_rows
from dermgan_tf.photos.importers.mask_folder import MIN_REGION_AREA
from dermgan_tf.photos.importers.photo_index import PhotoIndex
from dermgan_tf.photos.importers.tables import find_table, parse_skin_type, read_table
from dermgan_tf.progress import silent

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
NO_MASK = "photos without mask"
# Of the archive, of its challenges 2019 and 2020, and its label columns: `diagnosis` of
# older exports; of newer ones, diagnosis_1 tells benign from malignant, diagnosis_3
# names the disease; iddx_3 is the same in SLICE-3D (2024).
_ID_COLUMNS = ("isic_id", "image_name", "image")
_LABEL_COLUMNS = ("diagnosis", "diagnosis_3", "iddx_3")
_UNKNOWN_TYPES = ("", "NA", "unknown", "0")


def import_ham10000(
    folder: str | os.PathLike,
    *,
    images_dir: str | os.PathLike | None = None,
    masks_dir: str | os.PathLike | None = None,
    annotations_file: str | None = None,
    min_region_area: float = MIN_REGION_AREA,
    progress: Callable = silent,
    crash_safe: bool = False,
) -> tuple[list[PhotoAnnotation], list[Reject], dict[str, int]]:
    """Reads HAM10000 and its lesion masks, whole or in part. It has no skin types.

    A case is a lesion: of patients the data set says nothing.

    Args:
        folder: with `HAM10000_metadata.csv` (or without extension, or `.tab`), and the
            photos and masks in any subfolders.
        images_dir: another folder of photos.
        masks_dir: another folder of masks.
        annotations_file: another CSV.
        min_region_area: float, 0…1. See `import_mask_folder`.
        progress: see `dermgan_tf.progress`.
        crash_safe: see `dermgan_tf.photos.importers.over_photos`.

    Returns:
        (annotations, rejects, counts), images relative to the folder of photos.

    Raises:
        InputError: if the CSV or the photos cannot be read, or columns are missing.
    """
    names = [f"HAM10000_metadata{suffix}" for suffix in (".csv", "", ".tab")]
    table = find_table(folder, names, annotations_file)
    rows = read_table(table, ["lesion_id", "image_id", "dx"])
    index = PhotoIndex(images_dir or folder)
    masks = PhotoIndex(masks_dir) if masks_dir else index

    def read_row(where: str, row: dict[str, str]) -> Iterator[Entry | str]:
        image = index.with_stem(row["image_id"])
        if image is None:
            yield ABSENT
            return
        condition = HAM10000_CONDITIONS.get(row["dx"].lower())
        if condition is None:
            known = ", ".join(HAM10000_CONDITIONS)
            raise InputError(f"{image}: unknown dx {row['dx']!r}; known: {known}")
        mask = _mask_of(masks, row["image_id"])
        if mask is None:
            yield NO_MASK
        yield Entry(where, image, row["lesion_id"], condition, mask=mask)

    return import_rows(
        table,
        rows,
        read_row,
        index,
        mask_suffix=MASK_SUFFIX,
        min_region_area=min_region_area,
        progress=progress,
        crash_safe=crash_safe,
    )


def import_isic(
    folder: str | os.PathLike,
    *,
    images_dir: str | os.PathLike | None = None,
    masks_dir: str | os.PathLike | None = None,
    annotations_file: str | None = None,
    label_column: str = "",
    min_region_area: float = MIN_REGION_AREA,
    progress: Callable = silent,
    crash_safe: bool = False,
) -> tuple[list[PhotoAnnotation], list[Reject], dict[str, int]]:
    """Reads photos with a metadata CSV of the ISIC archive.

    A case is a patient; where that is empty, a lesion; where that is too, the photo.
    Rows without a diagnosis are left out.

    Args:
        folder: with one CSV, and the photos and masks in any subfolders.
        images_dir: another folder of photos.
        masks_dir: another folder of masks.
        annotations_file: the CSV, where the folder has several.
        label_column: str. The column of conditions; "" = the first there is of
            diagnosis, diagnosis_3, iddx_3.
        min_region_area: float, 0…1. See `import_mask_folder`.
        progress: see `dermgan_tf.progress`.
        crash_safe: see `dermgan_tf.photos.importers.over_photos`.

    Returns:
        (annotations, rejects, counts), images relative to the folder of photos.

    Raises:
        InputError: if the CSV or the photos cannot be read, or columns are missing.
    """
    table = (
        _only_csv(folder) if not annotations_file else pathlib.Path(annotations_file)
    )
    rows = read_table(table, [label_column] if label_column else [])
    header = list(rows[0][1]) if rows else []
    id_column = _first_there(_ID_COLUMNS, header, table)
    label_column = label_column or _first_there(_LABEL_COLUMNS, header, table)
    index = PhotoIndex(images_dir or folder)
    masks = PhotoIndex(masks_dir) if masks_dir else index

    def read_row(where: str, row: dict[str, str]) -> Iterator[Entry | str]:
        name = row[id_column]
        image = index.with_stem(name)
        if image is None:
            yield ABSENT
            return
        if not row[label_column]:
            yield NO_LABEL
            return
        skin_type = parse_skin_type(
            row.get("fitzpatrick_skin_type", ""),
            "fitzpatrick_skin_type",
            _UNKNOWN_TYPES,
        )
        case = row.get("patient_id") or row.get("lesion_id") or name
        mask = _mask_of(masks, name)
        if mask is None:
            yield NO_MASK
        yield Entry(where, image, case, row[label_column], skin_type, mask=mask)

    return import_rows(
        table,
        rows,
        read_row,
        index,
        mask_suffix=MASK_SUFFIX,
        min_region_area=min_region_area,
        progress=progress,
        crash_safe=crash_safe,
    )


def _mask_of(masks: PhotoIndex, name: str) -> pathlib.Path | None:
    for suffix in (MASK_SUFFIX, MASK_SUFFIX.replace("s", "S", 1)):
        mask = masks.with_stem(name + suffix)
        if mask:
            return masks.folder / mask
    return None


def _only_csv(folder: str | os.PathLike) -> pathlib.Path:
    tables = sorted(pathlib.Path(folder).glob("*.csv"))
    if len(tables) == 1:
        return tables[0]
    names = ", ".join(path.name for path in tables[:5]) or "none"
    raise InputError(
        f"{folder} does not have one CSV but {names}: name it by --annotations_file"
    )


def _first_there(
    columns: Sequence[str], header: Sequence[str], table: pathlib.Path
) -> str:
    for column in columns:
        if column in header:
            return column
    raise InputError(
        f"{table} has no column {' or '.join(columns)}; it has "
        f"{', '.join(header) or 'no rows'}"
    )
