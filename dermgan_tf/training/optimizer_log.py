"""Learning rates, gradient norms and update norms of both networks in TensorBoard."""

import math
from collections.abc import Iterable, Sequence

import keras
import tensorflow as tf

from dermgan_tf.training.callbacks import StepCallback, TrainingDiverged

# The smallest normal number of float16. With a loss scaled down that far, gradients
# that still overflow are none of float16's doing.
MIN_LOSS_SCALE = 2.0**-14


class OptimizerLog(StepCallback):
    """Logs what the optimizers did in the step that is logged.

    The training step does nothing for it. Adam's first moments before and after a step
    give its gradient away, m = β₁ m₋ + (1 - β₁) g: that of the global batch, with the
    replicas' parts summed and a float16 loss scale taken off. The update is what Adam
    makes of its moments (Kingma & Ba 2014, at the end of section 2). Norms are L2, over
    all weights of a network.

    Where several steps are executed at once, the moments between them are not seen:
    then the gradient's norm is left out. A step that float16 skipped, for gradients
    that overflowed, has neither.

    Args:
        first_step, last_step, every: as of `StepCallback`.
        optimizers: dict. The networks' Adam optimizers, by name; either may be wrapped
            in a `keras.optimizers.LossScaleOptimizer`.
        writer: a tf.summary writer.
    """

    def __init__(
        self,
        first_step: int,
        last_step: int,
        every: int,
        *,
        optimizers: dict[str, keras.optimizers.Optimizer],
        writer: tf.summary.SummaryWriter,
    ):
        super().__init__(first_step, last_step, every)
        self.writer = writer
        self._optimizers = optimizers
        self._before: dict[str, tuple[int, Sequence[tf.Tensor]]] = {}

    def on_train_batch_begin(self, batch, logs=None):
        if not self.is_due(self.step + self.model.steps_per_execution):
            return
        alone = self.model.steps_per_execution == 1
        for name, optimizer in self._optimizers.items():
            adam = _adam(optimizer)
            # To read a variable copies nothing yet: the update then makes a new buffer.
            moments = _values(adam._momentums) if alone else []
            self._before[name] = int(adam.iterations.numpy()), moments

    def on_step(self, step, logs):
        with self.writer.as_default(step=step):
            for network, optimizer in self._optimizers.items():
                for quantity, value in self._measure(network, optimizer).items():
                    tf.summary.scalar(f"{quantity}/{network}", value)
                if optimizer is not _adam(optimizer):
                    scale = float(optimizer.dynamic_scale.numpy())
                    tf.summary.scalar(f"loss_scale/{network}", scale)
                    if scale < MIN_LOSS_SCALE:
                        raise TrainingDiverged(
                            f"training diverged: the {network}'s gradients are not "
                            f"finite at step {step}, however small the loss is scaled"
                        )
        self._before = {}

    def _measure(self, network, optimizer) -> dict[str, float]:
        adam = _adam(optimizer)
        done = int(adam.iterations.numpy())
        before, old_moments = self._before[network]
        if done == before:
            return {}
        measured = {
            "learning_rate": float(adam._learning_rate(done - 1)),
            "update_norm": update_norm(adam),
        }
        if old_moments:
            moments = _values(adam._momentums)
            measured["gradient_norm"] = _norm(
                (new - adam.beta_1 * old) / (1 - adam.beta_1)
                for new, old in zip(moments, old_moments, strict=True)
            )
        return measured


def update_norm(adam: keras.optimizers.Adam) -> float:
    """The L2 norm of the last change that Adam, under a schedule, made to weights."""
    step = int(adam.iterations.numpy())
    correction = math.sqrt(1 - adam.beta_2**step) / (1 - adam.beta_1**step)
    moments = zip(_values(adam._momentums), _values(adam._velocities), strict=True)
    direction = _norm(m / (tf.sqrt(v) + adam.epsilon) for m, v in moments)
    return float(adam._learning_rate(step - 1)) * correction * direction


def _adam(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Adam:
    return getattr(optimizer, "inner_optimizer", optimizer)


def _values(variables: Iterable[keras.Variable]) -> list[tf.Tensor]:
    return [tf.convert_to_tensor(variable.value) for variable in variables]


def _norm(tensors: Iterable[tf.Tensor]) -> float:
    # One tensor at a time, so that only one is in memory.
    squares = [tf.reduce_sum(tf.square(tensor)) for tensor in tensors]
    return float(tf.sqrt(tf.add_n(squares)))
