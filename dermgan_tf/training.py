"""Training of DermGAN on a pairs folder: resumable, watched, on one device or many."""

import contextlib
import dataclasses
import json
import math
import os
import pathlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import tensorflow as tf

from dermgan_tf.checkpoints import Checkpoints
from dermgan_tf.dermgan import DEFAULT_LEARNING_RATE, DEFAULT_LOSS_WEIGHTS, DermGAN
from dermgan_tf.discriminator import build_discriminator
from dermgan_tf.errors import InputError
from dermgan_tf.generator import build_generator
from dermgan_tf.output_folder import (
    atomic_write,
    locked_folder,
    tensorflow_errors_as_os_errors,
)
from dermgan_tf.pairs import (
    PairsInfo,
    damaged_shards,
    load_pairs,
    read_pairs,
    read_pairs_info,
)
from dermgan_tf.progress import silent
from dermgan_tf.strategies import is_chief
from dermgan_tf.training_callbacks import (
    CheckpointSaver,
    LossLog,
    ProgressBar,
    SampleSheets,
    TrainingDiverged,
    UnsyncedCallbackList,
    choose_sample_pairs,
    cut_summaries,
    read_history,
)
from dermgan_tf.vocabulary import Vocabulary

MIXED_PRECISION = {
    "none": "float32",
    "bfloat16": "mixed_bfloat16",
    "float16": "mixed_float16",
}
MODEL_FILE = "model.json"
HISTORY_FILE = "history.csv"
CHECKPOINTS = "checkpoints"
# What may change when a run goes on. All else decides what the weights mean, or how the
# steps done so far were made.
_CHANGEABLE = ("steps", "generator_learning_rate", "discriminator_learning_rate")


@dataclasses.dataclass(frozen=True)
class TrainingResult:
    """What a call of `train_gan` did.

    Args:
        model_dir: pathlib.Path. Where everything lies.
        step: int. Training steps done, by this call and those before.
        first_step: int. The step that this call went on from; 0 for a new run.
        steps: int. The step that was asked for; more than `step` after a stop.
        losses: dict. The losses as logged last: means over the last logging interval.
        images_per_second: float. Training images over time, from the second step of
            this call to its last, checkpoints and samples included; NaN for fewer.
        seconds: dict. How long reading, compiling and training took, by name.
        data_fingerprint: str. Of the pairs.
    """

    model_dir: pathlib.Path
    step: int
    first_step: int
    steps: int
    losses: dict[str, float]
    images_per_second: float
    seconds: dict[str, float]
    data_fingerprint: str


