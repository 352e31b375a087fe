"""tune as people run it: killed within a trial, started again, refused."""

import csv
import json
import shlex
import signal
import subprocess
import sys
import time

import pytest

from tests.helpers.forked_programs import ROOT
from tests.helpers.studies import STEPS, finish, make_inputs, start_study


def start(folder, *more, afresh=False):
    return start_study(
        "tune",
        folder,
        folder / "search",
        *("--condition_weight=0.5,5", *more),
        afresh=afresh,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_inputs(tmp_path_factory.mktemp("tune"))


@pytest.mark.slow  # a simulated one is in test_tuning.py
def test_killed_within_a_trial_and_started_again(folder):
    output = folder / "search"
    first, second = (output / "trials" / name for name in ("000", "001"))
    killed = start(folder)
    while not list(second.glob("data1-seed0/checkpoints/*.index")):
        assert killed.poll() is None, finish(killed)
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    assert finish(killed)[0] == -signal.SIGKILL
    finished = (first / "trial.json").stat().st_mtime_ns
    assert not (second / "trial.json").exists()

    status, stdout, stderr = finish(start(folder))
    assert status == 0, stderr
    assert (first / "trial.json").stat().st_mtime_ns == finished
    begun = [line for line in stderr.splitlines() if line.startswith("trial ")]
    assert len(begun) == 1 and begun[0].startswith("trial 1, 2 of 2: reconstruction_")
    with open(output / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["condition_weight"] for row in rows] == ["0.5", "5.0"]
    best = json.loads((output / "best.json").read_text())
    least = min(rows, key=lambda row: float(row["objective"]))
    assert best["value"] == float(least["objective"])
    assert best["hyperparameters"]["condition_weight"] == float(
        least["condition_weight"]
    )
    assert best["commands"][0] in stdout.splitlines()
    model = json.loads((second / "data1-seed0" / "model.json").read_text())
    assert model["loss_weights"]["condition"] == 5 and model["trained_steps"] == STEPS

    # The command that it proposes has no flag that train_gan has not.
    module, *proposed = shlex.split(best["commands"][0])[2:]
    help_text = subprocess.run(
        [sys.executable, "-m", module, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.replace("--[no]", "--")
    for flag in proposed:
        name = flag.split("=")[0].replace("--no", "--")
        assert f"  {name}:" in help_text, flag


def test_usage(folder):
    status, _, stderr = finish(start(folder, "--split=test", afresh=True))
    assert status == 2 and "split" in stderr  # only ever the validation split
    status, _, stderr = finish(start(folder, "--condition_weight=much"))
    assert status == 1
    assert stderr == "error: --condition_weight wants numbers, got much"
