"""What adaptive discriminator augmentation does to an image, and with what chance.

After Karras et al. 2020 ("Training Generative Adversarial Networks with Limited Data",
arXiv 2006.06676, appendix B): a discriminator that sees all images, real and synthetic,
through the same random changes learns few images by heart less easily. As long as each
change is left out often enough, the generator does not learn to paint it.

Of their changes these are here, with their distributions:

    flip                 left and right, half of the time
    turn                 by 0, 90, 180, 270°
    whole shift          by U(-1/8, 1/8) of the side, in whole pixels, each way
    scale                by 2^N(0, 0.2²)
    rotation             by U(-180°, 180°)
    fractional shift     by N(0, (1/8)²) of the side, each way
    brightness           plus N(0, 0.2²), images in [-1, 1]
    contrast             times 2^N(0, 0.5²)
    hue                  turned around the grey axis by U(-180°, 180°)
    saturation           times 2^N(0, 1)
    cutout               a square of half the side, anywhere, becomes mid-grey

Left out: stretching (anisotropic scaling), inverting lightness (luma flip), which shows
no skin, and filters and noise, which the paper found to do harm or nothing. Where they
filter against aliasing, the geometric changes, all in one, sample bilinearly here; the
image is reflected at its border.
"""

import math

import numpy as np
import tensorflow as tf
from keras import ops

from dermgan_tf.layers.seeded_random import normal_of_uniform, seeded_uniform

MAX_SHIFT = 1 / 8  # of the side: most whole shift, deviation of the fractional one
SCALE_DEVIATION = 0.2  # of the factor's log2
BRIGHTNESS_DEVIATION = 0.2
CONTRAST_DEVIATION = 0.5  # of the factor's log2
SATURATION_DEVIATION = 1.0  # of the factor's log2
CUTOUT = 0.5  # of the side
_DRAWS = 25  # random numbers an image


def augment(images, seed, strength, salt: int = 0):
    """Changes each image at random, so that gradients with respect to it are exact.

    An image's change depends on its own seed alone. Each of the eleven kinds above is
    applied with the probability `strength`, by itself.

    Args:
        images: float32 [N, S, S, 3] in [-1, 1].
        seed: int32 [N].
        strength: float32 scalar, 0…1. With 0 images come back to the bit.
        salt: int. Tells apart uses of the same seeds.

    Returns:
        float32 [N, S, S, 3]; may reach beyond [-1, 1].
    """
    size = images.shape[1]
    draws = _Draws(seed, strength, salt)
    matrix, offset = _geometry(draws, size)
    images = _warped(images, matrix, offset)
    images = _recoloured(images, *_colours(draws))
    return images * _kept(draws, size)


class _Draws:
    """Random numbers by image, each used once."""

    def __init__(self, seed, strength, salt: int):
        self._uniform = seeded_uniform(seed, salt, _DRAWS)
        self._strength = strength
        self._next = 0

    def uniform(self):
        """float32 [N], 0…1."""
        self._next += 1
        return self._uniform[:, self._next - 1]

    def normal(self, deviation: float):
        """float32 [N]."""
        return deviation * normal_of_uniform(self.uniform())

    def chosen(self, otherwise: float, *values):
        """Each image's own values with the chance `strength`, else `otherwise`."""
        use = self.uniform() < self._strength
        values = tuple(ops.where(use, value, otherwise) for value in values)
        return values if len(values) > 1 else values[0]


def _geometry(draws: _Draws, size: int):
    """Where each pixel comes from: matrices [N, 2, 2] and offsets [N, 2] of (x, y).

    Both in pixels from the image's middle. What is found at v of the output is at
    F·K·(R·(v - fraction) / scale - whole) of the input, with the flip F, the turn K and
    the rotation R; all are exact where they are not chosen, and for flips and turns.
    """
    flip = draws.chosen(0.0, ops.floor(2 * draws.uniform()))
    turns = draws.chosen(0.0, ops.floor(4 * draws.uniform()))
    whole = draws.chosen(
        0.0,
        *(ops.round((2 * draws.uniform() - 1) * MAX_SHIFT * size) for _ in range(2)),
    )
    scale = draws.chosen(1.0, 2.0 ** draws.normal(SCALE_DEVIATION))
    angle = draws.chosen(0.0, (2 * draws.uniform() - 1) * math.pi)
    fraction = draws.chosen(0.0, *(draws.normal(MAX_SHIFT * size) for _ in range(2)))
    sign = 1.0 - 2.0 * flip
    quarter = ops.cast(turns, "int32")
    cosine, sine = (
        ops.take(np.array(values, np.float32), quarter)
        for values in ([1, 0, -1, 0], [0, 1, 0, -1])
    )
    square = _matrix([sign * cosine, -sign * sine], [sine, cosine])  # F·K
    along, across = ops.cos(angle) / scale, ops.sin(angle) / scale
    matrix = ops.matmul(square, _matrix([along, -across], [across, along]))
    offset = -_product(matrix, ops.stack(fraction, -1)) - _product(
        square, ops.stack(whole, -1)
    )
    return matrix, offset


def _warped(images, matrix, offset):
    """Samples images where `_geometry` says."""
    size = images.shape[1]
    middle = (size - 1) / 2
    across = np.arange(size, dtype=np.float32)[np.newaxis, np.newaxis, :] - middle
    down = np.arange(size, dtype=np.float32)[np.newaxis, :, np.newaxis] - middle
    columns, rows = (
        matrix[:, i, 0, None, None] * across
        + matrix[:, i, 1, None, None] * down
        + offset[:, i, None, None]
        + middle
        for i in range(2)
    )
    return sample_bilinear(images, rows, columns)


