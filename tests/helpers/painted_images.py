"""A folder as generate leaves it, painted without a network."""

import json

import numpy as np

from dermgan_tf.generation.painting import write_images
from dermgan_tf.generation.plan import ImageSpec
from dermgan_tf.pairs.pairs import read_pairs_info
from tests.helpers.tiny_pairs import VOCABULARY


class Painter:
    """Paints as a generator does: the maps themselves."""

    image_size, vocabulary, fingerprint = 64, VOCABULARY, "f" * 64

    def paint(self, maps, seeds):
        return np.array(maps)

    def provenance(self, **texts):
        return {"synthetic": "true", "generator": self.fingerprint, **texts}


def paint_images(folder, pairs, count=4):
    """Writes images of a generator that was trained on `pairs`."""
    box = ((0.2, 0.2, 0.6, 0.6),)
    folder.mkdir()
    specs = [
        ImageSpec(VOCABULARY.conditions[seed % 2], 3, box, seed)
        for seed in range(count)
    ]
    write_images(Painter(), specs, folder)
    record = {
        "flags": {"generator": Painter.fingerprint},
        "data_fingerprint": read_pairs_info(pairs).fingerprint,
    }
    (folder / "run.json").write_text(json.dumps(record))
    return folder
