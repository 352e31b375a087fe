"""Training of classifiers: phases, the best checkpoint, replicas, what is refused."""

import dataclasses
import json
import os
import pathlib
import pickle
import subprocess
import sys

import keras
import numpy as np
import pytest
import sklearn.metrics
import tensorflow as tf

from dermgan_tf.classifier.batches import TrainingImages, training_batches
from dermgan_tf.classifier.calibration import calibrated
from dermgan_tf.classifier.leakage import trained_case_digests
from dermgan_tf.classifier.model import ClassifierTrainer
from dermgan_tf.classifier.networks import (
    build_classifier,
    predict,
    predict_logits,
)
from dermgan_tf.classifier.predictions import read_predictions
from dermgan_tf.classifier.task import fit_classifier, train_classifier
from dermgan_tf.errors import InputError
from dermgan_tf.training.callbacks import TrainingDiverged
from dermgan_tf.training.checkpoints import saved_steps
from dermgan_tf.training.logs import read_history
from tests.helpers.coloured_spots import CONDITIONS, spots
from tests.helpers.real_photos import PHOTOS

ROOT = pathlib.Path(__file__).parents[2]
WEIGHTS = PHOTOS.parent / "weights/mobilenet_v2_natural_images.weights.h5"
SPLITS = {"train": spots(120, 0), "validation": spots(45, 1), "test": spots(30, 2)}
ABSENT = {"validation": SPLITS["validation"], "test": spots(9, 2, labels=[2] * 9)}
SMALL = {
    "architecture": "small_conv",
    "weights": None,
    "batch_size": 16,
    "learning_rate": 3e-3,
    "saved_model": False,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("run") / "classifier"


@pytest.fixture(scope="module")
def trained(folder):
    return train_classifier(
        SPLITS,
        folder,
        steps=30,
        frozen_steps=6,
        validate_every=6,
        log_every=5,
        **SMALL,
    )


def test_the_best_checkpoint_comes_out_calibrated(trained, folder):
    rows = read_history(folder / "validation.csv")
    assert [row["step"] for row in rows] == [6, 12, 18, 24, 30]
    best = max(row["macro_f1"] for row in rows)
    assert trained.best_step == next(r["step"] for r in rows if r["macro_f1"] == best)
    assert saved_steps(folder / "checkpoints") == sorted({trained.best_step, 30})
    model = keras.saving.load_model(folder / "classifier.keras", compile=False)
    told = json.loads((folder / "classifier.json").read_text("utf-8"))
    for name in ("validation", "test"):
        split = SPLITS[name]
        predictions = read_predictions(folder / "predictions" / f"{name}.csv")
        assert predictions.image_ids.tolist() == split.image_ids.tolist()
        assert predictions.cases.tolist() == split.cases.tolist()
        assert predictions.conditions == CONDITIONS
        np.testing.assert_array_equal(predictions.labels, split.labels)
        np.testing.assert_allclose(
            predictions.probabilities,
            calibrated(predict_logits(model, split.images), told["temperature"]),
            atol=1e-6,
        )
    validation = read_predictions(folder / "predictions" / "validation.csv")
    assert best == pytest.approx(
        sklearn.metrics.f1_score(
            validation.labels, validation.probabilities.argmax(axis=1), average="macro"
        )
    )
    assert told["validation"]["calibrated_loss"] == pytest.approx(
        sklearn.metrics.log_loss(validation.labels, validation.probabilities), rel=1e-3
    )
    assert best > 0.6


def test_classifier_json_tells_what_was_trained_on_what(trained, folder):
    told = json.loads((folder / "classifier.json").read_text("utf-8"))
    assert told["conditions"] == list(CONDITIONS)
    assert told["trained_steps"] == 30 and told["synthetic"] is None
    assert told["data_fingerprint"] == trained.data_fingerprint
    assert told["images"] == {
        "train": 120,
        "validation": 45,
        "test": 30,
        "synthetic": 0,
    }
    labels = SPLITS["train"].labels.tolist()
    assert told["train_counts"] == {
        n: labels.count(k) for k, n in enumerate(CONDITIONS)
    }
    assert told["trained_cases"] == trained_case_digests(SPLITS["train"].cases)
    assert len(told["trained_cases"]) == 40


def test_a_finished_run_changes_no_more(trained, folder):
    before = (folder / "predictions/test.csv").read_bytes()
    settings = {"steps": 30, "frozen_steps": 6, "validate_every": 6, **SMALL}
    again = train_classifier(SPLITS, folder, **settings)
    assert again.first_step == again.step == 30
    assert again.temperature == trained.temperature
    assert (folder / "predictions/test.csv").read_bytes() == before
    os.rename(folder / "checkpoints", folder.parent / "aside")
    try:  # which it does not need
        assert train_classifier(SPLITS, folder, **settings).validation == (
            trained.validation
        )
        with pytest.raises(InputError, match="checkpoints are gone"):
            train_classifier(SPLITS, folder, **{**settings, "saved_model": True})
    finally:
        os.rename(folder.parent / "aside", folder / "checkpoints")
    with pytest.raises(InputError, match="has seed 0, this call asks for 5"):
        train_classifier(SPLITS, folder, **{**settings, "seed": 5})
    with pytest.raises(InputError, match="has steps 30, this call asks for 60"):
        train_classifier(SPLITS, folder, **{**settings, "steps": 60})
    with pytest.raises(InputError, match="data_fingerprint"):
        train_classifier({**SPLITS, "test": spots(30, 3)}, folder, **settings)


def test_a_stop_is_polite_and_the_run_goes_on(folder, trained, tmp_path):
    answers = iter([False] * 8 + [True] * 9)
    settings = {
        "steps": 30,
        "frozen_steps": 6,
        "validate_every": 6,
        "log_every": 5,
        **SMALL,
    }
    stopped = train_classifier(
        SPLITS, tmp_path, stop_requested=lambda: next(answers), **settings
    )
    assert stopped.step == 9 and stopped.temperature is None
    assert not (tmp_path / "classifier.keras").exists()
    ended = train_classifier(SPLITS, tmp_path, **settings)
    assert ended.first_step == 9 and ended.step == 30
    for name in ("history.csv", "validation.csv", "predictions/test.csv"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def moved_by_a_step(classifier, frozen_steps):
    """Which of the weights, in their order, a training step changes."""
    before = [np.array(weight) for weight in classifier.weights]
    trainer = ClassifierTrainer(classifier, frozen_steps)
    trainer.compile(keras.optimizers.Adam(1e-2), keras.optimizers.Adam(1e-2))
    (batch,) = training_batches(
        TrainingImages(SPLITS["train"], None, 8, 0), "full", 0, 1
    )
    trainer.train_step(batch)
    return [
        not np.array_equal(old, new)
        for old, new in zip(before, classifier.weights, strict=True)
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        pytest.param(
            {"architecture": "mobilenet_v2", "weights": WEIGHTS},
            marks=pytest.mark.skipif(
                not WEIGHTS.is_file(), reason=f"{WEIGHTS} is not here"
            ),
        ),
    ],
)
def test_while_frozen_only_the_head_moves(arguments):
    moved = moved_by_a_step(build_classifier(3, 32, **arguments), frozen_steps=1)
    # Batch normalisation's averages are among those that stay.
    assert moved == [False] * (len(moved) - 2) + [True, True]


def test_after_that_everything_moves():
    assert all(moved_by_a_step(build_classifier(3, 32), frozen_steps=0))


def test_the_loss_is_scikit_learns_weighted_one():
    classifier = build_classifier(3, 32)
    trainer = ClassifierTrainer(classifier, frozen_steps=9)
    trainer.dropout.rate = 0.0
    images = TrainingImages(SPLITS["train"], None, 64, 0, imbalance="class_weights")
    trainer.compile(keras.optimizers.Adam(0.0), keras.optimizers.Adam(0.0))
    (batch,) = training_batches(images, "full", 4, 5)
    logs = trainer.train_step(batch)
    probabilities = classifier.predict_on_batch(batch["image"])
    weights = images.weights(0)[batch["label"]]
    expected = sklearn.metrics.log_loss(
        batch["label"], probabilities, sample_weight=weights, labels=[0, 1, 2]
    )
    assert float(logs["loss"]) == pytest.approx(expected * weights.mean(), rel=1e-5)


MIRRORED = """
import pickle, sys
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
two = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, two)
from dermgan_tf.classifier.task import train_classifier
from dermgan_tf.training.strategies import make_strategy
with open(sys.argv[1], "rb") as file:
    splits, folder, settings = pickle.load(file)
train_classifier(splits, folder, strategy=make_strategy("mirrored"), **settings)
"""


SHORT = {"steps": 3, "validate_every": 3, "log_every": 1, "imbalance": "class_weights"}


def test_a_strategy_trains_as_none_does(tmp_path):
    settings = {**SMALL, **SHORT}
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    train_classifier(SPLITS, tmp_path / "one", **settings)
    train_classifier(SPLITS, tmp_path / "mirrored", strategy=strategy, **settings)
    for name in ("history.csv", "validation.csv"):
        rows = [read_history(tmp_path / run / name) for run in ("one", "mirrored")]
        for ours, theirs in zip(*rows, strict=True):
            assert ours == pytest.approx(theirs, rel=1e-4)


@pytest.mark.slow
def test_two_devices_train_as_one(tmp_path):
    settings = {**SMALL, **SHORT}
    with open(tmp_path / "call", "wb") as file:
        pickle.dump((SPLITS, tmp_path / "two", settings), file)
    two = subprocess.Popen(
        [sys.executable, "-c", MIRRORED, tmp_path / "call"], cwd=ROOT
    )
    train_classifier(SPLITS, tmp_path / "one", **settings)
    assert two.wait(120) == 0
    for name in ("history.csv", "validation.csv"):
        rows = [read_history(tmp_path / run / name) for run in ("one", "two")]
        for ours, theirs in zip(*rows, strict=True):
            assert ours == pytest.approx(theirs, rel=1e-4)
    one, two = (
        tf.train.load_checkpoint(tmp_path / run / "checkpoints/step-3")
        for run in ("one", "two")
    )
    names = [n for n in one.get_variable_to_shape_map() if not n.startswith("_CHECK")]
    assert len(names) > 30
    for name in names:
        np.testing.assert_allclose(
            one.get_tensor(name), two.get_tensor(name), rtol=1e-3, atol=1e-4
        )


def test_in_memory_it_is_the_same_and_touches_no_global_state(trained, folder):
    np.random.seed(7)
    expected = np.random.rand()
    np.random.seed(7)
    model = fit_classifier(
        SPLITS["train"],
        SPLITS["validation"],
        steps=30,
        evaluations=5,
        frozen_steps=6,
        **{name: SMALL[name] for name in ("batch_size", "learning_rate")},
    )
    assert np.random.rand() == expected
    saved = keras.saving.load_model(folder / "classifier.keras", compile=False)
    for ours, theirs in zip(model.weights, saved.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_synthetic_images_teach_a_condition_that_the_real_ones_lack(tmp_path):
    train = spots(120, 0, labels=np.arange(120) % 2)
    test = spots(90, 2)
    synthetic = dataclasses.replace(
        spots(90, 3, labels=np.full(90, 2)), cases=None, image_ids=None
    )
    train_classifier(
        {"train": train, "validation": spots(60, 1)},
        tmp_path / "augmented",
        synthetic=synthetic,
        synthetic_ratio=0.5,
        real_share=0.7,
        mixed_precision="bfloat16",
        generator="abc",
        generator_cases=["elsewhere"],
        steps=40,
        validate_every=10,
        **SMALL,
    )
    model = keras.saving.load_model(
        tmp_path / "augmented/classifier.keras", compile=False
    )
    assert model.layers[1].compute_dtype == "float32"
    told = json.loads((tmp_path / "augmented/classifier.json").read_text("utf-8"))
    assert told["synthetic"] == {
        "generator": "abc",
        "images": 60,
        "ratio": 0.5,
        "cases_known": True,
    }
    assert told["trained_cases"] == trained_case_digests([*train.cases, "elsewhere"])
    assert told["train_counts"]["red"] == 0
    predicted = predict(model, test.images).argmax(axis=1)
    assert (predicted == test.labels)[test.labels == 2].mean() > 0.7


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"real_share": 0.25},
        {"synthetic_until": 0.5},
        {"synthetic_ratio": 0.2, "imbalance": "balanced_sampling"},
    ],
)
def test_real_exposure_is_the_same_with_synthetic_images(tmp_path, how):
    """Whatever draws them, about as many real images are seen: 8 steps of 16."""
    train_classifier(
        {name: SPLITS[name] for name in ("train", "validation")},
        tmp_path,
        synthetic=spots(60, 3, labels=np.arange(60) % 2 + 1),
        steps=8,
        real_exposure=True,
        validate_every=100,
        **{**SMALL, **how},
    )
    told = json.loads((tmp_path / "classifier.json").read_text("utf-8"))
    assert told["settings"]["steps"] > 8
    assert told["real_images_seen"] == pytest.approx(8 * 16, abs=12)


