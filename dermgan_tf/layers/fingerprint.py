"""Names a set of weights by its content."""

import hashlib

import keras
import numpy as np


def weights_fingerprint(model: keras.Model) -> str:
    """The sha256 (hex) over shapes, dtypes and values of a model's weights."""
    digest = hashlib.sha256()
    for weight in model.weights:
        value = np.ascontiguousarray(keras.ops.convert_to_numpy(weight))
        digest.update(f"{value.shape} {value.dtype};".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()
