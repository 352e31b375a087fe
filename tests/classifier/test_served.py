"""The exported classifier: plain TensorFlow serves it from encoded photos."""

import io
import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from dermgan_tf.classifier.calibration import calibrated
from dermgan_tf.classifier.graph_photo import (
    decode_photo,
    exif_orientation,
    squash_photo,
)
from dermgan_tf.classifier.labelled_reading import read_labelled_splits
from dermgan_tf.classifier.networks import build_classifier, predict_logits
from dermgan_tf.classifier.served import save_keras, save_served
from dermgan_tf.photos.photo_io import encode_png, read_photo

CONDITIONS = ["blue", "grün", "red"]
TEMPERATURE = 1.7
SIZE = 48


def drawn(height, width, seed=0):
    """A smooth coloured picture with some noise, as photographs are."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / 40
    waves = [128 + 80 * np.sin(y * a + x * b) for a, b in ((1, 2), (2, -1), (0.3, 1))]
    noise = rng.normal(0, 6, (height, width, 3))
    return np.clip(np.stack(waves, axis=-1) + noise, 0, 255).astype(np.uint8)


def encoded(image, form, orientation=None, **arguments):
    picture, buffer = Image.fromarray(image), io.BytesIO()
    if orientation:
        exif = Image.Exif()
        exif[0x010F] = "A maker"  # entries before and behind
        exif[0x0112] = orientation
        exif[0x9003] = "2024:01:01 00:00:00"
        arguments["exif"] = exif
    picture.save(buffer, form, **arguments)
    return buffer.getvalue()


PHOTOS = {
    "large.jpg": encoded(drawn(301, 217), "JPEG", quality=90),
    "turned.jpg": encoded(drawn(120, 260, 1), "JPEG", 6, quality=90),
    "wide.png": encoded(drawn(30, 200, 2), "PNG"),
    "small.png": encoded(drawn(33, 40, 3), "PNG"),
    "same.png": encoded(drawn(SIZE, SIZE, 4), "PNG"),
}


@pytest.fixture(scope="module")
def classifier():
    model = build_classifier(3, SIZE, seed=4)
    rng = np.random.default_rng(0)
    kernel = model.layers[-1].kernel
    kernel.assign(rng.normal(0, 3, kernel.shape))  # sure of itself
    return model


@pytest.fixture(scope="module")
def folder(classifier, tmp_path_factory):
    folder = tmp_path_factory.mktemp("classifier")
    save_keras(classifier, folder)
    description = {"conditions": CONDITIONS, "seed": 5, "trained_cases": ["00"]}
    save_served(classifier, TEMPERATURE, folder, description)
    return folder


SERVE = """
import json, sys
import tensorflow as tf
served = tf.saved_model.load(sys.argv[1])
photos = tf.constant([tf.io.read_file(path).numpy() for path in sys.argv[2:]])
result = served.signatures["serving_default"](image_bytes=photos)
told = served.signatures["metadata"]()
empty = served.signatures["serving_default"](image_bytes=tf.constant([], tf.string))
print(json.dumps({
    "labels": [label.decode() for label in result["labels"].numpy()],
    "probabilities": result["probabilities"].numpy().tolist(),
    "conditions": [name.decode() for name in told["conditions"].numpy()],
    "metadata": json.loads(told["metadata"].numpy()),
    "empty": empty["probabilities"].shape.as_list(),
    "modules": [name for name in sys.modules if name.startswith("dermgan")],
}))
"""


def test_plain_tensorflow_serves_what_training_would_have_seen(
    classifier, folder, tmp_path
):
    for name, data in PHOTOS.items():
        place = tmp_path / "photos/train" / name.split(".")[0] / name
        place.parent.mkdir(parents=True)
        place.write_bytes(data)
    splits, _ = read_labelled_splits(tmp_path / "photos", SIZE)
    images = np.concatenate([split.images for split in splits.values()])
    order = np.concatenate([split.labels for split in splits.values()])
    names = [splits["train"].conditions[label] for label in order]
    paths = [next((tmp_path / "photos/train" / name).iterdir()) for name in names]
    done = subprocess.run(
        [sys.executable, "-c", SERVE, folder / "saved_model", *paths],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    expected = calibrated(predict_logits(classifier, images), TEMPERATURE)
    # Pixels differ by a level here and there.
    np.testing.assert_allclose(told["probabilities"], expected, atol=0.01)
    np.testing.assert_allclose(np.sum(told["probabilities"], axis=1), 1, rtol=1e-5)
    assert told["labels"] == [CONDITIONS[k] for k in expected.argmax(axis=1)]
    assert np.ptp(expected, axis=0).max() > 0.1
    assert told["conditions"] == CONDITIONS
    assert told["metadata"]["temperature"] == TEMPERATURE
    assert told["metadata"]["seed"] == 5
    assert "trained_cases" not in told["metadata"]
    assert told["empty"] == [0, 3] and told["modules"] == []


def test_the_keras_file_is_not_calibrated(classifier, folder):
    images = np.stack([drawn(SIZE, SIZE, seed) for seed in range(4)])
    model = keras.saving.load_model(folder / "classifier.keras", compile=False)
    np.testing.assert_allclose(
        model.predict_on_batch(images),
        calibrated(predict_logits(classifier, images), 1.0),
        atol=1e-6,
    )


@pytest.mark.parametrize("name", PHOTOS)
def test_photos_are_read_as_by_the_library(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(PHOTOS[name])
    upright = read_photo(path)
    decoded = decode_photo(tf.constant(PHOTOS[name])).numpy()
    assert decoded.shape == upright.shape
    differences = np.abs(decoded.astype(int) - upright)
    assert differences.max() <= (0 if name.endswith("png") else 4)
    (tmp_path / "c/train/x").mkdir(parents=True)
    for other in ("x", "y"):
        (tmp_path / "c/train" / other).mkdir(exist_ok=True)
        (tmp_path / "c/train" / other / f"{other}.png").write_bytes(encode_png(upright))
    splits, _ = read_labelled_splits(tmp_path / "c", SIZE)
    squashed = squash_photo(tf.constant(upright), SIZE).numpy()
    for image in splits["train"].images:
        assert np.abs(squashed.astype(int) - image).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_undone(orientation, tmp_path):
    data = encoded(drawn(24, 40), "JPEG", orientation, quality=95)
    (tmp_path / "photo.jpg").write_bytes(data)
    upright = read_photo(tmp_path / "photo.jpg")
    assert exif_orientation(tf.constant(data)).numpy() == orientation
    decoded = decode_photo(tf.constant(data)).numpy()
    assert decoded.shape == upright.shape
    assert np.abs(decoded.astype(int) - upright).max() <= 4


def test_exif_in_either_byte_order_none_and_damaged_ones():
    def jpeg(tiff):
        segment = b"Exif\0\0" + tiff
        app1 = b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment
        return b"\xff\xd8\xff\xe0\x00\x04ab" + app1 + b"\xff\xda"

    little = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x08\0\0\0\0\0\0\0"
    big = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x03\0\0\0\0\0\0"
    for data, expected in (
        (jpeg(little), 8),
        (jpeg(big), 3),
        (jpeg(big.replace(b"\x01\0\x03\0\0\0\0", b"\x01\0\x09\0\0\0\0")), 1),
        (jpeg(b"II*\0\xff\xff\xff\xff"), 1),
        (jpeg(little)[:30], 1),
        (b"\xff\xd8\xff\xe1\xff\xffExif\0\0", 1),
        (encoded(drawn(20, 20), "JPEG"), 1),
        (b"\xff\xd8", 1),
    ):
        assert exif_orientation(tf.constant(data)).numpy() == expected
