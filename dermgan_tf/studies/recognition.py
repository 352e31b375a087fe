"""How well classifiers of photographs recognise synthetic images of each condition.

The first thing to look at where synthetic images do harm: what a classifier of real
photographs takes for another condition teaches the next one what is wrong.
"""

import collections
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from statsmodels.stats.proportion import proportion_confint

from dermgan_tf.classifier.labelled_images import LabelledImages
from dermgan_tf.classifier.networks import predict
from dermgan_tf.classifier.predictions import read_predictions
from dermgan_tf.classifier.served import KERAS_FILE

IMAGES_PER_CONDITION = 50


def recognition(
    runs: Sequence[str | os.PathLike], synthetic: LabelledImages
) -> list[dict[str, Any]]:
    """Recall of each condition in synthetic images, beside that in test photos.

    Args:
        runs: folders of finished runs of `train_classifier`, trained on photographs
            alone; one a seed.
        synthetic: of the same conditions. Of each the first 50 are looked at.

    Returns:
        A dict a condition that has synthetic images: condition; images, looked at;
        synthetic, their recall, mean over the runs; interval_95, Wilson's for so many
        images; real, the recall in the test photos, None where there are none;
        taken_for, the other condition that they are most often taken for, None if for
        none.
    """
    places = [
        np.flatnonzero(synthetic.labels == label)[:IMAGES_PER_CONDITION]
        for label in range(len(synthetic.conditions))
    ]
    chosen = synthetic.take(np.sort(np.concatenate(places)))
    votes = np.array([_votes(run, chosen) for run in runs])
    real = np.array([_real_recall(run, synthetic.conditions) for run in runs])
    rows = []
    for label, condition in enumerate(synthetic.conditions):
        said = votes[:, chosen.labels == label]
        count = said.shape[1]
        if not count:
            continue
        share = float(np.mean(said == label))
        wrong = collections.Counter(said[said != label].tolist()).most_common(1)
        rows.append(
            {
                "condition": condition,
                "images": count,
                "synthetic": share,
                "interval_95": [
                    float(end)
                    for end in proportion_confint(share * count, count, method="wilson")
                ],
                "real": None
                if np.isnan(real[:, label]).all()
                else float(real[:, label].mean()),
                "taken_for": synthetic.conditions[wrong[0][0]] if wrong else None,
            }
        )
    return rows


def poorly_recognised(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those recognised less than half as often as photographs, beyond chance."""
    return [
        row
        for row in rows
        if row["real"] is not None and row["interval_95"][1] < row["real"] / 2
    ]


def _votes(run: str | os.PathLike, images: LabelledImages) -> np.ndarray:
    path = pathlib.Path(run) / KERAS_FILE
    classifier = keras.saving.load_model(path, compile=False)
    return predict(classifier, images.images).argmax(axis=1)


def _real_recall(run: str | os.PathLike, conditions: Sequence[str]) -> np.ndarray:
    """[conditions], NaN where there is no test photo."""
    found = read_predictions(pathlib.Path(run) / "predictions/test.csv")
    right = found.probabilities.argmax(axis=1) == found.labels
    of = [right[found.labels == label] for label in range(len(conditions))]
    return np.array([part.mean() if len(part) else np.nan for part in of])
