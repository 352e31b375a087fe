"""The search with real pairs; only training is made up."""

import csv
import itertools
import json
import math
import shlex

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata

from dermgan_tf.errors import InputError
from dermgan_tf.studies import tuning
from dermgan_tf.studies.tuning import (
    HYPERPARAMETERS,
    combined_objective,
    proposals,
    run_tuning,
)
from dermgan_tf.training.callbacks import TrainingDiverged
from tests.helpers.tiny_pairs import make_tiny_pairs
from tests.studies.test_ablation import MeanColours

SPACE = {
    "reconstruction_weight": [5.0],
    "condition_weight": [1.0, 5.0, 20.0],
    "feature_matching_weight": [10.0],
    "adversarial_weight": [1.0],
    "diversity_weight": [0.0],
    "generator_learning_rate": [1e-4, 2e-4],
    "discriminator_learning_rate": [2e-4],
}
# In the order of the grid: the last one that has several values changes first.
GRID = list(itertools.product([1.0, 5.0, 20.0], [1e-4, 2e-4]))


@pytest.fixture(scope="module")
def data_dirs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return [make_tiny_pairs(folder / name, 50, seed) for seed, name in enumerate("ab")]


class Trainer:
    """Stands for `train_and_judge`: distances that follow from the settings."""

    def __init__(self):
        self.calls = []
        self.diverges_at = self.stops_at = None

    def __call__(self, data_dir, folder, judge, training, **_):
        weight = training["loss_weights"]["condition"]
        rate = training["generator_learning_rate"]
        if len(self.calls) == self.stops_at:
            raise KeyboardInterrupt
        self.calls.append((folder.parent.name, folder.name, weight, rate))
        if (weight, rate) == self.diverges_at:
            raise TrainingDiverged("step 3: generator_loss is nan")
        # Least at weight 5 and rate 2e-4; the second data set's are 100 times larger.
        distance = 1 + abs(weight - 5) + (2e-4 - rate) * 1e4 + training["seed"]
        distance *= 100 if folder.name.startswith("data2") else 1
        trials = {
            "standard_deviation": distance / 10,
            "interval_95": [distance * 0.8, distance * 1.2],
        }
        return {
            "kernel_distance": distance,
            "kernel_trials": trials,
            "frechet_distance": distance**2,
            "frechet_trials": trials,
        }


@pytest.fixture
def trainer(monkeypatch):
    trainer = Trainer()
    monkeypatch.setattr(tuning, "train_and_judge", trainer)
    return trainer


def tune(data_dirs, output_dir, space=SPACE, **options):
    training = {"steps": 4, "batch_size": 2, "deterministic": True}
    return run_tuning(
        data_dirs, output_dir, MeanColours(), space, training, trials=4, **options
    )


