"""Search for loss weights and learning rates, judged on the validation split.

Trials are the combinations of a grid, or random ones of them. Each trains with
`train_gan` in a folder of its own and is judged by the distance between the images
painted from validation maps and the real validation images; the test split is never
read. Distances of all trials are over the same images, so that ranking by the Fréchet
distance, which few samples raise, is fair.

With several data sets a trial trains on each, and its objective is the mean of the
natural logarithms of its distances. Distances of two data sets differ by factors that
say nothing of the trial; as a logarithm, such a factor adds the same to all trials, so
that dividing by a baseline first would change no rank. The kernel distance is unbiased
and can fall below 0. What is below the standard deviation that it has between real
images, over trials, cannot be told from 0 and counts as that deviation.

The order of trials depends on nothing but the search space and seed, so a search that
resumes is played again from its beginning, and trials that are finished answer from
their file at once.

OUTPUT_DIR/tuning.json says what the folder is of, trials/000/… hold the runs, and
trials/000/trial.json what came out of a trial:

    trial, status ("completed" or "diverged"), hyperparameters, objective, seconds (of
    the call that ended it), data: for each data set the means over seeds of distance,
    standard_deviation and interval_95 (both over random subsets of images), and runs,
    one a seed

results.csv has a row for each of them, tensorboard/ shows them on the HParams page, and
best.json holds the best and the commands to train with it.
"""

import json
import math
import os
import pathlib
import random
import shlex
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from dermgan_tf.errors import InputError
from dermgan_tf.metrics.embeddings import Embedding
from dermgan_tf.models.dermgan.model import DEFAULT_LOSS_WEIGHTS
from dermgan_tf.output_folder import atomic_write, write_json
from dermgan_tf.pairs.pairs import read_pairs_info
from dermgan_tf.progress import silent
from dermgan_tf.reports.tables import csv_bytes
from dermgan_tf.studies.runs import (
    DistanceJudge,
    judged_count,
    study_folder,
    switched,
    train_and_judge,
)
from dermgan_tf.training.callbacks import TrainingDiverged

SPLIT = "validation"
HYPERPARAMETERS = (
    *(f"{name}_weight" for name in DEFAULT_LOSS_WEIGHTS),
    "generator_learning_rate",
    "discriminator_learning_rate",
)
OBJECTIVES = ("kernel", "frechet")
SEARCHES = ("grid", "random")
DESCRIPTION = "tuning.json"
TRIAL = "trial.json"
_OWN_FILES = (
    "trials",
    "keras_tuner",  # of searches by version 0.1.0
    "tensorboard",
    "real",
    "results.csv",
    "best.json",
    "run.json",
)


