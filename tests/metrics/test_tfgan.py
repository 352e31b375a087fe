"""TF-GAN imports on today's TensorFlow, works, and leaves Keras and tf alone."""

import math
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from dermgan_tf.layers import losses
from dermgan_tf.metrics.tfgan import tfgan


def run_python(code):
    """Runs `code` in a fresh interpreter, and returns its output and errors."""
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_keras_and_tf_stay_as_they_were():
    done = run_python(
        """
import os
import tensorflow as tf
try:
    import tensorflow_gan  # what fails without us, and must not spoil it for us
except Exception as error:
    print(type(error).__name__)
environment, names = dict(os.environ), set(dir(tf))
from dermgan_tf.metrics.tfgan import tfgan
assert dict(os.environ) == environment
assert set(dir(tf)) - names <= {"keras"}, set(dir(tf)) - names
import keras
assert keras.__version__.startswith("3.") and tf.keras.__version__.startswith("3.")
assert tf.keras.layers.Dense is keras.layers.Dense
from dermgan_tf.metrics.tfgan import tfgan as again
import tensorflow_gan
assert tfgan is again is tensorflow_gan
"""
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["AttributeError"]


@pytest.mark.parametrize("missing", ["tensorflow_gan", "tensorflow_probability"])
def test_a_missing_extra_names_the_pip_line(missing):
    done = run_python(
        f"""
import sys
sys.modules[{missing!r}] = None  # as if it were not installed
import tensorflow as tf
from dermgan_tf.errors import InputError
for attempt in range(2):
    try:
        from dermgan_tf.metrics.tfgan import tfgan
    except InputError as error:
        assert 'pip install "dermgan_tf[tfgan]"' in str(error), error
        assert {missing!r} in str(error), error
    else:
        raise AssertionError("imported")
    assert not hasattr(tf, "estimator")
"""
    )
    assert done.returncode == 0, done.stderr


def test_our_adversarial_losses_are_tfgans():
    rng = np.random.default_rng(0)
    real = rng.normal(scale=4, size=(3, 6, 6, 1)).astype("float32")
    synthetic = rng.normal(scale=4, size=(3, 6, 6, 1)).astype("float32")
    theirs = tfgan.losses.wargs.modified_generator_loss(synthetic)
    assert float(losses.generator_adversarial_loss(synthetic)) == pytest.approx(
        float(theirs), rel=1e-6
    )
    theirs = tfgan.losses.wargs.modified_discriminator_loss(
        real, synthetic, label_smoothing=0.0
    )
    # TF-GAN sums the two halves, we average them.
    assert 2 * float(
        losses.discriminator_adversarial_loss(real, synthetic)
    ) == pytest.approx(float(theirs), rel=1e-6)
    # The saturating form has the same discriminator loss.
    theirs = tfgan.losses.wargs.minimax_discriminator_loss(
        real, synthetic, label_smoothing=0.0
    )
    assert 2 * float(
        losses.discriminator_adversarial_loss(real, synthetic)
    ) == pytest.approx(float(theirs), rel=1e-6)


def test_tensor_pool_gives_back_what_it_was_given():
    graph = tf.Graph()  # it keeps its pool in graph variables
    with graph.as_default(), tf.compat.v1.Session(graph=graph) as session:
        value = tf.compat.v1.placeholder(tf.float32, [2])
        pooled = tfgan.features.tensor_pool(value, pool_size=4)
        session.run(tf.compat.v1.global_variables_initializer())
        given, taken = set(), []
        for i in range(40):
            given.add((float(i), float(-i)))
            taken.append(tuple(session.run(pooled, {value: [i, -i]}).tolist()))
            assert taken[-1] in given
        assert any(t[0] < i - 3 for i, t in enumerate(taken))  # some are old ones


def test_image_summaries():
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tfgan.eval.add_image_comparison_summaries(_gan_model(), num_comparisons=2)
        summary = session.run(tf.compat.v1.summary.merge_all())
    parsed = tf.compat.v1.summary.Summary.FromString(summary)
    assert any(value.HasField("image") for value in parsed.value)


@pytest.mark.parametrize("output", [{"a": [2, 1, 1, 4]}, {"a": [2, 4], "b": [2, 2, 3]}])
def test_a_tf_hub_modules_outputs_come_flattened(tmp_path, output):
    """With Keras 3 TF-GAN's own way to flatten them is gone."""

    class Network(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3])])
        def __call__(self, x):
            return {
                name: tf.reshape(tf.range(math.prod(shape)), shape)
                for name, shape in output.items()
            }

    tf.saved_model.save(Network(), str(tmp_path))
    found = tfgan.eval.classifier_fn_from_tfhub(str(tmp_path), None)(
        tf.zeros([2, 8, 8, 3])
    )
    assert {name: list(value.shape) for name, value in found.items()} == {
        name: [2, math.prod(shape) // 2] for name, shape in output.items()
    }
    for value in found.values():
        np.testing.assert_array_equal(np.ravel(value), np.arange(tf.size(value)))


def _gan_model():
    images = tf.random.stateless_uniform([2, 8, 8, 3], [1, 2])
    return tfgan.GANModel(
        generator_inputs=images,
        generated_data=images,
        generator_variables=None,
        generator_scope=None,
        generator_fn=None,
        real_data=images,
        discriminator_real_outputs=None,
        discriminator_gen_outputs=None,
        discriminator_variables=None,
        discriminator_scope=None,
        discriminator_fn=None,
    )
