"""A skin-condition classifier, with or without synthetic images, and its scores.

The two arms of a comparison differ in the synthetic images alone: same network, same
seed, same number of steps, same augmentation, same real photographs.
"""

import dataclasses
import os
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from dermgan_tf.backbones import build_backbone
from dermgan_tf.errors import InputError
from dermgan_tf.metrics.bootstrap import case_resamples, percentile_interval
from dermgan_tf.pairs import read_pairs, read_pairs_info
from dermgan_tf.progress import silent

# How far training images are changed, in both arms.
MAX_BRIGHTNESS_CHANGE = 0.1  # of the full range
SATURATION_RANGE = (0.7, 1.3)


@dataclasses.dataclass(frozen=True)
class LabelledImages:
    """Images with their conditions.

    Args:
        images: np.uint8 [N, S, S, 3], RGB.
        labels: int [N], positions in `conditions`.
        conditions: the names of the conditions; the same in all sets of a comparison.
        cases: [N], the case of each image, str; None where there are none (synthetic
            images).
    """

    images: np.ndarray
    labels: np.ndarray
    conditions: tuple[str, ...]
    cases: np.ndarray | None = None

    def __post_init__(self):
        object.__setattr__(self, "conditions", tuple(self.conditions))
        object.__setattr__(self, "labels", np.asarray(self.labels, np.int64))
        shape = np.shape(self.images)
        if len(shape) != 4 or shape[-1] != 3 or self.images.dtype != np.uint8:
            raise InputError(
                f"images are uint8 [N, S, S, 3], got {self.images.dtype} {list(shape)}"
            )
        for name in ("labels", "cases"):
            values = getattr(self, name)
            if values is not None and np.shape(values) != shape[:1]:
                raise InputError(f"{shape[0]} images with {np.shape(values)} {name}")
        known = (self.labels >= 0) & (self.labels < len(self.conditions))
        if not known.all():
            raise InputError(
                f"label {self.labels[~known][0]} is none of "
                f"{len(self.conditions)} conditions"
            )

    def __len__(self) -> int:
        return len(self.images)


def labelled_crops(
    data_dir: str | os.PathLike,
    split: str,
    max_images: int | None = None,
    seed: int = 0,
) -> LabelledImages:
    """Reads the crops of a pairs folder with their conditions into memory.

    Args:
        data_dir: a folder that `prepare_pairs` wrote.
        split: "train", "validation" or "test".
        max_images: int. Where there are more, so many are drawn at random.
        seed: int. Of that draw.

    Raises:
        InputError: for a folder or split that is not there, or a synthetic image among
            the crops: those are handed to `train_classifier` apart, and never scored.
    """
    info = read_pairs_info(data_dir)
    conditions, total = info.vocabulary.conditions, info.counts.get(split, 0)
    drawn = set(np.random.default_rng(seed).permutation(total)[:max_images].tolist())
    images, labels, cases = [], [], []
    for position, pair in enumerate(read_pairs(data_dir, split)):
        if position not in drawn:
            continue
        if pair["source"] == "synthetic":
            raise InputError(
                f"{os.fspath(data_dir)}: {pair['image_id']} of split {split!r} is "
                "synthetic; only photographs may be here"
            )
        images.append(pair["image"])
        labels.append(conditions.index(pair["condition"]))
        cases.append(pair["case_id"])
    if not images:
        raise InputError(f"{os.fspath(data_dir)}: split {split!r} is empty")
    return LabelledImages(np.stack(images), labels, conditions, np.array(cases))