def sample_bilinear(images, rows, columns):
    """Samples images between pixels, reflected at their border.

    Args:
        images: float32 [N, S, S, 3].
        rows, columns: float32 [N, H, W], any values; 0 is the first pixel's middle.

    Returns:
        float32 [N, H, W, 3].
    """
    size = images.shape[1]
    top, low, down = _neighbours(rows, size)
    left, right, across = _neighbours(columns, size)
    start = ops.arange(ops.shape(images)[0], dtype="int32") * size**2
    pixels = ops.reshape(images, (-1, images.shape[-1]))

    def at(row, column):
        return ops.take(pixels, start[:, None, None] + row * size + column, axis=0)

    def between(a, b, share):
        # So written, and not as a + share · (b - a), equal pixels stay equal.
        share = share[..., None]
        return (1.0 - share) * a + share * b

    upper = between(at(top, left), at(top, right), across)
    lower = between(at(low, left), at(low, right), across)
    return between(upper, lower, down)


def _neighbours(places, size: int):
    """The pixels before and after places on a side, int32, and the share between."""
    last = size - 1
    places = last - ops.abs(last - ops.mod(places, 2.0 * last))  # reflected
    before = ops.clip(ops.floor(places), 0, last)
    after = ops.minimum(before + 1, last)
    share = ops.stop_gradient(places - before)
    return ops.cast(before, "int32"), ops.cast(after, "int32"), share


def _colours(draws: _Draws):
    """What each colour becomes: matrices [N, 3, 3] and what is added to all, [N]."""
    brightness = draws.chosen(0.0, draws.normal(BRIGHTNESS_DEVIATION))
    contrast = draws.chosen(1.0, 2.0 ** draws.normal(CONTRAST_DEVIATION))
    hue = draws.chosen(0.0, (2 * draws.uniform() - 1) * math.pi)
    saturation = draws.chosen(1.0, 2.0 ** draws.normal(SATURATION_DEVIATION))
    grey = np.full((3, 3), 1 / 3, np.float32)  # v·vᵀ, v the grey axis
    turn = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]], np.float32) / math.sqrt(3)
    same = np.eye(3, dtype=np.float32)
    hue, contrast, saturation = (
        value[:, None, None] for value in (hue, contrast, saturation)
    )
    # Rodrigues' formula for the rotation around v.
    rotation = ops.cos(hue) * same + (1 - ops.cos(hue)) * grey + ops.sin(hue) * turn
    stretch = saturation * same + (1 - saturation) * grey
    matrix = contrast * ops.matmul(stretch, rotation)
    # Grey stays grey under both, so brightness is only scaled.
    return matrix, brightness * contrast[:, 0, 0]


def _recoloured(images, matrix, added):
    size = images.shape[1]
    pixels = ops.reshape(images, (-1, size * size, 3))
    pixels = ops.matmul(pixels, ops.transpose(matrix, (0, 2, 1)))
    return ops.reshape(pixels + added[:, None, None], (-1, size, size, 3))


def _kept(draws: _Draws, size: int):
    """Masks [N, S, S, 1]: 0 inside the cut-out square, 1 elsewhere."""
    half = draws.chosen(0.0, CUTOUT / 2)
    places = (np.arange(size, dtype=np.float32) + 0.5) / size
    rows, columns = (
        ops.abs(places - draws.uniform()[:, None]) < half[:, None] for _ in range(2)
    )
    cut = ops.logical_and(rows[:, :, None], columns[:, None, :])
    return 1.0 - ops.cast(cut, "float32")[..., None]


def _matrix(*rows):
    """Matrices [N, 2, 2] of entries [N]."""
    return ops.stack([ops.stack(row, -1) for row in rows], -2)


def _product(matrix, vector):
    """[N, 2] of [N, 2, 2] and [N, 2]."""
    return ops.sum(matrix * vector[:, None, :], -1)


# Training images over which the mean is taken and after which the strength moves: the
# paper's 4 steps of 64.
ADJUST_EVERY = 256
# Beyond this the changes leak into the images (the paper's section 2.2).
MAX_STRENGTH = 0.8


class AugmentationStrength(tf.Module):
    """The probability of each change, in variables, which checkpoints hold.

    Build it under the run's strategy.

    Args:
        images: int ≥ 1. Training images in which the strength goes from 0 to 1 where
            r_t is above the target all the time; 500,000 in the paper, whose runs see
            25 million.
        target: float < 1. The r_t that is aimed at; below −1 the strength only rises.
    """

    def __init__(self, images: int, target: float):
        super().__init__(name="augmentation_strength")
        self.images = images
        self.target = target

        def variable():  # replicas compute the same values
            return tf.Variable(
                0.0,
                trainable=False,
                aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
            )

        self.value = variable()
        # Since the last move: sum of the logits' signs, and number of images.
        self.signs, self.seen = variable(), variable()

    def update(self, real_logits) -> None:
        """Counts a step's logits on training images, and moves the strength when due.

        Args:
            real_logits: float32 [N, 1], of this replica.
        """
        signs = tf.reduce_sum(tf.sign(tf.stop_gradient(real_logits)))
        count = tf.cast(tf.shape(real_logits)[0], tf.float32)
        new = tf.distribute.get_replica_context().all_reduce(
            tf.distribute.ReduceOp.SUM, tf.stack([signs, count])
        )
        signs, seen = self.signs + new[0], self.seen + new[1]
        due = seen >= ADJUST_EVERY
        move = tf.sign(signs / seen - self.target) * seen / self.images
        moved = tf.clip_by_value(self.value + move, 0.0, MAX_STRENGTH)
        self.value.assign(tf.where(due, moved, self.value))
        self.signs.assign(tf.where(due, 0.0, signs))
        self.seen.assign(tf.where(due, 0.0, seen))
