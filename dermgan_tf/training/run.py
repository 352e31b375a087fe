"""A run of an adversarial training: begun, watched, stopped, gone on with.

What is trained on what is an `AdversarialTask`; the rest is the same for all of them.
"""

import contextlib
import dataclasses
import math
import os
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import tensorflow as tf
from absl import logging
from tensorflow.python.framework.ops import gradient_registry

from dermgan_tf.errors import Damage, InputError
from dermgan_tf.output_folder import write_json
from dermgan_tf.progress import silent
from dermgan_tf.training.callbacks import (
    CheckpointSaver,
    LossLog,
    ProgressBar,
    TrainingDiverged,
    UnsyncedCallbackList,
    Validation,
)
from dermgan_tf.training.checkpoints import Checkpoints, saved_steps
from dermgan_tf.training.logs import best_step, last_losses, summary_writer
from dermgan_tf.training.model import (
    DEFAULT_LEARNING_RATES,
    PLAYERS,
    AdversarialModel,
)
from dermgan_tf.training.optimizer import (
    MIXED_PRECISION,
    Adam,
    ConstantThenLinear,
    dtype_policy,
)
from dermgan_tf.training.optimizer_log import OptimizerLog
from dermgan_tf.training.options import (
    require_choices,
    require_counts,
    require_equal_shares,
    require_rates,
)
from dermgan_tf.training.run_folder import (
    CHECKPOINTS,
    HISTORY_FILE,
    MODEL_FILE,
    VALIDATION_FILE,
    check_span,
    read_earlier,
    remove_run,
    require_same,
    run_folder,
)
from dermgan_tf.training.workers import (
    asked_anywhere,
    chief_first,
    lost_workers_named,
    require_same_everywhere,
)


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


def never() -> bool:
    """The answer of a run that nobody stops."""
    return False


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """How an adversarial training runs, whatever it trains.

    Args:
        steps: int. The step to train to, counted from the beginning of the run. May
            grow from one call to the next.
        batch_size: int. Images (of each domain) per step, over all replicas together.
        base_filters: int. Filters of the networks' first blocks.
        generator_learning_rate, discriminator_learning_rate: float, of Adam. May
            change from one call to the next.
        decay_steps: int, 0…steps. Over this many steps at the end the learning rates
            fall linearly to 0 (see `dermgan_tf.training.optimizer`); by default half of
            `steps`, the share in the pix2pix authors' PyTorch code. May change from one
            call to the next, as `steps` may: the rate of a step follows from what this
            call asks for, so a finished run that goes on goes up again. Steps that
            float16 skips do not count.
        adam_beta_1: float, 0 ≤ β < 1. Adam's decay of the first moment; 0.5 in pix2pix.
        ema_decay: float, 0…1, per step. Of the generators' averaged weights; 0: none.
        seed: int. Decides initial weights, data order, augmentation and dropout.
        deterministic: bool. Whether only operations with reproducible results are used
            (slower on GPUs), so that a run killed and continued ends with the very
            weights of one never interrupted. Stays on for the process.
        mixed_precision: "none" (float32), "bfloat16" or "float16" computations.
        jit_compile: bool. Whether XLA compiles the training step.
        steps_per_execution: int. Steps that run on the device without coming back;
            more than 1 pays off on TPUs.
        strategy: from `make_strategy`; by default one device.
        checkpoint_every: int, in steps.
        keep_checkpoints: int. How many of the last are kept, besides the best one.
        sample_every: int, in steps. How often a sheet is painted; 0 for never.
        log_every: int, in steps. How often losses are logged and checked; TensorBoard
            gets the learning rates and the norms of gradients and updates too.
        skip_corrupt_records: bool. Whether to leave out examples whose records are
            corrupt rather than to fail; see `load_pairs`. May change from one call to
            the next.
        overwrite: bool. Whether to delete the run in the folder and start anew.
        stop_requested: asked after every step; once true, the run is saved and ends.
            With several workers all end together, as soon as one of them is asked.
        progress: see `dermgan_tf.progress`.
    """

    steps: int
    batch_size: int
    base_filters: int = 64
    generator_learning_rate: float = DEFAULT_LEARNING_RATES["generator"]
    discriminator_learning_rate: float = DEFAULT_LEARNING_RATES["discriminator"]
    decay_steps: int | None = None
    adam_beta_1: float = 0.5
    ema_decay: float = 0.999
    seed: int = 0
    deterministic: bool = False
    mixed_precision: str = "none"
    jit_compile: bool = False
    steps_per_execution: int = 1
    strategy: tf.distribute.Strategy | None = None
    checkpoint_every: int = 500
    keep_checkpoints: int = 2
    sample_every: int = 500
    log_every: int = 50
    skip_corrupt_records: bool = False
    overwrite: bool = False
    stop_requested: Callable[[], bool] = never
    progress: Callable = silent

    def settled(self) -> "RunOptions":
        """These options with what follows from others filled in.

        Raises:
            InputError: naming the first that cannot be.
        """
        counts = ("steps", "batch_size", "base_filters", "steps_per_execution")
        counts += ("checkpoint_every", "keep_checkpoints", "log_every")
        require_counts({name: getattr(self, name) for name in counts})
        decay_steps = self.steps // 2 if self.decay_steps is None else self.decay_steps
        if not 0 <= decay_steps <= self.steps:
            raise InputError(
                f"decay_steps must be 0 to steps ({self.steps}), got {decay_steps}"
            )
        rates = [f"{player}_learning_rate" for player in PLAYERS]
        require_rates({name: getattr(self, name) for name in rates})
        if not 0 <= self.adam_beta_1 < 1:
            raise InputError(
                f"adam_beta_1 must be 0 or more, below 1, got {self.adam_beta_1}"
            )
        require_choices({"mixed_precision": (self.mixed_precision, MIXED_PRECISION)})
        if self.deterministic and self.jit_compile:
            raise InputError(
                "deterministic and jit_compile exclude each other: XLA does not "
                "promise reproducible results"
            )
        strategy = self.strategy or tf.distribute.get_strategy()
        replicas = strategy.num_replicas_in_sync
        require_equal_shares(self.batch_size, replicas)
        if self.jit_compile and replicas > 1:
            raise InputError(
                f"jit_compile is for one device, these are {replicas}; a TPU compiles "
                f"without it"
            )
        return dataclasses.replace(self, decay_steps=decay_steps, strategy=strategy)

    def settings(self) -> dict[str, Any]:
        """What of this decides the weights, for model.json."""
        names = ("base_filters", "seed", "batch_size", "adam_beta_1", "ema_decay")
        names += ("mixed_precision", *(f"{player}_learning_rate" for player in PLAYERS))
        return {name: getattr(self, name) for name in (*names, "steps", "decay_steps")}


