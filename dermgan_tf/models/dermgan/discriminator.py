"""The discriminator: a 70 × 70 PatchGAN on (semantic map, image)."""

import keras
import numpy as np
from keras import ops

from dermgan_tf.models.dermgan.networks import (
    IMAGE_SIZES,
    initializer,
    map_features,
    norm_layer,
)


def build_discriminator(
    image_size: int = 256,
    base_filters: int = 64,
    condition_levels: int | None = None,
) -> keras.Model:
    """Builds pix2pix' PatchGAN (Isola et al. 2017): C64-C128-C256-C512-1.

    Each logit judges a patch of 70 × 70 pixels. Convolutions are 4 × 4, padded by one
    pixel; strides 2, 2, 2, 1, 1.

    Args:
        image_size: int. Side S in pixels: 64, 128, 256 or 512.
        base_filters: int, at least 1. Filters of the first convolution; 64 in the
            paper.
        condition_levels: as of `dermgan_tf.models.dermgan.networks.Generator`.

    Returns:
        keras.Model. Reads [semantic_map, image], both float32 [N, S, S, 3] in [-1, 1];
        returns (logits, features): logits float32 [N, S/8 - 2, S/8 - 2, 1], high for
        real, and the activations of the second-last convolution
        [N, S/8 - 1, S/8 - 1, 8·base_filters], the feature-matching layer.
    """
    if image_size not in IMAGE_SIZES:
        raise ValueError(f"image_size must be one of {IMAGE_SIZES}, got {image_size}")
    if base_filters < 1:
        raise ValueError(f"base_filters must be at least 1, got {base_filters}")
    # === Functional Model ===
    shape = (image_size, image_size, 3)
    semantic_map = keras.Input(shape, name="semantic_map")
    image = keras.Input(shape, name="image")
    x = keras.layers.Concatenate(name="map_and_image")(
        [map_features(semantic_map, condition_levels), image]
    )
    for i in range(3):
        x = apply_patch_block(x, 2**i * base_filters, 2, i > 0, f"patch_{i}")
    features = apply_patch_block(x, 8 * base_filters, 1, True, "patch_3")
    logits = PatchLogits(kernel_initializer=initializer(), name="logits_conv")(features)
    logits = keras.layers.Activation("linear", dtype="float32", name="logits")(logits)
    return keras.Model([semantic_map, image], (logits, features), name="discriminator")


def apply_patch_block(x, filters: int, strides: int, norm: bool, name: str):
    """4 × 4 convolution padded by one, norm where wanted, LeakyReLU 0.2."""
    if strides == 2:
        padding = "same"  # one pixel a side, as the sides are even
    else:
        padding = "valid"
        x = keras.layers.ZeroPadding2D(1, name=f"{name}_pad")(x)
    x = keras.layers.Conv2D(
        filters,
        4,
        strides=strides,
        padding=padding,
        use_bias=not norm,
        kernel_initializer=initializer(),
        name=f"{name}_conv",
    )(x)
    if norm:
        x = norm_layer(filters, f"{name}_norm")(x)
    return keras.layers.LeakyReLU(negative_slope=0.2, name=f"{name}_relu")(x)


@keras.saving.register_keras_serializable(package="dermgan_tf")
class PatchLogits(keras.layers.Layer):
    """A 4 × 4 convolution to one channel, padded by one pixel, stride 1.

    Convolution kernels are slow where there is one output channel. So each pixel's
    products with the 16 taps are taken first, as one matrix product, and then a
    convolution over these 16 channels, instead of all, adds up those that belong
    together.

    Input: [N, H, W, C]. Output: [N, H-1, W-1, 1].
    """

    def __init__(self, kernel_initializer="glorot_uniform", **kwargs):
        super().__init__(**kwargs)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape):
        self.kernel = self.add_weight(
            shape=(4, 4, input_shape[-1], 1),
            initializer=self.kernel_initializer,
            name="kernel",
        )
        self.bias = self.add_weight(shape=(1,), initializer="zeros", name="bias")
        self.built = True

    def call(self, inputs):
        _, height, width, channels = inputs.shape
        taps = ops.transpose(ops.reshape(self.kernel, (16, channels)))
        products = ops.matmul(ops.reshape(inputs, (-1, channels)), taps)
        products = ops.reshape(products, (-1, height, width, 16))
        products = ops.pad(products, ((0, 0), (1, 1), (1, 1), (0, 0)))
        # tap (a, b) of the output at (i, j) lies at (i + a, j + b), channel 4a + b
        placed = ops.cast(np.eye(16).reshape(4, 4, 16, 1), products.dtype)
        return ops.conv(products, placed, padding="valid") + self.bias

    def compute_output_shape(self, input_shape):
        n, height, width, _ = input_shape
        return (n, height - 1, width - 1, 1)

    def get_config(self):
        return {
            **super().get_config(),
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }
