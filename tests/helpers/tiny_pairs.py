"""A pairs folder small enough to train on in a test."""

import numpy as np

from dermgan_tf.pairs.prepare import prepare_pairs
from dermgan_tf.pairs.sources import AnnotatedPhoto
from dermgan_tf.photos.annotations import PhotoAnnotation
from dermgan_tf.photos.photo_io import encode_png
from dermgan_tf.photos.semantic_map import Roi
from dermgan_tf.photos.vocabulary import Vocabulary

VOCABULARY = Vocabulary(["melanoma", "eczema"])


def make_tiny_pairs(folder, cases=15, seed=0):
    """Writes 64 × 64 pairs of plain squares on plain skin: 12 train, 3 validation."""
    rng = np.random.default_rng(seed)
    folder.mkdir()
    photos = []
    for i in range(cases):
        condition = VOCABULARY.conditions[i % 2]
        y, x = rng.integers(24, 50, 2)
        photo = np.full((96, 96, 3), (205, 160, 135), np.uint8)
        photo[y : y + 20, x : x + 20] = [(60, 40, 30), (220, 90, 80)][i % 2]
        (folder / f"{i}.png").write_bytes(encode_png(photo))
        box = (y / 96, x / 96, (y + 20) / 96, (x + 20) / 96)
        annotation = PhotoAnnotation(
            f"{i}.png",
            case_id=f"case{i}",
            condition=condition,
            fitzpatrick=i % 3 + 1,
            rois=(Roi(box, condition),),
            split="validation" if i % 5 == 0 else "train",
        )
        photos.append(AnnotatedPhoto(str(folder), annotation))
    prepare_pairs(
        photos, VOCABULARY, folder / "pairs", 64, crops_per_photo=1, workers=1
    )
    return folder / "pairs"
