"""What happens beside the training steps: logging, checking, painting, saving.

All count steps from the beginning of the run, across restarts, and read losses from the
device only when they are due: a step never waits for its predecessor.
"""

import itertools
import math
import pathlib
import re
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from dermgan_tf.errors import InputError
from dermgan_tf.output_folder import atomic_write
from dermgan_tf.photos.contact_sheet import contact_sheet
from dermgan_tf.photos.photo_io import encode_png
from dermgan_tf.training.checkpoints import Checkpoints
from dermgan_tf.training.logs import append_history, cut_history

FITZPATRICK_NUMERALS = ("?", "I", "II", "III", "IV", "V", "VI")


class TrainingDiverged(InputError):
    """Losses or weights are no longer finite."""


class UnsyncedCallbackList(keras.callbacks.CallbackList):
    """Hands losses to the callbacks as tensors.

    Keras' own list turns them into floats after every step, which makes the host wait
    for the device each time.
    """

    def on_train_batch_end(self, batch, logs=None):
        for callback in self.callbacks:
            callback.on_train_batch_end(batch, logs)


class Validation(Protocol):
    """What measures how good the weights are, and which checkpoint was best."""

    def measure(self, step: int) -> float:
        """The loss of the present weights, put on record under `step`; may be NaN."""

    def best_step(self, steps: Collection[int]) -> int | None:
        """The one of `steps` with the least loss; None where none was measured."""


class StepCallback(keras.callbacks.Callback):
    """Calls `on_step` after every `every`-th step of the run, and after the last.

    Args:
        first_step: int. Steps done before this process began.
        last_step: int. The step that the run ends with.
        every: int. In steps; where several are executed at once, the first
            opportunity thereafter.
    """

    def __init__(self, first_step: int, last_step: int, every: int):
        super().__init__()
        self.step = first_step
        self.last_step = last_step
        self.every = every

    def on_train_batch_end(self, batch, logs=None):
        step = self.step + self.model.steps_per_execution
        due = self.is_due(step)
        self.step = step
        if due:
            self.on_step(step, logs)

    def is_due(self, step: int) -> bool:
        """Whether `on_step` is to be called once `step`, the next, is done."""
        return step // self.every > self.step // self.every or step == self.last_step

    def on_step(self, step: int, logs: dict[str, Any]) -> None:
        raise NotImplementedError


class LossLog(StepCallback):
    """Writes losses to `history.csv` and TensorBoard, and stops a run that diverges.

    A logged value is the mean over the steps since the one logged before.

    Args:
        first_step, last_step, every: as of `StepCallback`.
        path: history.csv; rows beyond `first_step` are cut off.
        writer: a tf.summary writer.
        batch_size: int. Images per step.
    """

    def __init__(self, first_step, last_step, every, *, path, writer, batch_size):
        super().__init__(first_step, last_step, every)
        self.path = pathlib.Path(path)
        self.writer = writer
        self.batch_size = batch_size
        self.losses: dict[str, float] = {}  # as logged last
        self._finite_at = first_step
        self._timed_from: tuple[int, float] | None = None  # step, seconds
        self._began: tuple[int, float] | None = None
        cut_history(self.path, first_step)

    def on_train_begin(self, logs=None):
        # `fit` resets the means at its start; a restored run goes on with its own.
        self._means = [np.asarray(v) for m in self.model.metrics for v in m.variables]

    def on_epoch_begin(self, epoch, logs=None):
        variables = [v for metric in self.model.metrics for v in metric.variables]
        for variable, value in zip(variables, self._means, strict=True):
            variable.assign(value)

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, logs)
        if self._timed_from is None:  # the first step compiles: leave it out
            next(iter(logs.values())).numpy()  # wait for it
            self._began = self._timed_from = (self.step, time.monotonic())

    def mean_speed(self) -> float:
        """Images per second until now, from the second step on; NaN before."""
        if self._began is None or self.step == self._began[0]:
            return math.nan
        step, then = self._began
        return (self.step - step) * self.batch_size / (time.monotonic() - then)

    def on_step(self, step, logs):
        self.losses = self.check(step, logs)
        append_history(self.path, step, self.losses)
        with self.writer.as_default(step=step):
            for name, value in self.losses.items():
                tf.summary.scalar(f"losses/{name}", value)
            if self._timed_from is not None:
                before, then = self._timed_from
                self._timed_from = (step, time.monotonic())
                speed = (step - before) * self.batch_size / (time.monotonic() - then)
                tf.summary.scalar("speed/images_per_second", speed)
        self.writer.flush()
        self.model.reset_metrics()

    def check(self, step: int, logs: dict[str, Any]) -> dict[str, float]:
        """Returns the losses as floats.

        Raises:
            TrainingDiverged: if one is not finite.
        """
        losses = {name: float(np.mean(value)) for name, value in logs.items()}
        for name, value in losses.items():
            if not math.isfinite(value):
                raise TrainingDiverged(
                    f"training diverged: {name} is {value} at step {step}, after it "
                    f"was finite at step {self._finite_at}"
                )
        self._finite_at = step
        return losses


