"""Reads photos of any make as upright RGB pixels; writes images without metadata."""

import io
import os
import stat
import struct
import unicodedata
import zlib
from collections.abc import Callable, Mapping
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, PngImagePlugin, UnidentifiedImageError

from dermgan_tf.errors import InputError, printable
from dermgan_tf.photos.square import TURN_OF_EXIF, turned

MIN_SIDE = 16  # pixels; below this nothing can be seen of a skin condition
MAX_PIXELS = 100_000_000  # 300 MB of RGB: far above any camera, below a bomb
# Of a file: more than so many pixels of 16-bit RGB take. Pillow looks through a longer
# one byte by byte, for minutes, when nothing but its beginning is a photo's.
MAX_BYTES = 1 << 30

# Only formats that photographs come in. Pillow opens others by running helpers
# (EPS starts Ghostscript), which no photo should be able to ask for.
_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000")

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MAX_TEXT = 1 << 20  # bytes of a PNG text; longer ones are none of ours
# EXIF 2.32: tags 274 and 40961, and of the interoperability IFD tag 1.
_EXIF_ORIENTATION, _EXIF_COLOUR_SPACE, _EXIF_INTEROPERABILITY = 0x0112, 0xA001, 1
_ADOBE_RGB, _UNCALIBRATED, _ADOBE_RGB_FILE = 2, 0xFFFF, "R03"
# Linear Adobe RGB (1998) to linear sRGB, both of white D65: the product of the matrices
# that the two standards give; its rows sum to 1. Adobe's gamma is 2 + 51/256.
_SRGB_FROM_ADOBE = np.array(
    [[1.3982834, -0.3982834, 0.0], [0.0, 1.0, 0.0], [0.0, -0.0429383, 1.0429383]]
)
_ADOBE_GAMMA = 2 + 51 / 256
# A 16-bit image that has nothing above this holds 12 bits, like those of microscopes.
_BRIGHTEST_12_BIT = 4095