def build_classifier(
    num_conditions: int,
    image_size: int,
    architecture: str = "small_conv",
    alpha: float = 1.0,
    weights: str | os.PathLike | None = None,
    seed: int = 0,
) -> keras.Model:
    """Builds a classifier of RGB images 0…255 (scaled inside) with softmax outputs.

    Args:
        num_conditions: int ≥ 2.
        image_size: int. Side of the images in pixels.
        architecture: "small_conv" (four convolutions, for small crops on a CPU) or
            "mobilenet_v2".
        alpha: float. Width of MobileNetV2.
        weights: of MobileNetV2: None (random), "imagenet" (Keras downloads them), or a
            weights file of it without its top.
        seed: int. Of random weights and dropout.

    Returns:
        keras.Model, [N, image_size, image_size, 3] -> [N, num_conditions].

    Raises:
        InputError: for an unknown architecture, fewer than two conditions, or weights
            that are missing or do not fit.
    """
    if num_conditions < 2:
        raise InputError(
            f"a classifier tells 2 conditions or more, got {num_conditions}"
        )
    if architecture == "small_conv":
        if weights is not None:
            raise InputError(
                "small_conv has no pretrained weights; leave out --weights"
            )
        body = _small_conv(image_size)
    elif architecture == "mobilenet_v2":
        body = build_backbone(
            "mobilenet_v2", image_size, weights, flag="--weights", alpha=alpha
        )
    else:
        raise InputError(
            f"unknown architecture {architecture!r}; known: small_conv, mobilenet_v2"
        )
    head = keras.layers.Dense(
        num_conditions,
        activation="softmax",
        kernel_initializer=keras.initializers.GlorotUniform(seed=seed),
    )
    features = keras.layers.Dropout(0.2, seed=seed)(body.output)
    if weights is None:
        _draw_weights(body, seed)
    return keras.Model(body.input, head(features))


def train_classifier(
    train: LabelledImages,
    validation: LabelledImages,
    synthetic: LabelledImages | None = None,
    *,
    architecture: str = "small_conv",
    alpha: float = 1.0,
    weights: str | os.PathLike | None = None,
    steps: int = 300,
    evaluations: int = 10,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    seed: int = 0,
    progress: Callable = silent,
) -> keras.Model:
    """Trains a classifier, and returns it as it was when it did best on validation.

    Real and synthetic images are pooled; every step draws from the pool, each image
    once before any comes again. An arm with synthetic images takes as many steps as
    one without, so that it is not better for having been trained longer. Images are
    flipped at random, and their brightness and saturation changed. The learning rate
    falls to 0 along a cosine.

    Args:
        train: real images.
        validation: real images of other cases.
        synthetic: more images to train on.
        architecture, alpha, weights: see `build_classifier`.
        steps: int ≥ 1. Weight updates, rounded down to a multiple of `evaluations`.
        evaluations: int ≥ 1. How often the validation set is looked at, at equal
            distances; the earliest best macro-F1 wins.
        batch_size: int ≥ 1.
        learning_rate: float. Adam's, at the start.
        seed: int. The same seed gives the same classifier on the same machine.
        progress: wraps the steps; see `dermgan_tf.progress`.

    Returns:
        keras.Model, RGB 0…255 [N, S, S, 3] -> probabilities [N, conditions]. Its
        `history.history["validation_macro_f1"]` holds the course of the training.

    Raises:
        InputError: for sets of different conditions or image sizes, fewer than two
            conditions in training, or an argument out of range.
    """
    for name, other in (("validation", validation), ("synthetic", synthetic)):
        if other is not None:
            _require_alike(train, other, name)
    if len(np.unique(train.labels)) < 2:
        raise InputError("the training images show one condition only; want 2 or more")
    if min(steps, evaluations, batch_size) < 1:
        raise InputError("steps, evaluations and batch size are at least 1")
    evaluations = min(evaluations, steps)
    steps -= steps % evaluations
    images, labels = train.images, train.labels
    if synthetic is not None:
        images = np.concatenate([images, synthetic.images])
        labels = np.concatenate([labels, synthetic.labels])
    model = build_classifier(
        len(train.conditions), images.shape[1], architecture, alpha, weights, seed
    )
    schedule = keras.optimizers.schedules.CosineDecay(learning_rate, steps)
    model.compile(keras.optimizers.Adam(schedule), "sparse_categorical_crossentropy")
    model.fit(
        _batches(images, labels, steps, batch_size, seed),
        epochs=evaluations,
        steps_per_epoch=steps // evaluations,
        shuffle=False,  # the batches are in random order already
        verbose=0,
        callbacks=[_KeepBest(validation, progress, steps)],
    )
    return model