def test_grid_interrupted_and_gone_on_with(data_dirs, trainer, tmp_path, capsys):
    whole = tune(data_dirs[:1], tmp_path / "whole")
    assert [call[2:] for call in trainer.calls] == GRID
    assert whole["hyperparameters"]["condition_weight"] == 5
    assert whole["hyperparameters"]["generator_learning_rate"] == 2e-4
    assert whole["trial"] == 3 and whole["value"] == 1 and whole["trials"] == 6

    trainer.calls.clear()
    trainer.stops_at = 3
    with pytest.raises(KeyboardInterrupt):
        tune(data_dirs[:1], tmp_path / "broken")
    trainer.stops_at = None
    broken = tune(data_dirs[:1], tmp_path / "broken")
    assert [call[2:] for call in trainer.calls] == GRID  # none of them twice
    assert {**broken, "results": 0} == {**whole, "results": 0}
    assert capsys.readouterr().out == ""

    with open(tmp_path / "broken" / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["trial"]) for row in rows] == [0, 1, 2, 3, 4, 5]
    for row, (weight, rate) in zip(rows, GRID, strict=True):
        assert float(row["condition_weight"]) == weight
        assert float(row["generator_learning_rate"]) == rate
        distance = 1 + abs(weight - 5) + (2e-4 - rate) * 1e4
        assert float(row["objective"]) == pytest.approx(distance)
        assert float(row["data1_distance_sd"]) == pytest.approx(distance / 10)
        assert float(row["data1_distance_high"]) == pytest.approx(distance * 1.2)
        assert float(row["seconds"]) >= 0
    best = json.loads((tmp_path / "broken" / "best.json").read_text())
    command = shlex.split(best["commands"][0])
    assert command[:3] == ["python", "-m", "pipelines.train_gan"]
    assert {
        f"--data_dir={data_dirs[0]}",
        "--steps=4",
        "--deterministic",
        "--condition_weight=5.0",
        "--generator_learning_rate=0.0002",
    } <= set(command)
    remarks = " ".join(best["remarks"])
    assert "least of 6" in remarks
    assert "generator_learning_rate 0.0002 is the greatest value tried" in remarks
    assert "condition_weight" not in remarks

    with pytest.raises(InputError, match="begun with search grid, this call asks for"):
        tune(data_dirs[:1], tmp_path / "broken", search="random", max_trials=3)


def test_hparams_read_back(data_dirs, trainer, tmp_path):
    trainer.diverges_at = GRID[1]
    tune(data_dirs[:1], tmp_path, max_trials=3)
    logs = tmp_path / "tensorboard"
    assert sorted(p.name for p in logs.iterdir() if p.is_dir()) == ["000", "001", "002"]

    def plugin_data(folder, tag):
        events = EventAccumulator(str(folder)).Reload()
        content = events.SummaryMetadata(tag).plugin_data.content
        return events, content

    _, content = plugin_data(logs, metadata.EXPERIMENT_TAG)
    experiment = metadata.parse_experiment_plugin_data(content)
    assert [info.name for info in experiment.hparam_infos] == list(HYPERPARAMETERS)
    for number in range(3):
        events, content = plugin_data(
            logs / f"{number:03d}", metadata.SESSION_START_INFO_TAG
        )
        start = metadata.parse_session_start_info_plugin_data(content)
        assert start.hparams["condition_weight"].number_value == GRID[number][0]
        assert start.hparams["generator_learning_rate"].number_value == GRID[number][1]
        tags = events.Tags()["tensors"]
        assert ("objective" in tags) == (number != 1)


def test_diverged_trials_are_passed_over(data_dirs, trainer, tmp_path):
    trainer.diverges_at = (5.0, 2e-4)
    best = tune(data_dirs[:1], tmp_path / "some")
    assert best["hyperparameters"]["generator_learning_rate"] == 1e-4
    assert best["results"][-1]["status"] == "diverged"
    assert "generator_loss is nan" in best["results"][-1]["cause"]
    with open(tmp_path / "some" / "results.csv", newline="") as file:
        row = list(csv.DictReader(file))[3]
    assert row["status"] == "diverged" and row["objective"] == ""

    only = {**SPACE, "condition_weight": [5.0], "generator_learning_rate": [2e-4]}
    with pytest.raises(InputError, match="all 1 trials diverged"):
        tune(data_dirs[:1], tmp_path / "all", only)


def test_several_data_sets_and_seeds(data_dirs, trainer, tmp_path):
    best = tune(data_dirs, tmp_path, seeds=2, max_trials=2)
    assert [call[:2] for call in trainer.calls[:4]] == [
        ("000", f"data{data}-seed{seed}") for data in (1, 2) for seed in (0, 1)
    ]
    for result in best["results"]:
        distances = [entry["distance"] for entry in result["data"]]
        weight = result["hyperparameters"]["condition_weight"]
        rate = result["hyperparameters"]["generator_learning_rate"]
        mean = 1.5 + abs(weight - 5) + (2e-4 - rate) * 1e4  # of seeds 0 and 1
        assert distances == pytest.approx([mean, 100 * mean])
    assert (
        len(best["commands"]) == 2
        and f"--data_dir={data_dirs[1]}" in best["commands"][1].split()
    )


