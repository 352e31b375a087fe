"""What a classifier is trained on: the images of a batch, and how they are changed.

Both follow from (seed, step, place in the batch) alone. So a run that was killed goes
on with the batch that would have come next, and any number of replicas sees the same
batches as one.
"""

import dataclasses
import functools

import numpy as np
import tensorflow as tf

from dermgan_tf.classifier.labelled_images import LabelledImages
from dermgan_tf.errors import InputError
from dermgan_tf.photos.draws import even_order

AUGMENTATIONS = ("full", "flips", "none")
IMBALANCE = ("none", "class_weights", "balanced_sampling")

# How far training images are changed, in all arms. Light and camera change colours
# about as far from one clinic to the next; more would turn one skin type, or one
# condition, into another.
MAX_BRIGHTNESS_CHANGE = 0.1  # of the full range, added
SATURATION_RANGE = (0.7, 1.3)  # of the distance from grey
CONTRAST_RANGE = (0.8, 1.2)  # of the distance from the image's mean colour
MAX_HUE_CHANGE = 0.02  # of a full turn: redness is a sign, so it hardly moves
# Side of the random window: a lesion near the border stays in sight, and detail is
# blurred little by enlarging it again.
WINDOW_RANGE = (0.8, 1.0)

# Random numbers an image: two flips, brightness, contrast, saturation, hue, and the
# window's side, top and left.
NUMBERS = 9

# The television standard's luma and two colour differences (NTSC 1953), of RGB.
_YIQ = np.array(
    [[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]]
)
# Which random stream is which: numbers that are mixed into the seed.
_ORDER, _AUGMENTATION, _SYNTHETIC, _ROUNDS = range(4)
_PARALLEL_BATCHES = 2


def chosen_synthetic(
    synthetic: LabelledImages, num_real: int, ratio: float | None, seed: int
) -> np.ndarray:
    """Which synthetic images are used: at most `ratio` for every real image.

    Every condition gives the same share of its images, and a smaller ratio's choice
    lies within a larger one's, so that arms of different ratios can be compared.

    Args:
        synthetic: what there is.
        num_real: int. Real training images.
        ratio: float ≥ 0, synthetic images a real image; None for all there are.
        seed: int. Of the draw.

    Returns:
        int64, sorted positions in `synthetic`.

    Raises:
        InputError: for a negative ratio.
    """
    if ratio is None:
        return np.arange(len(synthetic))
    if not 0 <= ratio < np.inf:
        raise InputError(f"synthetic_ratio must be a number from 0 on, got {ratio}")
    order = even_order(synthetic.labels, np.random.default_rng([seed, _SYNTHETIC]))
    return np.sort(order[: round(ratio * num_real)])


def class_weights(shares: np.ndarray) -> np.ndarray:
    """The weights that make all conditions count alike: 1 / (k · share).

    With shares n_c / n of the images these are scikit-learn's "balanced" weights,
    n / (k · n_c); k counts the conditions that have any.

    Args:
        shares: float [K], of each condition in the batches, sum 1.

    Returns:
        np.float32 [K]; 0 for a condition that never comes.
    """
    shares = np.asarray(shares, np.float64)
    present = shares > 0
    weights = np.zeros(len(shares), np.float32)
    weights[present] = 1 / (present.sum() * shares[present])
    return weights


