"""The generator of a run of train_unconditional, out of its checkpoints."""

import os
import pathlib
from typing import Any

import keras

from dermgan_tf.checkpoints import restore_part, saved_steps
from dermgan_tf.errors import InputError
from dermgan_tf.latent_networks import build_latent_generator
from dermgan_tf.run_folder import CHECKPOINTS, MODEL_FILE, read_earlier


def load_run_unconditional(
    model_dir: str | os.PathLike, use_ema: bool = True
) -> tuple[keras.Model, dict[str, Any]]:
    """Builds the generator as the newest checkpoint has it.

    Args:
        model_dir: a folder that `train_unconditional` writes to, or has written.
        use_ema: bool. Whether the weights' moving average is taken where there is one.

    Returns:
        (network, provenance): provenance is model.json with the weights' name.

    Raises:
        InputError: for a folder that is not such a run's, or one without a checkpoint
            or with a damaged one.
    """
    folder = pathlib.Path(model_dir)
    if not (folder / MODEL_FILE).exists():
        raise InputError(
            f"{folder} is not a model folder: it has no {MODEL_FILE}; give the "
            "--model_dir of train_unconditional"
        )
    description = read_earlier(folder)
    if description.get("kind") != "unconditional":
        raise InputError(f"{folder} holds no run of train_unconditional")
    steps = saved_steps(folder / CHECKPOINTS)
    if not steps:
        raise InputError(f"{folder} has no checkpoint: train on first")
    try:
        network = build_latent_generator(
            description["image_size"],
            description["base_filters"],
            description["latent_size"],
        )
        averaged = use_ema and description["ema_decay"] > 0
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{folder / MODEL_FILE} is damaged: {error!r}") from error
    name = "ema_generator" if averaged else "generator"
    restore_part(folder / CHECKPOINTS, steps[-1], **{name: network})
    return network, {
        **description,
        "trained_steps": steps[-1],
        "weights": f"{CHECKPOINTS}/step-{steps[-1]}, {name}",
    }
