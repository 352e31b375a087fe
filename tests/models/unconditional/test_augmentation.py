"""Random changes of images, and their strength, against formulas and SciPy."""

import numpy as np
import pytest
import scipy.ndimage
import scipy.spatial
import scipy.stats
import tensorflow as tf

from dermgan_tf.layers.seeded_random import (
    normal_of_uniform,
    seeded_normal,
    seeded_uniform,
)
from dermgan_tf.models.unconditional import augmentation
from dermgan_tf.models.unconditional.augmentation import (
    ADJUST_EVERY,
    MAX_STRENGTH,
    AugmentationStrength,
    augment,
)
from dermgan_tf.photos.square import turned

SIZE = 12
DRAWS = augmentation._DRAWS


def images_of(n, size=SIZE, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, (n, size, size, 3)).astype(np.float32)


def affine(matrix=((1, 0), (0, 1)), offset=(0, 0)):
    whole = np.eye(3)
    whole[:2, :2], whole[:2, 2] = matrix, offset
    return whole


def expected(image, u, strength):
    """The paper's pipeline for one image: u are its random numbers, in order."""
    u = iter(u.astype(np.float64))
    size = len(image)

    def normal(deviation):
        return deviation * scipy.stats.norm.ppf(next(u))

    def chosen(values, otherwise):
        return values if next(u) < strength else otherwise

    def rotation(angle):
        c, s = np.cos(angle), np.sin(angle)
        return affine([[c, -s], [s, c]])

    # What comes later in the picture's way stands to the right: output to input.
    way = np.eye(3)
    flip = chosen(np.floor(2 * next(u)), 0)
    way = way @ affine([[1 - 2 * flip, 0], [0, 1]])
    turns = chosen(np.floor(4 * next(u)), 0)
    way = way @ rotation(np.pi / 2 * turns)
    shift = [np.round((2 * next(u) - 1) / 8 * size) for _ in range(2)]
    way = way @ affine(offset=-np.array(chosen(shift, [0, 0])))
    way = way @ affine(np.eye(2) / chosen(2 ** normal(0.2), 1))
    way = way @ rotation(chosen((2 * next(u) - 1) * np.pi, 0))
    shift = [normal(1 / 8) * size for _ in range(2)]
    way = way @ affine(offset=-np.array(chosen(shift, [0, 0])))
    middle = (size - 1) / 2
    rows, columns = np.mgrid[:size, :size] - middle
    places = np.einsum("ij,jhw->ihw", way, [columns, rows, np.ones_like(rows)])
    image = np.stack(
        [
            scipy.ndimage.map_coordinates(
                image[..., c], places[1::-1] + middle, order=1, mode="mirror"
            )
            for c in range(3)
        ],
        axis=-1,
    )
    image = image + chosen(normal(0.2), 0)
    image = image * chosen(2 ** normal(0.5), 1)
    axis = np.ones(3) / np.sqrt(3)
    hue = chosen((2 * next(u) - 1) * np.pi, 0)
    turn = scipy.spatial.transform.Rotation.from_rotvec(hue * axis)
    image = (turn.apply(image.reshape(-1, 3))).reshape(image.shape)
    grey = (image @ axis)[..., np.newaxis] * axis
    image = grey + (image - grey) * chosen(2 ** normal(1), 1)
    half = chosen(0.25, 0)
    near = [np.abs((np.arange(size) + 0.5) / size - next(u)) < half for _ in range(2)]
    image[near[0][:, np.newaxis] & near[1]] = 0
    assert next(u, None) is None
    return image


def test_against_the_papers_pipeline():
    images, seed = images_of(40), np.arange(40, dtype=np.int32)
    given = augment(tf.constant(images), tf.constant(seed), 0.5, salt=3).numpy()
    uniform = seeded_uniform(tf.constant(seed), 3, DRAWS).numpy()
    wanted = np.stack(
        [expected(*one, 0.5) for one in zip(images, uniform, strict=True)]
    )
    np.testing.assert_allclose(given, wanted, atol=2e-4)
    assert (np.abs(wanted - images).max(axis=(1, 2, 3)) > 0.1).mean() > 0.9


def test_strength_0_changes_nothing():
    images = images_of(20)
    given = augment(tf.constant(images), tf.range(20), 0.0).numpy()
    np.testing.assert_array_equal(given, images)


