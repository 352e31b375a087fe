"""Photos full of what must not leave the clinic, and a search for it in files.

The search looks below the surface: into TFRecords, into PNGs and their compressed
parts, into base64 pictures of pages; for each trace in other encodings and as a plain
hash.
"""

import base64
import hashlib
import html
import io
import json
import pathlib
import re
import struct
import urllib.parse
import zlib
from collections.abc import Iterable, Iterator

from PIL import Image, ImageCms, PngImagePlugin

from dermgan_tf.photos.annotations import PhotoAnnotation, write_annotations
from dermgan_tf.photos.semantic_map import Roi
from tests.helpers import fuzz_corpus

FOLDER = "ward 7 of Dr Plank"
PATIENT = "RoeJane"
CASE = "Roe^Jane 1970-02-03"
# Where in a file each of them is put.
TEXTS = {
    "camera": "TraceCamera9000",
    "serial": "TraceSerial-77123",
    "artist": "Dr Trace Artist",
    "description": "TraceDescription of Roe",
    "user comment": "TraceUserComment",
    "maker note": "TraceMakerNote",
    "thumbnail": "TraceThumbnail",
    "XMP": "TraceXmpPacket",
    "IPTC": "TraceIptcCaption",
    "comment": "TraceComment",
    "profile": "TraceProfileOwner",
    "trailer": "TraceBehindTheEnd",
    "tEXt": "TracePlainText",
    "zTXt": "TraceCompressedText",
    "iTXt": "TraceInternationalText",
}
LATITUDE = (
    472_211_963,
    10_000_019,
)  # a fraction of two numbers that are not met by chance


def exif() -> bytes:
    """EXIF 2.3 with camera, names, comments, a place on earth and a thumbnail."""
    small = fuzz_corpus._encoded(
        Image.fromarray(fuzz_corpus.skin(0, (40, 60))),
        "JPEG",
        comment=TEXTS["thumbnail"].encode(),
    )
    data, fixes = bytearray(b"II*\0\x08\0\0\0"), []

    def directory(entries, following=False):
        """Appends entries (tag, kind, count, value); bytes are put behind it later."""
        data.extend(struct.pack("<H", len(entries)))
        for tag, kind, count, value in entries:
            data.extend(struct.pack("<HHI", tag, kind, count))
            if isinstance(value, bytes):
                fixes.append((len(data), value))
                value = 0
            data.extend(struct.pack("<I", value))
        if following:
            fixes.append((len(data), None))
        data.extend(bytes(4))

    def text(tag, name):
        value = TEXTS[name].encode() + b"\0"
        return tag, 2, len(value), value

    def settle():
        for place, value in fixes:
            data[place : place + 4] = struct.pack("<I", len(data))
            if value is not None:
                data.extend(value + b"\0" * (len(value) % 2))
        fixes.clear()

    comment = b"ASCII\0\0\0" + TEXTS["user comment"].encode()
    note = TEXTS["maker note"].encode()
    main = [
        text(0x010E, "description"),
        text(0x010F, "camera"),
        (0x0112, 3, 1, 1),
        text(0x013B, "artist"),
    ]
    inner = [
        (0x927C, 7, len(note), note),
        (0x9286, 7, len(comment), comment),
        text(0xA431, "serial"),
    ]
    degrees = struct.pack("<6I", *LATITUDE, 0, 1, 0, 1)
    place = [(1, 2, 2, ord("N")), (2, 5, 3, degrees)]
    pointers = len(data) + 2 + 12 * len(main)
    directory([*main, (0x8769, 4, 1, 0), (0x8825, 4, 1, 0)], following=True)
    second = fixes.pop()[0]
    settle()
    for number, entries in enumerate((inner, place)):
        at = pointers + 12 * number + 8
        data[at : at + 4] = struct.pack("<I", len(data))
        directory(entries)
        settle()
    data[second : second + 4] = struct.pack("<I", len(data))
    directory([(0x0103, 3, 1, 6), (0x0201, 4, 1, small), (0x0202, 4, 1, len(small))])
    settle()
    return b"Exif\0\0" + bytes(data)


