"""Pixels in a temporary file without a name, so that a set may be larger than memory.

The file is mapped into memory, and goes with the process or with the last who uses it.
"""

import contextlib
import os
import tempfile

import numpy as np

from dermgan_tf.errors import InputError


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
