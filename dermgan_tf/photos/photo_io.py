"""Reads photos of any make as upright RGB pixels; writes images without metadata."""

import io
import os
import stat
import struct
import zlib
from collections.abc import Mapping
from typing import BinaryIO

import numpy as np
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from dermgan_tf.errors import InputError
from dermgan_tf.photos.square import TURN_OF_EXIF, turned

MIN_SIDE = 16  # pixels; below this nothing can be seen of a skin condition
MAX_PIXELS = 100_000_000  # 300 MB of RGB: far above any camera, below a bomb
# Of a file: more than so many pixels of 16-bit RGB take. Pillow looks through a longer
# one byte by byte, for minutes, when nothing but its beginning is a photo's.
MAX_BYTES = 1 << 30

# How names of photos end, in lower case. HEIC cannot be read, and says so when tried.
# fmt: off
PHOTO_SUFFIXES = (
    ".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff",
    ".bmp", ".gif", ".jp2", ".pgm", ".ppm", ".heic",
)
# fmt: on

# Only formats that photographs come in. Pillow opens others by running helpers
# (EPS starts Ghostscript), which no photo should be able to ask for.
_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000")

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MAX_TEXT = 1 << 20  # bytes of a PNG text; longer ones are none of ours
_EXIF_ORIENTATION = 0x0112


