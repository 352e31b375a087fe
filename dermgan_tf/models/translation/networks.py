"""Networks that change a photograph where a mask says so, and those that judge them."""

import keras
from keras import ops

from dermgan_tf.layers.resize_conv2d import ResizeConv2D
from dermgan_tf.models.dermgan.networks import (
    MAX_WIDENING,
    PatchLogits,
    apply_decoder_block,
    apply_encoder_block,
    apply_patch_block,
    initializer,
    norm_layer,
    upsampling_layer,
)

ARCHITECTURES = ("resnet", "unet")
IMAGE_SIZES = (16, 32, 64, 128, 256, 512)
# Residual blocks by image size: CycleGAN's 6 up to 128 pixels, 9 from 256 on.
_MANY_BLOCKS_FROM = 256
# The border of a composition fades over this share of the image's side.
BORDER = 1 / 32


def build_translator(
    image_size: int = 128,
    base_filters: int = 64,
    architecture: str = "resnet",
    use_mask: bool = True,
    hide_masked: bool = False,
    name: str = "generator",
) -> keras.Model:
    """Builds a network that paints a photograph anew.

    "resnet" is CycleGAN's generator (Zhu et al. 2017, appendix 7.2): a 7 × 7
    convolution, two that halve, 6 residual blocks (9 from 256 pixels on), two that
    double, a 7 × 7 convolution. "unet" is pix2pix' (Isola et al. 2017). Both double by
    ResizeConv2D, and normalise by groups (see `generator.norm_layer`). Nothing in them
    is random: a photo and a mask give one image.

    Args:
        image_size: int. Side S in pixels: 16 to 512, a power of two.
        base_filters: int, at least 1. Filters of the first block; 64 in the papers.
        architecture: "resnet" or "unet".
        use_mask: bool. Whether it reads a mask besides the photo.
        hide_masked: bool. Whether the photo's masked part, with the border of
            `composed`, is grey to all but the input: it then paints that part from the
            mask and the surroundings alone.
        name: str.

    Returns:
        keras.Model. Reads the photo, float32 [N, S, S, 3] in [-1, 1], and with
        `use_mask` [photo, mask], the mask float32 [N, S, S, 1], 1 where it may change;
        returns float32 [N, S, S, 3] in [-1, 1].
    """
    _require_size(image_size, base_filters)
    if architecture not in ARCHITECTURES:
        raise ValueError(
            f"unknown architecture {architecture!r}; known: {', '.join(ARCHITECTURES)}"
        )
    if hide_masked and not use_mask:
        raise ValueError("hide_masked needs a mask to be read: use_mask")
    # === Functional Model ===
    inputs, x = _inputs(image_size, use_mask, "photo", hide_masked)
    if architecture == "resnet":
        x = _apply_resnet(x, base_filters, 9 if image_size >= _MANY_BLOCKS_FROM else 6)
    else:
        x = _apply_unet(x, base_filters, image_size)
    image = keras.layers.Activation("tanh", dtype="float32", name="image")(x)
    return keras.Model(inputs, image, name=name)


def build_domain_discriminator(
    image_size: int = 128,
    base_filters: int = 64,
    use_mask: bool = True,
    name: str = "discriminator",
) -> keras.Model:
    """Builds pix2pix' PatchGAN to tell a domain's photographs from painted ones.

    From 64 pixels on it is the 70 × 70 one of `discriminator.build_discriminator`;
    below, one or two of its halving blocks are left out.

    Args:
        image_size, base_filters, use_mask, name: as of `build_translator`.

    Returns:
        keras.Model. Reads an image, or [image, mask]; returns logits, float32
        [N, h, w, 1], high for real.
    """
    _require_size(image_size, base_filters)
    # === Functional Model ===
    inputs, x = _inputs(image_size, use_mask, "image")
    halvings = min(3, image_size.bit_length() - 4)
    for i in range(halvings):
        x = apply_patch_block(x, 2**i * base_filters, 2, i > 0, f"patch_{i}")
    widest = 2**halvings * base_filters
    x = apply_patch_block(x, widest, 1, True, f"patch_{halvings}")
    x = PatchLogits(kernel_initializer=initializer(), name="logits_conv")(x)
    logits = keras.layers.Activation("linear", dtype="float32", name="logits")(x)
    return keras.Model(inputs, logits, name=name)


