"""pix2pix in Keras, the way TensorFlow's own tutorial has it: the second peer.

Written from the paper (Isola et al. 2017) with the tutorial's choices: batch norm in
every block but the first, and both updates from one forward pass of each network,
with one gradient tape a network. The decoder is either the paper's (transposed 4 × 4
convolutions) or what one would write first against its checkerboard: UpSampling2D, then
a 3 × 3 convolution.
"""

import keras
import tensorflow as tf

L1_WEIGHT = 100.0
MAX_WIDENING = 8  # filters grow to at most 8 · base
DROPOUT_BLOCKS = 3


def build_unet(
    image_size: int = 256, base_filters: int = 64, upsampling: str = "transposed_conv"
) -> keras.Model:
    """Builds the generator.

    Args:
        image_size: int. Side S in pixels, a power of two.
        base_filters: int. Filters of the first block.
        upsampling: "transposed_conv" or "resize_conv".
    """
    blocks = image_size.bit_length() - 1
    filters = [min(2**i, MAX_WIDENING) * base_filters for i in range(blocks)]
    semantic_map = x = keras.Input((image_size, image_size, 3))
    skips = []
    for i, width in enumerate(filters):
        x = _halve(x, width, norm=i > 0)
        skips.append(x)
    x = skips.pop()
    for i, width in enumerate(reversed(filters[:-1])):
        x = _double(x, width, upsampling, use_bias=False)
        x = keras.layers.BatchNormalization()(x)
        if i < DROPOUT_BLOCKS:
            x = keras.layers.Dropout(0.5)(x)
        x = keras.layers.ReLU()(x)
        x = keras.layers.Concatenate()([x, skips.pop()])
    x = _double(x, 3, upsampling, use_bias=True)
    image = keras.layers.Activation("tanh", dtype="float32")(x)
    return keras.Model(semantic_map, image)


def build_patch_gan(image_size: int = 256, base_filters: int = 64) -> keras.Model:
    """Builds the 70 × 70 discriminator on (map, image); returns logits."""
    shape = (image_size, image_size, 3)
    inputs = [keras.Input(shape), keras.Input(shape)]
    x = keras.layers.Concatenate()(inputs)
    for i in range(3):
        x = _halve(x, 2**i * base_filters, norm=i > 0)
    x = keras.layers.ZeroPadding2D()(x)
    x = keras.layers.Conv2D(
        8 * base_filters, 4, use_bias=False, kernel_initializer=_initializer()
    )(x)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.LeakyReLU(negative_slope=0.2)(x)
    x = keras.layers.ZeroPadding2D()(x)
    x = keras.layers.Conv2D(1, 4, kernel_initializer=_initializer())(x)
    logits = keras.layers.Activation("linear", dtype="float32")(x)
    return keras.Model(inputs, logits)


class Pix2Pix:
    """Both networks, their optimizers and the training step; arguments as above."""

    def __init__(self, image_size: int, base_filters: int, upsampling: str):
        self.generator = build_unet(image_size, base_filters, upsampling)
        self.discriminator = build_patch_gan(image_size, base_filters)
        self.optimizers = [keras.optimizers.Adam(2e-4, beta_1=0.5) for _ in range(2)]
        self.cross_entropy = keras.losses.BinaryCrossentropy(from_logits=True)
        networks = (self.generator, self.discriminator)
        for optimizer, network in zip(self.optimizers, networks, strict=True):
            optimizer.build(network.trainable_variables)

    @tf.function
    def train_step(self, semantic_map, real):
        """One update of each network; returns the generator's loss."""
        with tf.GradientTape() as generator_tape, tf.GradientTape() as judge_tape:
            synthetic = self.generator(semantic_map, training=True)
            on_real = self.discriminator([semantic_map, real], training=True)
            on_synthetic = self.discriminator([semantic_map, synthetic], training=True)
            generator_loss = self.cross_entropy(
                tf.ones_like(on_synthetic), on_synthetic
            ) + L1_WEIGHT * tf.reduce_mean(tf.abs(real - synthetic))
            judge_loss = self.cross_entropy(
                tf.ones_like(on_real), on_real
            ) + self.cross_entropy(tf.zeros_like(on_synthetic), on_synthetic)
        for network, optimizer, tape, loss in zip(
            (self.generator, self.discriminator),
            self.optimizers,
            (generator_tape, judge_tape),
            (generator_loss, judge_loss),
            strict=True,
        ):
            weights = network.trainable_variables
            optimizer.apply_gradients(
                zip(tape.gradient(loss, weights), weights, strict=True)
            )
        return generator_loss

    @tf.function
    def paint(self, semantic_map):
        return self.generator(semantic_map, training=False)


def _halve(x, filters, norm):
    x = keras.layers.Conv2D(
        filters,
        4,
        strides=2,
        padding="same",
        use_bias=not norm,
        kernel_initializer=_initializer(),
    )(x)
    if norm:
        x = keras.layers.BatchNormalization()(x)
    return keras.layers.LeakyReLU(negative_slope=0.2)(x)


def _double(x, filters, upsampling, use_bias):
    arguments = {
        "padding": "same",
        "use_bias": use_bias,
        "kernel_initializer": _initializer(),
    }
    if upsampling == "resize_conv":
        x = keras.layers.UpSampling2D()(x)
        return keras.layers.Conv2D(filters, 3, **arguments)(x)
    return keras.layers.Conv2DTranspose(filters, 4, strides=2, **arguments)(x)


def _initializer():
    return keras.initializers.RandomNormal(stddev=0.02)