class SampleSheets(StepCallback):
    """Paints the same held-out examples with the same seeds as training goes on.

    A subclass lays out the sheet.

    Args:
        first_step, last_step, every: as of `StepCallback`.
        title: str. What TensorBoard calls the sheet.
        folder: step-000123.png appear there; those beyond `first_step` are removed.
        writer: a tf.summary writer.
        provenance: dict of str to put into the PNGs.
    """

    def __init__(
        self, first_step, last_step, every, *, title, folder, writer, provenance
    ):
        super().__init__(first_step, last_step, every)
        self.title = title
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(exist_ok=True)
        self.writer = writer
        self.provenance = provenance
        for path in self.folder.glob("step-*.png"):
            if int(re.sub(r"\D", "", path.stem) or 0) > first_step:
                path.unlink()

    def sheet(self, step: int) -> np.ndarray:
        """Paints the sheet of a step: np.uint8 [H, W, 3]."""
        raise NotImplementedError

    def on_step(self, step, logs):
        sheet = self.sheet(step)
        text = {**self.provenance, "synthetic": "true", "step": str(step)}
        atomic_write(self.folder / f"step-{step:06d}.png", encode_png(sheet, text))
        with self.writer.as_default(step=step):
            tf.summary.image(self.title, sheet[None])
        self.writer.flush()


class MapSheets(SampleSheets):
    """Sheets of maps, their photographs, and what is painted from the maps.

    Args:
        first_step, last_step, every, folder, writer, provenance: as of `SampleSheets`.
        paint: function of semantic maps, float32 [N, S, S, 3] in [-1, 1], and seeds,
            int32 [N], that gives images like the maps.
        pairs: a few pairs as from `read_pairs`.
    """

    def __init__(self, *span, paint, pairs, **kwargs):
        super().__init__(*span, title="held-out maps", **kwargs)
        self.paint = paint
        self._maps = [pair["semantic_map"] for pair in pairs]
        self._photos = [pair["image"] for pair in pairs]
        self._labels = [
            f"{pair['condition']}\nskin {FITZPATRICK_NUMERALS[pair['fitzpatrick']]}"
            for pair in pairs
        ]

    def sheet(self, step):
        maps = np.stack(self._maps).astype(np.float32) / 127.5 - 1
        seeds = np.arange(len(maps), dtype=np.int32)
        images = self.paint(tf.constant(maps), tf.constant(seeds)).numpy()
        return contact_sheet(
            list(zip(self._maps, self._photos, as_bytes(images), strict=True)),
            row_labels=self._labels,
            column_labels=["map", "real", "synthetic"],
            title=f"step {step:,}",
        )


def as_bytes(images: np.ndarray) -> np.ndarray:
    """Images of [-1, 1] as np.uint8, 0…255.

    A diverging generator paints NaN; the loss check says so, not this.
    """
    images = np.nan_to_num(np.round((images + 1) * 127.5))
    return np.clip(images, 0, 255).astype(np.uint8)


