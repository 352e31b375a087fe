"""Reads photos of any make as upright RGB pixels; writes images without metadata."""

import io
import os
import stat
from collections.abc import Mapping

import numpy as np
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from dermgan_tf.errors import InputError

MIN_SIDE = 16  # pixels; below this nothing can be seen of a skin condition
MAX_PIXELS = 100_000_000  # 300 MB of RGB: far above any camera, below a bomb

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
            or damaged, too small or too large.
    """
    with _open_regular_file(path) as file:
        try:
            return _decode(file, min_side, max_pixels)
        except MemoryError:
            raise
        except InputError as error:
            raise InputError(f"{_shown(path)}: {error}") from None
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            cause = f"has too many pixels to decode; at most {max_pixels} are read"
            raise InputError(f"{_shown(path)}: {cause}") from None
        except UnidentifiedImageError:
            cause = _why_not_an_image(file)
            raise InputError(f"{_shown(path)}: {cause}") from None
        except Exception as error:
            # On damaged files Pillow's decoders raise nearly every built-in exception.
            text = " ".join(str(error).split()) or type(error).__name__
            early = "truncated" in text.lower()
            cause = "ends too early (truncated)" if early else f"is damaged: {text}"
            raise InputError(f"{_shown(path)}: {cause}") from error


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
    """The texts inside a PNG.

    Args:
        source: a file's path, or the bytes of one.

    Returns:
        keyword -> text; empty for an image of another format.

    Raises:
        InputError: for a file that cannot be read, or a damaged PNG.
    """
    if isinstance(source, bytes):
        file, shown = io.BytesIO(source), "PNG bytes"
    else:
        file, shown = _open_regular_file(source), _shown(source)
    with file:
        if file.read(len(_PNG_SIGNATURE)) != _PNG_SIGNATURE:
            return {}
        file.seek(0)
        try:
            with Image.open(file, formats=["PNG"]) as image:
                return {key: str(value) for key, value in image.text.items()}
        except MemoryError:
            raise
        except Exception as error:
            text = " ".join(str(error).split())
            raise InputError(f"{shown}: is a damaged PNG: {text}") from error


def is_synthetic(path: str | os.PathLike) -> bool:
    """Whether an image file says of itself that a generator painted it.

    Raises:
        InputError: for a file that cannot be read.
    """
    return read_png_text(path).get("synthetic", "").strip().lower() == "true"


def _open_regular_file(path: str | os.PathLike) -> io.BufferedReader:
    try:
        # Opening a pipe or a device could wait for ever, so look before opening.
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise InputError(f"{_shown(path)}: is a folder, not an image file")
        if not stat.S_ISREG(mode):
            raise InputError(f"{_shown(path)}: is a pipe or device, not an image file")
        return open(path, "rb")
    except FileNotFoundError:
        raise InputError(f"{_shown(path)}: does not exist") from None
    except OSError as error:
        raise InputError(f"{_shown(path)}: cannot be read: {error.strerror}") from None


def _decode(file: io.BufferedReader, min_side: int, max_pixels: int) -> np.ndarray:
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
        frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
        if frames != 1:
            raise InputError(f"has {frames} frames; want a still photo")
        image.load()
        # After loading: Pillow turns TIFFs while it loads them.
        orientation = _orientation(image)
        return _turned(_rgb_pixels(image), orientation)


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # noqa: BLE001 - damaged EXIF does not spoil the pixels
        return 1


def _turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Undoes the turn that EXIF orientation 1…8 declares (EXIF 2.3, tag 274)."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


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
    elif image.mode != "CMYK":
        image = image.convert("RGB")
    if profile:
        image = _to_srgb(image, profile)
    return np.asarray(image.convert("RGB"))


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


def _why_not_an_image(file: io.BufferedReader) -> str:
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


def _shown(path: str | os.PathLike) -> str:
    """The path for a message: one line, whatever the file's name holds."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode()
        for c in os.fspath(path)
    )