def run_tuning(
    data_dirs: Sequence[str | os.PathLike],
    output_dir: str | os.PathLike,
    embedding: Embedding,
    space: Mapping[str, Sequence[float]],
    training: Mapping[str, Any],
    objective: str = "kernel",
    search: str = "grid",
    max_trials: int | None = None,
    seeds: int = 1,
    seed: int = 0,
    trials: int = 50,
    max_images: int | None = None,
    overwrite: bool = False,
    stop_requested: Callable[[], bool] = lambda: False,
    announce: Callable[[str], None] = lambda line: None,
    progress: Callable = silent,
) -> dict[str, Any]:
    """Searches, or resumes the search that `output_dir` holds.

    Called again with the same arguments after a kill, it resumes within the run that
    was killed. `max_trials` may grow from one call to the next.

    Args:
        data_dirs: folders that `prepare_pairs` wrote, with a validation split.
        output_dir: folder of the search; made if absent.
        embedding: from `build_embedding`.
        space: for each of HYPERPARAMETERS the values to try, at least one.
        training: the other arguments of `train_gan`: steps, batch_size, ….
        objective: "kernel" or "frechet": which distance to minimise.
        search: "grid" for all combinations, the last hyperparameter changing first, or
            "random" for random ones of them.
        max_trials: int. The most trials; a random search needs it.
        seeds: int ≥ 1. Runs of each trial and data set, with seeds 0 … seeds − 1.
        seed: int. Of the random search.
        trials: int ≥ 2. Random subsets, of half the images each, that a distance's
            deviation and interval are of. Not to be confused with the search's trials.
        max_images: int. At most so many pairs of each data set judge a trial.
        overwrite: bool. Whether to delete the search in `output_dir` and start anew.
        stop_requested, announce, progress: see
            `dermgan_tf.studies.ablation.run_ablation`.

    Returns:
        dict of objective, trial (the best), hyperparameters, value, trials (how many),
        commands (of train_gan, one a data set) and remarks, as in best.json; and
        results, a list of what the trials' files hold, best first.

    Raises:
        InputError: for bad arguments or pairs, a search of another configuration in
            the folder, no trial that did not diverge, or what `train_gan` raises.
    """
    space = _checked_space(space)
    if objective not in OBJECTIVES or search not in SEARCHES:
        raise InputError(
            f"objective and search are one of {OBJECTIVES} and {SEARCHES}, got "
            f"{objective!r} and {search!r}"
        )
    if search == "random" and max_trials is None:
        raise InputError("a random search needs a number of trials: give max_trials")
    if trials < 2 or seeds < 1:
        raise InputError("a search needs at least 2 subsets (trials) and 1 seed")
    training = {"loss_weights": {}, **training}
    facts = {
        # The space is searched, so its loss weights are no facts of the training.
        "training": {k: v for k, v in training.items() if k != "loss_weights"},
        "space": space,
        "search": search,
        "search_seed": seed,
        "objective": objective,
        "seeds": seeds,
        "data": _describe_data(data_dirs, max_images),
        "embedding": embedding.describe(),
        "trials": trials,
    }
    with study_folder(output_dir, DESCRIPTION, facts, _OWN_FILES, overwrite) as folder:
        (folder / "real").mkdir(exist_ok=True)
        judges = [
            DistanceJudge(
                data_dir,
                embedding,
                SPLIT,
                folder / "real" / f"{number}.npz",
                trials=trials,
                max_images=max_images,
                progress=progress,
            )
            for number, data_dir in enumerate(data_dirs, start=1)
        ]
        study = _Study(
            folder,
            data_dirs,
            judges,
            training=training,
            objective=objective,
            seeds=seeds,
            total=_number_of_trials(space, max_trials),
            stop_requested=stop_requested,
            announce=announce,
            progress=progress,
        )
        write_hparams_space(folder / "tensorboard", space, objective)
        study.run_all(proposals(space, search, max_trials, seed))
        results = sorted(study.results, key=_rank)
        if results[0]["status"] != "completed":
            raise InputError(
                f"all {len(results)} trials diverged; search lower learning rates"
            )
        best = best_settings(results, facts, data_dirs)
        write_json(folder / "best.json", best)
        return {**best, "results": results}


def combined_objective(distances: Sequence[float], floors: Sequence[float]) -> float:
    """One number of a trial's distances; less is better.

    Args:
        distances: [n], one a data set.
        floors: [n], distances below which count as these; > 0.

    Returns:
        Of one data set its distance as it is; of several the mean of ln(distance).
    """
    if len(distances) == 1:
        return float(distances[0])
    return float(np.mean(np.log(np.maximum(distances, floors))))


class _Study:
    """Runs the trials that the search proposes, or reads what came out of them."""

    def __init__(
        self,
        folder: pathlib.Path,
        data_dirs: Sequence[str | os.PathLike],
        judges: Sequence[DistanceJudge],
        training: Mapping[str, Any],
        objective: str,
        seeds: int,
        total: int,
        stop_requested: Callable[[], bool],
        announce: Callable[[str], None],
        progress: Callable,
    ):
        self.folder = folder
        self.objective = objective
        self.results = []
        self._data = list(zip(data_dirs, judges, strict=True))
        self._training, self._seeds, self._total = training, seeds, total
        self._calls = {"stop_requested": stop_requested, "progress": progress}
        self._announce = announce
        self._floors = [
            judge.real_distances()[f"{objective}_trials"]["standard_deviation"]
            for judge in judges
        ]

    def run_all(self, trials: Sequence[Mapping[str, float]]) -> None:
        """Runs as many trials; those that the folder holds come before new ones."""
        finished = {}
        for number in range(len(trials)):
            file = self._folder_of(number) / TRIAL
            if file.exists():
                finished[number] = json.loads(file.read_text("utf-8"))[
                    "hyperparameters"
                ]
        # Version 0.1.0 drew others at random: what it finished counts, and is not run
        # again under another number.
        left = [values for values in trials if values not in finished.values()]
        for number in range(len(trials)):
            self.run(number, finished[number] if number in finished else left.pop(0))

    def run(self, number: int, values: Mapping[str, float]) -> float | None:
        """The objective of a trial; None if its training diverged."""
        trial = self._folder_of(number)
        if not (trial / TRIAL).exists():
            shown = ", ".join(f"{name} {value:g}" for name, value in values.items())
            self._announce(f"trial {number}, {number + 1} of {self._total}: {shown}")
            started = time.monotonic()
            try:
                result = self._train(trial, values)
            except TrainingDiverged as error:
                result = {"status": "diverged", "cause": str(error), "objective": None}
            result |= {
                "trial": number,
                "hyperparameters": dict(values),
                "seconds": time.monotonic() - started,
            }
            trial.mkdir(parents=True, exist_ok=True)
            write_hparams_trial(self.folder / "tensorboard", result)
            write_json(trial / TRIAL, result)
        result = json.loads((trial / TRIAL).read_text("utf-8"))
        self.results.append(result)
        rows = [csv_row(result, len(self._data)) for result in self.results]
        atomic_write(self.folder / "results.csv", csv_bytes(rows))
        return result["objective"]

    def _folder_of(self, number: int) -> pathlib.Path:
        return self.folder / "trials" / f"{number:03d}"

    def _train(self, trial, values) -> dict[str, Any]:
        training = switched(self._training, as_switches(values))
        data = []
        for number, (data_dir, judge) in enumerate(self._data, start=1):
            runs = [
                train_and_judge(
                    data_dir,
                    trial / f"data{number}-seed{seed}",
                    judge,
                    {**training, "seed": seed},
                    **self._calls,
                )
                for seed in range(self._seeds)
            ]
            data.append(summarize_runs(runs, self.objective))
        distances = [entry["distance"] for entry in data]
        return {
            "status": "completed",
            "objective": combined_objective(distances, self._floors),
            "data": data,
        }


