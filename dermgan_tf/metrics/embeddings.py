"""Networks that turn images into activations, for distances between sets of images.

Two distances compare only when embedding, weights and resizing are equal, so an
embedding carries a name that says the first two: "mobilenet_v2:imagenet" is Keras'
MobileNetV2 with Keras' ImageNet weights at the input size written below. Images are
8-bit first, as they would be stored, and then resized with an antialiased bicubic
filter, as clean-fid does (Parmar et al. 2022): other resizing changes distances by more
than models differ. Only "tfgan" resizes as TF-GAN does, to give TF-GAN's own distance.
"""

import hashlib
import itertools
import os
import pathlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from dermgan_tf.errors import InputError
from dermgan_tf.layers.backbones import (
    batch_function,
    build_backbone,
    first_line,
    weights_name,
)
from dermgan_tf.layers.fingerprint import weights_fingerprint

# The side, in pixels, of the square that each network reads. 299 is Inception's own;
# MobileNetV2 reads 160, for half of the work of its largest size, 224.
_IMAGE_SIZES = {"inception_v3": 299, "mobilenet_v2": 160}
PIXELS_SIZE = 32  # the side, in pixels, of what "pixels" compares


class Embedding:
    """Maps images to the activations of a network.

    Args:
        model: keras.Model with one input [N, H, W, 3], RGB 0…255 (any rescaling is
            inside the model), and one output. Of a classifier, whose last layer is
            Dense, the activations before that layer are taken; feature maps
            [N, h, w, d] are averaged over h and w.
        name: str. What reports call it.

    Attributes:
        name: str.
        image_size: (height, width) in pixels, to which images are resized.
        num_features: int, the width of the activations.
        fingerprint: str, sha256 (hex) of the network's weights: two embeddings of one
            name and different weights can be told apart.
        resizing: str, how images are resized.

    Raises:
        InputError: for a model of another form, or without a fixed input size.
    """

    resizing = "8-bit, antialiased bicubic (Pillow)"

    def __init__(self, model: keras.Model, name: str):
        self.name = name
        self.image_size = _input_size(model, name)
        self._model = keras.Model(model.inputs[0], _pooled_features(model, name))
        self._run: Callable | None = None
        self.num_features = self._model.output_shape[-1]
        self.fingerprint = weights_fingerprint(self._model)

    def embed(self, images: Iterable[np.ndarray], batch_size: int = 32) -> np.ndarray:
        """Embeds images, a batch at a time.

        Args:
            images: np.uint8 [H, W, 3], RGB; their sizes may differ.
            batch_size: int. Images that go through the network together.

        Returns:
            np.float32 [n, num_features].

        Raises:
            InputError: for no images, one of another form, or activations that are not
                finite.
        """
        images = iter(images)
        activations = []
        while batch := list(itertools.islice(images, batch_size)):
            activations.append(self._activations(batch))
        if not activations:
            raise InputError(f"no images to embed with {self.name}")
        activations = np.concatenate(activations).astype(np.float32)
        bad = int((~np.isfinite(activations)).any(axis=1).sum())
        if bad:
            raise InputError(
                f"embedding {self.name} gives NaN or infinity for {bad} of "
                f"{len(activations)} images: are its weights sound?"
            )
        return activations

    def describe(self) -> dict[str, Any]:
        """What a report must say of it: JSON values."""
        return {
            "name": self.name,
            "features": self.num_features,
            "image_size": list(self.image_size),
            "resizing": self.resizing,
            "fingerprint": self.fingerprint,
        }

    def _activations(self, images: Sequence[np.ndarray]) -> np.ndarray:
        resized = [resize_image(image, self.image_size) for image in images]
        if self._run is None:
            self._run = batch_function(self._model)
        return self._run(np.stack(resized))


