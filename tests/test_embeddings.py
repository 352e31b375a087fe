"""Embeddings: which network, which layer, which resizing; and the errors."""

import os
import pathlib
import subprocess
import sys
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from dermgan_tf.embeddings import Embedding, build_embedding, resize_image
from dermgan_tf.errors import InputError
from dermgan_tf.metrics import frechet_distance
from dermgan_tf.photo_io import read_photo

SHARED = pathlib.Path(__file__).parents[2] / "shared"
WEIGHTS = SHARED / "weights" / "mobilenet_v2_natural_images.weights.h5"


def photo(height, width, seed=0):
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 255, (height // 8 + 1, width // 8 + 1, 3))
    smooth = tf.image.resize(coarse, (height, width), method="bicubic").numpy()
    noise = rng.normal(scale=20, size=(height, width, 3))
    return np.clip(smooth + noise, 0, 255).astype(np.uint8)


def classifier(head_as_own_layer=False):
    inputs = keras.Input((16, 12, 3))
    x = keras.layers.Rescaling(1 / 255)(inputs)
    x = keras.layers.Conv2D(5, 3, strides=2, activation="relu")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pooled")(x)
    if head_as_own_layer:
        outputs = keras.layers.Softmax()(keras.layers.Dense(4)(x))
    else:
        outputs = keras.layers.Dense(4, activation="softmax")(x)
    return keras.Model(inputs, outputs)


@pytest.mark.parametrize("size", [(64, 64), (299, 299), (30, 50), (100, 80)])
def test_resizing_is_antialiased_bicubic(size):
    image = photo(100, 80)
    theirs = tf.image.resize(
        image.astype(np.float32), size, method="bicubic", antialias=True
    )
    resized = resize_image(image, size)
    assert resized.dtype == np.float32 and resized.shape == (*size, 3)
    difference = np.abs(resized - np.clip(theirs, 0, 255))
    assert difference.mean() < 0.5 and np.quantile(difference, 0.99) < 3


def test_resizing_averages_what_it_leaves_out_and_keeps_fractions():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255  # gone or solid without antialiasing
    inner = resize_image(stripes, (16, 16))[2:-2, 2:-2]
    assert np.all(np.abs(inner - 127.5) < 8)
    assert not np.array_equal(inner, np.rint(inner))
    same = photo(20, 30)
    np.testing.assert_array_equal(resize_image(same, (20, 30)), same)


@pytest.mark.parametrize("head_as_own_layer", [False, True])
def test_a_classifier_gives_what_goes_into_its_last_layer(tmp_path, head_as_own_layer):
    model = classifier(head_as_own_layer)
    model.save(tmp_path / "baseline.keras")
    embedding = build_embedding(str(tmp_path / "baseline.keras"))
    assert embedding.name == "baseline"
    assert embedding.image_size == (16, 12) and embedding.num_features == 5
    images = [photo(40, 30, seed) for seed in range(3)]
    inner = keras.Model(model.inputs, model.get_layer("pooled").output)
    expected = inner.predict(
        np.stack([resize_image(image, (16, 12)) for image in images]), verbose=0
    )
    found = embedding.embed(iter(images))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_feature_maps_are_averaged_and_batches_and_sizes_do_not_matter():
    inputs = keras.Input((8, 8, 3))
    embedding = Embedding(
        keras.Model(inputs, keras.layers.Rescaling(2.0)(inputs)), name="doubled"
    )
    images = [photo(8 + 4 * i, 8, seed=i) for i in range(7)]
    expected = [2 * resize_image(i, (8, 8)).mean(axis=(0, 1)) for i in images]
    for batch_size in (1, 3, 7, 32):
        found = embedding.embed(images, batch_size)
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_fingerprint_tells_weights_apart_and_the_head_does_not_count(tmp_path):
    model = classifier()
    first = Embedding(model, "a")
    model.save(tmp_path / "b.keras")
    assert build_embedding(str(tmp_path / "b.keras")).fingerprint == first.fingerprint
    model.layers[-1].set_weights([2 * w for w in model.layers[-1].get_weights()])
    assert Embedding(model, "a").fingerprint == first.fingerprint
    model.layers[2].set_weights([2 * w for w in model.layers[2].get_weights()])
    assert Embedding(model, "a").fingerprint != first.fingerprint


def test_a_named_network_takes_a_weights_file(tmp_path):
    backbone = keras.applications.MobileNetV2(
        include_top=False, input_shape=(160, 160, 3), weights=None
    )
    file = tmp_path / "mobilenet_v2_our_own.weights.h5"
    backbone.save_weights(file)
    embedding = build_embedding("mobilenet_v2", weights=file)
    assert embedding.name == "mobilenet_v2:our_own"
    assert embedding.image_size == (160, 160) and embedding.num_features == 1280
    image = photo(160, 160)
    expected = backbone.predict(image[None] / 127.5 - 1, verbose=0).mean(axis=(1, 2))
    np.testing.assert_allclose(embedding.embed([image]), expected, rtol=1e-3, atol=1e-5)


def subclassed(tmp_path):
    class Subclassed(keras.Model):
        def call(self, x):
            return x

    return Subclassed()


def any_size(tmp_path):
    inputs = keras.Input((None, None, 3))
    return keras.Model(inputs, keras.layers.Conv2D(2, 3)(inputs))


def vector_input(tmp_path):
    inputs = keras.Input((7,))
    return keras.Model(inputs, keras.layers.Dense(2)(inputs))


def sequence_output(tmp_path):
    inputs = keras.Input((8, 8, 3))
    return keras.Model(inputs, keras.layers.Reshape((8, 24))(inputs))


@pytest.mark.parametrize(
    "build, message",
    [
        (subclassed, "one input and one output"),
        (any_size, "fixed size"),
        (vector_input, "fixed size"),
        (sequence_output, r"gives \[None, 8, 24\]"),
    ],
)
def test_models_that_embed_nothing_are_refused(build, message, tmp_path):
    with pytest.raises(InputError, match=message):
        Embedding(build(tmp_path), "unfit")


def test_names_and_files_that_are_not_there(tmp_path):
    with pytest.raises(InputError, match="'resnet'; known: inception_v3, mobilenet_v2"):
        build_embedding("resnet")
    with pytest.raises(InputError, match="gone.keras: there is no such file"):
        build_embedding(str(tmp_path / "gone.keras"))
    (tmp_path / "text.keras").write_text("not a model")
    with pytest.raises(InputError, match="text.keras is not a Keras model") as caught:
        build_embedding(str(tmp_path / "text.keras"))
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="leave out --embedding_weights"):
        build_embedding(str(tmp_path / "text.keras"), weights="w.weights.h5")
    with pytest.raises(
        InputError, match=r"--embedding_weights=.*gone.weights.h5: there"
    ):
        build_embedding("mobilenet_v2", weights=tmp_path / "gone.weights.h5")


