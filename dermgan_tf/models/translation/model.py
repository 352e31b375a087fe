"""Adding pathology to photographs, or removing it, where a mask says so."""

import keras
from keras import ops

from dermgan_tf.layers import losses
from dermgan_tf.models.translation.networks import HideMasked, composed
from dermgan_tf.training.model import AdversarialModel

DIRECTIONS = ("add", "remove")
DEFAULT_LOSS_WEIGHTS = {
    "adversarial": 1.0,
    "relevancy": 10.0,
    "identity": 0.0,
    "identity_inside": 0.0,
    "total_variation": 0.0,
}
# Of "identity_inside" where the generator does not see what it is to paint. Skin
# follows from the skin around it; a lesion does not, and a large weight blurs it.
HIDDEN_IDENTITY_INSIDE = {"add": 3.0, "remove": 10.0}


@keras.saving.register_keras_serializable(package="dermgan_tf")
class LesionTranslation(AdversarialModel):
    """Trains a generator to add or to remove pathology inside a mask.

    After Furger et al. 2020, supervised by masks, not by pairs: what it paints from one
    domain is judged against photographs of the other. `fit` takes batches as of
    `load_patches`. Masks come from the pathology; to add, they are laid on healthy
    photographs. The discriminator reads the mask too, the same ones with both domains,
    so that it looks where the change is.

    Unlike in the source, what is painted replaces the photo inside the mask only, with
    a soft border around it (`compose`). Beyond, the photo stays to the bit, whatever
    the network does there, and the discriminator cannot be pleased by changing all of
    the image. The relevancy loss is on what the network itself paints: that keeps it
    near to the photo, and the border without a seam. `compose=False` is the source's
    way.

    A generator of `build_translator(hide_masked=True)` does not see what is inside the
    mask. Then photographs of the wanted domain, hidden and whole, are pairs
    ("identity_inside"), as those that networks learn from which fill holes (Pathak et
    al. 2016, "Context Encoders"). And the discriminator judges them filled, beside what
    is painted into the other domain's: skin outside the mask, where the generator can
    change nothing, is then the same in real and synthetic images, and tells it nothing.

    Args:
        generator: as of `build_translator`, reading [photo, mask].
        discriminator: as of `build_domain_discriminator`, reading [image, mask].
        direction: "add" or "remove".
        compose: bool. Whether only the masked part of what is painted is taken.
        seed: int. Of the training; nothing in it is random so far.
        ema_decay: float, 0…1. Of the generator's average, `ema_generator`; 0: none.
    """

    default_loss_weights = DEFAULT_LOSS_WEIGHTS
    optional_losses = ("identity", "identity_inside", "total_variation")

    def __init__(
        self,
        generator: keras.Model,
        discriminator: keras.Model,
        direction: str,
        compose: bool = True,
        seed: int = 0,
        ema_decay: float = 0.999,
        **kwargs,
    ):
        if direction not in DIRECTIONS:
            raise ValueError(
                f"unknown direction {direction!r}; known: {', '.join(DIRECTIONS)}"
            )
        networks = {"generator": generator, "discriminator": discriminator}
        super().__init__(networks, seed, ema_decay, **kwargs)
        self.direction = direction
        self.compose = compose
        self.hides_masked = any(
            isinstance(layer, HideMasked) for layer in generator.layers
        )

    @property
    def directions(self) -> tuple[str, ...]:
        """What it can do."""
        return (self.direction,)

    def call(self, photo, mask):
        """Changes photos: [N, S, S, 3] in [-1, 1] and masks [N, S, S, 1] to photos."""
        return self.translate(photo, mask, self.direction)

    def translate(self, photo, mask, direction: str):
        """`call`, of a model that may know more directions than one."""
        if direction != self.direction:
            raise ValueError(f"this model is trained to {self.direction}")
        generator = self.ema_generator or self.generator
        return self._result(photo, generator([photo, mask]), mask)

    def batch_losses(self, data, seed):
        mask = data["mask"]
        source, target = data["healthy"], data["pathology"]
        if self.direction == "remove":
            source, target = target, source
        painted = self.generator([source, mask])
        results = [self._result(source, painted, mask)]
        parts = {"relevancy": losses.relevancy_loss(source, painted, mask)}
        if (
            self.hides_masked
            or self.is_computed("identity")
            or self.is_computed("identity_inside")
        ):
            kept = self.generator([target, mask])
        if self.is_computed("identity"):
            parts["identity"] = losses.reconstruction_loss(target, kept)
        if self.is_computed("identity_inside"):
            parts["identity_inside"] = losses.condition_loss(target, kept, mask)
        if self.hides_masked:
            results.append(self._result(target, kept, mask))
        real_logits = self.discriminator([target, mask])
        synthetic_logits = ops.concatenate(
            [self.discriminator([result, mask]) for result in results]
        )
        adversarial = losses.generator_adversarial_loss(synthetic_logits)
        parts = {"adversarial": adversarial, **parts}
        if self.is_computed("total_variation"):
            parts["total_variation"] = losses.total_variation_loss(painted)
        return {
            "generator_loss": sum(self.lambdas[n] * loss for n, loss in parts.items()),
            "discriminator_loss": losses.discriminator_adversarial_loss(
                real_logits, synthetic_logits
            ),
            **{f"{name}_loss": loss for name, loss in parts.items()},
        }

    def _result(self, photo, painted, mask):
        return composed(photo, painted, mask) if self.compose else painted

    def get_config(self):
        return {
            **super().get_config(),
            "direction": self.direction,
            "compose": self.compose,
        }