def predict(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """Probabilities, np.float32 [N, conditions], of np.uint8 [N, S, S, 3] images."""
    return np.asarray(model.predict(images, batch_size=256, verbose=0), np.float32)


def score_classifier(
    truth: LabelledImages,
    probabilities: np.ndarray,
    resamples: int = 1000,
    seed: int = 0,
) -> dict:
    """Scores predictions on real images, with 95 % intervals over resampled cases.

    Args:
        truth: real images that were not trained on, with their cases.
        probabilities: [N, conditions].
        resamples: int. Bootstrap samples of the cases.
        seed: int. Of the bootstrap.

    Returns:
        dict of images, cases, top_1, macro_f1 and by_condition. top_1 and macro_f1 are
        dicts of value and interval_95; macro_f1 averages the conditions that have an
        image in `truth`, and names the others under undefined. by_condition has a dict
        a condition: condition, images, cases, f1 (value, interval_95). What is
        undefined is None, never 0: the F1 of a condition without an image, and the
        interval of one with fewer than two cases.

    Raises:
        InputError: for no cases, or probabilities of another shape or not finite.
    """
    return _scores(truth, *_statistics(truth, probabilities, resamples, seed))


def compare_classifiers(
    truth: LabelledImages,
    baseline: np.ndarray,
    augmented: np.ndarray,
    resamples: int = 1000,
    seed: int = 0,
) -> dict:
    """Scores two classifiers on one test set, and their difference.

    Args:
        truth: real images that neither was trained on, with their cases.
        baseline: [N, conditions], probabilities of the first.
        augmented: [N, conditions], probabilities of the second.
        resamples: int. Bootstrap samples of the cases, the same for both.
        seed: int. Of the bootstrap.

    Returns:
        dict of baseline, augmented and difference (augmented − baseline, paired), each
        as `score_classifier` returns it.

    Raises:
        InputError: as `score_classifier`.
    """
    first = _statistics(truth, baseline, resamples, seed)
    second = _statistics(truth, augmented, resamples, seed)
    difference = [b - a for a, b in zip(first, second, strict=True)]
    return {
        "baseline": _scores(truth, *first),
        "augmented": _scores(truth, *second),
        "difference": _scores(truth, *difference),
    }


class _KeepBest(keras.callbacks.Callback):
    """Scores the validation set after every epoch; ends with the best weights."""

    def __init__(self, validation: LabelledImages, progress: Callable, steps: int):
        super().__init__()
        self._validation = validation
        self._bar = iter(progress(range(steps), total=steps, desc="classifier"))
        self._best, self._weights = -np.inf, None

    def on_train_batch_end(self, batch, logs=None):
        next(self._bar, None)

    def on_epoch_end(self, epoch, logs=None):
        predicted = predict(self.model, self._validation.images).argmax(axis=1)
        confusion = _confusion(
            self._validation.labels, predicted, len(self._validation.conditions)
        )
        logs["validation_macro_f1"] = macro_f1 = _top_1_and_f1(confusion)[1]
        if macro_f1 > self._best:
            self._best, self._weights = macro_f1, self.model.get_weights()

    def on_train_end(self, logs=None):
        next(self._bar, None)  # lets the bar come to its end
        if self._weights is not None:
            self.model.set_weights(self._weights)


def _small_conv(image_size: int) -> keras.Model:
    inputs = keras.Input((image_size, image_size, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1.0)(inputs)
    for filters in (32, 64, 128, 128):
        x = keras.layers.Conv2D(filters, 3, strides=2, padding="same", use_bias=False)(
            x
        )
        # Training is short: the averages must keep up with the weights.
        x = keras.layers.BatchNormalization(momentum=0.9)(x)
        x = keras.layers.ReLU()(x)
    return keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))


def _draw_weights(model: keras.Model, seed: int) -> None:
    """Draws all kernels anew, from seeds of our own: Keras' own are global state."""
    seeds = np.random.SeedSequence(seed).generate_state(len(model.trainable_weights))
    for weight, own_seed in zip(model.trainable_weights, seeds, strict=True):
        if len(weight.shape) > 1:  # not biases and normalisation
            initializer = keras.initializers.GlorotUniform(seed=int(own_seed) % 2**31)
            weight.assign(initializer(weight.shape))


