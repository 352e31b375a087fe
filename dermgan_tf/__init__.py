"""DermGAN for TensorFlow and Keras: clinical skin photographs from semantic maps.

    import dermgan_tf as dg

Names load on first use, so that preparing data in many processes does not load
TensorFlow in each.
"""

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

# Public name -> the module that defines it. A module may also be public as a whole.
_NAMES = {
    "Vocabulary": "vocabulary",
    "DERMGAN_CONDITIONS": "vocabulary",
    "InputError": "errors",
    "Roi": "semantic_map",
    "encode_semantic_map": "semantic_map",
    "decode_semantic_map": "semantic_map",
    "roi_mask": "semantic_map",
    "ResizeConv2D": "resize_conv2d",
    "build_generator": "generator",
    "build_discriminator": "discriminator",
    "DermGAN": "dermgan",
    "PhotoAnnotation": "annotations",
    "read_annotations": "annotations",
    "write_annotations": "annotations",
    "prepare_pairs": "prepare",
    "load_pairs": "pairs",
    "train_gan": "training",
    "export_saved_model": "saved_model",
    "load_generator": "generation",
    "build_embedding": "embeddings",
    "evaluate": "evaluation",
    "plan_synthetic": "synthetic_plan",
    "train_classifier": "classifier_training",
    "read_predictions": "predictions",
}
_MODULES = ("losses", "metrics", "phantom", "skin_tone")

__all__ = [*_NAMES, *_MODULES, "__version__"]

if TYPE_CHECKING:  # what editors and type checkers see
    from dermgan_tf import losses, metrics, phantom, skin_tone
    from dermgan_tf.annotations import (
        PhotoAnnotation,
        read_annotations,
        write_annotations,
    )
    from dermgan_tf.classifier_training import train_classifier
    from dermgan_tf.dermgan import DermGAN
    from dermgan_tf.discriminator import build_discriminator
    from dermgan_tf.embeddings import build_embedding
    from dermgan_tf.errors import InputError
    from dermgan_tf.evaluation import evaluate
    from dermgan_tf.generation import load_generator
    from dermgan_tf.generator import build_generator
    from dermgan_tf.pairs import load_pairs
    from dermgan_tf.predictions import read_predictions
    from dermgan_tf.prepare import prepare_pairs
    from dermgan_tf.resize_conv2d import ResizeConv2D
    from dermgan_tf.saved_model import export_saved_model
    from dermgan_tf.semantic_map import (
        Roi,
        decode_semantic_map,
        encode_semantic_map,
        roi_mask,
    )
    from dermgan_tf.synthetic_plan import plan_synthetic
    from dermgan_tf.training import train_gan
    from dermgan_tf.vocabulary import DERMGAN_CONDITIONS, Vocabulary


def __getattr__(name: str):
    if name in _NAMES:
        value = getattr(importlib.import_module(f"dermgan_tf.{_NAMES[name]}"), name)
    elif name in _MODULES:
        value = importlib.import_module(f"dermgan_tf.{name}")
    else:
        raise AttributeError(f"module 'dermgan_tf' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
