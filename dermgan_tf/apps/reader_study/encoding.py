"""One way of encoding for all images of a study, so that a file tells nothing.

Every image goes through the same steps, whatever it was before: decoded to RGB pixels,
area-averaged to one size, JPEG of one quality without chroma subsampling and without
metadata. Then a comment (segment COM, ITU-T T.81, B.2.4.5) brings all files to one
length: synthetic images are often smoother, and so would be the shorter files. The
comment says, alike in all, that the file belongs to a study.
"""

import cv2
import numpy as np

from dermgan_tf.errors import InputError
from dermgan_tf.photos.photo_io import encode_jpeg

COMMENT = (
    b"dermgan_tf reader study: real and synthetic images, mixed and unmarked. Not for "
    b"training, validation, test or diagnosis."
)
_SEGMENT = 65537  # bytes that a comment takes at most: marker, length, text


def encode_blind(images: list[np.ndarray], size: int, quality: int) -> list[bytes]:
    """Encodes all images of a study alike.

    Args:
        images: np.uint8 [H, W, 3], RGB, square, not smaller than `size`.
        size: int. Rows and columns, in pixels.
        quality: int, 1…95, of the JPEG.

    Returns:
        JPEG files, all of one length.

    Raises:
        InputError: for an image that is smaller than `size`: enlarging blurs, and
            blur would tell.
    """
    files = [encode_jpeg(_resized(image, size), quality) for image in images]
    least = len(COMMENT) + 4
    length = max((len(data) for data in files), default=0) + least
    return [_with_comment(data, length - len(data)) for data in files]


def _resized(image: np.ndarray, size: int) -> np.ndarray:
    height, width = image.shape[:2]
    if height != width or height < size:
        raise InputError(
            f"an image is {width} × {height} pixels, the study's are {size} × {size}: "
            "want squares that are not smaller"
        )
    if height == size:
        return image
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)


def _with_comment(jpeg: bytes, length: int) -> bytes:
    """Adds `length` bytes of comment behind the JFIF header."""
    count = -(-length // _SEGMENT)
    sizes = [length // count + (place < length % count) for place in range(count)]
    comments = b""
    for size in sizes:
        text = COMMENT.ljust(size - 4) if not comments else b" " * (size - 4)
        comments += b"\xff\xfe" + (size - 2).to_bytes(2, "big") + text
    end = 4 + int.from_bytes(jpeg[4:6], "big")  # of SOI and APP0, which must be first
    return jpeg[:end] + comments + jpeg[end:]