class TfganEmbedding(Embedding):
    """TF-GAN's Inception graph, fed as TF-GAN's own examples feed it.

    Pixels are scaled to (x − 128)/128 and resized by `tf.image.resize`, bilinear and
    without antialiasing. So `frechet_distance` is what
    `tfgan.eval.frechet_inception_distance` of TF-GAN 2.1.0 gives for the same images.
    Tools that resize otherwise (TensorFlow 1's bilinear, Pillow) give other distances
    with the same graph.

    Args:
        module: folder of a copy of the TF-Hub module; None has TensorFlow Hub download
            it on first use (into $TFHUB_CACHE_DIR, where that is set).

    Raises:
        InputError: for a module that is missing, cannot be downloaded or is another.
    """

    resizing = "bilinear (TF-GAN)"

    def __init__(self, module: str | os.PathLike | None = None):
        from dermgan_tf.metrics.tfgan import tfgan  # an extra

        self._field = tfgan.eval.INCEPTION_FINAL_POOL
        size = tfgan.eval.INCEPTION_DEFAULT_IMAGE_SIZE
        self.image_size = (size, size)
        path = _tfgan_module(module, tfgan.eval.INCEPTION_TFHUB)
        self.name = "tfgan:inception_1" if module is None else f"tfgan:{path.name}"
        try:
            self._module = tf.saved_model.load(path)
            one = self._activations([np.zeros((size, size, 3), np.uint8)])
        except Exception as error:  # of many kinds, for a foreign SavedModel
            raise InputError(
                f"{path} is not TF-GAN's Inception module, which maps images "
                f"[N, {size}, {size}, 3] to {self._field!r}: {first_line(error)}"
            ) from error
        self.num_features = one.shape[-1]
        self.fingerprint = _folder_fingerprint(path)

    def _activations(self, images: Sequence[np.ndarray]) -> np.ndarray:
        resized = [tf.image.resize(_scaled(x), self.image_size) for x in images]
        outputs = self._module(tf.stack(resized))
        return outputs[self._field].numpy().reshape(len(images), -1)


def _scaled(image: np.ndarray) -> np.ndarray:
    _check_image(image)
    return (image.astype(np.float32) - 128) / 128


def _tfgan_module(module: str | os.PathLike | None, url: str) -> pathlib.Path:
    """The folder of the module, downloaded if none is named."""
    archive = f"{url}?tf-hub-format=compressed"
    if module is None:
        import tensorflow_hub

        try:
            return pathlib.Path(tensorflow_hub.resolve(url))
        except Exception as error:  # of many kinds: no network, no such page
            raise InputError(
                f"tfgan: its Inception module cannot be downloaded "
                f"({first_line(error)}); unpack {archive} into a folder and name that "
                "with --embedding_weights"
            ) from error
    path = pathlib.Path(module).resolve()
    if not (path / "saved_model.pb").is_file():
        raise InputError(
            f"--embedding_weights={os.fspath(module)}: there is no saved_model.pb in "
            f"it; want the folder that {archive} was unpacked into"
        )
    return path


def _folder_fingerprint(path: pathlib.Path) -> str:
    """The sha256 (hex) over a SavedModel's graph and variables."""
    digest = hashlib.sha256()
    for file in sorted([path / "saved_model.pb", *path.glob("variables/*")]):
        content = hashlib.sha256(file.read_bytes()).digest()
        digest.update(f"{file.name};".encode() + content)
    return digest.hexdigest()


