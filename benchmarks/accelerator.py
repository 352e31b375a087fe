"""Measures the networks on a GPU or TPU, through Keras' JAX backend.

Painting and the whole training step of DermGAN, compiled, in images a second and as a
share of what the device can do. Needs keras, jax and numpy alone.
"""

import os

os.environ["KERAS_BACKEND"] = "jax"

import functools  # noqa: E402
import json  # noqa: E402
import math  # noqa: E402
import pathlib  # noqa: E402
import shlex  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402
from typing import Any, NamedTuple  # noqa: E402

import jax  # noqa: E402
import keras  # noqa: E402
import numpy as np  # noqa: E402
from absl import flags  # noqa: E402
from jax import numpy as jnp  # noqa: E402

from dermgan_tf.layers import losses  # noqa: E402
from dermgan_tf.models.dermgan.model import DEFAULT_LEARNING_RATES, DEFAULT_LOSS_WEIGHTS  # noqa: E402
from dermgan_tf.models.dermgan.networks import (
    build_discriminator,  # noqa: E402
    build_generator,  # noqa: E402
)
from pipelines.shared import program  # noqa: E402

EMA_DECAY = 0.999

# Dense TFLOP/s by part of the device's name, from the makers' data sheets; NVIDIA's
# float32 is TF32, which XLA computes float32 products and convolutions with.
MAKERS_PEAKS = {
    "H200": {"bfloat16": 989.4, "float32": 494.7},
    "H100 PCIe": {"bfloat16": 756.0, "float32": 378.0},
    "H100": {"bfloat16": 989.4, "float32": 494.7},
    "A100": {"bfloat16": 312.0, "float32": 156.0},
    "TPU v4": {"bfloat16": 275.0},
    "TPU v5 lite": {"bfloat16": 197.0},
}


class State(NamedTuple):
    """All that a training step changes: weights, optimizers' variables, average."""

    generator: list
    discriminator: list
    generator_optimizer: list
    discriminator_optimizer: list
    average: list


class Training:
    """DermGAN's training step as a pure function.

    Args:
        image_size, base_filters: of the networks, which take Keras' dtype policy.
    """

    def __init__(self, image_size: int, base_filters: int):
        self.generator = build_generator(image_size, base_filters)
        self.discriminator = build_discriminator(image_size, base_filters)
        self.optimizers = [
            keras.optimizers.Adam(rate, beta_1=0.5)
            for rate in DEFAULT_LEARNING_RATES.values()
        ]
        networks = (self.generator, self.discriminator)
        for optimizer, network in zip(self.optimizers, networks, strict=True):
            optimizer.build(network.trainable_variables)

    def start(self) -> State:
        weights = [
            [variable.value for variable in network.trainable_variables]
            for network in (self.generator, self.discriminator)
        ]
        optimizers = [
            [variable.value for variable in optimizer.variables]
            for optimizer in self.optimizers
        ]
        # copies: the step may overwrite what it is given
        return State(*jax.tree.map(jnp.copy, (*weights, *optimizers, weights[0])))

    def paint(self, weights: list, semantic_map, seed):
        """float32 [N, S, S, 3] from the generator with these weights."""
        fixed = [v.value for v in self.generator.non_trainable_variables]
        return self.generator.stateless_call(weights, fixed, semantic_map, seed=seed)[0]

    def judge(self, weights: list, semantic_map, image):
        """(logits, features) from the discriminator with these weights."""
        fixed = [v.value for v in self.discriminator.non_trainable_variables]
        inputs = [semantic_map, image]
        return self.discriminator.stateless_call(weights, fixed, inputs)[0]

    def gradients(self, state: State, semantic_map, real, seed):
        """Both networks' gradients from one forward pass of each on each input.

        The reverse pass of the synthetic image's judgement is taken twice: with the
        generator's loss down to the image, with the discriminator's to its weights.

        Returns:
            (losses, gradients), a pair of the generator's and the discriminator's each.
        """
        synthetic, through_generator = jax.vjp(
            lambda weights: self.paint(weights, semantic_map, seed), state.generator
        )
        judged, through_judgement = jax.vjp(
            lambda weights, image: self.judge(weights, semantic_map, image),
            state.discriminator,
            synthetic,
        )
        judged_real, through_real = jax.vjp(
            lambda weights: self.judge(weights, semantic_map, real),
            state.discriminator,
        )
        generator_loss, (of_image, of_judged) = jax.value_and_grad(
            functools.partial(generator_loss_of, semantic_map, real, judged_real[1]),
            (0, 1),
        )(synthetic, judged)
        of_image = of_image + through_judgement(of_judged)[1]
        (generator_gradient,) = through_generator(of_image)

        discriminator_loss, (of_real, of_synthetic) = jax.value_and_grad(
            losses.discriminator_adversarial_loss, (0, 1)
        )(judged_real[0], judged[0])
        no_features = jnp.zeros_like(judged[1])
        first = through_judgement((of_synthetic, no_features))[0]
        (second,) = through_real((of_real, no_features))
        discriminator_gradient = jax.tree.map(jnp.add, first, second)
        return (generator_loss, discriminator_loss), (
            generator_gradient,
            discriminator_gradient,
        )

    def step(self, state: State, semantic_map, real, seed) -> State:
        """One update of both networks and of the average."""
        _, (of_generator, of_discriminator) = self.gradients(
            state, semantic_map, real, seed
        )
        generator, generator_optimizer = self.optimizers[0].stateless_apply(
            state.generator_optimizer, of_generator, state.generator
        )
        discriminator, discriminator_optimizer = self.optimizers[1].stateless_apply(
            state.discriminator_optimizer, of_discriminator, state.discriminator
        )
        average = jax.tree.map(
            lambda a, w: a + (1 - EMA_DECAY) * (w - a), state.average, generator
        )
        return State(
            generator,
            discriminator,
            generator_optimizer,
            discriminator_optimizer,
            average,
        )


