import io
import os
import struct
import unicodedata
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, ImageOps, PngImagePlugin

from dermgan_tf.errors import InputError
from dermgan_tf.photos.photo_io import (
    MAX_BYTES,
    decode_photo,
    encode_jpeg,
    encode_png,
    is_synthetic,
    read_photo,
    read_png_text,
)


def picture(height=40, width=56):
    """A smooth picture without any symmetry, so that every turn shows."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack(
        [255 * y / height, 255 * x / width, 255 * x * y / (height * width)], axis=-1
    ).astype(np.uint8)


def saved(path, image, **options):
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(path, **options)
    return path


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.ppm"])
def test_lossless_formats_give_their_pixels(tmp_path, name):
    photo = read_photo(saved(tmp_path / name, picture()))
    assert photo.dtype == np.uint8
    assert photo.flags.c_contiguous
    np.testing.assert_array_equal(photo, picture())


@pytest.mark.parametrize("name", ["a.jpg", "a.webp"])
def test_lossy_formats_come_close(tmp_path, name):
    photo = read_photo(saved(tmp_path / name, picture(), quality=95))
    assert abs(photo.astype(int) - picture()).mean() < 4


def test_grey_palette_and_one_bit(tmp_path):
    grey = Image.fromarray(picture()).convert("L")
    photo = read_photo(saved(tmp_path / "grey.png", grey))
    np.testing.assert_array_equal(photo, np.stack([np.asarray(grey)] * 3, axis=-1))

    palette = Image.fromarray(picture()).quantize(16)
    photo = read_photo(saved(tmp_path / "palette.png", palette))
    np.testing.assert_array_equal(photo, np.asarray(palette.convert("RGB")))

    photo = read_photo(saved(tmp_path / "bit.png", grey.convert("1")))
    assert set(np.unique(photo)) == {0, 255}


def test_transparency_is_laid_on_black(tmp_path):
    rgba = np.dstack([picture(), np.full((40, 56), 255, np.uint8)])
    rgba[:10, :, 3] = 0
    rgba[10:20, :, 3] = 128
    photo = read_photo(saved(tmp_path / "a.png", rgba))
    assert (photo[:10] == 0).all()
    np.testing.assert_allclose(photo[10:20], picture()[10:20] * (128 / 255), atol=1)
    np.testing.assert_array_equal(photo[20:], picture()[20:])

    grey_alpha = Image.fromarray(rgba).convert("LA")
    assert (read_photo(saved(tmp_path / "la.png", grey_alpha))[:10] == 0).all()

    palette = Image.fromarray(picture()).quantize(4)
    palette.info["transparency"] = 0
    photo = read_photo(saved(tmp_path / "p.png", palette, transparency=0))
    assert (photo[np.asarray(palette) == 0] == 0).all()


def test_cmyk(tmp_path):
    # 100 % magenta and yellow is red; 100 % cyan and magenta is blue.
    cmyk = np.zeros((32, 32, 4), np.uint8)
    cmyk[:16] = (0, 255, 255, 0)
    cmyk[16:] = (255, 255, 0, 0)
    image = Image.frombytes("CMYK", (32, 32), cmyk.tobytes())
    for name in ("a.jpg", "a.tif"):
        photo = read_photo(saved(tmp_path / name, image)).astype(int)
        np.testing.assert_allclose(photo[4, 4], (255, 0, 0), atol=8)
        np.testing.assert_allclose(photo[28, 28], (0, 0, 255), atol=8)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_is_scaled_not_clipped(tmp_path, suffix):
    # OpenCV writes 16-bit files, so that the reader is not tested against itself.
    ramp = np.linspace(0, 65535, 64 * 48).astype(np.uint16).reshape(48, 64)
    cv2.imwrite(str(tmp_path / f"grey.{suffix}"), ramp)
    photo = read_photo(tmp_path / f"grey.{suffix}")
    np.testing.assert_allclose(photo[..., 0], ramp / 257, atol=1)
    assert (photo[..., 0] == photo[..., 2]).all()

    colours = np.dstack([ramp, ramp[::-1], ramp // 2])  # blue, green, red
    cv2.imwrite(str(tmp_path / f"rgb.{suffix}"), colours)
    photo = read_photo(tmp_path / f"rgb.{suffix}")
    np.testing.assert_allclose(photo, colours[..., ::-1] / 257, atol=1)


@pytest.mark.parametrize("mode", ["F", "I"])
def test_deeper_pixels_are_refused(tmp_path, mode):
    values = np.linspace(0, 1e6, 32 * 32).reshape(32, 32)
    image = Image.fromarray(values.astype(np.float32 if mode == "F" else np.int32))
    path = saved(tmp_path / "deep.tif", image)
    with pytest.raises(InputError, match="want 8 or 16 bit"):
        read_photo(path)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.webp"])
def test_exif_orientation(tmp_path, name, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 95} if name == "a.jpg" else {}
    options |= {"lossless": True} if name == "a.webp" else {}
    path = saved(tmp_path / name, picture(), exif=exif, **options)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    np.testing.assert_array_equal(read_photo(path), expected)
    # And against what the tag means, with the picture's corners.
    turned = {  # where the stored top left corner is shown (EXIF 2.3, table of tag 274)
        1: "top left",
        2: "top right",
        3: "bottom right",
        4: "bottom left",
        5: "top left",
        6: "top right",
        7: "bottom right",
        8: "bottom left",
    }[orientation].split()
    row = 0 if turned[0] == "top" else -1
    column = 0 if turned[1] == "left" else -1
    corner = read_photo(path)[row, column].astype(int)
    np.testing.assert_allclose(corner, picture()[0, 0], atol=12)
    assert expected.shape[:2] == ((40, 56) if orientation < 5 else (56, 40))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_does_not_spoil_a_photo(tmp_path):
    for exif in (b"Exif\0\0" + b"\xff" * 60, b"Exif\0\0II*\0\x08\0\0\0\xff\xff"):
        path = saved(tmp_path / "a.jpg", picture(), exif=exif)
        assert read_photo(path).shape == (40, 56, 3)


def icc_profile(red, green, blue):
    """A minimal ICC 2.1 matrix profile, gamma 1, with primaries of the given XYZ."""

    def fixed(value):
        return struct.pack(">i", round(value * 65536))

    def xyz(values):
        return b"XYZ \0\0\0\0" + b"".join(fixed(value) for value in values)

    curve = b"curv\0\0\0\0" + struct.pack(">I", 0)
    name = b"exchanged\0"
    desc = b"desc\0\0\0\0" + struct.pack(">I", len(name)) + name + b"\0" * 79
    tags = [
        (b"desc", desc),
        (b"wtpt", xyz((0.9642, 1, 0.8249))),
        (b"rXYZ", xyz(red)),
        (b"gXYZ", xyz(green)),
        (b"bXYZ", xyz(blue)),
        *[(key, curve) for key in (b"rTRC", b"gTRC", b"bTRC")],
    ]
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for key, data in tags:
        table += key + struct.pack(">II", start + len(body), len(data))
        body += data + b"\0" * (-len(data) % 4)
    size = start + len(body)
    header = struct.pack(
        ">I4sI4s4s4s", size, b"none", 0x02100000, b"mntr", b"RGB ", b"XYZ "
    )
    header += (
        b"\0" * 12 + b"acsp" + b"\0" * 28 + b"".join(map(fixed, (0.9642, 1, 0.8249)))
    )
    return (header + b"\0" * (128 - len(header))) + table + body


def test_colour_profile_is_converted_to_srgb(tmp_path):
    # sRGB's primaries (adapted to D50), red and green exchanged: red is shown as green.
    red, green, blue = (
        (0.4361, 0.2225, 0.0139),
        (0.3851, 0.7169, 0.0971),
        (0.1431, 0.0606, 0.7141),
    )
    exchanged = icc_profile(green, red, blue)
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[..., 0] = 255
    path = saved(tmp_path / "a.png", pixels, icc_profile=exchanged)
    np.testing.assert_allclose(read_photo(path)[5, 5].astype(int), (0, 255, 0), atol=3)
    path = saved(tmp_path / "b.png", pixels, icc_profile=b"no profile at all")
    np.testing.assert_array_equal(read_photo(path), pixels)


def test_several_frames_are_refused(tmp_path):
    frames = [Image.fromarray(picture()), Image.fromarray(255 - picture())]
    for name in ("a.gif", "a.png", "a.webp", "a.tif"):
        path = tmp_path / name
        frames[0].save(path, save_all=True, append_images=frames[1:])
        with pytest.raises(InputError, match="has several frames"):
            read_photo(path)
    read_photo(saved(tmp_path / "still.gif", frames[0]))


def test_phone_photo_with_preview_frame_is_read(tmp_path):
    path = tmp_path / "phone.jpg"
    frames = [Image.fromarray(picture()), Image.fromarray(255 - picture())]
    frames[0].save(path, "MPO", save_all=True, append_images=frames[1:])
    assert abs(read_photo(path).astype(int) - picture()).mean() < 8


BAD_CONTENTS = {
    "empty": (b"", "is empty"),
    "html": (
        b"\n<!DOCTYPE html><html><body>404</body></html>",
        "is HTML, not an image",
    ),
    "upper case html": (b"<HTML><HEAD>", "is HTML, not an image"),
    "git lfs": (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
    "heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 64, "HEIC"),
    "zeros": (bytes(4096), "nothing but zeros"),
    "text": (b"hello, world", "is not an image of a known format"),
    "postscript": (
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n",
        "not an image",
    ),
    "jpeg header": (b"\xff\xd8\xff\xe0\0\x10JFIF\0", "truncated"),
    "png header": (b"\x89PNG\r\n\x1a\n\0\0", "truncated"),
}


@pytest.mark.parametrize("kind", BAD_CONTENTS)
def test_bad_content_is_named(tmp_path, kind):
    content, cause = BAD_CONTENTS[kind]
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    with pytest.raises(InputError, match=cause) as error:
        read_photo(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "name", ["a.jpg", "a.png", "a.webp", "a.tif", "a.bmp", "a.gif", "p.jpg"]
)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_truncated(tmp_path, name, share):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    options = {"progressive": True} if name == "p.jpg" else {}
    path = saved(tmp_path / name, noise, **options)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputError) as error:
        read_photo(path)
    assert str(error.value).startswith(f"{path}: ")
    if name in ("a.jpg", "a.png", "p.jpg"):
        assert "truncated" in str(error.value)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


def test_too_small_and_too_large(tmp_path):
    with pytest.raises(InputError, match="is 1 × 1 pixels; at least 16 a side"):
        read_photo(saved(tmp_path / "one.png", picture(1, 1)))
    line = saved(tmp_path / "line.png", picture(480, 1))
    with pytest.raises(InputError, match="is 1 × 480 pixels"):
        read_photo(line)
    assert read_photo(line, min_side=1).shape == (480, 1, 3)
    path = saved(tmp_path / "a.png", picture())
    with pytest.raises(InputError, match="56 × 40 pixels; at most 2000"):
        read_photo(path, max_pixels=2000)
    assert read_photo(path, max_pixels=2240).shape == (40, 56, 3)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [12_000, 60_000])
def test_decompression_bomb(tmp_path, side):
    def chunk(kind, data):
        crc = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + crc

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    path = tmp_path / "bomb.png"
    data = zlib.compress(bytes(1000))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data)
    )
    with pytest.raises(InputError, match="pixels"):
        read_photo(path)


def test_what_is_no_regular_file(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_photo(tmp_path / "none.jpg")
    with pytest.raises(InputError, match="is a folder"):
        read_photo(tmp_path)
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(InputError, match="pipe or device"):  # and does not wait
        read_photo(tmp_path / "pipe.jpg")
    with pytest.raises(InputError, match="pipe or device"):
        is_synthetic(tmp_path / "pipe.jpg")
    (tmp_path / "broken.jpg").symlink_to(tmp_path / "none.jpg")
    with pytest.raises(InputError, match="does not exist"):
        read_photo(tmp_path / "broken.jpg")
    (tmp_path / "link.png").symlink_to(saved(tmp_path / "a.png", picture()))
    assert read_photo(tmp_path / "link.png").shape == (40, 56, 3)
    with pytest.raises(InputError) as error:
        read_photo(tmp_path / "two\nlines.jpg")
    assert "\n" not in str(error.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_no_permission(tmp_path):
    path = saved(tmp_path / "a.png", picture())
    path.chmod(0)
    with pytest.raises(InputError, match="cannot be read: Permission denied"):
        read_photo(path)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    kind=st.sampled_from(["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP"]),
    damage=st.lists(
        st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=8
    ),
)
def test_damage_is_read_or_refused_but_nothing_else(tmp_path_factory, kind, damage):
    buffer = io.BytesIO()
    Image.fromarray(picture()).save(buffer, kind)
    content = bytearray(buffer.getvalue())
    for place, value in damage:
        content[min(int(place * len(content)), len(content) - 1)] = value
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(content)
    try:
        photo = read_photo(path)
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert photo.dtype == np.uint8
        assert photo.shape[-1] == 3


def test_encoded_jpeg_is_close_and_bare():
    content = encode_jpeg(picture())
    with Image.open(io.BytesIO(content)) as image:
        assert abs(np.asarray(image).astype(int) - picture()).max() <= 8
        assert len(image.getexif()) == 0
    assert b"Exif" not in content


def test_encoded_png_is_exact_and_carries_only_its_text(tmp_path):
    text = {"synthetic": "true", "seed": "17", "condition": "naïve 皮膚"}
    content = encode_png(picture(), text)
    with Image.open(io.BytesIO(content)) as image:
        np.testing.assert_array_equal(np.asarray(image), picture())
        assert image.text == text
        assert len(image.getexif()) == 0
    assert read_png_text(content) == text
    (tmp_path / "a.png").write_bytes(content)
    assert read_png_text(tmp_path / "a.png") == text
    assert read_png_text(encode_png(picture())) == {}
    assert encode_png(picture(), text) == content


def test_png_texts_of_all_kinds_are_found_anywhere_without_the_pixels():
    texts = PngImagePlugin.PngInfo()
    texts.add_text("plain", "caf\xe9")
    texts.add_text("packed", "again and " * 500, zip=True)
    texts.add_itxt("words", "皮膚", "ja", "言葉")
    texts.add_itxt("packed words", "皮膚 " * 500, zip=True)
    texts.add(b"tEXt", b"synthetic\0true", after_idat=True)  # ImageMagick's place
    buffer = io.BytesIO()
    Image.fromarray(picture()).save(buffer, "PNG", pnginfo=texts)
    content = buffer.getvalue()
    with Image.open(io.BytesIO(content)) as image:
        expected = {key: str(value) for key, value in image.text.items()}
    assert read_png_text(content) == expected
    assert len(expected) == 5
    # Damage to the pixels is for those who read pixels; to a text it is named.
    pixels, text = content.find(b"IDAT") + 30, content.find(b"packed\0")
    spoilt = bytearray(content)
    spoilt[pixels] ^= 255
    assert read_png_text(bytes(spoilt)) == expected
    spoilt[text] ^= 1
    with pytest.raises(InputError, match="damaged PNG: a text does not match its"):
        read_png_text(bytes(spoilt))
    with pytest.raises(InputError, match="damaged PNG: it ends too early"):
        read_png_text(content[:-14])
    bomb = PngImagePlugin.PngInfo()
    bomb.add_text("k", "\0" * (1 << 21), zip=True)
    buffer = io.BytesIO()
    Image.fromarray(picture()).save(buffer, "PNG", pnginfo=bomb)
    with pytest.raises(InputError, match="damaged PNG: a compressed text is too long"):
        read_png_text(buffer.getvalue())


def test_what_is_longer_than_any_photo_is_not_looked_through(tmp_path):
    """Pillow would look for a JPEG's next part in all of it, byte by byte."""
    path = saved(tmp_path / "a.jpg", picture())
    os.truncate(path, 20)
    os.truncate(path, MAX_BYTES + 1)
    with pytest.raises(InputError, match="has 1073741825 bytes; at most 1073741824"):
        read_photo(path)
    with pytest.raises(InputError, match="at most 1073741824"):
        is_synthetic(path)


