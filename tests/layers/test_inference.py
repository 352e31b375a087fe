"""Models as functions of batches, against Keras' own prediction."""

import keras
import numpy as np

from dermgan_tf.layers.backbones import batch_function


def test_batches_of_any_size_in_one_trace():
    seen = []

    class Told(keras.layers.Layer):
        def call(self, inputs, training=None):
            seen.append(training)  # only while it is traced
            return inputs

    inputs = keras.Input((6, 5, 3))
    x = Told()(keras.layers.Rescaling(1 / 255)(inputs))
    x = keras.layers.Dropout(0.9)(keras.layers.Conv2D(4, 3)(x))
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))
    seen.clear()
    run = batch_function(model)
    for count, dtype in ((7, np.uint8), (7, np.float32), (3, np.uint8), (1, np.uint8)):
        images = np.random.default_rng(count).integers(0, 256, (count, 6, 5, 3))
        found = run(images.astype(dtype))
        assert found.dtype == np.float32 and seen == [False]
        expected = np.asarray(model(images.astype(np.float32), training=False))
        seen.pop()
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
