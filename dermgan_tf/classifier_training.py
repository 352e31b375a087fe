"""Training of classifiers: resumable, watched, on one device or many.

The arms of a comparison differ in the synthetic images alone: same network, same seed,
same number of steps, same augmentation, same real photographs.
"""

import dataclasses
import hashlib
import json
import math
import os
import pathlib
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from dermgan_tf.adam import Adam
from dermgan_tf.calibration import (
    calibrated,
    fit_temperature,
    negative_log_likelihood,
)
from dermgan_tf.checkpoints import Checkpoints, restore_part, saved_steps
from dermgan_tf.classifier import (
    build_classifier,
    predict_logits,
)
from dermgan_tf.classifier_data import (
    AUGMENTATIONS,
    IMBALANCE,
    TrainingImages,
    chosen_synthetic,
    training_batches,
)
from dermgan_tf.classifier_export import save_keras, save_served
from dermgan_tf.classifier_trainer import (
    ClassifierSaver,
    ClassifierTrainer,
    ClassifierValidation,
    PhaseSwitch,
    best_row,
)
from dermgan_tf.errors import InputError
from dermgan_tf.labelled_images import LabelledImages, fingerprint_of
from dermgan_tf.leakage import trained_case_digests
from dermgan_tf.learning_rate import ConstantThenLinear
from dermgan_tf.optimizer_log import OptimizerLog
from dermgan_tf.output_folder import tensorflow_errors_as_os_errors
from dermgan_tf.predictions import Predictions, write_predictions
from dermgan_tf.progress import silent
from dermgan_tf.run_folder import (
    CHECKPOINTS,
    HISTORY_FILE,
    VALIDATION_FILE,
    check_span,
    read_earlier,
    remove_run,
    require_same,
    run_folder,
    write_json,
)
from dermgan_tf.training import MIXED_PRECISION, dtype_policy
from dermgan_tf.training_callbacks import (
    LossLog,
    ProgressBar,
    TrainingDiverged,
    UnsyncedCallbackList,
)
from dermgan_tf.training_logs import (
    cut_summaries,
    read_history,
)
from dermgan_tf.workers import (
    asked_anywhere,
    chief_first,
    lost_workers_named,
    require_same_everywhere,
)

CLASSIFIER_FILE = "classifier.json"
_OUTPUTS = ("predictions", "saved_model")


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


