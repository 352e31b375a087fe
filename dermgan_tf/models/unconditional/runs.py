"""The networks of a run of train_unconditional, out of its checkpoints."""

import contextlib
import os
import pathlib
from typing import Any

import keras

from dermgan_tf.errors import InputError
from dermgan_tf.models.unconditional.networks import (
    build_image_discriminator,
    build_latent_generator,
)
from dermgan_tf.training.checkpoints import restore_part, saved_steps
from dermgan_tf.training.run_folder import CHECKPOINTS, MODEL_FILE, read_earlier


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
    folder, description, step = _run(model_dir)
    with _told_of_damage(folder):
        network = build_latent_generator(
            description["image_size"],
            description["base_filters"],
            description["latent_size"],
        )
        averaged = use_ema and description["ema_decay"] > 0
    name = "ema_generator" if averaged else "generator"
    restore_part(folder / CHECKPOINTS, step, **{name: network})
    return network, {
        **description,
        "trained_steps": step,
        "weights": f"{CHECKPOINTS}/step-{step}, {name}",
    }


def load_run_discriminator(
    model_dir: str | os.PathLike,
) -> tuple[keras.Model, dict[str, Any]]:
    """Builds the discriminator as the newest checkpoint has it.

    Args:
        model_dir: as of `load_run_unconditional`.

    Returns:
        (network, description): float32 [N, S, S, 3] in [-1, 1] -> logits [N, 1];
        model.json with trained_steps.

    Raises:
        InputError: as `load_run_unconditional`.
    """
    folder, description, step = _run(model_dir)
    with _told_of_damage(folder):
        network = build_image_discriminator(
            description["image_size"], description["base_filters"]
        )
    restore_part(folder / CHECKPOINTS, step, discriminator=network)
    return network, {**description, "trained_steps": step}


def require_same_run(generator, description: dict[str, Any], model_dir) -> None:
    """Raises unless an exported generator is of the state that a run is in.

    Args:
        generator: `UnconditionalGenerator`.
        description: as of `load_run_discriminator`.
        model_dir: the run's folder, for the message.

    Raises:
        InputError: if it was trained on other data, otherwise, or for more or fewer
            steps.
    """
    told = generator.metadata["provenance"]
    for key in sorted(description.keys() - {"steps", "decay_steps"}):
        if told.get(key) != description[key]:
            raise InputError(
                f"the generator is not of the run in {os.fspath(model_dir)}: its {key} "
                f"is {told.get(key)!r}, the run's {description[key]!r}; export the run "
                "(again), or name its own"
            )


def _run(model_dir) -> tuple[pathlib.Path, dict[str, Any], int]:
    """Folder, model.json and newest step of a run."""
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
    return folder, description, steps[-1]


@contextlib.contextmanager
def _told_of_damage(folder: pathlib.Path):
    try:
        yield
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{folder / MODEL_FILE} is damaged: {error!r}") from error
