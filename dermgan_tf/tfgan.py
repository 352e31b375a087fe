"""TF-GAN 2.1.0 on today's TensorFlow: `from dermgan_tf.tfgan import tfgan`.

TF-GAN's newest release still imports `tf.estimator`, which TensorFlow removed in 2.16.
Its estimators need the removed code; its metrics, losses, tensor pool and summaries do
not, and work once the import passes. For the length of that import we put an empty
module where TF-GAN looks for its estimators, and give `tf` an `estimator` namespace
with the one name that it reads, a base class. The namespace is taken away again; what
stays is the empty `tensorflow_gan.python.estimator`, so `tfgan.estimator` is empty.
`keras` and `tf.keras` stay Keras 3.
"""

import sys
import types
import warnings

import tensorflow as tf

from dermgan_tf.errors import InputError


def _import_tfgan() -> types.ModuleType:
    estimators = "tensorflow_gan.python.estimator"
    sys.modules.setdefault(estimators, types.ModuleType(estimators))
    lacks_estimator = not hasattr(tf, "estimator")
    if lacks_estimator:
        tf.estimator = types.SimpleNamespace(
            SessionRunHook=tf.compat.v1.train.SessionRunHook
        )
    try:
        with warnings.catch_warnings():
            # tensorflow-hub's use of pkg_resources, distutils' deprecation
            warnings.simplefilter("ignore")
            # Python 3.12 lacks the distutils that TF-GAN imports; this brings it back.
            import setuptools  # noqa: F401
            import tensorflow_gan
    except ImportError as error:
        sys.modules.pop(estimators, None)
        raise InputError(
            f'TF-GAN cannot be imported ({error}): pip install "dermgan_tf[tfgan]"'
        ) from error
    finally:
        if lacks_estimator:
            del tf.estimator
    return tensorflow_gan


tfgan = _import_tfgan()
