"""train_gan as people run it: kills, polite stops, messages, exit codes."""

import json
import signal
import time

import pytest

from dermgan_tf.errors import InputError
from dermgan_tf.models.dermgan.model import DEFAULT_LOSS_WEIGHTS
from dermgan_tf.models.dermgan.task import train_gan
from tests.helpers.forked_programs import start_program
from tests.helpers.run_files import assert_same_run
from tests.helpers.tiny_pairs import make_tiny_pairs

STEPS = 40


def start(*arguments, afresh=False):
    return start_program("train_gan", *arguments, afresh=afresh)


def finish(process):
    stdout, stderr = process.communicate(timeout=300)
    return process.returncode, stdout, stderr.replace("\r", "\n").strip()


def start_training(data_dir, model_dir, afresh=False):
    return start(
        f"--data_dir={data_dir}",
        f"--model_dir={model_dir}",
        f"--steps={STEPS}",
        "--batch_size=4",
        "--base_filters=4",
        "--checkpoint_every=7",
        "--log_every=4",
        "--sample_every=16",
        "--condition_weight=7",
        "--deterministic",
        afresh=afresh,
    )


def wait_for(path, process):
    while not path.exists():
        assert process.poll() is None, finish(process)
        time.sleep(0.005)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return make_tiny_pairs(tmp_path_factory.mktemp("data") / "clinic")


def test_killed_and_stopped_run_equals_uninterrupted_one(data_dir, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    undisturbed = start_training(data_dir, whole, afresh=True)

    killed = start_training(data_dir, broken)
    wait_for(broken / "checkpoints" / "step-14.index", killed)
    with pytest.raises(InputError, match="in use by another process"):
        train_gan(data_dir, broken, steps=1, batch_size=4, base_filters=4)
    killed.send_signal(signal.SIGKILL)
    assert finish(killed)[0] == -signal.SIGKILL
    assert not (broken / "generator.weights.h5").exists()

    stopped = start_training(data_dir, broken)
    wait_for(broken / "checkpoints" / "step-28.index", stopped)
    stopped.send_signal(signal.SIGTERM)
    status, stdout, stderr = finish(stopped)
    assert status == 1
    step = json.loads((broken / "model.json").read_text())["trained_steps"]
    assert 28 <= step < STEPS
    assert stderr.splitlines()[-1] == (
        f"error: stopped by SIGTERM after step {step} of {STEPS}, which is saved; "
        "the same command goes on from there"
    )
    assert (broken / "checkpoints" / f"step-{step}.index").exists()
    assert (broken / "generator_ema.weights.h5").exists()

    status, stdout, stderr = finish(start_training(data_dir, broken))
    assert status == 0, stderr
    assert f"{STEPS} of {STEPS} (went on from step {step})" in stdout
    assert f"export_generator --model_dir={broken}" in stdout
    assert "generator_loss" in stdout
    assert "images/s" in stdout
    assert "best checkpoint         of step " in stdout
    model = json.loads((broken / "model.json").read_text())
    assert model["loss_weights"] == {**DEFAULT_LOSS_WEIGHTS, "condition": 7}
    record = json.loads((broken / "run.json").read_text())
    pairs = json.loads((data_dir / "pairs.json").read_text())
    assert record["data_fingerprint"] == pairs["fingerprint"]
    assert record["flags"]["batch_size"] == 4
    assert record["durations_seconds"]["training"] > 0

    assert finish(undisturbed)[0] == 0
    assert_same_run(broken, whole, STEPS)


def test_no_pairs(tmp_path):
    status, stdout, stderr = finish(start_training(tmp_path, tmp_path / "model"))
    assert status == 1
    assert stdout == ""
    message = stderr.splitlines()[-1]
    assert message.startswith(f"error: {tmp_path} is not a folder of pairs")
    assert "Traceback" not in stderr
    assert not (tmp_path / "model").exists()


def test_usage():
    status, _, stderr = finish(start("--data_dir=x"))
    assert status == 2
    assert "model_dir" in stderr
    status, stdout, _ = finish(start("--help", afresh=True))
    assert status == 0
    for flag in ("steps", "strategy", "mixed_precision", "checkpoint_every"):
        assert f"--{flag}" in stdout.replace("--[no]", "--")


def test_every_loss_weight_has_a_flag():
    from pipelines.train_gan import LOSS_WEIGHTS

    assert LOSS_WEIGHTS.keys() == DEFAULT_LOSS_WEIGHTS.keys()
