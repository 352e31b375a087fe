"""Runs of lesion translation and of the CycleGAN: what they leave, how they go on."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from dermgan_tf.errors import InputError
from dermgan_tf.models.translation.cyclegan import DEFAULT_LOSS_WEIGHTS
from dermgan_tf.models.translation.runs import load_run_translator
from dermgan_tf.models.translation.task import train_cyclegan, train_lesion_translation
from dermgan_tf.photos.photo_io import is_synthetic
from dermgan_tf.training.checkpoints import saved_steps
from dermgan_tf.training.logs import read_history
from dermgan_tf.training.run import RunOptions
from tests.helpers.run_files import read_weights
from tests.helpers.tiny_patches import make_tiny_patches
from tests.training.test_killed_runs import ForkedRun, kill_in_step

ROOT = pathlib.Path(__file__).parents[3]
STEPS = 8
SETTINGS = {
    "batch_size": 2,
    "base_filters": 2,
    "checkpoint_every": 2,
    "sample_every": 4,
    "log_every": 1,
    "seed": 3,
}
POOL_SIZE = 6  # three slots for each of two images: full after three steps


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return make_tiny_patches(tmp_path_factory.mktemp("data") / "patches")


def train_cycle(data_dir, model_dir):
    train_cyclegan(
        data_dir,
        model_dir,
        RunOptions(steps=STEPS, deterministic=True, **SETTINGS),
        architecture="unet",
        pool_size=POOL_SIZE,
    )


class CycleRun(ForkedRun):
    target = staticmethod(train_cycle)


@pytest.fixture(scope="module")
def whole(data_dir, tmp_path_factory):
    """A run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole") / "model"
    assert CycleRun(data_dir, folder).wait() == 0
    return folder


def checkpoint_of(folder, step):
    reader = tf.train.load_checkpoint(folder / "checkpoints" / f"step-{step}")
    return {
        name: reader.get_tensor(name)
        for name, dtype in reader.get_variable_to_dtype_map().items()
        if dtype != tf.string
    }


