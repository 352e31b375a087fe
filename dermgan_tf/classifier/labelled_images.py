"""Sets of images with their conditions, for classifiers, and what is made of them.

`dermgan_tf.classifier.labelled_reading` reads them. A set may be larger than memory:
its pixels then lie in a `dermgan_tf.classifier.labelled_images`, and so do those of its
parts.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Sequence

import numpy as np

from dermgan_tf.errors import InputError
from dermgan_tf.photos.semantic_map import MAX_SKIN_TYPE

_ROWS_AT_ONCE = 64


@dataclasses.dataclass(frozen=True)
class LabelledImages:
    """Images with their conditions.

    Args:
        images: np.uint8 [N, S, S, 3], RGB. May be an np.memmap larger than memory: take
            batches of it, never the whole.
        labels: int [N], positions in `conditions`.
        conditions: the names of the conditions; the same in all sets of a comparison.
        cases: str [N], the case of each image; None where there are none (synthetic
            images).
        image_ids: str [N], unique; None where images have no names.
        skin_types: int [N], Fitzpatrick 1…6, 0 = unknown; None where nothing is known.
        fingerprint: str. SHA-256 (hex) over ids, labels, cases, skin types and pixels;
            "" where it was not taken.

    Raises:
        InputError: for arrays that do not fit together, a label that is no condition,
            a skin type out of range, or an id that stands twice.
    """

    images: np.ndarray
    labels: np.ndarray
    conditions: tuple[str, ...]
    cases: np.ndarray | None = None
    image_ids: np.ndarray | None = None
    skin_types: np.ndarray | None = None
    fingerprint: str = ""

    def __post_init__(self):
        object.__setattr__(self, "conditions", tuple(self.conditions))
        object.__setattr__(self, "labels", np.asarray(self.labels, np.int64))
        shape = np.shape(self.images)
        if len(shape) != 4 or shape[-1] != 3 or self.images.dtype != np.uint8:
            raise InputError(
                f"images are uint8 [N, S, S, 3], got {self.images.dtype} {list(shape)}"
            )
        for name in ("labels", "cases", "image_ids", "skin_types"):
            values = getattr(self, name)
            if values is not None and np.shape(values) != shape[:1]:
                raise InputError(f"{shape[0]} images with {np.shape(values)} {name}")
        known = (self.labels >= 0) & (self.labels < len(self.conditions))
        if not known.all():
            raise InputError(
                f"label {self.labels[~known][0]} is none of "
                f"{len(self.conditions)} conditions"
            )
        if self.skin_types is not None:
            types = np.asarray(self.skin_types, np.int64)
            object.__setattr__(self, "skin_types", types)
            if ((types < 0) | (types > MAX_SKIN_TYPE)).any():
                raise InputError(f"skin types are 0 to {MAX_SKIN_TYPE}, got {types}")
        if self.image_ids is not None:
            ids, counts = np.unique(self.image_ids, return_counts=True)
            if (counts > 1).any():
                raise InputError(f"image {str(ids[counts > 1][0])!r} stands twice")

    def __len__(self) -> int:
        return len(self.images)

    def take(
        self, indices: np.ndarray, cache_dir: str | os.PathLike | None = None
    ) -> "LabelledImages":
        """Some of the images, with a fingerprint of their own.

        Args:
            indices: int [M], or bool [N]. A run of neighbours in order is not copied.
            cache_dir: the folder for the pixels of a memory-mapped set's part; default:
                the system's temporary folder.
        """
        indices = np.asarray(indices)
        if indices.dtype == bool:
            indices = np.flatnonzero(indices)
        indices = indices.astype(np.int64)
        first = int(indices[0]) if len(indices) else 0
        if first >= 0 and (indices == np.arange(first, first + len(indices))).all():
            images = self.images[first : first + len(indices)]
        elif isinstance(self.images, np.memmap):
            cache = PixelCache(cache_dir)
            for image in image_batches(self.images, indices):
                cache.append(image)
            images = cache.images(self.images.shape[1])
        else:
            images = self.images[indices]
        part = LabelledImages(
            images,
            self.labels[indices],
            self.conditions,
            *(
                None if values is None else np.asarray(values)[indices]
                for values in (self.cases, self.image_ids, self.skin_types)
            ),
        )
        if not self.fingerprint:
            return part
        return fingerprinted(part)


def joined(
    parts: Sequence[LabelledImages], cache_dir: str | os.PathLike | None = None
) -> LabelledImages:
    """Several sets as one, in their order.

    Args:
        parts: of one vocabulary and image size; what one of them does not know (cases,
            ids, skin types) the whole does not. Ids must differ.
        cache_dir: see `LabelledImages.take`.
    """
    first = parts[0]
    if any(isinstance(part.images, np.memmap) for part in parts):
        cache = PixelCache(cache_dir)
        for part in parts:
            for batch in image_batches(part.images):
                cache.append(batch)
        images = cache.images(first.images.shape[1])
    else:
        images = np.concatenate([part.images for part in parts])
    columns = [
        None if any(c is None for c in column) else np.concatenate(column)
        for column in (
            [getattr(part, name) for part in parts]
            for name in ("cases", "image_ids", "skin_types")
        )
    ]
    labels = np.concatenate([part.labels for part in parts])
    digests = "".join(fingerprint_of(part) for part in parts)
    return LabelledImages(
        images,
        labels,
        first.conditions,
        *columns,
        hashlib.sha256(digests.encode()).hexdigest(),
    )


def fingerprint_of(part: LabelledImages) -> str:
    """Its fingerprint; where it has none, sha256 (hex) of labels and pixels."""
    if part.fingerprint:
        return part.fingerprint
    digest = hashlib.sha256(part.labels.tobytes())
    for batch in image_batches(part.images):
        digest.update(batch.tobytes())
    return digest.hexdigest()


def without_those_of(
    images: LabelledImages,
    others: LabelledImages,
    cache_dir: str | os.PathLike | None = None,
) -> LabelledImages:
    """The images whose pixels are not those of one of `others`."""
    known = set(_digests(others))
    new = np.array([digest not in known for digest in _digests(images)], bool)
    return images if new.all() else images.take(new, cache_dir)


def fingerprinted(
    part: LabelledImages, pixel_digests: Sequence[bytes] | None = None
) -> LabelledImages:
    """The same set with its fingerprint.

    Args:
        part: the set.
        pixel_digests: `pixel_digest` of each image, where they are known already.
    """
    columns = [
        [None] * len(part) if values is None else np.asarray(values).tolist()
        for values in (part.image_ids, part.labels, part.cases, part.skin_types)
    ]
    digests = _digests(part) if pixel_digests is None else pixel_digests
    digest = hashlib.sha256(json.dumps(list(part.conditions)).encode())
    for *facts, pixels in zip(*columns, digests, strict=True):
        digest.update(json.dumps([*facts, pixels.hex()]).encode())
    return dataclasses.replace(part, fingerprint=digest.hexdigest())


def pixel_digest(image: np.ndarray) -> bytes:
    """sha256 of an image's pixels, np.uint8 [S, S, 3]."""
    return hashlib.sha256(np.ascontiguousarray(image)).digest()


