"""Imports published data sets of a table and photos: a row names a photo and its label.

PAD-UFES-20: Pacheco et al. 2020, doi 10.17632/zr7vgbcyr2.1. Fitzpatrick17k: Groh et al.
2021, arXiv 2104.09957. DDI: Daneshjou et al. 2022, Science Advances 8(31), eabq6147.
SCIN: Ward et al. 2024, "Creating an Empirical Dermatology Dataset Through Crowdsourcing
With Web Search Advertisements"; columns after its dataset_schema.md.
"""

import ast
import os
import pathlib
import statistics
from collections.abc import Sequence

from dermgan_tf.errors import InputError, Reject
from dermgan_tf.photos.annotations import PhotoAnnotation
from dermgan_tf.photos.importers.boxes import is_number
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
    parse_id,
    parse_skin_type,
    read_table,
)
from dermgan_tf.photos.vocabulary import composed

Imported = tuple[list[PhotoAnnotation], list[Reject], dict[str, int]]

PAD_CONDITIONS = {
    "ACK": "actinic keratosis",
    "BCC": "basal cell carcinoma",
    "MEL": "melanoma",
    "NEV": "melanocytic nevus",
    "SCC": "SCC/SCCIS",  # with Bowen's disease, which is SCC in situ
    "SEK": "SK/ISK",
}
_PAD_MASK_SUFFIX = "_mask"

FITZPATRICK17K_LABELS = ("label", "nine_partition_label", "three_partition_label")
WRONGLY_LABELLED = "left out: wrongly labelled"
# What a dermatologist wrote into the column `qc` of 17 of the 504 photos looked at.
_WRONG = "3 Wrongly labelled"

DDI_LABELS = ("disease", "malignant")
DDI_SKIN_TONES = ("unknown", "lower", "upper")
_PAIRS = {"12": (1, 2), "34": (3, 4), "56": (5, 6)}
_MALIGNANT = {"true": "malignant", "1": "malignant", "false": "benign", "0": "benign"}

_SCIN_IMAGES = tuple(f"image_{i}_path" for i in (1, 2, 3))
_SCIN_TYPES = tuple(f"dermatologist_fitzpatrick_skin_type_label_{i}" for i in (1, 2, 3))
_SCIN_LABEL = "weighted_skin_condition_label"


def import_pad_ufes_20(
    folder: str | os.PathLike,
    *,
    images_dir: str | os.PathLike | None = None,
    **options,
) -> Imported:
    """Reads PAD-UFES-20, whole or in part.

    A case is a patient, so that no patient's lesions stand in two splits. Missing skin
    types stay unknown. Photos of the metadata that are not there are counted.

    Args:
        folder: with `metadata.csv`, in it or one level below, the photos in any
            subfolders, and optionally masks `<photo's name>_mask.png`, from which the
            ROIs come. Photos without mask have none.
        images_dir: another folder of photos.
        **options: see `Options`.

    Returns:
        (annotations, rejects, counts), images relative to the folder of photos.

    Raises:
        InputError: if the table or the photos cannot be read, or columns are missing.
    """
    folder = pathlib.Path(folder)
    columns = ["patient_id", "diagnostic", "fitspatrick", "img_id"]
    table = read_table(
        find_table(folder, ["metadata.csv"], hint="it comes with the photos"), columns
    )
    index = PhotoIndex(images_dir or folder)
    masks = PhotoIndex(folder) if images_dir else index
    mask_of = mask_finder(table, "img_id", masks, _PAD_MASK_SUFFIX)

    def read_row(where: str, row: dict[str, str], photo: Wanted) -> Entry | str:
        if not row["diagnostic"]:
            return NO_LABEL
        condition = PAD_CONDITIONS.get(row["diagnostic"].upper())
        if condition is None:
            raise InputError(
                f"unknown diagnostic {row['diagnostic']!r}; "
                f"known: {', '.join(PAD_CONDITIONS)}"
            )
        skin_type = parse_skin_type(row["fitspatrick"], "fitspatrick")
        links = links_of_ids(row, patient="patient_id", lesion="lesion_id")[:1]
        mask = mask_of(row["img_id"])
        return Entry(where, photo, condition, skin_type, links, mask=mask)

    return import_rows(
        table,
        lambda row: _photo(row, "img_id"),
        read_row,
        index,
        Options(**options),
        masks=masks,
        mask_suffix=_PAD_MASK_SUFFIX,
    )


