"""What adversarial trainings share: generators against discriminators, in one step."""

from collections.abc import Mapping
from typing import Any

import keras

from dermgan_tf.training.optimizer import Adam

# pix2pix' and CycleGAN's own; Adam's, with beta_1 0.5.
DEFAULT_LEARNING_RATES = {"generator": 2e-4, "discriminator": 2e-4}
PLAYERS = ("generator", "discriminator")


class AdversarialModel(keras.Model):
    """Trains networks of two players, generators and discriminators, as a Keras model.

    A player has one loss, one optimizer and one or more networks. One optimizer for
    several networks is one for each: Adam treats every weight by itself. A step
    computes all losses under one tape, then updates both players.

    A subclass names its networks and losses, and computes the losses of a batch in
    `batch_losses`. All else is here: optimizers, loss weights, seeds, the moving
    average of generators, distribution, several steps at once, saving.

    Args:
        networks: by the names in `generator_names` and `discriminator_names`, under
            which they become attributes.
        seed: int. Decides all randomness of the training step.
        ema_decay: float, 0…1. An exponential moving average of each generator's weights
            is kept in the attribute `ema_<name>`; with 0 that is None.
    """

    generator_names: tuple[str, ...] = ("generator",)
    discriminator_names: tuple[str, ...] = ("discriminator",)
    default_loss_weights: Mapping[str, float] = {}
    # Of these, those that have no weight are not computed and not reported.
    optional_losses: tuple[str, ...] = ()
    # What `batch_losses` gives besides losses, to be reported as those are.
    other_measures: tuple[str, ...] = ()

    def __init__(
        self,
        networks: Mapping[str, keras.Model],
        seed: int = 0,
        ema_decay: float = 0.999,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if not 0 <= ema_decay < 1:
            raise ValueError(f"ema_decay must be in [0, 1), got {ema_decay}")
        for name in (*self.generator_names, *self.discriminator_names):
            setattr(self, name, networks[name])
        self.seed = seed
        self.ema_decay = ema_decay
        self.lambdas = dict(self.default_loss_weights)
        for name in self.generator_names:
            setattr(self, f"ema_{name}", None)
            if ema_decay:
                setattr(self, f"ema_{name}", _frozen_copy(networks[name]))
        reported = [f"{name}_loss" for name in (*PLAYERS, *self.default_loss_weights)]
        self.trackers = {
            name: keras.metrics.Mean(name=name)
            for name in (*reported, *self.other_measures)
        }
        self.built = True

    def batch_losses(self, data: Mapping[str, Any], seed) -> dict[str, Any]:
        """Runs the networks on a batch and computes every loss.

        Args:
            data: a batch, as `fit` was given.
            seed: int32 [N], one an image.

        Returns:
            dict of scalars: generator_loss and discriminator_loss, what the players
            minimise, `<name>_loss` for each loss that is computed, and each of
            `other_measures`.
        """
        raise NotImplementedError

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
            loss_weights: weights by loss, any of `default_loss_weights`; those left
                out keep their default, 0 switches one off.
            jit_compile: bool. Whether XLA compiles the training step.
            **kwargs: as of `keras.Model.compile`, e.g. steps_per_execution.
        """
        unknown = set(loss_weights or {}) - set(self.default_loss_weights)
        if unknown:
            raise ValueError(
                f"unknown loss weights {sorted(unknown)}; known: "
                f"{', '.join(self.default_loss_weights)}"
            )
        for player, given in zip(
            PLAYERS, (generator_optimizer, discriminator_optimizer), strict=True
        ):
            optimizer = _prepare_optimizer(
                given, self._networks_of(player), DEFAULT_LEARNING_RATES[player]
            )
            setattr(self, f"{player}_optimizer", optimizer)
        # Not `self.loss_weights`, which Keras owns.
        self.lambdas = {**self.default_loss_weights, **(loss_weights or {})}
        super().compile(
            optimizer=self.generator_optimizer, jit_compile=jit_compile, **kwargs
        )

    def get_compile_config(self):
        if not self.compiled:
            return None
        return {
            **{
                f"{player}_optimizer": keras.saving.serialize_keras_object(
                    self.optimizer_of(player)
                )
                for player in PLAYERS
            },
            "loss_weights": self.lambdas,
            "jit_compile": self.jit_compile,
            "steps_per_execution": self.steps_per_execution,
        }

    def compile_from_config(self, config):
        config = dict(config)
        for player in PLAYERS:
            name = f"{player}_optimizer"
            config[name] = keras.saving.deserialize_keras_object(config[name])
        self.compile(**config)

    @property
    def metrics(self):
        return [
            tracker
            for name, tracker in self.trackers.items()
            if self.is_computed(name.removesuffix("_loss"))
        ]

    def is_computed(self, loss: str) -> bool:
        """Whether a loss is computed and reported."""
        return loss not in self.optional_losses or self.lambdas[loss] > 0

    def optimizer_of(self, player: str) -> keras.optimizers.Optimizer:
        """The optimizer of "generator" or "discriminator"."""
        return getattr(self, f"{player}_optimizer")

    def networks(self) -> dict[str, keras.Model]:
        """The networks that are trained, by name."""
        names = (*self.generator_names, *self.discriminator_names)
        return {name: getattr(self, name) for name in names}

    def averages(self) -> dict[str, keras.Model]:
        """The averaged generators, by the names of those they follow."""
        averages = {name: getattr(self, f"ema_{name}") for name in self.generator_names}
        return {name: ema for name, ema in averages.items() if ema is not None}

    def state(self, step_variable: Any) -> dict[str, Any]:
        """Everything that the next step depends on, for a checkpoint.

        Args:
            step_variable: tf.Variable, the step that was reached.
        """
        return {
            "step": step_variable,
            **self.networks(),
            **{f"{p}_optimizer": self.optimizer_of(p) for p in PLAYERS},
            # Means since the last logged step, so that a continued run logs the same.
            "means": [v.value for metric in self.metrics for v in metric.variables],
            **{f"ema_{name}": ema for name, ema in self.averages().items()},
        }

    def get_config(self):
        return {
            **super().get_config(),
            **{
                name: keras.saving.serialize_keras_object(network)
                for name, network in self.networks().items()
            },
            "seed": self.seed,
            "ema_decay": self.ema_decay,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        for name in (*cls.generator_names, *cls.discriminator_names):
            config[name] = keras.saving.deserialize_keras_object(
                config[name], custom_objects
            )
        return cls(**config)

    def train_step(self, data):
        import tensorflow as tf

        replicas = self.distribute_strategy.num_replicas_in_sync
        seed = self._step_seeds(tf.shape(tf.nest.flatten(data)[0])[0])
        with tf.GradientTape(persistent=True) as tape:
            values = self.batch_losses(data, seed)
            # Keras sums gradients over replicas; the loss is a mean over all of them.
            scaled = {
                player: self.optimizer_of(player).scale_loss(
                    values[f"{player}_loss"] / replicas
                )
                for player in PLAYERS
            }
        variables = {player: self._variables_of(player) for player in PLAYERS}
        gradients = {p: tape.gradient(scaled[p], variables[p]) for p in PLAYERS}
        for player in PLAYERS:
            self.optimizer_of(player).apply(gradients[player], variables[player])
        if self.ema_decay:
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

    def _networks_of(self, player: str) -> list[keras.Model]:
        names = (
            self.generator_names if player == "generator" else self.discriminator_names
        )
        return [getattr(self, name) for name in names]

    def _variables_of(self, player: str) -> list[keras.Variable]:
        networks = self._networks_of(player)
        return [v for network in networks for v in network.trainable_variables]

    def _places(self, batch_size):
        """The places of a replica's images in the global batch: int32 [N]."""
        import tensorflow as tf

        context = tf.distribute.get_replica_context()
        replica = context.replica_id_in_sync_group if context else 0
        return tf.cast(replica, tf.int32) * batch_size + tf.range(batch_size)

    def _step_seeds(self, batch_size):
        """One seed an image: a function of run, step and place in the global batch."""
        import tensorflow as tf

        place = self._places(batch_size)
        step = tf.cast(self.generator_optimizer.iterations, tf.int32)
        # int32 wraps around; the hash behind the dropout spreads what is left.
        start = (self.seed * 1_000_003 + 2**31) % 2**32 - 2**31
        return step * 65_537 + place + start

    def _update_average(self):
        """Moves the averages towards their generators by 1 - decay.

        Early on the decay is (1 + t) / (10 + t), so that the average forgets its random
        start (the ramp of TensorFlow's ExponentialMovingAverage).
        """
        import tensorflow as tf

        step = tf.cast(self.generator_optimizer.iterations, tf.float32)
        rate = 1.0 - tf.minimum(self.ema_decay, (1.0 + step) / (10.0 + step))
        averages = [v.value for ema in self.averages().values() for v in ema.weights]
        weights = [v.value for g in self._networks_of("generator") for v in g.weights]

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


def _frozen_copy(network: keras.Model) -> keras.Model:
    copy = type(network).from_config(network.get_config())
    copy.set_weights(network.get_weights())
    copy.trainable = False
    return copy


def _prepare_optimizer(optimizer, networks, learning_rate):
    if optimizer is None:
        optimizer = Adam(learning_rate, beta_1=0.5)
    policy = keras.dtype_policies.get(networks[0].dtype_policy).name
    half = policy == "mixed_float16"
    if half and not isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    if not optimizer.built:
        optimizer.build([v for net in networks for v in net.trainable_variables])
    return optimizer
