"""The state of a training run on disk: written whole, verified when read.

A checkpoint of TensorFlow is a few files: step-120.data-… with the numbers, and
step-120.index with their places and checksums. They are written aside, and the index is
moved to its place last: what has an index is complete.
"""

import os
import pathlib
import shutil
from collections.abc import Collection
from typing import Any

import tensorflow as tf
from absl import logging

from dermgan_tf.errors import InputError, plain_message

_NAME = "step"
_ASIDE = "partial"
# Which of these a damaged file raises depends on where the damage is.
_DAMAGED = (tf.errors.OpError, ValueError, RuntimeError, IndexError)


class Checkpoints:
    """The last checkpoints of a run and some others, in a folder nobody else writes to.

    What a killed run left half-written is removed at once. A checkpoint counts only
    when it is complete, so the one before stays usable until then.

    Args:
        folder: where they lie; made on the first save.
        keep: int, at least 1. How many of the last are kept. While one is written the
            folder holds one more.
        **state: the trackable objects (variables, networks, optimizers) that make up
            the run's state. Their variables must exist already.
    """

    def __init__(self, folder: str | os.PathLike, keep: int, **state: Any):
        self.folder = pathlib.Path(folder)
        self._keep = keep
        self._checkpoint = tf.train.Checkpoint(**state)
        self._keep_only(self.saved_steps())

    def saved_steps(self) -> list[int]:
        """The steps that have a checkpoint, oldest first."""
        return saved_steps(self.folder)

    def restore(self) -> int:
        """Reads the newest intact checkpoint into the state.

        A damaged one (every tensor has a checksum) is logged and removed, and the one
        before is read instead.

        Returns:
            int. The checkpoint's step; 0, with the state untouched, if there is none.

        Raises:
            InputError: if there are checkpoints, but none of them can be read, or one
                holds less than the state.
        """
        steps = self.saved_steps()
        for step in reversed(steps):
            try:
                status = self._checkpoint.read(_prefix(self.folder, step))
            except _DAMAGED as error:
                logging.warning(
                    "checkpoint %s is damaged (%s); trying the one before",
                    _prefix(self.folder, step),
                    " ".join(str(error).split())[:200],
                )
                continue
            # It may hold more: those of earlier versions do.
            _require_all(status, self.folder, step)
            self._keep_only(steps[: steps.index(step) + 1])
            return step
        if steps:
            raise InputError(
                f"none of the {len(steps)} checkpoints in {self.folder} can be read; "
                f"bring them back from a copy, or remove the folder to start anew"
            )
        return 0

    def save(self, step: int, also_keep: Collection[int] = ()) -> None:
        """Writes the checkpoint of `step`, then removes those that are not kept.

        Args:
            step: int. More than that of any other.
            also_keep: the steps of checkpoints to keep besides the last ones.

        Raises:
            InputError: if it cannot be written; the earlier checkpoints are unharmed.
        """
        aside = self.folder / _ASIDE
        try:
            aside.mkdir(parents=True, exist_ok=True)
            self._checkpoint.write(_prefix(aside, step))
            _move_whole(aside, self.folder, step)
        except (tf.errors.OpError, OSError) as error:
            self._keep_only(self.saved_steps())
            raise InputError(self._cannot_save(step, error)) from error
        steps = self.saved_steps()
        others = [step for step in steps[: -self._keep] if step in also_keep]
        self._keep_only(others + steps[-self._keep :])

    def _cannot_save(self, step: int, error: Exception) -> str:
        intact = self.saved_steps()
        stays = f"that of step {intact[-1]} is intact; " if intact else ""
        return (
            f"cannot write the checkpoint of step {step} to {self.folder}: "
            f"{plain_message(error)}; {stays}mend the cause "
            f"(a full disk?) and repeat the same command"
        )

    def _keep_only(self, steps: Collection[int]) -> None:
        """Removes all other checkpoints, and what is no checkpoint."""
        kept = {os.path.basename(_prefix(self.folder, step)) for step in steps}
        doomed = [
            path
            for path in self.folder.glob(f"{_NAME}-*")
            if path.name.split(".")[0] not in kept
        ]
        # Without its index a checkpoint counts no more: a kill leaves none in parts.
        for path in sorted(doomed, key=lambda path: path.suffix != ".index"):
            path.unlink(missing_ok=True)
        shutil.rmtree(self.folder / _ASIDE, ignore_errors=True)


def saved_steps(folder: str | os.PathLike) -> list[int]:
    """The steps that have a checkpoint in such a folder, oldest first."""
    paths = pathlib.Path(folder).glob(f"{_NAME}-*.index")
    return sorted(int(path.stem.removeprefix(f"{_NAME}-")) for path in paths)


def restore_part(folder: str | os.PathLike, step: int, **state: Any) -> None:
    """Reads some of the objects of a checkpoint, and writes nothing.

    Args:
        folder: where the checkpoints lie.
        step: int. One of `saved_steps(folder)`.
        **state: the objects, by the names that `Checkpoints` was given them under.

    Raises:
        InputError: if the checkpoint is damaged, or lacks one of the objects.
    """
    prefix = _prefix(folder, step)
    try:
        status = tf.train.Checkpoint(**state).read(prefix).expect_partial()
    except _DAMAGED as error:
        raise InputError(
            f"checkpoint {prefix} is damaged: {plain_message(error)}; training goes "
            f"on from the one before"
        ) from error
    _require_all(status, folder, step)


def _require_all(status, folder: str | os.PathLike, step: int) -> None:
    try:
        status.assert_existing_objects_matched()
    except AssertionError as error:
        raise InputError(
            f"checkpoint {_prefix(folder, step)} holds less than this version needs: "
            f"{' '.join(str(error).split())[:200]}"
        ) from None


def _move_whole(aside: pathlib.Path, folder: pathlib.Path, step: int) -> None:
    """Moves a checkpoint, its index last, so that it appears whole or not at all."""
    paths = sorted(aside.iterdir(), key=lambda path: path.suffix == ".index")
    for path in paths:
        # Names outlive a power failure without it, what is in the files may not.
        with open(path, "rb") as file:
            os.fsync(file.fileno())
    for path in paths:
        os.replace(path, folder / path.name)


def _prefix(folder: str | os.PathLike, step: int) -> str:
    """What TensorFlow calls the path of a checkpoint: its files' names begin so."""
    return os.fspath(pathlib.Path(folder) / f"{_NAME}-{step}")
