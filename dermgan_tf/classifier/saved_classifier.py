"""A classifier that `train_classifier` exported, to have it look at images."""

import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from dermgan_tf.classifier.predictions import CLASSIFIER_FILE
from dermgan_tf.classifier.served import SAVED_MODEL
from dermgan_tf.errors import InputError
from dermgan_tf.models.saved_model import load_saved_model
from dermgan_tf.photos.photo_io import encode_png

SIGNATURES = ("serving_default", "metadata")
BATCH_SIZE = 32


class SavedClassifier:
    """A classifier loaded with plain TensorFlow.

    Args:
        loaded: the loaded SavedModel.
        metadata: dict. What its `metadata` signature tells.
        card: dict. What classifier.json beside it says; None where there is none.

    Attributes:
        conditions: tuple of str. What it tells apart.
        fingerprint: str. sha256 of its weights.
        trained_cases: set of str, digests as of `leakage.trained_case_digests`; None
            where they are not known.
        trained_on_images_of: str. Fingerprint of the generator whose synthetic images
            it was trained on; None for photographs alone, or where that is not known.
    """

    def __init__(
        self,
        loaded: Any,
        metadata: dict[str, Any],
        card: dict[str, Any] | None = None,
    ):
        self._loaded = loaded  # keeps the variables alive
        self.conditions = tuple(metadata["conditions"])
        self.fingerprint = str(metadata["classifier"])
        cases = None if card is None else card.get("trained_cases")
        self.trained_cases = None if cases is None else set(cases)
        synthetic = metadata.get("synthetic") or {}
        self.trained_on_images_of = synthetic.get("generator")

    def labels(self, images: Sequence[np.ndarray]) -> list[str]:
        """The most probable condition of each image, np.uint8 [H, W, 3]."""
        run = self._loaded.signatures["serving_default"]
        found: list[str] = []
        for start in range(0, len(images), BATCH_SIZE):
            data = [encode_png(image) for image in images[start : start + BATCH_SIZE]]
            labels = run(image_bytes=tf.constant(data))["labels"].numpy()
            found += [label.decode() for label in labels]
        return found


def load_classifier(path: str | os.PathLike) -> SavedClassifier:
    """Loads a classifier.

    Args:
        path: the --output_dir of `train_classifier`, or the saved_model in it.

    Raises:
        InputError: if `path` holds no SavedModel, a damaged or a foreign one, or a
            damaged classifier.json.
    """
    folder = pathlib.Path(path)
    if (folder / SAVED_MODEL).is_dir():
        folder = folder / SAVED_MODEL
    card = _card(folder.absolute().parent / CLASSIFIER_FILE)
    return load_saved_model(
        folder,
        lambda loaded, metadata: SavedClassifier(loaded, metadata, card),
        SIGNATURES,
        "train_classifier",
    )


def _card(path: pathlib.Path) -> dict[str, Any] | None:
    try:
        card = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is damaged: {error}") from None
    if not isinstance(card, dict):
        raise InputError(f"{path} is damaged: it holds no object")
    return card
