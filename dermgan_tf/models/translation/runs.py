"""The translator of a training run, finished or not, out of its checkpoints."""

import os
import pathlib
from typing import Any

import keras

from dermgan_tf.errors import InputError
from dermgan_tf.models.translation.networks import build_translator
from dermgan_tf.training.checkpoints import restore_part, saved_steps
from dermgan_tf.training.run_folder import CHECKPOINTS, MODEL_FILE, read_earlier

_NETWORKS = {"add": "adder", "remove": "remover"}  # of a CycleGAN


def load_run_translator(
    model_dir: str | os.PathLike, direction: str | None = None, use_ema: bool = True
) -> tuple[keras.Model, dict[str, Any]]:
    """Builds the network that adds or removes, as the newest checkpoint has it.

    Args:
        model_dir: a folder that `train_lesion_translation` or `train_cyclegan` writes
            to, or has written.
        direction: "add" or "remove"; needed of a CycleGAN, which does both.
        use_ema: bool. Whether the weights' moving average is taken where there is one.

    Returns:
        (network, provenance): provenance is model.json with the direction and the
        weights' name.

    Raises:
        InputError: for a folder that is not such a run's, one without a checkpoint or
            with a damaged one, or a direction that it was not trained for.
    """
    folder = pathlib.Path(model_dir)
    if not (folder / MODEL_FILE).exists():
        raise InputError(
            f"{folder} is not a model folder: it has no {MODEL_FILE}; give the "
            "--model_dir of train_lesion_translation"
        )
    description = read_earlier(folder)
    name, direction = _network_of(description, direction, folder)
    steps = saved_steps(folder / CHECKPOINTS)
    if not steps:
        raise InputError(f"{folder} has no checkpoint: train on first")
    try:
        network = build_translator(
            description["image_size"],
            description["base_filters"],
            description["architecture"],
            description.get("use_masks", True),
            description.get("hide_masked", False),
            name,
        )
        name = f"ema_{name}" if use_ema and description["ema_decay"] > 0 else name
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{folder / MODEL_FILE} is damaged: {error!r}") from error
    restore_part(folder / CHECKPOINTS, steps[-1], **{name: network})
    return network, {
        **description,
        "direction": direction,
        "trained_steps": steps[-1],
        "weights": f"{CHECKPOINTS}/step-{steps[-1]}, {name}",
    }


def _network_of(description, direction, folder) -> tuple[str, str]:
    kind, trained = description.get("kind"), description.get("direction")
    if kind == "CycleGAN":
        if direction not in _NETWORKS:
            raise InputError(
                f"{folder} is trained for both directions: say which, add or remove"
            )
        return _NETWORKS[direction], direction
    if kind != "lesion translation":
        raise InputError(f"{folder} holds no run of train_lesion_translation")
    if direction not in (None, trained):
        raise InputError(f"{folder} is trained to {trained}, not to {direction}")
    return "generator", trained
