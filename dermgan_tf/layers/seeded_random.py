"""Dropout and noise that depend on an image's own seed and on nothing else.

Not on its neighbours in the batch, the batch's size, or what ran before, as those of a
stateful generator would.
"""

import math

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="dermgan_tf")
class SeededDropout(keras.layers.Layer):
    """Drops activations by a hash of (seed, place), in training and inference alike.

    Args:
        rate: float, 0…1. Share of activations set to zero; the rest grow by 1/(1-rate).
        salt: int. Tells apart the layers that get the same seed.

    Call arguments:
        inputs: [N, H, W, C].
        seed: int32 [N]. One seed an image.
    """

    def __init__(self, rate: float, salt: int = 0, **kwargs):
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ValueError(f"rate must be in [0, 1), got {rate}")
        self.rate = rate
        self.salt = salt

    def call(self, inputs, seed):
        _, height, width, channels = inputs.shape
        bits = random_bits(seed, self.salt, height, width, channels)
        kept = ops.bitwise_and(bits, 0x7FFFFFFF) >= round(self.rate * 2**31)
        scale = ops.cast(1 / (1 - self.rate), inputs.dtype)
        return inputs * ops.cast(kept, inputs.dtype) * scale

    def compute_output_shape(self, inputs_shape, seed_shape=None):
        return inputs_shape

    def get_config(self):
        return {**super().get_config(), "rate": self.rate, "salt": self.salt}


@keras.saving.register_keras_serializable(package="dermgan_tf")
class SeededNoise(keras.layers.Layer):
    """Adds noise, one value a pixel, times a learned factor a channel.

    As in StyleGAN (Karras et al. 2019), and for its reason: where a map is flat, all
    that a convolution sees is flat, and without noise it can paint no texture there.

    Args:
        salt: int. Tells apart the layers that get the same seed.

    Call arguments:
        inputs: [N, H, W, C].
        seed: int32 [N]. One seed an image.
    """

    def __init__(self, salt: int = 0, **kwargs):
        super().__init__(**kwargs)
        self.salt = salt

    def build(self, inputs_shape, seed_shape=None):
        self.strength = self.add_weight(
            shape=(inputs_shape[-1],),
            initializer=keras.initializers.Constant(0.1),
            name="strength",
        )

    def call(self, inputs, seed):
        _, height, width, _ = inputs.shape
        bits = random_bits(seed, self.salt, height, width, 1)
        # Four random bytes make a sum that is near enough to normal, within ±3.5.
        bytes_ = (ops.bitwise_and(_logical_shift(bits, 8 * i), 0xFF) for i in range(4))
        total = sum(bytes_)
        noise = (ops.cast(total, "float32") - 2 * 255) / (4 * (256**2 - 1) / 12) ** 0.5
        return inputs + ops.cast(noise, inputs.dtype) * self.strength

    def compute_output_shape(self, inputs_shape, seed_shape=None):
        return inputs_shape

    def get_config(self):
        return {**super().get_config(), "salt": self.salt}


def random_bits(seed, salt: int, height: int, width: int, channels: int):
    """Random int32 [N, height, width, channels], from seed int32 [N] and salt."""
    places = ops.arange(height * width * channels, dtype="int32")
    start = _hash(ops.cast(seed, "int32") ^ _hash_int(salt + 1))
    bits = _hash(ops.expand_dims(start, -1) + places)
    return ops.reshape(bits, (-1, height, width, channels))


def seeded_uniform(seed, salt: int, count: int):
    """Random float32 [N, count], 0…1 without the ends, from seed int32 [N] and salt."""
    bits = ops.reshape(random_bits(seed, salt, 1, 1, count), (-1, count))
    # 23 bits, as many as float32 holds of (k + 1/2) / 2²³ without rounding.
    steps = ops.cast(_logical_shift(bits, 9), "float32")
    return (steps + 0.5) / 2.0**23


def seeded_normal(seed, salt: int, count: int):
    """Standard normal float32 [N, count], within ±5.3, from seed int32 [N] and salt."""
    return normal_of_uniform(seeded_uniform(seed, salt, count))


def normal_of_uniform(uniform):
    """The standard normal's quantiles: float32 of float32 in 0…1, without the ends."""
    return math.sqrt(2) * ops.erfinv(2.0 * uniform - 1.0)


# "lowbias32" (Wellons 2018, "Prospecting for hash functions"): xor-shifts of 16, 15, 16
# bits around these two multipliers. int32 wraps around alike on every backend.
_MULTIPLIERS = (0x7FEB352D, 0x846CA68B)


def _hash(x):
    x = x ^ _logical_shift(x, 16)
    x = x * _as_int32(_MULTIPLIERS[0])
    x = x ^ _logical_shift(x, 15)
    x = x * _as_int32(_MULTIPLIERS[1])
    return x ^ _logical_shift(x, 16)


def _logical_shift(x, bits: int):
    if bits == 0:
        return x
    return ops.bitwise_and(ops.right_shift(x, bits), (1 << (32 - bits)) - 1)


def _hash_int(x: int) -> int:
    x ^= x >> 16
    x = x * _MULTIPLIERS[0] & 0xFFFFFFFF
    x ^= x >> 15
    x = x * _MULTIPLIERS[1] & 0xFFFFFFFF
    return _as_int32(x ^ (x >> 16))


def _as_int32(x: int) -> int:
    return x - 2**32 if x >= 2**31 else x
