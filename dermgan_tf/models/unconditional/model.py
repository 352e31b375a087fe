"""Photographs from noise: a GAN that is stable on few images, as a Keras model."""

import keras
from keras import ops

from dermgan_tf.layers import losses
from dermgan_tf.models.unconditional.augmentation import augment
from dermgan_tf.models.unconditional.networks import latents_of_seeds
from dermgan_tf.training.model import AdversarialModel

# The penalty is computed every so many steps, with so many times its weight (Karras et
# al. 2020, "Analyzing and Improving the Image Quality of StyleGAN", appendix B).
R1_EVERY = 16
ADAPTATION_IMAGES = 100_000
AUGMENTATION_TARGET = 0.6  # Karras et al. 2020, section 3.1
_REAL_SALT, _SYNTHETIC_SALT = 201, 202


@keras.saving.register_keras_serializable(package="dermgan_tf")
class UnconditionalGAN(AdversarialModel):
    """Trains a generator to paint photographs from noise.

    After Mescheder et al. 2018 (arXiv 1801.04406): the non-saturating logistic loss, a
    penalty on the discriminator's gradient at training images (R1), a moving average of
    the generator. Where training images are few the discriminator sees all images
    through random changes, as often as its overfitting asks for: see
    `dermgan_tf.models.unconditional.augmentation` and
    `dermgan_tf.models.unconditional.augmentation`. The penalty is on the
    images as the discriminator sees them, changed.

    `fit` takes batches "image", float32 [N, S, S, 3] in [-1, 1], as of
    `load_photographs`. It reports, beside losses, "augmentation", the changes'
    probability, and "real_sign", the mean sign of the logits on training images.

    Args:
        generator: as of `build_latent_generator`.
        discriminator: as of `build_image_discriminator`.
        adaptive_augmentation: bool.
        adaptation_images, augmentation_target: int and float. images and target of
            `AugmentationStrength`.
        seed: int. Decides all latents and changes of the training.
        ema_decay: float, 0…1. Of the generator's average, `ema_generator`; 0: none.
    """

    default_loss_weights = {"r1": 1.0}
    optional_losses = ("r1",)
    other_measures = ("augmentation", "real_sign")

    def __init__(
        self,
        generator: keras.Model,
        discriminator: keras.Model,
        adaptive_augmentation: bool = True,
        adaptation_images: int = ADAPTATION_IMAGES,
        augmentation_target: float = AUGMENTATION_TARGET,
        seed: int = 0,
        ema_decay: float = 0.999,
        **kwargs,
    ):
        networks = {"generator": generator, "discriminator": discriminator}
        super().__init__(networks, seed, ema_decay, **kwargs)
        self.latent_size = generator.input_shape[-1]
        self.adaptive_augmentation = adaptive_augmentation
        self.adaptation_images = adaptation_images
        self.augmentation_target = augmentation_target
        self.strength = None
        if adaptive_augmentation:
            from dermgan_tf.models.unconditional.augmentation import (
                AugmentationStrength,
            )

            self.strength = AugmentationStrength(adaptation_images, augmentation_target)

    def call(self, latent):
        """Paints latents, float32 [N, L], with the averaged generator if there is one.

        Returns:
            float32 [N, S, S, 3] in [-1, 1].
        """
        generator = self.ema_generator or self.generator
        return generator(latent)

    def batch_losses(self, data, seed):
        real = data["image"]
        synthetic = self.generator(latents_of_seeds(seed, self.latent_size))
        strength = 0.0
        if self.strength is not None:
            strength = self.strength.value.read_value()  # as it is before this step
            real = augment(real, seed, strength, _REAL_SALT)
            synthetic = augment(synthetic, seed, strength, _SYNTHETIC_SALT)
        real_logits = self.discriminator(real)
        synthetic_logits = self.discriminator(synthetic)
        # Both papers take the sum over real and synthetic, not the mean.
        discriminator_loss = 2.0 * losses.discriminator_adversarial_loss(
            real_logits, synthetic_logits
        )
        parts = {}
        if self.is_computed("r1"):
            parts["r1_loss"] = self._penalty_when_due(real)
            discriminator_loss += self.lambdas["r1"] * parts["r1_loss"]
        if self.strength is not None:
            self.strength.update(real_logits)
        return {
            "generator_loss": losses.generator_adversarial_loss(synthetic_logits),
            "discriminator_loss": discriminator_loss,
            **parts,
            "augmentation": strength,
            "real_sign": ops.mean(ops.sign(real_logits)),
        }

    def state(self, step_variable):
        state = super().state(step_variable)
        if self.strength is not None:
            state["augmentation_strength"] = self.strength
        return state

    def get_config(self):
        return {
            **super().get_config(),
            "adaptive_augmentation": self.adaptive_augmentation,
            "adaptation_images": self.adaptation_images,
            "augmentation_target": self.augmentation_target,
        }

    def _penalty_when_due(self, images):
        """The penalty times 16 in each 16th step, 0 in all others."""
        import tensorflow as tf

        step = self.generator_optimizer.iterations.value
        return tf.cond(
            tf.equal(step % R1_EVERY, 0),
            lambda: R1_EVERY * gradient_penalty(self.discriminator, images),
            lambda: tf.constant(0.0),
        )


def gradient_penalty(discriminator: keras.Model, images):
    """R1 (Mescheder et al. 2018, equation 9): ½ E |∇ D(x)|².

    Args:
        discriminator: gives logits [N, 1], each of its own image alone.
        images: float32 [N, S, S, 3]; held constant.

    Returns:
        float32 scalar: half of the squared norm of the logit's gradient with respect to
        the image, averaged over images.
    """
    import tensorflow as tf

    images = tf.stop_gradient(images)
    with tf.GradientTape() as tape:
        tape.watch(images)
        total = tf.reduce_sum(discriminator(images))
    gradient = tape.gradient(total, images)
    return 0.5 * tf.reduce_mean(tf.reduce_sum(tf.square(gradient), axis=(1, 2, 3)))


def default_r1_weight(image_size: int, batch_size: int) -> float:
    """γ = 0.0002 · pixels / batch size, as found by Karras et al. 2020 (2006.06676).

    The gradient's squared norm falls as the number of pixels grows.
    """
    return 0.0002 * image_size**2 / batch_size
