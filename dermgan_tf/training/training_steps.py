"""The steps of an adversarial training, and what happens beside the steps."""

import pathlib
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from dermgan_tf.models.dermgan.validation import Validation
from dermgan_tf.pairs.corrupt_records import Damage
from dermgan_tf.training.callbacks import (
    CheckpointSaver,
    LossLog,
    ProgressBar,
    TrainingDiverged,
    UnsyncedCallbackList,
)
from dermgan_tf.training.checkpoints import Checkpoints
from dermgan_tf.training.logs import summary_writer
from dermgan_tf.training.model import PLAYERS, AdversarialModel
from dermgan_tf.training.optimizer_log import OptimizerLog
from dermgan_tf.training.run_folder import HISTORY_FILE


class AdversarialTask:
    """What an adversarial training trains, and on what.

    Attributes:
        settings: dict. All that decides what the weights mean, for model.json, beside
            `RunOptions.settings`; with "data_fingerprint", and the weights by loss
            under "loss_weights".
        data_name: str. What messages call the data: "pairs".
        adam_beta_2: float, 0 ≤ β < 1. Adam's decay of the second moment.
    """

    settings: dict[str, Any]
    data_name: str = "data"
    adam_beta_2: float = 0.999

    def build(self, base_filters: int, seed: int, ema_decay: float) -> AdversarialModel:
        """Builds the networks and the model; ValueError says what cannot be built."""
        raise NotImplementedError

    def batches(self, start_step: int) -> tf.data.Dataset:
        """Endless batches from that step on; what was left out is in `.damages`."""
        raise NotImplementedError

    def require_sound_data(self) -> None:
        """Raises InputError for corrupt records: asked when reading has failed."""

    def watchers(
        self,
        model: AdversarialModel,
        folder: pathlib.Path,
        span: tuple[int, int],
        sample_every: int,
        writer: tf.summary.SummaryWriter,
    ) -> tuple[list[keras.callbacks.Callback], Validation | None]:
        """Makes what looks at the run's images.

        Args:
            model: in the state of the span's first step.
            folder: of the run.
            span: the step that was reached before, and the one to train to.
            sample_every: int, in steps; 0 for no sheets of samples.
            writer: of TensorBoard's logs.

        Returns:
            Callbacks that paint samples; and what decides which checkpoint is the best,
            or None.
        """
        return [], None


def run_steps(
    model: AdversarialModel,
    task: AdversarialTask,
    folder: pathlib.Path,
    *,
    span: tuple[int, int],
    batch_size: int,
    checkpoints: Checkpoints,
    step_variable: tf.Variable,
    checkpoint_every: int,
    sample_every: int,
    log_every: int,
    stop_requested: Callable[[], bool],
    progress: Callable,
) -> tuple[int, float, tuple[Damage, ...]]:
    """Trains from the first to the last step of `span`.

    Args:
        model: compiled, in the state of the first step.
        task: gives the data, and looks at the images.
        folder: of the run, where logs and samples go.
        span: the step that was reached before, and the one to train to.
        checkpoints: of the whole state, the model's and `step_variable`'s.
        batch_size, checkpoint_every, sample_every, log_every, stop_requested, progress:
            as of `RunOptions`.

    Returns:
        The step reached, the images per second, and the examples left out.
    """
    first_step, last_step = span
    dataset = task.batches(first_step)
    writer = summary_writer(folder / "tensorboard", first_step)
    log = LossLog(
        *span,
        log_every,
        path=folder / HISTORY_FILE,
        writer=writer,
        batch_size=batch_size,
    )
    optimizers = OptimizerLog(
        *span,
        log_every,
        optimizers={player: model.optimizer_of(player) for player in PLAYERS},
        writer=writer,
    )
    samplers, validation = task.watchers(model, folder, span, sample_every, writer)
    saver = CheckpointSaver(
        *span,
        checkpoint_every,
        checkpoints=checkpoints,
        step_variable=step_variable,
        loss_log=log,
        validation=validation,
        stop_requested=stop_requested,
    )
    bar = ProgressBar(*span, progress=progress, loss_log=log)
    callbacks = [optimizers, log, *samplers, saver, bar]
    try:
        model.fit(
            dataset,
            steps_per_epoch=last_step - first_step,
            shuffle=False,  # the data set did
            verbose=0,
            callbacks=UnsyncedCallbackList(callbacks, add_history=True, model=model),
        )
    except TrainingDiverged as error:
        raise TrainingDiverged(
            f"{error}; {_describe_last(checkpoints)}; lower the learning rates (they "
            f"may change) and start again"
        ) from error
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError):
        task.require_sound_data()
        raise
    finally:
        bar.close()
        writer.close()
    return saver.step, log.mean_speed(), dataset.damages


def _describe_last(checkpoints: Checkpoints) -> str:
    saved = checkpoints.saved_steps()
    if not saved:
        return "no checkpoint was saved yet"
    return f"the last good checkpoint, of step {saved[-1]}, is kept"