def test_objective_of_several_data_sets_ignores_their_scales():
    rng = np.random.default_rng(0)
    trials = rng.uniform(1, 9, (20, 2))
    floors = [1e-9, 1e-9]
    plain = [combined_objective(t, floors) for t in trials]
    scaled = [combined_objective(t * [1, 1000], floors) for t in trials]
    np.testing.assert_array_equal(np.argsort(plain), np.argsort(scaled))
    assert combined_objective([-0.2], [0.1]) == -0.2  # of one, as it is
    below = combined_objective([-0.2, 4.0], [0.1, 0.1])
    assert below == pytest.approx((math.log(0.1) + math.log(4)) / 2)


def test_random_search_repeats_itself(data_dirs, trainer, tmp_path):
    options = {"search": "random", "max_trials": 4, "seed": 3}
    tune(data_dirs[:1], tmp_path / "one", **options)
    first, trainer.calls = trainer.calls, []
    assert len({call[2:] for call in first}) == 4
    assert {call[2:] for call in first} < set(GRID)
    tune(data_dirs[:1], tmp_path / "two", **options)
    assert trainer.calls == first
    # More trials later begin with the same ones.
    trainer.calls = []
    best = tune(data_dirs[:1], tmp_path / "two", **{**options, "max_trials": 5})
    assert best["trials"] == 5 and len(trainer.calls) == 1
    with pytest.raises(InputError, match="max_trials"):
        tune(data_dirs[:1], tmp_path / "three", search="random")


def test_bad_input_is_named(data_dirs, trainer, tmp_path, monkeypatch):
    for values, shown in (([], "none"), ([1.0, 1.0], "1, 1"), ([-1.0], "-1")):
        with pytest.raises(InputError, match=f"condition_weight wants .* got {shown}"):
            tune(data_dirs, tmp_path / "out", {**SPACE, "condition_weight": values})

    def fails(*args, **options):
        raise InputError("the disk is full")

    monkeypatch.setattr(tuning, "train_and_judge", fails)
    with pytest.raises(InputError, match="^the disk is full$"):
        tune(data_dirs[:1], tmp_path / "full")
    assert not (tmp_path / "out").exists()


def test_proposals():
    everything = list(itertools.product(*SPACE.values()))
    grid = proposals(SPACE, "grid", None, 0)
    assert [tuple(values.values()) for values in grid] == everything
    assert all(list(values) == list(SPACE) for values in grid)
    drawn = proposals(SPACE, "random", 4, 1)
    assert drawn == proposals(SPACE, "random", 6, 1)[:4], "a longer search goes further"
    assert len({tuple(values.values()) for values in drawn}) == 4
    assert drawn != proposals(SPACE, "random", 4, 2)
    assert sorted(map(str, proposals(SPACE, "random", 9, 3))) == sorted(map(str, grid))


def test_trials_that_another_version_drew_are_kept(data_dirs, trainer, tmp_path):
    """Its order of random trials was another one."""
    options = {"search": "random", "max_trials": 4, "seed": 1}
    tune(data_dirs[:1], tmp_path / "out", **options)
    last = proposals(SPACE, "random", 6, 1)[-1]
    file = tmp_path / "out" / "trials" / "001" / "trial.json"
    file.write_text(
        json.dumps({**json.loads(file.read_text()), "hyperparameters": last})
    )
    trainer.calls.clear()
    found = tune(data_dirs[:1], tmp_path / "out", **{**options, "max_trials": 6})
    assert len(trainer.calls) == 2
    tried = [str(result["hyperparameters"]) for result in found["results"]]
    assert len(set(tried)) == 6
    assert str(last) in tried
