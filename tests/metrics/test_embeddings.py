"""Embeddings: which network, which layer, which resizing; and the errors."""

import os
import subprocess
import sys
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from dermgan_tf.errors import InputError
from dermgan_tf.metrics import frechet_distance
from dermgan_tf.metrics.embeddings import Embedding, build_embedding, resize_image
from dermgan_tf.photos.photo_io import read_photo
from tests.helpers.real_photos import PHOTOS, needs

WEIGHTS = PHOTOS.parent / "weights" / "mobilenet_v2_natural_images.weights.h5"


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
    with pytest.raises(InputError, match="'resnet'; known: .*mobilenet_v2, tfgan"):
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
    message = message_without_network(tmp_path, "inception_v3")
    for part in ("inception_v3: ", "_notop.h5", "--embedding_weights"):
        assert part in message


class StandIn(tf.Module):
    """A network with the signature of TF-GAN's Inception module on TF-Hub."""

    def __init__(self, pool="pool_3"):
        rng = np.random.default_rng(0)
        kernel = rng.normal(size=(13, 13, 3, 8)).astype(np.float32) / 20
        self.kernel = tf.Variable(kernel, trainable=False)
        self.pool = pool

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3])])
    def __call__(self, x):
        x = tf.ensure_shape(x, [None, 299, 299, 3])
        maps = tf.nn.relu(tf.nn.conv2d(x, self.kernel, 13, "VALID"))
        pooled = tf.reduce_mean(maps, axis=[1, 2], keepdims=True)
        return {"logits": pooled[:, 0, 0, :4], self.pool: pooled}


@pytest.fixture(scope="module")
def tfgan_module(tmp_path_factory):
    path = tmp_path_factory.mktemp("hub") / "inception_copy"
    tf.saved_model.save(StandIn(), str(path))
    return path


def test_tfgan_embedding_gives_tfgans_own_distance(tfgan_module):
    from dermgan_tf.metrics.tfgan import tfgan

    embedding = build_embedding("tfgan", weights=tfgan_module)
    assert embedding.name == "tfgan:inception_copy"
    assert embedding.image_size == (299, 299) and embedding.num_features == 8
    assert embedding.resizing == "bilinear (TF-GAN)"
    assert len(embedding.fingerprint) == 64
    again = build_embedding("tfgan", weights=str(tfgan_module))
    assert again.fingerprint == embedding.fingerprint

    a = np.stack([photo(400, 320, seed) for seed in range(24)])  # shrunk and stretched
    b = np.stack([photo(64, 64, seed) for seed in range(20)])
    # What TF-GAN's CIFAR example does with 8-bit images.
    size = tfgan.eval.INCEPTION_DEFAULT_IMAGE_SIZE
    prepared = [
        tf.image.resize(
            (tf.cast(images, tf.float32) - 128.0) / 128.0,
            [size, size],
            method=tf.image.ResizeMethod.BILINEAR,
        )
        for images in (a, b)
    ]
    theirs = tfgan.eval.frechet_inception_distance(
        *prepared,
        classifier_fn=tfgan.eval.classifier_fn_from_tfhub(
            str(tfgan_module), tfgan.eval.INCEPTION_FINAL_POOL, True
        ),
    )
    ours = frechet_distance(embedding.embed(a, batch_size=7), embedding.embed(b))
    assert ours == pytest.approx(float(theirs), rel=1e-5)


def test_tfgan_embedding_refuses_what_is_not_the_module(tmp_path, tfgan_module):
    with pytest.raises(InputError, match=r"--embedding_weights=.*gone: there is no"):
        build_embedding("tfgan", weights=tmp_path / "gone")
    (tmp_path / "saved_model.pb").write_text("not a model")
    with pytest.raises(InputError, match="is not TF-GAN's Inception module") as caught:
        build_embedding("tfgan", weights=tmp_path)
    assert "\n" not in str(caught.value)
    tf.saved_model.save(StandIn(pool="other"), str(tmp_path / "other"))
    with pytest.raises(InputError, match="'pool_3'") as caught:
        build_embedding("tfgan", weights=tmp_path / "other")
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"uint8 \[H, W, 3\]"):
        build_embedding("tfgan", weights=tfgan_module).embed([np.zeros((8, 8, 3))])


def test_embeddings_say_how_they_resize():
    embedding = Embedding(classifier(), "a")
    assert embedding.resizing == "8-bit, antialiased bicubic (Pillow)"


def message_without_network(tmp_path, name):
    """The one line that `build_embedding(name)` fails with where nothing loads."""
    code = f"""
from dermgan_tf.metrics.embeddings import build_embedding
from dermgan_tf.errors import InputError
try:
    build_embedding({name!r})
except InputError as error:
    print(error)
"""
    environment = {
        **os.environ,
        "KERAS_HOME": str(tmp_path),  # nothing downloaded before
        "TFHUB_CACHE_DIR": str(tmp_path),
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
    return done.stdout


def test_no_network_and_no_tfgan_module_says_what_to_do(tmp_path):
    message = message_without_network(tmp_path, "tfgan")
    for part in ("tfgan: ", "tensorflow/tfgan/eval/inception/1", "--embedding_weights"):
        assert part in message


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


def test_activations_that_are_not_finite_are_refused():
    inputs = keras.Input((16, 12, 3))
    model = keras.Model(inputs, keras.layers.Rescaling(float("nan"))(inputs))
    with pytest.raises(InputError, match="broken gives NaN or infinity for 2 of 2"):
        Embedding(model, "broken").embed([photo(9, 9), photo(8, 8)])


def test_no_images_are_refused():
    with pytest.raises(InputError, match="no images"):
        Embedding(classifier(), "a").embed([])


@pytest.mark.slow
@needs(WEIGHTS)
@needs(PHOTOS)
def test_real_photographs_lie_as_far_apart_as_known():
    """Distances measured independently, of 240 foot-ulcer photos at 160 × 160."""
    embedding = build_embedding("mobilenet_v2", WEIGHTS)
    assert embedding.name == "mobilenet_v2:natural_images"

    def embed(folder):
        files = sorted((PHOTOS / folder / "images").iterdir())
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
