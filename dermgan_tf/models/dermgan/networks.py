"""DermGAN's networks: a pix2pix U-Net, and a 70 × 70 PatchGAN discriminator."""

import keras
import numpy as np
from keras import ops

from dermgan_tf.layers.condition_planes import ConditionPlanes
from dermgan_tf.layers.group_norm import GroupNorm
from dermgan_tf.layers.resize_conv2d import ResizeConv2D
from dermgan_tf.layers.seeded_random import SeededDropout, SeededNoise

IMAGE_SIZES = (64, 128, 256, 512)
MAX_WIDENING = 8  # filters grow to at most 8 · base
DROPOUT_BLOCKS = 3
DROPOUT_RATE = 0.5
NORM_GROUPS = 8


def build_generator(
    image_size: int = 256,
    base_filters: int = 64,
    upsampling: str = "resize_conv",
    condition_levels: int | None = None,
) -> "Generator":
    """Builds a generator. See `Generator` for the arguments."""
    return Generator(image_size, base_filters, upsampling, condition_levels)


@keras.saving.register_keras_serializable(package="dermgan_tf")
class Generator(keras.Model):
    """The U-Net of pix2pix (Isola et al. 2017) with DermGAN's ResizeConv2D decoder.

    log2(S) encoder blocks halve the image down to one pixel, as many decoder blocks
    double it again with skips between. The image is drawn, not computed, from the map:
    dropout in the innermost decoder blocks, and noise in the outer ones, stay on at
    inference and are driven by one seed an image, so an image depends on its own map
    and seed alone.

    Args:
        image_size: int. Side S of maps and images in pixels: 64, 128, 256 or 512.
        base_filters: int, at least 1. Filters of the first block; 64 in the paper.
        upsampling: "resize_conv", or "transposed_conv" for the ablation without
            checkerboard mitigation.
        condition_levels: int n, to read the map through `ConditionPlanes` of so many
            levels; None reads its three channels as they are, as in the paper.

    Call arguments:
        semantic_map: float32 [N, S, S, 3] in [-1, 1].
        seed: int32 [N], any values; None draws new ones at each call.

    Returns:
        float32 [N, S, S, 3] in [-1, 1].

    Example:

    >>> generator = dg.build_generator(image_size=64, base_filters=16)
    >>> images = generator(semantic_maps, seed=[1, 2, 3])
    """

    def __init__(
        self,
        image_size: int = 256,
        base_filters: int = 64,
        upsampling: str = "resize_conv",
        condition_levels: int | None = None,
        **kwargs,
    ):
        kwargs.setdefault("name", "generator")
        super().__init__(**kwargs)
        if image_size not in IMAGE_SIZES:
            raise ValueError(
                f"image_size must be one of {IMAGE_SIZES}, got {image_size}"
            )
        if base_filters < 1:
            raise ValueError(f"base_filters must be at least 1, got {base_filters}")
        if upsampling not in ("resize_conv", "transposed_conv"):
            raise ValueError(
                'upsampling must be "resize_conv" or "transposed_conv", '
                f"got {upsampling!r}"
            )
        # === Config ===
        self.image_size = image_size
        self.base_filters = base_filters
        self.upsampling = upsampling
        self.condition_levels = condition_levels

        # === Functional Model ===
        blocks = image_size.bit_length() - 1  # log2(S)
        filters = [min(2**i, MAX_WIDENING) * base_filters for i in range(blocks)]
        semantic_map = keras.Input((image_size, image_size, 3), name="semantic_map")
        seed = keras.Input((), dtype="int32", name="seed")
        x = map_features(semantic_map, condition_levels)
        skips = []
        for i in range(blocks):
            norm = 0 < i < blocks - 1  # not on the first and the innermost
            x = apply_encoder_block(x, filters[i], norm, f"encoder_{i}")
            skips.append(x)
        x = skips.pop()
        for i, skip in enumerate(reversed(skips)):
            x = apply_decoder_block(
                x, filters[blocks - 2 - i], self.upsampling, f"decoder_{i}"
            )
            x = random_layer(i)(x, seed)
            x = keras.layers.ReLU(name=f"decoder_{i}_relu")(x)
            x = keras.layers.Concatenate(name=f"decoder_{i}_skip")([x, skip])
        x = upsampling_layer(3, self.upsampling, True, "image_upsampling")(x)
        image = keras.layers.Activation("tanh", dtype="float32", name="image")(x)
        self.network = keras.Model([semantic_map, seed], image, name="unet")
        self.random_seeds = keras.random.SeedGenerator()
        self.built = True

    def call(self, semantic_map, seed=None):
        semantic_map = ops.convert_to_tensor(semantic_map)
        if seed is None:
            seed = keras.random.randint(
                (ops.shape(semantic_map)[0],),
                0,
                2**31 - 1,
                dtype="int32",
                seed=self.random_seeds,
            )
        return self.network([semantic_map, ops.cast(seed, "int32")])

    def compute_output_shape(self, semantic_map_shape, seed_shape=None):
        return (semantic_map_shape[0], self.image_size, self.image_size, 3)

    def get_config(self):
        return {
            "name": self.name,
            "image_size": self.image_size,
            "base_filters": self.base_filters,
            "upsampling": self.upsampling,
            "condition_levels": self.condition_levels,
        }

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def map_features(semantic_map, condition_levels: int | None):
    """What the networks see of a map: its channels, and planes where wanted."""
    if condition_levels is None:
        return semantic_map
    return ConditionPlanes(condition_levels, name="condition_planes")(semantic_map)