def plant(folder: pathlib.Path) -> pathlib.Path:
    """Makes a clinic's folder: photos with all of it, good and one bad; annotations.

    Returns:
        The annotations' path.
    """
    (folder / FOLDER).mkdir()
    annotations = []
    for number, (suffix, content) in enumerate(_photos().items()):
        for case in range(2):
            name = f"{FOLDER}/{PATIENT}_{number}_{case}.{suffix}"
            (folder / name).write_bytes(content[case])
            condition = ("melanoma", "eczema")[case]
            roi = Roi((0.3, 0.3, 0.7, 0.7), condition)
            annotations.append(
                PhotoAnnotation(
                    name,
                    f"{CASE} {number}",
                    condition,
                    4,
                    (roi,),
                    split=(None, "test", "train", "validation", None, None)[number],
                )
            )
    name = f"{FOLDER}/{PATIENT}_bad.jpg"
    (folder / name).write_bytes(_photos()["jpg"][0][:300])
    annotations.append(
        PhotoAnnotation(name, CASE, "eczema", rois=(Roi((0, 0, 1, 1), "eczema"),))
    )
    path = folder / f"{PATIENT}.jsonl"
    write_annotations(path, annotations)
    return path


def _photos() -> dict[str, tuple[bytes, bytes]]:
    """Two photos a format, by suffix."""
    found = {}
    for number, suffix in enumerate(("jpg", "png", "tif", "webp", "gif", "jp2")):
        pictures = (
            Image.fromarray(fuzz_corpus.skin(2 * number + k, (120, 150)))
            for k in range(2)
        )
        found[suffix] = tuple(_with_traces(picture, suffix) for picture in pictures)
    return found


def _with_traces(picture: Image.Image, suffix: str) -> bytes:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profile += TEXTS["profile"].encode()
    xmp = (
        "<?xpacket begin='' id='W5M0MpCehiHzreSzNTczkc9d'?><x:xmpmeta "
        f"xmlns:x='adobe:ns:meta/'>{TEXTS['XMP']}</x:xmpmeta><?xpacket end='w'?>"
    ).encode()
    caption = TEXTS["IPTC"].encode()
    record = b"\x1c\x02\x78" + struct.pack(">H", len(caption)) + caption
    block = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(record)) + record
    options = {"exif": exif(), "icc_profile": profile}
    if suffix == "jpg":
        options |= {"comment": TEXTS["comment"].encode(), "xmp": xmp, "quality": 95}
        content = fuzz_corpus._encoded(picture, "JPEG", **options)
        photoshop = b"Photoshop 3.0\0" + block
        size = struct.pack(">H", len(photoshop) + 2)
        content = content[:2] + b"\xff\xed" + size + photoshop + content[2:]
    elif suffix == "png":
        texts = PngImagePlugin.PngInfo()
        texts.add_text("Author", TEXTS["tEXt"])
        texts.add_text("Comment", TEXTS["zTXt"] * 20, zip=True)
        texts.add_itxt("XML:com.adobe.xmp", xmp.decode() + TEXTS["iTXt"])
        content = fuzz_corpus._encoded(picture, "PNG", pnginfo=texts, **options)
    elif suffix == "tif":
        tags = {0x010E: TEXTS["description"], 0x013C: TEXTS["serial"]}
        tags |= {0x02BC: xmp, 0x8649: block}
        options["tiffinfo"] = tags
        del options["exif"]
        content = fuzz_corpus._encoded(picture, "TIFF", **options)
    elif suffix == "webp":
        content = fuzz_corpus._encoded(picture, "WEBP", xmp=xmp, quality=95, **options)
    elif suffix == "gif":
        comment = TEXTS["comment"].encode()
        content = fuzz_corpus._encoded(picture.quantize(64), "GIF", comment=comment)
    else:
        comment = TEXTS["comment"].encode()
        content = fuzz_corpus._encoded(picture, "JPEG2000", comment=comment)
    return content + TEXTS["trailer"].encode()


