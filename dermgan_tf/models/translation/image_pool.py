"""Past synthetic images, shown to a discriminator among the newest.

After Shrivastava et al. 2017 ("Learning from simulated and unsupervised images through
adversarial training"), as CycleGAN has it (Zhu et al. 2017): 50 images, of which one
takes the place of a new one half of the time.

TF-GAN's `features.tensor_pool` does the same with a queue. A queue is in no checkpoint,
draws without a seed, holds whole batches, and is one for all replicas: a run that was
killed would go on with an empty one. Here images lie in a variable, each place of the
global batch has slots of its own, and what is drawn is a function of the image's seed,
so that a run that goes on, or changes its number of devices, goes on exactly.
"""

import tensorflow as tf

from dermgan_tf.layers.seeded_random import random_bits


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
