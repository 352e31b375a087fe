"""CycleGAN between healthy skin and pathology, with masks or without."""

import keras
import tensorflow as tf

from dermgan_tf.layers import losses
from dermgan_tf.layers.seeded_random import random_bits
from dermgan_tf.models.translation.model import DIRECTIONS
from dermgan_tf.models.translation.networks import composed
from dermgan_tf.training.model import AdversarialModel

DEFAULT_LOSS_WEIGHTS = {
    "adversarial": 1.0,
    "cycle": 10.0,
    "cycle_inside": 10.0,
    "identity": 5.0,
    "total_variation": 0.0,
}
POOL_SIZE = 50


@keras.saving.register_keras_serializable(package="dermgan_tf")
class CycleGAN(AdversarialModel):
    """Trains two generators, to add and to remove pathology, each the other's inverse.

    Zhu et al. 2017, with the additions of Furger et al. 2020: masks as a further input,
    and an extra weight of the cycle's error inside the pathology. `fit` takes batches
    as of `load_patches`. One step computes all losses and updates all four networks.

    Both losses of a cycle are mean absolute differences: "cycle" over the whole image,
    "cycle_inside" over the pathology's mask (as DermGAN's condition loss, so that a
    small lesion counts as much as a large one). Discriminators see past images among
    the newest (`dermgan_tf.models.translation.cyclegan`). The adversarial loss is
    DermGAN's, where the papers have least squares.

    With masks, what is painted replaces the photo inside the mask only (`compose`; see
    `LesionTranslation`). Without, networks see photographs alone, and are free to
    change all of them; "cycle_inside" still knows where the pathology is.

    Args:
        adder, remover: as of `build_translator`.
        adder_discriminator: as of `build_domain_discriminator`, to judge pathology.
        remover_discriminator: likewise, to judge healthy skin.
        use_masks: bool. Whether all four read masks.
        compose: bool. Whether only the masked part of what is painted is taken. Has no
            meaning without masks.
        pool_size: int. Past images of each domain that are kept; 0 for none.
        batch_size: int. Images of each domain per step, over all replicas; what the
            pool is laid out for.
        seed: int. Of the training.
        ema_decay: float, 0…1. Of the averages `ema_adder`, `ema_remover`; 0: none.
    """

    generator_names = ("adder", "remover")
    discriminator_names = ("adder_discriminator", "remover_discriminator")
    default_loss_weights = DEFAULT_LOSS_WEIGHTS
    optional_losses = ("cycle_inside", "identity", "total_variation")

    def __init__(
        self,
        adder: keras.Model,
        remover: keras.Model,
        adder_discriminator: keras.Model,
        remover_discriminator: keras.Model,
        use_masks: bool = True,
        compose: bool = True,
        pool_size: int = POOL_SIZE,
        batch_size: int = 1,
        seed: int = 0,
        ema_decay: float = 0.999,
        **kwargs,
    ):
        networks = {
            "adder": adder,
            "remover": remover,
            "adder_discriminator": adder_discriminator,
            "remover_discriminator": remover_discriminator,
        }
        super().__init__(networks, seed, ema_decay, **kwargs)
        self.use_masks = use_masks
        self.compose = compose
        self.pool_size = pool_size
        self.batch_size = batch_size
        self.adder_pool = self.remover_pool = None
        if pool_size:
            from dermgan_tf.models.translation.cyclegan import ImagePool

            shape = (*adder.output_shape[1:3], 4 if use_masks else 3)
            self.adder_pool, self.remover_pool = (
                ImagePool(pool_size, batch_size, shape, salt) for salt in (101, 102)
            )

    @property
    def directions(self) -> tuple[str, ...]:
        """What it can do."""
        return DIRECTIONS

    def call(self, photo, mask):
        """Adds pathology: [N, S, S, 3] in [-1, 1] and masks [N, S, S, 1] to photos."""
        return self.translate(photo, mask, "add")

    def translate(self, photo, mask, direction: str):
        """Adds or removes pathology, with the averaged networks where there are any."""
        name = {"add": "adder", "remove": "remover"}[direction]
        network = getattr(self, f"ema_{name}") or getattr(self, name)
        return self._changed(network, photo, mask)

    def batch_losses(self, data, seed):
        healthy, pathology, mask = (
            data[name] for name in ("healthy", "pathology", "mask")
        )
        added = self._changed(self.adder, healthy, mask)
        removed = self._changed(self.remover, pathology, mask)
        cycles = (
            (healthy, self._changed(self.remover, added, mask)),
            (pathology, self._changed(self.adder, removed, mask)),
        )
        parts = {
            "adversarial": sum(
                losses.generator_adversarial_loss(self._logits(network, image, mask))
                for network, image in (
                    (self.adder_discriminator, added),
                    (self.remover_discriminator, removed),
                )
            ),
            "cycle": sum(losses.reconstruction_loss(*cycle) for cycle in cycles),
        }
        if self.is_computed("cycle_inside"):
            parts["cycle_inside"] = sum(
                losses.condition_loss(*cycle, mask) for cycle in cycles
            )
        if self.is_computed("identity"):
            # Of what is painted, before it is composed: all of it is to stay.
            parts["identity"] = sum(
                losses.reconstruction_loss(image, self._painted(network, image, mask))
                for network, image in ((self.adder, pathology), (self.remover, healthy))
            )
        if self.is_computed("total_variation"):
            parts["total_variation"] = sum(
                losses.total_variation_loss(image) for image in (added, removed)
            )
        judged = (
            (self.adder_discriminator, pathology, added, self.adder_pool),
            (self.remover_discriminator, healthy, removed, self.remover_pool),
        )
        return {
            "generator_loss": sum(self.lambdas[n] * loss for n, loss in parts.items()),
            "discriminator_loss": sum(
                self._discriminator_loss(*what, mask, seed) for what in judged
            ),
            **{f"{name}_loss": loss for name, loss in parts.items()},
        }

    def state(self, step_variable):
        pools = {"adder_pool": self.adder_pool, "remover_pool": self.remover_pool}
        pools = {name: pool.images for name, pool in pools.items() if pool is not None}
        return {**super().state(step_variable), **pools}

    def get_config(self):
        return {
            **super().get_config(),
            "use_masks": self.use_masks,
            "compose": self.compose,
            "pool_size": self.pool_size,
            "batch_size": self.batch_size,
        }

    def _painted(self, network, photo, mask):
        return network([photo, mask]) if self.use_masks else network(photo)

    def _changed(self, network, photo, mask):
        painted = self._painted(network, photo, mask)
        if self.use_masks and self.compose:
            return composed(photo, painted, mask)
        return painted

    def _logits(self, network, image, mask):
        return network([image, mask]) if self.use_masks else network(image)

    def _discriminator_loss(self, network, real, synthetic, pool, mask, seed):
        import tensorflow as tf

        shown_mask = mask
        synthetic = tf.stop_gradient(synthetic)
        if pool is not None:
            # A past image comes with the mask that it was painted for.
            whole = tf.concat([synthetic, mask], -1) if self.use_masks else synthetic
            places = self._places(tf.shape(whole)[0])
            step = self.generator_optimizer.iterations
            whole = pool.exchange(whole, seed, places, step)
            synthetic, shown_mask = whole[..., :3], whole[..., 3:]
        return losses.discriminator_adversarial_loss(
            self._logits(network, real, mask),
            self._logits(network, synthetic, shown_mask),
        )


