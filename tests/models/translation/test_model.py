"""Networks and losses of lesion translation and of the CycleGAN, against formulas."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dermgan_tf.layers import losses
from dermgan_tf.models.translation.cyclegan import CycleGAN, ImagePool
from dermgan_tf.models.translation.model import LesionTranslation
from dermgan_tf.models.translation.networks import (
    build_domain_discriminator,
    build_translator,
    composed,
)
from dermgan_tf.models.translation.task import build_cyclegan, build_lesion_translation
from dermgan_tf.training.checkpoints import Checkpoints

SETTINGS = {
    "image_size": 16,
    "base_filters": 2,
    "architecture": "unet",
    "compose": True,
    "direction": "add",
    "use_masks": True,
    "pool_size": 0,
    "hide_masked": False,
}


def batch(n=2, size=16, seed=0):
    rng = np.random.default_rng(seed)
    mask = np.zeros((n, size, size, 1), np.float32)
    mask[:, 4:12, 5:13] = 1
    return {
        "healthy": rng.uniform(-1, 1, (n, size, size, 3)).astype(np.float32),
        "pathology": rng.uniform(-1, 1, (n, size, size, 3)).astype(np.float32),
        "mask": mask,
    }


def inside(x, y, mask):  # one mask in all of the batch
    return tf.reduce_sum(tf.abs(x - y) * mask) / (3 * tf.reduce_sum(mask))


def tensors(**kwargs):
    return {name: tf.constant(value) for name, value in batch(**kwargs).items()}


@pytest.mark.parametrize("architecture", ["resnet", "unet"])
@pytest.mark.parametrize("use_mask", [True, False])
def test_translators(architecture, use_mask):
    network = build_translator(32, 2, architecture, use_mask)
    data = batch(size=32)
    inputs = [data["healthy"], data["mask"]] if use_mask else data["healthy"]
    image = network(inputs)
    assert image.shape == (2, 32, 32, 3) and image.dtype == "float32"
    assert np.abs(image).max() <= 1
    if use_mask:  # it reads the mask, and no image depends on its neighbours
        other = network([data["healthy"], 1 - data["mask"]])
        assert np.abs(other - image).max() > 0
        alone = network([data["healthy"][:1], data["mask"][:1]])
        np.testing.assert_allclose(alone, image[:1], atol=1e-5)
    copy = keras.Model.from_config(network.get_config())
    assert [w.shape for w in copy.weights] == [w.shape for w in network.weights]


@pytest.mark.parametrize("architecture", ["resnet", "unet"])
def test_a_translator_that_does_not_see_what_it_paints(architecture):
    network = build_translator(32, 2, architecture, hide_masked=True)
    data = batch(size=32)
    photo, other, mask = data["healthy"], data["pathology"], data["mask"]
    covered = np.zeros((1, 32, 32, 1), bool)
    covered[:, 3:13, 4:14] = True  # and a pixel of border, which is painted too
    image = network([photo, mask])
    hidden = network([np.where(covered, other, photo), mask])
    np.testing.assert_array_equal(hidden, image)
    beside = photo.copy()
    beside[:, 2, 4:14] *= -1
    assert np.abs(network([beside, mask]) - image).max() > 0
    assert np.abs(network([photo, 0 * mask]) - image).max() > 0
    copy = keras.Model.from_config(network.get_config())
    copy.set_weights(network.get_weights())
    np.testing.assert_array_equal(copy([photo, mask]), image)
    with pytest.raises(ValueError, match="hide_masked needs a mask"):
        build_translator(32, 2, architecture, use_mask=False, hide_masked=True)


@pytest.mark.parametrize(("size", "side"), [(16, 6), (32, 6), (64, 6), (128, 14)])
def test_domain_discriminator(size, side):
    network = build_domain_discriminator(size, 1)
    logits = network([np.zeros((1, size, size, 3)), np.zeros((1, size, size, 1))])
    assert logits.shape == (1, side, side, 1)


def test_bad_networks():
    for arguments, message in (
        ((24, 2), "image_size must be one of"),
        ((16, 0), "base_filters must be at least 1"),
        ((16, 2, "vgg"), "unknown architecture 'vgg'; known: resnet, unet"),
    ):
        with pytest.raises(ValueError, match=message):
            build_translator(*arguments)
    with pytest.raises(ValueError, match="unknown direction 'both'"):
        build_lesion_translation({**SETTINGS, "direction": "both"})


def test_composition_leaves_the_outside_to_the_bit():
    data = batch(size=64, seed=3)
    mask = np.zeros((2, 64, 64, 1), np.float32)
    mask[0, 10:50, 20:60] = 1
    photo, painted = data["healthy"], data["pathology"]
    result = np.asarray(composed(photo, painted, mask))
    inside = mask[..., 0] == 1
    np.testing.assert_allclose(result[inside], painted[inside], atol=1e-6)
    beyond = np.ones((2, 64, 64), bool)
    beyond[0, 8:52, 18:62] = False  # two pixels of soft border
    np.testing.assert_array_equal(result[beyond], photo[beyond])
    share = (result - photo)[0, 30, 16:22] / (painted - photo)[0, 30, 16:22]
    np.testing.assert_allclose(share.mean(-1), [0, 0, 0.4, 0.8, 1, 1], atol=1e-4)


def test_a_mask_of_the_whole_photo_takes_all_that_is_painted():
    data = batch()
    result = composed(data["healthy"], data["pathology"], np.ones_like(data["mask"]))
    np.testing.assert_allclose(result, data["pathology"], atol=1e-6)


def test_losses_are_their_formulas():
    data = batch(seed=1)
    x, y, m = data["healthy"], data["pathology"], data["mask"]
    m[1] = 0
    expected = np.mean(
        [((x[i] - y[i]) ** 2)[m[i, ..., 0] == 0].mean() for i in range(2)]
    )
    assert float(losses.relevancy_loss(x, y, m)) == pytest.approx(expected, rel=1e-5)
    assert float(losses.relevancy_loss(x, y, np.ones_like(m))) == 0
    variation = tf.image.total_variation(tf.constant(x)).numpy() / (15 * 16 * 3)
    assert float(losses.total_variation_loss(x)) == pytest.approx(
        variation.mean(), rel=1e-5
    )


@pytest.mark.parametrize(
    ("direction", "hide_masked"), [("add", False), ("remove", False), ("remove", True)]
)
def test_lesion_translation_plays_by_its_losses(direction, hide_masked):
    """Each player's update is that of its own loss alone, of separate passes."""
    keras.utils.set_random_seed(0)
    model = build_lesion_translation(
        {**SETTINGS, "direction": direction, "hide_masked": hide_masked}
    )
    weights = {
        "relevancy": 3.0,
        "identity": 2.0,
        "identity_inside": 1.5,
        "total_variation": 0.5,
    }
    model.compile(keras.optimizers.SGD(0.1), keras.optimizers.SGD(0.1), weights)
    data = tensors()
    mask = data["mask"]
    source, target = data["healthy"], data["pathology"]
    if direction == "remove":
        source, target = target, source
    generator, discriminator = model.generator, model.discriminator
    before = [w.numpy() for w in model.trainable_weights]
    with tf.GradientTape() as tape:
        painted = generator([source, mask])
        result = composed(source, painted, mask)
        kept = generator([target, mask])
        results = [result]
        if hide_masked:
            results.append(composed(target, kept, mask))
        loss = (
            sum(
                losses.generator_adversarial_loss(discriminator([image, mask]))
                for image in results
            )
            / len(results)
            + 3 * losses.relevancy_loss(source, painted, mask)
            + 2 * tf.reduce_mean(tf.abs(kept - target))
            + 1.5 * inside(kept, target, mask)
            + 0.5 * losses.total_variation_loss(painted)
        )
    gradients = tape.gradient(loss, generator.trainable_variables)
    with tf.GradientTape() as tape:
        loss_d = sum(
            losses.discriminator_adversarial_loss(
                discriminator([target, mask]), discriminator([image, mask])
            )
            for image in results
        ) / len(results)
    gradients += tape.gradient(loss_d, discriminator.trainable_variables)
    values = model.train_step(data)
    assert float(values["generator_loss"]) == pytest.approx(float(loss), rel=1e-4)
    assert float(values["discriminator_loss"]) == pytest.approx(float(loss_d), rel=1e-4)
    after = [w.numpy() for w in model.trainable_weights]
    for b, a, g in zip(before, after, gradients, strict=True):
        np.testing.assert_allclose(a, b - 0.1 * g, atol=1e-5)
    changed = model(source, mask)
    beyond = np.ones((2, 16, 16), bool)
    beyond[:, 3:13, 4:14] = False  # the mask, and a pixel around it
    np.testing.assert_array_equal(changed.numpy()[beyond], source.numpy()[beyond])
    assert np.abs(changed - source).max() > 0.1
    with pytest.raises(ValueError, match=f"trained to {direction}"):
        model.translate(source, mask, "repaint")


