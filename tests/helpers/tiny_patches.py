"""A patches folder small enough to train on in a test."""

import dataclasses

import numpy as np

from dermgan_tf.pairs.prepare import prepare_patches
from dermgan_tf.pairs.sources import Scene

SKIN, LESION = (205, 160, 135), (120, 40, 50)


@dataclasses.dataclass(frozen=True)
class SpotScene:
    """Noisy skin of 48 × 48 pixels with one dark square on its left half."""

    number: int
    split: str | None = None
    spot: bool = True
    source: str = "real"
    condition: str = "spot"

    @property
    def name(self):
        return f"spot-{self.number}"

    path = name

    @property
    def case_id(self):
        return f"case-{self.number // 2}"  # two photos a case

    def load(self, twin=False):
        rng = np.random.default_rng(self.number)
        photo = np.clip(rng.normal(SKIN, 6, (48, 48, 3)), 0, 255).astype(np.uint8)
        healthy, pathology = photo.copy(), np.zeros((48, 48), bool)
        if self.spot:
            y, x = rng.integers(6, 30), rng.integers(4, 10)
            pathology[y : y + 9, x : x + 9] = True
            photo[pathology] = LESION
        skin = np.ones((48, 48), bool)
        skin[:, 44:] = False  # a strip of background
        return Scene(photo, skin, pathology, healthy if twin else None)


def spot_scenes(count=12, held_out=2):
    train = count - 2 * held_out
    splits = ["train"] * train + ["validation"] * held_out + ["test"] * held_out
    return [SpotScene(i, split) for i, split in enumerate(splits)]


def make_tiny_patches(folder, count=12, held_out=2):
    """Writes 16 × 16 patches: about 2 of each domain a photo, of spot_scenes."""
    prepare_patches(
        spot_scenes(count, held_out),
        folder,
        image_size=16,
        patches_per_photo=2,
        workers=1,
    )
    return folder
