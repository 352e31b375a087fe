"""Makes damaged photos and damaged annotation files, by seed, in a folder of a test.

Each file comes with a verdict: "good" must be taken, "bad" must be refused, and of what
is "either" (a flipped bit may hit a comment) no more is asked than one of the two.
"""

import dataclasses
import io
import json
import os
import pathlib
import socket
import struct
import zlib
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

GOOD, BAD, EITHER = "good", "bad", "either"
SIDES = 72, 88  # height, width of the photos, pixels
BOMB_SIDE = 30_000  # pixels; 900 million of them


@dataclasses.dataclass(frozen=True)
class Damaged:
    """One file of a corpus.

    Args:
        name: the file's name, as Python has it: non-UTF-8 bytes are surrogates.
        kind: what was done to it.
        verdict: "good", "bad" or "either".
    """

    name: str
    kind: str
    verdict: str


# === Photos ===


def skin(seed: int, sides: tuple[int, int] = SIDES) -> np.ndarray:
    """A noisy skin-coloured picture with a dark spot, uint8 [H, W, 3]."""
    rng = np.random.default_rng(seed)
    image = rng.normal((205, 160, 135), 9, (*sides, 3))
    rows, columns = np.mgrid[: sides[0], : sides[1]]
    spot = np.hypot(rows - sides[0] / 2, columns - sides[1] / 2) < 12
    image[spot] = (110, 60, 50)
    return np.clip(image, 0, 255).astype(np.uint8)