def test_optional_losses_that_have_no_weight_are_not_computed():
    model = build_lesion_translation(SETTINGS)
    model.compile(loss_weights={"identity": 0.0})
    names = {metric.name for metric in model.metrics}
    assert names == {
        "generator_loss",
        "discriminator_loss",
        "adversarial_loss",
        "relevancy_loss",
    }
    seeds = tf.constant([1, 2])
    assert model.batch_losses(tensors(), seeds).keys() == names


@pytest.mark.parametrize("use_masks", [True, False])
def test_cyclegan_plays_by_its_losses(use_masks):
    keras.utils.set_random_seed(0)
    model = build_cyclegan({**SETTINGS, "use_masks": use_masks})
    weights = {"cycle": 4.0, "cycle_inside": 3.0, "identity": 2.0}
    model.compile(keras.optimizers.SGD(0.1), keras.optimizers.SGD(0.1), weights)
    data = tensors()
    healthy, pathology, mask = data["healthy"], data["pathology"], data["mask"]
    before = [w.numpy() for w in model.trainable_weights]

    def paint(network, x):
        return network([x, mask]) if use_masks else network(x)

    def change(network, x):
        return composed(x, paint(network, x), mask) if use_masks else paint(network, x)

    add, remove = model.adder, model.remover
    judge_sick, judge_healthy = model.adder_discriminator, model.remover_discriminator
    generators = add.trainable_variables + remove.trainable_variables
    judges = judge_sick.trainable_variables + judge_healthy.trainable_variables
    with tf.GradientTape(persistent=True) as tape:
        added, removed = change(add, healthy), change(remove, pathology)
        back, restored = change(remove, added), change(add, removed)
        loss = (
            tf.reduce_mean(tf.nn.softplus(-paint(judge_sick, added)))
            + tf.reduce_mean(tf.nn.softplus(-paint(judge_healthy, removed)))
            + 4 * tf.reduce_mean(tf.abs(healthy - back))
            + 4 * tf.reduce_mean(tf.abs(pathology - restored))
            + 3 * (inside(healthy, back, mask) + inside(pathology, restored, mask))
            + 2 * tf.reduce_mean(tf.abs(paint(add, pathology) - pathology))
            + 2 * tf.reduce_mean(tf.abs(paint(remove, healthy) - healthy))
        )
        loss_d = losses.discriminator_adversarial_loss(
            paint(judge_sick, pathology), paint(judge_sick, added)
        ) + losses.discriminator_adversarial_loss(
            paint(judge_healthy, healthy), paint(judge_healthy, removed)
        )
    gradients = tape.gradient(loss, generators) + tape.gradient(loss_d, judges)
    values = model.train_step(data)
    assert float(values["generator_loss"]) == pytest.approx(float(loss), rel=1e-4)
    assert float(values["discriminator_loss"]) == pytest.approx(float(loss_d), rel=1e-4)
    after = [w.numpy() for w in model.trainable_weights]
    for b, a, g in zip(before, after, gradients, strict=True):
        np.testing.assert_allclose(a, b - 0.1 * g, atol=1e-5)


