"""Batches follow from seed and step alone, and hold what was asked for."""

import collections
import colorsys

import numpy as np
import pytest
import sklearn.utils.class_weight
import tensorflow as tf

from dermgan_tf.classifier.batches import (
    MAX_HUE_CHANGE,
    NUMBERS,
    TrainingImages,
    augmented,
    chosen_synthetic,
    class_weights,
    training_batches,
)
from dermgan_tf.errors import InputError
from tests.helpers.coloured_spots import spots

LABELS = np.repeat([0, 1, 2], [30, 9, 1])  # 40 real images
REAL = spots(40, 0, labels=LABELS)
SYNTHETIC = spots(24, 1, labels=np.repeat([1, 2], [8, 16]))


def drawn(images, steps):
    return np.stack([images.items(step) for step in range(steps)])


def test_every_image_comes_once_before_any_comes_again():
    images = TrainingImages(REAL, SYNTHETIC, 16, seed=3)
    passes = drawn(images, 8).reshape(2, 64)
    assert all(sorted(one) == list(range(64)) for one in passes)
    assert not np.array_equal(*passes)
    assert not np.array_equal(
        drawn(images, 4), drawn(TrainingImages(REAL, SYNTHETIC, 16, seed=4), 4)
    )


def test_any_step_can_be_had_at_once():
    for imbalance in ("none", "balanced_sampling"):
        for share in (None, 0.3):
            arguments = (REAL, SYNTHETIC, 10, 3, None, imbalance, share)
            whole = drawn(TrainingImages(*arguments), 30)
            fresh = TrainingImages(*arguments)
            for step in (29, 3, 17):
                np.testing.assert_array_equal(fresh.items(step), whole[step])


def test_real_share_holds_in_every_batch():
    images = TrainingImages(REAL, SYNTHETIC, 10, seed=0, real_share=0.75)
    items = drawn(images, 40)
    real = (items < len(REAL)).sum(axis=1)
    assert set(real) == {7, 8} and real.sum() == 300
    counts = np.bincount(items.ravel(), minlength=64)
    assert np.ptp(counts[:40]) <= 1 and np.ptp(counts[40:]) <= 1
    everything = TrainingImages(REAL, SYNTHETIC, 10, seed=0, real_share=1.0)
    assert drawn(everything, 9).max() < 40
    with pytest.raises(InputError, match="needs synthetic images"):
        TrainingImages(REAL, None, 10, seed=0, real_share=0.5).items(0)


@pytest.mark.parametrize("share", [None, 0.5])
def test_the_last_steps_may_see_real_images_alone(share):
    arguments = (REAL, SYNTHETIC, 10, 3, None, "class_weights", share)
    images = TrainingImages(*arguments, synthetic_steps=12)
    before, after = np.split(drawn(images, 20), [12])
    # Until then it is as without; then each real image comes twice in two passes.
    np.testing.assert_array_equal(before, drawn(TrainingImages(*arguments), 12))
    assert (before >= 40).any()
    assert np.bincount(after.ravel(), minlength=64).tolist() == [2] * 40 + [0] * 24
    np.testing.assert_allclose(images.shares(12), np.array([30, 9, 1]) / 40)
    _, labels, weights, _, _ = images.batch(12)
    expected = np.array([40 / 90, 40 / 27, 40 / 3])[labels]
    np.testing.assert_allclose(weights, expected, rtol=1e-6)
    assert not np.allclose(images.weights(0), images.weights(12))
    fresh = TrainingImages(*arguments, synthetic_steps=12)
    np.testing.assert_array_equal(fresh.items(17), after[5])
    with pytest.raises(InputError, match="needs synthetic images"):
        TrainingImages(REAL, None, 10, seed=0, synthetic_steps=3)


