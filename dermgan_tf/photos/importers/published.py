"""Imports PAD-UFES-20: smartphone photos of six kinds of skin lesion.

Pacheco et al. 2020, "PAD-UFES-20: A skin lesion dataset composed of patient data and
clinical images collected from smartphones", doi 10.17632/zr7vgbcyr2.1.
"""

import os
import pathlib
from collections import Counter
from collections.abc import Callable

from dermgan_tf.errors import InputError, Reject
from dermgan_tf.photos.annotations import PhotoAnnotation
from dermgan_tf.photos.importers.entries import (
    ABSENT,
    NO_ROI,
    SPECKS,
    Entry,
    open_entries,
)
from dermgan_tf.photos.importers.mask_folder import MIN_REGION_AREA, image_files
from dermgan_tf.photos.importers.tables import parse_skin_type, read_table
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
_UNKNOWN = ("", "0", "0.0")


def import_pad_ufes_20(
    folder: str | os.PathLike,
    *,
    min_region_area: float = MIN_REGION_AREA,
    progress: Callable = silent,
    crash_safe: bool = False,
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
        crash_safe: see `dermgan_tf.photos.importers.over_photos`.

    Returns:
        (annotations, rejects, counts), images relative to `folder`.

    Raises:
        InputError: if metadata.csv or images/ cannot be read, or columns are missing.
    """
    folder = pathlib.Path(folder)
    rows = read_table(folder / "metadata.csv", _COLUMNS)
    images = _images_by_name(folder / "images")
    masks_dir = folder / "masks"
    masks = {p.stem: p for p in image_files(masks_dir)} if masks_dir.is_dir() else {}
    counts = Counter(
        {
            "rows of metadata": len(rows),
            ABSENT: 0,
            SPECKS: 0,
            "photos without mask": 0,
            NO_ROI: 0,
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
            counts[ABSENT] += 1
        else:
            present.append((line, row))
    for name in images.keys() - line_of_image.keys():
        item = images[name].relative_to(folder).as_posix()
        rejects.append(Reject(item, "has no row in metadata.csv"))

    entries = []
    for line, row in present:
        where = f"metadata.csv:{line}"
        path = images[row["img_id"]]
        item = path.relative_to(folder).as_posix()
        try:
            condition = _condition(row["diagnostic"])
            # The data set writes types as "2.0".
            skin_type = parse_skin_type(row["fitspatrick"], "fitspatrick", _UNKNOWN)
        except InputError as error:
            rejects.append(Reject(where, f"{item}: {error}"))
            continue
        mask = masks.get(path.stem + _MASK_SUFFIX)
        patient = row["patient_id"]
        entries.append(Entry(where, item, patient, condition, skin_type, mask=mask))
    annotations, bad, opened = open_entries(
        entries,
        folder,
        min_region_area=min_region_area,
        progress=progress,
        crash_safe=crash_safe,
    )
    counts.update(opened)
    for annotation in annotations:
        stem = pathlib.PurePosixPath(annotation.image).stem
        counts["photos without mask"] += stem + _MASK_SUFFIX not in masks
    rejects += bad
    return annotations, sorted(rejects, key=lambda reject: reject.item), dict(counts)


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
