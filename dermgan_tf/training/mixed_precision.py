"""Number formats of computations: float32, or half of its bits where that is enough."""

import contextlib
from collections.abc import Iterator

import keras

# Keras' policy by the name that flags give it.
MIXED_PRECISION = {
    "none": "float32",
    "bfloat16": "mixed_bfloat16",
    "float16": "mixed_float16",
}


@contextlib.contextmanager
def dtype_policy(name: str) -> Iterator[None]:
    """Keras' global policy within the block; the one before comes back after it."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
