import numpy as np
import pytest

import dermgan_tf as dg

RNG = np.random.default_rng(7)
REAL, SYNTHETIC = RNG.uniform(-1, 1, (2, 5, 16, 16, 3)).astype("float32")
MASK = (RNG.random((5, 16, 16, 1)) < 0.2).astype("float32")
MASK[3] = 0  # an image without ROI
LOGITS = RNG.normal(0, 4, (2, 5, 6, 6, 1)).astype("float32")


def sigmoid_cross_entropy(logits, label):
    """-log p straight from the definition, in float64 and clipped against log 0."""
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    p = np.clip(p if label else 1 - p, 1e-300, 1)
    return -np.log(p).mean()


def test_reconstruction():
    expected = np.abs(REAL.astype(np.float64) - SYNTHETIC).mean()
    assert float(dg.losses.reconstruction_loss(REAL, SYNTHETIC)) == pytest.approx(
        expected
    )


def test_condition_is_averaged_per_image_inside_its_rois():
    per_image = []
    for x, y, m in zip(REAL, SYNTHETIC, MASK, strict=True):
        inside = np.abs(x - y)[m[..., 0] > 0]
        per_image.append(inside.mean() if inside.size else 0.0)
    loss = float(dg.losses.condition_loss(REAL, SYNTHETIC, MASK))
    assert loss == pytest.approx(np.mean(per_image), rel=1e-5)
    assert per_image[3] == 0


def test_feature_matching_holds_real_features_constant():
    import tensorflow as tf

    a = tf.constant(RNG.normal(size=(4, 7, 7, 8)).astype("float32"))
    b = tf.constant(RNG.normal(size=(4, 7, 7, 8)).astype("float32"))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([a, b])
        loss = dg.losses.feature_matching_loss(a, b)
    assert float(loss) == pytest.approx(((a.numpy() - b.numpy()) ** 2).mean(), rel=1e-5)
    assert tape.gradient(loss, a) is None
    np.testing.assert_allclose(
        tape.gradient(loss, b), 2 * (b - a) / tf.cast(tf.size(a), tf.float32), rtol=1e-5
    )


def test_diversity_is_bounded_and_falls_as_images_differ():
    difference = np.abs(REAL - SYNTHETIC).astype(np.float64).mean(axis=(1, 2, 3))
    assert float(dg.losses.diversity_loss(REAL, SYNTHETIC)) == pytest.approx(
        (1 / (difference + 0.01)).mean(), rel=1e-5
    )
    assert float(dg.losses.diversity_loss(REAL, REAL)) == pytest.approx(100)
    half = REAL + (SYNTHETIC - REAL) / 2
    assert dg.losses.diversity_loss(REAL, half) > dg.losses.diversity_loss(
        REAL, SYNTHETIC
    )


def test_adversarial():
    real, synthetic = LOGITS
    assert float(dg.losses.generator_adversarial_loss(synthetic)) == pytest.approx(
        sigmoid_cross_entropy(synthetic, 1), rel=1e-5
    )
    assert float(
        dg.losses.discriminator_adversarial_loss(real, synthetic)
    ) == pytest.approx(
        0.5 * (sigmoid_cross_entropy(real, 1) + sigmoid_cross_entropy(synthetic, 0)),
        rel=1e-5,
    )


def test_large_logits_stay_finite():
    large = np.full((2, 3, 3, 1), 1e4, "float32")
    assert float(dg.losses.generator_adversarial_loss(-large)) == pytest.approx(1e4)
    assert float(dg.losses.discriminator_adversarial_loss(large, -large)) == 0


def test_low_precision_inputs_are_summed_in_float32():
    import tensorflow as tf

    loss = dg.losses.reconstruction_loss(tf.cast(REAL, tf.bfloat16), SYNTHETIC)
    assert loss.dtype == tf.float32
