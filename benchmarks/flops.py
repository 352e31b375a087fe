"""How many floating-point operations the convolutions of pix2pix' networks need.

A multiplication and an addition count as two. A convolution needs as many for the
gradient with respect to its kernel as forward, and as many again for the one with
respect to its input. All else (norms, activations, Adam) is left out, as it moves data
rather than computes: the limit that follows is one that no implementation reaches.
Taps that fall on padding are counted; they are under 1 % at 256 × 256.
"""

import dataclasses

MAX_WIDENING = 8  # filters grow to at most 8 · base


@dataclasses.dataclass(frozen=True)
class Convolution:
    """One convolution, or transposed one, of a k × k kernel.

    Args:
        name: of the layer.
        positions: int. Pixels at which the kernel is applied: of the output, or of a
            transposed convolution's input.
        kernel_size: int. k.
        channels_in, channels_out: int.
    """

    name: str
    positions: int
    kernel_size: int
    channels_in: int
    channels_out: int

    @property
    def flops(self) -> int:
        """Operations of a forward pass of one image."""
        taps = self.kernel_size**2 * self.channels_in * self.channels_out
        return 2 * self.positions * taps


def generator_convolutions(
    image_size: int = 256, base_filters: int = 64
) -> list[Convolution]:
    """The generator's, with transposed 4 × 4 convolutions in the decoder.

    A ×2 resize with a 3 × 3 convolution is such a transposed convolution: see
    dermgan_tf.ResizeConv2D. Computed in two steps it needs 9/4 times as many.
    """
    blocks = image_size.bit_length() - 1
    filters = [min(2**i, MAX_WIDENING) * base_filters for i in range(blocks)]
    layers, channels = [], 3
    for i, width in enumerate(filters):
        side = image_size // 2 ** (i + 1)
        layers.append(Convolution(f"encoder_{i}", side**2, 4, channels, width))
        channels = width
    for i, width in enumerate([*reversed(filters[:-1]), 3]):
        side = 2**i
        name = f"decoder_{i}" if width != 3 or i < blocks - 1 else "image"
        layers.append(Convolution(name, side**2, 4, channels, width))
        channels = 2 * width  # with the skip
    return layers


def discriminator_convolutions(
    image_size: int = 256, base_filters: int = 64
) -> list[Convolution]:
    """The 70 × 70 PatchGAN's, for one (map, image)."""
    layers, channels = [], 6
    for i in range(3):
        width, side = 2**i * base_filters, image_size // 2 ** (i + 1)
        layers.append(Convolution(f"patch_{i}", side**2, 4, channels, width))
        channels = width
    # padded by one, stride 1: each takes a pixel off the side
    side = image_size // 8
    width = 8 * base_filters
    layers.append(Convolution("patch_3", (side - 1) ** 2, 4, channels, width))
    layers.append(Convolution("logits", (side - 2) ** 2, 4, width, 1))
    return layers


def inference_flops(image_size: int = 256, base_filters: int = 64) -> int:
    """Operations that paint one image."""
    return sum(c.flops for c in generator_convolutions(image_size, base_filters))


def training_flops(image_size: int = 256, base_filters: int = 64) -> int:
    """Operations that one training image needs.

    One forward pass of the generator, and of the discriminator on the real and on the
    synthetic image, serves both updates. Backward: through both networks for their own
    kernels, and once more through the discriminator, from the generator's loss to the
    synthetic image. No gradient is needed of the first layers' inputs, but for that
    last one.
    """
    generator = generator_convolutions(image_size, base_filters)
    discriminator = discriminator_convolutions(image_size, base_filters)
    painting = sum(c.flops for c in generator)
    judging = sum(c.flops for c in discriminator)
    generator_passes = 3 * painting - generator[0].flops
    discriminator_passes = 2 * (3 * judging - discriminator[0].flops) + judging
    return generator_passes + discriminator_passes