def train_gan(
    data_dir: str | os.PathLike,
    model_dir: str | os.PathLike,
    *,
    steps: int,
    batch_size: int,
    base_filters: int = 64,
    upsampling: str = "resize_conv",
    loss_weights: Mapping[str, float] | None = None,
    generator_learning_rate: float = DEFAULT_LEARNING_RATE,
    discriminator_learning_rate: float = DEFAULT_LEARNING_RATE,
    adam_beta_1: float = 0.5,
    ema_decay: float = 0.999,
    seed: int = 0,
    deterministic: bool = False,
    mixed_precision: str = "none",
    jit_compile: bool = False,
    steps_per_execution: int = 1,
    strategy: tf.distribute.Strategy | None = None,
    checkpoint_every: int = 500,
    keep_checkpoints: int = 2,
    sample_every: int = 500,
    log_every: int = 50,
    overwrite: bool = False,
    stop_requested: Callable[[], bool] = lambda: False,
    progress: Callable = silent,
) -> TrainingResult:
    """Trains a DermGAN on pairs, or goes on with the training that `model_dir` holds.

    Called again with the same arguments after a kill, it continues from the newest
    checkpoint: at its step, with the data that would have come next. Files in
    `model_dir`: model.json (what was trained on what), checkpoints/, tensorboard/,
    samples/ (sheets of held-out maps), history.csv (losses), and after the last step
    generator.weights.h5, discriminator.weights.h5 and generator_ema.weights.h5.

    The seed sets Python's, NumPy's and TensorFlow's global random states.

    Args:
        data_dir: a folder that `prepare_pairs` wrote.
        model_dir: folder of the run; made if absent.
        steps: int. The step to train to, counted from the beginning of the run. May
            grow from one call to the next.
        batch_size: int. Pairs per step, over all replicas together.
        base_filters: int. Filters of the networks' first blocks; 64 in the paper.
        upsampling: "resize_conv" or "transposed_conv".
        loss_weights: as of `DermGAN.compile`.
        generator_learning_rate, discriminator_learning_rate: float, > 0, of Adam. May
            change from one call to the next.
        adam_beta_1: float, 0…1. Adam's decay of the first moment; 0.5 in pix2pix.
        ema_decay: float, 0…1, per step. Of the generator's averaged weights; 0: none.
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
        keep_checkpoints: int. How many are kept.
        sample_every: int, in steps. How often a sheet is painted; 0 for never.
        log_every: int, in steps. How often losses are logged and checked.
        overwrite: bool. Whether to delete the run in `model_dir` and start anew.
        stop_requested: asked after every step; once true, the run is saved and ends.
        progress: see `dermgan_tf.progress`.

    Returns:
        TrainingResult.

    Raises:
        InputError: for bad arguments, pairs or settings that differ from those the run
            began with, a folder in use, a full disk, or losses that are not finite
            (the last good checkpoint stays).
    """
    started = time.monotonic()
    strategy = strategy or tf.distribute.get_strategy()
    for name, value in (
        ("steps", steps),
        ("batch_size", batch_size),
        ("base_filters", base_filters),
        ("steps_per_execution", steps_per_execution),
        ("checkpoint_every", checkpoint_every),
        ("keep_checkpoints", keep_checkpoints),
        ("log_every", log_every),
    ):
        if value < 1:
            raise InputError(f"{name} must be at least 1, got {value}")
    if mixed_precision not in MIXED_PRECISION:
        raise InputError(
            f"unknown mixed_precision {mixed_precision!r}; known: "
            f"{', '.join(MIXED_PRECISION)}"
        )
    if deterministic and jit_compile:
        raise InputError(
            "deterministic and jit_compile exclude each other: XLA does not promise "
            "reproducible results"
        )
    replicas = strategy.num_replicas_in_sync
    if batch_size % replicas:
        raise InputError(
            f"batch_size {batch_size} is not a multiple of the {replicas} replicas"
        )
    info = read_pairs_info(data_dir)
    settings = {
        "image_size": info.image_size,
        "base_filters": base_filters,
        "upsampling": upsampling,
        "conditions": list(info.vocabulary),
        "data_fingerprint": info.fingerprint,
        "source": info.source,
        "seed": seed,
        "batch_size": batch_size,
        "loss_weights": {**DEFAULT_LOSS_WEIGHTS, **(loss_weights or {})},
        "adam_beta_1": adam_beta_1,
        "ema_decay": ema_decay,
        "mixed_precision": mixed_precision,
        "generator_learning_rate": generator_learning_rate,
        "discriminator_learning_rate": discriminator_learning_rate,
        "steps": steps,
    }
    with _run_folder(model_dir, strategy) as (folder, own_folder):
        if overwrite and folder == own_folder:
            _remove_run(folder)
        earlier = _read_earlier(folder)
        if earlier.get("trained_steps") or (folder / CHECKPOINTS).exists():
            _require_same(earlier, settings, folder)

        keras.utils.set_random_seed(seed % 2**32)
        if deterministic:
            tf.config.experimental.enable_op_determinism()
        with strategy.scope(), _dtype_policy(MIXED_PRECISION[mixed_precision]):
            gan = _build(settings, loss_weights, jit_compile, steps_per_execution)
            step_variable = tf.Variable(0, dtype=tf.int64, trainable=False)
        state = _training_state(gan, step_variable)
        first_step = Checkpoints(
            folder / CHECKPOINTS, keep_checkpoints, **state
        ).restore()
        _check_span(first_step, steps, steps_per_execution, earlier, folder)
        # The checkpoint brings its own; what is asked for now counts.
        gan.generator_optimizer.learning_rate = generator_learning_rate
        gan.discriminator_optimizer.learning_rate = discriminator_learning_rate
        settings["trained_steps"] = first_step
        _write_json(own_folder / MODEL_FILE, settings)

        seconds = {"preparing": time.monotonic() - started}
        step, speed = first_step, math.nan
        if first_step < steps:
            step, speed = _run_steps(
                gan,
                data_dir,
                own_folder,
                span=(first_step, steps),
                batch_size=batch_size,
                seed=seed,
                checkpoints=Checkpoints(
                    own_folder / CHECKPOINTS, keep_checkpoints, **state
                ),
                step_variable=step_variable,
                checkpoint_every=checkpoint_every,
                sample_every=sample_every,
                log_every=log_every,
                stop_requested=stop_requested,
                progress=progress,
            )
        save_final_weights(gan, own_folder)
        settings["trained_steps"] = step
        _write_json(own_folder / MODEL_FILE, settings)
        seconds["training"] = time.monotonic() - started - seconds["preparing"]
        return TrainingResult(
            model_dir=pathlib.Path(model_dir),
            step=step,
            first_step=first_step,
            steps=steps,
            losses=_last_losses(own_folder / HISTORY_FILE),
            images_per_second=speed,
            seconds=seconds,
            data_fingerprint=info.fingerprint,
        )