def read_photo(
    path: str | os.PathLike, *, min_side: int = MIN_SIDE, max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """Reads one photograph as it is meant to be seen.

    EXIF orientation is applied. An embedded colour profile (Display P3 of phones, CMYK
    of print, grey of scanners) and Adobe RGB told by EXIF are converted to sRGB, so
    that a skin colour means the same in every photo.
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
        return _decoded(file, printable(path), min_side, max_pixels)[0]


def read_real_photo(path: str | os.PathLike) -> np.ndarray:
    """`read_photo`, but refuses an image that says that a generator painted it."""
    require_real(path)
    return read_photo(path)


def require_real(path: str | os.PathLike) -> None:
    """Raises InputError for an image file that says that a generator painted it."""
    if is_synthetic(path):
        raise InputError(f"{printable(path)}: is a synthetic image, not a photo")


def read_upright(
    path: str | os.PathLike, pixels: Callable[[Image.Image], np.ndarray] | None = None
) -> tuple[np.ndarray, int]:
    """Reads an image file as `read_photo` does, but as the pixels that are asked for.

    Args:
        path: the image file.
        pixels: gives of Pillow's image, which is loaded and as it is stored, an array
            [H, W, ...]; by default RGB, for photos. Other images may be of any size.

    Returns:
        (pixels, orientation): upright; the EXIF orientation that was undone, 1…8.
    """
    min_side = 1 if pixels else MIN_SIDE
    with _open_regular_file(path) as file:
        return _decoded(file, printable(path), min_side, MAX_PIXELS, pixels)


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
    return _decoded(io.BytesIO(data), printable(name), min_side, max_pixels)[0]


def _decoded(
    file: BinaryIO,
    name: str,
    min_side: int,
    max_pixels: int,
    pixels: Callable[[Image.Image], np.ndarray] | None = None,
) -> tuple[np.ndarray, int]:
    try:
        return _decode(file, min_side, max_pixels, pixels or _rgb_pixels)
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


def _open_regular_file(path: str | os.PathLike) -> io.BufferedReader:
    name = printable(path)
    path = _in_either_form(path)
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


def _in_either_form(path: str | os.PathLike) -> str | os.PathLike:
    """The path, or, where there is no such file, one with its accents written apart.

    macOS writes names in files and names of files in different forms of Unicode.
    """
    if isinstance(path, bytes) or os.path.lexists(path):
        return path
    forms = (unicodedata.normalize(f, os.fspath(path)) for f in ("NFC", "NFD"))
    return next(filter(os.path.lexists, forms), path)


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


def _decode(
    file: BinaryIO,
    min_side: int,
    max_pixels: int,
    pixels: Callable[[Image.Image], np.ndarray],
) -> tuple[np.ndarray, int]:
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
        return turned(pixels(image), TURN_OF_EXIF[orientation]), orientation


def _orientation(image: Image.Image) -> int:
    try:
        orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # noqa: BLE001 - damaged EXIF does not spoil the pixels
        return 1
    return orientation if orientation in range(1, 9) else 1


def _is_adobe_rgb(image: Image.Image) -> bool:
    """Whether EXIF says so: cameras set for Adobe RGB embed no profile."""
    try:
        exif = image.getexif()
        inner = exif.get_ifd(ExifTags.IFD.Exif)
        space, file = inner.get(_EXIF_COLOUR_SPACE), None
        if ExifTags.IFD.Interop in inner:  # else Pillow looks in vain
            file = exif.get_ifd(ExifTags.IFD.Interop).get(_EXIF_INTEROPERABILITY)
    except Exception:  # noqa: BLE001 - damaged EXIF does not spoil the pixels
        return False
    if isinstance(file, bytes):
        file = file.decode("latin-1")
    told = str(file).strip("\0 ") == _ADOBE_RGB_FILE
    return space == _ADOBE_RGB or (told and space in (_UNCALIBRATED, None))


def _rgb_pixels(image: Image.Image) -> np.ndarray:
    if image.mode == "F":
        raise InputError("has floating-point pixels; want 8 or 16 bit")
    profile = image.info.get("icc_profile")
    adobe = not profile and _is_adobe_rgb(image)
    grey = image.mode in ("1", "L", "LA", "La") or image.mode.startswith("I")
    if image.mode.startswith("I"):  # 16-bit grey; older Pillow gives it as 32-bit
        image = _eight_bit(image)
    transparent = image.mode in ("RGBA", "LA", "PA", "RGBa", "La")
    if transparent or "transparency" in image.info:
        image = image.convert("RGBA")
        on_black = Image.new("RGB", image.size)
        on_black.paste(image, mask=image.getchannel("A"))
        image = on_black
    elif image.mode not in ("RGB", "CMYK"):
        image = image.convert("RGB")
    if profile:
        image = _to_srgb(image, profile, grey)
    # Converting RGB to RGB copies it: four bytes a pixel, for nothing.
    pixels = np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    return _from_adobe_rgb(pixels) if adobe else pixels


def _eight_bit(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.int64)
    brightest = values.max()
    if values.min() < 0 or brightest > 65535:
        raise InputError("has 32-bit pixels; want 8 or 16 bit")
    if 255 < brightest <= _BRIGHTEST_12_BIT:
        raise InputError(
            f"has 12-bit pixels in 16 bits: its brightest is {brightest} of 65535; "
            "save it with 8 bits"
        )
    return Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))


def _to_srgb(image: Image.Image, profile: bytes, grey: bool) -> Image.Image:
    """Converts from an ICC profile; leaves the pixels when the profile is no good."""
    try:
        from PIL import ImageCms

        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if image.mode == "RGB" and "sRGB" in ImageCms.getProfileDescription(source):
            return image
        if grey and source.profile.xcolor_space.strip() == "GRAY":
            image = image.convert("L")
        target = ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(image, source, target, outputMode="RGB")
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - damaged, of another mode, or no LittleCMS
        return image


def _from_adobe_rgb(pixels: np.ndarray) -> np.ndarray:
    """sRGB of Adobe RGB, both uint8 [H, W, 3]; IEC 61966-2-1, Adobe RGB (1998)."""
    linear = (np.arange(256) / 255) ** _ADOBE_GAMMA
    converted = np.empty_like(pixels)
    for row, colours in enumerate(pixels):  # row by row: little memory
        light = np.clip(linear[colours] @ _SRGB_FROM_ADOBE.T, 0, 1)
        curved = np.where(
            light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055
        )
        converted[row] = np.round(curved * 255)
    return converted


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
