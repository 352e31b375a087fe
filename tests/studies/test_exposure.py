"""Arms that see equally many photographs."""

import dataclasses

import numpy as np
import pytest

from dermgan_tf.classifier.batches import IMBALANCE, TrainingImages
from dermgan_tf.studies.exposure import equal_exposure, real_images_seen
from tests.helpers.coloured_spots import spots

PHOTOS = spots(30, 0)
PAINTED = dataclasses.replace(spots(64, 1), cases=None)


@pytest.mark.parametrize("imbalance", IMBALANCE[::2])
@pytest.mark.parametrize("steps, batch, count", [(1, 8, 64), (17, 7, 33), (40, 5, 1)])
def test_synthetic_images_come_on_top(steps, batch, count, imbalance):
    longer = equal_exposure(steps, len(PHOTOS), count)
    images = TrainingImages(
        PHOTOS,
        PAINTED,
        batch,
        seed=3,
        chosen=np.arange(count),
        imbalance=imbalance,
        real_share=longer["real_share"],
    )
    alone = TrainingImages(PHOTOS, None, batch, seed=3, imbalance=imbalance)
    assert real_images_seen(alone, steps) == steps * batch
    assert real_images_seen(images, longer["steps"]) == steps * batch
    # The same photographs in the same order.
    drawn = np.concatenate([images.items(k) for k in range(longer["steps"])])
    expected = np.concatenate([alone.items(k) for k in range(steps)])
    np.testing.assert_array_equal(drawn[drawn < len(PHOTOS)], expected)


def test_at_equal_steps_fewer_photographs_are_seen():
    pooled = TrainingImages(PHOTOS, PAINTED, 8, seed=0)
    assert 0 < real_images_seen(pooled, 47) < 47 * 8 / 2
