"""How many photographs a training sees: what the arms of a comparison must share.

At equal steps an arm with synthetic images sees fewer photographs than its baseline,
and what looks like harm may be a shorter training.
"""

import math

from dermgan_tf.classifier.batches import TrainingImages


def equal_exposure(steps: int, real: int, synthetic: int) -> dict[str, float]:
    """The length at which synthetic images come on top of what the baseline sees.

    Args:
        steps: int ≥ 1. Of the baseline, whose batches are photographs alone.
        real: int ≥ 1. Photographs to train on.
        synthetic: int ≥ 0. Synthetic images beside them.

    Returns:
        `steps` and `real_share`, as `train_classifier` takes them: each image comes
        about as often as any other, and as many photographs are seen as by the
        baseline, in the same order.
    """
    longer = math.ceil(steps * (real + synthetic) / real)
    return {"steps": longer, "real_share": steps / longer}


def real_images_seen(images: TrainingImages, steps: int) -> int:
    """How many of the images in the first `steps` batches are photographs."""
    real = len(images.real)
    return sum(int((images.items(step) < real).sum()) for step in range(steps))
