"""SavedModels that carry metadata: written, loaded, described with TensorFlow alone."""

import json
import os
import pathlib
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

import keras
import tensorflow as tf
from etils import epath

from dermgan_tf.errors import InputError
from dermgan_tf.output_folder import tensorflow_errors_as_os_errors
from dermgan_tf.version import __version__

METADATA_FILE = "assets.extra/dermgan.json"
# Images run through the network one at a time, this many side by side. One fixed shape
# is what makes an image the same bytes in any batch: convolution kernels are chosen by
# shape and differ in the last bits, which flips up to 0.3 % of the rounded values. On a
# CPU it costs little or nothing. Milliseconds an image on two cores, batched / so:
# 64 px, 16 filters 1.4 / 2.5; 128 px, 32 filters 12 / 12; 256 px, 64 filters 140 / 95.
IMAGES_IN_FLIGHT = 4

Model = TypeVar("Model")


def load_saved_model(
    path: str | os.PathLike,
    build: Callable[[Any, dict[str, Any]], Model],
    signatures: Collection[str],
    made_by: str,
) -> Model:
    """Loads a SavedModel that this library wrote.

    Args:
        path: its folder.
        build: makes what is returned, of the loaded SavedModel and its metadata.
        signatures: that it must have, "metadata" among them.
        made_by: the program that makes such folders.

    Raises:
        InputError: if `path` holds no SavedModel, a damaged or a foreign one.
    """
    folder = epath.Path(path)  # local, or on storage that TensorFlow reads
    if not (folder / "saved_model.pb").exists():
        raise InputError(
            f"{folder} is not a SavedModel: it has no saved_model.pb; give the "
            f"--output_dir of {made_by}"
        )
    try:
        loaded = tf.saved_model.load(os.fspath(folder))
    # Which of these a damaged file raises depends on where the damage is.
    except (tf.errors.OpError, OSError, ValueError, KeyError, IndexError) as error:
        raise InputError(
            f"SavedModel {folder} is damaged: {_first_line(error)}"
        ) from error
    missing = set(signatures) - set(loaded.signatures)
    if missing:
        raise InputError(
            f"SavedModel {folder} is not a dermgan_tf generator: it has no signature "
            f"{min(missing)!r}; give the --output_dir of {made_by}"
        )
    try:
        text = loaded.signatures["metadata"]()["metadata"].numpy()
        return build(loaded, json.loads(text))
    except (tf.errors.OpError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"SavedModel {folder} is not a dermgan_tf generator: its metadata cannot "
            f"be read: {_first_line(error)}"
        ) from error


def described_signatures(loaded: Any) -> list[tuple[str, str, str]]:
    """(name, inputs, outputs) of each signature of a SavedModel, for people."""

    def shown(specs):
        return ", ".join(
            f"{name} {spec.dtype.name} {_shape_text(spec.shape)}"
            for name, spec in sorted(specs.items())
        )

    return [
        (
            name,
            shown(function.structured_input_signature[1]),
            shown(function.structured_outputs),
        )
        for name, function in loaded.signatures.items()
    ]


def _shape_text(shape: tf.TensorShape) -> str:
    sides = ", ".join("?" if side is None else str(side) for side in shape)
    return f"[{sides}]"


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def save_with_metadata(
    served: tf.Module,
    signatures: Mapping[str, Any],
    metadata: Mapping[str, Any],
    folder: pathlib.Path,
) -> None:
    """Writes a SavedModel and its metadata, as a file beside it, into a folder."""
    with tensorflow_errors_as_os_errors(folder):
        tf.saved_model.save(served, os.fspath(folder), signatures=signatures)
    described = folder / METADATA_FILE
    described.parent.mkdir(exist_ok=True)
    described.write_text(
        json.dumps(metadata, indent=2, ensure_ascii=False) + "\n", "utf-8"
    )


def as_json(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What JSON makes of metadata; InputError if their provenance is no JSON."""
    try:
        return json.loads(json.dumps(metadata))
    except (TypeError, ValueError) as error:
        raise InputError(f"provenance cannot be written as JSON: {error}") from error


def prepared_variables(network: keras.Model) -> list[tf.Variable]:
    """Prepares a functional network's `ResizeConv2D`, and lists what it then uses."""
    from dermgan_tf.layers.resize_conv2d import ResizeConv2D

    prepared, replaced = [], set()
    for layer in network.layers:
        if isinstance(layer, ResizeConv2D):
            prepared += layer.prepare_for_inference()
            replaced.add(layer.kernel.path)
    return [v.value for v in network.variables if v.path not in replaced] + prepared


def as_levels(image):
    """uint8 of images in [-1, 1]."""
    levels = tf.round((tf.cast(image, tf.float32) + 1.0) * 127.5)
    return tf.cast(tf.clip_by_value(levels, 0.0, 255.0), tf.uint8)


class SavedPainter:
    """A trained painter, loaded from a SavedModel with plain TensorFlow.

    Args:
        loaded: the loaded SavedModel.
        metadata: dict. What its `metadata` signature tells.

    Attributes:
        metadata: dict.
        image_size: int. Side S of its images, in pixels.
        fingerprint: str. sha256 (hex) of its weights.
    """

    fingerprint_key = "generator"  # of the metadata

    def __init__(self, loaded: Any, metadata: dict[str, Any]):
        self._loaded = loaded  # keeps the variables alive
        self.metadata = metadata
        self.image_size = int(metadata["image_size"])
        self.fingerprint = str(metadata[self.fingerprint_key])

    def signatures(self) -> list[tuple[str, str, str]]:
        """(name, inputs, outputs) of each signature, written for people."""
        return described_signatures(self._loaded)

    def provenance(self, **texts: Any) -> dict[str, str]:
        """The PNG texts of an image: that it is synthetic, by what, and those given."""
        return {
            "synthetic": "true",
            "software": f"dermgan_tf {__version__}",
            "generator": self.fingerprint,
            **{name: str(text) for name, text in texts.items()},
        }