def import_fitzpatrick17k(
    folder: str | os.PathLike,
    *,
    images_dir: str | os.PathLike | None = None,
    annotations_file: str | None = None,
    label_column: str = "label",
    **options,
) -> Imported:
    """Reads Fitzpatrick17k, whole or in part. It has no boxes, and names no patients.

    Args:
        folder: with `fitzpatrick17k.csv` and the photos, named by their md5hash with
            any image extension, in it or in subfolders.
        images_dir: another folder of photos.
        annotations_file: another CSV.
        label_column: one of FITZPATRICK17K_LABELS, of 114, 9 and 3 labels.
        **options: see `Options`.

    Returns:
        (annotations, rejects, counts), images relative to the folder of photos.

    Raises:
        InputError: if the CSV or the photos cannot be read, or columns are missing.
    """
    path = find_table(folder, ["fitzpatrick17k.csv"], annotations_file)
    table = read_table(path, ["md5hash", "fitzpatrick_scale", label_column])

    def read_row(where: str, row: dict[str, str], photo: Wanted) -> Entry | str:
        if row.get("qc") == _WRONG:
            return WRONGLY_LABELLED
        if not row[label_column]:
            return NO_LABEL
        skin_type = parse_skin_type(row["fitzpatrick_scale"], "fitzpatrick_scale")
        return Entry(where, photo, row[label_column], skin_type)

    return import_rows(
        table,
        lambda row: _photo(row, "md5hash"),
        read_row,
        PhotoIndex(images_dir or folder),
        Options(**options),
    )


def import_ddi(
    folder: str | os.PathLike,
    *,
    images_dir: str | os.PathLike | None = None,
    annotations_file: str | None = None,
    label_column: str = "disease",
    skin_tone: str = "unknown",
    **options,
) -> Imported:
    """Reads DDI, whole or in part. It has no boxes, and names no patients.

    Its skin tone is a pair of types (12, 34, 56). Which of the two it is nobody said,
    so that it stays unknown unless a rule is asked for.

    Args:
        folder: with `ddi_metadata.csv` and the photos, in it or in subfolders.
        images_dir: another folder of photos.
        annotations_file: another CSV.
        label_column: "disease", or "malignant" for the conditions malignant and benign.
        skin_tone: "unknown" is 0 for all; "lower" makes 12, 34, 56 to 1, 3, 5; "upper"
            to 2, 4, 6.
        **options: see `Options`.

    Returns:
        (annotations, rejects, counts), images relative to the folder of photos.

    Raises:
        InputError: if the CSV or the photos cannot be read, or columns are missing.
    """
    path = find_table(folder, ["ddi_metadata.csv"], annotations_file)
    table = read_table(path, ["DDI_file", "skin_tone", label_column])

    def read_row(where: str, row: dict[str, str], photo: Wanted) -> Entry | str:
        label = row[label_column]
        if not label:
            return NO_LABEL
        if label_column == "malignant":
            label = _MALIGNANT.get(label.lower().removesuffix(".0"))
            if label is None:
                raise InputError(
                    f"unknown malignant {row[label_column]!r}; valid: True, False"
                )
        return Entry(where, photo, label, _ddi_skin_type(row["skin_tone"], skin_tone))

    return import_rows(
        table,
        lambda row: _photo(row, "DDI_file"),
        read_row,
        PhotoIndex(images_dir or folder),
        Options(**options),
    )


