"""Losses of DermGAN (arXiv 1911.08716) and of translation (Furger et al. 2020).

Images are float [N, S, S, 3] in [-1, 1]. All return a scalar float32.
"""

from keras import ops


def reconstruction_loss(real, synthetic):
    """Mean absolute difference over the whole image: mean |x - y|."""
    return ops.mean(ops.abs(_float32(real) - _float32(synthetic)))


def condition_loss(real, synthetic, mask):
    """Mean absolute difference inside the ROIs.

    Per image Σ|x - y|·M / (3·max(1, ΣM)), then the mean over the batch, so that a
    small lesion counts as much as a large one; an image without ROI gives 0.

    Args:
        real, synthetic: [N, S, S, 3].
        mask: [N, S, S, 1], 1 inside the ROIs and 0 outside.
    """
    mask = _float32(mask)
    difference = ops.abs(_float32(real) - _float32(synthetic)) * mask
    area = ops.maximum(ops.sum(mask, axis=(1, 2, 3)), 1.0)
    return ops.mean(ops.sum(difference, axis=(1, 2, 3)) / (3.0 * area))


def feature_matching_loss(real_features, synthetic_features):
    """Mean squared difference of discriminator features (Salimans et al. 2016).

    The real features are held constant.
    """
    target = ops.stop_gradient(_float32(real_features))
    return ops.mean(ops.square(target - _float32(synthetic_features)))


def diversity_loss(synthetic, other):
    """How little two images of one map, of two seeds, differ: small where they do.

    Per image 1 / (mean |y - y'| + 0.01), then the mean over the batch. After the mode
    seeking loss of Mao et al. 2019 ("Mode Seeking Generative Adversarial Networks"),
    which divides the difference of the images by that of their noise; two seeds are
    always equally far apart. Theirs adds 1e-5, ours 0.01 (a hundredth of the range's
    half), so that images that do not differ yet get no gradient out of all proportion.

    Args:
        synthetic, other: [N, S, S, 3] in [-1, 1].
    """
    difference = ops.abs(_float32(synthetic) - _float32(other))
    return ops.mean(1.0 / (ops.mean(difference, axis=(1, 2, 3)) + 0.01))


def relevancy_loss(photo, painted, mask):
    """Mean squared difference outside the mask (Furger et al. 2020).

    Per image Σ(x - y)²·(1 - M) / (3·max(1, Σ(1 - M))), then the mean over the batch.

    Args:
        photo, painted: [N, S, S, 3].
        mask: [N, S, S, 1], 1 where the photo may change and 0 elsewhere.
    """
    outside = 1.0 - _float32(mask)
    difference = ops.square(_float32(photo) - _float32(painted)) * outside
    area = ops.maximum(ops.sum(outside, axis=(1, 2, 3)), 1.0)
    return ops.mean(ops.sum(difference, axis=(1, 2, 3)) / (3.0 * area))


def total_variation_loss(images):
    """Mean absolute difference of neighbouring pixels, of both directions, summed."""
    images = _float32(images)
    down = ops.mean(ops.abs(images[:, 1:] - images[:, :-1]))
    across = ops.mean(ops.abs(images[:, :, 1:] - images[:, :, :-1]))
    return down + across


def generator_adversarial_loss(synthetic_logits):
    """Non-saturating: sigmoid cross-entropy of synthetic logits against "real"."""
    return ops.mean(ops.softplus(-_float32(synthetic_logits)))


def discriminator_adversarial_loss(real_logits, synthetic_logits):
    """½ (cross-entropy of real logits against 1 + of synthetic ones against 0)."""
    real = ops.mean(ops.softplus(-_float32(real_logits)))
    synthetic = ops.mean(ops.softplus(_float32(synthetic_logits)))
    return 0.5 * (real + synthetic)


def _float32(x):
    return ops.cast(x, "float32")