def summarize_runs(runs: Sequence[Mapping[str, Any]], objective: str) -> dict[str, Any]:
    """Means over a trial's runs on one data set, of the distance and its spread."""
    spreads = [run[f"{objective}_trials"] for run in runs]
    return {
        "distance": float(np.mean([run[f"{objective}_distance"] for run in runs])),
        "standard_deviation": float(
            np.mean([spread["standard_deviation"] for spread in spreads])
        ),
        "interval_95": np.mean(
            [spread["interval_95"] for spread in spreads], axis=0
        ).tolist(),
        "runs": list(runs),
    }


def as_switches(values: Mapping[str, float]) -> dict[str, Any]:
    """Hyperparameters, by their flags' names, as arguments of `train_gan`."""
    weights = {f"{name}_weight": name for name in DEFAULT_LOSS_WEIGHTS}
    return {
        **{name: value for name, value in values.items() if name not in weights},
        "loss_weights": {
            weights[name]: value for name, value in values.items() if name in weights
        },
    }


def proposals(
    space: Mapping[str, Sequence[float]], search: str, max_trials: int | None, seed: int
) -> list[dict[str, float]]:
    """The trials of a search, in order.

    Args:
        space: the values of each hyperparameter.
        search: "grid", the last hyperparameter changing first, or "random", without
            repetition.
        max_trials: int. The most trials; None for all.
        seed: int. Of the random search.
    """
    count = math.prod(map(len, space.values()))
    places = range(count)
    if search == "random":
        places = random.Random(seed).sample(places, count if count < 10**6 else 10**6)
    chosen = []
    for place in places[:max_trials]:
        values = {}
        for name in reversed(space):
            place, own = divmod(place, len(space[name]))
            values[name] = space[name][own]
        chosen.append({name: values[name] for name in space})
    return chosen


def _checked_space(space: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    checked = {}
    for name in HYPERPARAMETERS:
        values = [float(value) for value in space.get(name, ())]
        good = all(0 <= value < math.inf for value in values)
        if not values or not good or len(set(values)) < len(values):
            raise InputError(
                f"--{name} wants one or more different numbers from 0 on, got "
                f"{', '.join(f'{value:g}' for value in values) or 'none'}"
            )
        checked[name] = values
    return checked


def _describe_data(data_dirs, max_images) -> dict[str, Any]:
    if not data_dirs:
        raise InputError("a search needs at least one folder of pairs")
    described = {}
    for number, data_dir in enumerate(data_dirs, start=1):
        info = read_pairs_info(data_dir)
        described[str(number)] = {
            "fingerprint": info.fingerprint,
            "images": judged_count(info, data_dir, SPLIT, max_images),
        }
    return described


def _number_of_trials(space, max_trials: int | None) -> int:
    combinations = math.prod(len(values) for values in space.values())
    return min(combinations, max_trials or combinations)


def _rank(result: Mapping[str, Any]) -> tuple[bool, float, int]:
    objective = result["objective"]
    return objective is None, objective or 0.0, result["trial"]


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