def apply_encoder_block(x, filters: int, norm: bool, name: str):
    """Halves the image: 4 × 4 convolution, stride 2, norm where wanted, LeakyReLU."""
    x = keras.layers.Conv2D(
        filters,
        4,
        strides=2,
        padding="same",
        use_bias=not norm,
        kernel_initializer=initializer(),
        name=f"{name}_conv",
    )(x)
    if norm:
        x = norm_layer(filters, f"{name}_norm")(x)
    return keras.layers.LeakyReLU(negative_slope=0.2, name=f"{name}_relu")(x)


def apply_decoder_block(x, filters: int, upsampling: str, name: str):
    """Doubles the image and normalises it."""
    x = upsampling_layer(filters, upsampling, False, f"{name}_upsampling")(x)
    return norm_layer(filters, f"{name}_norm")(x)


def random_layer(block: int):
    """Dropout in the three innermost decoder blocks, as in pix2pix; noise beyond them.

    Dropout works at 2 × 2 to 8 × 8 pixels. On maps that are flat over large parts, it
    alone leaves blocks of that grid in the image.
    """
    if block < DROPOUT_BLOCKS:
        return SeededDropout(DROPOUT_RATE, salt=block, name=f"decoder_{block}_dropout")
    return SeededNoise(salt=block, name=f"decoder_{block}_noise")


def upsampling_layer(filters: int, upsampling: str, use_bias: bool, name: str):
    """ResizeConv2D, or pix2pix' own 4 × 4 transposed convolution."""
    if upsampling == "resize_conv":
        return ResizeConv2D(
            filters, use_bias=use_bias, kernel_initializer=initializer(), name=name
        )
    return keras.layers.Conv2DTranspose(
        filters,
        4,
        strides=2,
        padding="same",
        use_bias=use_bias,
        kernel_initializer=initializer(),
        name=name,
    )


def norm_layer(channels: int, name: str):
    """Group normalisation (Wu & He 2018): an image never depends on its batch.

    Instance normalisation would erase R: the skin colour is constant over the whole
    map, and what is constant over an image is just what it removes.
    """
    groups = min(NORM_GROUPS, channels)
    while channels % groups:
        groups -= 1
    return GroupNorm(groups, epsilon=1e-5, name=name)


def initializer():
    """pix2pix draws all kernels from N(0, 0.02)."""
    return keras.initializers.RandomNormal(stddev=0.02)


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
