"""Pictures by number, none like another, as arrays and as files."""

import numpy as np

from dermgan_tf.photos.photo_io import encode_png


def picture(number, height=48, width=64):
    """A picture that no other number has, without any symmetry."""
    y, x = np.mgrid[0:height, 0:width]
    image = [4 * y + number, 3 * x, (x * y) // 8 + 9 * number]
    return np.stack(image, axis=-1).clip(0, 255).astype(np.uint8)


def png(number, text=None):
    """A PNG file, with texts in it if there are any."""
    return encode_png(picture(number), text)