class ImagePool(tf.Module):
    """Exchanges new images for past ones, half of the time.

    Build it under the run's strategy.

    Args:
        size: int ≥ 1. Images that it holds, about: each place has as many slots.
        batch_size: int ≥ 1. Places: images of the global batch.
        image_shape: (height, width, channels).
        salt: int. Tells apart pools that get the same seeds.
    """

    def __init__(
        self, size: int, batch_size: int, image_shape: tuple[int, int, int], salt: int
    ):
        super().__init__(name="image_pool")
        self.slots = max(1, round(size / batch_size))
        self._salt = salt
        # Replicas add up what each puts into the slots of its own places.
        self.images = tf.Variable(
            tf.zeros([batch_size, self.slots, *image_shape]),
            trainable=False,
            aggregation=tf.VariableAggregation.SUM,
        )

    def exchange(self, images, seeds, places, step):
        """Puts images in, and takes as many out.

        The first ones fill the pool, and come back as they are. After that each comes
        back as it is, and is not kept, or changes place with one in the pool.

        Args:
            images: float32 [n, height, width, channels].
            seeds: int32 [n]. Decide what is drawn.
            places: int32 [n]. Of each image in the global batch, each once.
            step: int scalar. Of the training, 0 for the first.

        Returns:
            float32 like `images`, held constant.
        """
        images = tf.stop_gradient(tf.cast(images, tf.float32))
        bits = tf.bitwise.bitwise_and(
            tf.reshape(random_bits(seeds, self._salt, 1, 1, 2), [-1, 2]), 0x7FFFFFFF
        )
        step = tf.cast(step, tf.int32)
        filling = step < self.slots
        slot = tf.where(filling, step, bits[:, 0] % self.slots)
        index = tf.stack([places, tf.broadcast_to(slot, tf.shape(places))], axis=1)
        # The low bits of a hash are as good as any: one decides.
        taken = tf.logical_not(filling) & (bits[:, 1] % 2 == 0)
        kept = tf.reshape(filling | taken, [-1, 1, 1, 1])
        taken = tf.reshape(taken, [-1, 1, 1, 1])
        past = tf.gather_nd(self.images, index)
        change = tf.where(kept, images - past, 0.0)
        self.images.assign_add(tf.scatter_nd(index, change, self.images.shape))
        return tf.where(taken, past, images)
