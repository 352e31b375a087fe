"""The exported translator: what it changes, what it leaves, what it refuses."""

import json
import os
import subprocess
import sys

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf

from dermgan_tf.errors import InputError
from dermgan_tf.models.translation.networks import build_translator, composed
from dermgan_tf.models.translation.served import export_translator

SIZE = 16


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(1)
    network = build_translator(SIZE, 2, "unet")
    for weight in network.weights:  # far from the mid-grey that it begins with
        weight.assign(weight * 20 if "kernel" in weight.path else weight)
    return network


@pytest.fixture(scope="module")
def folder(network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "model"
    export_translator(network, folder, provenance={"direction": "remove"})
    return folder


@pytest.fixture(scope="module")
def saved(folder):
    return tf.saved_model.load(str(folder)).signatures


def photo_and_mask(height, width, seed=0):
    rng = np.random.default_rng(seed)
    photo = rng.integers(0, 256, (height, width, 3), np.uint8)
    mask = np.zeros((height, width, 1), np.uint8)
    mask[4 : height - 3, 2 : width // 2] = 255
    return photo, mask


def beyond(mask):
    """Where nothing may change: all but the mask and a pixel of soft border."""
    return cv2.dilate(mask[..., 0], np.ones((3, 3), np.uint8)) == 0


def run(signature, photo, mask):
    out = signature(photo=tf.constant(photo), mask=tf.constant(mask))
    return out["photo"].numpy()


def painted_by(network, photo, mask):
    scaled = photo.astype(np.float32)[np.newaxis] / 127.5 - 1
    mask = (mask[np.newaxis] > 127).astype(np.float32)
    return scaled, np.asarray(network([scaled, mask])), mask


def as_levels(image):
    return np.clip(np.rint((np.asarray(image) + 1) * 127.5), 0, 255)


def test_it_translates_as_the_network_does(saved, network):
    photo, mask = photo_and_mask(SIZE, SIZE)
    given = run(saved["serving_default"], photo[np.newaxis], mask[np.newaxis])[0]
    expected = as_levels(composed(*painted_by(network, photo, mask)))[0]
    assert np.abs(given - expected).max() <= 1
    np.testing.assert_array_equal(given[beyond(mask)], photo[beyond(mask)])
    assert np.abs(given.astype(int) - photo)[mask[..., 0] > 0].mean() > 10


def test_a_photo_does_not_depend_on_its_neighbours(saved):
    examples = [photo_and_mask(SIZE, SIZE, seed) for seed in range(3)]
    examples[1][1][:] = 0  # one has no mask
    photos, masks = map(np.stack, zip(*examples, strict=True))
    together = run(saved["serving_default"], photos, masks)
    for i in range(3):
        alone = run(saved["serving_default"], photos[i : i + 1], masks[i : i + 1])[0]
        np.testing.assert_array_equal(together[i], alone)
    np.testing.assert_array_equal(together[1], photos[1])
    assert (together[0] != photos[0]).any()
    assert run(saved["serving_default"], photos[:0], masks[:0]).shape == (0, 16, 16, 3)
    ones = run(saved["serving_default"], photos, masks // 255)
    np.testing.assert_array_equal(ones, together)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (16, 24), (37, 41)])
def test_larger_photos_are_painted_in_tiles(saved, network, height, width):
    photo, mask = photo_and_mask(height, width, seed=5)
    given = run(saved["any_size"], photo, mask)
    np.testing.assert_array_equal(given[beyond(mask)], photo[beyond(mask)])
    total, weights = np.zeros((height, width, 3)), np.zeros((height, width, 1))
    ramp = np.minimum(np.arange(SIZE) + 0.5, SIZE - 0.5 - np.arange(SIZE)) / SIZE * 2
    weight = (ramp[:, np.newaxis] * ramp)[..., np.newaxis]
    starts = [
        np.rint(np.linspace(0, side - SIZE, -(-(side - SIZE) // 8) + 1)).astype(int)
        for side in (height, width)
    ]
    for top in starts[0]:
        for left in starts[1]:
            tile = slice(top, top + SIZE), slice(left, left + SIZE)
            if mask[tile].any():
                _, painted, _ = painted_by(network, photo[tile], mask[tile])
                total[tile] += painted[0] * weight
                weights[tile] += weight
    scaled = photo.astype(np.float32) / 127.5 - 1
    blended = np.where(weights > 0, total / np.maximum(weights, 1e-9), scaled)
    inside = (mask > 127).astype(np.float32)[np.newaxis]
    expected = composed(
        scaled[np.newaxis], blended[np.newaxis].astype(np.float32), inside, SIZE
    )
    assert np.abs(given - as_levels(expected)[0]).max() <= 1


def test_an_empty_mask_leaves_the_photo(saved):
    photo, mask = photo_and_mask(30, 20)
    np.testing.assert_array_equal(run(saved["any_size"], photo, 0 * mask), photo)


@pytest.mark.parametrize(
    ("photo", "mask", "message"),
    [
        ((30, 20), (20, 30), "the mask has .20 30. rows and columns, the photo .30 20"),
        ((30, 12), (30, 12), "the photo has .30 12. rows and columns.*at least 16"),
    ],
)
def test_sizes_that_do_not_fit(saved, photo, mask, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"(?s){message}"):
        run(saved["any_size"], photo_and_mask(*photo)[0], photo_and_mask(*mask)[1])


def test_a_grey_mask_and_a_missing_one_are_refused(saved):
    photo, mask = photo_and_mask(SIZE, SIZE)
    with pytest.raises(tf.errors.InvalidArgumentError, match="brightest pixel is 100"):
        run(saved["any_size"], photo, np.minimum(mask, 100))
    with pytest.raises(tf.errors.InvalidArgumentError, match="1 masks for 2 photos"):
        run(saved["serving_default"], np.stack([photo, photo]), mask[np.newaxis])


def test_a_network_without_masks_changes_inside_them_only(tmp_path):
    network = build_translator(SIZE, 2, "unet", use_mask=False)
    export_translator(network, tmp_path / "model", compose=False)
    saved = tf.saved_model.load(str(tmp_path / "model")).signatures
    photo, mask = photo_and_mask(24, 24)
    given = run(saved["any_size"], photo, mask)
    inside = mask[..., 0] > 0
    np.testing.assert_array_equal(given[beyond(mask)], photo[beyond(mask)])
    assert (given[inside] != photo[inside]).any()


def test_what_it_tells_of_itself(saved, folder, network):
    told = json.loads(saved["metadata"]()["metadata"].numpy())
    assert told["provenance"] == {"direction": "remove"} and told["image_size"] == 16
    assert told["synthetic"] is True and len(told["translator"]) == 64
    written = (folder / "assets.extra" / "dermgan.json").read_text()
    assert json.loads(written) == told
    with pytest.raises(InputError, match="not empty"):
        export_translator(network, folder)


@pytest.mark.slow
def test_plain_tensorflow_loads_it(folder, tmp_path):
    program = f"""
import sys
sys.modules["dermgan_tf"] = None
import tensorflow as tf
saved = tf.saved_model.load({str(folder)!r}).signatures
photo = tf.zeros([20, 30, 3], tf.uint8)
mask = tf.ones([20, 30, 1], tf.uint8)
assert saved["any_size"](photo=photo, mask=mask)["photo"].shape == (20, 30, 3)
"""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, check=True
    )
