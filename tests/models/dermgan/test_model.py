import keras
import numpy as np
import pytest
import tensorflow as tf

import dermgan_tf as dg
from tests.helpers.tiny_pairs import make_tiny_pairs


def small_gan(**kwargs):
    keras.utils.set_random_seed(0)
    return dg.DermGAN(
        dg.build_generator(64, 4), dg.build_discriminator(64, 4), **kwargs
    )


def batch(n=4, seed=0):
    rng = np.random.default_rng(seed)
    vocabulary = dg.Vocabulary(["a", "b", "c"])
    maps, images = [], []
    for i in range(n):
        box = (0.2, 0.3, 0.6, 0.5 + 0.05 * (i % 8))
        painted = dg.encode_semantic_map(
            64, i % 7, [dg.Roi(box, "abc"[i % 3])], vocabulary
        )
        maps.append(painted / 127.5 - 1)
        images.append(
            np.clip(maps[-1][..., :1] + rng.normal(0, 0.1, (64, 64, 3)), -1, 1)
        )
    return {
        "semantic_map": np.array(maps, "float32"),
        "image": np.array(images, "float32"),
    }


def repeated(data):
    return tf.data.Dataset.from_tensors(data).repeat()


def test_fit_learns():
    gan = small_gan()
    gan.compile(keras.optimizers.Adam(2e-3, beta_1=0.5))
    first = gan.fit(repeated(batch()), steps_per_epoch=2, verbose=0).history
    gan.fit(repeated(batch()), steps_per_epoch=60, verbose=0)
    last = gan.fit(repeated(batch()), steps_per_epoch=2, verbose=0).history
    assert last["reconstruction_loss"][0] < 0.5 * first["reconstruction_loss"][0]
    assert last["condition_loss"][0] < 0.6 * first["condition_loss"][0]
    assert int(gan.generator_optimizer.iterations) == 64


def test_fits_loaded_pairs_by_the_epoch(tmp_path):
    pairs = dg.load_pairs(make_tiny_pairs(tmp_path / "clinic"), "train", batch_size=5)
    gan = small_gan()
    gan.compile()
    history = gan.fit(pairs, epochs=2, verbose=0).history
    assert len(history["generator_loss"]) == 2
    assert int(gan.generator_optimizer.iterations) == 2 * len(pairs) == 6


def test_step_equals_two_separate_updates():
    """One shared forward pass gives the gradients of two passes, one a network."""
    gan = small_gan()
    gan.compile(
        keras.optimizers.SGD(0.1),
        keras.optimizers.SGD(0.1),
        {
            "reconstruction": 3.0,
            "condition": 2.0,
            "feature_matching": 5.0,
            "diversity": 0.5,
        },
    )
    assert gan.lambdas["adversarial"] == 1.0  # the default of what was left out
    data = batch()
    m, x = (tf.constant(data[name]) for name in ("semantic_map", "image"))
    seed = gan._step_seeds(4)
    before = [w.numpy() for w in gan.trainable_weights]
    generator, discriminator = gan.generator, gan.discriminator
    with tf.GradientTape() as tape:
        y = generator(m, seed=seed)
        _, real_features = discriminator([m, x])
        logits, features = discriminator([m, y])
        mask = dg.roi_mask(tf.cast(tf.round((m + 1) * 127.5), tf.uint8))
        other = generator(m, seed=seed ^ 0x5BD1E995)
        assert np.unique(np.concatenate([seed, seed ^ 0x5BD1E995])).size == 8
        loss = (
            3 * dg.losses.reconstruction_loss(x, y)
            + 2 * dg.losses.condition_loss(x, y, mask)
            + 5 * dg.losses.feature_matching_loss(real_features, features)
            + dg.losses.generator_adversarial_loss(logits)
            + 0.5 * dg.losses.diversity_loss(y, other)
        )
    generator_gradients = tape.gradient(loss, generator.trainable_variables)
    with tf.GradientTape() as tape:
        y = tf.stop_gradient(generator(m, seed=seed))
        loss_d = dg.losses.discriminator_adversarial_loss(
            discriminator([m, x])[0], discriminator([m, y])[0]
        )
    discriminator_gradients = tape.gradient(loss_d, discriminator.trainable_variables)
    history = gan.fit(repeated(data), steps_per_epoch=1, verbose=0).history
    assert history["generator_loss"][0] == pytest.approx(float(loss), rel=1e-5)
    assert history["discriminator_loss"][0] == pytest.approx(float(loss_d), rel=1e-5)
    after = [w.numpy() for w in gan.trainable_weights]
    gradients = generator_gradients + discriminator_gradients
    for b, a, g in zip(before, after, gradients, strict=True):
        np.testing.assert_allclose(a, b - 0.1 * g, atol=1e-5)


