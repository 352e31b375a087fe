"""The state of a training run on disk: written whole, verified when read."""

import os
import pathlib
import shutil
import time
from typing import Any

import tensorflow as tf
from absl import logging

from dermgan_tf.errors import InputError, plain_message

_NAME = "step"  # a checkpoint is step-120.index and step-120.data-…


class Checkpoints:
    """The last few checkpoints of a run, in a folder that nobody else writes to.

    What a killed run left half-written is removed at once. A checkpoint counts only
    when it is complete, so the one before stays usable until then.

    Args:
        folder: where they lie; made on the first save.
        keep: int, at least 1. How many are kept; the oldest go first. While one is
            written the folder holds one more.
        **state: the trackable objects (variables, networks, optimizers) that make up
            the run's state. Their variables must exist already.
    """

    def __init__(self, folder: str | os.PathLike, keep: int, **state: Any):
        self.folder = pathlib.Path(folder)
        self._keep = keep
        self._checkpoint = tf.train.Checkpoint(**state)
        self._manager = self._make_manager()
        self._remove_leftovers()

    def saved_steps(self) -> list[int]:
        """The steps that have a checkpoint, oldest first."""
        return [_step(path) for path in self._manager.checkpoints]

    def restore(self) -> int:
        """Reads the newest intact checkpoint into the state.

        A damaged one (every tensor has a checksum) is logged and removed, and the one
        before is read instead.

        Returns:
            int. The checkpoint's step; 0, with the state untouched, if there is none.

        Raises:
            InputError: if there are checkpoints, but none of them can be read.
        """
        paths = self._manager.checkpoints
        for path in reversed(paths):
            try:
                status = self._checkpoint.restore(path)
            # Which of these a damaged file raises depends on where the damage is.
            except (tf.errors.OpError, ValueError, RuntimeError, IndexError) as error:
                logging.warning(
                    "checkpoint %s is damaged (%s); trying the one before",
                    path,
                    " ".join(str(error).split())[:200],
                )
                continue
            status.assert_consumed()
            self._forget(paths[paths.index(path) + 1 :])
            return _step(path)
        if paths:
            raise InputError(
                f"none of the {len(paths)} checkpoints in {self.folder} can be read; "
                f"bring them back from a copy, or remove the folder to start anew"
            )
        return 0

    def save(self, step: int) -> None:
        """Writes the checkpoint of `step`, then removes the oldest ones.

        Raises:
            InputError: if it cannot be written; the earlier checkpoints are unharmed.
        """
        try:
            self._manager.save(checkpoint_number=step)
        except (tf.errors.OpError, OSError) as error:
            self._remove_leftovers()
            raise InputError(self._cannot_save(step, error)) from error

    def _cannot_save(self, step: int, error: Exception) -> str:
        intact = self.saved_steps()
        stays = f"that of step {intact[-1]} is intact; " if intact else ""
        return (
            f"cannot write the checkpoint of step {step} to {self.folder}: "
            f"{plain_message(error)}; {stays}mend the cause "
            f"(a full disk?) and repeat the same command"
        )

    def _make_manager(self) -> tf.train.CheckpointManager:
        return tf.train.CheckpointManager(
            self._checkpoint, self.folder, self._keep, checkpoint_name=_NAME
        )

    def _forget(self, paths: list[str]) -> None:
        if not paths:
            return
        kept = [path for path in self._manager.checkpoints if path not in paths]
        tf.compat.v1.train.update_checkpoint_state(
            str(self.folder),
            kept[-1],
            kept,
            all_model_checkpoint_timestamps=[time.time()] * len(kept),
        )
        self._manager = self._make_manager()
        self._remove_leftovers()

    def _remove_leftovers(self) -> None:
        known = {os.path.basename(path) for path in self._manager.checkpoints}
        for entry in self.folder.glob(f"{_NAME}-*"):
            if entry.name.split(".")[0] in known:
                continue
            if entry.is_dir():  # step-120_temp
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)


def _step(path: str) -> int:
    return int(path.rpartition("-")[2])