@keras.saving.register_keras_serializable(package="dermgan_tf")
class HideMasked(keras.layers.Layer):
    """Makes a photo grey wherever `composed` takes what is painted.

    Input: [photo, mask], [N, S, S, 3] in [-1, 1] and [N, S, S, 1], 0 or 1. Output: the
    photo, 0 inside the mask and its border.
    """

    def call(self, inputs):
        photo, mask = inputs
        reach = 2 * border_width(photo.shape[1]) + 1
        covered = ops.max_pool(mask, reach, strides=1, padding="same")
        return photo * (1.0 - covered)


def composed(photo, painted, mask, image_size: int | None = None):
    """Takes the painted image inside the mask, the photo outside, with a soft border.

    The border lies around the mask: inwards it would leave a rim of what is to be
    removed, as masks are drawn tightly. Beyond it each pixel is the photo's, to the
    bit.

    Args:
        photo, painted: float32 [N, H, W, 3].
        mask: float32 [N, H, W, 1], 0 or 1.
        image_size: int. The side S that the border's width is a share of; default: H.
    """
    border = border_width(image_size or photo.shape[1])
    share = ops.average_pool(mask, 2 * border + 1, strides=1, padding="same")
    # On a straight edge the share falls from nearly a half, beside it, to 0.
    opacity = ops.maximum(mask, ops.minimum(2.0 * share, 1.0))
    # So written, and not as a mean of both, it leaves the photo's very bits.
    return ops.where(opacity > 0, photo + opacity * (painted - photo), photo)


def border_width(image_size: int) -> int:
    """How many pixels around a mask change, of patches of that side."""
    return max(1, round(BORDER * image_size))


def _apply_resnet(x, base_filters: int, blocks: int):
    x = _apply_conv(x, base_filters, 7, 1, "stem")
    x = _apply_conv(x, 2 * base_filters, 3, 2, "down_0")
    x = _apply_conv(x, 4 * base_filters, 3, 2, "down_1")
    for i in range(blocks):
        y = _apply_conv(x, 4 * base_filters, 3, 1, f"block_{i}_0")
        y = _apply_conv(y, 4 * base_filters, 3, 1, f"block_{i}_1", relu=False)
        x = keras.layers.Add(name=f"block_{i}")([x, y])
    for i, filters in enumerate((2 * base_filters, base_filters)):
        x = ResizeConv2D(
            filters, use_bias=False, kernel_initializer=initializer(), name=f"up_{i}"
        )(x)
        x = norm_layer(filters, f"up_{i}_norm")(x)
        x = keras.layers.ReLU(name=f"up_{i}_relu")(x)
    return keras.layers.Conv2D(
        3, 7, padding="same", kernel_initializer=initializer(), name="image_conv"
    )(x)


def _apply_conv(x, filters: int, size: int, strides: int, name: str, relu=True):
    x = keras.layers.Conv2D(
        filters,
        size,
        strides=strides,
        padding="same",
        use_bias=False,
        kernel_initializer=initializer(),
        name=f"{name}_conv",
    )(x)
    x = norm_layer(filters, f"{name}_norm")(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x) if relu else x


def _apply_unet(x, base_filters: int, image_size: int):
    blocks = image_size.bit_length() - 1  # log2(S)
    filters = [min(2**i, MAX_WIDENING) * base_filters for i in range(blocks)]
    skips = []
    for i in range(blocks):
        norm = 0 < i < blocks - 1  # not on the first and the innermost
        x = apply_encoder_block(x, filters[i], norm, f"encoder_{i}")
        skips.append(x)
    x = skips.pop()
    for i, skip in enumerate(reversed(skips)):
        x = apply_decoder_block(
            x, filters[blocks - 2 - i], "resize_conv", f"decoder_{i}"
        )
        x = keras.layers.ReLU(name=f"decoder_{i}_relu")(x)
        x = keras.layers.Concatenate(name=f"decoder_{i}_skip")([x, skip])
    return upsampling_layer(3, "resize_conv", True, "image_upsampling")(x)


def _inputs(
    image_size: int, use_mask: bool, image_name: str, hide_masked: bool = False
):
    """Inputs of a network, and what its first block reads."""
    image = keras.Input((image_size, image_size, 3), name=image_name)
    if not use_mask:
        return image, image
    mask = keras.Input((image_size, image_size, 1), name="mask")
    seen = HideMasked(name="surroundings")([image, mask]) if hide_masked else image
    name = f"{image_name}_and_mask"
    return [image, mask], keras.layers.Concatenate(name=name)([seen, mask])


def _require_size(image_size: int, base_filters: int) -> None:
    if image_size not in IMAGE_SIZES:
        raise ValueError(f"image_size must be one of {IMAGE_SIZES}, got {image_size}")
    if base_filters < 1:
        raise ValueError(f"base_filters must be at least 1, got {base_filters}")
