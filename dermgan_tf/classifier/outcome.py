"""What comes out of a classifier's training: calibrated predictions, and the models."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from dermgan_tf.classifier.calibration import (
    calibrated,
    fit_temperature,
    negative_log_likelihood,
)
from dermgan_tf.classifier.labelled_images import LabelledImages
from dermgan_tf.classifier.networks import predict_logits
from dermgan_tf.classifier.predictions import Predictions, write_predictions
from dermgan_tf.classifier.served import (
    KERAS_FILE,
    SAVED_MODEL,
    save_keras,
    save_served,
)
from dermgan_tf.training.checkpoints import restore_part
from dermgan_tf.training.logs import last_losses
from dermgan_tf.training.run_folder import CHECKPOINTS, HISTORY_FILE


@dataclasses.dataclass(frozen=True)
class ClassifierResult:
    """What a call of `train_classifier` did.

    Args:
        output_dir: pathlib.Path. Where everything lies.
        step: int. Training steps done, by this call and those before.
        first_step: int. The step that this call went on from; 0 for a new run.
        steps: int. The step that was asked for; more than `step` after a stop.
        losses: dict. As logged last: means over the last logging interval.
        best_step: int. The step of the best checkpoint; None before the first.
        validation: dict of step, macro_f1, top_1 and loss at that step.
        temperature: float. None for a run that was stopped.
        images_per_second: float. Training images over time, validation included.
        seconds: dict. How long the parts took, by name.
        data_fingerprint: str. Of all images together.
        images: dict of int. Images used: train, validation, test, synthetic.
    """

    output_dir: pathlib.Path
    step: int
    first_step: int
    steps: int
    losses: dict[str, float]
    best_step: int | None
    validation: dict[str, float]
    temperature: float | None
    images_per_second: float
    seconds: dict[str, float]
    data_fingerprint: str
    images: dict[str, int]


def finish(
    folder: pathlib.Path,
    classifier: keras.Model,
    best: Mapping[str, float],
    splits: Mapping[str, LabelledImages],
    description: Mapping[str, Any],
    saved_model: bool,
) -> dict[str, Any]:
    """Calibrates the best checkpoint, and writes its predictions and the models.

    Args:
        folder: of the run.
        classifier: of the run's network; gets the weights of the best checkpoint.
        best: the row of validation.csv of that checkpoint.
        splits: as of `train_classifier`.
        description: what classifier.json says so far.
        saved_model: bool. Whether saved_model/ is written.

    Returns:
        What classifier.json is to say of the outcome.
    """
    step = int(best["step"])
    restore_part(folder / CHECKPOINTS, step, classifier=classifier)
    logits = {
        name: predict_logits(classifier, splits[name].images)
        for name in ("validation", "test")
        if name in splits
    }
    labels = splits["validation"].labels
    temperature = fit_temperature(logits["validation"], labels)
    (folder / "predictions").mkdir(exist_ok=True)
    for name, values in logits.items():
        write_predictions(
            folder / "predictions" / f"{name}.csv",
            predictions_of(splits[name], name, calibrated(values, temperature)),
        )
    told = {
        "temperature": temperature,
        "best_step": step,
        "validation": {
            **{name: value for name, value in best.items() if name != "step"},
            "calibrated_loss": negative_log_likelihood(
                logits["validation"], labels, temperature
            ),
        },
    }
    save_keras(classifier, folder)
    if saved_model:
        save_served(classifier, temperature, folder, {**description, **told})
    return told


def predictions_of(
    split: LabelledImages, name: str, probabilities: np.ndarray
) -> Predictions:
    """Probabilities [N, K] with what the photos of a split are; ids where they lack.

    Args:
        split: photographs, with cases.
        name: str. The split's, for ids such as "test/000017".
        probabilities: [N, K].
    """
    ids, types = split.image_ids, split.skin_types
    return Predictions(
        image_ids=np.array([f"{name}/{i:06d}" for i in range(len(split))])
        if ids is None
        else ids,
        cases=split.cases,
        skin_types=np.zeros(len(split), np.int64) if types is None else types,
        labels=split.labels,
        probabilities=probabilities,
        conditions=split.conditions,
    )


def is_finished(
    folder: pathlib.Path,
    earlier: Mapping[str, Any],
    splits: Mapping[str, LabelledImages],
    saved_model: bool,
) -> bool:
    """Whether all is there that a run leaves; its checkpoints may be gone."""
    files = [f"predictions/{n}.csv" for n in ("validation", "test") if n in splits]
    files += [KERAS_FILE, *([f"{SAVED_MODEL}/saved_model.pb"] * saved_model)]
    return earlier.get("temperature") is not None and all(
        (folder / name).is_file() for name in files
    )


def best_of(earlier: Mapping[str, Any]) -> dict[str, float]:
    """The best checkpoint's scores, as validation.csv has them, by classifier.json."""
    scores = {k: v for k, v in earlier["validation"].items() if k != "calibrated_loss"}
    return {"step": earlier["best_step"], **scores}


def outcome(
    folder: pathlib.Path,
    description: Mapping[str, Any],
    best: Mapping[str, float] | None,
) -> dict[str, Any]:
    """What a ClassifierResult says that classifier.json and the logs know."""
    return {
        "step": description["trained_steps"],
        "steps": description["settings"]["steps"],
        "losses": last_losses(folder / HISTORY_FILE),
        "best_step": int(best["step"]) if best else None,
        "validation": best,
        "temperature": description["temperature"],
        "data_fingerprint": description["data_fingerprint"],
        "images": description["images"],
    }