def _batches(
    images: np.ndarray, labels: np.ndarray, steps: int, batch_size: int, seed: int
) -> tf.data.Dataset:
    """Endless augmented batches; a function of its arguments alone."""
    rng = np.random.default_rng(seed)
    epochs = -(-steps * batch_size // len(images))
    order = np.concatenate([rng.permutation(len(images)) for _ in range(epochs)])
    order = order[: steps * batch_size].reshape(steps, batch_size)
    images, labels = tf.constant(images), tf.constant(labels)

    def batch(step, items):
        image = tf.cast(tf.gather(images, items), tf.float32)
        return _augmented(image, tf.stack([seed, step])), tf.gather(labels, items)

    dataset = tf.data.Dataset.from_tensor_slices(order).enumerate()
    return dataset.map(batch, num_parallel_calls=2).prefetch(tf.data.AUTOTUNE)


def _augmented(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Flips images 0…255 [N, S, S, 3] at random, changes brightness and saturation."""
    left_right, up_down, bright, saturated = tf.unstack(
        tf.random.stateless_uniform([4, tf.shape(images)[0], 1, 1, 1], seed)
    )
    images = tf.where(left_right < 0.5, images[:, :, ::-1], images)
    images = tf.where(up_down < 0.5, images[:, ::-1], images)
    low, high = SATURATION_RANGE
    grey = tf.image.rgb_to_grayscale(images)
    images = grey + (low + (high - low) * saturated) * (images - grey)
    images += 255 * MAX_BRIGHTNESS_CHANGE * (2 * bright - 1)
    return tf.clip_by_value(images, 0, 255)


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


def _confusion(labels: np.ndarray, predicted: np.ndarray, count: int) -> np.ndarray:
    """int [count, count]: how many images of each condition were taken for each."""
    pairs = np.bincount(labels * count + predicted, minlength=count * count)
    return pairs.reshape(count, count)


def _top_1_and_f1(confusion: np.ndarray) -> np.ndarray:
    """[top-1, macro-F1, F1 of each condition]; NaN for conditions without an image."""
    hits = np.diag(confusion)
    actual, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    f1 = np.full(len(hits), np.nan)
    present = actual > 0
    f1[present] = (2 * hits / np.maximum(actual + predicted, 1))[present]
    return np.array([hits.sum() / confusion.sum(), f1[present].mean(), *f1])


def _statistics(truth, probabilities, resamples, seed) -> tuple[np.ndarray, np.ndarray]:
    """`_top_1_and_f1` of all images, and of each resample [resamples, …]."""
    count = len(truth.conditions)
    probabilities = np.asarray(probabilities)
    if probabilities.shape != (len(truth), count) or not len(truth):
        raise InputError(
            f"probabilities are {list(probabilities.shape)}, the truth has "
            f"{len(truth)} images of {count} conditions"
        )
    if not np.isfinite(probabilities).all():
        raise InputError("probabilities have NaN or infinity")
    if truth.cases is None:
        raise InputError("images to score need their cases: only real ones are scored")
    predicted = probabilities.argmax(axis=1)

    def statistics(items):
        return _top_1_and_f1(_confusion(truth.labels[items], predicted[items], count))

    resampled = [
        statistics(items) for items in case_resamples(truth.cases, resamples, seed)
    ]
    return statistics(slice(None)), np.array(resampled)


def _scores(truth: LabelledImages, values: np.ndarray, resampled: np.ndarray) -> dict:
    def score(i: int, cases: int) -> dict:
        defined = not np.isnan(values[i])
        return {
            "value": float(values[i]) if defined else None,
            "interval_95": (
                percentile_interval(resampled[:, i]) if defined and cases > 1 else None
            ),
        }

    def of(label: int) -> np.ndarray:
        return truth.labels == label

    cases = len(np.unique(truth.cases))
    return {
        "images": len(truth),
        "cases": cases,
        "top_1": score(0, cases),
        "macro_f1": {
            **score(1, cases),
            "undefined": [
                name for k, name in enumerate(truth.conditions) if not of(k).any()
            ],
        },
        "by_condition": [
            {
                "condition": name,
                "images": int(of(k).sum()),
                "cases": len(np.unique(truth.cases[of(k)])),
                "f1": score(2 + k, len(np.unique(truth.cases[of(k)]))),
            }
            for k, name in enumerate(truth.conditions)
        ],
    }
