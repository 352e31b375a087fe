"""A trained classifier on disk: `.keras` for Keras, a SavedModel for everybody else.

The SavedModel loads with plain TensorFlow. Its signatures:

    serving_default   image_bytes string [N], JPEG or PNG files, of any size
                      -> labels string [N], probabilities float32 [N, K], calibrated
    metadata          -> conditions string [K], metadata string: JSON

Photos are decoded, turned as their EXIF orientation says and resized in the graph as
`dermgan_tf.classifier.labelled_reading` does before training. JPEG decoders and the
last bits of averages differ, so pixels differ by a few levels, and probabilities a
little. Embedded colour profiles and transparency are left aside: convert such photos to
sRGB first.
"""

import json
import os
import pathlib
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from dermgan_tf.classifier.graph_photo import decode_photo, squash_photo
from dermgan_tf.classifier.networks import features_model
from dermgan_tf.classifier.predictions import CLASSIFIER_FILE
from dermgan_tf.errors import InputError
from dermgan_tf.layers.fingerprint import weights_fingerprint
from dermgan_tf.models.saved_model import load_saved_model
from dermgan_tf.output_folder import output_folder, tensorflow_errors_as_os_errors
from dermgan_tf.photos.photo_io import encode_png
from dermgan_tf.version import __version__

KERAS_FILE = "classifier.keras"
SAVED_MODEL = "saved_model"


def save_keras(classifier: keras.Model, folder: str | os.PathLike) -> None:
    """Writes classifier.keras, whole or not at all.

    It maps float [N, S, S, 3], RGB 0…255, to the softmax of the logits, float32 [N, K],
    which is not calibrated.

    Args:
        classifier: as `build_classifier` makes it.
        folder: an existing folder; a file of this name is replaced.

    Raises:
        OSError: if the folder cannot be written to.
    """
    folder = pathlib.Path(folder)
    with tempfile.TemporaryDirectory(prefix=".keras-", dir=folder) as aside:
        path = pathlib.Path(aside) / KERAS_FILE
        classifier.save(path)
        os.replace(path, folder / KERAS_FILE)


def save_served(
    classifier: keras.Model,
    temperature: float,
    folder: str | os.PathLike,
    description: Mapping[str, Any],
) -> None:
    """Writes saved_model/, whole or not at all.

    Args:
        classifier: as `build_classifier` makes it.
        temperature: float. Divides the logits.
        folder: an existing folder; a saved_model in it is replaced.
        description: JSON values, with "conditions"; kept in the metadata.

    Raises:
        OSError: if the folder cannot be written to.
    """
    metadata = {
        "software": f"dermgan_tf {__version__}",
        "classifier": weights_fingerprint(classifier),
        # Digests of cases are for comparisons, not for those who serve.
        **{name: v for name, v in description.items() if name != "trained_cases"},
        "temperature": temperature,
    }
    served = _ServedClassifier(classifier, temperature, metadata)
    signatures = {"serving_default": served.classify, "metadata": served.tell_metadata}
    with output_folder(pathlib.Path(folder) / SAVED_MODEL, overwrite=True) as aside:
        with tensorflow_errors_as_os_errors(aside):
            tf.saved_model.save(served, os.fspath(aside), signatures=signatures)


class _ServedClassifier(tf.Module):
    """What is saved: the weights and one traced function a signature."""

    def __init__(self, classifier, temperature, metadata):
        super().__init__()
        # The bare variables: nothing of Keras is then needed to load them again.
        self.weights = [variable.value for variable in classifier.variables]
        size = classifier.input_shape[1]
        features = features_model(classifier)
        kernel, bias = (weight.value for weight in classifier.layers[-1].weights)
        names = [name.encode() for name in metadata["conditions"]]
        metadata_text = json.dumps(metadata, ensure_ascii=False)

        def read(encoded):
            return squash_photo(decode_photo(encoded), size)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def classify(image_bytes):
            images = tf.map_fn(
                read,
                image_bytes,
                fn_output_signature=tf.TensorSpec([size, size, 3], tf.uint8),
            )
            # oneDNN's convolutions fail on no images at all.
            count = tf.shape(images)[0]
            images = tf.pad(images, [[0, tf.cast(count == 0, tf.int32)], *[[0, 0]] * 3])
            images.set_shape([None, size, size, 3])
            found = features(tf.cast(images, tf.float32), training=False)
            logits = tf.matmul(tf.cast(found, tf.float32), kernel) + bias
            logits = logits[:count]
            return {
                "labels": tf.gather(tf.constant(names), tf.argmax(logits, axis=1)),
                "probabilities": tf.nn.softmax(logits / temperature),
            }

        @tf.function(input_signature=[])
        def tell_metadata():
            return {
                "conditions": tf.constant(names),
                "metadata": tf.constant(metadata_text),
            }

        self.classify = classify
        self.tell_metadata = tell_metadata


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
