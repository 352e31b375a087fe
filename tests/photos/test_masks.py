import numpy as np
import pytest
from PIL import Image

from dermgan_tf.errors import InputError
from dermgan_tf.photos.masks import read_mask

SHAPE = 30, 40
LESION = np.zeros(SHAPE, bool)
LESION[5:20, 10:30] = True


def grey(value, dtype=np.uint8):
    return Image.fromarray(np.where(LESION, value, 0).astype(dtype))


def indexed(colours, numbers, **info):
    """A palette image: `numbers` are those of (background, lesion)."""
    image = Image.fromarray(np.where(LESION, numbers[1], numbers[0]).astype(np.uint8))
    image = image.convert("L")
    image.putpalette(sum(colours, []))
    image.info.update(info)
    return image


def layered(rgb, alpha):
    """RGB outside and inside the lesion, and alpha likewise."""
    inside = np.array([*rgb[1], alpha[1]], np.uint8)
    outside = np.array([*rgb[0], alpha[0]], np.uint8)
    return Image.fromarray(np.where(LESION[..., np.newaxis], inside, outside))


BLACK, WHITE, RED, GREEN = [0] * 3, [255] * 3, [255, 0, 0], [0, 128, 0]
# fmt: off
MASKS = {
    "white": grey(255),
    "one": grey(1),
    "class 3": grey(3),
    "dark": grey(90),
    "16 bit one": grey(1, np.uint16),
    "16 bit 40000": grey(40000, np.uint16),
    "32 bit": grey(7, np.int32),
    "float": grey(1, np.float32),
    "1 bit": grey(255).convert("1"),
    "palette of nearly black": indexed([BLACK, [1, 1, 1], [2, 2, 2]], (0, 2)),
    "palette without black": indexed([[9, 9, 9], GREEN, RED], (0, 2)),
    "palette of a picture": indexed([RED, BLACK], (1, 0)),
    "palette white on black": indexed([WHITE, BLACK], (1, 0)),
    "palette, transparent": indexed([BLACK, GREEN, RED], (2, 1), transparency=2),
    "colours": layered((BLACK, GREEN), (255, 255)),
    "black on transparent": layered((BLACK, BLACK), (0, 255)),
    "black on transparent white": layered((WHITE, BLACK), (0, 255)),
    "white on transparent": layered((WHITE, WHITE), (0, 200)),
    "half size": grey(255).resize((20, 15), Image.Resampling.NEAREST),
}
# fmt: on


@pytest.mark.parametrize("name", MASKS)
def test_masks_of_every_make_say_the_same(tmp_path, name):
    path = tmp_path / ("mask.tif" if name in ("float", "32 bit") else "mask.png")
    MASKS[name].save(path)
    found = read_mask(path, *SHAPE)
    if name == "half size":
        assert np.mean(found != LESION) < 0.1
    else:
        np.testing.assert_array_equal(found, LESION)


def test_blended_edges_and_jpeg_are_cut_at_half(tmp_path):
    large = grey(255).resize((400, 300))
    large.save(tmp_path / "m.png")
    large.save(tmp_path / "m.jpg", quality=60)
    whole = np.array(large) > 127
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png", 300, 400), whole)
    assert np.mean(read_mask(tmp_path / "m.jpg", 300, 400) != whole) < 0.002


def test_many_numbered_regions_are_all_lesion(tmp_path):
    values = np.repeat(np.arange(60, dtype=np.uint8), 20).reshape(SHAPE)
    Image.fromarray(values).save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png", *SHAPE), values > 0)


def test_a_list_says_which_numbers_are_lesion(tmp_path):
    values = np.arange(1200, dtype=np.uint16).reshape(SHAPE) % 5
    Image.fromarray(values).save(tmp_path / "m.png")
    found = read_mask(tmp_path / "m.png", *SHAPE, lesion_values=(2, 3))
    np.testing.assert_array_equal(found, (values == 2) | (values == 3))
    MASKS["colours"].save(tmp_path / "m.png")
    with pytest.raises(InputError, match="has colours, no numbers"):
        read_mask(tmp_path / "m.png", *SHAPE, lesion_values=(1,))


def test_a_mask_of_the_stored_photo_is_turned_with_it(tmp_path):
    stored = Image.fromarray(np.where(LESION, 255, 0).astype(np.uint8))
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored.save(tmp_path / "seen.png", exif=exif)  # the mask's own EXIF
        stored.save(tmp_path / "stored.png")
        size = SHAPE if orientation < 5 else SHAPE[::-1]
        np.testing.assert_array_equal(
            read_mask(tmp_path / "stored.png", *size, orientation=orientation),
            read_mask(tmp_path / "seen.png", *size),
        )


RAMP = Image.linear_gradient("L").resize((40, 30))


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (RAMP, "is no mask: .* neither dark nor light"),
        (RAMP.point(lambda value: value // 3), "has no white: its brightest"),
        (Image.merge("RGB", [RAMP, RAMP.rotate(90), RAMP]), "is a picture in many"),
        (layered((BLACK, WHITE), (0, 0)), "is wholly transparent"),
        (grey(255).resize((40, 20)), "is 40 × 20 pixels, the photo 40 × 30$"),
        (
            grey(255).transpose(Image.Transpose.ROTATE_90),
            "is 30 × 40 .*: turn the",
        ),
    ],
)
def test_what_cannot_be_a_mask_is_refused(tmp_path, image, words):
    image.save(tmp_path / "m.png")
    with pytest.raises(InputError, match=f"mask m.png {words}"):
        read_mask(tmp_path / "m.png", *SHAPE)
