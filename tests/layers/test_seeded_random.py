import keras
import numpy as np
import pytest
import scipy.stats

from dermgan_tf.layers.seeded_random import SeededDropout, SeededNoise


def lowbias32(x):
    """The hash as published, on unsigned integers."""
    with np.errstate(over="ignore"):
        x = x ^ (x >> np.uint32(16))
        x = x * np.uint32(0x7FEB352D)
        x = x ^ (x >> np.uint32(15))
        x = x * np.uint32(0x846CA68B)
        return x ^ (x >> np.uint32(16))


def bits_oracle(seeds, salt, count):
    salted = lowbias32(np.array([salt + 1], np.uint32))[0]
    start = lowbias32(np.array(seeds, np.int32).view(np.uint32) ^ salted)
    with np.errstate(over="ignore"):
        return lowbias32(start[:, None] + np.arange(count, dtype=np.uint32))


@pytest.mark.parametrize("seeds", [[0], [1, -7, 2**31 - 1, -(2**31)]])
@pytest.mark.parametrize("salt", [0, 2])
def test_dropout_against_unsigned_arithmetic(seeds, salt):
    x = np.random.default_rng(0).normal(size=(len(seeds), 4, 4, 8)).astype("float32")
    dropped = SeededDropout(0.25, salt=salt)(x, np.array(seeds, "int32")).numpy()
    bits = bits_oracle(seeds, salt, 4 * 4 * 8) & np.uint32(0x7FFFFFFF)
    kept = (bits >= 0.25 * 2**31).reshape(x.shape)
    np.testing.assert_allclose(dropped, np.where(kept, x / 0.75, 0), rtol=1e-6)


def test_dropout_keeps_the_expected_share():
    x = np.ones((64, 8, 8, 16), "float32")
    dropped = SeededDropout(0.5)(x, np.arange(64, dtype="int32")).numpy()
    assert (dropped > 0).mean() == pytest.approx(0.5, abs=0.01)
    masks = (dropped > 0).reshape(64, -1).astype(float)
    correlations = np.corrcoef(masks)[np.triu_indices(64, 1)]
    assert np.abs(correlations).max() < 0.15  # 5 sigma of 1,024 fair coins


def test_noise_is_standard_and_differs_by_seed_and_salt():
    layer = SeededNoise(salt=3)
    zeros = np.zeros((8, 64, 64, 2), "float32")
    layer.build(zeros.shape)
    layer.set_weights([np.array([1.0, -2.0], "float32")])
    noise = layer(zeros, np.arange(8, dtype="int32")).numpy()
    np.testing.assert_allclose(noise[..., 1], -2 * noise[..., 0], rtol=1e-5)
    values = noise[..., 0]
    assert values.mean() == pytest.approx(0, abs=0.02)
    assert values.std() == pytest.approx(1, abs=0.02)
    quantiles = np.quantile(values, [0.05, 0.25, 0.5, 0.75, 0.95])
    normal = scipy.stats.norm.ppf([0.05, 0.25, 0.5, 0.75, 0.95])
    np.testing.assert_allclose(quantiles, normal, atol=0.06)
    other = SeededNoise(salt=4)
    other.build(zeros.shape)
    other.set_weights(layer.get_weights())
    other_noise = other(zeros, np.arange(8, dtype="int32")).numpy()[..., 0]
    flat = np.concatenate([values.reshape(8, -1), other_noise.reshape(8, -1)])
    correlations = np.corrcoef(flat)[np.triu_indices(16, 1)]
    assert np.abs(correlations).max() < 0.08
    # neighbouring pixels do not depend on one another either
    right = np.corrcoef(values[:, :, 1:].ravel(), values[:, :, :-1].ravel())[0, 1]
    assert abs(right) < 0.02


def test_layers_save_and_load(tmp_path):
    inputs = keras.Input((8, 8, 4))
    seed = keras.Input((), dtype="int32")
    x = SeededNoise(salt=1)(SeededDropout(0.3, salt=2)(inputs, seed), seed)
    model = keras.Model([inputs, seed], x)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    data = [np.ones((2, 8, 8, 4), "float32"), np.array([5, 6], "int32")]
    np.testing.assert_array_equal(loaded(data), model(data))


def test_bad_rate():
    with pytest.raises(ValueError, match="rate"):
        SeededDropout(1.0)