def build_embedding(name: str, weights: str | os.PathLike | None = None) -> Embedding:
    """Builds the embedding that a user names.

    Args:
        name: "inception_v3", "mobilenet_v2", "tfgan", "pixels" (the image itself at
            32 × 32, which needs no weights: for finding images that look the same, not
            for judging how real they are), or the path of a `.keras` model: a
            classifier or a feature extractor, see `Embedding`.
        weights: a weights file for one of Keras' two networks without their top
            (`include_top=False`), or a folder with TF-GAN's TF-Hub module. None takes
            Keras' ImageNet weights or TF-Hub's module, downloaded on first use.

    Returns:
        Embedding. Its name holds the weights' name: "mobilenet_v2:imagenet",
        "mobilenet_v2:<weights>" after the file, "tfgan:inception_1" after TF-Hub's
        page, "tfgan:<folder>", or the model file's stem.

    Raises:
        InputError: for an unknown name, or weights that are missing, cannot be
            downloaded or do not fit. There is no falling back to other weights.
    """
    if name in _IMAGE_SIZES:
        backbone = build_backbone(
            name,
            _IMAGE_SIZES[name],
            weights="imagenet" if weights is None else weights,
            flag="--embedding_weights",
        )
        suffix = "imagenet" if weights is None else weights_name(name, weights)
        return Embedding(backbone, f"{name}:{suffix}")
    if name == "tfgan":
        return TfganEmbedding(weights)
    if name == "pixels":
        if weights is not None:
            raise InputError(
                "--embedding=pixels has no weights; leave out --embedding_weights"
            )
        return Embedding(_pixels(), f"pixels:{PIXELS_SIZE}")
    path = pathlib.Path(name)
    if path.suffix != ".keras":
        raise InputError(
            f"unknown embedding {name!r}; known: {', '.join(_IMAGE_SIZES)}, tfgan, "
            "pixels, or the path of a .keras model"
        )
    if weights is not None:
        raise InputError(
            f"--embedding={name} brings its own weights; leave out --embedding_weights"
        )
    if not path.is_file():
        raise InputError(f"--embedding={name}: there is no such file")
    try:
        model = keras.saving.load_model(path, compile=False)
    except Exception as error:  # Keras raises many kinds for a file that is no model
        raise InputError(
            f"--embedding={name} is not a Keras model that loads: {first_line(error)}"
        ) from error
    return Embedding(model, path.stem)


def _pixels() -> keras.Model:
    image = keras.Input((PIXELS_SIZE, PIXELS_SIZE, 3), name="image")
    return keras.Model(image, keras.layers.Flatten()(image))


def resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes with an antialiased bicubic filter, as clean-fid does for PIL-bicubic.

    Args:
        image: np.uint8 [H, W, 3].
        size: (height, width) in pixels.

    Returns:
        np.float32 [height, width, 3], 0…255, not rounded again.
    """
    _check_image(image)
    height, width = size
    if image.shape[:2] == (height, width):
        return image.astype(np.float32)
    # Pillow keeps fractions only in single-channel float images.
    channels = [
        Image.fromarray(channel).resize((width, height), Image.Resampling.BICUBIC)
        for channel in np.moveaxis(image.astype(np.float32), -1, 0)
    ]
    return np.stack([np.asarray(c) for c in channels], axis=-1).clip(0, 255)


def _check_image(image: np.ndarray) -> None:
    if not (
        isinstance(image, np.ndarray)
        and image.dtype == np.uint8
        and image.ndim == 3
        and image.shape[-1] == 3
    ):
        raise InputError(
            "an image to embed is uint8 [H, W, 3], got "
            f"{getattr(image, 'dtype', type(image).__name__)} {list(np.shape(image))}"
        )


def _input_size(model: keras.Model, name: str) -> tuple[int, int]:
    inputs = getattr(model, "inputs", None)  # a subclassed model has none
    if not inputs or len(inputs) != 1 or len(model.outputs) != 1:
        raise InputError(
            f"embedding {name} is no Keras model of one input and one output"
        )
    shape = inputs[0].shape
    if len(shape) != 4 or shape[-1] != 3 or None in shape[1:]:
        raise InputError(
            f"embedding {name} reads {list(shape)}; want images of a fixed size, "
            "[None, height, width, 3]"
        )
    return shape[1], shape[2]


def _pooled_features(model: keras.Model, name: str):
    layers = list(model.layers)
    while isinstance(layers[-1], keras.layers.Activation | keras.layers.Softmax):
        layers.pop()
    is_classifier = isinstance(layers[-1], keras.layers.Dense)
    features = layers[-1].input if is_classifier else model.outputs[0]
    if len(features.shape) == 4:
        features = keras.layers.GlobalAveragePooling2D()(features)
    if len(features.shape) != 2 or features.shape[-1] is None:
        raise InputError(
            f"embedding {name} gives {list(features.shape)}; want [None, features] or "
            "feature maps [None, height, width, features]"
        )
    return features
