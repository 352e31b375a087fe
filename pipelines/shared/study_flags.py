"""Flags of the programs that judge: the three that evaluate, ablation, tune."""

import sys

from absl import flags

from pipelines.shared.device_flags import define_precision_flags

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


def define_evaluation_flags(exporter: str, data: str, split: str) -> None:
    """What all programs that judge a SavedModel share.

    Args:
        exporter: the program that made the SavedModel.
        data: what the data are.
        split: what happens to the images of the split.
    """
    flags.DEFINE_string(
        "saved_model", None, f"Folder that {exporter} made.", required=True
    )
    flags.DEFINE_string("data_dir", None, f"Folder of {data}.", required=True)
    flags.DEFINE_string(
        "output_dir",
        None,
        "Folder to make; holds metrics, figures and sheets.",
        required=True,
    )
    flags.DEFINE_enum(
        "split", "test", ["train", "validation", "test"], f"The split whose {split}."
    )
    define_judging_flags()
    flags.DEFINE_integer("seed", 0, "Seed of the random draws.", lower_bound=0)
    flags.DEFINE_bool("overwrite", False, "Replace a non-empty output folder.")


def define_memory_flags(scenes: int, scenes_help: str) -> None:
    """How it is judged whether training images are remembered."""
    flags.DEFINE_integer(
        "max_train_images",
        None,
        "Compare with at most this many training images, drawn at random; copies of "
        "others are not found. Default: all.",
        lower_bound=1,
    )
    flags.DEFINE_integer("scenes", scenes, scenes_help, lower_bound=1)


def announce(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
