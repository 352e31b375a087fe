"""The pictures that an atlas keeps: small, without metadata, synthetic ones marked.

A photograph becomes a JPEG. A synthetic image becomes a PNG that says so in its text,
as `generate` writes it, and under its pixels stands a band with the word: whoever saves
or copies it has the mark, too.
"""

import hashlib

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dermgan_tf.photos.photo_io import encode_jpeg, encode_png

MARK = "SYNTHETIC"
JPEG, PNG = "image/jpeg", "image/png"
_QUALITY = 90
_BAND, _LETTERS = (255, 209, 102), (61, 42, 0)  # contrast 10 : 1, as on all pages
_BAND_SHARE, _MIN_BAND = 0.1, 13  # of the width; pixels


def shrunk(image: np.ndarray, size: int) -> np.ndarray:
    """The image with its longer side at most `size` pixels, averaged over areas.

    Args:
        image: np.uint8 [H, W, 3].
        size: int ≥ 1.
    """
    height, width = image.shape[:2]
    scale = size / max(height, width)
    if scale >= 1:
        return np.ascontiguousarray(image)
    sides = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(image, sides, interpolation=cv2.INTER_AREA)


def content_digest(image: np.ndarray) -> bytes:
    """16 bytes of the SHA-256 of shape and pixels, np.uint8 [H, W, 3]."""
    digest = hashlib.sha256(np.array(image.shape, np.int64).tobytes())
    digest.update(np.ascontiguousarray(image))
    return digest.digest()[:16]


def encode_picture(
    picture: np.ndarray, provenance: str, condition: str, generator: str = ""
) -> tuple[bytes, str, tuple[int, int]]:
    """A picture as it is kept and shown: (file, media type, (height, width)).

    Args:
        picture: np.uint8 [H, W, 3].
        provenance: "real", "phantom" or "synthetic".
        condition: str.
        generator: str. Of a synthetic image, the fingerprint of its weights.
    """
    if provenance != "synthetic":
        return encode_jpeg(picture, _QUALITY), JPEG, picture.shape[:2]
    text = {"synthetic": "true", "generator": generator, "condition": condition}
    sheet = marked(picture)
    return encode_png(sheet, text), PNG, sheet.shape[:2]


def marked(picture: np.ndarray) -> np.ndarray:
    """The picture with a band under it that says that it is synthetic."""
    height, width = picture.shape[:2]
    band = max(_MIN_BAND, round(_BAND_SHARE * width))
    sheet = Image.new("RGB", (width, height + band), _BAND)
    sheet.paste(Image.fromarray(np.ascontiguousarray(picture)), (0, 0))
    draw = ImageDraw.Draw(sheet)
    for points in range(max(6, round(0.72 * band)), 5, -1):
        font = ImageFont.load_default(points)
        left, top, right, bottom = draw.textbbox((0, 0), MARK, font=font)
        if right - left <= width - 4:
            break
    x = (width - (right - left)) / 2 - left
    y = height + (band - (bottom - top)) / 2 - top
    draw.text((x, y), MARK, fill=_LETTERS, font=font)
    return np.asarray(sheet)
