"""Pairs and painters of known behaviour, for the tests of dermgan_tf.judging."""

import numpy as np

from dermgan_tf.photos.semantic_map import (
    Roi,
    decode_semantic_map,
    encode_semantic_map,
    roi_mask,
)
from dermgan_tf.photos.vocabulary import Vocabulary

VOCABULARY = Vocabulary(["melanoma", "eczema"])
SIZE = 64
# Skin colours of unknown type, and of types I … VI.
SKIN = np.array(
    [
        (170, 120, 90),
        (241, 214, 195),
        (228, 190, 160),
        (208, 160, 125),
        (170, 120, 88),
        (120, 80, 55),
        (75, 48, 34),
    ]
)
LESION = {"melanoma": (40, 25, 25), "eczema": (225, 60, 70)}
BOX = (0.375, 0.25, 0.625, 0.5)  # rows 24…39, columns 16…31


def paint(semantic_map, seed, skin=SKIN):
    """What the map asks for, with noise that depends on the seed alone."""
    fitzpatrick, rois = decode_semantic_map(semantic_map, VOCABULARY)
    noise = np.random.default_rng(seed).normal(0, 3, (SIZE, SIZE, 3))
    image = np.broadcast_to(skin[fitzpatrick], (SIZE, SIZE, 3)) + noise
    inside = roi_mask(semantic_map)[..., 0] > 0
    if rois:
        image[inside] = LESION[rois[0].condition] + noise[inside]
    return np.clip(image, 0, 255).astype(np.uint8)


def make_pair(i, condition="melanoma", fitzpatrick=3, boxes=(BOX,), case=None):
    """The i-th pair; its photograph is `paint` of its map with seed 1000 + i."""
    rois = [Roi(box, condition) for box in boxes]
    semantic_map = encode_semantic_map(SIZE, fitzpatrick, rois, VOCABULARY)
    return {
        "image": paint(semantic_map, 1000 + i),
        "semantic_map": semantic_map,
        "image_id": f"image{i}",
        "case_id": f"case{i}" if case is None else case,
        "condition": condition,
        "fitzpatrick": fitzpatrick,
        "boxes": np.array(boxes, np.float32).reshape(-1, 4),
        "box_conditions": (condition,) * len(boxes),
        "source": "real",
    }


class Painter:
    """Stands where a loaded SavedModel does; paints each image by `paint_one`."""

    vocabulary = VOCABULARY
    image_size = SIZE

    def __init__(self, paint_one=paint):
        self.paint_one = paint_one
        self.batches = []

    def paint(self, semantic_maps, seeds):
        assert semantic_maps.dtype == np.uint8
        self.batches.append(len(semantic_maps))
        pairs = zip(semantic_maps, seeds, strict=True)
        return np.stack([self.paint_one(m, int(s)) for m, s in pairs])


def one_image(semantic_map, seed):
    return np.full((SIZE, SIZE, 3), SKIN[3], np.uint8)


def only_noise(semantic_map, seed):
    """Another image for every map, obeying none."""
    own = int(semantic_map.astype(np.int64).sum()) + 7919 * seed
    own += int(np.argmax(semantic_map[..., 1]))
    return np.random.default_rng(own).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
