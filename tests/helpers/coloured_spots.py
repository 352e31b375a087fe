"""Images of skin-like noise with a spot whose colour is the condition's."""

import numpy as np

from dermgan_tf.classifier.labelled_images import LabelledImages

CONDITIONS = ("blue", "green", "red")


def spots(count, seed, conditions=CONDITIONS, labels=None, size=32):
    """Labelled images with three of a case; other seeds have other cases."""
    rng = np.random.default_rng(seed)
    if labels is None:
        labels = rng.integers(len(conditions), size=count)
    images = rng.normal(150, 25, (count, size, size, 3))
    for image, label in zip(images, labels, strict=True):
        y, x = rng.integers(4, size - 12, size=2)
        image[y : y + 8, x : x + 8, 2 - label] += 70
    return LabelledImages(
        np.clip(images, 0, 255).astype(np.uint8),
        labels,
        conditions,
        np.array([f"c{seed}-{i // 3}" for i in range(count)]),
        np.array([f"p{seed}-{i}" for i in range(count)]),
    )
