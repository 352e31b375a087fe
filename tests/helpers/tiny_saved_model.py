"""A small exported generator whose pictures differ visibly from map to map."""

import numpy as np

from dermgan_tf.models.dermgan.networks import build_generator
from dermgan_tf.models.dermgan.served import export_saved_model
from dermgan_tf.photos.vocabulary import Vocabulary

VOCABULARY = Vocabulary(["melanoma", "SK/ISK", "vitiligo", "healthy skin"])
SIZE = 64


def export_vivid(path, vocabulary=VOCABULARY, seed=0):
    """Exports one of random weights: untrained ones paint nearly one grey."""
    generator = build_generator(SIZE, base_filters=4)
    rng = np.random.default_rng(seed)
    for weight in generator.weights:
        if weight.name == "kernel":
            scale = 1 / np.sqrt(np.prod(weight.shape[:-1]))
            weight.assign(rng.normal(0, scale, weight.shape))
    export_saved_model(generator, vocabulary, path, {"source": "phantom"})
    return path