def test_a_killed_cyclegan_goes_on_to_the_last_bit(data_dir, whole, tmp_path):
    folder = tmp_path / "broken"
    run = CycleRun(data_dir, folder)
    kill_in_step(run, folder, 5, 0.5)
    assert run.wait() == -signal.SIGKILL
    assert 0 < max(saved_steps(folder / "checkpoints")) < STEPS
    assert CycleRun(data_dir, folder).wait() == 0
    ours, theirs = (checkpoint_of(run, STEPS) for run in (folder, whole))
    assert ours.keys() == theirs.keys()
    # Networks' variables are named after the optimizers that change them.
    for part, count in {
        "generator_optimizer/_trainable_variables": 40,
        "discriminator_optimizer/_trainable_variables": 14,
        "ema_adder/": 20,
        "ema_remover/": 20,
        "generator_optimizer/_variables": 80,
        "discriminator_optimizer/_variables": 28,
        "adder_pool": 1,
        "remover_pool": 1,
        "means/": 10,
    }.items():
        assert sum(name.startswith(part) for name in ours) >= count, part
    for name, value in ours.items():
        np.testing.assert_array_equal(value, theirs[name], err_msg=name)
    pool = next(value for name, value in ours.items() if name.startswith("adder_pool"))
    assert pool.shape == (2, 3, 16, 16, 4) and np.abs(pool).max(axis=(2, 3, 4)).all()
    for name in ("history.csv", f"samples/step-{STEPS:06}.png"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes()


def test_what_a_run_leaves(data_dir, whole):
    model = json.loads((whole / "model.json").read_text())
    patches = json.loads((data_dir / "patches.json").read_text())
    assert model["kind"] == "CycleGAN" and model["image_size"] == 16
    assert model["use_masks"] and model["compose"] and model["pool_size"] == POOL_SIZE
    assert model["data_fingerprint"] == patches["fingerprint"]
    assert model["pathology"] == ["spot"]
    assert model["loss_weights"] == DEFAULT_LOSS_WEIGHTS
    assert model["steps"] == model["trained_steps"] == STEPS
    history = read_history(whole / "history.csv")
    assert [row["step"] for row in history] == list(range(1, STEPS + 1))
    for row in history:
        total = sum(
            weight * row[f"{name}_loss"]
            for name, weight in DEFAULT_LOSS_WEIGHTS.items()
            if weight
        )
        assert row["generator_loss"] == pytest.approx(total, rel=1e-5)
    names = sorted(path.name for path in whole.glob("*.weights.h5"))
    assert names == [
        "adder.weights.h5",
        "adder_discriminator.weights.h5",
        "adder_ema.weights.h5",
        "remover.weights.h5",
        "remover_discriminator.weights.h5",
        "remover_ema.weights.h5",
    ]
    for network in ("adder", "remover"):
        average = read_weights(whole / f"{network}_ema.weights.h5")
        assert average.keys() == read_weights(whole / f"{network}.weights.h5").keys()
    assert is_synthetic(whole / "samples" / f"step-{STEPS:06}.png")


@pytest.mark.parametrize(
    ("changes", "run_changes", "message"),
    [
        ({"use_masks": False}, {}, "has use_masks True, this call asks for False"),
        ({"pool_size": 9}, {}, "has pool_size 6, this call asks for 9"),
        ({"architecture": "resnet"}, {}, "has architecture unet, this call asks"),
        ({"loss_weights": {"cycle": 1}}, {}, "has cycle_weight 10.0, this call"),
        ({}, {"batch_size": 1}, "has batch_size 2, this call asks for 1"),
        ({}, {"steps": 4}, "trained for 8 steps already, more than the 4"),
        ({"pool_size": -1}, {}, "pool_size must be 0 or more, got -1"),
        ({"architecture": "vgg"}, {}, "unknown architecture 'vgg'"),
        ({"loss_weights": {"beauty": 1}}, {}, "beauty"),
    ],
)
def test_changed_or_bad_settings_are_refused(
    data_dir, whole, tmp_path, changes, run_changes, message
):
    settings = {"architecture": "unet", "pool_size": POOL_SIZE, **changes}
    options = RunOptions(**{"steps": STEPS, **SETTINGS, **run_changes})
    folder = tmp_path / "new" if "beauty" in message else whole
    with pytest.raises(InputError, match=message):
        train_cyclegan(data_dir, folder, options, **settings)


def test_the_networks_of_a_run(whole, tmp_path):
    for direction, name in (("add", "adder"), ("remove", "remover")):
        for use_ema, file in ((True, f"{name}_ema"), (False, name)):
            network, provenance = load_run_translator(whole, direction, use_ema)
            assert provenance["direction"] == direction
            assert provenance["trained_steps"] == STEPS
            network.save_weights(tmp_path / "ours.weights.h5")
            ours = read_weights(tmp_path / "ours.weights.h5")
            theirs = read_weights(whole / f"{file}.weights.h5")
            assert len(ours) > 10
            for key, value in ours.items():
                np.testing.assert_array_equal(value, theirs[key])
    with pytest.raises(InputError, match="both directions: say which, add or remove"):
        load_run_translator(whole)
    with pytest.raises(InputError, match="is not a model folder: it has no model.json"):
        load_run_translator(tmp_path, "add")


def test_a_run_of_another_kind_is_refused(data_dir, whole):
    with pytest.raises(
        InputError, match="has kind CycleGAN, this call asks for lesion"
    ):
        train_lesion_translation(data_dir, whole, RunOptions(steps=STEPS, **SETTINGS))


def test_one_direction(data_dir, tmp_path):
    options = RunOptions(steps=3, **SETTINGS)
    result = train_lesion_translation(
        data_dir, tmp_path / "model", options, direction="remove", architecture="unet"
    )
    assert result.step == 3 and result.best_step is None
    assert result.losses.keys() == {
        "generator_loss",
        "discriminator_loss",
        "adversarial_loss",
        "relevancy_loss",
        "identity_inside_loss",
    }
    model = json.loads((tmp_path / "model" / "model.json").read_text())
    assert model["kind"] == "lesion translation" and model["direction"] == "remove"
    assert (tmp_path / "model" / "generator_ema.weights.h5").exists()
    with pytest.raises(
        InputError, match="has direction remove, this call asks for add"
    ):
        train_lesion_translation(
            data_dir, tmp_path / "model", options, direction="add", architecture="unet"
        )


def test_an_empty_domain_is_an_error(data_dir, tmp_path):
    folder = shutil.copytree(data_dir, tmp_path / "patches")
    info = json.loads((folder / "patches.json").read_text())
    del info["patches"]["train_healthy"]
    (folder / "patches.json").write_text(json.dumps(info))
    with pytest.raises(InputError, match="has no healthy patch in split 'train'; it"):
        train_lesion_translation(
            folder, tmp_path / "model", RunOptions(steps=1, batch_size=1)
        )
    assert not (tmp_path / "model").exists()


@pytest.mark.slow
def test_two_devices_train_a_cyclegan_as_one(data_dir, tmp_path):
    # Gradients that two devices add up differ in rounding. With Keras' epsilon of 1e-7
    # Adam's first step is as long for a gradient of nothing but rounding as for any
    # other; with 1e-3 it is not, and what the devices compute can be compared.
    program = f"""
import functools
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
two = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, two)
from dermgan_tf.training import run
from dermgan_tf.training.run import RunOptions
from dermgan_tf.training.strategies import make_strategy
from dermgan_tf.models.translation.task import train_cyclegan
run.Adam = functools.partial(run.Adam, epsilon=1e-3)
settings = {SETTINGS!r} | {{"checkpoint_every": 1, "keep_checkpoints": 9}}
for name in ("mirrored", "one_device"):
    options = RunOptions(
        steps=5, decay_steps=0, strategy=make_strategy(name), **settings
    )
    train_cyclegan(
        {str(data_dir)!r}, name, options, architecture="unet", pool_size={POOL_SIZE}
    )
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    for step, tolerance in {1: 1e-5, 3: 3e-5, 5: 3e-5}.items():
        ours, theirs = (
            checkpoint_of(tmp_path / name, step) for name in ("mirrored", "one_device")
        )
        assert ours.keys() == theirs.keys()
        for name, value in ours.items():
            np.testing.assert_allclose(
                value, theirs[name], rtol=tolerance, atol=tolerance, err_msg=name
            )


@pytest.mark.slow
def test_the_program(data_dir, tmp_path):
    def run(*flags):
        return subprocess.run(
            [sys.executable, "-m", "pipelines.train_lesion_translation"]
            + [f"--data_dir={data_dir}", f"--model_dir={tmp_path / 'model'}", *flags],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )

    neither = run("--steps=2")
    assert neither.returncode == 2 and "--direction=add|remove" in neither.stderr
    done = run(
        "--direction=add", "--steps=2", "--batch_size=2", "--base_filters=2",
        "--architecture=unet", "--relevancy_weight=5",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "2 of 2" in done.stdout and "relevancy_loss" in done.stdout
    record = json.loads((tmp_path / "model" / "run.json").read_text())
    assert record["flags"]["direction"] == "add"
    model = json.loads((tmp_path / "model" / "model.json").read_text())
    assert model["loss_weights"]["relevancy"] == 5
    assert model["hide_masked"] and model["loss_weights"]["identity_inside"] == 3
    network, _ = load_run_translator(tmp_path / "model")
    assert network.get_layer("surroundings")
    blind = run("--unpaired", "--hide_masked")
    assert blind.returncode == 2 and "--hide_masked is for --dir" in blind.stderr
    refused = run("--unpaired", "--steps=2", "--base_filters=2")
    assert refused.returncode == 1
    assert "has kind lesion translation" in refused.stderr.splitlines()[-1]
