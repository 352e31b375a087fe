"""How strongly the discriminator's images are changed: adapted to its overfitting.

Karras et al. 2020 (arXiv 2006.06676, section 3.1): the mean sign of the discriminator's
logits on training images, r_t, is near 0 while it cannot tell them from synthetic ones,
and 1 where it knows them by heart. Where it is above a target, images are changed a
little more often, else a little less.
"""

import tensorflow as tf

# Training images over which the mean is taken and after which the strength moves: the
# paper's 4 steps of 64.
ADJUST_EVERY = 256
# Beyond this the changes leak into the images (the paper's section 2.2).
MAX_STRENGTH = 0.8


class AugmentationStrength(tf.Module):
    """The probability of each change, in variables, which checkpoints hold.

    Build it under the run's strategy.

    Args:
        images: int ≥ 1. Training images in which the strength goes from 0 to 1 where
            r_t is above the target all the time; 500,000 in the paper, whose runs see
            25 million.
        target: float < 1. The r_t that is aimed at; below −1 the strength only rises.
    """

    def __init__(self, images: int, target: float):
        super().__init__(name="augmentation_strength")
        self.images = images
        self.target = target

        def variable():  # replicas compute the same values
            return tf.Variable(
                0.0,
                trainable=False,
                aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
            )

        self.value = variable()
        # Since the last move: sum of the logits' signs, and number of images.
        self.signs, self.seen = variable(), variable()

    def update(self, real_logits) -> None:
        """Counts a step's logits on training images, and moves the strength when due.

        Args:
            real_logits: float32 [N, 1], of this replica.
        """
        signs = tf.reduce_sum(tf.sign(tf.stop_gradient(real_logits)))
        count = tf.cast(tf.shape(real_logits)[0], tf.float32)
        new = tf.distribute.get_replica_context().all_reduce(
            tf.distribute.ReduceOp.SUM, tf.stack([signs, count])
        )
        signs, seen = self.signs + new[0], self.seen + new[1]
        due = seen >= ADJUST_EVERY
        move = tf.sign(signs / seen - self.target) * seen / self.images
        moved = tf.clip_by_value(self.value + move, 0.0, MAX_STRENGTH)
        self.value.assign(tf.where(due, moved, self.value))
        self.signs.assign(tf.where(due, 0.0, signs))
        self.seen.assign(tf.where(due, 0.0, seen))
