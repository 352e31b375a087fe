"""Classifiers' networks and predictions, and scores against scikit-learn."""

import dataclasses

import keras
import numpy as np
import pytest
from coloured_spots import CONDITIONS, spots

from dermgan_tf.classifier import (
    build_classifier,
    predict,
    predict_logits,
)
from dermgan_tf.classifier_training import fit_classifier
from dermgan_tf.embeddings import Embedding
from dermgan_tf.errors import InputError
from dermgan_tf.labelled_images import LabelledImages, labelled_crops
from dermgan_tf.prepare import LoadedPhoto, prepare_pairs
from dermgan_tf.semantic_map import Roi
from dermgan_tf.vocabulary import Vocabulary


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


def test_labelled_images_that_do_not_fit_together():
    images = np.zeros((3, 8, 8, 3), np.uint8)
    with pytest.raises(InputError, match="label 3 is none of 3"):
        LabelledImages(images, [0, 1, 3], CONDITIONS)
    with pytest.raises(InputError, match="3 images with .2,. labels"):
        LabelledImages(images, [0, 1], CONDITIONS)
    with pytest.raises(InputError, match="float64"):
        LabelledImages(images / 255, [0, 1, 2], CONDITIONS)


@dataclasses.dataclass(frozen=True)
class Drawn:
    """A photo for prepare_pairs that is drawn when asked for."""

    name: str
    case_id: str
    condition: str
    split: str
    source: str

    def load(self):
        image = np.full((96, 96, 3), 180, np.uint8)
        image[30:60, 30:60] = 120
        return LoadedPhoto(
            image, [Roi((0.3, 0.3, 0.6, 0.6), self.condition)], self.condition, 2
        )


def test_crops_come_with_condition_and_case_and_synthetic_ones_are_refused(tmp_path):
    vocabulary = Vocabulary(["melanoma", "eczema"])
    photos = [
        Drawn(f"p{i}", f"c{i}", vocabulary.conditions[i % 2], split, source)
        for i, (split, source) in enumerate(
            [("train", "real")] * 3 + [("test", "synthetic")]
        )
    ]
    prepare_pairs(
        photos, vocabulary, tmp_path / "pairs", 64, crops_per_photo=2, workers=1
    )
    crops = labelled_crops(tmp_path / "pairs", "train")
    assert len(crops) == 6 and crops.images.shape == (6, 64, 64, 3)
    assert crops.conditions == vocabulary.conditions
    assert sorted(crops.cases) == ["c0", "c0", "c1", "c1", "c2", "c2"]
    assert all(
        label == int(case[1:]) % 2
        for label, case in zip(crops.labels, crops.cases, strict=True)
    )
    with pytest.raises(InputError, match="is synthetic; only photographs"):
        labelled_crops(tmp_path / "pairs", "test")
    with pytest.raises(InputError, match="no split 'validation'"):
        labelled_crops(tmp_path / "pairs", "validation")