def test_flips_and_turns_are_exact():
    """The eight positions of the square come out to the bit."""
    images = images_of(8)
    matrices = [
        np.array([[f, 0], [0, 1]]) @ np.linalg.matrix_power([[0, -1], [1, 0]], k)
        for f in (1, -1)
        for k in range(4)
    ]
    given = augmentation._warped(
        tf.constant(images),
        tf.constant(np.array(matrices, np.float32)),
        tf.zeros((8, 2)),
    ).numpy()
    positions = set()
    for image, result in zip(images, given, strict=True):
        found = [t for t in range(8) if np.array_equal(turned(image, t), result)]
        positions.update(found)
    assert positions == set(range(8))


def test_an_image_depends_on_its_own_seed_alone():
    images, seed = images_of(6), tf.constant([5, 1, 9, 5, 2, 7])
    images[3] = images[0]
    together = augment(tf.constant(images), seed, 0.8).numpy()
    np.testing.assert_array_equal(together[3], together[0])
    for i in range(6):
        alone = augment(tf.constant(images[i : i + 1]), seed[i : i + 1], 0.8)
        np.testing.assert_allclose(alone[0], together[i], atol=1e-6)
    other = augment(tf.constant(images), seed, 0.8, salt=1).numpy()
    assert (np.abs(other - together).max(axis=(1, 2, 3)) > 0.01).all()


def test_gradients_are_those_of_a_linear_map():
    """Of a fixed seed the change is affine in the image, its gradient the adjoint."""
    images, seed = tf.constant(images_of(4)), tf.constant([1, 2, 3, 4])
    change, output = (tf.constant(images_of(4, seed=s)) for s in (1, 2))
    with tf.GradientTape() as tape:
        tape.watch(images)
        result = augment(images, seed, 0.7)
    gradient = tape.gradient(result, images, output_gradients=output)
    moved = augment(images + change, seed, 0.7) - result
    sums = [
        tf.reduce_sum(a * b, axis=(1, 2, 3)).numpy()
        for a, b in ((moved, output), (change, gradient))
    ]
    np.testing.assert_allclose(*sums, rtol=1e-3, atol=1e-3)


def test_each_kind_is_applied_as_often_as_asked():
    uniform = seeded_uniform(tf.range(4000), 0, DRAWS).numpy()
    assert uniform.min() > 0 and uniform.max() < 1
    shares = (uniform < 0.3).mean(axis=0)
    np.testing.assert_allclose(shares, 0.3, atol=0.03)
    correlations = np.corrcoef(uniform.T) - np.eye(DRAWS)
    assert np.abs(correlations).max() < 0.08


def test_normal_numbers():
    u = np.array([1e-4, 0.3, 0.5, 0.975], np.float32)
    np.testing.assert_allclose(
        normal_of_uniform(tf.constant(u)), scipy.stats.norm.ppf(u), atol=2e-4
    )
    numbers = seeded_normal(tf.range(500), 7, 64).numpy()
    assert numbers.shape == (500, 64) and np.isfinite(numbers).all()
    assert scipy.stats.kstest(numbers.ravel(), "norm").pvalue > 1e-3
    np.testing.assert_array_equal(seeded_normal(tf.constant([7]), 7, 64)[0], numbers[7])


@pytest.mark.parametrize(("batch", "target"), [(32, 0.6), (100, 0.6), (100, 0.4)])
def test_the_strength_moves_as_the_paper_says(batch, target):
    strength = AugmentationStrength(images=1000, target=target)
    rng = np.random.default_rng(0)
    value, signs, seen = 0.0, 0.0, 0
    values = []
    for step in range(60):
        # At first it knows the images, then it does not, then it does again.
        mean = (2.0, 0.1, 3.0)[step // 20]
        logits = rng.normal(mean, 1, (batch, 1)).astype(np.float32)
        strength.update(tf.constant(logits))
        signs, seen = signs + np.sign(logits).sum(), seen + batch
        if seen >= ADJUST_EVERY:
            value += np.sign(signs / seen - target) * seen / 1000
            value = min(max(value, 0.0), MAX_STRENGTH)
            signs, seen = 0.0, 0
        values.append(value)
        assert float(strength.value) == pytest.approx(value, abs=1e-5)
    assert max(values[:20]) > 0.5 and values[39] == 0 and max(values[40:]) > 0.5
    strength.value.assign(before := 0.3)
    for _ in range(2):  # the first may end a count that was begun
        strength.update(tf.constant([[1.0], [1.0], [1.0], [-1.0]] * ADJUST_EVERY))
    assert (strength.value > before) == (target < 0.5)