def train_classifier(
    splits: Mapping[str, LabelledImages],
    output_dir: str | os.PathLike,
    *,
    synthetic: LabelledImages | None = None,
    steps: int | None = None,
    epochs: float | None = None,
    batch_size: int = 32,
    architecture: str = "mobilenet_v2",
    alpha: float = 1.0,
    weights: str | os.PathLike | None = "imagenet",
    frozen_steps: int | None = None,
    head_learning_rate: float = 1e-3,
    learning_rate: float = 1e-4,
    augment: str = "full",
    imbalance: str = "none",
    synthetic_ratio: float | None = None,
    real_share: float | None = None,
    seed: int = 0,
    deterministic: bool = False,
    mixed_precision: str = "none",
    strategy: tf.distribute.Strategy | None = None,
    validate_every: int | None = None,
    keep_checkpoints: int = 1,
    log_every: int = 20,
    generator: str | None = None,
    generator_cases: Iterable[str] | None = None,
    copies: Mapping[str, Any] | None = None,
    saved_model: bool = True,
    overwrite: bool = False,
    stop_requested: Callable[[], bool] = lambda: False,
    progress: Callable = silent,
) -> ClassifierResult:
    """Trains a classifier, or goes on with the training that `output_dir` holds.

    First the head alone learns, the network below it as it was loaded, averages of the
    batch normalisations included; then all of it, at a lower rate that falls to 0 along
    half a cosine. Both are one run, which goes on after a kill when called again with
    the same arguments: from its newest checkpoint, with the batches that would have
    come next. Of a run that is finished nothing changes; it needs no checkpoints.

    At every validation a checkpoint is saved; the one of best macro-F1 (the mean over
    the conditions that have a validation image; the earliest of equals) is kept, and
    is what comes out. Its temperature is fitted on the validation images.

    Files in `output_dir`: classifier.json (what was trained on what, and the
    temperature), classifier.keras (probabilities that are not calibrated), saved_model/
    (calibrated ones, see `dermgan_tf.classifier_export`), predictions/validation.csv
    and predictions/test.csv (calibrated), history.csv, validation.csv, checkpoints/,
    tensorboard/.

    Args:
        splits: "train", "validation", and "test" if there is one, of one vocabulary of
            2…60 conditions, one image size and different cases; all photographs.
        output_dir: folder of the run; made if absent.
        synthetic: more images to train on. An arm with them takes as many steps as one
            without.
        steps, epochs: the length, one of the two: weight updates, or passes over the
            real training images; 20 epochs if neither is given.
        batch_size: int. Images per step, over all replicas together.
        architecture: "mobilenet_v2" or "small_conv".
        alpha, weights: see `build_classifier`.
        frozen_steps: int. Steps of the head alone. Default: a fifth of all; 0 without
            pretrained weights.
        head_learning_rate: float, of Adam while the head learns alone.
        learning_rate: float, of Adam at the start of the rest.
        augment: "full", "flips" or "none"; see `dermgan_tf.classifier_data`.
        imbalance: "none", "class_weights" or "balanced_sampling"; see `TrainingImages`.
        synthetic_ratio: float. At most so many synthetic images are used for every real
            one; see `chosen_synthetic`. None for all.
        real_share: float, 0…1. Share of the batches that is real; None pools real and
            synthetic images.
        seed: int. Decides initial weights, order, augmentation and dropout.
        deterministic: bool. Whether only operations with reproducible results are used.
            Stays on for the process.
        mixed_precision: "none" (float32), "bfloat16" or "float16" computations while
            training. What is exported computes in float32.
        strategy: from `make_strategy`; by default one device.
        validate_every: int, in steps. Default: a twentieth of all.
        keep_checkpoints: int. How many of the last are kept, besides the best one.
        log_every: int, in steps. How often losses are logged and checked.
        generator: str. Names the generator of the synthetic images, for the record.
        generator_cases: those that the generator was trained on: the classifier has
            seen something of them, too. None where they are not known, which
            classifier.json says.
        copies: what `dermgan_tf.copy_check.look_for_copies` found, for the record; None
            where copies of held-out photos were not looked for. They are not looked for
            here.
        saved_model: bool. Whether saved_model/ is written.
        overwrite: bool. Whether to delete the run in `output_dir` and start anew.
        stop_requested: asked after every step; once true, the run is saved and ends.
        progress: see `dermgan_tf.progress`.

    Returns:
        ClassifierResult.

    Raises:
        InputError: for splits that do not fit together, bad arguments, images or
            settings that differ from those the run began with, a folder in use, a full
            disk, or losses that are not finite (the last good checkpoint stays).
    """
    started = time.monotonic()
    strategy = strategy or tf.distribute.get_strategy()
    _require_fitting(splits, synthetic)
    train = splits["train"]
    steps = length_in_steps(steps, epochs, len(train), batch_size)
    if frozen_steps is None:
        frozen_steps = 0 if weights is None else steps // 5
    if validate_every is None:
        validate_every = max(1, steps // 20)
    _require_arguments(
        {
            "steps": steps,
            "batch_size": batch_size,
            "validate_every": validate_every,
            "keep_checkpoints": keep_checkpoints,
            "log_every": log_every,
        },
        {
            "head_learning_rate": head_learning_rate,
            "learning_rate": learning_rate,
        },
        {
            "augment": (augment, AUGMENTATIONS),
            "imbalance": (imbalance, IMBALANCE),
            "mixed_precision": (mixed_precision, MIXED_PRECISION),
        },
    )
    if not 0 <= frozen_steps <= steps:
        raise InputError(f"frozen_steps is 0 to steps ({steps}), got {frozen_steps}")
    replicas = strategy.num_replicas_in_sync
    if batch_size % replicas:
        raise InputError(
            f"batch_size {batch_size} is not a multiple of the {replicas} replicas"
        )
    fingerprint = _data_fingerprint(splits, synthetic)
    chosen = None
    if synthetic is not None:
        chosen = chosen_synthetic(synthetic, len(train), synthetic_ratio, seed)
        if not len(chosen):  # the arm of a series of ratios that has none
            synthetic = chosen = generator_cases = real_share = None
    images = TrainingImages(
        train, synthetic, batch_size, seed, chosen, imbalance, real_share
    )
    identity = {
        "conditions": list(train.conditions),
        "image_size": train.images.shape[1],
        "architecture": architecture,
        "alpha": alpha,
        # A file's name alone: its folder is nobody's business.
        "weights": None if weights is None else pathlib.Path(weights).name,
        "seed": seed,
        "data_fingerprint": fingerprint,
    }
    settings = {
        "steps": steps,
        "frozen_steps": frozen_steps,
        "batch_size": batch_size,
        "head_learning_rate": head_learning_rate,
        "learning_rate": learning_rate,
        "augment": augment,
        "imbalance": imbalance,
        "synthetic_ratio": synthetic_ratio,
        "real_share": real_share,
        "mixed_precision": mixed_precision,
        "validate_every": validate_every,
    }
    counts = np.bincount(train.labels, minlength=len(train.conditions))
    description = {
        **identity,
        "temperature": None,
        "settings": settings,
        "images": {
            **{name: len(split) for name, split in splits.items()},
            "synthetic": 0 if synthetic is None else len(chosen),
        },
        # Photographs alone: how rare a condition is.
        "train_counts": dict(zip(train.conditions, map(int, counts), strict=True)),
        "trained_cases": trained_case_digests(
            [*train.cases, *([] if generator_cases is None else generator_cases)]
        ),
        "synthetic": None
        if synthetic is None
        else {
            "generator": generator,
            "images": len(chosen),
            "ratio": len(chosen) / len(train),
            "cases_known": generator_cases is not None,
        },
        # null: they were not looked for.
        "copies": None if copies is None else dict(copies),
    }
    with (
        run_folder(output_dir, strategy) as (folder, own_folder),
        lost_workers_named(strategy),
    ):
        with chief_first(strategy):
            if overwrite and folder == own_folder:
                remove_run(folder, _OUTPUTS, (CLASSIFIER_FILE, "classifier.keras"))
            earlier = read_earlier(folder, CLASSIFIER_FILE)
            if earlier.get("trained_steps") or (folder / CHECKPOINTS).exists():
                then = {**earlier, **earlier.get("settings", {})}
                require_same(then, {**identity, **settings}, folder, changeable=())
        require_same_everywhere(
            strategy,
            {
                **identity,
                **settings,
                "deterministic": deterministic,
                "log_every": log_every,
            },
            "give all workers the same command and the same images",
        )
        if _is_finished(folder, earlier, splits, saved_model):
            return ClassifierResult(
                **_outcome(folder, earlier, _best_of(earlier)),
                output_dir=pathlib.Path(output_dir),
                first_step=steps,
                images_per_second=math.nan,
                seconds={"preparing": time.monotonic() - started, "training": 0.0},
            )
        if deterministic:
            tf.config.experimental.enable_op_determinism()
        with strategy.scope(), dtype_policy(MIXED_PRECISION[mixed_precision]):
            trainer = ClassifierTrainer(
                _built(identity, weights), frozen_steps, replicas > 1
            )
            trainer.compile(
                _adam(
                    ConstantThenLinear(head_learning_rate, steps, 0), mixed_precision
                ),
                _adam(
                    keras.optimizers.schedules.CosineDecay(
                        learning_rate, max(1, steps - frozen_steps)
                    ),
                    mixed_precision,
                ),
            )
            step_variable = tf.Variable(0, dtype=tf.int64, trainable=False)
        state = trainer.state(step_variable)
        with chief_first(strategy):  # which removes damaged ones
            first_step = Checkpoints(
                folder / CHECKPOINTS, keep_checkpoints, **state
            ).restore()
        require_same_everywhere(
            strategy,
            {"newest checkpoint": first_step},
            "let all workers reach the same output_dir, in a storage they share",
        )
        check_span(first_step, steps, 1, earlier, folder)
        if "trained_steps" not in earlier or first_step < steps:
            write_json(
                own_folder / CLASSIFIER_FILE,
                {**description, "trained_steps": first_step},
            )

        seconds = {"preparing": time.monotonic() - started}
        step, speed = first_step, math.nan
        if first_step < steps:
            step, speed = _run_steps(
                trainer,
                images,
                splits["validation"],
                own_folder,
                span=(first_step, steps),
                augment=augment,
                checkpoints=Checkpoints(
                    own_folder / CHECKPOINTS, keep_checkpoints, **state
                ),
                step_variable=step_variable,
                validate_every=validate_every,
                log_every=log_every,
                stop_requested=asked_anywhere(strategy, stop_requested),
                progress=progress,
            )
        seconds["training"] = time.monotonic() - started - seconds["preparing"]
        description["trained_steps"] = step
        best = best_row(own_folder, saved_steps(own_folder / CHECKPOINTS))
        if step == steps:
            description |= _finish(
                own_folder, identity, best, splits, description, saved_model
            )
        write_json(own_folder / CLASSIFIER_FILE, description)
        seconds["exporting"] = time.monotonic() - started - sum(seconds.values())
        return ClassifierResult(
            **_outcome(own_folder, description, best),
            output_dir=pathlib.Path(output_dir),
            first_step=first_step,
            images_per_second=speed,
            seconds=seconds,
        )


def length_in_steps(
    steps: int | None, epochs: float | None, images: int, batch_size: int
) -> int:
    """The length of a training of so many real images, as `train_classifier` takes it.

    Raises:
        InputError: for both, or epochs that are no number above 0.
    """
    if steps is not None:
        if epochs is not None:
            raise InputError("give steps or epochs, not both")
        return steps
    epochs = 20 if epochs is None else epochs
    if not 0 < epochs < math.inf:
        raise InputError(f"epochs must be a number above 0, got {epochs}")
    return math.ceil(epochs * images / batch_size) if batch_size > 0 else 1


def fit_classifier(
    train: LabelledImages,
    validation: LabelledImages,
    synthetic: LabelledImages | None = None,
    *,
    steps: int = 300,
    evaluations: int = 10,
    **settings: Any,
) -> keras.Model:
    """Trains a classifier and leaves nothing on disk; small and fast by default.

    Args:
        train, validation: real images, of different cases.
        synthetic: more images to train on.
        steps: int ≥ 1. Weight updates.
        evaluations: int ≥ 1. How often, about, the validation set is looked at.
        **settings: others of `train_classifier`; by default "small_conv" from random
            weights, batches of 64 and a learning rate of 1e-3.

    Returns:
        keras.Model, RGB 0…255 [N, S, S, 3] -> probabilities [N, conditions], as it was
        when it did best on validation.

    Raises:
        InputError: as `train_classifier`.
    """
    if evaluations < 1:
        raise InputError(f"evaluations must be at least 1, got {evaluations}")
    settings = {
        "architecture": "small_conv",
        "weights": None,
        "batch_size": 64,
        "learning_rate": 1e-3,
        "validate_every": max(1, steps // evaluations),
        **settings,
    }
    with tempfile.TemporaryDirectory(prefix="dermgan-classifier-") as folder:
        splits = {"train": train, "validation": validation}
        train_classifier(
            splits,
            folder,
            synthetic=synthetic,
            steps=steps,
            saved_model=False,
            **settings,
        )
        return keras.saving.load_model(
            pathlib.Path(folder) / "classifier.keras", compile=False
        )


def _run_steps(
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
    """Trains over `span`; returns the step reached and the images per second."""
    first_step, last_step = span
    summaries = folder / "tensorboard"
    cut_summaries(summaries, first_step)
    with tensorflow_errors_as_os_errors(summaries):
        writer = tf.summary.create_file_writer(str(summaries))
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


def _finish(
    folder: pathlib.Path,
    identity: Mapping[str, Any],
    best: Mapping[str, float],
    splits: Mapping[str, LabelledImages],
    description: Mapping[str, Any],
    saved_model: bool,
) -> dict[str, Any]:
    """Calibrates and exports the best checkpoint; what classifier.json says of it."""
    step = int(best["step"])
    classifier = _built(identity, weights=None)
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
    outcome = {
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
        save_served(classifier, temperature, folder, {**description, **outcome})
    return outcome


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


def _is_finished(
    folder: pathlib.Path,
    earlier: Mapping[str, Any],
    splits: Mapping[str, LabelledImages],
    saved_model: bool,
) -> bool:
    """Whether all is there that a run leaves; its checkpoints may be gone."""
    files = [f"predictions/{n}.csv" for n in ("validation", "test") if n in splits]
    files += ["classifier.keras", *(["saved_model/saved_model.pb"] * saved_model)]
    return earlier.get("temperature") is not None and all(
        (folder / name).is_file() for name in files
    )


def _best_of(earlier: Mapping[str, Any]) -> dict[str, float]:
    scores = {k: v for k, v in earlier["validation"].items() if k != "calibrated_loss"}
    return {"step": earlier["best_step"], **scores}


def _outcome(
    folder: pathlib.Path,
    description: Mapping[str, Any],
    best: Mapping[str, float] | None,
) -> dict[str, Any]:
    """What a ClassifierResult says that classifier.json and the logs know."""
    rows = read_history(folder / HISTORY_FILE)
    return {
        "step": description["trained_steps"],
        "steps": description["settings"]["steps"],
        "losses": {k: v for k, v in (rows[-1] if rows else {}).items() if k != "step"},
        "best_step": int(best["step"]) if best else None,
        "validation": best,
        "temperature": description["temperature"],
        "data_fingerprint": description["data_fingerprint"],
        "images": description["images"],
    }


def _built(identity: Mapping[str, Any], weights) -> keras.Model:
    return build_classifier(
        len(identity["conditions"]),
        identity["image_size"],
        identity["architecture"],
        identity["alpha"],
        weights,
        identity["seed"],
    )


def _adam(schedule, mixed_precision: str) -> keras.optimizers.Optimizer:
    adam = Adam(schedule)
    if mixed_precision == "float16":
        return keras.optimizers.LossScaleOptimizer(adam)
    return adam


def _require_fitting(
    splits: Mapping[str, LabelledImages], synthetic: LabelledImages | None
) -> None:
    for name in ("train", "validation"):
        if name not in splits or not len(splits[name]):
            raise InputError(f"there are no {name} images; a classifier needs both")
    train = splits["train"]
    others = {n: split for n, split in splits.items() if n != "train"}
    for name, other in {**others, "synthetic": synthetic}.items():
        if other is not None:
            _require_alike(train, other, name)
    if len(np.unique(train.labels)) < 2:
        raise InputError("the training images show one condition only; want 2 or more")
    seen: dict[str, str] = {}
    for name, split in splits.items():
        if split.cases is None:
            raise InputError(
                f"{name} images have no cases: only photographs may be in a split, "
                "synthetic images are given apart"
            )
        for case in np.unique(split.cases).tolist():
            if seen.setdefault(case, name) != name:
                raise InputError(
                    f"case {case!r} is in two splits, {seen[case]} and {name}"
                )


def _require_alike(train: LabelledImages, other: LabelledImages, name: str) -> None:
    if other.conditions != train.conditions:
        raise InputError(
            f"training and {name} images have different conditions: "
            f"{', '.join(train.conditions)} against {', '.join(other.conditions)}"
        )
    if other.images.shape[1:] != train.images.shape[1:]:
        raise InputError(
            f"training images are {list(train.images.shape[1:])}, {name} images "
            f"{list(other.images.shape[1:])}"
        )


def _require_arguments(counts, rates, choices) -> None:
    for name, count in counts.items():
        if count < 1:
            raise InputError(f"{name} must be at least 1, got {count}")
    for name, rate in rates.items():
        if not 0 <= rate < math.inf:
            raise InputError(f"{name} must be a number from 0 on, got {rate}")
    for name, (choice, known) in choices.items():
        if choice not in known:
            raise InputError(f"unknown {name} {choice!r}; known: {', '.join(known)}")


def _data_fingerprint(
    splits: Mapping[str, LabelledImages], synthetic: LabelledImages | None
) -> str:
    """sha256 (hex) over those of all sets."""
    parts = {
        name: fingerprint_of(part)
        for name, part in {**splits, "synthetic": synthetic}.items()
        if part is not None
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
