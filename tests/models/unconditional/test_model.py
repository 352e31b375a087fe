"""Networks and the training step of unconditional generation, against formulas."""

import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from dermgan_tf.models.unconditional import augmentation
from dermgan_tf.models.unconditional.model import (
    R1_EVERY,
    UnconditionalGAN,
    default_r1_weight,
    gradient_penalty,
)
from dermgan_tf.models.unconditional.networks import (
    build_image_discriminator,
    build_latent_generator,
    latents_of_seeds,
)
from dermgan_tf.training.checkpoints import Checkpoints
from dermgan_tf.training.optimizer import dtype_policy

SIZE = 16


def images_of(n, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, (n, SIZE, SIZE, 3)).astype(np.float32)


@contextlib.contextmanager
def floatx(name):
    before = keras.config.floatx()
    keras.config.set_floatx(name)
    try:
        yield
    finally:
        keras.config.set_floatx(before)


def gan(**kwargs):
    keras.utils.set_random_seed(0)
    model = UnconditionalGAN(
        build_latent_generator(SIZE, 2, 8), build_image_discriminator(SIZE, 2), **kwargs
    )
    model.compile(keras.optimizers.SGD(0.1), keras.optimizers.SGD(0.1))
    return model


@pytest.mark.parametrize("size", [16, 64])
def test_networks(size):
    generator = build_latent_generator(size, 1, 8)
    latents = latents_of_seeds(tf.constant([3, 4]), 8)
    images = generator(latents)
    assert images.shape == (2, size, size, 3) and images.dtype == "float32"
    assert np.abs(images).max() <= 1
    np.testing.assert_allclose(generator(latents[:1]), images[:1], atol=1e-6)
    discriminator = build_image_discriminator(size, 1)
    logits = discriminator(images)
    assert logits.shape == (2, 1)
    np.testing.assert_allclose(discriminator(images[1:]), logits[1:], atol=1e-6)


def test_a_block_is_the_papers():
    """Resize, then leaky, convolution, leaky, convolution, times 0.1, on a shortcut."""
    generator = build_latent_generator(SIZE, 2, 8)
    layer = {one.name: one for one in generator.layers}
    x = tf.constant(np.random.default_rng(0).normal(size=(2, 4, 4, 4)), tf.float32)
    inner = keras.Model(layer["block_0"].output, layer["block_1"].output)
    given = inner(x)

    def leaky(x):
        return tf.nn.leaky_relu(x, 0.2)

    large = tf.repeat(tf.repeat(x, 2, axis=1), 2, axis=2)
    conv_0, conv_1 = layer["block_1_conv_0"], layer["block_1_conv_1"]
    y = tf.nn.conv2d(leaky(large), conv_0.kernel, 1, "SAME") + conv_0.bias
    y = tf.nn.conv2d(leaky(y), conv_1.kernel, 1, "SAME") + conv_1.bias
    shortcut = tf.nn.conv2d(large, layer["block_1_shortcut"].kernel, 1, "SAME")
    np.testing.assert_allclose(given, shortcut + 0.1 * y, atol=1e-5)