def _encoded(picture: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def encodings(seed: int) -> dict[str, bytes]:
    """One photo in every form that photos come in, by name with extension."""
    picture = Image.fromarray(skin(seed))
    other = Image.fromarray(skin(seed + 1))
    grey = picture.convert("L")
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a camera"
    alpha = picture.copy()
    alpha.putalpha(grey)
    deep = np.asarray(grey).astype(np.uint16) * 257
    return {
        "baseline.jpg": _encoded(picture, "JPEG", quality=90, exif=exif),
        "progressive.jpg": _encoded(picture, "JPEG", progressive=True, comment=b"c"),
        "restarts.jpg": _encoded(picture, "JPEG", restart_marker_rows=1),
        "grey.jpg": _encoded(grey, "JPEG"),
        "cmyk.jpg": _encoded(picture.convert("CMYK"), "JPEG"),
        "two.mpo.jpg": _encoded(picture, "MPO", save_all=True, append_images=[other]),
        "plain.png": _encoded(picture, "PNG", exif=exif),
        "palette.png": _encoded(picture.quantize(32), "PNG"),
        "alpha.png": _encoded(alpha, "PNG"),
        "deep.png": _encoded(Image.fromarray(deep), "PNG"),
        "lossy.webp": _encoded(picture, "WEBP", exif=exif),
        "lossless.webp": _encoded(picture, "WEBP", lossless=True),
        "raw.tif": _encoded(picture, "TIFF", exif=exif),
        "lzw.tif": _encoded(picture, "TIFF", compression="tiff_lzw"),
        "deflate.tif": _encoded(picture, "TIFF", compression="tiff_adobe_deflate"),
        "jpeg.tif": _encoded(picture, "TIFF", compression="jpeg"),
        "a.bmp": _encoded(picture, "BMP"),
        "a.gif": _encoded(picture.quantize(64), "GIF"),
        "a.ppm": _encoded(picture, "PPM"),
        "a.jp2": _encoded(picture, "JPEG2000"),
    }


def photo_corpus(folder: pathlib.Path, share: float = 1.0) -> list[Damaged]:
    """Writes damaged photos, and some good ones, into a folder.

    Args:
        folder: an existing, empty folder on a file system that has pipes.
        share: of each kind so many are made, but one at least. 1.0 makes over 1,000.

    Returns:
        What was made, in order.
    """
    made = []
    for kind, maker in _PHOTO_KINDS.items():
        files = list(maker())
        count = max(1, round(share * len(files)))
        # Evenly out of all: the first ones are much alike.
        chosen = [files[i * len(files) // count] for i in range(count)]
        for number, (label, content, verdict) in enumerate(chosen):
            name = label if kind == "names" else f"{kind}-{number:03}-{label}"
            try:
                _write(folder, name, content)
            except OSError:
                if kind == "names":  # some file systems take UTF-8 alone
                    continue
                raise
            made.append(Damaged(name, kind, verdict))
    return made


def _write(folder: pathlib.Path, name: str, content: bytes | Callable) -> None:
    path = os.path.join(folder, name)
    if callable(content):
        content(path)
    else:
        with open(path, "wb") as file:
            file.write(content)


def _good() -> Iterator[tuple[str, bytes, str]]:
    for seed in (3, 4):
        for name, content in encodings(seed).items():
            yield f"{seed}-{name}", content, GOOD


def _truncated() -> Iterator[tuple[str, bytes, str]]:
    """Cut within and at the borders of the parts that a file consists of."""
    for name, content in encodings(0).items():
        places = {round(len(content) * k / 16) for k in range(1, 16)}
        places |= {len(content) - k for k in (1, 2, 3, 9, 40)}
        for start, end in _parts(content):
            places |= {start, start + 1, start + 3, (start + end) // 2, end - 1}
        for place in sorted(p for p in places if 0 < p < len(content)):
            # Behind the pixels there may be metadata alone, or a second picture.
            verdict = BAD if place < 0.35 * len(content) else EITHER
            yield name, content[:place], verdict


def _parts(content: bytes) -> list[tuple[int, int]]:
    """Start and end of JPEG's segments, PNG's and WebP's chunks."""
    found = []
    if content.startswith(b"\xff\xd8"):
        place = 2
        while content[place : place + 1] == b"\xff" and content[place + 1] != 0xDA:
            end = place + 2 + int.from_bytes(content[place + 2 : place + 4], "big")
            found.append((place, end))
            place = end
    elif content.startswith(b"\x89PNG"):
        place = 8
        while place < len(content):
            end = place + 12 + int.from_bytes(content[place : place + 4], "big")
            found.append((place, end))
            place = end
    elif content.startswith(b"RIFF"):
        place = 12
        while place < len(content):
            size = int.from_bytes(content[place + 4 : place + 8], "little")
            found.append((place, place + 8 + size + size % 2))
            place = found[-1][1]
    return found


def _flipped() -> Iterator[tuple[str, bytes, str]]:
    for name, content in encodings(1).items():
        rng = np.random.default_rng(len(content))
        for number in range(16):
            data = bytearray(content)
            # Headers do more harm than pixels: every other flip is there.
            reach = len(data) if number % 2 else min(len(data), 200)
            for _ in range(1 << number % 5):
                data[rng.integers(reach)] ^= 1 << int(rng.integers(8))
            yield name, bytes(data), EITHER


def _overwritten() -> Iterator[tuple[str, bytes, str]]:
    for name, content in encodings(2).items():
        rng = np.random.default_rng(len(content))
        for number in range(8):
            length = int(rng.integers(4, len(content) // 3))
            start = int(rng.integers(0 if number % 2 else 16, len(content) - length))
            noise = rng.integers(0, 256, length, np.uint8).tobytes()
            filling = (bytes(length), b"\xff" * length, noise, b"")[number % 4]
            yield name, content[:start] + filling + content[start + length :], EITHER


def _spliced() -> Iterator[tuple[str, bytes, str]]:
    """The head of one file with the tail of another."""
    files = list(encodings(0).items())
    for step in (1, 5, 9):
        for i, (name, content) in enumerate(files):
            _, other = files[(i + step) % len(files)]
            place = len(content) * (1 + step) // 12
            yield name, content[:place] + other[place:], EITHER


def _rechecked() -> Iterator[tuple[str, bytes, str]]:
    """PNGs whose checksums are right, so that the damage reaches the decoder."""
    for name in ("plain.png", "palette.png", "alpha.png", "deep.png"):
        content = encodings(5)[name]
        rng = np.random.default_rng(len(content))
        parts = _parts(content)
        for number in range(16):
            start, end = parts[0] if number % 3 == 0 else parts[number % len(parts)]
            body = bytearray(content[start + 4 : end - 4])
            if len(body) > 4:
                body[int(rng.integers(4, len(body)))] ^= 1 << int(rng.integers(8))
            crc = struct.pack(">I", zlib.crc32(body))
            data = content[: start + 4] + bytes(body) + crc + content[end:]
            yield name, data, EITHER


def _wrong_extension() -> Iterator[tuple[str, bytes, str]]:
    """Photos by another format's name: what they hold decides."""
    files = encodings(6)
    suffixes = (".jpg", ".png", ".tif")
    for i, (name, content) in enumerate(files.items()):
        for suffix in suffixes[: 2 + i % 2]:
            yield f"{name.replace('.', '_')}{suffix}", content, GOOD


def _no_photo() -> Iterator[tuple[str, bytes, str]]:
    contents = {
        "text.jpg": b"hello, world\n" * 40,
        "page.jpg": b"<!DOCTYPE html><html><body>404</body></html>",
        "lfs.png": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n",
        "pdf.jpg": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n" + bytes(300),
        "zip.png": b"PK\x03\x04" + bytes(300),
        "gz.tif": b"\x1f\x8b\x08" + bytes(100),
        "video.jpg": b"\0\0\0\x20ftypisom" + bytes(300),
        "phone.heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(300),
        "vector.png": b"<svg xmlns='http://www.w3.org/2000/svg' width='99'/>",
        # Pillow would start Ghostscript for it.
        "script.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\nshowpage\n",
        "scan.jpg": bytes(128) + b"DICM" + bytes(300),
        "program.jpg": b"\x7fELF\x02\x01\x01" + bytes(300),
        "zeros.jpg": bytes(5000),
        "ones.jpg": b"\xff" * 5000,
        "noise.jpg": np.random.default_rng(0).bytes(5000),
        "float.tif": _encoded(
            Image.fromarray(np.linspace(0, 1, 4096, dtype=np.float32).reshape(64, 64)),
            "TIFF",
        ),
        "pixel.png": _encoded(Image.new("RGB", (1, 1)), "PNG"),
        "line.png": _encoded(Image.new("RGB", (4000, 2)), "PNG"),
        "frames.gif": _encoded(
            Image.new("L", (64, 64)),
            "GIF",
            save_all=True,
            append_images=[Image.new("L", (64, 64), k) for k in (90, 180)],
        ),
        "pages.tif": _encoded(
            Image.new("RGB", (64, 64)),
            "TIFF",
            save_all=True,
            append_images=[Image.new("RGB", (64, 64), (9, 9, 9))],
        ),
    }
    for name, content in contents.items():
        yield name, content, BAD


def _short() -> Iterator[tuple[str, bytes, str]]:
    """No byte, one byte, and no more than what a format is known by."""
    yield "empty.jpg", b"", BAD
    yield "empty.png", b"", BAD
    for name, content in encodings(0).items():
        yield name, content[:1], BAD
        yield name, content[:12], BAD


def _bombs() -> Iterator[tuple[str, bytes | Callable, str]]:
    """Small files that say, or hold, 900 million pixels and more."""
    side = BOMB_SIDE
    files = encodings(0)
    yield "header.png", png(side, side, zlib.compress(bytes(1000))), BAD
    # All of the 2.7 GB are there: the same deflated block again and again.
    yield "whole.png", png(side, side, _deflated_zeros(side * (3 * side + 1))), BAD
    # Below Pillow's own limit, above ours; ended by a text, which makes readers of
    # texts inflate the pixels.
    yield (
        "text.png",
        png(12_000, 12_000, _deflated_zeros(12_000 * 36_001), text=True),
        BAD,
    )
    yield "jpeg.jpg", _patched(files["baseline.jpg"], "jpeg", side), BAD
    yield "progressive.jpg", _patched(files["progressive.jpg"], "jpeg", side), BAD
    yield "webp.webp", _patched(files["lossy.webp"], "webp", 16_383), BAD
    yield "bmp.bmp", _patched(files["a.bmp"], "bmp", side), BAD
    yield "gif.gif", _patched(files["a.gif"], "gif", side), BAD
    yield "ppm.ppm", f"P6 {side} {side} 255\n".encode() + bytes(99), BAD
    yield "tiff.tif", _patched(files["raw.tif"], "tiff", side), BAD
    yield "tiff.png", _patched(files["deflate.tif"], "tiff", side), BAD
    yield "jp2.jp2", _patched(files["a.jp2"], "jp2", side), BAD
    # Little pixels with much beside them.
    many = zlib.compress(bytes(64 << 20))
    yield "ztxt.png", _with_chunk(files["plain.png"], b"zTXt", b"k\0\0" + many), EITHER
    yield "iccp.png", _with_chunk(files["plain.png"], b"iCCP", b"p\0\0" + many), EITHER
    itxt = b"k\0\1\0\0\0" + many
    yield "itxt.png", _with_chunk(files["plain.png"], b"iTXt", itxt), EITHER
    # Longer than any photo; no byte of it is on the disk.
    yield "sparse.jpg", lambda path: _sparse(path, files["baseline.jpg"][:20]), BAD
    yield "sparse.tif", lambda path: _sparse(path, files["raw.tif"][:8], 5 << 30), BAD


def _chunk(kind: bytes, data: bytes) -> bytes:
    crc = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + crc


def png(width: int, height: int, data: bytes, text: bool = False) -> bytes:
    """A PNG of 8-bit RGB with this compressed data, in proper chunks."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", data)
        + (_chunk(b"tEXt", b"k\0v") if text else b"")
        + _chunk(b"IEND", b"")
    )


def _deflated_zeros(length: int) -> bytes:
    """zlib data of `length` zeros or a little more, without inflating them here."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    # 0x03 0x00 is an empty last block; the checksum is only read at the very end.
    return b"\x78\xda" + block * (length // (1 << 20) + 1) + b"\x03\x00" + bytes(4)


def _with_chunk(content: bytes, kind: bytes, data: bytes) -> bytes:
    """A PNG with a chunk more, behind the header."""
    return content[:33] + _chunk(kind, data) + content[33:]


def _patched(content: bytes, kind: str, side: int) -> bytes:
    """The file, saying of itself that it is side × side pixels."""
    data = bytearray(content)
    if kind == "jpeg":
        start = next(s for s, _ in _parts(content) if data[s + 1] in (0xC0, 0xC2))
        data[start + 5 : start + 9] = struct.pack(">HH", side, side)
    elif kind == "webp":
        start = data.find(b"\x9d\x01\x2a") + 3
        data[start : start + 4] = struct.pack("<HH", side, side)
        if data[12:16] == b"VP8X":
            data[24:30] = struct.pack("<I", side - 1)[:3] * 2
    elif kind == "bmp":
        data[18:26] = struct.pack("<II", side, side)
    elif kind == "gif":
        data[6:10] = struct.pack("<HH", side, side)
    elif kind == "tiff":
        (place,) = struct.unpack("<I", data[4:8])
        (count,) = struct.unpack("<H", data[place : place + 2])
        for entry in range(place + 2, place + 2 + 12 * count, 12):
            (tag,) = struct.unpack("<H", data[entry : entry + 2])
            if tag in (256, 257):
                data[entry + 2 : entry + 12] = struct.pack("<HII", 4, 1, side)
    elif kind == "jp2":
        start = data.find(b"ihdr") + 4
        data[start : start + 8] = struct.pack(">II", side, side)
        start = data.find(b"\xff\x4f\xff\x51") + 8
        data[start : start + 8] = struct.pack(">II", side, side)
    return bytes(data)


def _sparse(path: str, head: bytes, length: int = 6 << 30) -> None:
    with open(path, "wb") as file:
        file.write(head)
        file.truncate(length)


def _no_files() -> Iterator[tuple[str, Callable, str]]:
    """What has a photo's name but is no regular file."""

    def bound(path):
        # The address of a socket has at most 107 bytes.
        here = os.getcwd()
        os.chdir(os.path.dirname(path))
        try:
            with socket.socket(socket.AF_UNIX) as end:
                end.bind(os.path.basename(path))
        finally:
            os.chdir(here)

    yield "pipe.jpg", os.mkfifo, BAD
    yield "pipe.png", os.mkfifo, BAD
    yield "loop.jpg", lambda path: os.symlink(os.path.basename(path), path), BAD
    yield "dangling.png", lambda path: os.symlink("nowhere.png", path), BAD
    yield "folder.jpg", os.mkdir, BAD
    yield "up.jpg", lambda path: os.symlink("..", path), BAD
    yield "endless.jpg", lambda path: os.symlink("/dev/zero", path), BAD
    yield "nothing.png", lambda path: os.symlink("/dev/null", path), BAD
    yield "socket.jpg", bound, BAD


def _names() -> Iterator[tuple[str, bytes, str]]:
    """Good photos by names that few expect."""
    content = encodings(7)["baseline.jpg"]
    for name in (
        "two\nlines.jpg",
        "three\r\n\nlines,and\ta tab.jpg",
        os.fsdecode(b"latin-1 caf\xe9.jpg"),
        os.fsdecode(b"broken \xc3\x28 utf-8 \xff.jpg"),
        "bell\a and escape\x1b[31m.jpg",
        "right\u202eto left.jpg",
        "a space and 'quotes' \" , ; $(id) `id` %s {0}.jpg",
        "-leading-dash.jpg",
        "=1+1.jpg",
        "皮膚 nævus é.jpg",
        "\U0001f9d1\u200d\u2695\ufe0f.jpg",
        "back\\slash.jpg",
        "x" * 251 + ".jpg",
        "UPPER.JPG",
        ".hidden.jpg",
    ):
        yield name, content, GOOD


_PHOTO_KINDS = {
    "good": _good,
    "truncated": _truncated,
    "flipped": _flipped,
    "overwritten": _overwritten,
    "spliced": _spliced,
    "rechecked": _rechecked,
    "extension": _wrong_extension,
    "no_photo": _no_photo,
    "short": _short,
    "bomb": _bombs,
    "no_file": _no_files,
    "names": _names,
}


# === Annotations ===


def annotation_lines(
    count: int = 6, prefix: str = "photos/", case: str = "case "
) -> list[bytes]:
    """Good lines of annotations.jsonl."""
    lines = []
    for i in range(count):
        record = {
            "image": f"{prefix}{i}.jpg",
            "case_id": f"{case}{i}",
            "condition": ("melanoma", "nævus")[i % 2],
            "fitzpatrick": (None, 1, 6)[i % 3],
            "rois": [{"box": [0.2, 0.25, 0.7, 0.75]}],
        }
        lines.append(json.dumps(record, ensure_ascii=i % 2 == 0).encode())
    return lines


def annotation_corpus(share: float = 1.0) -> dict[str, bytes]:
    """Damaged annotation files by name; 1.0 makes over 500."""
    made = {}
    for kind, maker in _ANNOTATION_KINDS.items():
        files = list(maker())
        count = max(1, round(share * len(files)))
        for number in range(count):
            made[f"{kind}-{number:03}.jsonl"] = files[number * len(files) // count]
    return made


def _cut_files() -> Iterator[bytes]:
    data = b"\n".join(annotation_lines()) + b"\n"
    for k in range(100):
        yield data[: len(data) * k // 100]


def _flipped_files() -> Iterator[bytes]:
    data = b"\n".join(annotation_lines()) + b"\n"
    rng = np.random.default_rng(0)
    for number in range(150):
        damaged = bytearray(data)
        for _ in range(1 << number % 6):
            damaged[rng.integers(len(damaged))] ^= 1 << int(rng.integers(8))
        yield bytes(damaged)


def _overwritten_files() -> Iterator[bytes]:
    data = b"\n".join(annotation_lines()) + b"\n"
    rng = np.random.default_rng(1)
    for number in range(60):
        length = int(rng.integers(1, 200))
        start = int(rng.integers(len(data) - length))
        noise = rng.integers(0, 256, length, np.uint8).tobytes()
        filling = (bytes(length), noise, b" " * length, b"\n" * length, b"")
        yield data[:start] + filling[number % 5] + data[start + length :]


def _bad_values() -> Iterator[bytes]:
    """One line of the file has a value that it must not have, or hardly can."""
    deep = "[" * 5000 + "]" * 5000
    values = (
        *("null", "true", "-1", "7", "2.5", "NaN", "-Infinity", "1e999", "9" * 5000),
        *('""', '" "', '"a\\nb"', '"\\u0000"', '"\\ud800"', '"\\u202e"', '"x"', "[]"),
        *("{}", "[[]]", '[{"box": [0, 0, 1, 1]}]', deep, '"' + "y" * 70_000 + '"'),
        *('[{"box": [0, 0, 1]}]', '[{"box": [1, 1, 0, 0]}]', '[{"box": "0 0 1 1"}]'),
        *('[{"box": [0, 0, 1e-300, 1]}]', '[{"box": [0, 0, 1, 1], "condition": 1}]'),
        "[" + ", ".join(['{"box": [0, 0, 1, 1]}'] * 5000) + "]",
    )
    good = annotation_lines()
    for field in ("image", "case_id", "condition", "fitzpatrick", "rois", "split"):
        for value in values:
            record = json.loads(good[2])
            record.pop(field, None)
            line = json.dumps(record)[:-1] + f', "{field}": {value}}}'
            yield b"\n".join([*good[:2], line.encode(), *good[3:]]) + b"\n"


# Ways out of the folder, and what some programs would take for one.
ESCAPES = (
    "../secret.jpg",
    "photos/../../secret.jpg",
    "photos/./../../secret.jpg",
    "a/b/../../../secret.jpg",
    "/etc/passwd",
    "//etc/passwd",
    "C:\\secret.jpg",
    "C:/secret.jpg",
    "\\\\server\\secret.jpg",
    "..\\secret.jpg",
    "photos\\..\\..\\secret.jpg",
    "file:///etc/passwd",
    "http://localhost/secret.jpg",
    "gs://bucket/secret.jpg",
    "~/secret.jpg",
    "$HOME/secret.jpg",
    "%2e%2e/secret.jpg",
    "..%2fsecret.jpg",
    "..",
    ".",
    "photos/..",
    "photos/",
    "..\u2215secret.jpg",
    "\uff0e\uff0e/secret.jpg",
    "\x2e\x2e/secret.jpg\x00.jpg",
)


def _escapes() -> Iterator[bytes]:
    good = annotation_lines()
    for image in ESCAPES:
        record = {**json.loads(good[2]), "image": image}
        yield b"\n".join([*good[:2], json.dumps(record).encode(), *good[3:]]) + b"\n"


def _encodings() -> Iterator[bytes]:
    text = (b"\n".join(annotation_lines()) + b"\n").decode()
    yield from (text.encode(code) for code in ("utf-16", "utf-16-be", "utf-32"))
    yield text.encode("latin-1")
    yield text.encode("utf-8-sig")
    yield text.replace("\n", "\r\n").encode()
    yield text.replace("\n", "\r").encode()
    yield text.replace("\n", "\u2028").encode()
    yield text.replace("\n", "\0\n").encode()
    yield text.replace("\n", ",\n").encode()
    yield f"[{text}]".encode()
    yield zlib.compress(text.encode())
    yield text.replace('"', "'").encode()
    yield text.replace('"', "\u201c").encode()
    yield text.encode() * 2
    yield b"".join(reversed(text.encode().splitlines(keepends=True)))


def _other_files() -> Iterator[bytes]:
    yield from encodings(0).values()
    yield b""
    yield b"\n" * 1000
    yield b"\0" * 1000
    yield b"{" * 200_000
    yield b'{"image": ' * 50_000
    yield b'{"image": "' + b"x" * (3 << 20) + b'"}\n' + annotation_lines()[0] + b"\n"
    yield b"<html><body>404</body></html>\n"
    yield b"image,case_id,condition\nphotos/0.jpg,c,melanoma\n"


_ANNOTATION_KINDS = {
    "cut": _cut_files,
    "flipped": _flipped_files,
    "overwritten": _overwritten_files,
    "value": _bad_values,
    "escape": _escapes,
    "encoding": _encodings,
    "other": _other_files,
}