def test_weights_of_another_network_do_not_pass(tmp_path):
    classifier().save_weights(tmp_path / "other.weights.h5")
    (tmp_path / "text.weights.h5").write_text("not weights")
    for name in ("other", "text"):
        file = tmp_path / f"{name}.weights.h5"
        with pytest.raises(
            InputError, match="does not hold the weights of mob"
        ) as caught:
            build_embedding("mobilenet_v2", weights=file)
        assert str(file) in str(caught.value) and "\n" not in str(caught.value)


def test_weights_that_are_not_numbers_do_not_pass(tmp_path):
    # Also how a weight that Keras did not find in the file would be noticed.
    model = keras.applications.MobileNetV2(
        include_top=False, input_shape=(160, 160, 3), weights=None
    )
    model.get_layer("Conv1").kernel.assign(np.full((3, 3, 3, 32), np.nan))
    model.save_weights(tmp_path / "w.weights.h5")
    with pytest.raises(InputError, match="Conv1/kernel is missing or NaN"):
        build_embedding("mobilenet_v2", weights=tmp_path / "w.weights.h5")


def test_no_network_and_no_weights_is_an_error_that_says_what_to_do(tmp_path):
    code = """
from dermgan_tf.embeddings import build_embedding
from dermgan_tf.errors import InputError
try:
    build_embedding("inception_v3")
except InputError as error:
    print(error)
"""
    environment = {
        **os.environ,
        "KERAS_HOME": str(tmp_path),  # nothing downloaded before
        "https_proxy": "http://127.0.0.1:9",  # nobody listens there
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout.count("\n") == 1
    for part in ("inception_v3: ", "_notop.h5", "--embedding_weights"):
        assert part in done.stdout


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((8, 8, 3), np.float32),
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        "image.png",
    ],
)
def test_images_of_another_form_are_refused(image):
    with pytest.raises(InputError, match=r"uint8 \[H, W, 3\]"):
        resize_image(image, (4, 4))


def test_no_images_are_refused():
    with pytest.raises(InputError, match="no images"):
        Embedding(classifier(), "a").embed([])


@pytest.mark.slow
@pytest.mark.skipif(
    not (WEIGHTS.is_file() and (SHARED / "data").is_dir()),
    reason="needs ../shared/data and ../shared/weights",
)
def test_real_photographs_lie_as_far_apart_as_known():
    """Distances measured independently, of 240 foot-ulcer photos at 160 × 160."""
    embedding = build_embedding("mobilenet_v2", WEIGHTS)
    assert embedding.name == "mobilenet_v2:natural_images"

    def embed(folder):
        files = sorted((SHARED / "data" / folder / "images").iterdir())
        return embedding.embed(read_photo(file) for file in files)

    feet, lesions = embed("foot_ulcer"), embed("pad_ufes_20")
    rng = np.random.default_rng(0)
    noise = embedding.embed(
        rng.integers(0, 256, (160, 160, 3), dtype=np.uint8) for _ in range(240)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fewer photos than features
        assert frechet_distance(feet[::2], feet[1::2]) == pytest.approx(224, rel=0.03)
        assert frechet_distance(feet[::2], lesions) == pytest.approx(1027, rel=0.03)
        assert frechet_distance(feet[::2], noise) == pytest.approx(1587, rel=0.03)
