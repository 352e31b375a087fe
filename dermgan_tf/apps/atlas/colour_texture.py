"""An embedding without a network: where which colour and which texture stands.

It needs no weights, is the same on every machine, and takes about a millisecond an
image. It tells what looks alike on the whole; what a condition is, a trained network
knows better.
"""

import hashlib
import itertools
from collections.abc import Iterable
from typing import Any

import cv2
import numpy as np

from dermgan_tf.errors import InputError

NAME = "colour_texture"
_VERSION = 1  # of the formulas below: vectors of two versions do not compare
_SIDE = 64  # pixels: what is looked at
_CELLS = 4  # a side
_ANGLES = 8  # of gradients, over half a turn
_BINS = 16  # of each of L*, a*, b*, around the picture's own median
_REACH = (40.0, 20.0, 20.0)  # L*, a*, b* from the median to the last bin
# Shares of a vector's squared length: colours by place, textures by place, histogram.
_SHARES = (0.4, 0.4, 0.2)


class ColourTexture:
    """Colours by place, gradients by place, and a histogram around the main colour.

    The picture is squashed to 64 × 64 and taken to CIELAB (D65). Of 4 × 4 cells: the
    mean and the deviation of L*, a*, b* (over 50, 25 and 25); a histogram of gradient
    directions of L*, weighted with their strength, as HOG has it (Dalal and Triggs
    2005) without its overlapping blocks; and of the whole picture, histograms of L*,
    a*, b* relative to their medians, as square roots, so that a scalar product is
    Hellinger's affinity.

    Attributes: name, num_features, image_size, resizing, fingerprint, as of
    `dermgan_tf.metrics.embeddings.Embedding`.
    """

    name = f"{NAME}:{_VERSION}"
    num_features = _CELLS * _CELLS * (6 + _ANGLES) + 3 * _BINS
    image_size = (_SIDE, _SIDE)
    resizing = "8-bit, area-averaged (OpenCV)"

    def __init__(self):
        settings = (self.name, _SIDE, _CELLS, _ANGLES, _BINS, _REACH, _SHARES)
        self.fingerprint = hashlib.sha256(repr(settings).encode()).hexdigest()

    def embed(self, images: Iterable[np.ndarray], batch_size: int = 32) -> np.ndarray:
        """np.float32 [n, num_features] of images, np.uint8 [H, W, 3], RGB.

        Raises:
            InputError: for no images.
        """
        images, found = iter(images), []
        while batch := list(itertools.islice(images, batch_size)):
            found.append(np.stack([_vector(image) for image in batch]))
        if not found:
            raise InputError(f"no images to embed with {self.name}")
        return np.concatenate(found)

    def describe(self) -> dict[str, Any]:
        """What a report must say of it: JSON values."""
        return {
            "name": self.name,
            "features": self.num_features,
            "image_size": list(self.image_size),
            "resizing": self.resizing,
            "fingerprint": self.fingerprint,
        }


def _vector(image: np.ndarray) -> np.ndarray:
    small = cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    parts = (_colours(lab), _textures(lab[..., 0]), _histograms(lab))
    weighted = [
        part * np.sqrt(share) / max(float(np.linalg.norm(part)), 1e-6)
        for part, share in zip(parts, _SHARES, strict=True)
    ]
    return np.concatenate(weighted).astype(np.float32)


def _cells(values: np.ndarray) -> np.ndarray:
    """[64, 64, c] as [cells, cells, pixels of a cell, c]."""
    size = _SIDE // _CELLS
    split = values.reshape(_CELLS, size, _CELLS, size, -1).swapaxes(1, 2)
    return split.reshape(_CELLS, _CELLS, size * size, -1)


def _colours(lab: np.ndarray) -> np.ndarray:
    cells = _cells((lab - (50, 0, 0)) / (50, 25, 25))
    return np.concatenate([cells.mean(axis=2), cells.std(axis=2)], axis=-1).ravel()


def _textures(lightness: np.ndarray) -> np.ndarray:
    dx = cv2.Sobel(lightness, cv2.CV_32F, 1, 0)
    dy = cv2.Sobel(lightness, cv2.CV_32F, 0, 1)
    strength = np.hypot(dx, dy)
    angle = (np.arctan2(dy, dx) % np.pi) * (_ANGLES / np.pi)
    low = np.floor(angle).astype(int) % _ANGLES
    share = angle - np.floor(angle)  # a direction counts for its two neighbours
    weights = np.zeros((_SIDE, _SIDE, _ANGLES), np.float32)
    rows, columns = np.indices(low.shape)
    weights[rows, columns, low] += strength * (1 - share)
    weights[rows, columns, (low + 1) % _ANGLES] += strength * share
    # Square roots: one sharp edge, of a ruler or a hair, is not all there is.
    return np.sqrt(_cells(weights).mean(axis=2)).ravel()


def _histograms(lab: np.ndarray) -> np.ndarray:
    found = []
    for channel, reach in enumerate(_REACH):
        values = lab[..., channel]
        relative = np.clip((values - np.median(values)) / reach, -0.999, 0.999)
        places = ((relative + 1) / 2 * _BINS).astype(int).ravel()
        found.append(np.bincount(places, minlength=_BINS))
    return np.sqrt(np.concatenate(found) / lab.shape[0] ** 2)