@dataclasses.dataclass(frozen=True)
class TrainingResult:
    """What a call of a training did.

    Args:
        model_dir: pathlib.Path. Where everything lies.
        step: int. Training steps done, by this call and those before.
        first_step: int. The step that this call went on from; 0 for a new run.
        steps: int. The step that was asked for; more than `step` after a stop.
        losses: dict. The losses as logged last: means over the last logging interval.
        best_step: int. The step of the best checkpoint; None if none was measured.
        images_per_second: float. Training images over time, from the second step of
            this call to its last, checkpoints and samples included; NaN for fewer.
        seconds: dict. How long reading, compiling and training took, by name.
        data_fingerprint: str. Of the data.
        damages: tuple of Damage. Training examples that were left out, by shard.
    """

    model_dir: pathlib.Path
    step: int
    first_step: int
    steps: int
    losses: dict[str, float]
    best_step: int | None
    images_per_second: float
    seconds: dict[str, float]
    data_fingerprint: str
    damages: tuple[Damage, ...]


def rising_rates(
    earlier: Mapping[str, Any], options: RunOptions, first_step: int
) -> str | None:
    """Says so where learning rates that had fallen rise again.

    That is what happens to a run that is finished, or nearly, and is asked for more
    steps: the fall begins later now.

    Args:
        earlier: what model.json says of the run; {} for a new one.
        options: of this call; `settled`.
        first_step: int. The steps done.

    Returns:
        One line; None where no rate rises.
    """
    if not first_step or "decay_steps" not in earlier:
        return None
    rises = []
    for player in PLAYERS:
        name = f"{player}_learning_rate"
        was = ConstantThenLinear(
            earlier[name], earlier["steps"], earlier["decay_steps"]
        )
        rate = getattr(options, name)
        becomes = ConstantThenLinear(rate, options.steps, options.decay_steps)
        before, now = float(was(first_step - 1)), float(becomes(first_step))
        if now > before * 1.000001:
            rises.append(f"{player} {before:.3g} to {now:.3g}")
    if not rises:
        return None
    return (
        f"learning rates rise again at step {first_step} ({', '.join(rises)}): the run "
        f"was to end at step {earlier['steps']}, and is to end at {options.steps} now"
    )