def test_to_scale_latents_is_to_truncate_features():
    """The first layer's features move towards their mean, which is the bias."""
    generator = build_latent_generator(SIZE, 2, 8)
    first = generator.get_layer("first")
    first.bias.assign(np.random.default_rng(0).normal(size=first.bias.shape))
    latents = latents_of_seeds(tf.range(50), 8)
    features = keras.Model(generator.input, first.output)
    mean = first.bias.numpy()
    truncated = mean + 0.3 * (features(latents) - mean)
    np.testing.assert_allclose(features(0.3 * latents), truncated, atol=1e-4)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: build_latent_generator(8), "a power of two, 16 to 512, got 8"),
        (lambda: build_image_discriminator(48), "a power of two, 16 to 512, got 48"),
        (lambda: build_latent_generator(16, 0), "base_filters must be at least 1"),
        (lambda: build_latent_generator(16, 1, 0), "latent_size must be at least 1"),
    ],
)
def test_bad_networks(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_the_penalty_of_a_linear_discriminator():
    """D(x) = w·x + b has the gradient w everywhere: the penalty is ½ |w|²."""
    image = keras.Input((SIZE, SIZE, 3))
    logit = keras.layers.Dense(1)(keras.layers.Flatten()(image))
    network = keras.Model(image, logit)
    kernel = network.trainable_variables[0].value
    with tf.GradientTape() as tape:
        penalty = gradient_penalty(network, tf.constant(images_of(3)))
    assert float(penalty) == pytest.approx(0.5 * (kernel.numpy() ** 2).sum(), rel=1e-5)
    np.testing.assert_allclose(tape.gradient(penalty, kernel), kernel, rtol=1e-5)


def test_the_penalty_and_its_gradient_against_finite_differences():
    keras.utils.set_random_seed(1)
    with dtype_policy("float64"), floatx("float64"):
        network = build_image_discriminator(SIZE, 1)
    images = images_of(2).astype(np.float64)
    logits = keras.Model(network.input, network.get_layer("logit").output)

    def penalty():
        """½ mean |∇D|², from the slope along every pixel's every colour."""
        slopes = []
        for image in images:
            moved = np.eye(image.size).reshape(-1, *image.shape) * 1e-5
            up, down = (logits(image + sign * moved).numpy() for sign in (1, -1))
            slopes.append((up - down)[:, 0] / 2e-5)
        return 0.5 * np.mean([(slope**2).sum() for slope in slopes])

    # The logits' last layer is float32, for training: take the one before it.
    with tf.GradientTape() as tape:
        given = gradient_penalty(logits, tf.constant(images))
    assert float(given) == pytest.approx(penalty(), rel=1e-5)
    kernel = network.get_layer("block_1_conv_0").kernel
    gradient = tape.gradient(given, kernel.value).numpy()
    place = np.unravel_index(np.abs(gradient).argmax(), gradient.shape)
    found, value = [], kernel.numpy()
    for sign in (1, -1):
        changed = value.copy()
        changed[place] += sign * 1e-4
        kernel.assign(changed)
        found.append(penalty())
    assert (found[0] - found[1]) / 2e-4 == pytest.approx(gradient[place], rel=1e-3)


def test_default_weight_of_the_penalty():
    assert default_r1_weight(256, 16) == pytest.approx(0.8192)  # as in StyleGAN2-ADA


def test_losses_of_a_step():
    model = gan(adaptive_augmentation=False, ema_decay=0.9)
    real, seed = tf.constant(images_of(4)), tf.constant([1, 2, 3, 4])
    synthetic = model.generator(latents_of_seeds(seed, 8))
    real_logits, logits = (model.discriminator(x).numpy() for x in (real, synthetic))
    for step in range(2):
        model.generator_optimizer.iterations.assign(step)
        values = {
            name: float(value)
            for name, value in model.batch_losses({"image": real}, seed).items()
        }
        r1 = 0.0
        if step == 0:  # the others follow from step 16 on
            r1 = R1_EVERY * float(gradient_penalty(model.discriminator, real))
            assert r1 > 0
        assert values["r1_loss"] == pytest.approx(r1, rel=1e-5)
        assert values["generator_loss"] == pytest.approx(
            np.log1p(np.exp(-logits)).mean(), rel=1e-5
        )
        adversarial = np.log1p(np.exp(-real_logits)).mean()
        adversarial += np.log1p(np.exp(logits)).mean()
        assert values["discriminator_loss"] == pytest.approx(
            adversarial + model.lambdas["r1"] * r1, rel=1e-5
        )
        assert values["real_sign"] == pytest.approx(np.sign(real_logits).mean())
        assert values["augmentation"] == 0
    assert model.strength is None


def test_the_penalty_trains_the_discriminator_every_16th_step():
    """With weight 0 all other steps are the same."""
    data = {"image": tf.constant(images_of(4))}
    weights = []
    for r1 in (50.0, 0.0):
        model = gan(adaptive_augmentation=False, ema_decay=0.0)
        model.compile(keras.optimizers.SGD(0.1), keras.optimizers.SGD(0.1), {"r1": r1})
        model.generator_optimizer.iterations.assign(14)
        found = []
        for _ in range(3):
            results = model.train_step(data)
            found.append(model.discriminator.get_weights())
        weights.append(found)
        assert ("r1_loss" in results) == (r1 > 0)
    changes = [
        max(np.abs(a - b).max() for a, b in zip(*pair, strict=True))
        for pair in zip(*weights, strict=True)
    ]
    assert changes[0] == changes[1] == 0 < changes[2]


def test_a_model_is_built_again_from_its_config():
    model = gan(adaptation_images=77, augmentation_target=0.25, seed=5)
    copy = UnconditionalGAN.from_config(model.get_config())
    assert copy.adaptation_images == copy.strength.images == 77
    assert copy.augmentation_target == copy.strength.target == 0.25
    assert copy.seed == 5 and copy.latent_size == 8
    assert [w.shape for w in copy.weights] == [w.shape for w in model.weights]


def test_a_restored_state_goes_on_to_the_last_bit(tmp_path):
    """Weights, moments, average and the augmentation's strength with its counts."""
    batches = [{"image": tf.constant(images_of(3, seed))} for seed in range(4)]

    def step(model, data):
        return {k: float(v) for k, v in model.train_step(data).items()}

    def new():
        model = gan(adaptation_images=20, ema_decay=0.9)
        model.strength.value.assign(0.5)
        return model, tf.Variable(0, dtype=tf.int64)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(augmentation, "ADJUST_EVERY", 6)
        model, variable = new()
        for data in batches[:1]:
            step(model, data)
        Checkpoints(tmp_path, 1, **model.state(variable)).save(1)
        wanted = [step(model, data) for data in batches[1:]]
        copy, variable = new()
        copy.strength.value.assign(0.1)
        Checkpoints(tmp_path, 1, **copy.state(variable)).restore()
        given = [step(copy, data) for data in batches[1:]]
    assert given == wanted
    assert len({row["augmentation"] for row in wanted}) > 1
    for ours, theirs in zip(copy.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
