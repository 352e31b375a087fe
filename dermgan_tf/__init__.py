"""DermGAN for TensorFlow and Keras: clinical skin photographs from semantic maps.

    import dermgan_tf as dg

Names load on first use, so that preparing data in many processes does not load
TensorFlow in each.
"""

import importlib
from typing import TYPE_CHECKING

from dermgan_tf.saved_classes import register_saved_classes
from dermgan_tf.version import __version__

# Public name -> the module that defines it. A module may also be public as a whole.
_NAMES = {
    "Vocabulary": "photos.vocabulary",
    "DERMGAN_CONDITIONS": "photos.vocabulary",
    "InputError": "errors",
    "Roi": "photos.semantic_map",
    "encode_semantic_map": "photos.semantic_map",
    "decode_semantic_map": "photos.semantic_map",
    "roi_mask": "photos.semantic_map",
    "ResizeConv2D": "layers.resize_conv2d",
    "build_generator": "models.dermgan.networks",
    "build_discriminator": "models.dermgan.networks",
    "DermGAN": "models.dermgan.model",
    "PhotoAnnotation": "photos.annotations",
    "read_annotations": "photos.annotations",
    "write_annotations": "photos.annotations",
    "prepare_pairs": "pairs.prepare",
    "load_pairs": "pairs.pairs",
    "train_gan": "models.dermgan.task",
    "export_saved_model": "models.dermgan.served",
    "load_generator": "models.dermgan.served",
    "build_embedding": "metrics.embeddings",
    "evaluate": "judging.dermgan",
    "plan_synthetic": "generation.balance",
    "train_classifier": "classifier.task",
    "read_predictions": "classifier.predictions",
}
_MODULES = {
    "losses": "layers.losses",
    "metrics": "metrics",
    "phantom": "phantom",
    "skin_tone": "photos.skin_tone",
}

__all__ = [*_NAMES, *_MODULES, "__version__"]

if TYPE_CHECKING:  # what editors and type checkers see
    from dermgan_tf import metrics, phantom
    from dermgan_tf.classifier.predictions import read_predictions
    from dermgan_tf.classifier.task import train_classifier
    from dermgan_tf.errors import InputError
    from dermgan_tf.generation.balance import plan_synthetic
    from dermgan_tf.judging.dermgan import evaluate
    from dermgan_tf.layers import losses
    from dermgan_tf.layers.resize_conv2d import ResizeConv2D
    from dermgan_tf.metrics.embeddings import build_embedding
    from dermgan_tf.models.dermgan.model import DermGAN
    from dermgan_tf.models.dermgan.networks import build_discriminator, build_generator
    from dermgan_tf.models.dermgan.served import export_saved_model, load_generator
    from dermgan_tf.models.dermgan.task import train_gan
    from dermgan_tf.pairs.pairs import load_pairs
    from dermgan_tf.pairs.prepare import prepare_pairs
    from dermgan_tf.photos import skin_tone
    from dermgan_tf.photos.annotations import (
        PhotoAnnotation,
        read_annotations,
        write_annotations,
    )
    from dermgan_tf.photos.semantic_map import (
        Roi,
        decode_semantic_map,
        encode_semantic_map,
        roi_mask,
    )
    from dermgan_tf.photos.vocabulary import DERMGAN_CONDITIONS, Vocabulary

register_saved_classes()


def __getattr__(name: str):
    if name in _NAMES:
        value = getattr(importlib.import_module(f"dermgan_tf.{_NAMES[name]}"), name)
    elif name in _MODULES:
        value = importlib.import_module(f"dermgan_tf.{_MODULES[name]}")
    else:
        raise AttributeError(f"module 'dermgan_tf' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
