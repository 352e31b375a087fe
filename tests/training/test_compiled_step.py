"""The training step as accelerators want it: compiled whole, with static shapes."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import dermgan_tf as dg
from tests.models.dermgan.test_model import batch


@pytest.fixture(params=["float32", "mixed_bfloat16"])
def policy(request):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy(before)


def compiled_step(jit_compile=True):
    keras.utils.set_random_seed(0)
    gan = dg.DermGAN(dg.build_generator(64, 4), dg.build_discriminator(64, 4))
    gan.compile(keras.optimizers.SGD(0.1), keras.optimizers.SGD(0.1))
    return gan, tf.function(gan.train_step, jit_compile=jit_compile, autograph=False)


def tensors():
    return {name: tf.constant(value) for name, value in batch().items()}


def test_whole_step_is_one_program_of_static_shapes(policy):
    """XLA compiles a function whole or fails; what it compiles needs no host."""
    _, step = compiled_step()
    program = step.experimental_get_compiler_ir(tensors())(stage="hlo")
    shapes_and_ops = re.findall(
        r"^ *(?:ROOT )?%?\S+ = (.*?)([a-z][\w-]*)\(", program, re.M
    )
    names = {name for _, name in shapes_and_ops}
    assert {"convolution", "dot", "reduce", "multiply"} <= names
    assert not names & {
        *("custom-call", "infeed", "outfeed", "send", "recv", "rng"),
        *("set-dimension-size", "get-dimension-size"),
    }
    assert not any("<=" in shape for shape, _ in shapes_and_ops)
    types = {s.split("[")[0] for s, name in shapes_and_ops if name == "convolution"}
    assert types == {"f32" if policy == "float32" else "bf16"}


def test_compiled_step_updates_as_the_plain_one():
    results = []
    for jit_compile in (False, True):
        gan, step = compiled_step(jit_compile)
        losses = step(tensors())
        results.append(({k: float(v) for k, v in losses.items()}, gan.get_weights()))
    (losses, weights), (compiled_losses, compiled_weights) = results
    assert compiled_losses == pytest.approx(losses, rel=1e-5)
    for plain, compiled in zip(weights, compiled_weights, strict=True):
        np.testing.assert_allclose(compiled, plain, atol=1e-5)
