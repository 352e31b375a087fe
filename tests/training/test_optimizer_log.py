"""Norms of gradients and updates in TensorBoard, against those of a tape."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dermgan_tf.models.dermgan.model import DermGAN
from dermgan_tf.models.dermgan.networks import build_discriminator, build_generator
from dermgan_tf.training.callbacks import TrainingDiverged
from dermgan_tf.training.optimizer import Adam, ConstantThenLinear
from dermgan_tf.training.optimizer_log import OptimizerLog
from tests.helpers.run_files import summary_values

STEPS = 4


def make_adam(rate, beta_1=0.5, loss_scale=None):
    optimizer = Adam(ConstantThenLinear(rate, STEPS, 2), beta_1=beta_1)
    if loss_scale is None:
        return optimizer
    return keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=loss_scale)


def make_log(folder, optimizers, every=1):
    writer = tf.summary.create_file_writer(str(folder))
    return OptimizerLog(0, STEPS, every, optimizers=optimizers, writer=writer)


def norm(arrays):
    return np.sqrt(sum(np.sum(np.asarray(a, np.float64) ** 2) for a in arrays))


def values_of(variables):
    return [np.array(variable.value) for variable in variables]


@pytest.mark.parametrize(
    "options",
    [{}, {"beta_1": 0.0}, {"loss_scale": 1024.0}, {"jit_compile": True}],
)
def test_norms_are_those_of_a_tape(tmp_path, options):
    keras.utils.set_random_seed(0)
    jit_compile = options.pop("jit_compile", False)
    layers = [keras.layers.Dense(3, "tanh"), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input([2]), *layers])
    optimizer = make_adam(0.1, **options)
    optimizer.build(model.trainable_variables)
    model.compile(optimizer, loss="mse", jit_compile=jit_compile)
    data = np.random.default_rng(0).normal(size=[STEPS, 5, 2]).astype(np.float32)
    gradients, updates = [], []

    class Oracle(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(model(data[batch]) ** 2)
            gradients.append(norm(tape.gradient(loss, model.trainable_variables)))
            self.before = values_of(model.trainable_variables)

        def on_train_batch_end(self, batch, logs=None):
            after = values_of(model.trainable_variables)
            pairs = zip(after, self.before, strict=True)
            updates.append(norm([new - old for new, old in pairs]))

    model.fit(
        tf.data.Dataset.from_tensor_slices((data, np.zeros([STEPS, 5, 1]))),
        callbacks=[Oracle(), make_log(tmp_path, {"line": optimizer})],
        verbose=0,
    )
    expected = {
        "gradient_norm": gradients,
        "update_norm": updates,
        "learning_rate": [0.1, 0.1, 0.2 / 3, 0.1 / 3],
    }
    for quantity, values in expected.items():
        logged = summary_values(tmp_path, f"{quantity}/line")
        assert list(logged) == [1, 2, 3, 4]
        np.testing.assert_allclose(list(logged.values()), values, rtol=1e-4)


def test_norms_of_both_networks(tmp_path):
    keras.utils.set_random_seed(0)
    gan = DermGAN(build_generator(64, 2), build_discriminator(64, 2))
    optimizers = {"generator": make_adam(1e-3), "discriminator": make_adam(2e-3)}
    gan.compile(*optimizers.values())
    images = np.random.default_rng(0).uniform(-1, 1, [2, 2, 64, 64, 3])
    maps, real = (tf.constant(part, tf.float32) for part in images)
    data = tf.data.Dataset.from_tensors({"semantic_map": maps, "image": real})
    expected = {}

    class Oracle(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch != 1:
                return
            with tf.GradientTape(persistent=True) as tape:
                losses = gan.compute_losses(maps, real, gan._step_seeds(2))
            for name in optimizers:
                weights = getattr(gan, name).trainable_variables
                expected[name] = norm(tape.gradient(losses[f"{name}_loss"], weights))

    gan.fit(
        data, epochs=2, verbose=0, callbacks=[Oracle(), make_log(tmp_path, optimizers)]
    )
    for name in optimizers:
        logged = summary_values(tmp_path, f"gradient_norm/{name}")
        assert logged[2] == pytest.approx(expected[name], rel=1e-3)


def fit_line(folder, every=1, gradient=1.0, loss_scale=None, **options):
    """Fits one weight, whose gradient is `gradient`, for four steps."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input([1]), keras.layers.Dense(1, use_bias=False)])
    optimizer = make_adam(0.1, loss_scale=loss_scale)
    optimizer.build(model.trainable_variables)
    model.compile(optimizer, loss=lambda _, y: y, jit_compile=False, **options)
    log = make_log(folder, {"line": optimizer}, every)
    data = np.full([STEPS, 1], gradient), np.zeros(STEPS)
    model.fit(*data, batch_size=1, callbacks=[log], verbose=0)
    return log, int(optimizer.iterations)


def test_of_several_steps_at_once_the_last_update_is_logged(tmp_path):
    fit_line(tmp_path / "one")
    fit_line(tmp_path / "two", steps_per_execution=2)
    for quantity in ("update_norm", "learning_rate"):
        one, two = (
            summary_values(tmp_path / folder, f"{quantity}/line")
            for folder in ("one", "two")
        )
        assert list(two) == [2, 4]
        assert two == {step: one[step] for step in two}
    with pytest.raises(KeyError):
        summary_values(tmp_path / "two", "gradient_norm/line")


def test_steps_that_float16_skips_are_left_out(tmp_path):
    # Scaled by 2^127 and by 2^126, a gradient of 4 is too large for float32.
    _, done = fit_line(tmp_path, gradient=4.0, loss_scale=2.0**127)
    assert done == 2
    assert summary_values(tmp_path, "loss_scale/line") == {
        step: 2.0**exponent for step, exponent in enumerate([126, 125, 125, 125], 1)
    }
    assert summary_values(tmp_path, "gradient_norm/line") == {3: 4, 4: 4}
    assert list(summary_values(tmp_path, "update_norm/line")) == [3, 4]


def test_gradients_that_no_scale_makes_finite_end_the_run(tmp_path):
    with pytest.raises(TrainingDiverged, match="line's gradients are not finite .* 2,"):
        fit_line(tmp_path, gradient=np.inf, loss_scale=2.0**-13)


def test_between_logged_steps_nothing_is_read(tmp_path, monkeypatch):
    reads = []
    measure = OptimizerLog._measure
    monkeypatch.setattr(
        OptimizerLog,
        "_measure",
        lambda self, *args: reads.append(self.step) or measure(self, *args),
    )
    log, _ = fit_line(tmp_path, every=3)
    assert reads == [3, 4]  # the last is logged too
    assert not log._before
    assert list(summary_values(tmp_path, "gradient_norm/line")) == [3, 4]
