"""Keras' networks with pretrained weights, and never other ones than were asked for.

Both the embeddings of the distances and the classifier start from them.
"""

import contextlib
import os
import pathlib
import sys
import warnings
from collections.abc import Callable

import keras
import numpy as np

from dermgan_tf.errors import InputError

BACKBONES = {
    "inception_v3": keras.applications.InceptionV3,
    "mobilenet_v2": keras.applications.MobileNetV2,
}


def build_backbone(
    name: str,
    image_size: int,
    weights: str | os.PathLike | None,
    flag: str,
    **arguments,
) -> keras.Model:
    """Builds a network without its top: RGB 0…255 in, averaged features out.

    Args:
        name: "inception_v3" or "mobilenet_v2".
        image_size: int. Side of the square images in pixels.
        weights: "imagenet" (Keras downloads them on first use), a weights file of the
            network without its top, or None for random ones.
        flag: str. The flag that names a weights file, for messages.
        **arguments: more of the network's own, as `alpha`.

    Returns:
        keras.Model, [N, image_size, image_size, 3] -> [N, features].

    Raises:
        InputError: for weights that are missing, cannot be downloaded or do not fit.
    """
    shape = (image_size, image_size, 3)
    arguments |= {"include_top": False, "input_shape": shape, "pooling": "avg"}
    if weights == "imagenet":
        try:
            # Keras prints its download bar; progress belongs on stderr.
            with contextlib.redirect_stdout(sys.stderr):
                network = BACKBONES[name](weights="imagenet", **arguments)
        except Exception as error:  # Keras wraps a failed download in a bare Exception
            raise InputError(
                f"{name}: its ImageNet weights are not on this machine and cannot be "
                f"downloaded ({first_line(error)}); put that file into "
                f"~/.keras/models, or name a weights file with {flag}"
            ) from error
    else:
        network = BACKBONES[name](weights=None, **arguments)
        if weights is not None:
            _load_weights(network, name, pathlib.Path(weights), flag)
    inputs = keras.Input(shape)
    # Both networks read [-1, 1].
    scaled = keras.layers.Rescaling(1 / 127.5, offset=-1.0)(inputs)
    return keras.Model(inputs, network(scaled))


def weights_name(network: str, path: str | os.PathLike) -> str:
    """`…/mobilenet_v2_natural_images.weights.h5` -> `natural_images`."""
    stem = pathlib.Path(path).stem.removesuffix(".weights")
    return stem.removeprefix(f"{network}_")


def first_line(error: Exception) -> str:
    """The first line of an error's text: Keras explains itself over many."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _load_weights(
    network: keras.Model, name: str, path: pathlib.Path, flag: str
) -> None:
    if not path.is_file():
        raise InputError(
            f"{flag}={path}: there is no such file; want the weights of {name} without "
            "its top, as model.save_weights writes them"
        )
    # Keras passes over what a file lacks with no more than a warning; NaN stays behind.
    for weight in network.weights:
        weight.assign(np.full(weight.shape, np.nan, np.float32))
    misfit = f"{flag}={path} does not hold the weights of {name} without its top"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            network.load_weights(path)
    except Exception as error:  # h5py and Keras raise many kinds for a foreign file
        raise InputError(f"{misfit}: {first_line(error)}") from error
    for weight in network.weights:
        if np.isnan(keras.ops.convert_to_numpy(weight)).any():
            raise InputError(f"{misfit}: {weight.path} is missing or NaN")


def batch_function(model: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    """A model as a function of batches of any size, traced once.

    Keras' own `predict_on_batch` is traced again for other sizes, such as that of a
    last batch, and warns of it.

    Args:
        model: of one input, [N, …], and one output. It has to outlive the function.

    Returns:
        np.ndarray [N, …] -> np.ndarray, as the model gives it for inference.
    """
    import tensorflow as tf

    @tf.function(autograph=False)
    def run(batch):
        return model(batch, training=False)

    (given,) = model.inputs
    dtype = given.dtype
    traced = run.get_concrete_function(tf.TensorSpec(given.shape, dtype))
    return lambda batch: traced(tf.cast(batch, dtype)).numpy()