def all_traces(folder: pathlib.Path) -> dict[str, list[bytes]]:
    """What is looked for, by name: each trace in all its forms."""
    texts = {
        **TEXTS,
        "patient": PATIENT,
        "case": CASE,
        "case's name": "Roe^Jane",
        "folder": FOLDER,
        "path": str(folder),
        "path's end": folder.name,
    }
    traces = {name: list(_forms(text)) for name, text in texts.items()}
    traces["place"] = [struct.pack(f"{order}2I", *LATITUDE) for order in "<>"]
    traces["place"].append(str(LATITUDE[0]).encode())
    traces["metadata"] = [b"Exif\0\0", b"eXIf", b"xpacket", b"8BIM", b"ICC_PROFILE"]
    return traces


def _forms(text: str) -> Iterator[bytes]:
    plain = text.encode()
    yield from {plain, plain.lower(), plain.upper()}
    yield text.encode("utf-16-le")
    yield text.encode("utf-16-be")
    yield urllib.parse.quote(text).encode()
    yield html.escape(text).encode()
    yield json.dumps(text)[1:-1].encode()
    yield plain.hex().encode()
    for shift in range(3):  # wherever it begins within base64's groups of three
        whole = base64.b64encode(bytes(shift) + plain)
        start = (0, 2, 3)[shift]
        yield whole[start : 4 * ((len(plain) + shift) // 3)]
    for kind in (hashlib.md5, hashlib.sha1, hashlib.sha256):
        yield kind(plain).digest()[:8]
        yield kind(plain).hexdigest()[:16].encode()


def found_traces(
    files: Iterable[pathlib.Path], traces: dict[str, list[bytes]]
) -> set[tuple[str, str]]:
    """(file's name, trace) of every trace in the files' content or names."""
    found = set()
    for path in files:
        name = path.name.encode()
        layers = [name, *_layers(path.read_bytes() if path.is_file() else b"")]
        if ".tfrecord" in path.name:
            for record in _records(path):
                layers += _layers(record)
        for trace, forms in traces.items():
            if any(form in layer for layer in layers for form in forms):
                found.add((path.name, trace))
    return found


def _records(path: pathlib.Path) -> Iterator[bytes]:
    """The byte strings of all features of all examples."""
    import tensorflow as tf

    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        features = tf.train.Example.FromString(record).features.feature
        for name, feature in features.items():
            yield name.encode()
            yield from feature.bytes_list.value


def _layers(data: bytes) -> Iterator[bytes]:
    """The data, and what lies in it compressed or encoded."""
    yield data
    if data.startswith(b"\x89PNG"):
        place, pixels = 8, b""
        while place + 8 <= len(data):
            size, kind = struct.unpack(">I4s", data[place : place + 8])
            body = data[place + 8 : place + 8 + size]
            place += 12 + size
            if kind == b"IDAT":
                pixels += body
            elif kind in (b"zTXt", b"iCCP", b"iTXt"):
                # Behind keyword and flags, wherever the stream begins.
                for start in re.finditer(rb"\x78[\x01\x5e\x9c\xda]", body):
                    yield _inflated(body[start.start() :])
        yield _inflated(pixels)
    for encoded in re.findall(rb"base64,([A-Za-z0-9+/=]{8,})", data):
        yield from _layers(base64.b64decode(encoded))


def _inflated(data: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(data)
    except zlib.error:
        return b""


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def pictures(path: pathlib.Path) -> Iterator[Image.Image]:
    """The images in a file: itself, or those of a page or of records."""
    layers = list(_layers(path.read_bytes()))
    if ".tfrecord" in path.name:
        layers = list(_records(path))
    for layer in layers:
        if layer.startswith((b"\x89PNG", b"\xff\xd8\xff")):
            yield Image.open(io.BytesIO(layer))
