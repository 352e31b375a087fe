"""Figures of a translation, on pictures whose differences are known."""

import numpy as np
import pytest

from dermgan_tf.generation.changes import inpainted, pixel_sums


def scene(level):
    healthy = np.full((32, 32, 3), level, np.uint8)
    mask = np.zeros((32, 32), bool)
    mask[10:20, 12:22] = True
    sick = healthy.copy()
    sick[mask] = 20
    return {"image": sick, "twin": healthy, "mask": mask}


def test_sums_of_differences():
    patch = scene(120)
    changed = patch["image"].copy()
    changed[patch["mask"]] += 40
    changed[0, 0] += 3
    images, others = patch["image"][np.newaxis], changed[np.newaxis]
    mask = patch["mask"][np.newaxis]
    assert pixel_sums(images, others, mask).mean() == pytest.approx(40)
    assert pixel_sums(images, others, mask, power=2).mean() == pytest.approx(1600)
    outside = pixel_sums(images, others, ~mask)
    assert outside.mean() == pytest.approx(3 / (32 * 32 - 100))
    assert outside.pixels.tolist() == [32 * 32 - 100]
    assert np.isnan(pixel_sums(images, others, np.zeros_like(mask)).mean())


def test_inpainting_keeps_what_is_outside():
    rng = np.random.default_rng(0)
    photos = rng.integers(0, 256, (2, 32, 32, 3), np.uint8)
    masks = np.stack([scene(0)["mask"]] * 2)
    filled = inpainted(photos, masks)
    np.testing.assert_array_equal(filled[~masks], photos[~masks])
    assert (filled[masks] != photos[masks]).any()
