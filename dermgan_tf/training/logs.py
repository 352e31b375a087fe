"""What a run writes down as it goes: history.csv, validation.csv, TensorBoard's logs.

A run that goes on after a kill first cuts off what lies beyond its checkpoint.
"""

import csv
import os
import pathlib
from collections.abc import Collection

import tensorflow as tf

from dermgan_tf.output_folder import atomic_write, tensorflow_errors_as_os_errors


def append_history(path: pathlib.Path, step: int, values: dict[str, float]) -> None:
    """Appends a row to history.csv or validation.csv; to an empty one, a header too."""
    with open(path, "a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if file.tell() == 0:
            writer.writerow(["step", *values])
        # Nine digits give every float32 back.
        writer.writerow([step, *(f"{value:.9g}" for value in values.values())])


def read_history(path: str | os.PathLike) -> list[dict[str, float]]:
    """Reads such a file: a dict a row, of the step and the losses."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError:
        return []
    return [{name: float(value) for name, value in row.items()} for row in rows]


def last_losses(path: str | os.PathLike) -> dict[str, float]:
    """The losses of the last row of history.csv, without the step; {} of no rows."""
    rows = read_history(path)
    return {name: v for name, v in (rows[-1] if rows else {}).items() if name != "step"}


def cut_history(path: pathlib.Path, step: int) -> None:
    """Removes the rows of such a file beyond `step`, and a half-written last one."""
    if not path.exists():
        return
    lines = path.read_bytes().splitlines(keepends=True)
    whole = [line for line in lines if line.endswith(b"\n")]
    kept = whole[:1] + [
        line for line in whole[1:] if int(line.split(b",", 1)[0]) <= step
    ]
    atomic_write(path, b"".join(kept))


def summary_writer(folder: pathlib.Path, step: int) -> tf.summary.SummaryWriter:
    """Opens TensorBoard's logs to resume behind `step`.

    What a killed run logged beyond it stays in its file: TensorBoard shows the newest
    of values that stand twice.
    """
    with tensorflow_errors_as_os_errors(folder):
        return tf.summary.create_file_writer(str(folder))


def best_step(path: str | os.PathLike, steps: Collection[int]) -> int | None:
    """The one of `steps` with the least loss in validation.csv, the first of equals.

    The file is all there is to know: it survives a kill, and is cut with the rest.

    Args:
        path: validation.csv; need not exist.
        steps: those that have a checkpoint.

    Returns:
        int; None if none of the steps is in the file.
    """
    rows = [row for row in read_history(path) if row["step"] in steps]
    return int(min(rows, key=lambda row: row["loss"])["step"]) if rows else None
