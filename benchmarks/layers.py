"""Measures what a training step's time goes into, layer by layer.

Each layer is compiled by itself, at the size it has in the networks, and timed with the
gradients that a step needs of it. The parts need not add up to the whole step: compiled
as one, it joins some of them, and caches serve it better.
"""

import json
import pathlib
import time
from collections.abc import Callable

import numpy as np
from absl import flags, logging

from benchmarks import flops
from benchmarks.contenders import Case, build_dermgan, matrix_product
from dermgan_tf.output_folder import atomic_write
from dermgan_tf.progress import silent
from pipelines.shared import program

PRODUCT_SIZES = (2048, 4096)


def define_flags():
    flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "Of the arithmetic.")
    flags.DEFINE_integer("image_size", 256, "Pixels.")
    flags.DEFINE_integer("base_filters", 64, "Of the networks.", lower_bound=1)
    flags.DEFINE_integer("batch_size", 4, "Images in a step.", lower_bound=1)
    flags.DEFINE_integer("rounds", 5, "Slices of each part.", lower_bound=1)
    flags.DEFINE_float("seconds", 0.2, "Length of a slice.", lower_bound=0)
    flags.DEFINE_string("out", None, "JSON file to write.", required=True)


def main(args):
    program.load_tensorflow()
    logging.set_verbosity(logging.ERROR)  # so many functions look like retracing to it
    case = Case(args.dtype, args.image_size, args.base_filters, args.batch_size)
    result = measure(case, args.seconds, args.rounds, program.progress)
    atomic_write(pathlib.Path(args.out), (json.dumps(result) + "\n").encode())


def measure(
    case: Case, seconds: float = 0.2, rounds: int = 5, progress: Callable = silent
) -> dict[str, dict]:
    """Times the parts of a training step in turns.

    Args:
        case: what to build.
        seconds: float. The length of a slice.
        rounds: int. Slices of each part.
        progress: see `dermgan_tf.progress`.

    Returns:
        By part: "values", seconds a step, by round; for convolutions "gflop", what the
        direct (transposed) convolution needs of them in a step; and for ResizeConv2D
        "form". Besides the layers there are "optimizers", "average" (of the weights),
        "step" (the whole) and "product": a large matrix product, also with its "gflop".
    """
    gan = build_dermgan(case)
    parts = {
        **_generator_parts(gan, case),
        **_discriminator_parts(gan, case),
        **_whole_parts(gan, case),
        "product": _fastest_product(case),
    }
    for part in progress(parts.values(), desc="compiling"):
        part["seconds"]()
    values = {name: [] for name in parts}
    for _ in progress(range(rounds), desc="measuring"):
        for name, part in parts.items():
            values[name].append(part["seconds"](seconds))
    return {
        name: {k: v for k, v in part.items() if k != "seconds"}
        | {"values": values[name]}
        for name, part in parts.items()
    }


def _generator_parts(gan, case: Case) -> dict[str, dict]:
    """Once forward and once backward through each layer."""
    counts = flops.generator_convolutions(case.image_size, case.base_filters)
    parts = {}
    for layer in _layers(gan.generator.network):
        first = layer.name == "encoder_0_conv"
        passes = 2 if first else 3
        both = _timed_layer(layer, case, of_inputs=not first, of_weights=True)
        parts[layer.name] = {"seconds": both, **_count(layer, counts, case, passes)}
    return parts


def _discriminator_parts(gan, case: Case) -> dict[str, dict]:
    """Forward and backward for real and synthetic images, and once more to the image.

    The layers have run forward when the generator's loss comes back through them.
    """
    counts = flops.discriminator_convolutions(case.image_size, case.base_filters)
    parts = {}
    for layer in _layers(gan.discriminator):
        first = layer.name == "patch_0_conv"
        both = _timed_layer(layer, case, of_inputs=not first, of_weights=True)
        back = _timed_layer(layer, case, of_inputs=True, of_weights=False)
        forward = _timed_layer(layer, case, of_inputs=False, of_weights=False)

        def seconds(limit=0.0, both=both, back=back, forward=forward):
            return max(2 * both(limit) + back(limit) - forward(limit), 0.0)

        passes = 5 if first else 7
        parts[layer.name] = {"seconds": seconds, **_count(layer, counts, case, passes)}
    return parts


