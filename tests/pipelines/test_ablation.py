"""ablation as people run it: killed, started again, refused; files read back."""

import csv
import json
import signal
import time

import pytest

from dermgan_tf.photos.photo_io import is_synthetic, read_photo
from dermgan_tf.training.logs import read_history
from tests.helpers.studies import STEPS, finish, make_inputs, start_study


def start(folder, *more, afresh=False):
    return start_study(
        "ablation",
        folder,
        folder / "ablation",
        *("--models=full,no_condition_loss", "--split=validation", "--seeds=1", *more),
        afresh=afresh,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_inputs(tmp_path_factory.mktemp("ablation"))


@pytest.mark.slow
def test_killed_and_started_again(folder):
    output = folder / "ablation"
    full, reduced = (
        output / "runs" / f"{name}-seed0" for name in ("full", "no_condition_loss")
    )
    killed = start(folder, afresh=True)
    while not list(reduced.glob("checkpoints/*.index")):
        assert killed.poll() is None, finish(killed)
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    assert finish(killed)[0] == -signal.SIGKILL
    judged = (full / "judgement.json").stat().st_mtime_ns
    assert not (reduced / "judgement.json").exists()
    assert not (output / "metrics.json").exists()

    status, stdout, stderr = finish(start(folder))
    assert status == 0, stderr
    assert (full / "judgement.json").stat().st_mtime_ns == judged
    assert "full, seed 0, 1 of 2" in stderr.splitlines()
    assert "no_condition_loss, seed 0, 2 of 2" in stderr.splitlines()
    assert "DermGAN" in stdout and f"report: {output}/report.html" in stdout
    assert not (reduced / "checkpoints").exists()
    assert not (reduced / "saved_model").exists()
    models = [json.loads((run / "model.json").read_text()) for run in (full, reduced)]
    for model, weight in zip(models, (5, 0), strict=True):
        assert model["trained_steps"] == STEPS
        assert model["loss_weights"].pop("condition") == weight
    assert models[0] == models[1]  # equal budgets
    assert [row["step"] for row in read_history(reduced / "history.csv")] == [STEPS]

    metrics = json.loads((output / "metrics.json").read_text())
    first, second = metrics["models"]
    assert [row["model"] for row in (first, second)] == ["full", "no_condition_loss"]
    assert metrics["data"]["images"] == 8 == first["runs"][0]["images"]
    assert metrics["real_real"]["frechet_trials"]["sample_size"] == 4
    assert second["runs"][0]["frechet_trials"]["sample_size"] == 4
    difference = second["minus_full"]["frechet"]
    assert difference["mean"] == pytest.approx(
        second["runs"][0]["frechet_trials"]["mean"]
        - first["runs"][0]["frechet_trials"]["mean"]
    )
    assert difference["interval_95"] is None
    with open(output / "table.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["model"] for row in table] == ["real", "full", "no_condition_loss"]
    assert [row["paper_fid"] for row in table] == ["83.6", "122.4", "174.0"]
    assert float(table[2]["frechet_minus_full"]) == difference["mean"]
    with open(output / "runs.csv", newline="") as file:
        runs = list(csv.DictReader(file))
    kernel = [row["over_seeds"]["kernel"]["mean"] for row in (first, second)]
    assert [float(run["kernel_all_images"]) for run in runs] == kernel
    page = (output / "report.html").read_text("utf-8")
    assert "without condition loss" in page and "174.0 ± 4.7" in page
    assert "Each model was trained once" in page
    assert "http" not in page and 'src="data:image/png' in page
    sheet = output / "held_out_maps.png"
    assert is_synthetic(sheet) and read_photo(sheet).shape[0] > 8 * 96
    assert all(is_synthetic(path) for path in full.glob("shown/*.png"))
    assert len(list(full.glob("shown/*.png"))) == 8
    run = json.loads((output / "run.json").read_text())
    assert run["program"] == "ablation" and run["flags"]["seeds"] == 1

    status, stdout, stderr = finish(start(folder, "--steps=60"))
    assert status == 1 and stdout == ""
    assert [line for line in stderr.splitlines() if "error" in line] == [
        f"error: {output} was begun with steps {STEPS}, this call asks for 60; repeat "
        f"it with {STEPS}, choose another folder, or pass --overwrite to start anew"
    ]
