"""The networks that tell skin conditions, and their predictions.

`dermgan_tf.classifier.task` trains them, `dermgan_tf.studies.comparison` compares them.
"""

import os

import keras
import numpy as np

from dermgan_tf.errors import InputError
from dermgan_tf.layers.backbones import batch_function, build_backbone


def build_classifier(
    num_conditions: int,
    image_size: int,
    architecture: str = "small_conv",
    alpha: float = 1.0,
    weights: str | os.PathLike | None = None,
    seed: int = 0,
) -> keras.Model:
    """Builds a classifier of RGB images 0…255 (scaled inside) with softmax outputs.

    Args:
        num_conditions: int ≥ 2.
        image_size: int. Side of the images in pixels.
        architecture: "small_conv" (four convolutions, for small crops on a CPU) or
            "mobilenet_v2".
        alpha: float. Width of MobileNetV2.
        weights: of MobileNetV2: None (random), "imagenet" (Keras downloads them), or a
            weights file of it without its top.
        seed: int. Of random weights.

    Returns:
        keras.Model, [N, image_size, image_size, 3] -> [N, num_conditions]. Its last
        layer is Dense, and computes in float32 whatever the others do.

    Raises:
        InputError: for an unknown architecture, fewer than two conditions, or weights
            that are missing or do not fit.
    """
    if num_conditions < 2:
        raise InputError(
            f"a classifier tells 2 conditions or more, got {num_conditions}"
        )
    if architecture == "small_conv":
        if weights is not None:
            raise InputError(
                "small_conv has no pretrained weights; leave out --weights"
            )
        body = _small_conv(image_size)
    elif architecture == "mobilenet_v2":
        body = build_backbone(
            "mobilenet_v2", image_size, weights, flag="--weights", alpha=alpha
        )
        for layer in batch_norms(body):
            # Keras' 0.999 outlasts a short training: its averages would be those of
            # weights long gone.
            layer.momentum = 0.99
    else:
        raise InputError(
            f"unknown architecture {architecture!r}; known: small_conv, mobilenet_v2"
        )
    head = keras.layers.Dense(
        num_conditions,
        activation="softmax",
        dtype="float32",
        kernel_initializer=keras.initializers.GlorotUniform(seed=seed),
    )
    if weights is None:
        _draw_weights(body, seed)
    return keras.Model(body.input, head(body.output))


def batch_norms(model: keras.Model) -> list[keras.layers.BatchNormalization]:
    """All of a model's batch normalisations, those of models in it among them."""
    layers = model._flatten_layers(include_self=False)
    return [x for x in layers if isinstance(x, keras.layers.BatchNormalization)]


def features_model(model: keras.Model) -> keras.Model:
    """A classifier without its head: RGB 0…255 -> features [N, d]; shares weights."""
    return keras.Model(model.input, model.layers[-1].input)


def predict(
    model: keras.Model, images: np.ndarray, batch_size: int = 256
) -> np.ndarray:
    """Predicts the conditions of images, a batch at a time.

    Args:
        model: as `build_classifier` makes it.
        images: np.uint8 [N, S, S, 3], RGB; may lie in a file (np.memmap).
        batch_size: int. Images that go through the network together.

    Returns:
        np.float32 [N, conditions], probabilities.
    """
    return _by_batches(batch_function(model), images, batch_size, model.output_shape)


def predict_logits(
    model: keras.Model, images: np.ndarray, batch_size: int = 256
) -> np.ndarray:
    """As `predict`, but what the softmax is taken of: np.float32 [N, conditions]."""
    body = features_model(model)
    features = batch_function(body)
    kernel, bias = (np.asarray(weight) for weight in model.layers[-1].weights)

    def logits(batch):
        return features(batch).astype(np.float32) @ kernel + bias

    return _by_batches(logits, images, batch_size, model.output_shape)


def _by_batches(function, images, batch_size, output_shape) -> np.ndarray:
    starts = range(0, len(images), batch_size)
    parts = [function(np.asarray(images[i : i + batch_size])) for i in starts]
    nothing = np.empty((0, output_shape[-1]), np.float32)
    return np.concatenate([nothing, *parts]).astype(np.float32)


def _small_conv(image_size: int) -> keras.Model:
    inputs = keras.Input((image_size, image_size, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1.0)(inputs)
    for filters in (32, 64, 128, 128):
        x = keras.layers.Conv2D(filters, 3, strides=2, padding="same", use_bias=False)(
            x
        )
        # Training is short: the averages must keep up with the weights.
        x = keras.layers.BatchNormalization(momentum=0.9)(x)
        x = keras.layers.ReLU()(x)
    return keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))


def _draw_weights(model: keras.Model, seed: int) -> None:
    """Draws all kernels anew, from seeds of our own: Keras' own are global state."""
    seeds = np.random.SeedSequence(seed).generate_state(len(model.trainable_weights))
    for weight, own_seed in zip(model.trainable_weights, seeds, strict=True):
        if len(weight.shape) > 1:  # not biases and normalisation
            initializer = keras.initializers.GlorotUniform(seed=int(own_seed) % 2**31)
            weight.assign(initializer(weight.shape))
