"""Imports PAD-UFES-20: smartphone photos of six kinds of skin lesion.

Pacheco et al. 2020, "PAD-UFES-20: A skin lesion dataset composed of patient data and
clinical images collected from smartphones", doi 10.17632/zr7vgbcyr2.1.
"""

import csv
import os
import pathlib
from collections import Counter
from collections.abc import Callable

from dermgan_tf.annotations import PhotoAnnotation
from dermgan_tf.errors import InputError, Reject
from dermgan_tf.importers import cause, in_threads
from dermgan_tf.importers.mask_folder import (
    MIN_REGION_AREA,
    image_files,
    mask_rois,
    read_mask,
    read_real_photo,
)
from dermgan_tf.progress import silent

CONDITION_OF_CODE = {
    "ACK": "actinic keratosis",
    "BCC": "basal cell carcinoma",
    "MEL": "melanoma",
    "NEV": "melanocytic nevus",
    "SCC": "SCC/SCCIS",  # with Bowen's disease, which is SCC in situ
    "SEK": "SK/ISK",
}
_COLUMNS = ("patient_id", "diagnostic", "fitspatrick", "img_id")
_MASK_SUFFIX = "_mask"


def import_pad_ufes_20(
    folder: str | os.PathLike,
    *,
    min_region_area: float = MIN_REGION_AREA,
    progress: Callable = silent,
) -> tuple[list[PhotoAnnotation], list[Reject], dict[str, int]]:
    """Reads the data set, whole or in part.

    A case is a patient, so that no patient's lesions stand in two splits. A missing
    skin type stays unknown. Photos of the metadata that are not there are counted.

    Args:
        folder: with `metadata.csv`, `images/` (photos in it or in subfolders such as
            imgs_part_1) and optionally `masks/<photo's name>_mask.png`, from which the
            ROIs come. Photos without mask have none.
        min_region_area: float, 0…1. See `import_mask_folder`.
        progress: see `dermgan_tf.progress`.

    Returns:
        (annotations, rejects, counts), images relative to `folder`.

    Raises:
        InputError: if metadata.csv or images/ cannot be read, or columns are missing.
    """
    folder = pathlib.Path(folder)
    rows = _read_metadata(folder / "metadata.csv")
    images = _images_by_name(folder / "images")
    masks_dir = folder / "masks"
    masks = {p.stem: p for p in image_files(masks_dir)} if masks_dir.is_dir() else {}
    counts = Counter(
        {
            "rows of metadata": len(rows),
            "images absent": 0,
            "specks ignored": 0,
            "photos without mask": 0,
            "photos without ROI": 0,
        }
    )
    rejects, present = [], []
    line_of_image: dict[str, int] = {}
    for line, row in rows:
        name = row["img_id"]
        first = line_of_image.setdefault(name, line)
        if first != line:
            reason = f"image {name!r} stands already on line {first}"
            rejects.append(Reject(f"metadata.csv:{line}", reason))
        elif name not in images:
            counts["images absent"] += 1
        else:
            present.append((line, row))
    for name in images.keys() - line_of_image.keys():
        item = images[name].relative_to(folder).as_posix()
        rejects.append(Reject(item, "has no row in metadata.csv"))

    def attempt(line_and_row: tuple[int, dict]) -> tuple[PhotoAnnotation, int] | Reject:
        line, row = line_and_row
        path = images[row["img_id"]]
        item = path.relative_to(folder).as_posix()
        try:
            condition = _condition(row["diagnostic"])
            fitzpatrick = _skin_type(row["fitspatrick"])
        except InputError as error:
            return Reject(f"metadata.csv:{line}", f"{item}: {error}")
        try:
            height, width = read_real_photo(path).shape[:2]
            rois, specks = (), 0
            mask_path = masks.get(path.stem + _MASK_SUFFIX)
            if mask_path:
                mask = read_mask(mask_path, height, width)
                rois, specks = mask_rois(mask, condition, min_region_area)
            patient = row["patient_id"]
            return PhotoAnnotation(item, patient, condition, fitzpatrick, rois), specks
        except InputError as error:
            return Reject(item, cause(error, path))

    annotations = []
    for result in in_threads(attempt, present, progress, "reading photos"):
        if isinstance(result, Reject):
            rejects.append(result)
            continue
        annotation, specks = result
        annotations.append(annotation)
        counts["specks ignored"] += specks
        counts["photos without ROI"] += not annotation.rois
        stem = pathlib.PurePosixPath(annotation.image).stem
        counts["photos without mask"] += stem + _MASK_SUFFIX not in masks
    return annotations, sorted(rejects, key=lambda reject: reject.item), dict(counts)


def _read_metadata(path: pathlib.Path) -> list[tuple[int, dict[str, str]]]:
    """(line number, row) of each row, its values stripped."""
    try:
        # A spreadsheet may have put a byte order mark first.
        with open(path, newline="", encoding="utf-8-sig", errors="replace") as file:
            reader = csv.DictReader(file)
            missing = [c for c in _COLUMNS if c not in (reader.fieldnames or [])]
            if missing:
                raise InputError(
                    f"{path} has no column {', '.join(missing)}; it has "
                    f"{', '.join(reader.fieldnames or ['none'])}"
                )
            return [
                (reader.line_num, {c: (row[c] or "").strip() for c in _COLUMNS})
                for row in reader
            ]
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except csv.Error as error:
        raise InputError(f"{path} is not CSV: {error}") from None


def _images_by_name(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    subfolders = sorted(path for path in folder.rglob("*") if path.is_dir())
    images = {}
    for place in [folder, *subfolders]:
        for path in image_files(place):
            images.setdefault(path.name, path)
    if not images:
        raise InputError(f"no photos in {folder}")
    return images


def _condition(code: str) -> str:
    try:
        return CONDITION_OF_CODE[code]
    except KeyError:
        raise InputError(
            f"unknown diagnostic {code!r}; known: {', '.join(CONDITION_OF_CODE)}"
        ) from None


def _skin_type(text: str) -> int:
    """ "" is unknown; the data set writes types as "2.0"."""
    if not text:
        return 0
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if value not in range(7):
        raise InputError(
            f"unknown fitspatrick {text!r}; valid: empty, 0 (unknown), 1…6"
        )
    return int(value)
