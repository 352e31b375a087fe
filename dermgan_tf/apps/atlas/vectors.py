"""Vectors of pictures: from the built-in embedding, or one of a network."""

import os

import numpy as np

from dermgan_tf.apps.atlas import colour_texture
from dermgan_tf.apps.atlas.about import About, require_same_embedding
from dermgan_tf.errors import InputError

NETWORKS = ("inception_v3", "mobilenet_v2", "tfgan")  # built by name alone


def open_embedding(name: str, weights: str | os.PathLike | None = None):
    """The embedding that a user names.

    Args:
        name: "colour_texture", or what `dermgan_tf.metrics.embeddings.build_embedding`
            takes; that imports TensorFlow.
        weights: see there.

    Raises:
        InputError: for an unknown name, or weights that do not fit.
    """
    if name == colour_texture.NAME:
        if weights is not None:
            raise InputError(f"{name} has no weights; leave out --embedding_weights")
        return colour_texture.ColourTexture()
    from dermgan_tf.metrics.embeddings import build_embedding

    return build_embedding(name, weights)


def embedding_of(about: About, name: str | None, weights: str | None, where: str):
    """The atlas' embedding, to embed a query with.

    Args:
        about: of the atlas.
        name, weights: as given by the user; None = what the atlas says.
        where: the atlas, for messages.

    Raises:
        InputError: for another embedding than the atlas', or where that is not to be
            had without a file.
    """
    name = name or about.embedding_flag
    if not name:
        raise InputError(
            f"{where} was built with the model {about.embedding['name']}, whose file "
            "is needed to embed a photo: name it by --embedding"
        )
    embedding = open_embedding(name, weights)
    require_same_embedding(about, embedding, where)
    return embedding


def unit_vectors(vectors: np.ndarray) -> np.ndarray:
    """Vectors of length 1, np.float32 [n, d], whose scalar products are cosines."""
    vectors = np.asarray(vectors, np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    # Without any feature a picture is equally far from all: no direction is its own.
    even = np.float32(1 / np.sqrt(vectors.shape[1]))
    return np.where(lengths > 0, vectors / np.maximum(lengths, 1e-30), even)
