import keras
import numpy as np
import pytest
import tensorflow as tf

import dermgan_tf as dg


def weighted_sum(y):
    """A scalar in which every element counts differently."""
    weights = tf.cos(tf.range(tf.size(y), dtype=tf.float32))
    return tf.reduce_sum(y * tf.reshape(weights, y.shape))


def two_step_oracle(kernel, bias, x):
    """Keras' own UpSampling2D and Conv2D with the same weights."""
    up = keras.layers.UpSampling2D(2, interpolation="nearest")
    conv = keras.layers.Conv2D(kernel.shape[-1], kernel.shape[0], padding="same")
    conv.build((None, None, None, kernel.shape[2]))
    conv.set_weights([kernel, bias])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        y = conv(up(x))
        loss = weighted_sum(y)
    return y, [tape.gradient(loss, v) for v in (x, conv.kernel.value, conv.bias.value)]


@pytest.mark.parametrize("form", ["auto", "folded", "two_step"])
@pytest.mark.parametrize("kernel_size", [1, 3, 5])
@pytest.mark.parametrize("shape", [(2, 1, 1, 4), (1, 7, 9, 3), (2, 32, 16, 5)])
def test_equals_upsampling_then_convolution(form, kernel_size, shape):
    check_against_oracle(shape, 6, kernel_size, form)


@pytest.mark.parametrize("form", ["winograd", "subpixel"])
@pytest.mark.parametrize("filters", [3, 64])
@pytest.mark.parametrize("shape", [(2, 1, 1, 4), (1, 7, 9, 3), (2, 32, 16, 40)])
def test_tensorflow_forms_equal_upsampling_then_convolution(form, filters, shape):
    check_against_oracle(shape, filters, 3, form)


def check_against_oracle(shape, filters, kernel_size, form):
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(kernel_size, kernel_size, shape[-1], filters))
    kernel = kernel.astype("float32") / np.sqrt(kernel[..., 0].size)  # outputs near 1
    bias = rng.normal(size=filters).astype("float32")
    x = tf.constant(rng.normal(size=shape).astype("float32"))
    layer = dg.ResizeConv2D(filters, kernel_size, form=form)
    layer.build(shape)
    layer.set_weights([kernel, bias])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        y = layer(x)
        loss = weighted_sum(y)
    expected, expected_gradients = two_step_oracle(kernel, bias, x)
    assert y.shape == expected.shape == layer.compute_output_shape(shape)
    np.testing.assert_allclose(y, expected, atol=1e-5)
    gradients = [
        tape.gradient(loss, v) for v in (x, layer.kernel.value, layer.bias.value)
    ]
    for gradient, wanted in zip(gradients, expected_gradients, strict=True):
        scale = np.abs(wanted).max()
        np.testing.assert_allclose(gradient / scale, wanted / scale, atol=1e-5)


@pytest.mark.parametrize(
    "shape, filters, form",
    [
        ((None, 4, 4, 8), 64, "winograd"),
        ((None, 64, 64, 8), 3, "subpixel"),
        ((None, 64, 64, 8), 32, "folded"),
        ((None, 4, 4, 8), 32, "two_step"),
        ((None, None, None, 8), 64, "folded"),
    ],
)
def test_auto_takes_the_form_for_the_shape(shape, filters, form):
    layer = dg.ResizeConv2D(filters)
    layer.build(shape)
    assert layer.chosen_form == form


@pytest.mark.parametrize("form", ["two_step", "folded", "winograd", "subpixel"])
def test_bfloat16_stays_near_float32(form):
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 32)).astype("float32")
    layer = dg.ResizeConv2D(16, form=form, dtype="mixed_bfloat16")
    y = layer(x)
    assert y.dtype == tf.bfloat16
    expected, _ = two_step_oracle(*layer.get_weights(), tf.constant(x))
    # bfloat16 keeps 8 bits
    error = np.abs(tf.cast(y, tf.float32) - expected)
    assert error.max() < 4 * 2**-8 * np.abs(expected).max()


@pytest.mark.parametrize("form", ["two_step", "folded", "winograd", "subpixel"])
def test_prepared_layer_uses_the_transformed_kernel_only(form):
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 32)).astype("float32")
    layer = dg.ResizeConv2D(16, form=form)
    before = layer(x)
    variables = layer.prepare_for_inference()
    layer.kernel.assign(np.zeros(layer.kernel.shape))
    np.testing.assert_array_equal(layer(x), before)
    variables[0].assign(tf.zeros_like(variables[0]))
    assert not np.array_equal(layer(x), before)


def test_weights_are_those_of_the_small_kernel():
    layer = dg.ResizeConv2D(8)
    layer.build((None, 16, 16, 4))
    assert [tuple(w.shape) for w in layer.weights] == [(3, 3, 4, 8), (8,)]


def test_saves_and_loads(tmp_path):
    model = keras.Sequential(
        [keras.Input((16, 16, 3)), dg.ResizeConv2D(4, form="folded")]
    )
    model.save(tmp_path / "model.keras")
    x = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype("float32")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(x), model(x))
    assert loaded.layers[0].form == "folded"


def test_bad_arguments():
    with pytest.raises(ValueError, match="odd"):
        dg.ResizeConv2D(4, kernel_size=4)
    with pytest.raises(ValueError, match="form"):
        dg.ResizeConv2D(4, form="fast")


@pytest.mark.parametrize("form", ["winograd", "subpixel"])
def test_forms_that_need_a_known_size_say_so(form):
    with pytest.raises(ValueError, match="known size.*None"):
        dg.ResizeConv2D(4, form=form).build((None, None, None, 3))
    with pytest.raises(ValueError, match="kernel_size 5"):
        dg.ResizeConv2D(4, 5, form=form).build((None, 8, 8, 3))