@dataclasses.dataclass(frozen=True)
class TrainingImages:
    """Real and synthetic images, and how batches are drawn from them.

    Args:
        real: photographs to train on.
        synthetic: more images; None for none.
        chosen: int, positions of the synthetic images that are used; None for all.
        batch_size: int ≥ 1. Images a step.
        seed: int. Of order and augmentation.
        imbalance: "none": images come equally often. "balanced_sampling": conditions
            do. "class_weights": images come equally often, and the loss of each is
            weighted by `class_weights` of the share that its condition has in the
            batches.
        real_share: float, 0…1. Share of real images in the batches; their number in one
            batch differs from it by less than one image. None pools both.
        synthetic_steps: int ≥ 1. So many steps, from the first on, see synthetic
            images; the batches after them are of real ones alone. None for all steps.

    Raises:
        InputError: for an unknown way of balancing, or a share out of range.
    """

    real: LabelledImages
    synthetic: LabelledImages | None
    batch_size: int
    seed: int
    chosen: np.ndarray | None = None
    imbalance: str = "none"
    real_share: float | None = None
    synthetic_steps: int | None = None

    def __post_init__(self):
        if self.imbalance not in IMBALANCE:
            raise InputError(
                f"unknown imbalance {self.imbalance!r}; known: {', '.join(IMBALANCE)}"
            )
        if self.real_share is not None and self.synthetic is None:
            raise InputError("real_share needs synthetic images")
        if self.real_share is not None and not 0 <= self.real_share <= 1:
            raise InputError(f"real_share is 0…1, got {self.real_share}")
        if self.synthetic_steps is not None and self.synthetic is None:
            raise InputError("synthetic_steps needs synthetic images")

    @property
    def expected_real_share(self) -> float:
        """The share of real images in the batches that see synthetic ones, 0 to 1."""
        if len(self._streams) == 1:
            return self._streams[0].share_below(len(self.real))
        return self.real_share

    def real_images_seen(self, steps: int) -> int:
        """How many real images the first `steps` batches hold, repeats counted."""
        return sum(int((self.items(n) < len(self.real)).sum()) for n in range(steps))

    @functools.cached_property
    def labels(self) -> np.ndarray:
        """int64 [N] of all images, the real ones first."""
        if self.synthetic is None:
            return self.real.labels
        return np.concatenate([self.real.labels, self.synthetic.labels[self._chosen]])

    def items(self, step: int) -> np.ndarray:
        """The images of the batch of `step`, 0 for the first.

        Returns:
            int64 [batch_size], positions among the real and then the synthetic images.
        """
        if self._is_late(step):
            place = (step - self.synthetic_steps) * self.batch_size
            return self._late_stream.take(place, self.batch_size)
        if len(self._streams) == 1:
            (stream,) = self._streams
            return stream.take(step * self.batch_size, self.batch_size)
        before, after = (
            round((step + more) * self.batch_size * self.real_share) for more in (0, 1)
        )
        real, synthetic = self._streams
        count = self.batch_size - (after - before)
        return np.concatenate(
            [
                real.take(before, after - before),
                synthetic.take(step * self.batch_size - before, count),
            ]
        )

    def weights(self, step: int) -> np.ndarray:
        """np.float32 [K], of each condition's loss at a step."""
        if self.imbalance != "class_weights":
            return np.ones(len(self.real.conditions), np.float32)
        return class_weights(self.shares(step))

    def shares(self, step: int) -> np.ndarray:
        """float64 [K], the share that each condition has in batches like this one."""
        if self._is_late(step):
            return self._late_stream.shares
        if len(self._streams) == 1:
            return self._streams[0].shares
        real, synthetic = (stream.shares for stream in self._streams)
        return self.real_share * real + (1 - self.real_share) * synthetic

    def batch(self, step: int) -> tuple[np.ndarray, ...]:
        """Everything about the batch of `step`.

        Returns:
            (images uint8 [B, S, S, 3], labels int32 [B], weights float32 [B], numbers
            float32 [B, NUMBERS] in [0, 1) for the augmentation, seeds int32 [B] for
            the dropout).
        """
        items = self.items(step)
        labels = self.labels[items]
        rng = np.random.default_rng([self.seed, _AUGMENTATION, step])
        return (
            self._images(items),
            labels.astype(np.int32),
            self.weights(step)[labels],
            rng.random((len(items), NUMBERS), np.float32),
            rng.integers(2**31, size=len(items), dtype=np.int32),
        )

    @functools.cached_property
    def _chosen(self) -> np.ndarray:
        everything = np.arange(0 if self.synthetic is None else len(self.synthetic))
        return everything if self.chosen is None else everything[self.chosen]

    @functools.cached_property
    def _streams(self) -> list["_Shuffled | _Balanced"]:
        num_real, labels = len(self.real), self.labels
        parts = [np.arange(len(labels))]
        if self.real_share is not None and len(labels) > num_real:
            parts = [parts[0][:num_real], parts[0][num_real:]]
        return [self._stream(part, number) for number, part in enumerate(parts)]

    @functools.cached_property
    def _late_stream(self) -> "_Shuffled | _Balanced":
        return self._stream(np.arange(len(self.real)), 2)

    def _stream(self, items: np.ndarray, number: int) -> "_Shuffled | _Balanced":
        kind = _Balanced if self.imbalance == "balanced_sampling" else _Shuffled
        conditions = len(self.real.conditions)
        return kind(items, self.labels, conditions, (self.seed, number))

    def _is_late(self, step: int) -> bool:
        """Whether synthetic images are over with."""
        return self.synthetic_steps is not None and step >= self.synthetic_steps

    def _images(self, items: np.ndarray) -> np.ndarray:
        """Gathered from where they lie, maybe a file far larger than the memory."""
        side = self.real.images.shape[1]
        images = np.empty((len(items), side, side, 3), np.uint8)
        order = np.argsort(items)  # files are read from front to back
        real = order[: np.searchsorted(items[order], len(self.real))]
        images[real] = self.real.images[items[real]]
        rest = order[len(real) :]
        if len(rest):
            synthetic = self._chosen[items[rest] - len(self.real)]
            images[rest] = self.synthetic.images[synthetic]
        return images