def read_photo(
    path: str | os.PathLike, *, min_side: int = MIN_SIDE, max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """Reads one photograph as it is meant to be seen.

    EXIF orientation is applied. An embedded colour profile (Display P3 of phones, CMYK
    of print) is converted to sRGB, so that a skin colour means the same in every photo.
    Grey, palette, CMYK and 16-bit images become 8-bit RGB; transparent pixels are laid
    on black, which the rest of the library takes for padding.

    Args:
        path: the image file: JPEG, PNG, WebP, TIFF, BMP, GIF, PNM or JPEG 2000.
        min_side: int. The smallest height and width, in pixels, that is accepted.
        max_pixels: int. The largest height × width that is decoded. Pillow's own limit
            (`PIL.Image.MAX_IMAGE_PIXELS`, twice over) holds as well.

    Returns:
        np.uint8 [H, W, 3], RGB, upright, contiguous.

    Raises:
        InputError: "<path>: <cause>" for a file that is missing, not a regular file,
            not readable, empty, not an image, animated or of several pages, truncated
            or damaged, too small or too large. Too many pixels are refused by what the
            header says, before any is decoded.
    """
    with _open_regular_file(path) as file:
        return _decoded(file, printable(path), min_side, max_pixels)


def decode_photo(
    data: bytes, name: str, *, min_side: int = MIN_SIDE, max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """Decodes a photograph that is in memory, as `read_photo` does one in a file.

    Args:
        data: what the file would hold.
        name: what errors call it.
        min_side, max_pixels: see `read_photo`.

    Raises:
        InputError: "<name>: <cause>", see `read_photo`.
    """
    return _decoded(io.BytesIO(data), printable(name), min_side, max_pixels)


def _decoded(file: BinaryIO, name: str, min_side: int, max_pixels: int) -> np.ndarray:
    try:
        return _decode(file, min_side, max_pixels)
    except MemoryError:
        raise
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        cause = f"has too many pixels to decode; at most {max_pixels} are read"
        raise InputError(f"{name}: {cause}") from None
    except UnidentifiedImageError:
        raise InputError(f"{name}: {_why_not_an_image(file)}") from None
    except Exception as error:
        # On damaged files Pillow's decoders raise nearly every built-in exception.
        text = " ".join(str(error).split()) or type(error).__name__
        early = "truncated" in text.lower()
        cause = "ends too early (truncated)" if early else f"is damaged: {text}"
        raise InputError(f"{name}: {cause}") from error


def encode_jpeg(image: np.ndarray, quality: int = 95) -> bytes:
    """Encodes an image as JPEG with full colour resolution and no metadata.

    Args:
        image: np.uint8 [H, W, 3], RGB.
        quality: int, 1…95. Chroma is not subsampled: skin colour lives there.

    Returns:
        The file's bytes.
    """
    buffer = io.BytesIO()
    _as_pillow(image).save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()


def encode_png(image: np.ndarray, text: Mapping[str, str] | None = None) -> bytes:
    """Encodes an image as PNG with no metadata but the given texts.

    Args:
        image: np.uint8 [H, W, 3], RGB.
        text: keyword -> text. A keyword has 1…79 Latin-1 characters, as PNG demands.

    Returns:
        The file's bytes.
    """
    chunks = PngImagePlugin.PngInfo()
    for key, value in (text or {}).items():
        if not 1 <= len(key.encode("latin-1")) <= 79:
            raise ValueError(f"a PNG keyword has 1…79 characters, got {key!r}")
        chunks.add_text(key, value)
    buffer = io.BytesIO()
    _as_pillow(image).save(buffer, "PNG", pnginfo=chunks)
    return buffer.getvalue()


def read_png_text(source: str | os.PathLike | bytes) -> dict[str, str]:
    """The texts inside a PNG, wherever they stand in it; no pixel is decoded.

    Args:
        source: a file's path, or the bytes of one.

    Returns:
        keyword -> text; empty for an image of another format.

    Raises:
        InputError: for a file that cannot be read, or a PNG that ends early or has a
            damaged text.
    """
    if isinstance(source, bytes):
        file, shown = io.BytesIO(source), "PNG bytes"
    else:
        file, shown = _open_regular_file(source), printable(source)
    with file:
        if file.read(len(_PNG_SIGNATURE)) != _PNG_SIGNATURE:
            return {}
        try:
            return _png_texts(file)
        except (ValueError, zlib.error) as error:
            raise InputError(f"{shown}: is a damaged PNG: {error}") from None


def is_synthetic(path: str | os.PathLike) -> bool:
    """Whether an image file says of itself that a generator painted it.

    Raises:
        InputError: for a file that cannot be read.
    """
    return read_png_text(path).get("synthetic", "").strip().lower() == "true"


def printable(path: str | os.PathLike) -> str:
    """A path for messages and lists: one line of text, whatever the name holds."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode()
        for c in os.fspath(path)
    )


def _open_regular_file(path: str | os.PathLike) -> io.BufferedReader:
    name = printable(path)
    try:
        # Opening a pipe or a device could wait for ever, so look before opening.
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise InputError(f"{name}: is a folder, not an image file")
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{name}: is a pipe or device, not an image file")
        if status.st_size > MAX_BYTES:
            raise InputError(
                f"{name}: has {status.st_size} bytes; at most {MAX_BYTES} are read"
            )
        return open(path, "rb")
    except FileNotFoundError:
        raise InputError(f"{name}: does not exist") from None
    except OSError as error:
        raise InputError(f"{name}: cannot be read: {error.strerror}") from None


def _png_texts(file: BinaryIO) -> dict[str, str]:
    """The texts from behind the signature on; ValueError or zlib.error for damage.

    A chunk is its length, its kind, that many bytes and their checksum (PNG, third
    edition, 5.3). Texts may stand behind the pixels, where other programs put them.
    """
    texts: dict[str, str] = {}
    while True:
        head = file.read(8)
        if len(head) < 8:
            raise ValueError("it ends too early")
        length, kind = struct.unpack(">I4s", head)
        if kind == b"IEND":
            return texts
        if kind not in (b"tEXt", b"zTXt", b"iTXt") or length > _MAX_TEXT:
            file.seek(length + 4, os.SEEK_CUR)
            continue
        data, checksum = file.read(length), file.read(4)
        if len(checksum) < 4:
            raise ValueError("it ends too early")
        if zlib.crc32(kind + data).to_bytes(4, "big") != checksum:
            raise ValueError("a text does not match its checksum")
        keyword, _, text = data.partition(b"\0")
        texts[keyword.decode("latin-1")] = _png_text(kind, text)


def _png_text(kind: bytes, data: bytes) -> str:
    """What stands behind the keyword and its zero (PNG, third edition, 11.3.3)."""
    if kind == b"tEXt":
        return data.decode("latin-1")
    if kind == b"zTXt":  # a byte names the compression, of which there is one
        return _inflated(data[1:]).decode("latin-1")
    compressed, rest = data[:1] != b"\0", data[2:]
    _language, _translated, text = rest.split(b"\0", 2)
    return (_inflated(text) if compressed else text).decode("utf-8")


def _inflated(data: bytes) -> bytes:
    unpacker = zlib.decompressobj()
    text = unpacker.decompress(data, _MAX_TEXT)
    if not unpacker.eof:
        raise ValueError("a compressed text is too long, or is cut off")
    return text


def _decode(file: BinaryIO, min_side: int, max_pixels: int) -> np.ndarray:
    with Image.open(file, formats=_FORMATS) as image:
        width, height = image.size
        if min(width, height) < min_side:
            raise InputError(
                f"is {width} × {height} pixels; at least {min_side} a side needed"
            )
        if width * height > max_pixels:
            raise InputError(
                f"is {width} × {height} pixels; at most {max_pixels} in all are read"
            )
        # Phones store one photo with its preview or depth map as a two-frame MPO.
        # (How many frames there are takes Pillow their number squared to find out.)
        if image.format != "MPO" and getattr(image, "is_animated", False):
            raise InputError("has several frames or pages; want a still photo")
        image.load()
        # After loading: Pillow turns TIFFs while it loads them.
        orientation = _orientation(image)
        turn = TURN_OF_EXIF.get(orientation, 0)
        return turned(_rgb_pixels(image), turn)


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # noqa: BLE001 - damaged EXIF does not spoil the pixels
        return 1


def _rgb_pixels(image: Image.Image) -> np.ndarray:
    if image.mode == "F":
        raise InputError("has floating-point pixels; want 8 or 16 bit")
    if image.mode.startswith("I"):  # 16-bit grey; older Pillow gives it as 32-bit
        grey = np.asarray(image).astype(np.int64)
        if grey.min() < 0 or grey.max() > 65535:
            raise InputError("has 32-bit pixels; want 8 or 16 bit")
        grey = ((grey * 255 + 32767) // 65535).astype(np.uint8)
        return np.repeat(grey[..., np.newaxis], 3, axis=-1)
    profile = image.info.get("icc_profile")
    transparent = image.mode in ("RGBA", "LA", "PA", "RGBa", "La")
    if transparent or "transparency" in image.info:
        image = image.convert("RGBA")
        on_black = Image.new("RGB", image.size)
        on_black.paste(image, mask=image.getchannel("A"))
        image = on_black
    elif image.mode not in ("RGB", "CMYK"):
        image = image.convert("RGB")
    if profile:
        image = _to_srgb(image, profile)
    # Converting RGB to RGB copies it: four bytes a pixel, for nothing.
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Converts from an ICC profile; leaves the pixels when the profile is no good."""
    try:
        from PIL import ImageCms

        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if image.mode == "RGB" and "sRGB" in ImageCms.getProfileDescription(source):
            return image
        target = ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(image, source, target, outputMode="RGB")
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - damaged, of another mode, or no LittleCMS
        return image


def _why_not_an_image(file: BinaryIO) -> str:
    file.seek(0)
    head = file.read(512)
    if not head:
        return "is empty"
    if not head.strip(b"\0"):
        return "is not an image: it begins with nothing but zeros"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<!--")):
        return "is HTML, not an image (a saved error page?)"
    if text.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the image; run git lfs pull"
    if head[4:8] == b"ftyp":
        return "is HEIC, AVIF or video; convert it to JPEG or PNG first"
    if head.startswith((b"\xff\xd8\xff", _PNG_SIGNATURE, b"GIF8", b"RIFF", b"BM")):
        return "begins like an image but ends too early or is damaged (truncated?)"
    return "is not an image of a known format (JPEG, PNG, WebP, TIFF, BMP, GIF)"


def _as_pillow(image: np.ndarray) -> Image.Image:
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
        raise ValueError(
            f"an image to encode is uint8 [H, W, 3], got {image.dtype} "
            f"{list(image.shape)}"
        )
    return Image.fromarray(np.ascontiguousarray(image))
