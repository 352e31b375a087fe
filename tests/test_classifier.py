"""Classifiers' networks and predictions, and scores against scikit-learn."""

import dataclasses

import keras
import numpy as np
import pytest
import sklearn.metrics
from coloured_spots import CONDITIONS, spots

from dermgan_tf.classifier import (
    build_classifier,
    compare_classifiers,
    predict,
    predict_logits,
    score_classifier,
)
from dermgan_tf.classifier_training import fit_classifier
from dermgan_tf.embeddings import Embedding
from dermgan_tf.errors import InputError
from dermgan_tf.labelled_images import LabelledImages, labelled_crops
from dermgan_tf.metrics import case_resamples
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


def random_predictions(truth, seed):
    probabilities = np.random.default_rng(seed).dirichlet(
        np.ones(len(truth.conditions)), len(truth)
    )
    rows = np.arange(len(truth))
    probabilities[rows[::2], truth.labels[::2]] += 1  # half of them right
    return probabilities / probabilities.sum(axis=1, keepdims=True)


def test_scores_are_scikit_learns():
    truth = spots(80, 5)
    probabilities = random_predictions(truth, 0)
    predicted = probabilities.argmax(axis=1)
    result = score_classifier(truth, probabilities, resamples=50, seed=9)
    f1 = sklearn.metrics.f1_score(truth.labels, predicted, average=None)
    assert result["images"] == 80 and result["cases"] == 27
    assert result["top_1"]["value"] == pytest.approx(
        sklearn.metrics.accuracy_score(truth.labels, predicted)
    )
    assert result["macro_f1"]["value"] == pytest.approx(f1.mean())
    assert result["macro_f1"]["undefined"] == []
    for k, row in enumerate(result["by_condition"]):
        assert row["condition"] == CONDITIONS[k]
        assert row["images"] == np.count_nonzero(truth.labels == k)
        assert row["cases"] == len(set(truth.cases[truth.labels == k]))
        assert row["f1"]["value"] == pytest.approx(f1[k])
    resampled = [
        sklearn.metrics.f1_score(truth.labels[i], predicted[i], average="macro")
        for i in case_resamples(truth.cases, 50, seed=9)
    ]
    assert result["macro_f1"]["interval_95"] == pytest.approx(
        list(np.percentile(resampled, [2.5, 97.5]))
    )


def test_what_is_undefined_is_none_and_not_zero():
    conditions = (*CONDITIONS, "never seen", "of one case")
    truth = spots(40, 5, conditions, labels=np.array([0, 1, 2] * 13 + [4]))
    probabilities = random_predictions(truth, 1)
    probabilities[0] = np.eye(5)[3]  # taken for the one that is not there
    result = score_classifier(truth, probabilities, resamples=50)
    rows = {row["condition"]: row for row in result["by_condition"]}
    assert rows["never seen"]["f1"] == {"value": None, "interval_95": None}
    assert rows["of one case"]["f1"]["value"] is not None
    assert rows["of one case"]["f1"]["interval_95"] is None
    defined = [r["f1"]["value"] for r in rows.values() if r["f1"]["value"] is not None]
    assert result["macro_f1"]["value"] == pytest.approx(np.mean(defined))
    assert result["macro_f1"]["undefined"] == ["never seen"]


def test_a_comparison_is_paired():
    truth = spots(80, 5)
    first, second = random_predictions(truth, 0), random_predictions(truth, 1)
    result = compare_classifiers(truth, first, second, resamples=100, seed=2)
    assert result["baseline"] == score_classifier(truth, first, 100, seed=2)
    assert result["augmented"] == score_classifier(truth, second, 100, seed=2)
    assert result["difference"]["top_1"]["value"] == pytest.approx(
        result["augmented"]["top_1"]["value"] - result["baseline"]["top_1"]["value"]
    )
    differences = [
        np.mean((second[i].argmax(1) == truth.labels[i]) * 1.0)
        - np.mean((first[i].argmax(1) == truth.labels[i]) * 1.0)
        for i in case_resamples(truth.cases, 100, seed=2)
    ]
    assert result["difference"]["top_1"]["interval_95"] == pytest.approx(
        list(np.percentile(differences, [2.5, 97.5]))
    )
    same = compare_classifiers(truth, first, first, resamples=20)["difference"]
    assert same["macro_f1"]["value"] == 0.0
    assert same["macro_f1"]["interval_95"] == [0.0, 0.0]


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


def test_predictions_that_cannot_be_scored():
    truth = spots(6, 0)
    with pytest.raises(InputError, match=r"\[5, 3\], the truth has 6 images"):
        score_classifier(truth, np.ones((5, 3)))
    with pytest.raises(InputError, match="NaN"):
        score_classifier(truth, np.full((6, 3), np.nan))
    with pytest.raises(InputError, match="only real ones are scored"):
        score_classifier(dataclasses.replace(truth, cases=None), np.ones((6, 3)))


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
