"""Classifiers' networks and predictions, and scores against scikit-learn."""

import keras
import numpy as np
import pytest

from dermgan_tf.classifier.networks import (
    build_classifier,
    predict,
    predict_logits,
)
from dermgan_tf.classifier.task import fit_classifier
from dermgan_tf.errors import InputError
from dermgan_tf.metrics.embeddings import Embedding
from tests.helpers.coloured_spots import spots


@pytest.fixture(scope="module")
def trained():
    return fit_classifier(spots(240, 0), spots(60, 1), steps=30, batch_size=32)


def test_predictions_come_by_batches_and_are_the_softmax_of_the_logits(trained):
    images = spots(60, 2).images
    probabilities = predict(trained, images)
    assert probabilities.dtype == np.float32 and probabilities.shape == (60, 3)
    np.testing.assert_allclose(probabilities, predict(trained, images, 7), atol=1e-6)
    powers = np.exp(predict_logits(trained, images, 32).astype(np.float64))
    expected = powers / powers.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities, expected, rtol=1e-4, atol=1e-7)
    assert predict(trained, images[:0]).shape == (0, 3)


def test_a_trained_classifier_serves_as_an_embedding(trained, tmp_path):
    trained.save(tmp_path / "baseline_classifier.keras")
    embedding = Embedding(trained, "baseline_classifier")
    assert embedding.image_size == (32, 32) and embedding.num_features == 128
    images = spots(8, 4).images
    features = embedding.embed(images)
    head = trained.layers[-1]
    logits = features @ head.get_weights()[0] + head.get_weights()[1]
    assert np.array_equal(logits.argmax(1), predict(trained, images).argmax(1))


def test_mobilenet_starts_from_a_weights_file(tmp_path):
    backbone = keras.applications.MobileNetV2(
        include_top=False, input_shape=(32, 32, 3), weights=None, alpha=0.35
    )
    file = tmp_path / "w.weights.h5"
    backbone.save_weights(file)
    model = build_classifier(3, 32, "mobilenet_v2", alpha=0.35, weights=file)
    images = spots(2, 0).images.astype(np.float32)
    features = Embedding(model, "m").embed(spots(2, 0).images)
    expected = backbone.predict(images / 127.5 - 1, verbose=0).mean(axis=(1, 2))
    np.testing.assert_allclose(features, expected, rtol=1e-3, atol=1e-4)


def test_random_weights_follow_from_the_seed():
    first, second, third = (
        build_classifier(3, 32, seed=seed).get_weights() for seed in (1, 1, 2)
    )
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert not np.array_equal(first[0], third[0])


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((1, 32), "2 conditions or more"),
        ((3, 32, "resnet"), "known: small_conv, mobilenet_v2"),
        ((3, 32, "small_conv", 1.0, "imagenet"), "no pretrained weights"),
        ((3, 32, "mobilenet_v2", 1.0, "gone.h5"), "--weights=gone.h5: there is no"),
    ],
)
def test_classifiers_that_cannot_be_built(arguments, message):
    with pytest.raises(InputError, match=message):
        build_classifier(*arguments)
