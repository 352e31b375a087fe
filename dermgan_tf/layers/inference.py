"""Runs Keras models on many images without learning."""

from collections.abc import Callable

import keras
import numpy as np


def batch_function(model: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    """A model as a function of batches of any size, traced once.

    Keras' own `predict_on_batch` is traced again for other sizes, such as that of a
    last batch, and warns of it.

    Args:
        model: of one input, [N, …], and one output. It has to outlive the function.

    Returns:
        np.ndarray [N, …] -> np.ndarray, as the model gives it for inference.
    """
    import tensorflow as tf

    @tf.function(autograph=False)
    def run(batch):
        return model(batch, training=False)

    (given,) = model.inputs
    dtype = given.dtype
    traced = run.get_concrete_function(tf.TensorSpec(given.shape, dtype))
    return lambda batch: traced(tf.cast(batch, dtype)).numpy()
