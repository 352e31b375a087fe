"""The conditions of a semantic map as planes of their own, for the networks."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="dermgan_tf")
class ConditionPlanes(keras.layers.Layer):
    """Adds to a map one plane a condition: 1 inside its ROIs, 0 elsewhere.

    A map tells conditions apart by n levels of G and n of B. Neighbouring codes differ
    by little, and what a convolution gives for one it nearly gives for the next: with
    27 conditions, rare ones are painted like their neighbours. One plane each, as
    pix2pixHD (Wang et al. 2018) reads label maps, sets all equally far apart.

    A plane is the product of two hats, 1 at the code's level of G and of B, and 0 from
    the neighbouring levels on; so a map with noise gives almost the same planes.

    Args:
        levels: int n ≥ 1. Non-zero levels of G and of B; see
            `dermgan_tf.photos.semantic_map.codes_per_channel`.

    Input: float [N, S, S, 3] in [-1, 1]. Output: [N, S, S, 3 + n²].
    """

    def __init__(self, levels: int, **kwargs):
        super().__init__(**kwargs)
        if levels < 1:
            raise ValueError(f"levels must be at least 1, got {levels}")
        self.levels = levels

    def call(self, inputs):
        # Computed in float32. Maps that come in bfloat16 are off by 1/512 at most near
        # ±1, which moves a plane by n/1024.
        codes = (ops.cast(inputs, "float32")[..., 1:] + 1) * (self.levels / 2)
        at = ops.arange(1, self.levels + 1, dtype="float32")
        hats = ops.relu(1 - ops.abs(ops.expand_dims(codes, -1) - at))  # [N, S, S, 2, n]
        planes = ops.expand_dims(hats[..., 0, :], -1) * ops.expand_dims(
            hats[..., 1, :], -2
        )
        shape = (-1, *inputs.shape[1:3], self.levels**2)
        planes = ops.cast(ops.reshape(planes, shape), inputs.dtype)
        return ops.concatenate([inputs, planes], axis=-1)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], 3 + self.levels**2)

    def get_config(self):
        return {**super().get_config(), "levels": self.levels}