def test_conditions_that_a_split_lacks_are_recorded(tmp_path):
    train_classifier(
        {"train": spots(40, 0, labels=np.arange(40) % 2), **dict(ABSENT)},
        tmp_path,
        steps=2,
        **SMALL,
    )
    told = json.loads((tmp_path / "classifier.json").read_text("utf-8"))
    assert told["absent_conditions"] == {
        "train": [CONDITIONS[2]],
        "test": list(CONDITIONS[:2]),
    }


def test_losses_that_are_not_finite_end_it(tmp_path):
    settings = {**SMALL, "learning_rate": 1e30}
    with pytest.raises(TrainingDiverged, match="lower --learning_rate"):
        train_classifier(SPLITS, tmp_path, steps=9, log_every=3, **settings)
    assert not (tmp_path / "classifier.keras").exists()


@pytest.mark.parametrize(
    "changes, arguments, message",
    [
        ({"train": spots(9, 0, labels=np.zeros(9, int))}, {}, "one condition only"),
        ({"validation": spots(9, 1, ("a", "b", "c"))}, {}, "different conditions"),
        ({"validation": spots(9, 0)}, {}, "case 'c0-0' is in two splits"),
        ({"test": dataclasses.replace(spots(9, 4), cases=None)}, {}, "have no cases"),
        ({"test": spots(9, 4, size=24)}, {}, r"are \[32, 32, 3\], test .*\[24, 24, 3"),
        ({}, {"steps": 0}, "steps must be at least 1"),
        ({}, {"steps": 3, "epochs": 1}, "not both"),
        ({}, {"epochs": 0}, "above 0"),
        ({}, {"steps": 3, "frozen_steps": 4}, r"0 to steps \(3\)"),
        ({}, {"steps": 3, "learning_rate": -1.0}, "learning_rate must be"),
        ({}, {"steps": 3, "augment": "some"}, "known: full, flips, none"),
        ({}, {"steps": 3, "imbalance": "some"}, "known: none, class_weights"),
        ({}, {"steps": 3, "real_share": 0.5}, "needs synthetic"),
        (
            {},
            {
                "steps": 3,
                "synthetic": spots(9, 3),
                "real_share": 0.0,
                "real_exposure": True,
            },
            "real_share 0 shows none",
        ),
        ({}, {"steps": 3, "synthetic_until": 0.5}, "needs synthetic"),
        ({}, {"steps": 3, "synthetic_until": 0.0}, "above 0 to 1, got 0.0"),
    ],
)
def test_what_cannot_be_trained(tmp_path, changes, arguments, message):
    with pytest.raises(InputError, match=message):
        train_classifier({**SPLITS, **changes}, tmp_path, **{**SMALL, **arguments})


def test_there_must_be_validation_images(tmp_path):
    with pytest.raises(InputError, match="no validation images"):
        train_classifier({"train": SPLITS["train"]}, tmp_path, **SMALL)
