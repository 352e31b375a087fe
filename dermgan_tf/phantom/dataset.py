"""Writes phantom photos as a folder of JPEG files with annotations.jsonl."""

import io
import os
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from dermgan_tf.output_folder import atomic_write
from dermgan_tf.phantom.cases import (
    SKIN_TYPE_SHARES,
    case_plan,
    phantom_vocabulary,
)
from dermgan_tf.phantom.drawing import draw_photo
from dermgan_tf.photos.annotations import PhotoAnnotation, write_annotations
from dermgan_tf.progress import silent

_EXIF_ORIENTATION = 0x0112


def write_phantom(
    output_dir: str | os.PathLike,
    num_cases: int | Mapping[str, int],
    num_conditions: int = 8,
    seed: int = 0,
    photo_size: tuple[int, int] = (480, 640),
    progress=silent,
    skin_type_shares: Mapping[str, Sequence[float]] | None = None,
    prefix: str = "phantom",
) -> pathlib.Path:
    """Writes a phantom data set as a clinic would deliver it.

    About a fifth of the files hold turned or mirrored pixels and the EXIF orientation
    that rights them; annotations always speak of the upright photo.

    Args:
        output_dir: the folder to write into; made if it does not exist.
        num_cases: int, at least 1; or how many cases each split gets, by its name, each
            with the whole balance of conditions and skin types.
        num_conditions: int, 1…27.
        seed: int, at least 0.
        photo_size: (height, width) of the upright photos, in pixels.
        progress: wraps the loop over photos, as `dermgan_tf.progress.silent`.
        skin_type_shares: of the types I…VI, by split, where they differ from the usual
            ones; "" for cases that are given no split.
        prefix: str. What the case ids begin with.

    Returns:
        The path of annotations.jsonl, beside the folder photos/.
    """
    vocabulary = phantom_vocabulary(num_conditions)
    parts = num_cases if isinstance(num_cases, Mapping) else {"": num_cases}
    shares = dict.fromkeys(parts, SKIN_TYPE_SHARES) | dict(skin_type_shares or {})
    cases = []
    for split, count in parts.items():
        part = case_plan(
            count, vocabulary, seed, shares[split], prefix, first_index=len(cases)
        )
        cases += [(case, split or None) for case in part]
    output_dir = pathlib.Path(output_dir)
    (output_dir / "photos").mkdir(parents=True, exist_ok=True)
    photos = [(*case, i) for case in cases for i in range(case[0].num_photos)]
    annotations = []
    for case, split, index in progress(photos, total=len(photos), desc="drawing"):
        drawn = draw_photo(case, index, vocabulary, photo_size)
        name = f"photos/{len(annotations) + 1:04d}.jpg"
        data = encode_camera_jpeg(drawn.photo, drawn.exif_orientation)
        atomic_write(output_dir / name, data)
        annotations.append(
            PhotoAnnotation(
                image=name,
                case_id=case.case_id,
                condition=case.condition,
                fitzpatrick=case.fitzpatrick,
                rois=drawn.rois,
                split=split,
                source="phantom",
            )
        )
    path = output_dir / "annotations.jsonl"
    write_annotations(path, annotations)
    return path


def encode_camera_jpeg(photo: np.ndarray, orientation: int) -> bytes:
    """Encodes an upright photo the way a turned camera stores it.

    Args:
        photo: np.uint8 [H, W, 3], upright.
        orientation: int, 1…8, the EXIF orientation to store it under.

    Returns:
        JPEG bytes, quality 95.
    """
    image = Image.fromarray(_stored(photo, orientation))
    exif = Image.Exif()
    exif[_EXIF_ORIENTATION] = orientation
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=95, subsampling=0, exif=exif)
    return buffer.getvalue()


def _stored(photo: np.ndarray, orientation: int) -> np.ndarray:
    """The pixels that a viewer turns back upright (EXIF 2.3, tag 274)."""
    if orientation in (3, 4, 7, 8):
        photo = photo[::-1]
    if orientation in (2, 3, 6, 7):
        photo = photo[:, ::-1]
    if orientation in (5, 6, 7, 8):
        photo = photo.swapaxes(0, 1)
    return np.ascontiguousarray(photo)
