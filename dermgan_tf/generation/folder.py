"""The folder that `generate` or `translate` wrote, read back: list, record, images.

What is trained on as synthetic must say so itself, in the list and in its own PNG text.
"""

import json
import os
import pathlib
import posixpath
from collections.abc import Mapping
from typing import Any

import numpy as np

from dermgan_tf.errors import InputError, cause
from dermgan_tf.photos.photo_io import read_photo, read_png_text
from dermgan_tf.photos.semantic_map import MAX_SKIN_TYPE
from dermgan_tf.photos.vocabulary import HEALTHY


def read_generated(folder: str | os.PathLike) -> list[dict[str, Any]]:
    """Reads what generated.jsonl says of the images, one by one.

    Returns:
        dicts of image (path in the folder), condition, fitzpatrick (0…6) and generator
        (fingerprint of its weights); at least one.

    Raises:
        InputError: for a list that is missing, damaged or empty; an image elsewhere,
            one that is not synthetic, or one without a box, which shows no condition.
    """
    folder = pathlib.Path(folder)
    path = folder / "generated.jsonl"
    try:
        texts = path.read_text("utf-8").split("\n")
    except (FileNotFoundError, NotADirectoryError):
        if (folder / "translated.jsonl").exists():
            raise InputError(
                f"{folder} has translated images, but no generated.jsonl: they are not "
                "to be trained on; take those of translate --split=train, of the "
                "patches that the translator was trained on"
            ) from None
        raise InputError(
            f"{folder} has no generated.jsonl: give the --output_dir of generate"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {error}") from None
    lines = []
    for number, text in enumerate(texts, start=1):
        if not text.strip():
            continue
        try:
            lines.append(_generated_line(json.loads(text)))
        except (ValueError, KeyError, TypeError) as error:
            known = isinstance(error, InputError)
            reason = str(error) if known else f"is damaged: {error!r}"
            raise InputError(f"{path}:{number}: {reason}") from None
    if not lines:
        raise InputError(f"{path} lists no image")
    return lines


def generators_data(folder: str | os.PathLike, generator: str) -> str | None:
    """What run.json tells of the data that the generator was trained on.

    Args:
        folder: the `--output_dir` of `generate`.
        generator: fingerprint of the weights that the images are from.

    Returns:
        The fingerprint of the pairs; None where run.json does not tell it.

    Raises:
        InputError: for a run.json that is damaged, or tells of another generator.
    """
    path = pathlib.Path(folder) / "run.json"
    try:
        record = json.loads(path.read_text("utf-8"))
        named = record["flags"].get("generator", generator)
        fingerprint = record["data_fingerprint"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is damaged: {error!r}") from None
    if named != generator:
        raise InputError(
            f"{path} tells of the generator {str(named)[:8]}, the images of "
            f"{generator[:8]}: this folder was put together from two"
        )
    return None if fingerprint is None else str(fingerprint)


def read_generated_image(path: pathlib.Path, line: Mapping[str, Any]) -> np.ndarray:
    """Reads an image, np.uint8 [H, W, 3].

    Args:
        path: the file.
        line: what `read_generated` says of it.

    Raises:
        InputError: for an image that does not say itself that it is synthetic, or says
            another generator or condition; the text is the cause without the path.
    """
    try:
        text = read_png_text(path)
        if text.get("synthetic", "").strip().lower() != "true":
            raise InputError(
                "does not say synthetic=true in its PNG text: no image of generate"
            )
        for key in ("generator", "condition"):
            if text.get(key) != line[key]:
                raise InputError(
                    f"says {key} {text.get(key)!r}, but generated.jsonl says "
                    f"{line[key]!r}"
                )
        return read_photo(path)
    except InputError as error:
        raise InputError(cause(error, path)) from None


def _generated_line(record: dict[str, Any]) -> dict[str, Any]:
    image = posixpath.normpath(str(record["image"]))
    if not image.startswith("images/"):
        raise InputError(f"{record['image']!r} is not in the folder images")
    if record["source"] != "synthetic":
        raise InputError(f"{image} has the source {record['source']!r}, not synthetic")
    if not record["boxes"] and record["condition"] != HEALTHY:
        raise InputError(
            f"{image} was painted without a box: it shows skin without "
            f"{record['condition']!r}, and would teach the wrong thing"
        )
    fitzpatrick = record["fitzpatrick"]
    if fitzpatrick not in range(MAX_SKIN_TYPE + 1):
        raise InputError(f"{image} has the unknown skin type {fitzpatrick!r}")
    return {
        "image": image,
        "condition": str(record["condition"]),
        "fitzpatrick": fitzpatrick,
        "generator": str(record["generator"]),
    }
