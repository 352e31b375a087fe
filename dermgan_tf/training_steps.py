"""The steps of a DermGAN's training: its data, and what happens beside the steps."""

import os
import pathlib
from collections.abc import Callable

import tensorflow as tf
from absl import logging

from dermgan_tf.checkpoints import Checkpoints
from dermgan_tf.corrupt_records import Damage
from dermgan_tf.dermgan import DermGAN
from dermgan_tf.optimizer_log import OptimizerLog
from dermgan_tf.pairs import (
    PairsInfo,
    load_pairs,
    read_pairs,
    read_pairs_info,
    require_sound_records,
)
from dermgan_tf.run_folder import HISTORY_FILE, VALIDATION_FILE
from dermgan_tf.training_callbacks import (
    CheckpointSaver,
    LossLog,
    ProgressBar,
    SampleSheets,
    TrainingDiverged,
    UnsyncedCallbackList,
    choose_sample_pairs,
)
from dermgan_tf.training_logs import summary_writer
from dermgan_tf.validation import SPLIT as VALIDATION_SPLIT
from dermgan_tf.validation import Validation


def run_steps(
    gan: DermGAN,
    data_dir: str | os.PathLike,
    folder: pathlib.Path,
    *,
    span: tuple[int, int],
    batch_size: int,
    seed: int,
    checkpoints: Checkpoints,
    step_variable: tf.Variable,
    checkpoint_every: int,
    sample_every: int,
    log_every: int,
    skip_corrupt_records: bool,
    stop_requested: Callable[[], bool],
    progress: Callable,
) -> tuple[int, float, tuple[Damage, ...]]:
    """Trains from the first to the last step of `span`.

    Args:
        gan: compiled, in the state of the first step.
        data_dir: the pairs.
        folder: of the run, where logs and samples go.
        span: the step that was reached before, and the one to train to.
        checkpoints: of the whole state, the GAN's and `step_variable`'s.
        batch_size, seed, checkpoint_every, sample_every, log_every,
            skip_corrupt_records, stop_requested, progress: as of `train_gan`.

    Returns:
        The step reached, the images per second, and the pairs left out.
    """
    first_step, last_step = span
    info = read_pairs_info(data_dir)
    dataset = load_pairs(
        data_dir,
        "train",
        batch_size,
        repeat=True,
        seed=seed,
        start_step=first_step,
        skip_corrupt_records=skip_corrupt_records,
    )
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
        optimizers={
            "generator": gan.generator_optimizer,
            "discriminator": gan.discriminator_optimizer,
        },
        writer=writer,
    )
    # One graph for all painting: it needs less memory than going layer by layer.
    paint = tf.function(lambda maps, seeds: gan(maps, seed=seeds))
    callbacks = [optimizers, log]
    if sample_every:
        samples = SampleSheets(
            *span,
            sample_every,
            paint=paint,
            pairs=choose_sample_pairs(
                read_pairs(
                    data_dir,
                    _sample_split(info),
                    skip_corrupt_records=skip_corrupt_records,
                )
            ),
            folder=folder / "samples",
            writer=writer,
            provenance={"data_fingerprint": info.fingerprint},
        )
        callbacks.append(samples)
    saver = CheckpointSaver(
        *span,
        checkpoint_every,
        checkpoints=checkpoints,
        step_variable=step_variable,
        loss_log=log,
        validation=_validation(
            info,
            gan,
            paint,
            data_dir,
            folder,
            first_step,
            writer,
            skip_corrupt_records,
        ),
        stop_requested=stop_requested,
    )
    bar = ProgressBar(*span, progress=progress, loss_log=log)
    callbacks += [saver, bar]
    try:
        gan.fit(
            dataset,
            steps_per_epoch=last_step - first_step,
            shuffle=False,  # load_pairs did
            verbose=0,
            callbacks=UnsyncedCallbackList(callbacks, add_history=True, model=gan),
        )
    except TrainingDiverged as error:
        raise TrainingDiverged(
            f"{error}; {_describe_last(checkpoints)}; lower the learning rates (they "
            f"may change) and start again"
        ) from error
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError):
        require_sound_records(data_dir, "train")
        raise
    finally:
        bar.close()
        writer.close()
    return saver.step, log.mean_speed(), dataset.damages


def _validation(
    info: PairsInfo,
    gan: DermGAN,
    paint: Callable,
    data_dir: str | os.PathLike,
    folder: pathlib.Path,
    first_step: int,
    writer: tf.summary.SummaryWriter,
    skip_corrupt_records: bool,
) -> Validation | None:
    """What decides which checkpoint is the best; None where nothing can."""
    if not info.counts.get(VALIDATION_SPLIT):
        logging.warning("no best checkpoint is kept: there is no validation split")
        return None
    if not (gan.lambdas["reconstruction"] or gan.lambdas["condition"]):
        logging.warning("no best checkpoint is kept: both weights of its loss are 0")
        return None
    return Validation(
        folder / VALIDATION_FILE,
        first_step,
        paint=paint,
        data_dir=data_dir,
        loss_weights=gan.lambdas,
        writer=writer,
        skip_corrupt_records=skip_corrupt_records,
    )


def _sample_split(info: PairsInfo) -> str:
    """The split to paint samples of: one not trained on, if there is any."""
    return next(
        name for name in ("validation", "test", "train") if info.counts.get(name)
    )


def _describe_last(checkpoints: Checkpoints) -> str:
    saved = checkpoints.saved_steps()
    if not saved:
        return "no checkpoint was saved yet"
    return f"the last good checkpoint, of step {saved[-1]}, is kept"
