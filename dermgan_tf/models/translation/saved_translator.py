"""A translator that `export_translator` wrote, loaded with plain TensorFlow."""

import os
from typing import Any

import numpy as np
import tensorflow as tf

from dermgan_tf.errors import InputError
from dermgan_tf.generation.painting import load_saved_model
from dermgan_tf.models.translation.model import DIRECTIONS
from dermgan_tf.photos.vocabulary import HEALTHY
from dermgan_tf.version import __version__

SIGNATURES = ("serving_default", "any_size", "metadata")
BATCH_SIZE = 16  # photos per call: large enough to hide the call's own cost


class SavedTranslator:
    """A network that adds or removes pathology where a mask says so.

    Args:
        loaded: the loaded SavedModel.
        metadata: dict. What its `metadata` signature tells.

    Attributes:
        metadata: dict.
        image_size: int. Side S of the patches it was trained on, in pixels.
        fingerprint: str. sha256 of its weights.
        direction: "add" or "remove".
        condition: str. What is seen inside the mask of what it paints: of a remover
            "healthy skin"; of a network that adds, what it was trained on, or None
            where that were several conditions, for which it has no input.
        trained_on: str. Fingerprint of the patches that it was trained on, or None.

    Raises:
        InputError: for metadata that do not tell the direction.
    """

    def __init__(self, loaded: Any, metadata: dict[str, Any]):
        self._loaded = loaded  # keeps the variables alive
        self.metadata = metadata
        self.image_size = int(metadata["image_size"])
        self.fingerprint = str(metadata["translator"])
        provenance = metadata["provenance"]
        self.direction = provenance.get("direction")
        if self.direction not in DIRECTIONS:
            raise InputError(
                f"its direction is {self.direction!r}, not add or remove: export it "
                "with export_translator"
            )
        known = provenance.get("pathology") or []
        added = str(known[0]) if len(known) == 1 else None
        self.condition = added if self.direction == "add" else HEALTHY
        self.trained_on = provenance.get("data_fingerprint")

    def translate(self, photos: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """Changes patches; each depends on its own mask alone.

        Args:
            photos: np.uint8 [N, S, S, 3], RGB.
            masks: bool [N, S, S].

        Returns:
            np.uint8 [N, S, S, 3].
        """
        run = self._loaded.signatures["serving_default"]
        changed = [np.zeros((0, *photos.shape[1:]), np.uint8)]
        for start in range(0, len(photos), BATCH_SIZE):
            rows = slice(start, start + BATCH_SIZE)
            given = run(photo=tf.constant(photos[rows]), mask=_bytes(masks[rows]))
            changed.append(given["photo"].numpy())
        return np.concatenate(changed)

    def translate_photo(self, photo: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Changes a photo of any size from S on, in tiles.

        Args:
            photo: np.uint8 [H, W, 3], RGB.
            mask: bool [H, W].

        Returns:
            np.uint8 [H, W, 3].
        """
        if not mask.any():  # as the SavedModel would, at no cost
            return photo
        run = self._loaded.signatures["any_size"]
        return run(photo=tf.constant(photo), mask=_bytes(mask))["photo"].numpy()

    def provenance(self, **texts: Any) -> dict[str, str]:
        """The PNG texts of an image, with those given.

        "generator" is what classifiers look for in the images they are trained on.
        """
        return {
            "synthetic": "true",
            "software": f"dermgan_tf {__version__}",
            "generator": self.fingerprint,
            "translator": self.fingerprint,
            "direction": self.direction,
            **{name: str(text) for name, text in texts.items()},
        }


def load_translator(path: str | os.PathLike) -> SavedTranslator:
    """Loads a translator that `export_translator` wrote.

    Raises:
        InputError: if `path` holds no SavedModel, a damaged or a foreign one.
    """
    return load_saved_model(path, SavedTranslator, SIGNATURES, "export_translator")


def _bytes(masks: np.ndarray) -> tf.Tensor:
    return tf.constant(masks[..., np.newaxis].astype(np.uint8) * 255)
