"""The generator of a training run, finished or not, from its weights or checkpoints."""

import os
import pathlib
from typing import Any

import keras

from dermgan_tf.errors import InputError
from dermgan_tf.models.dermgan.networks import build_generator
from dermgan_tf.models.dermgan.served import load_trained_generator
from dermgan_tf.photos.vocabulary import Vocabulary
from dermgan_tf.training.checkpoints import restore_part, saved_steps
from dermgan_tf.training.logs import best_step
from dermgan_tf.training.run_folder import (
    CHECKPOINTS,
    MODEL_FILE,
    VALIDATION_FILE,
    read_earlier,
)


def load_run_generator(
    model_dir: str | os.PathLike, checkpoint: str = "last", use_ema: bool = True
) -> tuple[keras.Model, Vocabulary, dict[str, Any]]:
    """Builds the generator of a run as it was last, or at its best.

    Args:
        model_dir: a folder that `train_gan` writes to, or has written.
        checkpoint: "last": the newest checkpoint; without any, the weights that
            training ended with. "best": the checkpoint of least validation loss (see
            `dermgan_tf.models.dermgan.validation`).
        use_ema: bool. Whether the weights' moving average is taken where there is one.

    Returns:
        (generator, vocabulary, provenance), as of
        `dermgan_tf.models.dermgan.served.load_trained_generator`.

    Raises:
        InputError: for a folder that is not a run's, a run without such a state, or
            files that are damaged.
    """
    folder = pathlib.Path(model_dir)
    steps = saved_steps(folder / CHECKPOINTS)
    if not (folder / MODEL_FILE).exists() or (checkpoint == "last" and not steps):
        return load_trained_generator(folder, use_ema)
    if checkpoint == "best":
        step = best_step(folder / VALIDATION_FILE, steps)
        if step is None:
            raise InputError(
                f"{folder} has no best checkpoint: none of its {len(steps)} has a "
                f"validation loss; export the last one"
            )
    else:
        step = steps[-1]
    description = read_earlier(folder)
    try:
        vocabulary = Vocabulary(description["conditions"])
        generator = build_generator(
            description["image_size"],
            description["base_filters"],
            description["upsampling"],
            description.get("condition_levels"),
        )
        averaged = use_ema and description["ema_decay"] > 0
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{folder / MODEL_FILE} is damaged: {error!r}") from error
    name = "ema_generator" if averaged else "generator"
    restore_part(folder / CHECKPOINTS, step, **{name: generator})
    provenance = {k: v for k, v in description.items() if k != "conditions"}
    weights = f"{CHECKPOINTS}/step-{step}, {name}"
    provenance |= {"trained_steps": step, "weights": weights}
    return generator, vocabulary, provenance