class CheckpointSaver(StepCallback):
    """Saves checkpoints of a state that is known to be finite; keeps the best.

    One that is saved because of a stop is not validated: a stop may be short of time,
    and must leave no trace in a run that goes on.

    Args:
        first_step, last_step, every: as of `StepCallback`.
        checkpoints: where to.
        step_variable: the tf.Variable in the checkpoint that holds the step.
        loss_log: checks the losses.
        validation: measures what decides which checkpoint is the best; None for no
            best one.
        stop_requested: asked after every step; when true, the run is saved and stopped.
    """

    def __init__(
        self,
        first_step: int,
        last_step: int,
        every: int,
        *,
        checkpoints: Checkpoints,
        step_variable: tf.Variable,
        loss_log: LossLog,
        validation: Validation | None,
        stop_requested: Callable[[], bool],
    ):
        super().__init__(first_step, last_step, every)
        self.checkpoints = checkpoints
        self.step_variable = step_variable
        self.loss_log = loss_log
        self.validation = validation
        self.stop_requested = stop_requested
        self._saved = first_step

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, logs)
        if self.stop_requested():
            self.model.stop_training = True
            if self._saved < self.step:
                self.check(self.step, logs)
                self.save(self.step)

    def on_step(self, step, logs):
        self.check(step, logs)
        if self.validation:
            loss = self.validation.measure(step)
            if not math.isfinite(loss):
                raise TrainingDiverged(
                    f"training diverged: validation gives {loss} at step {step}"
                )
        self.save(step)

    def check(self, step: int, logs: dict[str, Any]) -> None:
        """Raises TrainingDiverged if a loss, a weight or a moment is not finite."""
        # Losses are those before the update: look at what the update made of them too.
        self.loss_log.check(step, logs)
        for kind, variables in self.watched().items():
            for variable in variables:
                value = tf.convert_to_tensor(variable.value)
                if not value.dtype.is_floating:
                    continue
                if not bool(tf.reduce_all(tf.math.is_finite(value))):
                    raise TrainingDiverged(
                        f"training diverged: {kind} {variable.path} is not finite at "
                        f"step {step}"
                    )

    def watched(self) -> dict[str, list[keras.Variable]]:
        """The variables that have to be finite, by kind."""
        return {
            "weight": [
                variable
                for network in self.model.networks().values()
                for variable in network.trainable_variables
            ],
            # An infinite second moment stops its weight for good, and nothing shows.
            "moment": self.model.generator_optimizer.variables
            + self.model.discriminator_optimizer.variables,
        }

    def save(self, step: int) -> None:
        """Saves a checkpoint, and keeps the best one besides the last."""
        also_keep = []
        if self.validation:
            steps = [*self.checkpoints.saved_steps(), step]
            also_keep = [self.validation.best_step(steps)]
        self.step_variable.assign(step)
        self.checkpoints.save(step, also_keep)
        self._saved = step


class ProgressBar(keras.callbacks.Callback):
    """Moves a progress bar by one a step; see `dermgan_tf.progress`.

    Args:
        first_step, last_step: as of `StepCallback`.
        progress: makes the bar.
        loss_log: knows the losses as logged last.
        shown: names of those that the bar shows.
    """

    def __init__(
        self,
        first_step: int,
        last_step: int,
        *,
        progress: Callable,
        loss_log: LossLog,
        shown: Sequence[str] = ("generator_loss", "discriminator_loss"),
    ):
        super().__init__()
        steps = range(first_step, last_step)
        self._bar = progress(steps, total=len(steps), desc="training")
        self._steps = iter(self._bar)
        self._loss_log = loss_log
        self._names = shown
        self._shown: dict[str, float] = {}

    def on_train_begin(self, logs=None):
        next(self._steps, None)

    def on_train_batch_end(self, batch, logs=None):
        for _ in range(self.model.steps_per_execution):
            next(self._steps, None)
        losses = self._loss_log.losses
        if losses and losses is not self._shown and hasattr(self._bar, "set_postfix"):
            self._shown = losses  # tqdm has a place for them
            self._bar.set_postfix(
                {n.removesuffix("_loss"): f"{losses[n]:.3g}" for n in self._names},
                refresh=False,
            )

    def close(self) -> None:
        """Leaves the bar where it stands."""
        if hasattr(self._bar, "close"):
            self._bar.close()


def choose_sample_pairs(
    pairs: Iterable[dict[str, Any]], count: int = 8, look_at: int = 400
) -> list[dict[str, Any]]:
    """Takes `count` of the first `look_at` pairs, as unlike each other as can be.

    Each condition comes once, then its other skin types, then the rest.
    """
    seen = set()
    tiers: tuple[list, list, list] = ([], [], [])
    for pair in itertools.islice(pairs, look_at):
        condition = pair["condition"]
        look = condition, pair["fitzpatrick"]
        tier = tiers[(condition in seen) + (look in seen)]
        if len(tier) < count:
            tier.append(pair)
        seen |= {condition, look}
        if len(tiers[0]) == count:
            break
    chosen = [pair for tier in tiers for pair in tier][:count]
    return sorted(chosen, key=lambda pair: (pair["condition"], pair["fitzpatrick"]))