def training_batches(
    images: TrainingImages, augment: str, first_step: int, last_step: int
) -> tf.data.Dataset:
    """The batches of the steps from `first_step` until before `last_step`.

    Returns:
        tf.data.Dataset of dicts: image float32 [B, S, S, 3] in 0…255, label int32 [B],
        weight float32 [B], seed int32 [B].
    """
    side, count = images.real.images.shape[1], images.batch_size
    forms = [
        ([count, side, side, 3], tf.uint8),
        ([count], tf.int32),
        ([count], tf.float32),
        ([count, NUMBERS], tf.float32),
        ([count], tf.int32),
    ]

    def load(step):
        parts = tf.numpy_function(
            images.batch, [step], [dtype for _, dtype in forms], stateful=False
        )
        for part, (shape, _) in zip(parts, forms, strict=True):
            part.set_shape(shape)
        return parts

    def change(image, label, weight, numbers, seed):
        return {
            "image": augmented(image, numbers, augment),
            "label": label,
            "weight": weight,
            "seed": seed,
        }

    dataset = tf.data.Dataset.range(first_step, last_step)
    for function in (load, change):
        dataset = dataset.map(
            function, num_parallel_calls=_PARALLEL_BATCHES, deterministic=True
        )
    options = tf.data.Options()
    options.deterministic = True
    options.autotune.enabled = False
    # There are no files: every worker draws all batches, and takes its share of each.
    options.experimental_distribute.auto_shard_policy = (
        tf.data.experimental.AutoShardPolicy.DATA
    )
    return dataset.prefetch(2).with_options(options)


def augmented(images: tf.Tensor, numbers: tf.Tensor, augment: str = "full"):
    """Changes images as their own random numbers say.

    Args:
        images: uint8 or float32 [N, S, S, 3], 0…255.
        numbers: float32 [N, NUMBERS] in [0, 1).
        augment: "full"; "flips": left-right and up-down only; or "none".

    Returns:
        float32 [N, S, S, 3], 0…255. An image does not depend on its neighbours.

    Raises:
        InputError: for an unknown kind.
    """
    if augment not in AUGMENTATIONS:
        raise InputError(
            f"unknown augment {augment!r}; known: {', '.join(AUGMENTATIONS)}"
        )
    images = tf.cast(images, tf.float32)
    if augment == "none":
        return images
    mirrored, upturned, *colours, side, top, left = tf.unstack(numbers, NUMBERS, axis=1)
    mirrored, upturned = mirrored < 0.5, upturned < 0.5
    if augment == "flips":
        for axis, chosen in ((2, mirrored), (1, upturned)):
            chosen = chosen[:, tf.newaxis, tf.newaxis, tf.newaxis]
            images = tf.where(chosen, tf.reverse(images, [axis]), images)
        return images
    side = _between(side, WINDOW_RANGE)
    images = _window(images, mirrored, upturned, side, top, left)
    return _recoloured(images, *colours)


