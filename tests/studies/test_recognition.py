"""What classifiers of photographs make of synthetic images."""

import dataclasses

import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from dermgan_tf.classifier.predictions import read_predictions
from dermgan_tf.classifier.task import train_classifier
from dermgan_tf.studies.recognition import (
    IMAGES_PER_CONDITION,
    poorly_recognised,
    recognition,
)
from tests.helpers.coloured_spots import spots


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "classifier"
    splits = {
        name: spots(count, seed, labels=np.arange(count) % 3)
        for seed, (name, count) in enumerate(
            {"train": 96, "validation": 24, "test": 30}.items()
        )
    }
    train_classifier(
        splits,
        folder,
        architecture="small_conv",
        weights=None,
        batch_size=16,
        steps=60,
        learning_rate=3e-3,
        saved_model=False,
    )
    return folder


def test_swapped_labels_are_found(run):
    """Images of condition 0 that are called 1, as a bad generator would."""
    images = spots(180, 9, labels=np.arange(180) % 3)
    labels = np.where(images.labels == 0, 1, images.labels)  # none is of 0 now
    rows = recognition([run, run], dataclasses.replace(images, labels=labels))
    assert [row["condition"] for row in rows] == list(images.conditions[1:])
    # Of condition 1 the first 50 are 25 of either kind, of condition 2 all are right.
    mixed, right = rows
    assert mixed["images"] == right["images"] == IMAGES_PER_CONDITION
    assert mixed["synthetic"] == pytest.approx(0.5, abs=0.1)
    assert mixed["taken_for"] == images.conditions[0]
    assert right["synthetic"] > 0.9
    low, high = proportion_confint(round(50 * right["synthetic"]), 50, method="wilson")
    assert right["interval_95"] == pytest.approx([low, high])
    found = read_predictions(run / "predictions/test.csv")
    said = found.probabilities.argmax(axis=1)
    assert right["real"] == pytest.approx(np.mean(said[found.labels == 2] == 2))
    assert poorly_recognised(rows) == []  # a half is not less than half


def test_images_that_show_another_condition_are_named(run):
    images = spots(60, 9, labels=np.zeros(60, int))
    labels = np.full(60, 2)
    (row,) = recognition([run], dataclasses.replace(images, labels=labels))
    assert row["synthetic"] < 0.2 and row["taken_for"] == images.conditions[0]
    assert poorly_recognised([row]) == [row]
    assert poorly_recognised([{**row, "real": None}]) == []
