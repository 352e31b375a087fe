"""A generator of photographs from noise as a SavedModel that plain TensorFlow serves.

    serving_default   seed int32 [N], truncation float32 []
                      -> image uint8 [N, S, S, 3]
    from_latent       latent float32 [N, L] -> image uint8 [N, S, S, 3]
    latent            seed int32 [N], truncation float32 [] -> latent float32 [N, L]
    metadata          -> metadata string: JSON

Truncation, 0…1, is what a seed's latent is multiplied with: below 1 images are more
alike and nearer to what was seen most in training; with 0 all seeds give one image. To
go from one seed to another, ask for their latents, and paint what lies between them
(see `dermgan_tf.generation.seeds.between`). An image depends on its own seed or
latent alone: they go through the network one by one (see
`dermgan_tf.models.saved_model`).
"""

import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from dermgan_tf.layers.fingerprint import weights_fingerprint
from dermgan_tf.models.saved_model import (
    IMAGES_IN_FLIGHT,
    SavedPainter,
    as_json,
    as_levels,
    load_saved_model,
    prepared_variables,
    save_with_metadata,
)
from dermgan_tf.models.unconditional.networks import latents_of_seeds
from dermgan_tf.output_folder import output_folder
from dermgan_tf.version import __version__

SIGNATURES = ("serving_default", "from_latent", "latent", "metadata")


def export_unconditional(
    network: keras.Model,
    path: str | os.PathLike,
    provenance: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> None:
    """Writes a generator as a SavedModel, whole or not at all.

    Args:
        network: as of `build_latent_generator`.
        path: the folder to make.
        provenance: where the weights come from: JSON values, kept in the metadata.
        overwrite: bool. Whether a non-empty folder at `path` is replaced.

    Raises:
        InputError: if `path` is not free, or `provenance` is not JSON.
        OSError: if `path` cannot be written to.
    """
    with output_folder(path, overwrite) as folder:
        write_unconditional(network, folder, provenance)


def write_unconditional(
    network: keras.Model,
    folder: pathlib.Path,
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """`export_unconditional` into an empty folder, for callers that add to it."""
    metadata = as_json(
        {
            "synthetic": True,
            "software": f"dermgan_tf {__version__}",
            "generator": weights_fingerprint(network),
            "image_size": int(network.output_shape[1]),
            "latent_size": int(network.input_shape[-1]),
            "provenance": dict(provenance or {}),
        }
    )
    served = _ServedUnconditional(network, metadata)
    signatures = {
        "serving_default": served.paint_seeds,
        "from_latent": served.paint_latents,
        "latent": served.tell_latents,
        "metadata": served.tell_metadata,
    }
    save_with_metadata(served, signatures, metadata, folder)


class _ServedUnconditional(tf.Module):
    """What is saved: the weights and one traced function a signature."""

    def __init__(self, network, metadata):
        super().__init__()
        size, latent_size = metadata["image_size"], metadata["latent_size"]
        copy = type(network).from_config(network.get_config())
        copy.set_weights(network.get_weights())
        # The bare variables: nothing of Keras is then needed to load them again.
        self.weights = prepared_variables(copy)
        metadata_text = json.dumps(metadata, ensure_ascii=False)
        seeds = tf.TensorSpec([None], tf.int32, name="seed")
        truncations = tf.TensorSpec([], tf.float32, name="truncation")
        latents = tf.TensorSpec([None, latent_size], tf.float32, name="latent")

        @tf.function(input_signature=[latents])  # traced once for all signatures
        def paint(latent):
            return tf.map_fn(
                lambda one: as_levels(copy(one[tf.newaxis])[0]),
                latent,
                fn_output_signature=tf.TensorSpec([size, size, 3], tf.uint8),
                parallel_iterations=IMAGES_IN_FLIGHT,
            )

        def latents_of(seed, truncation):
            with tf.control_dependencies([_require_truncation(truncation)]):
                truncation = tf.identity(truncation)
            return truncation * latents_of_seeds(seed, latent_size)

        @tf.function(input_signature=[seeds, truncations])
        def paint_seeds(seed, truncation):
            return {"image": paint(latents_of(seed, truncation))}

        @tf.function(input_signature=[latents])
        def paint_latents(latent):
            with tf.control_dependencies([_require_finite(latent)]):
                return {"image": paint(tf.identity(latent))}

        @tf.function(input_signature=[seeds, truncations])
        def tell_latents(seed, truncation):
            return {"latent": latents_of(seed, truncation)}

        @tf.function(input_signature=[])
        def tell_metadata():
            return {"metadata": tf.constant(metadata_text)}

        self.paint_seeds = paint_seeds
        self.paint_latents = paint_latents
        self.tell_latents = tell_latents
        self.tell_metadata = tell_metadata


def _require_truncation(truncation):
    message = tf.strings.join(
        ["truncation is ", tf.strings.as_string(truncation), "; valid: 0 to 1"]
    )
    # Comparisons with NaN are false, so that NaN is refused too.
    good = (truncation >= 0.0) & (truncation <= 1.0)
    return tf.debugging.Assert(good, [message])


def _require_finite(latent):
    good = tf.reduce_all(tf.math.is_finite(latent))
    return tf.debugging.Assert(good, ["a latent is not finite"])


class UnconditionalGenerator(SavedPainter):
    """A generator exported by `export_unconditional`.

    Attributes: those of `SavedPainter`, and `latent_size`.
    """

    def __init__(self, loaded: Any, metadata: dict[str, Any]):
        super().__init__(loaded, metadata)
        self.latent_size = int(metadata["latent_size"])

    def paint(self, seeds: Sequence[int], truncation: float = 1.0) -> np.ndarray:
        """Paints an image of each seed, which depends on that seed alone.

        Args:
            seeds: N ints, int32.
            truncation: float, 0…1.

        Returns:
            np.uint8 [N, S, S, 3], RGB.
        """
        return self._run("serving_default", "image", **_seeded(seeds, truncation))

    def latents(self, seeds: Sequence[int], truncation: float = 1.0) -> np.ndarray:
        """The latents of seeds: np.float32 [N, L]."""
        return self._run("latent", "latent", **_seeded(seeds, truncation))

    def paint_latents(self, latents: np.ndarray) -> np.ndarray:
        """Paints latents, float32 [N, L]: np.uint8 [N, S, S, 3], RGB."""
        latents = tf.constant(latents, tf.float32)
        return self._run("from_latent", "image", latent=latents)

    def _run(self, signature: str, output: str, **inputs) -> np.ndarray:
        return self._loaded.signatures[signature](**inputs)[output].numpy()


def load_unconditional(path: str | os.PathLike) -> UnconditionalGenerator:
    """Loads a generator that `export_unconditional` wrote.

    Raises:
        InputError: if `path` holds no SavedModel, a damaged or a foreign one.
    """
    return load_saved_model(
        path, UnconditionalGenerator, SIGNATURES, "export_unconditional"
    )


def _seeded(seeds: Sequence[int], truncation: float) -> dict[str, tf.Tensor]:
    return {
        "seed": tf.constant(list(seeds), tf.int32, shape=[len(seeds)]),
        "truncation": tf.constant(truncation, tf.float32),
    }
