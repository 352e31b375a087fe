import keras
import numpy as np
import pytest
import tensorflow as tf

from dermgan_tf.layers.group_norm import GroupNorm


def outputs_and_gradients(layer, x, dy):
    channels = x.shape[-1]
    layer.build(x.shape)
    layer.gamma.assign(np.linspace(0.5, 2, channels))
    layer.beta.assign(np.linspace(-1, 2, channels))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x)
    variables = [layer.gamma.value, layer.beta.value]
    gradients = tape.gradient(y, [x, *variables], tf.cast(dy, y.dtype))
    return [tf.cast(t, tf.float32).numpy() for t in (y, *gradients)]


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize(
    "shape, groups", [((2, 5, 7, 24), 8), ((1, 16, 16, 8), 1), ((3, 4, 4, 6), 6)]
)
def test_does_what_keras_group_normalization_does(policy, shape, groups):
    rng = np.random.default_rng(0)
    dtype = keras.DTypePolicy(policy).compute_dtype
    x = tf.cast(rng.normal(2, 3, size=shape), dtype)
    dy = tf.constant(rng.normal(size=shape), tf.float32)
    ours, theirs = (
        outputs_and_gradients(kind(groups, epsilon=1e-5, dtype=policy), x, dy)
        for kind in (GroupNorm, keras.layers.GroupNormalization)
    )
    tolerance = 1e-5 if policy == "float32" else 2**-7
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, atol=tolerance * np.abs(b).max())


def test_numerically_against_the_definition():
    x = np.random.default_rng(1).normal(50, 2, size=(2, 6, 6, 8))  # mean ≫ deviation
    layer = GroupNorm(4, epsilon=1e-5)
    y = layer(x.astype("float32"))
    groups = x.reshape(2, 36, 4, 2)
    mean = groups.mean((1, 3), keepdims=True)
    deviation = np.sqrt(groups.var((1, 3), keepdims=True) + 1e-5)
    wanted = ((groups - mean) / deviation).reshape(x.shape)
    np.testing.assert_allclose(y, wanted, atol=1e-4)


def test_sizes_that_are_not_known_when_it_is_traced():
    layer = GroupNorm(2, epsilon=1e-5)
    x = tf.random.normal((2, 3, 5, 8), seed=1)
    dy = tf.random.normal(x.shape, seed=2)
    layer.build(x.shape)

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 8])] * 2)
    def traced(x, dy):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x)
        return y, tape.gradient(y, x, dy)

    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x)
    for ours, theirs in zip(traced(x, dy), (y, tape.gradient(y, x, dy)), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_one_pixel_and_images_apart():
    layer = GroupNorm(2, epsilon=1e-5)
    x = tf.random.normal((3, 1, 1, 8), seed=1)
    together = layer(x)
    np.testing.assert_allclose(together[1:2], layer(x[1:2]), atol=1e-6)
