import numpy as np
import pytest
from PIL import Image, ImageOps

from dermgan_tf.photos.semantic_map import box_pixels
from dermgan_tf.photos.square import (
    TURN_OF_EXIF,
    TURNS,
    turn_back,
    turned,
    turned_box,
)

IMAGE = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)


def test_eight_turns_are_eight_images_and_can_be_undone():
    square = IMAGE[:, :5]
    assert len({turned(square, turn).tobytes() for turn in TURNS}) == 8
    for turn in TURNS:
        np.testing.assert_array_equal(
            turned(turned(IMAGE, turn), turn_back(turn)), IMAGE
        )
        stack = np.moveaxis(IMAGE, -1, 0)
        np.testing.assert_array_equal(
            np.moveaxis(turned(stack, turn, axes=(1, 2)), 0, -1), turned(IMAGE, turn)
        )


@pytest.mark.parametrize("turn", TURNS)
def test_a_box_goes_with_its_image(turn):
    image = np.zeros((8, 16), bool)
    image[1:3, 2:8] = True
    box = turned_box((1 / 8, 2 / 16, 3 / 8, 8 / 16), turn)
    seen = turned(image, turn)
    top, left, bottom, right = box_pixels(box, *seen.shape)
    assert seen[top:bottom, left:right].all()
    assert seen.sum() == (bottom - top) * (right - left)


@pytest.mark.parametrize("orientation", TURN_OF_EXIF)
def test_exif_orientations_are_those_of_pillow(orientation):
    image = Image.fromarray(IMAGE)
    image.getexif()[0x0112] = orientation
    np.testing.assert_array_equal(
        turned(IMAGE, TURN_OF_EXIF[orientation]),
        np.asarray(ImageOps.exif_transpose(image)),
    )
