import keras
import numpy as np
import pytest
import tensorflow as tf

from dermgan_tf.training.optimizer import Adam


def train(optimizer, steps=20):
    """Minimises a small function; the variables and all of the optimizer's state."""
    rng = np.random.default_rng(0)
    variables = [
        keras.Variable(rng.normal(size=shape).astype("float32"))
        for shape in ((5, 4), (3,), ())
    ]
    gradients = [
        [rng.normal(size=v.shape).astype("float32") for v in variables]
        for _ in range(steps)
    ]

    @tf.function
    def step(*gradients):
        optimizer.apply(list(gradients), variables)

    optimizer.build(variables)
    for some in gradients:
        step(*map(tf.constant, some))
    return [np.array(v) for v in [*variables, *optimizer.variables]]


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"learning_rate": 0.1, "beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-3},
        {"weight_decay": 0.01, "clipnorm": 0.5},
        {"learning_rate": keras.optimizers.schedules.ExponentialDecay(0.1, 5, 0.5)},
        {"amsgrad": True},
    ],
    ids=lambda arguments: " ".join(arguments) or "none",
)
def test_does_what_keras_adam_does(arguments):
    ours, theirs = train(Adam(**arguments)), train(keras.optimizers.Adam(**arguments))
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-5)


def test_with_loss_scaling():
    ours, theirs = (
        train(keras.optimizers.LossScaleOptimizer(adam, initial_scale=1.0))
        for adam in (Adam(0.1), keras.optimizers.Adam(0.1))
    )
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-5)


def test_saves_and_loads():
    config = keras.saving.serialize_keras_object(Adam(0.25, beta_1=0.5, name="a"))
    loaded = keras.saving.deserialize_keras_object(config)
    assert type(loaded) is Adam
    assert loaded.get_config() == Adam(0.25, beta_1=0.5, name="a").get_config()