def _digests(part: LabelledImages) -> list[bytes]:
    return [
        pixel_digest(image) for batch in image_batches(part.images) for image in batch
    ]


def image_batches(
    images: np.ndarray,
    indices: np.ndarray | None = None,
    batch_size: int = _ROWS_AT_ONCE,
) -> Iterator[np.ndarray]:
    """Yields images by batches that are copies in memory: np.uint8 [≤ B, S, S, 3].

    Args:
        images: np.uint8 [N, S, S, 3], perhaps memory-mapped.
        indices: int [M]: which, in which order; None = all.
        batch_size: int ≥ 1.
    """
    total = len(images) if indices is None else len(indices)
    for start in range(0, total, batch_size):
        rows = slice(start, start + batch_size)
        yield np.array(images[rows if indices is None else indices[rows]])


class PixelCache:
    """Gathers images of one size; in memory is what is in use.

    Args:
        folder: an existing one with room for the pixels; default: the system's
            temporary folder.

    Raises:
        InputError: from every method, where the folder cannot be written to.
    """

    def __init__(self, folder: str | os.PathLike | None):
        self._folder = tempfile.gettempdir() if folder is None else os.fspath(folder)
        with self._explained():
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115

    def append(self, images: np.ndarray) -> None:
        """Adds np.uint8 [S, S, 3] or [N, S, S, 3]."""
        with self._explained():
            self._file.write(np.ascontiguousarray(images))

    def images(self, image_size: int) -> np.memmap:
        """All of it, read-only: np.uint8 [N, S, S, 3]. The last thing to ask for."""
        with self._explained():
            self._file.flush()
        count = os.fstat(self._file.fileno()).st_size // (image_size**2 * 3)
        shape = (count, image_size, image_size, 3)
        images = np.memmap(self._file, np.uint8, mode="r", shape=shape)
        self._file.close()  # the map keeps it
        return images

    @contextlib.contextmanager
    def _explained(self):
        try:
            yield
        except OSError as error:
            raise InputError(
                f"cannot keep pixels in {self._folder}: {error.strerror}; name a "
                "folder with room for them by --cache_dir"
            ) from error