@pytest.mark.parametrize("name", ["condition", "feature_matching"])
def test_switched_off_loss_has_no_part(name):
    gan = small_gan()
    gan.compile(loss_weights={name: 0.0})
    data = {key: tf.constant(value) for key, value in batch().items()}
    seed = tf.constant([1, 2, 3, 4])
    values = gan.compute_losses(data["semantic_map"], data["image"], seed)
    expected = sum(
        weight * float(values[f"{part}_loss"])
        for part, weight in gan.lambdas.items()
        if part != "diversity"  # off, and not computed
    )
    assert float(values[f"{name}_loss"]) > 0
    assert float(values["generator_loss"]) == pytest.approx(expected, rel=1e-5)
    assert gan.lambdas[name] == 0


def test_without_diversity_loss_there_is_no_second_pass_and_no_metric():
    gan = small_gan()
    gan.compile(loss_weights={"diversity": 0.0})
    calls = []
    paint = gan.generator.call
    gan.generator.call = lambda *args, **kwargs: (
        calls.append(1) or paint(*args, **kwargs)
    )
    data = {key: tf.constant(value) for key, value in batch().items()}
    seed = tf.constant([1, 2, 3, 4])
    values = gan.compute_losses(data["semantic_map"], data["image"], seed)
    assert len(calls) == 1 and "diversity_loss" not in values
    assert "diversity_loss" not in {metric.name for metric in gan.metrics}
    gan.compile(loss_weights={"diversity": 0.1})
    values = gan.compute_losses(data["semantic_map"], data["image"], seed)
    assert len(calls) == 3 and float(values["diversity_loss"]) > 0
    assert "diversity_loss" in {metric.name for metric in gan.metrics}


def test_diversity_loss_makes_seeds_differ():
    def difference(weight):
        gan = small_gan()
        gan.compile(
            keras.optimizers.Adam(2e-3, beta_1=0.5),
            loss_weights={"diversity": weight, "adversarial": 0, "feature_matching": 0},
        )
        gan.fit(repeated(batch()), steps_per_epoch=25, verbose=0)
        m = batch()["semantic_map"]
        one, other = (gan.generator(m, seed=[s] * 4).numpy() for s in (1, 2))
        return np.abs(one - other).mean()

    assert difference(0.1) > 2 * difference(0.0)


def test_average_follows_the_formula():
    gan = small_gan(ema_decay=0.5)
    gan.compile(keras.optimizers.SGD(0.1), keras.optimizers.SGD(0.1))
    average = [w.numpy() for w in gan.generator.weights]
    for step in range(1, 4):
        gan.fit(repeated(batch()), steps_per_epoch=1, verbose=0)
        decay = min(0.5, (1 + step) / (10 + step))
        average = [
            decay * a + (1 - decay) * w.numpy()
            for a, w in zip(average, gan.generator.weights, strict=True)
        ]
    for a, w in zip(average, gan.ema_generator.weights, strict=True):
        np.testing.assert_allclose(w.numpy(), a, atol=1e-6)
    maps = batch()["semantic_map"]
    np.testing.assert_array_equal(
        gan(maps, seed=[1, 2, 3, 4]), gan.ema_generator(maps, seed=[1, 2, 3, 4])
    )


def test_average_can_be_off():
    gan = small_gan(ema_decay=0)
    gan.compile()
    gan.fit(repeated(batch()), steps_per_epoch=2, verbose=0)
    assert gan.ema_generator is None
    assert gan.predict(batch()["semantic_map"], verbose=0).shape == (4, 64, 64, 3)


def test_same_seed_same_weights():
    weights = []
    for _ in range(2):
        gan = small_gan(seed=3)
        gan.compile()
        gan.fit(repeated(batch()), steps_per_epoch=3, verbose=0)
        weights.append(gan.get_weights())
    for a, b in zip(*weights, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_mixed_float16_scales_the_losses():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        gan = small_gan()
        gan.compile()
        gan.fit(repeated(batch()), steps_per_epoch=2, verbose=0)
    finally:
        keras.config.set_dtype_policy(before)
    for optimizer in (gan.generator_optimizer, gan.discriminator_optimizer):
        assert isinstance(optimizer, keras.optimizers.LossScaleOptimizer)


def test_saves_and_loads_and_goes_on(tmp_path):
    gan = small_gan()
    gan.compile(keras.optimizers.Adam(1e-3), loss_weights={"condition": 3.0})
    gan.fit(repeated(batch()), steps_per_epoch=2, verbose=0)
    gan.save(tmp_path / "gan.keras")
    loaded = keras.models.load_model(tmp_path / "gan.keras")
    maps = batch()["semantic_map"]
    np.testing.assert_array_equal(
        loaded(maps, seed=[1, 2, 3, 4]), gan(maps, seed=[1, 2, 3, 4])
    )
    assert loaded.lambdas == gan.lambdas
    for model in (gan, loaded):  # optimizer states were saved with the weights
        model.fit(repeated(batch()), steps_per_epoch=2, verbose=0)
    for a, b in zip(loaded.get_weights(), gan.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_bad_arguments():
    with pytest.raises(ValueError, match="unknown loss weights.*'style'"):
        small_gan().compile(loss_weights={"style": 1.0})
    with pytest.raises(ValueError, match="ema_decay"):
        small_gan(ema_decay=1.0)