def _whole_parts(gan, case: Case) -> dict[str, dict]:
    import tensorflow as tf

    networks = (
        (gan.generator, gan.generator_optimizer),
        (gan.discriminator, gan.discriminator_optimizer),
    )
    gradients = [
        [tf.random.normal(v.shape) for v in network.trainable_variables]
        for network, _ in networks
    ]

    @tf.function(autograph=False)
    def update(gradients):
        for (network, optimizer), own in zip(networks, gradients, strict=True):
            optimizer.apply(own, network.trainable_variables)

    average = tf.function(gan._update_average, autograph=False)
    semantic_map, real = case.images()
    batch = {"semantic_map": semantic_map, "image": real}
    batches = iter(tf.data.Dataset.from_tensors(batch).cache().repeat())
    gan.make_train_function()

    def step():
        return float(np.ravel(gan.train_function(batches)["generator_loss"])[0])

    return {
        "optimizers": {"seconds": _timed(lambda: update(gradients))},
        "average": {"seconds": _timed(average)},
        "step": {"seconds": _timed(step)},
    }


def _fastest_product(case: Case) -> dict:
    products = {
        size: _timed(matrix_product("tensorflow", size, case.half))
        for size in PRODUCT_SIZES
    }
    size = max(products, key=lambda size: size**3 / products[size](0.2))
    return {"seconds": products[size], "gflop": 2 * size**3 / 1e9}


def _layers(network):
    """The layers that compute something, in order."""
    import keras

    return [
        layer
        for layer in network.layers
        if not isinstance(layer, keras.layers.InputLayer)
    ]


def _timed_layer(layer, case: Case, *, of_inputs: bool, of_weights: bool):
    """The layer forward, and backward to what is asked for."""
    import keras
    import tensorflow as tf

    shapes = layer.input if isinstance(layer.input, list) else [layer.input]
    inputs = [
        tf.cast(tf.random.normal((case.batch_size, *tensor.shape[1:])), tensor.dtype)
        for tensor in shapes
    ]
    output = layer.output
    dy = tf.cast(tf.random.normal((case.batch_size, *output.shape[1:])), output.dtype)
    weights = [w.value for w in layer.trainable_weights] if of_weights else []

    @tf.function(autograph=False)
    def run(inputs, dy):
        floats = [x for x in inputs if x.dtype.is_floating] if of_inputs else []
        with tf.GradientTape() as tape:
            tape.watch(floats)
            merges = isinstance(layer, keras.layers.Concatenate)
            y = layer(inputs) if merges else layer(*inputs)
        sources = floats + weights
        # A result that nobody asks for would not be computed.
        return y, tape.gradient(y, sources, dy) if sources else ()

    return _timed(lambda: run(inputs, dy))


def _timed(work: Callable) -> Callable[[float], float]:
    """A function that works for some seconds, at least once, and gives its mean."""

    def seconds(limit: float = 0.0) -> float:
        count, start = 0, time.perf_counter()
        while not count or time.perf_counter() - start < limit:
            work()
            count += 1
        return (time.perf_counter() - start) / count

    return seconds


def _count(layer, counts, case: Case, passes: int) -> dict:
    for convolution in counts:
        if layer.name in (
            f"{convolution.name}_conv",
            f"{convolution.name}_upsampling",
        ):
            gflop = passes * convolution.flops * case.batch_size / 1e9
            form = getattr(layer, "chosen_form", None)
            return {"gflop": gflop, **({"form": form} if form else {})}
    return {}


if __name__ == "__main__":
    program.run(define_flags, main)