def save_final_weights(gan: DermGAN, folder: str | os.PathLike) -> None:
    """Writes the networks' weights, each file whole or not at all."""
    networks = {
        "generator": gan.generator,
        "discriminator": gan.discriminator,
        "generator_ema": gan.ema_generator,
    }
    for name, network in networks.items():
        if network is None:
            continue
        path = pathlib.Path(folder) / f"{name}.weights.h5"
        aside = path.with_name(f".{name}.partial.weights.h5")
        try:
            network.save_weights(aside)
            os.replace(aside, path)
        finally:
            aside.unlink(missing_ok=True)


def _build(settings, loss_weights, jit_compile, steps_per_execution) -> DermGAN:
    size, filters = settings["image_size"], settings["base_filters"]
    try:
        gan = DermGAN(
            build_generator(size, filters, settings["upsampling"]),
            build_discriminator(size, filters),
            seed=settings["seed"],
            ema_decay=settings["ema_decay"],
        )
        generator_optimizer, discriminator_optimizer = (
            keras.optimizers.Adam(
                settings[f"{network}_learning_rate"], beta_1=settings["adam_beta_1"]
            )
            for network in ("generator", "discriminator")
        )
        gan.compile(
            generator_optimizer,
            discriminator_optimizer,
            loss_weights=loss_weights,
            jit_compile=jit_compile,
            steps_per_execution=steps_per_execution,
        )
    except ValueError as error:  # the networks say what is wrong with an argument
        raise InputError(str(error)) from error
    return gan