def _window(images, mirrored, upturned, side, top, left):
    """A window of each image, turned and enlarged to the image's size (bilinear)."""
    top, left = (1 - side) * top, (1 - side) * left
    bottom, right = top + side, left + side
    # A box whose ends are swapped gives the mirrored window.
    boxes = tf.stack(
        [
            tf.where(upturned, bottom, top),
            tf.where(mirrored, right, left),
            tf.where(upturned, top, bottom),
            tf.where(mirrored, left, right),
        ],
        axis=1,
    )
    count, size = tf.shape(images)[0], images.shape[1]
    return tf.image.crop_and_resize(images, boxes, tf.range(count), [size, size])


def _recoloured(images, brightness, contrast, saturation, hue):
    """All four changes of colour are linear: one matrix and one offset an image."""
    angle = 2 * np.pi * MAX_HUE_CHANGE * (2 * hue - 1)
    saturation = _between(saturation, SATURATION_RANGE)
    cos, sin = saturation * tf.cos(angle), saturation * tf.sin(angle)
    one, zero = tf.ones_like(cos), tf.zeros_like(cos)
    turned = tf.stack([one, zero, zero, zero, cos, -sin, zero, sin, cos], axis=1)
    turned = tf.reshape(turned, [-1, 3, 3])
    to_rgb = tf.constant(np.linalg.inv(_YIQ), tf.float32)
    matrix = to_rgb @ turned @ tf.constant(_YIQ, tf.float32)  # [N, 3, 3]
    contrast = _between(contrast, CONTRAST_RANGE)[:, tf.newaxis, tf.newaxis]
    offset = 255 * MAX_BRIGHTNESS_CHANGE * (2 * brightness - 1)
    pixels = tf.reshape(images, [-1, images.shape[1] * images.shape[2], 3])
    transposed = tf.linalg.matrix_transpose(matrix)
    mean = tf.reduce_mean(pixels, axis=1, keepdims=True) @ transposed
    pixels = pixels @ (contrast * transposed)
    pixels += (1 - contrast) * mean + offset[:, tf.newaxis, tf.newaxis]
    return tf.reshape(tf.clip_by_value(pixels, 0, 255), tf.shape(images))


def _between(number, limits):
    low, high = limits
    return low + (high - low) * number


class _Shuffled:
    """Endless passes over items, each in an order of its own; any part at once."""

    def __init__(self, items, labels, num_conditions, seed):
        self._items = items
        self._seed = (*seed, _ORDER)
        counts = np.bincount(labels[items], minlength=num_conditions)
        self.shares = counts / counts.sum()
        self._pass = functools.lru_cache(2)(self._shuffled)

    def share_below(self, end: int) -> float:
        """The share of items below `end` among those that are taken."""
        return float((self._items < end).mean())

    def take(self, start: int, count: int) -> np.ndarray:
        """The items from place `start` on."""
        passes, places = np.divmod(np.arange(start, start + count), len(self._items))
        taken = [self._pass(int(n))[places[passes == n]] for n in np.unique(passes)]
        return np.concatenate([np.empty(0, np.int64), *taken])

    def _shuffled(self, number: int) -> np.ndarray:
        return np.random.default_rng([*self._seed, number]).permutation(self._items)


class _Balanced:
    """Endless rounds over the conditions, in each an image of every one."""

    def __init__(self, items, labels, num_conditions, seed):
        self._seed = (*seed, _ROUNDS)
        present = np.unique(labels[items])
        self._by_condition = [
            _Shuffled(items[labels[items] == k], labels, num_conditions, (*seed, k))
            for k in present
        ]
        self.shares = np.zeros(num_conditions)
        self.shares[present] = 1 / len(present)

    def share_below(self, end: int) -> float:
        """The share of items below `end` among those that are taken."""
        return float(np.mean([one.share_below(end) for one in self._by_condition]))

    def take(self, start: int, count: int) -> np.ndarray:
        """The items from place `start` on."""
        conditions = len(self._by_condition)
        first, last = start // conditions, -(-(start + count) // conditions)
        taken = [self._round(number) for number in range(first, last)]
        taken = np.concatenate([np.empty(0, np.int64), *taken])
        return taken[start - first * conditions :][:count]

    def _round(self, number: int) -> np.ndarray:
        items = np.array([s.take(number, 1)[0] for s in self._by_condition])
        return np.random.default_rng([*self._seed, number]).permutation(items)