def import_scin(
    folder: str | os.PathLike,
    *,
    images_dir: str | os.PathLike | None = None,
    **options,
) -> Imported:
    """Reads SCIN, whole or in part. It has no boxes.

    The condition is the one with the greatest weight, the first of equals; cases
    without any are left out. The skin type is the median of what the dermatologists
    said, of two in the middle the lower: where two of three agree it is theirs, and it
    is always one that somebody said. What people said of themselves is not used.

    Args:
        folder: with `scin_cases.csv` and `scin_labels.csv`, in it or one level below,
            or with one that has the columns of both, and the photos anywhere in it.
        images_dir: another folder of photos.
        **options: see `Options`.

    Returns:
        (annotations, rejects, counts), images relative to the folder of photos.

    Raises:
        InputError: if a CSV or the photos cannot be read, columns are missing, or a
            case has two rows of labels.
    """
    hint = "both scin_cases.csv and scin_labels.csv are needed"
    path = find_table(folder, ["scin_cases.csv"], hint=hint)
    table = read_table(path, ["case_id", *_SCIN_IMAGES])
    if _SCIN_LABEL in table.columns:  # people who work with it merge the two
        told = table
    else:
        path = find_table(folder, ["scin_labels.csv"], hint=hint)
        told = read_table(path, ["case_id", _SCIN_LABEL, *_SCIN_TYPES])
    index = PhotoIndex(images_dir or folder)
    index.read([told.path])
    labels = _labels_of_cases(told)

    def photos_of(row: dict[str, str]) -> list[Wanted]:
        parse_id(row["case_id"], "case_id")
        names = [row[column] for column in _SCIN_IMAGES if row[column]]
        return [wanted(name, anywhere=True) for name in names]

    def read_row(where: str, row: dict[str, str], photo: Wanted) -> Entry | str:
        links = links_of_ids(row, case="case_id")
        line, told = labels.get(links[0][1] if links else "", ("", {}))
        try:
            condition = top_condition(told.get(_SCIN_LABEL, ""))
            skin_type = _median_type([told.get(column, "") for column in _SCIN_TYPES])
        except InputError as error:
            raise InputError(f"{error} ({line})") from None
        return (
            Entry(where, photo, condition, skin_type, links) if condition else NO_LABEL
        )

    return import_rows(table, photos_of, read_row, index, Options(**options))


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
        raise InputError(f"{_SCIN_LABEL} {text[:60]!r} is not condition: weight pairs")
    return composed(max(weights, key=weights.__getitem__, default="").strip())


def _photo(row: dict[str, str], column: str) -> list[Wanted]:
    """The photo that a column names, wherever it lies; none where it is empty."""
    return [wanted(row[column], anywhere=True)] if row[column] else []


def _ddi_skin_type(text: str, rule: str) -> int:
    pair = _PAIRS.get(text.removesuffix(".0"))
    if text and pair is None:
        raise InputError(f"unknown skin_tone {text!r}; valid: {', '.join(_PAIRS)}")
    return {"unknown": 0, "lower": pair[0], "upper": pair[1]}[rule] if pair else 0


def _labels_of_cases(table: Table) -> dict[str, tuple[str, dict[str, str]]]:
    """case_id -> (place, row)."""
    labels: dict[str, tuple[str, dict[str, str]]] = {}
    for line, row in table.rows:
        where = f"{table.path.name}:{line}"
        case = row["case_id"].removesuffix(".0")
        earlier, _ = labels.setdefault(case, (where, row))
        if earlier != where:
            raise InputError(
                f"{table.path}: case {case!r} has two rows, {earlier} and {where}"
            )
    return labels


def _median_type(texts: Sequence[str]) -> int:
    types = [parse_skin_type(text, "skin type of a dermatologist") for text in texts]
    known = [value for value in types if value]
    return statistics.median_low(known) if known else 0