def run_training(
    task: AdversarialTask, model_dir: str | os.PathLike, options: RunOptions
) -> TrainingResult:
    """Trains, or goes on with the training that `model_dir` holds.

    Called again with the same arguments after a kill, it continues from the newest
    checkpoint: at its step, with the data that would have come next. Files in
    `model_dir`: model.json (what was trained on what), checkpoints/, tensorboard/,
    samples/, history.csv (losses), validation.csv where there is a validation, and
    after the last step <network>.weights.h5 and <generator>_ema.weights.h5.

    The seed sets Python's, NumPy's and TensorFlow's global random states.

    Args:
        task: what is trained on what.
        model_dir: folder of the run; made if absent.
        options: how; `settled`.

    Raises:
        InputError: for data or settings that differ from those the run began with, a
            corrupt record, a folder in use, a full disk, or losses that are not finite
            (the last good checkpoint stays).
    """
    started = time.monotonic()
    strategy, steps = options.strategy, options.steps
    settings = {**task.settings, **options.settings()}
    with (
        _custom_gradients_forgotten(),
        run_folder(model_dir, strategy) as (folder, own_folder),
        lost_workers_named(strategy),
    ):
        with chief_first(strategy):
            if options.overwrite and folder == own_folder:
                remove_run(folder)
            earlier = read_earlier(folder)
            if earlier.get("trained_steps") or (folder / CHECKPOINTS).exists():
                require_same(earlier, settings, folder)
        same = ("deterministic", "jit_compile", "steps_per_execution")
        same += ("checkpoint_every", "log_every", "skip_corrupt_records")
        require_same_everywhere(
            strategy,
            {**settings, **{name: getattr(options, name) for name in same}},
            f"give all workers the same command and the same {task.data_name}",
        )

        keras.utils.set_random_seed(options.seed % 2**32)
        if options.deterministic:
            tf.config.experimental.enable_op_determinism()
        with strategy.scope(), dtype_policy(MIXED_PRECISION[options.mixed_precision]):
            model = _build(task, options)
            step_variable = tf.Variable(0, dtype=tf.int64, trainable=False)
        state = model.state(step_variable)
        with chief_first(strategy):  # which removes damaged ones
            first_step = Checkpoints(
                folder / CHECKPOINTS, options.keep_checkpoints, **state
            ).restore()
        require_same_everywhere(
            strategy,
            {"newest checkpoint": first_step},
            "let all workers reach the same model_dir, in a storage they share",
        )
        check_span(first_step, steps, options.steps_per_execution, earlier, folder)
        if told := rising_rates(earlier, options, first_step):
            logging.warning("%s", told)
        settings["trained_steps"] = first_step
        write_json(own_folder / MODEL_FILE, settings)

        seconds = {"preparing": time.monotonic() - started}
        step, speed, damages = first_step, math.nan, ()
        if first_step < steps:
            step, speed, damages = run_steps(
                model,
                task,
                own_folder,
                span=(first_step, steps),
                batch_size=options.batch_size,
                checkpoints=Checkpoints(
                    own_folder / CHECKPOINTS, options.keep_checkpoints, **state
                ),
                step_variable=step_variable,
                checkpoint_every=options.checkpoint_every,
                sample_every=options.sample_every,
                log_every=options.log_every,
                stop_requested=asked_anywhere(strategy, options.stop_requested),
                progress=options.progress,
            )
        save_final_weights(model, own_folder)
        settings["trained_steps"] = step
        write_json(own_folder / MODEL_FILE, settings)
        seconds["training"] = time.monotonic() - started - seconds["preparing"]
        return TrainingResult(
            model_dir=pathlib.Path(model_dir),
            step=step,
            first_step=first_step,
            steps=steps,
            losses=last_losses(own_folder / HISTORY_FILE),
            best_step=best_step(
                own_folder / VALIDATION_FILE, saved_steps(own_folder / CHECKPOINTS)
            ),
            images_per_second=speed,
            seconds=seconds,
            data_fingerprint=settings["data_fingerprint"],
            damages=damages,
        )


def save_final_weights(model: AdversarialModel, folder: str | os.PathLike) -> None:
    """Writes the networks' weights, each file whole or not at all."""
    averages = {f"{name}_ema": network for name, network in model.averages().items()}
    for name, network in {**model.networks(), **averages}.items():
        path = pathlib.Path(folder) / f"{name}.weights.h5"
        aside = path.with_name(f".{name}.partial.weights.h5")
        try:
            network.save_weights(aside)
            os.replace(aside, path)
        finally:
            aside.unlink(missing_ok=True)


def _build(task: AdversarialTask, options: RunOptions) -> AdversarialModel:
    try:
        model = task.build(options.base_filters, options.seed, options.ema_decay)
        optimizers: Mapping[str, Adam] = {
            f"{player}_optimizer": Adam(
                ConstantThenLinear(
                    getattr(options, f"{player}_learning_rate"),
                    options.steps,
                    options.decay_steps,
                ),
                beta_1=options.adam_beta_1,
                beta_2=task.adam_beta_2,
            )
            for player in PLAYERS
        }
        model.compile(
            **optimizers,
            loss_weights=task.settings["loss_weights"],
            jit_compile=options.jit_compile,
            steps_per_execution=options.steps_per_execution,
        )
    except ValueError as error:  # the networks say what is wrong with an argument
        raise InputError(str(error)) from error
    return model


@contextlib.contextmanager
def _custom_gradients_forgotten() -> Iterator[None]:
    """Lets go of what was trained within, some 0.3 GB at 64 pixels and 48 filters.

    `tf.custom_gradient` files a function for each of its uses in a graph, and never
    takes it out again; the function holds the graph, and that all variables.
    """
    filed = gradient_registry._registry
    before = set(filed)
    try:
        yield
    finally:
        for name in [name for name in filed if name not in before]:
            if name.startswith("CustomGradient-"):
                del filed[name]