def _run_steps(
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
    stop_requested: Callable[[], bool],
    progress: Callable,
) -> tuple[int, float]:
    """Trains from the first to the last step of `span`.

    Returns:
        The step reached, and the images per second.
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
    )
    summaries = folder / "tensorboard"
    cut_summaries(summaries, first_step)
    with tensorflow_errors_as_os_errors(summaries):
        writer = tf.summary.create_file_writer(str(summaries))
    log = LossLog(
        *span,
        log_every,
        path=folder / HISTORY_FILE,
        writer=writer,
        batch_size=batch_size,
    )
    callbacks = [log]
    if sample_every:
        samples = SampleSheets(
            *span,
            sample_every,
            gan=gan,
            pairs=choose_sample_pairs(read_pairs(data_dir, _sample_split(info))),
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
    except tf.errors.DataLossError as error:
        raise damaged_shards(data_dir, info, "train", error) from error
    finally:
        bar.close()
        writer.close()
    return saver.step, log.mean_speed()


def _training_state(gan: DermGAN, step_variable: tf.Variable) -> dict[str, Any]:
    """Everything that the next step depends on, for a checkpoint."""
    state = {
        "step": step_variable,
        "generator": gan.generator,
        "discriminator": gan.discriminator,
        "generator_optimizer": gan.generator_optimizer,
        "discriminator_optimizer": gan.discriminator_optimizer,
        # Means since the last logged step, so that a continued run logs the same.
        "means": [v.value for metric in gan.metrics for v in metric.variables],
    }
    if gan.ema_generator is not None:
        state["ema_generator"] = gan.ema_generator
    return state


@contextlib.contextmanager
def _run_folder(
    model_dir: str | os.PathLike, strategy: tf.distribute.Strategy
) -> Iterator[tuple[pathlib.Path, pathlib.Path]]:
    """Yields the run's folder, and the one that this process may write to.

    They are one and the same but for the workers of a distributed run that are not its
    chief. Those go through the same motions, saving included, which needs all workers
    to take part; their copies are thrown away.
    """
    if is_chief(strategy):
        with locked_folder(model_dir) as folder:
            yield folder, folder
    else:
        with tempfile.TemporaryDirectory(prefix="dermgan-worker-") as own_folder:
            yield pathlib.Path(os.path.abspath(model_dir)), pathlib.Path(own_folder)


def _remove_run(folder: pathlib.Path) -> None:
    """Removes what a run leaves in its folder, and nothing else."""
    for name in (CHECKPOINTS, "tensorboard", "samples"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for pattern in (MODEL_FILE, HISTORY_FILE, "run.json", "*.weights.h5"):
        for path in folder.glob(pattern):
            path.unlink()


def _read_earlier(folder: pathlib.Path) -> dict[str, Any]:
    """Reads model.json; {} for a new run."""
    path = folder / MODEL_FILE
    if not path.exists():
        strangers = [p.name for p in folder.glob("*") if not p.name.startswith(".")]
        if strangers:
            raise InputError(
                f"{folder} is not empty and holds no {MODEL_FILE}, so it is no "
                f"training run to go on with (it has {strangers[0]}); choose another "
                f"folder"
            )
        return {}
    try:
        return dict(json.loads(path.read_text("utf-8")))
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}") from None


def _require_same(
    earlier: Mapping[str, Any], settings: Mapping[str, Any], folder: pathlib.Path
) -> None:
    """Raises InputError at the first setting that must not, but does differ."""
    then, now = _flat(earlier), _flat(settings)
    for name in now:
        if name in _CHANGEABLE or then.get(name) == now[name]:
            continue
        if name == "conditions":
            ours, theirs = (Vocabulary(s[name]) for s in (earlier, settings))
            ours.require_equal(theirs, f"the run in {folder}", "the data")
        raise InputError(
            f"the run in {folder} has {name} {then.get(name)}, this call asks for "
            f"{now[name]}; repeat it with {then.get(name)}, or choose another folder"
        )


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    weights = settings.get("loss_weights", {})
    rest = {name: v for name, v in settings.items() if name != "loss_weights"}
    return {**rest, **{f"{name}_weight": float(v) for name, v in weights.items()}}


def _check_span(first_step, steps, steps_per_execution, earlier, folder) -> None:
    trained = earlier.get("trained_steps", 0)
    if trained and not first_step:
        raise InputError(
            f"{folder} was trained for {trained} steps, but its {CHECKPOINTS} are "
            f"gone; choose another folder, or overwrite it to start anew"
        )
    if first_step > steps:
        raise InputError(
            f"{folder} is trained for {first_step} steps already, more than the "
            f"{steps} asked for"
        )
    if (steps - first_step) % steps_per_execution:
        raise InputError(
            f"the {steps - first_step} steps to do are not a multiple of "
            f"steps_per_execution {steps_per_execution}"
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


def _last_losses(history_file: pathlib.Path) -> dict[str, float]:
    rows = read_history(history_file)
    return {name: v for name, v in (rows[-1] if rows else {}).items() if name != "step"}


@contextlib.contextmanager
def _dtype_policy(name: str) -> Iterator[None]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _write_json(path: pathlib.Path, content: Mapping[str, Any]) -> None:
    atomic_write(
        path, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()
    )
