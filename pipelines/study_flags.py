"""Flags of the programs that judge: evaluate_gan, ablation, tune."""

import sys

from absl import flags

from pipelines.device_flags import define_precision_flags

RATES = ("generator_learning_rate", "discriminator_learning_rate")
SHARED = (
    "steps",
    "batch_size",
    "base_filters",
    "mixed_precision",
    "deterministic",
    "jit_compile",
    "checkpoint_every",
)


def define_training_flags() -> None:
    """What all runs of an ablation or a search share."""
    flags.DEFINE_integer("steps", 50_000, "Training steps of each run.", lower_bound=1)
    flags.DEFINE_integer("batch_size", 4, "Pairs per step.", lower_bound=1)
    flags.DEFINE_integer(
        "base_filters", 64, "Filters of the networks' first blocks.", lower_bound=1
    )
    define_precision_flags()
    flags.DEFINE_bool("jit_compile", False, "Compile the training step with XLA.")
    flags.DEFINE_integer(
        "checkpoint_every",
        1000,
        "Steps between checkpoints: what a kill loses at most.",
        lower_bound=1,
    )


def define_judging_flags() -> None:
    """How distances are measured."""
    flags.DEFINE_string(
        "embedding",
        "inception_v3",
        "Network that the distances are measured in: inception_v3, mobilenet_v2, tfgan "
        "(TF-GAN's own Inception and resizing, as in the paper), or the path of a "
        ".keras model. Distances compare only within one embedding.",
    )
    flags.DEFINE_string(
        "embedding_weights",
        None,
        "Weights file (.weights.h5, without top) for inception_v3 or mobilenet_v2, or "
        "the folder of TF-GAN's TF-Hub module. Default: the published weights, which "
        "are downloaded on first use.",
    )
    flags.DEFINE_integer(
        "trials",
        50,
        "Random subsets, of half of the images each, over which the distances' mean, "
        "deviation and 95 % interval are taken.",
        lower_bound=1,
    )
    flags.DEFINE_integer(
        "max_images",
        None,
        "Judge by at most this many pairs of the split, drawn at random. Default: all.",
        lower_bound=1,
    )


def announce(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