def test_is_synthetic(tmp_path):
    texts = {"yes": {"synthetic": "true"}, "no": {"synthetic": "false"}, "bare": {}}
    for name, text in texts.items():
        (tmp_path / name).write_bytes(encode_png(picture(), text))
    assert [is_synthetic(tmp_path / name) for name in texts] == [True, False, False]
    (tmp_path / "a.jpg").write_bytes(encode_jpeg(picture()))
    assert not is_synthetic(tmp_path / "a.jpg")
    (tmp_path / "broken.png").write_bytes(encode_png(picture())[:40])
    with pytest.raises(InputError, match="damaged PNG"):
        is_synthetic(tmp_path / "broken.png")


def test_encoders_refuse_other_arrays():
    for image in (picture()[..., 0], picture().astype(np.float32), picture()[..., :2]):
        with pytest.raises(ValueError, match="uint8"):
            encode_png(image)
        with pytest.raises(ValueError, match="uint8"):
            encode_jpeg(image)
    with pytest.raises(ValueError, match="keyword"):
        encode_png(picture(), {"": "x"})


def test_a_photo_in_memory(tmp_path):
    """As in a file, and its errors name what it is called."""
    path = tmp_path / "a.jpg"
    Image.fromarray(picture()).save(path, exif=b"Exif\0\0")
    assert np.array_equal(decode_photo(path.read_bytes(), "x"), read_photo(path))
    for data, cause in (
        (b"", "^the photo: is empty"),
        (b"<html>", "^the photo: is HTML"),
        (path.read_bytes()[:200], "^the photo: .*truncated"),
    ):
        with pytest.raises(InputError, match=cause):
            decode_photo(data, "the photo")
    with pytest.raises(InputError, match="^x: is 56 × 40 pixels; at most 2000"):
        decode_photo(encode_png(picture()), "x", max_pixels=2000)


