"""Sets of labelled images: what they refuse, and how they are gone through."""

import numpy as np
import pytest

from dermgan_tf.classifier.labelled_images import (
    LabelledImages,
    image_batches,
    joined,
    without_those_of,
)
from dermgan_tf.errors import InputError
from tests.helpers.coloured_spots import spots

CONDITIONS = ("blue", "green", "red")


def test_labelled_images_that_do_not_fit_together():
    images = np.zeros((3, 8, 8, 3), np.uint8)
    with pytest.raises(InputError, match="label 3 is none of 3"):
        LabelledImages(images, [0, 1, 3], CONDITIONS)
    with pytest.raises(InputError, match="3 images with .2,. labels"):
        LabelledImages(images, [0, 1], CONDITIONS)
    with pytest.raises(InputError, match="float64"):
        LabelledImages(images / 255, [0, 1, 2], CONDITIONS)


def test_what_is_known_of_each_image_must_fit_too():
    images = np.zeros((2, 8, 8, 3), np.uint8)
    for more, message in (
        ({"image_ids": np.array(["a", "a"])}, "'a' stands twice"),
        ({"image_ids": np.array(["a"])}, "image_ids"),
        ({"skin_types": [0, 7]}, "skin types are 0 to 6"),
        ({"cases": np.array(["a"])}, "cases"),
    ):
        with pytest.raises(InputError, match=message):
            LabelledImages(images, [0, 1], CONDITIONS, **more)


def test_batches_are_copies_of_some_rows():
    images = np.arange(7 * 2 * 2 * 3, dtype=np.uint8).reshape(7, 2, 2, 3)
    batches = list(image_batches(images, batch_size=3))
    assert [len(batch) for batch in batches] == [3, 3, 1]
    np.testing.assert_array_equal(np.concatenate(batches), images)
    assert not np.shares_memory(batches[0], images)
    some = np.concatenate(list(image_batches(images, np.array([5, 1, 1]), 2)))
    np.testing.assert_array_equal(some, images[[5, 1, 1]])


def test_sets_are_joined_in_order_and_cleared_of_others(tmp_path):
    a, b = spots(6, 5), spots(9, 6)
    whole = joined([a, b])
    np.testing.assert_array_equal(whole.images, np.concatenate([a.images, b.images]))
    assert whole.image_ids.tolist() == [*a.image_ids, *b.image_ids]
    assert whole.cases.tolist() == [*a.cases, *b.cases] and whole.skin_types is None
    mapped = np.memmap(tmp_path / "a", np.uint8, "w+", shape=a.images.shape)
    mapped[:] = a.images
    lies = joined([LabelledImages(mapped, a.labels, a.conditions), b], tmp_path)
    assert isinstance(lies.images, np.memmap) and lies.cases is None
    np.testing.assert_array_equal(lies.images, whole.images)
    assert lies.fingerprint == whole.fingerprint != joined([b, a]).fingerprint
    left = without_those_of(whole, a)
    assert left.image_ids.tolist() == b.image_ids.tolist()
    assert without_those_of(b, a) is b
