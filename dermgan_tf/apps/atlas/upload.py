"""Decodes a photo that someone brings, in a process of its own, and forgets it."""

import threading

import numpy as np

from dermgan_tf.apps.atlas.pictures import shrunk
from dermgan_tf.errors import InputError
from dermgan_tf.photos.isolated_map import IsolatedCrew, Lost
from dermgan_tf.photos.photo_io import decode_photo, read_png_text

MAX_PIXELS = 60_000_000  # above most cameras; 180 MB as RGB
_SECONDS = 30.0


class UploadReader:
    """Decodes bytes from a stranger; a photo that crashes the decoder costs nothing.

    The process starts with the first photo, and stays. To be closed.

    Args:
        picture_size: int. Pixels of the longer side of what comes back.
        seconds: float. A photo that takes longer is given up.
    """

    def __init__(self, picture_size: int, seconds: float = _SECONDS):
        self._size, self._seconds = picture_size, seconds
        self._crew: IsolatedCrew | None = None
        self._lock = threading.Lock()

    def read(self, data: bytes) -> tuple[np.ndarray, bool]:
        """The shrunk picture, np.uint8 [h, w, 3], and whether it says it is synthetic.

        Raises:
            InputError: for what is no photo, or too large; the text is for its sender.
        """
        with self._lock:
            if self._crew is None:
                self._crew = IsolatedCrew(_decode, 1, _one_thread, self._seconds)
            (result,) = self._crew.map([(data, self._size)])
        if isinstance(result, Lost):
            raise InputError(f"the photo cannot be read: {result.reason}")
        if isinstance(result, str):
            raise InputError(result)
        return result

    def close(self) -> None:
        with self._lock:
            if self._crew is not None:
                self._crew.close()
            self._crew = None


def _one_thread() -> None:
    import cv2

    cv2.setNumThreads(1)


def _decode(job: tuple[bytes, int]) -> tuple[np.ndarray, bool] | str:
    data, size = job
    try:
        photo = decode_photo(data, "the photo", max_pixels=MAX_PIXELS)
        said = read_png_text(data).get("synthetic", "").strip().lower() == "true"
        return shrunk(photo, size), said
    except InputError as error:
        return str(error)
    except MemoryError:
        return "the photo is too large to decode"
    except Exception as error:  # noqa: BLE001 - whatever a decoder raises
        return f"the photo is damaged ({type(error).__name__})"