def generator_loss_of(semantic_map, real, real_features, synthetic, judged):
    """The generator's whole loss, weighted as DermGAN does by default."""
    logits, features = judged
    inside = jnp.max(semantic_map[..., 1:], axis=-1, keepdims=True) > -1 + 1 / 255
    parts = {
        "reconstruction": losses.reconstruction_loss(real, synthetic),
        "condition": losses.condition_loss(real, synthetic, inside),
        "feature_matching": losses.feature_matching_loss(real_features, features),
        "adversarial": losses.generator_adversarial_loss(logits),
    }
    return sum(DEFAULT_LOSS_WEIGHTS[name] * loss for name, loss in parts.items())


def measure(
    work: Callable[[Any], Any], state: Any, slices: int, slice_seconds: float
) -> list[float]:
    """Times `state = work(state)` over and over.

    Returns:
        Calls per second, slice by slice.
    """
    for _ in range(2):  # the first call compiles
        start = time.perf_counter()
        state = jax.block_until_ready(work(state))
        seconds = time.perf_counter() - start
    calls = max(1, math.ceil(slice_seconds / seconds))
    rates = []
    for _ in range(slices):
        start = time.perf_counter()
        for _ in range(calls):
            state = work(state)
        jax.block_until_ready(state)
        rates.append(calls / (time.perf_counter() - start))
    return rates


def measure_products(dtype: str, size: int, **timing) -> list[float]:
    """TFLOP/s of products of square matrices."""
    matrix = jax.random.normal(jax.random.key(0), (size, size), dtype) / size**0.5
    rates = measure(jax.jit(lambda product: product @ matrix), matrix, **timing)
    return [2 * size**3 * rate / 1e12 for rate in rates]


def measure_networks(
    work: str, dtype: str, image_size: int, base_filters: int, batch_size: int, **timing
) -> list[float] | None:
    """Images per second of "training" or "painting"; None if memory is too small."""
    keras.config.set_dtype_policy("mixed_bfloat16" if dtype == "bfloat16" else dtype)
    training = Training(image_size, base_filters)
    shape = (2, batch_size, image_size, image_size, 3)
    images = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    semantic_map, real = map(jnp.asarray, images)
    seed = jnp.arange(batch_size, dtype="int32")
    state = training.start()
    if work == "training":
        step = jax.jit(training.step, donate_argnums=0)
        turn = functools.partial(step, semantic_map=semantic_map, real=real, seed=seed)
    else:
        paint, weights = jax.jit(training.paint), state.generator

        def turn(_):
            return paint(weights, semantic_map, seed)

    try:
        rates = measure(turn, state, **timing)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return None
    return [batch_size * rate for rate in rates]


def makers_peak(device: str, dtype: str) -> float | None:
    """The maker's figure in TFLOP/s, for devices that we know."""
    for part, peaks in MAKERS_PEAKS.items():
        if part in device:
            return peaks.get(dtype)
    return None


def define_flags():
    flags.DEFINE_list("batch_sizes", "1,4,16,64", "Images in a step.")
    flags.DEFINE_list("dtypes", "float32,bfloat16", "Of the networks' arithmetic.")
    flags.DEFINE_integer("base_filters", 64, "Filters of the networks' first block.")
    flags.DEFINE_integer("image_size", 256, "Side of an image in pixels.")
    flags.DEFINE_integer("matrix_size", 8192, "Side of the matrices of the peak.")
    flags.DEFINE_integer("slices", 5, "Times that each is measured.", lower_bound=1)
    flags.DEFINE_float("slice_seconds", 2.0, "Length of a slice.", lower_bound=0)
    flags.DEFINE_string(
        "output", "benchmarks/accelerator.json", "The file to write, for BENCHMARKS.md."
    )


def main(args):
    device = jax.devices()[0]
    timing = {"slices": args.slices, "slice_seconds": args.slice_seconds}
    result = {
        "device": device.device_kind,
        "platform": device.platform,
        "date": time.strftime("%Y-%m-%d"),
        "command": shlex.join(
            ["python", "-m", "benchmarks.accelerator", *sys.argv[1:]]
        ),
        "versions": {"jax": jax.__version__, "keras": keras.__version__},
        "image_size": args.image_size,
        "base_filters": args.base_filters,
        "peaks": {},
        "rows": [],
    }
    for dtype in args.dtypes:
        result["peaks"][dtype] = {
            "products": measure_products(dtype, args.matrix_size, **timing),
            "maker": makers_peak(device.device_kind, dtype),
        }
        for work in ("painting", "training"):
            for batch_size in map(int, args.batch_sizes):
                print(f"{work}, {dtype}, batch {batch_size}", file=sys.stderr)
                values = measure_networks(
                    work,
                    dtype,
                    args.image_size,
                    args.base_filters,
                    batch_size,
                    **timing,
                )
                result["rows"].append(
                    {
                        "work": work,
                        "dtype": dtype,
                        "batch_size": batch_size,
                        "values": values,
                    }
                )
    text = json.dumps(result, indent=1) + "\n"
    pathlib.Path(args.output).write_text(text, "utf-8")
    print(args.output)


if __name__ == "__main__":
    program.run(define_flags, main)