def adobe_rgb(exif_of):
    """A photo's bytes in Adobe RGB, its EXIF, and what it shows in sRGB."""
    rng = np.random.default_rng(1)
    shown = rng.integers(60, 200, (32, 40, 3)).astype(np.uint8)
    to_xyz = np.array(  # IEC 61966-2-1, and Adobe RGB (1998), 4.3.5.3
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    of_adobe = np.array(
        [
            [0.57667, 0.18556, 0.18823],
            [0.29734, 0.62736, 0.07529],
            [0.02703, 0.07069, 0.99134],
        ]
    )
    light = ((shown / 255 + 0.055) / 1.055) ** 2.4  # none is near black
    adobe = (light @ to_xyz.T @ np.linalg.inv(of_adobe).T).clip(0, 1) ** (256 / 563)
    exif = Image.Exif()
    exif_of(exif)
    buffer = io.BytesIO()
    image = Image.fromarray((adobe * 255).round().astype(np.uint8))
    image.save(buffer, "PNG", exif=exif.tobytes())
    return buffer.getvalue(), shown


def test_adobe_rgb_that_exif_alone_tells_becomes_srgb():
    def uncalibrated(exif):
        exif.get_ifd(0x8769).update({0xA001: 65535, 0xA005: {1: "R03", 2: b"0100"}})

    def adobe(exif):
        exif.get_ifd(0x8769)[0xA001] = 2

    def srgb(exif):
        exif.get_ifd(0x8769).update({0xA001: 1, 0xA005: {1: "R98", 2: b"0100"}})

    for told, is_adobe in ((uncalibrated, True), (adobe, True), (srgb, False)):
        data, shown = adobe_rgb(told)
        found = decode_photo(data, "a").astype(int)
        stored = np.asarray(Image.open(io.BytesIO(data))).astype(int)
        assert np.abs(found - (shown if is_adobe else stored)).max() <= 2


def test_grey_profiles_become_srgb():
    curve = b"curv" + bytes(4) + struct.pack(">IHH", 1, 256, 0)  # linear light
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    text = b"text" + bytes(4) + b"none\0" + bytes(3)
    tags = [(b"wtpt", white), (b"kTRC", curve), (b"cprt", text), (b"desc", text)]
    at = 132 + 12 * len(tags)
    table = struct.pack(">I", len(tags))
    for name, content in tags:
        table += name + struct.pack(">II", at, len(content))
        at += len(content)
    kinds = (b"lcms", 0x02400000, b"mntr", b"GRAY", b"XYZ ")
    head = struct.pack(">I4sI4s4s4s", at, *kinds)
    head += struct.pack(">6H", 2024, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    profile = (head + struct.pack(">3i", 63190, 65536, 54061)).ljust(128, b"\0")
    profile += table + b"".join(content for _, content in tags)
    levels = np.arange(0, 256, dtype=np.uint8).reshape(16, 16)
    light = levels / 255
    curved = 1.055 * light ** (1 / 2.4) - 0.055
    curved = np.where(light <= 0.0031308, 12.92 * light, curved)
    for image in map(Image.fromarray, (levels, levels.astype(np.uint16) * 257)):
        buffer = io.BytesIO()
        image.save(buffer, "PNG", icc_profile=profile)
        found = decode_photo(buffer.getvalue(), "a")
        # LittleCMS is coarse near black.
        assert np.abs(found[..., 0] - 255 * curved)[2:].max() < 3


def test_twelve_bits_in_sixteen_are_no_dark_photo(tmp_path):
    values = (np.arange(1024, dtype=np.uint16) * 4).reshape(32, 32)
    Image.fromarray(values).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="12-bit pixels in 16 bits"):
        read_photo(tmp_path / "a.png")


def test_a_name_is_found_in_either_form_of_its_accents(tmp_path):
    for i, (there, told) in enumerate([("NFD", "NFC"), ("NFC", "NFD")]):
        name = f"l\u00e9sion{i}.png"
        saved(tmp_path / unicodedata.normalize(there, name), picture())
        found = read_photo(tmp_path / unicodedata.normalize(told, name))
        np.testing.assert_array_equal(found, picture())
