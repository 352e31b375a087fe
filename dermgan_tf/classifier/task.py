"""Training of classifiers: resumable, watched, on one device or many.

The arms of a comparison differ in the synthetic images alone: same network, same seed,
same number of steps, same augmentation, same real photographs.
"""

import dataclasses
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

from dermgan_tf.classifier.batches import (
    AUGMENTATIONS,
    IMBALANCE,
    TrainingImages,
    chosen_synthetic,
)
from dermgan_tf.classifier.labelled_images import LabelledImages
from dermgan_tf.classifier.leakage import trained_case_digests
from dermgan_tf.classifier.model import ClassifierTrainer, best_row
from dermgan_tf.classifier.networks import build_classifier
from dermgan_tf.classifier.outcome import (
    ClassifierResult,
    best_of,
    finish,
    is_finished,
    outcome,
)
from dermgan_tf.classifier.predictions import CLASSIFIER_FILE
from dermgan_tf.classifier.served import KERAS_FILE, SAVED_MODEL
from dermgan_tf.classifier.splits import (
    absent_conditions,
    require_fitting,
    splits_fingerprint,
)
from dermgan_tf.classifier.steps import run_steps
from dermgan_tf.errors import InputError
from dermgan_tf.output_folder import write_json
from dermgan_tf.progress import silent
from dermgan_tf.training.checkpoints import Checkpoints, saved_steps
from dermgan_tf.training.optimizer import (
    MIXED_PRECISION,
    Adam,
    ConstantThenLinear,
    dtype_policy,
)
from dermgan_tf.training.options import (
    require_choices,
    require_counts,
    require_equal_shares,
    require_rates,
)
from dermgan_tf.training.run_folder import (
    CHECKPOINTS,
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

_OUTPUTS = ("predictions", SAVED_MODEL)


def train_classifier(
    splits: Mapping[str, LabelledImages],
    output_dir: str | os.PathLike,
    *,
    synthetic: LabelledImages | None = None,
    steps: int | None = None,
    epochs: float | None = None,
    real_exposure: bool = False,
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
    synthetic_until: float | None = None,
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
    (calibrated ones, see `dermgan_tf.classifier.served`), predictions/validation.csv
    and predictions/test.csv (calibrated), history.csv, validation.csv, checkpoints/,
    tensorboard/.

    Args:
        splits: "train", "validation", and "test" if there is one, of one vocabulary of
            2…60 conditions, one image size and different cases; all photographs.
        output_dir: folder of the run; made if absent.
        synthetic: more images to train on; see `real_exposure`.
        steps, epochs: the length, one of the two: weight updates, or passes over the
            real training images; 20 epochs if neither is given.
        real_exposure: bool. Whether synthetic images come on top: the training is then
            longer by so many steps that about as many real images are seen,
            steps × batch_size, as without synthetic ones. By default all arms take
            equally many steps, and one with synthetic images sees fewer real ones.
            classifier.json has the number that were seen, `real_images_seen`.
        batch_size: int. Images per step, over all replicas together.
        architecture: "mobilenet_v2" or "small_conv".
        alpha, weights: see `build_classifier`.
        frozen_steps: int. Steps of the head alone. Default: a fifth of all; 0 without
            pretrained weights.
        head_learning_rate: float, of Adam while the head learns alone.
        learning_rate: float, of Adam at the start of the rest.
        augment: "full", "flips" or "none"; see `dermgan_tf.classifier.batches`.
        imbalance: "none", "class_weights" or "balanced_sampling"; see `TrainingImages`.
        synthetic_ratio: float. At most so many synthetic images are used for every real
            one; see `chosen_synthetic`. None for all.
        real_share: float, 0…1. Share of the batches that is real; None pools real and
            synthetic images.
        synthetic_until: float, 0…1, above 0. Share of the steps, from the first on,
            that see synthetic images; the rest sees real ones alone. None for all.
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
        copies: what `dermgan_tf.classifier.leakage.look_for_copies` found, for the
            record; None where copies of held-out photos were not looked for. They are
            not looked for here.
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
    require_fitting(splits, synthetic)
    fingerprint = splits_fingerprint(splits, synthetic)
    train = splits["train"]
    steps = length_in_steps(steps, epochs, len(train), batch_size)
    require_counts({"steps": steps, "batch_size": batch_size})
    require_choices({"imbalance": (imbalance, IMBALANCE)})
    chosen = None
    if synthetic is not None:
        chosen = chosen_synthetic(synthetic, len(train), synthetic_ratio, seed)
        if not len(chosen):  # the arm of a series of ratios that has none
            synthetic = chosen = generator_cases = real_share = synthetic_until = None
    if synthetic_until is not None and not 0 < synthetic_until <= 1:
        raise InputError(
            f"synthetic_until is a share of the steps, above 0 to 1, got "
            f"{synthetic_until}"
        )
    images = TrainingImages(
        train, synthetic, batch_size, seed, chosen, imbalance, real_share
    )
    if real_exposure:
        steps = _steps_of_exposure(steps, images, synthetic_until)
    if synthetic_until is not None:
        images = dataclasses.replace(
            images, synthetic_steps=max(1, round(synthetic_until * steps))
        )
    if frozen_steps is None:
        frozen_steps = 0 if weights is None else steps // 5
    if validate_every is None:
        validate_every = max(1, steps // 20)
    require_counts(
        {
            "validate_every": validate_every,
            "keep_checkpoints": keep_checkpoints,
            "log_every": log_every,
        }
    )
    require_rates(
        {
            "head_learning_rate": head_learning_rate,
            "learning_rate": learning_rate,
        }
    )
    require_choices(
        {
            "augment": (augment, AUGMENTATIONS),
            "mixed_precision": (mixed_precision, MIXED_PRECISION),
        }
    )
    if not 0 <= frozen_steps <= steps:
        raise InputError(f"frozen_steps is 0 to steps ({steps}), got {frozen_steps}")
    replicas = strategy.num_replicas_in_sync
    require_equal_shares(batch_size, replicas)
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
        "synthetic_until": synthetic_until,
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
        "real_images_seen": images.real_images_seen(steps),
        "absent_conditions": absent_conditions(splits),
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
                remove_run(folder, _OUTPUTS, (CLASSIFIER_FILE, KERAS_FILE))
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
        if is_finished(folder, earlier, splits, saved_model):
            return ClassifierResult(
                **outcome(folder, earlier, best_of(earlier)),
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
            step, speed = run_steps(
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
            description |= finish(
                own_folder,
                _built(identity, weights=None),
                best,
                splits,
                description,
                saved_model,
            )
        write_json(own_folder / CLASSIFIER_FILE, description)
        seconds["exporting"] = time.monotonic() - started - sum(seconds.values())
        return ClassifierResult(
            **outcome(own_folder, description, best),
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


def _steps_of_exposure(
    steps: int, images: TrainingImages, synthetic_until: float | None
) -> int:
    """The steps that see about as many real images as `steps` without synthetic ones.

    Of `images`, before it is known which step is the last that sees synthetic ones.
    """
    until = 1.0 if synthetic_until is None else synthetic_until
    share = until * images.expected_real_share + 1 - until
    if share <= 0:
        raise InputError(
            "real_exposure counts real images, of which real_share 0 shows none"
        )
    return math.ceil(round(steps / share, 6))


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
    require_counts({"evaluations": evaluations})
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
        return keras.saving.load_model(pathlib.Path(folder) / KERAS_FILE, compile=False)


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
