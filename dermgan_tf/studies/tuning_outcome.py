"""What a search for hyperparameters found: rows, the best settings, TensorBoard."""

import os
import pathlib
import shlex
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf


def csv_row(result: Mapping[str, Any], data_sets: int) -> dict[str, Any]:
    """A trial's row of results.csv.

    Args:
        result: as trial.json has it, see `dermgan_tf.studies.tuning`.
        data_sets: int. How many there are; those of a diverged trial stay empty.
    """
    row = {
        "trial": result["trial"],
        "status": result["status"],
        "objective": result["objective"],
        **result["hyperparameters"],
    }
    empty = {"distance": None, "standard_deviation": None, "interval_95": (None, None)}
    for number in range(data_sets):
        entry = result["data"][number] if "data" in result else empty
        low, high = entry["interval_95"]
        name = f"data{number + 1}_distance"
        row |= {
            name: entry["distance"],
            f"{name}_sd": entry["standard_deviation"],
            f"{name}_low": low,
            f"{name}_high": high,
        }
    return {**row, "seconds": round(result["seconds"], 3)}


def best_settings(
    results: Sequence[Mapping[str, Any]],
    facts: Mapping[str, Any],
    data_dirs: Sequence[str | os.PathLike],
) -> dict[str, Any]:
    """What best.json says.

    Args:
        results: of all trials, best first, as trial.json has them.
        facts: of the search, as tuning.json has them.
        data_dirs: of pairs, for the commands.
    """
    best = results[0]
    values = best["hyperparameters"]
    flags = {**facts["training"], **values}
    commands = [
        shlex.join(
            [
                *("python", "-m", "pipelines.train_gan"),
                f"--data_dir={os.fspath(data_dir)}",
                "--model_dir=MODEL_DIR",
                *(_flag(name, value) for name, value in flags.items()),
            ]
        )
        for data_dir in data_dirs
    ]
    return {
        "objective": facts["objective"],
        "value": best["objective"],
        "trial": best["trial"],
        "hyperparameters": values,
        "trials": len(results),
        "data_fingerprints": [data["fingerprint"] for data in facts["data"].values()],
        "commands": commands,
        "remarks": _remarks(results, facts),
    }


def _flag(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no{name}"
    return f"--{name}={value}"


def _remarks(results, facts) -> list[str]:
    best = results[0]
    remarks = [
        f"The value is the least of {len(results)}, found on the validation split: it "
        "flatters. Judge what is trained with these settings on the test split.",
    ]
    if facts["seeds"] == 1:
        remarks.append(
            "Each trial trained with one seed: trials differ by chance, too, and how "
            "much is unknown."
        )
    if len(best["data"]) == 1:
        high = best["data"][0]["interval_95"][1]
        near = sum(1 for r in results[1:] if r["objective"] and r["objective"] <= high)
        remarks.append(
            f"{near} other trials lie within the best one's interval over random "
            "subsets of the images."
        )
    for name, values in facts["space"].items():
        value = best["hyperparameters"][name]
        if len(values) > 1 and value in (min(values), max(values)) and value > 0:
            end = "least" if value == min(values) else "greatest"
            remarks.append(
                f"{name} {value:g} is the {end} value tried; a better one may lie "
                "beyond."
            )
    return remarks


# === TensorBoard ===


def write_hparams_space(
    folder: pathlib.Path, space: Mapping[str, Sequence[float]], objective: str
) -> None:
    """Tells TensorBoard's HParams page what is searched, in place of what was told."""
    from tensorboard.plugins.hparams import api

    for path in folder.glob("*tfevents*"):
        path.unlink()
    with tf.summary.create_file_writer(str(folder)).as_default():
        api.hparams_config(
            hparams=[
                api.HParam(n, api.Discrete(values)) for n, values in space.items()
            ],
            metrics=[api.Metric("objective", display_name=f"objective ({objective})")],
        )


def write_hparams_trial(folder: pathlib.Path, result: Mapping[str, Any]) -> None:
    """Adds a trial, as trial.json has it, to TensorBoard's HParams page."""
    from tensorboard.plugins.hparams import api

    folder = folder / f"{result['trial']:03d}"
    shutil.rmtree(folder, ignore_errors=True)  # of a killed attempt
    with tf.summary.create_file_writer(str(folder)).as_default():
        api.hparams(dict(result["hyperparameters"]), trial_id=folder.name)
        if result["objective"] is not None:
            tf.summary.scalar("objective", result["objective"], step=0)
        for number, entry in enumerate(result.get("data", ()), start=1):
            tf.summary.scalar(f"distance/data{number}", entry["distance"], step=0)
