"""The learning rate over a run: constant, then falling to zero."""

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
