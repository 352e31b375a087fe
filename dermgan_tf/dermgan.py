"""DermGAN: generator and discriminator trained together, as a Keras model."""

from collections.abc import Mapping

import keras
from keras import ops

from dermgan_tf import losses
from dermgan_tf.adam import Adam

# What pipelines.tune found on phantoms of 64 pixels and foot ulcers of 128. All trials,
# and how sure that is, stand in docs/tuning.md. The rates are Adam's, with beta_1 0.5,
# and are pix2pix' own too.
DEFAULT_LEARNING_RATES = {"generator": 2e-4, "discriminator": 2e-4}
DEFAULT_LOSS_WEIGHTS = {
    "reconstruction": 5.0,
    "condition": 5.0,
    "feature_matching": 10.0,
    "adversarial": 1.0,
    "diversity": 0.0,
}
# Between the seeds of a map's two images, for the diversity loss: any constant whose
# bits are mixed.
_OTHER_SEED = 0x5BD1E995


@keras.saving.register_keras_serializable(package="dermgan_tf")
class DermGAN(keras.Model):
    """Trains a generator to paint photographs from semantic maps.

    `fit` takes a tf.data.Dataset of dicts with "semantic_map" and "image", float32
    [N, S, S, 3] in [-1, 1]. One forward pass of the generator and one of the
    discriminator on real and on synthetic images serve both updates; the diversity
    loss, where it has a weight, takes a second one of the generator, with other seeds.
    `predict` and calls paint with the averaged generator where there is one.

    Args:
        generator: as from `build_generator`.
        discriminator: as from `build_discriminator`, of the same image size.
        seed: int. Decides all dropout masks of the training.
        ema_decay: float, 0…1. An exponential moving average of the generator's
            weights is kept in `ema_generator`; 0 turns it off.

    Example:

    >>> gan = dg.DermGAN(dg.build_generator(64, 16), dg.build_discriminator(64, 16))
    >>> gan.compile()
    >>> gan.fit(dg.load_pairs("pairs", "train", batch_size=8), epochs=20)
    """

    def __init__(
        self,
        generator: keras.Model,
        discriminator: keras.Model,
        seed: int = 0,
        ema_decay: float = 0.999,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if not 0 <= ema_decay < 1:
            raise ValueError(f"ema_decay must be in [0, 1), got {ema_decay}")
        self.generator = generator
        self.discriminator = discriminator
        self.seed = seed
        self.ema_decay = ema_decay
        self.lambdas = dict(DEFAULT_LOSS_WEIGHTS)
        self.ema_generator = None
        if ema_decay:
            self.ema_generator = type(generator).from_config(generator.get_config())
            self.ema_generator.set_weights(generator.get_weights())
            self.ema_generator.trainable = False
        self.trackers = {
            f"{name}_loss": keras.metrics.Mean(name=f"{name}_loss")
            for name in ("generator", "discriminator", *DEFAULT_LOSS_WEIGHTS)
        }
        self.built = True

    def compile(
        self,
        generator_optimizer: keras.optimizers.Optimizer | None = None,
        discriminator_optimizer: keras.optimizers.Optimizer | None = None,
        loss_weights: Mapping[str, float] | None = None,
        jit_compile: bool = False,
        **kwargs,
    ):
        """Sets optimizers and loss weights.

        Args:
            generator_optimizer: a Keras optimizer; by default Adam(2e-4, beta_1=0.5).
            discriminator_optimizer: likewise.
            loss_weights: weights by loss, any of "reconstruction", "condition",
                "feature_matching", "adversarial", "diversity"; those left out keep
                their default, 0 switches one off. "diversity" takes a third more time
                a step.
            jit_compile: bool. Whether XLA compiles the training step.
            **kwargs: as of `keras.Model.compile`, e.g. steps_per_execution.
        """
        unknown = set(loss_weights or {}) - set(DEFAULT_LOSS_WEIGHTS)
        if unknown:
            raise ValueError(
                f"unknown loss weights {sorted(unknown)}; known: "
                f"{', '.join(DEFAULT_LOSS_WEIGHTS)}"
            )
        self.generator_optimizer = _prepare_optimizer(
            generator_optimizer, self.generator, DEFAULT_LEARNING_RATES["generator"]
        )
        self.discriminator_optimizer = _prepare_optimizer(
            discriminator_optimizer,
            self.discriminator,
            DEFAULT_LEARNING_RATES["discriminator"],
        )
        # Not `self.loss_weights`, which Keras owns.
        self.lambdas = {**DEFAULT_LOSS_WEIGHTS, **(loss_weights or {})}
        super().compile(
            optimizer=self.generator_optimizer, jit_compile=jit_compile, **kwargs
        )

    def get_compile_config(self):
        return {
            "generator_optimizer": keras.saving.serialize_keras_object(
                self.generator_optimizer
            ),
            "discriminator_optimizer": keras.saving.serialize_keras_object(
                self.discriminator_optimizer
            ),
            "loss_weights": self.lambdas,
            "jit_compile": self.jit_compile,
        }

    def compile_from_config(self, config):
        config = dict(config)
        for name in ("generator_optimizer", "discriminator_optimizer"):
            config[name] = keras.saving.deserialize_keras_object(config[name])
        self.compile(**config)

    @property
    def metrics(self):
        return [
            tracker
            for name, tracker in self.trackers.items()
            if name != "diversity_loss" or self.lambdas["diversity"]
        ]

    def call(self, semantic_map, seed=None):
        generator = self.ema_generator or self.generator
        return generator(semantic_map, seed=seed)

    def compute_losses(self, semantic_map, real, seed):
        """Runs both networks once and computes every loss.

        Args:
            semantic_map, real: float32 [N, S, S, 3] in [-1, 1].
            seed: int32 [N].

        Returns:
            dict of scalars, with the names that `fit` reports.
        """
        synthetic = self.generator(semantic_map, seed=seed)
        real_logits, real_features = self.discriminator([semantic_map, real])
        synthetic_logits, synthetic_features = self.discriminator(
            [semantic_map, synthetic]
        )
        parts = {
            "reconstruction": losses.reconstruction_loss(real, synthetic),
            "condition": losses.condition_loss(
                real, synthetic, _scaled_roi_mask(semantic_map)
            ),
            "feature_matching": losses.feature_matching_loss(
                real_features, synthetic_features
            ),
            "adversarial": losses.generator_adversarial_loss(synthetic_logits),
        }
        if self.lambdas["diversity"]:
            other = self.generator(
                semantic_map, seed=ops.bitwise_xor(seed, _OTHER_SEED)
            )
            parts["diversity"] = losses.diversity_loss(synthetic, other)
        total = sum(self.lambdas[name] * loss for name, loss in parts.items())
        return {
            "generator_loss": total,
            "discriminator_loss": losses.discriminator_adversarial_loss(
                real_logits, synthetic_logits
            ),
            **{f"{name}_loss": loss for name, loss in parts.items()},
        }

    def get_config(self):
        return {
            **super().get_config(),
            "generator": keras.saving.serialize_keras_object(self.generator),
            "discriminator": keras.saving.serialize_keras_object(self.discriminator),
            "seed": self.seed,
            "ema_decay": self.ema_decay,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        for name in ("generator", "discriminator"):
            config[name] = keras.saving.deserialize_keras_object(
                config[name], custom_objects
            )
        return cls(**config)

    def train_step(self, data):
        import tensorflow as tf

        semantic_map, real = data["semantic_map"], data["image"]
        replicas = self.distribute_strategy.num_replicas_in_sync
        seed = self._step_seeds(tf.shape(real)[0])
        updates = (
            (self.generator, self.generator_optimizer, "generator_loss"),
            (self.discriminator, self.discriminator_optimizer, "discriminator_loss"),
        )
        with tf.GradientTape(persistent=True) as tape:
            values = self.compute_losses(semantic_map, real, seed)
            # Keras sums gradients over replicas; the loss is a mean over all of them.
            scaled = {
                name: optimizer.scale_loss(values[name] / replicas)
                for _, optimizer, name in updates
            }
        gradients = [
            tape.gradient(scaled[name], network.trainable_variables)
            for network, _, name in updates
        ]
        for (network, optimizer, _), gradient in zip(updates, gradients, strict=True):
            optimizer.apply(gradient, network.trainable_variables)
        if self.ema_generator is not None:
            self._update_average()
        for tracker in self.metrics:
            # Replicas share a step's weight: a run may change their number midway.
            tracker.update_state(values[tracker.name], sample_weight=1 / replicas)
        results = {tracker.name: tracker.result() for tracker in self.metrics}
        if isinstance(
            self.distribute_strategy, tf.distribute.MultiWorkerMirroredStrategy
        ):  # Keras averages these over an axis, which scalars do not have
            results = {name: tf.reshape(r, [1]) for name, r in results.items()}
        return results

    def make_train_function(self, force=False):
        """Makes what `fit` calls for the next `steps_per_execution` steps.

        Over several devices Keras' loop of several steps fails, as it runs them in a
        conditional. This one has none, and no metric leaves it before its last step.
        """
        import tensorflow as tf

        strategy = self.distribute_strategy
        if self.steps_per_execution == 1 or strategy.num_replicas_in_sync == 1:
            return super().make_train_function(force)
        if self.train_function is not None and not force:
            return self.train_function

        @tf.function(autograph=False)
        def train_several(iterator):
            def train_once(step):
                strategy.run(self.train_step, args=(iterator.get_next(),))
                return step + 1

            tf.while_loop(lambda step: step < self.steps_per_execution, train_once, [0])
            return {tracker.name: tracker.result() for tracker in self.metrics}

        def train_function(iterator):
            try:
                return train_several(iterator)
            except tf.errors.OutOfRangeError:
                raise StopIteration from None

        self.train_function = train_function
        return train_function

    def _maybe_symbolic_build(self, *args, **kwargs):
        """Does nothing: the networks are built, and Keras' own way of building fails
        on batches of dicts that are spread over workers."""

    def _step_seeds(self, batch_size):
        """One seed an image: a function of run, step and place in the global batch."""
        import tensorflow as tf

        context = tf.distribute.get_replica_context()
        replica = context.replica_id_in_sync_group if context else 0
        place = tf.cast(replica, tf.int32) * batch_size + tf.range(batch_size)
        step = tf.cast(self.generator_optimizer.iterations, tf.int32)
        # int32 wraps around; the hash behind the dropout spreads what is left.
        start = (self.seed * 1_000_003 + 2**31) % 2**32 - 2**31
        return step * 65_537 + place + start

    def _update_average(self):
        """Moves `ema_generator` towards the generator by 1 - decay.

        Early on the decay is (1 + t) / (10 + t), so that the average forgets its random
        start (the ramp of TensorFlow's ExponentialMovingAverage).
        """
        import tensorflow as tf

        step = tf.cast(self.generator_optimizer.iterations, tf.float32)
        rate = 1.0 - tf.minimum(self.ema_decay, (1.0 + step) / (10.0 + step))
        averages = [variable.value for variable in self.ema_generator.weights]
        weights = [variable.value for variable in self.generator.weights]

        def move(average, weight, rate):
            # average -= rate · (average - weight), with one pass over memory less
            tf.raw_ops.ResourceApplyGradientDescent(
                var=average.handle,
                alpha=tf.cast(rate, average.dtype),
                delta=average - weight,
            )

        def update(strategy, averages, weights, rate):
            for average, weight in zip(averages, weights, strict=True):
                strategy.extended.update(average, move, args=(weight, rate))

        tf.distribute.get_replica_context().merge_call(
            update, args=(averages, weights, rate)
        )


def _prepare_optimizer(optimizer, network, learning_rate):
    if optimizer is None:
        optimizer = Adam(learning_rate, beta_1=0.5)
    half = keras.dtype_policies.get(network.dtype_policy).name == "mixed_float16"
    if half and not isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    if not optimizer.built:
        optimizer.build(network.trainable_variables)
    return optimizer


def _scaled_roi_mask(semantic_map):
    """`roi_mask` of a map scaled to [-1, 1], where code 0 is -1 and code 1 -0.992."""
    inside = ops.max(semantic_map[..., 1:], axis=-1, keepdims=True) > -1 + 1 / 255
    return ops.cast(inside, "float32")
