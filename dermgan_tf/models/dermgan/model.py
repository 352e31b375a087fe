"""DermGAN: generator and discriminator trained together, as a Keras model."""

import keras
from keras import ops

from dermgan_tf.layers import losses
from dermgan_tf.training.model import DEFAULT_LEARNING_RATES, AdversarialModel

__all__ = ["DEFAULT_LEARNING_RATES", "DEFAULT_LOSS_WEIGHTS", "DermGAN"]

# What pipelines.tune found on phantoms of 64 pixels and foot ulcers of 128, as it did
# the default rates. All trials, and how sure that is, stand in docs/tuning.md.
# "diversity" takes a third more time a step.
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
class DermGAN(AdversarialModel):
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

    default_loss_weights = DEFAULT_LOSS_WEIGHTS
    optional_losses = ("diversity",)

    def __init__(
        self,
        generator: keras.Model,
        discriminator: keras.Model,
        seed: int = 0,
        ema_decay: float = 0.999,
        **kwargs,
    ):
        networks = {"generator": generator, "discriminator": discriminator}
        super().__init__(networks, seed, ema_decay, **kwargs)

    def call(self, semantic_map, seed=None):
        generator = self.ema_generator or self.generator
        return generator(semantic_map, seed=seed)

    def batch_losses(self, data, seed):
        return self.compute_losses(data["semantic_map"], data["image"], seed)

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


def _scaled_roi_mask(semantic_map):
    """`roi_mask` of a map scaled to [-1, 1], where code 0 is -1 and code 1 -0.992."""
    inside = ops.max(semantic_map[..., 1:], axis=-1, keepdims=True) > -1 + 1 / 255
    return ops.cast(inside, "float32")
