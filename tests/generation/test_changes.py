"""Figures of a translation, on pictures whose differences are known."""

import numpy as np
import pytest

from dermgan_tf.generation.changes import change_figures, inpainted, twin_figures


def scene(level):
    healthy = np.full((32, 32, 3), level, np.uint8)
    mask = np.zeros((32, 32), bool)
    mask[10:20, 12:22] = True
    sick = healthy.copy()
    sick[mask] = 20
    return {"image": sick, "twin": healthy, "mask": mask}


def test_differences_inside_and_outside():
    patch = scene(120)
    changed = patch["image"].copy()
    changed[patch["mask"]] += 40
    changed[0, 0] += 3
    figures = change_figures(
        patch["image"][np.newaxis], patch["mask"][np.newaxis], changed[np.newaxis]
    )
    assert figures["n"] == 1 and figures["inside"] == pytest.approx(40)
    assert figures["outside"] == pytest.approx(3 / (32 * 32 - 100))


def test_twins_tell_the_error():
    patches = [scene(120), scene(200), {**scene(50), "twin": None}]

    def half_way(photos, masks):
        """Moves what is masked 30 levels up."""
        changed = photos.copy()
        changed[masks] += 30
        return changed

    removal = twin_figures(patches, "remove", half_way)
    assert removal["n"] == 2 and removal["outside"] == 0
    assert removal["unchanged"] == pytest.approx((100 + 180) / 2)
    assert removal["error"] == pytest.approx((70 + 150) / 2)
    assert removal["telea"] == pytest.approx(0, abs=1)  # even skin is filled in well
    addition = twin_figures(patches, "add", lambda photos, masks: photos - 10)
    assert addition["error"] == pytest.approx((90 + 170) / 2)
    assert addition["outside"] == pytest.approx(10) and "telea" not in addition
    with pytest.raises(ValueError, match="no patch has a twin"):
        twin_figures(patches[2:], "add", half_way)


def test_inpainting_keeps_what_is_outside():
    rng = np.random.default_rng(0)
    photos = rng.integers(0, 256, (2, 32, 32, 3), np.uint8)
    masks = np.stack([scene(0)["mask"]] * 2)
    filled = inpainted(photos, masks)
    np.testing.assert_array_equal(filled[~masks], photos[~masks])
    assert (filled[masks] != photos[masks]).any()