def test_balanced_sampling_draws_conditions_equally_often():
    images = TrainingImages(REAL, None, 16, 0, imbalance="balanced_sampling")
    items = drawn(images, 30).ravel()
    counts = np.bincount(LABELS[items])
    assert counts.tolist() == [160, 160, 160]
    of_images = np.bincount(items, minlength=40)
    assert np.ptp(of_images[:30]) <= 1 and np.ptp(of_images[30:39]) <= 1
    np.testing.assert_allclose(images.shares(0), 1 / 3)
    # Where a condition is missing, the others share its part.
    images = TrainingImages(
        REAL, SYNTHETIC, 12, 0, imbalance="balanced_sampling", real_share=0.5
    )
    labels = images.labels[drawn(images, 20)]
    assert np.bincount(labels[:, :6].ravel()).tolist() == [40, 40, 40]
    assert np.bincount(labels[:, 6:].ravel()).tolist() == [0, 60, 60]
    np.testing.assert_allclose(images.shares(0), [1 / 6, 5 / 12, 5 / 12])


def test_class_weights_are_scikit_learns():
    images = TrainingImages(REAL, None, 16, 0, imbalance="class_weights")
    np.testing.assert_allclose(
        images.weights(0),
        sklearn.utils.class_weight.compute_class_weight(
            "balanced", classes=np.arange(3), y=LABELS
        ),
        rtol=1e-6,
    )
    np.testing.assert_allclose(images.weights(0), [40 / 90, 40 / 27, 40 / 3], rtol=1e-6)
    np.testing.assert_array_equal(class_weights([0.5, 0.0, 0.5]), [1, 0, 1])
    # With a fixed share the batches decide, not what lies there.
    images = TrainingImages(
        REAL, SYNTHETIC, 16, 0, imbalance="class_weights", real_share=0.5
    )
    shares = 0.5 * np.array([30, 9, 1]) / 40 + 0.5 * np.array([0, 8, 16]) / 24
    np.testing.assert_allclose(images.weights(0), 1 / (3 * shares), rtol=1e-6)
    _, labels, weights, _, _ = images.batch(5)
    np.testing.assert_array_equal(weights, images.weights(5)[labels])


def test_synthetic_images_are_chosen_evenly_and_smaller_ratios_lie_in_larger_ones():
    choices = [
        set(chosen_synthetic(SYNTHETIC, 40, ratio, seed=1).tolist())
        for ratio in (0, 0.15, 0.3, 0.6, None)
    ]
    assert [len(choice) for choice in choices] == [0, 6, 12, 24, 24]
    for smaller, larger in zip(choices, choices[1:], strict=False):
        assert smaller <= larger
    shown = collections.Counter(SYNTHETIC.labels[list(choices[2])])
    assert shown == {1: 4, 2: 8}
    assert len(chosen_synthetic(SYNTHETIC, 40, 99, seed=1)) == 24
    with pytest.raises(InputError, match="from 0 on"):
        chosen_synthetic(SYNTHETIC, 40, -1, seed=1)


def test_batches_hold_the_images_also_of_a_file_larger_than_the_memory(tmp_path):
    mapped = np.memmap(tmp_path / "p", np.uint8, "w+", shape=REAL.images.shape)
    mapped[:] = REAL.images
    chosen = np.array([3, 11, 20])
    images = TrainingImages(
        type(REAL)(mapped, REAL.labels, REAL.conditions), SYNTHETIC, 16, 2, chosen
    )
    pool = np.concatenate([REAL.images, SYNTHETIC.images[chosen]])
    batches = list(training_batches(images, "none", 3, 6))
    assert len(batches) == 3
    for step, batch in enumerate(batches, start=3):
        items = images.items(step)
        assert items.max() < 43
        np.testing.assert_array_equal(batch["image"], pool[items])
        np.testing.assert_array_equal(batch["label"], images.labels[items])
        np.testing.assert_array_equal(batch["weight"], np.ones(16))
    again = next(iter(training_batches(images, "none", 4, 5)))
    for key in again:
        np.testing.assert_array_equal(again[key], batches[1][key])


def random_numbers(count, seed=0):
    return np.random.default_rng(seed).random((count, NUMBERS), np.float32)


@pytest.mark.parametrize("augment", ["full", "flips"])
def test_augmentation_is_the_same_however_a_batch_is_split(augment):
    images, numbers = REAL.images, random_numbers(40)
    whole = augmented(images, numbers, augment).numpy()
    parts = [
        augmented(images[part], numbers[part], augment).numpy()
        for part in np.split(np.arange(40), [1, 7, 23])
    ]
    np.testing.assert_array_equal(whole, np.concatenate(parts))
    assert whole.min() >= 0 and whole.max() <= 255


