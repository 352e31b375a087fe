"""The folder of a training run: who may write to it, and what it was begun with."""

import contextlib
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf

from dermgan_tf.errors import InputError
from dermgan_tf.output_folder import locked_folder
from dermgan_tf.photos.vocabulary import Vocabulary
from dermgan_tf.training.workers import is_chief

MODEL_FILE = "model.json"
HISTORY_FILE = "history.csv"
VALIDATION_FILE = "validation.csv"
CHECKPOINTS = "checkpoints"
# What may change when a run goes on. All else decides what the weights mean, or how the
# steps done so far were made.
_CHANGEABLE = (
    "steps",
    "decay_steps",
    "generator_learning_rate",
    "discriminator_learning_rate",
)

_OF_THE_DATA = ("image_size", "conditions", "data_fingerprint", "source")


@contextlib.contextmanager
def run_folder(
    model_dir: str | os.PathLike, strategy: tf.distribute.Strategy
) -> Iterator[tuple[pathlib.Path, pathlib.Path]]:
    """Yields the run's folder, and the one that this process may write to.

    They are one and the same but for the workers of a distributed run that are not its
    chief. Those go through the same motions, saving included, which needs all workers
    to take part; their copies are thrown away.
    """
    if is_chief(strategy):
        with locked_folder(model_dir) as folder:
            yield folder, folder
    else:
        with tempfile.TemporaryDirectory(prefix="dermgan-worker-") as own_folder:
            yield pathlib.Path(os.path.abspath(model_dir)), pathlib.Path(own_folder)


def remove_run(
    folder: pathlib.Path,
    folders: Sequence[str] = ("samples",),
    patterns: Sequence[str] = (MODEL_FILE, "*.weights.h5"),
) -> None:
    """Removes what a run leaves in its folder, and nothing else.

    Args:
        folder: of the run.
        folders, patterns: what this kind of run leaves beside its logs.
    """
    for name in (CHECKPOINTS, "tensorboard", *folders):
        shutil.rmtree(folder / name, ignore_errors=True)
    logs = (HISTORY_FILE, VALIDATION_FILE, "run.json", "rejects.csv")
    for pattern in (*logs, *patterns):
        for path in folder.glob(pattern):
            path.unlink()


def read_earlier(folder: pathlib.Path, model_file: str = MODEL_FILE) -> dict[str, Any]:
    """Reads model.json, or what this kind of run calls it; {} for a new run."""
    path = folder / model_file
    if not path.exists():
        strangers = [p.name for p in folder.glob("*") if not p.name.startswith(".")]
        if strangers:
            raise InputError(
                f"{folder} is not empty and holds no {model_file}, so it is no "
                f"training run to go on with (it has {strangers[0]}); choose another "
                f"folder"
            )
        return {}
    try:
        return dict(json.loads(path.read_text("utf-8")))
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}") from None


def require_same(
    earlier: Mapping[str, Any],
    settings: Mapping[str, Any],
    folder: pathlib.Path,
    changeable: Collection[str] = _CHANGEABLE,
) -> None:
    """Raises InputError at the first setting that must not, but does differ."""
    then, now = _flat(earlier), _flat(settings)
    for name in now:
        if name in changeable or then.get(name) == now[name]:
            continue
        if name == "conditions" and name in earlier:
            ours, theirs = (Vocabulary(s[name]) for s in (earlier, settings))
            ours.require_equal(theirs, f"the run in {folder}", "the data")
        if name in _OF_THE_DATA:
            raise InputError(
                f"the run in {folder} was trained on data of {name} {then.get(name)}, "
                f"these have {now[name]}; give it its own, or choose another folder"
            )
        raise InputError(
            f"the run in {folder} has {name} {then.get(name)}, this call asks for "
            f"{now[name]}; repeat it with {then.get(name)}, or choose another folder"
        )


def check_span(first_step, steps, steps_per_execution, earlier, folder) -> None:
    trained = earlier.get("trained_steps", 0)
    if trained and not first_step:
        raise InputError(
            f"{folder} was trained for {trained} steps, but its {CHECKPOINTS} are "
            f"gone; choose another folder, or overwrite it to start anew"
        )
    if first_step > steps:
        raise InputError(
            f"{folder} is trained for {first_step} steps already, more than the "
            f"{steps} asked for"
        )
    if (steps - first_step) % steps_per_execution:
        raise InputError(
            f"the {steps - first_step} steps to do are not a multiple of "
            f"steps_per_execution {steps_per_execution}"
        )


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    weights = settings.get("loss_weights", {})
    rest = {name: v for name, v in settings.items() if name != "loss_weights"}
    return {**rest, **{f"{name}_weight": float(v) for name, v in weights.items()}}
