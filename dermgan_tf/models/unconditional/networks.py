"""Networks that paint a photograph from a latent, and that judge one by itself."""

import keras

from dermgan_tf.layers.resize_conv2d import ResizeConv2D
from dermgan_tf.layers.seeded_random import seeded_normal

IMAGE_SIZES = (16, 32, 64, 128, 256, 512)
LATENT_SIZE = 256  # as in Mescheder et al. 2018
MAX_WIDENING = 8  # filters grow to at most 8 · base
FIRST_SIZE = 4  # pixels of the generator's first, the discriminator's last feature map
RESIDUAL_SCALE = 0.1
_LATENT_SALT = 0x1A7E


def build_latent_generator(
    image_size: int = 128,
    base_filters: int = 32,
    latent_size: int = LATENT_SIZE,
    name: str = "generator",
) -> keras.Model:
    """Builds the ResNet generator of Mescheder et al. 2018 (arXiv 1801.04406, app. F).

    A dense layer makes 4 × 4 pixels of the latent, residual blocks double them up to
    the image. No normalisation: the residual branches are scaled by 0.1 instead. A
    block of theirs begins with what follows a nearest-neighbour resize; LeakyReLU and
    1 × 1 convolutions give the same before the resize as after it, so that resize and
    3 × 3 convolution are one `ResizeConv2D` here.

    Nothing in it is random. As the first layer is linear, to scale latents towards 0 is
    to move that layer's features towards their mean: StyleGAN's truncation (Karras et
    al. 2019, appendix B), for this network.

    Args:
        image_size: int. Side S in pixels: 16 to 512, a power of two.
        base_filters: int, at least 1. Filters at full size; 2, 4, 8 times as many at
            half, a quarter, an eighth and less. 64 in the paper, 16 for 1024 pixels.
        latent_size: int, at least 1. Length L of a latent.
        name: str.

    Returns:
        keras.Model. Reads latents, float32 [N, L], in training standard normal; returns
        float32 [N, S, S, 3] in [-1, 1].
    """
    _require_size(image_size, base_filters)
    if latent_size < 1:
        raise ValueError(f"latent_size must be at least 1, got {latent_size}")
    filters = _filters(image_size, base_filters)[::-1]  # from 4 × 4 pixels on
    # === Functional Model ===
    latent = keras.Input((latent_size,), name="latent")
    x = keras.layers.Dense(
        FIRST_SIZE**2 * filters[0], kernel_initializer=_initializer(1.0), name="first"
    )(latent)
    x = keras.layers.Reshape((FIRST_SIZE, FIRST_SIZE, filters[0]), name="first_map")(x)
    x = apply_residual_block(x, filters[1], "block_0")
    for i, count in enumerate([*filters[2:], filters[-1]], start=1):
        x = apply_residual_block(x, count, f"block_{i}", doubling=True)
    x = _leaky(x, "image_relu")
    x = _conv(3, 3, "image_conv")(x)
    image = keras.layers.Activation("tanh", dtype="float32", name="image")(x)
    return keras.Model(latent, image, name=name)


def build_image_discriminator(
    image_size: int = 128, base_filters: int = 32, name: str = "discriminator"
) -> keras.Model:
    """Builds the ResNet discriminator of Mescheder et al. 2018 (app. F).

    Residual blocks with average pooling between them, down to 4 × 4 pixels, then one
    logit an image. No normalisation, so that no image depends on its batch, and the
    gradient penalty is exact. Pooling is over 2 × 2 pixels, where theirs is over 3 × 3.

    Args:
        image_size, base_filters, name: as of `build_latent_generator`.

    Returns:
        keras.Model. Reads images, float32 [N, S, S, 3]; returns logits, float32 [N, 1],
        high for real.
    """
    _require_size(image_size, base_filters)
    filters = _filters(image_size, base_filters)
    # === Functional Model ===
    image = keras.Input((image_size, image_size, 3), name="image")
    x = _conv(filters[0], 3, "image_conv", gain=1.0)(image)
    x = apply_residual_block(x, filters[0], "block_0")
    for i, count in enumerate(filters[1:], start=1):
        x = keras.layers.AveragePooling2D(2, name=f"block_{i}_pool")(x)
        x = apply_residual_block(x, count, f"block_{i}")
    x = keras.layers.Flatten(name="last_map")(_leaky(x, "last_relu"))
    x = keras.layers.Dense(1, kernel_initializer=_initializer(2.0), name="logit")(x)
    logits = keras.layers.Activation("linear", dtype="float32", name="logits")(x)
    return keras.Model(image, logits, name=name)


def apply_residual_block(x, filters: int, name: str, doubling: bool = False):
    """x + 0.1 · conv(leaky(conv(leaky(x)))), twice as large where wanted.

    The shortcut is a 1 × 1 convolution where the number of filters changes.
    """
    given = x.shape[-1]
    hidden = min(given, filters)
    y = _leaky(x, f"{name}_relu_0")
    if doubling:
        y = ResizeConv2D(
            hidden, kernel_initializer=_initializer(2.0), name=f"{name}_conv_0"
        )(y)
    else:
        y = _conv(hidden, 3, f"{name}_conv_0")(y)
    y = _conv(filters, 3, f"{name}_conv_1")(_leaky(y, f"{name}_relu_1"))
    y = keras.layers.Rescaling(RESIDUAL_SCALE, name=f"{name}_scale")(y)
    if given != filters:
        x = _conv(filters, 1, f"{name}_shortcut", gain=1.0, use_bias=False)(x)
    if doubling:
        x = keras.layers.UpSampling2D(name=f"{name}_resize")(x)
    return keras.layers.Add(name=name)([x, y])


def latents_of_seeds(seed, latent_size: int):
    """Standard normal latents, float32 [N, L], each of its own seed, int32 [N]."""
    return seeded_normal(seed, _LATENT_SALT, latent_size)


def _filters(image_size: int, base_filters: int) -> list[int]:
    """Filters by size of the feature map: image_size, half of it, … 4 pixels."""
    halvings = (image_size // FIRST_SIZE).bit_length() - 1
    return [min(2**i, MAX_WIDENING) * base_filters for i in range(halvings + 1)]


def _conv(filters: int, size: int, name: str, gain: float = 2.0, use_bias: bool = True):
    return keras.layers.Conv2D(
        filters,
        size,
        padding="same",
        use_bias=use_bias,
        kernel_initializer=_initializer(gain),
        name=name,
    )


def _leaky(x, name: str):
    return keras.layers.LeakyReLU(negative_slope=0.2, name=name)(x)


def _initializer(gain: float):
    """He et al. 2015: keeps the variance, with gain 2 after a ReLU and 1 elsewhere.

    The paper's is PyTorch's default, a sixth of it after a ReLU. With it the
    discriminator's gradient at images was a seventh, in two short runs.
    """
    return keras.initializers.VarianceScaling(gain, "fan_in", "truncated_normal")


def _require_size(image_size: int, base_filters: int) -> None:
    if image_size not in IMAGE_SIZES:
        raise ValueError(
            f"image_size must be a power of two, 16 to 512, got {image_size}"
        )
    if base_filters < 1:
        raise ValueError(f"base_filters must be at least 1, got {base_filters}")