def test_flips_are_all_four_and_nothing_else():
    after = augmented(REAL.images, random_numbers(40), "flips").numpy()
    seen = set()
    for image, changed in zip(REAL.images, after, strict=True):
        (flip,) = [
            (u, v)
            for u in (1, -1)
            for v in (1, -1)
            if np.array_equal(changed, image[::u, ::v])
        ]
        seen.add(flip)
    assert len(seen) == 4
    np.testing.assert_array_equal(
        augmented(REAL.images, random_numbers(40), "none"), REAL.images
    )
    with pytest.raises(InputError, match="known: full, flips, none"):
        augmented(REAL.images, random_numbers(40), "most")


def one_change(**changed):
    """Numbers that leave an image as it is but for what is named."""
    numbers = {"mirrored": 1, "upturned": 1}
    for name in ("brightness", "contrast", "saturation", "hue"):
        numbers[name] = 0.5
    numbers |= {"side": 1, "top": 0, "left": 0, **changed}
    return np.array([list(numbers.values())], np.float32)


def test_each_change_is_what_it_is_called():
    image = spots(1, 5).images // 2 + 60  # nothing is clipped

    def change(**changed):
        return augmented(image, one_change(**changed), "full").numpy()[0]

    pixels = image[0].astype(np.float32)
    np.testing.assert_allclose(change(), pixels, atol=0.01)
    np.testing.assert_allclose(change(mirrored=0), pixels[:, ::-1], atol=0.01)
    np.testing.assert_allclose(change(upturned=0), pixels[::-1], atol=0.01)
    np.testing.assert_allclose(change(brightness=1), pixels + 25.5, atol=0.01)
    adjusted = tf.image.adjust_contrast(pixels, 1.2)
    np.testing.assert_allclose(change(contrast=1), adjusted, atol=0.01)
    grey = pixels @ np.array([0.299, 0.587, 0.114], np.float32)
    np.testing.assert_allclose(
        change(saturation=0),
        grey[..., None] + 0.7 * (pixels - grey[..., None]),
        atol=0.1,
    )
    window = pixels[np.ix_(range(20), range(20))]
    corner = change(side=0, top=0, left=0)
    step = 31 * 0.8 / 31  # of the window, a pixel of the outcome
    np.testing.assert_allclose(corner[0, 0], window[0, 0], atol=0.01)
    np.testing.assert_allclose(
        corner[0, 1], (1 - step) * window[0, 0] + step * window[0, 1], atol=0.01
    )


def test_hue_turns_a_little_and_keeps_lightness():
    image = np.full((1, 32, 32, 3), (190, 120, 100), np.uint8)
    before = colorsys.rgb_to_yiq(*image[0, 0, 0] / 255)
    turns = []
    for hue in (0, 1):
        after = augmented(image, one_change(hue=hue), "full").numpy()[0, 0, 0]
        after = colorsys.rgb_to_yiq(*after / 255)
        assert after[0] == pytest.approx(before[0], abs=2e-3)
        angle = np.angle(complex(*after[1:]) / complex(*before[1:]))
        turns.append(angle / (2 * np.pi))
    np.testing.assert_allclose(turns, [-MAX_HUE_CHANGE, MAX_HUE_CHANGE], atol=2e-3)


@pytest.mark.parametrize("imbalance", ["none", "balanced_sampling"])
@pytest.mark.parametrize("share", [None, 0.3])
def test_the_expected_share_of_real_images_is_what_comes(imbalance, share):
    images = TrainingImages(
        REAL, SYNTHETIC, 10, 3, imbalance=imbalance, real_share=share
    )
    real = (drawn(images, 200) < len(REAL)).mean()
    assert images.expected_real_share == pytest.approx(real, abs=0.02)
    assert images.real_images_seen(200) == round(2000 * real)
    alone = TrainingImages(REAL, None, 10, 3, imbalance=imbalance)
    assert alone.expected_real_share == 1 and alone.real_images_seen(7) == 70
