"""The steps of a classifier's training: its data, and what happens beside the steps."""

import pathlib
from collections.abc import Callable

import tensorflow as tf

from dermgan_tf.classifier.batches import TrainingImages, training_batches
from dermgan_tf.classifier.labelled_images import LabelledImages
from dermgan_tf.classifier.model import (
    ClassifierSaver,
    ClassifierTrainer,
    ClassifierValidation,
    PhaseSwitch,
)
from dermgan_tf.training.callbacks import (
    LossLog,
    ProgressBar,
    TrainingDiverged,
    UnsyncedCallbackList,
)
from dermgan_tf.training.checkpoints import Checkpoints
from dermgan_tf.training.logs import summary_writer
from dermgan_tf.training.optimizer_log import OptimizerLog
from dermgan_tf.training.run_folder import HISTORY_FILE, VALIDATION_FILE


def run_steps(
    trainer: ClassifierTrainer,
    images: TrainingImages,
    validation: LabelledImages,
    folder: pathlib.Path,
    *,
    span: tuple[int, int],
    augment: str,
    checkpoints: Checkpoints,
    step_variable: tf.Variable,
    validate_every: int,
    log_every: int,
    stop_requested: Callable[[], bool],
    progress: Callable,
) -> tuple[int, float]:
    """Trains from the first to the last step of `span`.

    Args:
        trainer: compiled, in the state of the first step.
        images: what is trained on.
        validation: what decides which checkpoint is the best.
        folder: of the run, where logs go.
        span: the step that was reached before, and the one to train to.
        checkpoints: of the whole state, the trainer's and `step_variable`'s.
        augment, validate_every, log_every, stop_requested, progress: as of
            `train_classifier`.

    Returns:
        The step reached, and the images per second.
    """
    first_step, last_step = span
    writer = summary_writer(folder / "tensorboard", first_step)
    log = LossLog(
        *span,
        log_every,
        path=folder / HISTORY_FILE,
        writer=writer,
        batch_size=images.batch_size,
    )
    optimizers = {"head": trainer.head_optimizer, "whole": trainer.whole_optimizer}
    saver = ClassifierSaver(
        *span,
        validate_every,
        checkpoints=checkpoints,
        step_variable=step_variable,
        loss_log=log,
        validation=ClassifierValidation(
            folder / VALIDATION_FILE,
            first_step,
            trainer=trainer,
            images=validation,
            writer=writer,
        ),
        stop_requested=stop_requested,
    )
    bar = ProgressBar(
        *span, progress=progress, loss_log=log, shown=("loss", "accuracy")
    )
    callbacks = [
        PhaseSwitch(first_step),
        OptimizerLog(*span, log_every, optimizers=optimizers, writer=writer),
        log,
        saver,
        bar,
    ]
    trainer.set_step(first_step)
    try:
        trainer.fit(
            training_batches(images, augment, *span),
            steps_per_epoch=last_step - first_step,
            shuffle=False,  # the batches are in random order already
            verbose=0,
            callbacks=UnsyncedCallbackList(callbacks, add_history=True, model=trainer),
        )
    except TrainingDiverged as error:
        raise TrainingDiverged(
            f"{error}; lower --learning_rate and start again in another folder"
        ) from error
    finally:
        bar.close()
        writer.close()
    return saver.step, log.mean_speed()
