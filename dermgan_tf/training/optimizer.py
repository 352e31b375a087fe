"""Learning rates, Adam, and number formats of a training."""

import contextlib
from collections.abc import Iterator

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="dermgan_tf")
class ConstantThenLinear(keras.optimizers.schedules.LearningRateSchedule):
    """A rate that stays, then falls linearly to 0 over the last steps.

    The decay of the pix2pix authors' PyTorch code, which trains 100 epochs at the full
    rate and 100 more while it falls; counted in steps here. (Their first code, in Lua,
    kept the rate constant.) A function of the step alone: nothing to save or restore.

    Args:
        rate: float. The rate of the constant part.
        steps: int. The step that training ends with.
        decay_steps: int, 0…steps. How many of the last steps decay: the first of them
            has rate * decay_steps / (decay_steps + 1), the last rate / (decay_steps +
            1). 0 for none.
    """

    def __init__(self, rate: float, steps: int, decay_steps: int):
        super().__init__()
        self.rate = rate
        self.steps = steps
        self.decay_steps = decay_steps

    def __call__(self, step):
        """The rate of a step.

        Args:
            step: int, 0 for the first. A number or a scalar tensor.

        Returns:
            float32 scalar tensor.
        """
        # Whole numbers until here: float32 counts no further than 2^24.
        left = ops.cast(self.steps - step, "float32")
        share = ops.minimum(left / (self.decay_steps + 1.0), 1.0)
        return self.rate * ops.maximum(share, 0.0)

    def get_config(self):
        return {
            "rate": self.rate,
            "steps": self.steps,
            "decay_steps": self.decay_steps,
        }


@keras.saving.register_keras_serializable(package="dermgan_tf")
class Adam(keras.optimizers.Adam):
    """Keras' Adam (Kingma & Ba 2014), computed by TensorFlow's fused kernel.

    The formula, arguments and variables are those of `keras.optimizers.Adam`; the
    update reads and writes each variable once instead of once per operation. Under
    other backends than TensorFlow, and with `amsgrad`, it is the parent.
    """

    def update_step(self, gradient, variable, learning_rate):
        if keras.backend.backend() != "tensorflow" or self.amsgrad:
            super().update_step(gradient, variable, learning_rate)
            return
        import tensorflow as tf

        # Keras hands over tf.Variables, of one replica each; ours are then told apart
        # by the replica whose update this is.
        if isinstance(variable, keras.Variable):
            variable = variable.value
        index = self._get_variable_index(variable)
        dtype = variable.dtype
        step = tf.cast(self.iterations + 1, dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=tf.cast(self.beta_1, dtype) ** step,
            beta2_power=tf.cast(self.beta_2, dtype) ** step,
            lr=tf.cast(learning_rate, dtype),
            beta1=tf.cast(self.beta_1, dtype),
            beta2=tf.cast(self.beta_2, dtype),
            epsilon=tf.cast(self.epsilon, dtype),
            grad=tf.cast(gradient, dtype),
        )


# Keras' policy by the name that flags give it.
MIXED_PRECISION = {
    "none": "float32",
    "bfloat16": "mixed_bfloat16",
    "float16": "mixed_float16",
}


@contextlib.contextmanager
def dtype_policy(name: str) -> Iterator[None]:
    """Keras' global policy within the block; the one before comes back after it."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
