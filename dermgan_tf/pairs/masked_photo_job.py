"""Reads a photo and its mask in a worker process, without TensorFlow or Keras."""

import numpy as np

from dermgan_tf.errors import InputError, Reject
from dermgan_tf.pairs.sources import MaskedPhoto


def read_masked_photo(
    min_side: int, photo: MaskedPhoto
) -> tuple[np.ndarray, np.ndarray] | Reject:
    """Reads a photo and its mask of pathology; raises nothing.

    Args:
        min_side: int. The least rows and columns that will do, in pixels.
        photo: which.

    Returns:
        (np.uint8 [H, W, 3], bool [H, W]), or the reason for having none.
    """
    try:
        pixels, mask = photo.read()
        height, width = mask.shape
        if min(height, width) < min_side:
            raise InputError(
                f"is {width} × {height} pixels, smaller than the {min_side} × "
                f"{min_side} that the translator paints at least"
            )
        return pixels, mask
    # One bad photo must not end the run, whatever its decoder raises.
    except Exception as error:
        reason = str(error) or type(error).__name__
        if not isinstance(error, InputError):
            reason = f"{type(error).__name__}: {error}"
        reason = reason.removeprefix(f"{photo.path}: ")
        return Reject(photo.name, " ".join(reason.split()))