def test_models_save_and_load(tmp_path):
    for model, kind in (
        (build_lesion_translation(SETTINGS), LesionTranslation),
        (build_cyclegan({**SETTINGS, "pool_size": 4}, batch_size=2), CycleGAN),
    ):
        model.compile()
        model.save(tmp_path / "model.keras")
        loaded = keras.models.load_model(tmp_path / "model.keras")
        assert type(loaded) is kind
        data = tensors()
        np.testing.assert_array_equal(
            loaded(data["healthy"], data["mask"]), model(data["healthy"], data["mask"])
        )


def test_a_cyclegan_goes_on_from_its_state(tmp_path):
    """All that a step depends on is in the state, the pools of past images too."""

    def built():
        keras.utils.set_random_seed(5)
        model = build_cyclegan(
            {**SETTINGS, "pool_size": 4}, seed=7, ema_decay=0.9, batch_size=2
        )
        model.compile()
        step = tf.Variable(0, dtype=tf.int64)
        return model, Checkpoints(tmp_path, 2, **model.state(step))

    whole, checkpoints = built()
    for step in range(6):
        if step == 4:
            checkpoints.save(step)
        values = whole.train_step(tensors(seed=step))
    later, checkpoints = built()
    assert checkpoints.restore() == 4
    for step in (4, 5):
        resumed = later.train_step(tensors(seed=step))
    for name, value in values.items():
        assert float(resumed[name]) == float(value), name
    for ours, theirs in zip(later.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for name in ("adder_pool", "remover_pool"):
        ours, theirs = (getattr(model, name).images.numpy() for model in (later, whole))
        np.testing.assert_array_equal(ours, theirs)
        assert np.abs(theirs).max(axis=(2, 3, 4)).all()  # full: two slots a place


def numbered(values):
    return tf.reshape(tf.constant(values, tf.float32), [-1, 1, 1, 1])


def test_pool_exchanges_images_as_its_sources_say():
    pool = ImagePool(size=8, batch_size=2, image_shape=(1, 1, 1), salt=7)
    assert pool.slots == 4
    held: list[set] = [set(), set()]
    past = returned = 0
    for step in range(200):
        new = [step + 0.25, step + 0.5]
        seeds = tf.constant([2 * step, 2 * step + 1])
        out = pool.exchange(numbered(new), seeds, tf.constant([0, 1]), step)
        for place, value in enumerate(out.numpy().ravel()):
            if step < 4:  # it fills, and nothing is exchanged
                assert value == new[place]
                held[place].add(value)
                continue
            returned += 1
            if value == pytest.approx(new[place], rel=1e-5):
                continue
            past += 1
            (same,) = [v for v in held[place] if v == pytest.approx(value, rel=1e-5)]
            held[place].remove(same)
            held[place].add(new[place])
    stored = pool.images.numpy()[..., 0, 0, 0]
    for place in range(2):
        np.testing.assert_allclose(
            sorted(stored[place]), sorted(held[place]), rtol=1e-5
        )
    assert 0.4 < past / returned < 0.6


def test_pool_of_two_replicas_is_that_of_one():
    whole, parts = (
        ImagePool(size=6, batch_size=4, image_shape=(1, 1, 2), salt=7) for _ in range(2)
    )
    rng = np.random.default_rng(0)
    for step in range(12):
        images = rng.normal(size=(4, 1, 1, 2)).astype(np.float32)
        seeds, places = tf.range(4) + 97 * step, tf.range(4)
        ours = whole.exchange(images, seeds, places, step)
        theirs = [
            parts.exchange(images[i : i + 2], seeds[i : i + 2], places[i : i + 2], step)
            for i in (0, 2)
        ]
        np.testing.assert_array_equal(ours, tf.concat(theirs, 0))
    np.testing.assert_array_equal(whole.images, parts.images)
