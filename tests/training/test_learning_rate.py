"""The learning rate over a run."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dermgan_tf.training.optimizer import ConstantThenLinear


def pix2pix_share(epoch, n_epochs, n_epochs_decay):
    """The share of the rate in an epoch, 0 for the first (junyanz, lambda_rule)."""
    return 1.0 - max(0, epoch + 1 - n_epochs) / (n_epochs_decay + 1)


@pytest.mark.parametrize(("steps", "decay"), [(200, 100), (7, 3), (5, 5), (9, 0)])
def test_falls_as_in_pix2pix(steps, decay):
    schedule = ConstantThenLinear(2e-4, steps, decay)
    rates = [float(schedule(step)) for step in range(steps)]
    expected = [2e-4 * pix2pix_share(n, steps - decay, decay) for n in range(steps)]
    np.testing.assert_allclose(rates, expected, rtol=1e-6)
    assert min(rates) > 0


def test_long_runs_lose_no_step():
    schedule = ConstantThenLinear(1.0, steps=2**26, decay_steps=1000)
    last = tf.constant(2**26 - 1, tf.int64)
    assert float(schedule(last)) == pytest.approx(1 / 1001)
    assert float(schedule(last - 1)) == pytest.approx(2 / 1001)


@pytest.mark.parametrize("wrapped", [False, True])
def test_an_optimizer_follows_it(wrapped):
    weight = keras.Variable(0.0)
    optimizer = keras.optimizers.SGD(ConstantThenLinear(8.0, steps=4, decay_steps=3))
    if wrapped:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=4.0)
    optimizer.build([weight])

    @tf.function(jit_compile=True)
    def step():
        gradient = tf.constant(-1.0)
        optimizer.apply([optimizer.scale_loss(gradient)], [weight])

    weights = []
    for _ in range(4):
        step()
        weights.append(float(weight.value))
    np.testing.assert_allclose(np.diff([0.0, *weights]), [8, 6, 4, 2])


def test_survives_serialisation():
    optimizer = keras.optimizers.Adam(ConstantThenLinear(1e-3, 10, 4))
    config = keras.optimizers.serialize(optimizer)
    again = keras.optimizers.deserialize(config)
    assert again.get_config() == optimizer.get_config()
    assert float(again.learning_rate) == pytest.approx(1e-3)
