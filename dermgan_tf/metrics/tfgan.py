"""TF-GAN 2.1.0 on today's TensorFlow: `from dermgan_tf.metrics.tfgan import tfgan`.

TF-GAN's newest release still imports `tf.estimator`, which TensorFlow removed in 2.16.
Its estimators need the removed code; its metrics, losses, tensor pool and summaries do
not, and work once the import passes. For the length of that import we put an empty
module where TF-GAN looks for its estimators, and give `tf` an `estimator` namespace
with the one name that it reads, a base class. The namespace is taken away again; what
stays is the empty `tensorflow_gan.python.estimator`, so `tfgan.estimator` is empty.
`keras` and `tf.keras` stay Keras 3.

Its Inception metrics also flatten what the network gives with a layer that is gone with
Keras 3. Their module gets a `tf` of its own, of the two functions that it calls.
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
            from tensorflow_gan.python.eval import inception_metrics
    except ImportError as error:
        sys.modules.pop(estimators, None)
        raise InputError(
            f'TF-GAN cannot be imported ({error}): pip install "dermgan_tf[tfgan]"'
        ) from error
    finally:
        if lacks_estimator:
            del tf.estimator
    _give_flatten(inception_metrics)
    return tensorflow_gan


def _give_flatten(inception_metrics: types.ModuleType) -> None:
    def flatten(x):
        size = x.shape[1:].num_elements()  # None where a graph does not say
        return tf.reshape(x, [tf.shape(x)[0], -1 if size is None else size])

    namespace = types.SimpleNamespace
    layers = namespace(layers=namespace(flatten=flatten))
    inception_metrics.tf = namespace(nest=tf.nest, compat=namespace(v1=layers))


tfgan = _import_tfgan()
