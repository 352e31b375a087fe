"""A step of a classifier's training, and what happens beside the steps."""

import math
import pathlib
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from sklearn.metrics import accuracy_score, f1_score

from dermgan_tf.classifier.calibration import negative_log_likelihood
from dermgan_tf.classifier.labelled_images import image_batches
from dermgan_tf.classifier.networks import batch_norms, features_model
from dermgan_tf.layers.seeded_random import SeededDropout
from dermgan_tf.training.callbacks import CheckpointSaver
from dermgan_tf.training.logs import append_history, cut_history, read_history
from dermgan_tf.training.run_folder import VALIDATION_FILE

DROPOUT = 0.2  # of the features, as in Keras' MobileNetV2 recipe


class ClassifierTrainer(keras.Model):
    """Trains a classifier's head alone and then all of it, in one `fit`.

    Dropout and loss are here, and not in the classifier: it is for use as it is.

    Args:
        classifier: as `build_classifier` makes it.
        frozen_steps: int. How many steps the head learns alone.
        synchronized: bool. Whether batch normalisation takes its averages over all
            replicas, so that their number does not matter.
    """

    def __init__(
        self, classifier: keras.Model, frozen_steps: int, synchronized: bool = False
    ):
        super().__init__()
        self.classifier = classifier
        self.features = features_model(classifier)
        self.head = classifier.layers[-1]
        self.dropout = SeededDropout(DROPOUT, dtype="float32")
        self.frozen_steps = frozen_steps
        self.frozen = frozen_steps > 0
        self.trackers = {
            name: keras.metrics.Mean(name) for name in ("loss", "accuracy")
        }
        for layer in batch_norms(classifier):
            layer.synchronized = synchronized

    def compile(self, head_optimizer, optimizer):
        """Sets the optimizers: of the head alone, and of the whole."""
        head_optimizer.build(self.head.trainable_variables)
        optimizer.build(self.classifier.trainable_variables)
        self.head_optimizer = head_optimizer
        self.whole_optimizer = optimizer
        super().compile(optimizer=optimizer, jit_compile=False)

    @property
    def metrics(self):
        return list(self.trackers.values())

    def state(self, step_variable: tf.Variable) -> dict[str, Any]:
        """Everything that the next step depends on, for a checkpoint."""
        return {
            "step": step_variable,
            "classifier": self.classifier,
            "head_optimizer": self.head_optimizer,
            "optimizer": self.whole_optimizer,
            # Means since the last logged step, so that a continued run logs the same.
            "means": [v.value for metric in self.metrics for v in metric.variables],
        }

    def set_step(self, step: int) -> None:
        """Has the next steps train what is due at `step`, 0 for the first."""
        frozen = step < self.frozen_steps
        if frozen != self.frozen:
            self.frozen = frozen
            if self.train_function is not None:
                self.make_train_function(force=True)

    def logits(self, features):
        """float32 [N, conditions], of features [N, d]."""
        features = tf.cast(features, tf.float32)
        return tf.matmul(features, self.head.kernel.value) + self.head.bias.value

    def train_step(self, data):
        label, weight = data["label"], data["weight"]
        replicas = self.distribute_strategy.num_replicas_in_sync
        if self.frozen:
            variables, optimizer = self.head.trainable_variables, self.head_optimizer
        else:
            variables = self.classifier.trainable_variables
            optimizer = self.whole_optimizer
        with tf.GradientTape() as tape:
            features = self.features(data["image"], training=not self.frozen)
            features = tf.cast(features, tf.float32)[:, tf.newaxis, tf.newaxis]
            features = self.dropout(features, data["seed"])[:, 0, 0]
            logits = self.logits(features)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(label, logits)
            loss = tf.reduce_mean(weight * losses)
            # Keras sums gradients over replicas; the loss is a mean over all of them.
            scaled = optimizer.scale_loss(loss / replicas)
        optimizer.apply(tape.gradient(scaled, variables), variables)
        right = tf.argmax(logits, axis=1, output_type=label.dtype) == label
        values = {"loss": loss, "accuracy": tf.reduce_mean(tf.cast(right, tf.float32))}
        for name, tracker in self.trackers.items():
            # Replicas share a step's weight: a run may change their number midway.
            tracker.update_state(values[name], sample_weight=1 / replicas)
        results = {name: tracker.result() for name, tracker in self.trackers.items()}
        if isinstance(
            self.distribute_strategy, tf.distribute.MultiWorkerMirroredStrategy
        ):  # Keras averages these over an axis, which scalars do not have
            results = {name: tf.reshape(r, [1]) for name, r in results.items()}
        return results

    def _maybe_symbolic_build(self, *args, **kwargs):
        """Does nothing: the network is built, and Keras' own way of building fails on
        batches of dicts that are spread over workers."""


class ClassifierValidation:
    """Scores the validation images, and keeps the record in validation.csv.

    Args:
        path: validation.csv; rows beyond `first_step` are cut off.
        first_step: int. Steps done before this process began.
        trainer: whose classifier is scored.
        images: the validation images.
        writer: a tf.summary writer.
    """

    def __init__(self, path, first_step, *, trainer, images, writer):
        self.path = pathlib.Path(path)
        self._images = images
        self._writer = writer
        form = tf.TensorSpec([None, *images.images.shape[1:]], tf.uint8)
        self._logits = tf.function(
            lambda batch: trainer.logits(
                trainer.features(tf.cast(batch, tf.float32), training=False)
            ),
            input_signature=[form],
        )
        cut_history(self.path, first_step)

    def measure(self, step: int) -> float:
        """Scores the images, puts it on record under `step`, and returns the loss."""
        logits = np.concatenate(
            [
                self._logits(batch).numpy()
                for batch in image_batches(self._images.images)
            ]
        )
        if not np.isfinite(logits).all():
            return math.nan
        labels, predicted = self._images.labels, logits.argmax(axis=1)
        row = {
            # of the conditions that have a validation image
            "macro_f1": f1_score(
                labels,
                predicted,
                labels=np.unique(labels),
                average="macro",
                zero_division=0,
            ),
            "top_1": accuracy_score(labels, predicted),
            "loss": negative_log_likelihood(logits, labels),
        }
        append_history(self.path, step, row)
        with self._writer.as_default(step=step):
            for name, value in row.items():
                tf.summary.scalar(f"validation/{name}", value)
        self._writer.flush()
        return row["loss"]

    def best_step(self, steps: Iterable[int]) -> int | None:
        """The one of `steps` with the best macro-F1, the earliest of equals."""
        best = best_row(self.path.parent, steps)
        return int(best["step"]) if best else None


class ClassifierSaver(CheckpointSaver):
    """Saves checkpoints of a classifier's training."""

    def watched(self):
        trainer = self.model
        return {
            "weight": trainer.classifier.variables,
            "moment": trainer.head_optimizer.variables
            + trainer.whole_optimizer.variables,
        }


class PhaseSwitch(keras.callbacks.Callback):
    """Tells a `ClassifierTrainer` which step comes next."""

    def __init__(self, first_step: int):
        super().__init__()
        self._first_step = first_step

    def on_train_batch_begin(self, batch, logs=None):
        self.model.set_step(self._first_step + batch)


def best_row(folder: pathlib.Path, steps: Iterable[int]) -> dict[str, float]:
    """The row of validation.csv of the best of `steps`; {} if none is there.

    The file is all there is to know: it survives a kill, and is cut with the rest.
    """
    steps = set(steps)
    rows = [r for r in read_history(folder / VALIDATION_FILE) if r["step"] in steps]
    return max(rows, key=lambda row: row["macro_f1"], default={})
