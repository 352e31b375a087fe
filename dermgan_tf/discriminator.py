"""The discriminator: a 70 × 70 PatchGAN on (semantic map, image)."""

import keras

from dermgan_tf.generator import IMAGE_SIZES, initializer, norm_layer


def build_discriminator(image_size: int = 256, base_filters: int = 64) -> keras.Model:
    """Builds pix2pix' PatchGAN (Isola et al. 2017): C64-C128-C256-C512-1.

    Each logit judges a patch of 70 × 70 pixels. Convolutions are 4 × 4, padded by one
    pixel; strides 2, 2, 2, 1, 1.

    Args:
        image_size: int. Side S in pixels: 64, 128, 256 or 512.
        base_filters: int, at least 1. Filters of the first convolution; 64 in the
            paper.

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
    x = keras.layers.Concatenate(name="map_and_image")([semantic_map, image])
    for i in range(3):
        x = apply_patch_block(x, 2**i * base_filters, 2, i > 0, f"patch_{i}")
    features = apply_patch_block(x, 8 * base_filters, 1, True, "patch_3")
    x = keras.layers.ZeroPadding2D(1, name="logits_pad")(features)
    logits = keras.layers.Conv2D(
        1, 4, kernel_initializer=initializer(), name="logits_conv"
    )(x)
    logits = keras.layers.Activation("linear", dtype="float32", name="logits")(logits)
    return keras.Model([semantic_map, image], (logits, features), name="discriminator")


def apply_patch_block(x, filters: int, strides: int, norm: bool, name: str):
    """4 × 4 convolution padded by one, norm where wanted, LeakyReLU 0.2."""
    x = keras.layers.ZeroPadding2D(1, name=f"{name}_pad")(x)
    x = keras.layers.Conv2D(
        filters,
        4,
        strides=strides,
        use_bias=not norm,
        kernel_initializer=initializer(),
        name=f"{name}_conv",
    )(x)
    if norm:
        x = norm_layer(filters, f"{name}_norm")(x)
    return keras.layers.LeakyReLU(negative_slope=0.2, name=f"{name}_relu")(x)
