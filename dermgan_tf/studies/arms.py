"""The arms of a comparison: prediction files, and the guards against unfair ones."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dermgan_tf.classifier.leakage import trained_case_digests
from dermgan_tf.classifier.predictions import (
    CLASSIFIER_FILE,
    Predictions,
    read_predictions,
    require_same_photos,
)
from dermgan_tf.errors import InputError
from dermgan_tf.photos.vocabulary import Vocabulary

PREDICTIONS_FILE = "predictions/test.csv"
# What of classifier.json the comparison writes down again.
CLASSIFIER_KEYS = ("architecture", "alpha", "image_size", "weights", "seed")


@dataclasses.dataclass(frozen=True)
class Arm:
    """One way of training, by the predictions of one or more training seeds.

    Args:
        name: str.
        predictions: one a training seed; in all arms the same photos in one order.
        classifiers: what classifier.json says of each; None where there is none.
    """

    name: str
    predictions: tuple[Predictions, ...]
    classifiers: tuple[Mapping[str, Any] | None, ...] = ()

    def __post_init__(self):
        if not self.classifiers:
            nothing = (None,) * len(self.predictions)
            object.__setattr__(self, "classifiers", nothing)


def parse_arms(texts: Sequence[str]) -> dict[str, list[str]]:
    """Reads "NAME=PATH,PATH,…" texts.

    Returns:
        paths by the arm's name, in the order given.

    Raises:
        InputError: for a text of another form, a name or path that comes twice, or
            fewer than two arms.
    """
    arms: dict[str, list[str]] = {}
    for text in texts:
        name, equals, paths = text.partition("=")
        name, files = name.strip(), [path.strip() for path in paths.split(",")]
        if not (name and equals and all(files)):
            raise InputError(f"--arm={text!r} is not NAME=FILE,FILE,…")
        if name in arms:
            raise InputError(
                f"--arm: {name!r} comes twice; give all files of an arm at once"
            )
        arms[name] = files
    if len(arms) < 2:
        raise InputError(
            f"a comparison takes two arms or more, got {len(arms)}; the first is the "
            "baseline"
        )
    return arms


def read_arms(paths: Mapping[str, Sequence[str | os.PathLike]]) -> list[Arm]:
    """Reads the predictions of all arms, and refuses what cannot be compared.

    Args:
        paths: by the arm's name, predictions files or folders of trained classifiers.

    Returns:
        The arms, the photos of all in one order.

    Raises:
        InputError: for what `read_predictions` and `require_same_photos` refuse; for
            photos of one condition only; for a classifier of other conditions, or
            that saw a test case in training, or images of a GAN that may have; for a
            file that comes twice in one arm.
        OSError: if a file cannot be read.
    """
    arms, first = [], None
    for name, files in paths.items():
        found, cards = [], []
        for path in map(pathlib.Path, files):
            if path.is_dir():
                path = path / PREDICTIONS_FILE
            predictions = read_predictions(path)
            card = _read_classifier(path)
            if first is None:
                first = predictions
                _require_two_conditions(first)
            if card is not None:
                _require_own(predictions, card)
                _require_unseen(predictions, card)
            found.append(require_same_photos(first, predictions))
            cards.append(card)
        _require_different(name, found)
        arms.append(Arm(name, tuple(found), tuple(cards)))
    return arms


def read_train_counts(
    path: str | os.PathLike, conditions: Sequence[str]
) -> dict[str, int]:
    """Reads training photos by condition, {"melanoma": 123, …}, a condition each.

    Raises:
        InputError: if the file is no such JSON or lacks a condition.
        OSError: if it cannot be read.
    """
    return _checked_counts(_read_json(pathlib.Path(path)), conditions, path)


def train_counts(arms: Sequence[Arm], conditions: Sequence[str]):
    """Training photos by condition as the baseline's first classifier tells, or None.

    They stand in classifier.json under `train_counts`.
    """
    card, source = arms[0].classifiers[0], arms[0].predictions[0].source
    if not card or not card.get("train_counts"):
        return None
    return _checked_counts(card["train_counts"], conditions, f"classifier of {source}")


def _checked_counts(counts: Any, conditions: Sequence[str], where) -> dict[str, int]:
    for name in conditions:
        count = counts.get(name) if isinstance(counts, dict) else None
        if not isinstance(count, int) or isinstance(count, bool) or count < 0:
            raise InputError(
                f"{where}: no number of training photos for condition {name!r}"
            )
    return {name: counts[name] for name in conditions}


def _read_classifier(path: pathlib.Path) -> dict[str, Any] | None:
    """classifier.json of the folder that `path` lies in, or in its predictions/."""
    folders = [path.parent]
    if path.parent.name == "predictions":
        folders.append(path.parent.parent)
    for folder in folders:
        file = folder / CLASSIFIER_FILE
        if file.exists():
            card = _read_json(file)
            if not isinstance(card, dict) or not _is_texts(card.get("trained_cases")):
                raise InputError(
                    f"{file}: no list of trained_cases; is it of train_classifier?"
                )
            return card
    return None


def _read_json(file: pathlib.Path) -> Any:
    try:
        return json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise InputError(f"{file}: not JSON: {error}") from None


def _is_texts(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(v, str) for v in values)


def _require_own(predictions: Predictions, card: Mapping[str, Any]) -> None:
    told = card.get("conditions")
    if told is not None:
        Vocabulary(predictions.conditions).require_equal(
            Vocabulary(told), predictions.source, f"its {CLASSIFIER_FILE}"
        )


def _require_unseen(predictions: Predictions, card: Mapping[str, Any]) -> None:
    synthetic = card.get("synthetic")
    if synthetic and not (isinstance(synthetic, dict) and synthetic.get("cases_known")):
        raise InputError(
            f"{predictions.source}: its classifier saw images of a GAN, and "
            f"{CLASSIFIER_FILE} does not know the cases that this was trained on; it "
            "may have seen these photos. Train with the pairs of the GAN named "
            "(--gan_data_dir)"
        )
    trained = set(card["trained_cases"])
    seen = [
        case
        for case in np.unique(predictions.cases)
        if not trained.isdisjoint(trained_case_digests([case]))
    ]
    if seen:
        raise InputError(
            f"{predictions.source}: case {str(seen[0])!r} is among the cases that its "
            f"classifier, or the GAN whose images it saw, was trained on ({len(seen)} "
            "such cases); test on other cases"
        )


def _require_two_conditions(predictions: Predictions) -> None:
    labels = np.unique(predictions.labels)
    if len(labels) < 2:
        raise InputError(
            f"{predictions.source}: all {len(predictions)} photos are of "
            f"{predictions.conditions[labels[0]]!r}; a comparison takes two conditions "
            "or more"
        )


def _require_different(name: str, found: Sequence[Predictions]) -> None:
    """Seeds that were trained never agree to the last digit."""
    sources: dict[str, str] = {}
    for predictions in found:
        if predictions.digest in sources:
            raise InputError(
                f"arm {name!r}: {predictions.source} holds the same predictions as "
                f"{sources[predictions.digest]}; give each training seed once"
            )
        sources[predictions.digest] = predictions.source
