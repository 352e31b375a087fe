"""Runs of unconditional generation: what they leave, how they go on and paint."""

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
from dermgan_tf.models.unconditional import augmentation
from dermgan_tf.models.unconditional.runs import (
    load_run_discriminator,
    load_run_unconditional,
    require_same_run,
)
from dermgan_tf.models.unconditional.served import load_unconditional
from dermgan_tf.models.unconditional.task import train_unconditional
from dermgan_tf.pairs.photographs import (
    load_photographs,
    read_photographs,
    read_photographs_info,
)
from dermgan_tf.photos.photo_io import is_synthetic, read_photo, read_png_text
from dermgan_tf.training.checkpoints import saved_steps
from dermgan_tf.training.logs import read_history
from dermgan_tf.training.run import RunOptions
from tests.helpers.forked_programs import run_program
from tests.helpers.run_files import read_weights
from tests.helpers.tiny_pairs import make_tiny_pairs
from tests.helpers.tiny_patches import make_tiny_patches
from tests.training.test_killed_runs import ForkedRun, kill_in_step

ROOT = pathlib.Path(__file__).parents[3]
STEPS = 20  # the gradient penalty comes in the 1st and the 17th
SETTINGS = {
    "batch_size": 2,
    "base_filters": 1,
    "checkpoint_every": 4,
    "sample_every": 10,
    "log_every": 1,
    "adam_beta_1": 0.0,
    "seed": 3,
}
ARGUMENTS = {
    "domain": "pathology",
    "adaptation_images": 40,
    "augmentation_target": -2.0,
}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return make_tiny_patches(tmp_path_factory.mktemp("data") / "patches")


def train(data_dir, model_dir):
    # Every three steps, and always up: the logits of so short a run all have one sign.
    augmentation.ADJUST_EVERY = 6
    options = RunOptions(steps=STEPS, deterministic=True, **SETTINGS)
    train_unconditional(data_dir, model_dir, options, **ARGUMENTS)


class UnconditionalRun(ForkedRun):
    target = staticmethod(train)


@pytest.fixture(scope="module")
def whole(data_dir, tmp_path_factory):
    """A run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole") / "model"
    assert UnconditionalRun(data_dir, folder).wait() == 0
    return folder


@pytest.fixture(scope="module")
def exported(whole, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "saved"
    done = run_program(
        "export_unconditional", f"--model_dir={whole}", f"--output_dir={folder}"
    )
    assert done.returncode == 0, done.stderr
    assert "latent float32 [?, 256]) -> image uint8 [?, 16, 16, 3]" in done.stdout
    assert f"step-{STEPS}, ema_generator" in done.stdout
    return folder


def checkpoint_of(folder, step):
    reader = tf.train.load_checkpoint(folder / "checkpoints" / f"step-{step}")
    return {
        name: reader.get_tensor(name)
        for name, dtype in reader.get_variable_to_dtype_map().items()
        if dtype != tf.string
    }


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_last_bit(data_dir, whole, tmp_path):
    folder = tmp_path / "broken"
    run = UnconditionalRun(data_dir, folder)
    kill_in_step(run, folder, 10, 0.5)
    assert run.wait() == -signal.SIGKILL
    assert 0 < max(saved_steps(folder / "checkpoints")) < STEPS
    assert UnconditionalRun(data_dir, folder).wait() == 0
    ours, theirs = (checkpoint_of(run, STEPS) for run in (folder, whole))
    assert ours.keys() == theirs.keys()
    for part, count in {
        "generator_optimizer/": 40,
        "discriminator_optimizer/": 40,
        "ema_generator/": 10,
        "augmentation_strength/": 3,
        "means/": 10,
    }.items():
        assert sum(name.startswith(part) for name in ours) >= count, part
    for name, value in ours.items():
        np.testing.assert_array_equal(value, theirs[name], err_msg=name)
    for name in ("history.csv", f"samples/step-{STEPS:06}.png"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes()


def test_what_a_run_leaves(data_dir, whole):
    model = json.loads((whole / "model.json").read_text())
    patches = json.loads((data_dir / "patches.json").read_text())
    assert model["kind"] == "unconditional" and model["domain"] == "pathology"
    assert model["data_fingerprint"] == patches["fingerprint"]
    assert model["training_images"] == patches["patches"]["train_pathology"]
    assert model["loss_weights"] == {"r1": pytest.approx(0.0002 * 16**2 / 2)}
    assert model["adam_beta_1"] == 0 and model["adam_beta_2"] == 0.99
    assert model["trained_steps"] == STEPS
    history = read_history(whole / "history.csv")
    assert [row["step"] for row in history] == list(range(1, STEPS + 1))
    assert [row["step"] for row in history if row["r1_loss"]] == [1, 17]
    # 6 of 40 images after every three steps, but no more than 0.8.
    wanted = [min(0.15 * (step // 3), 0.8) for step in range(STEPS)]
    given = [row["augmentation"] for row in history]
    assert given == pytest.approx(wanted, abs=1e-6)
    assert all(-1 <= row["real_sign"] <= 1 for row in history)
    names = sorted(path.name for path in whole.glob("*.weights.h5"))
    assert names == [
        "discriminator.weights.h5",
        "generator.weights.h5",
        "generator_ema.weights.h5",
    ]
    assert is_synthetic(whole / "samples" / f"step-{STEPS:06}.png")


@pytest.mark.parametrize(
    ("changes", "run_changes", "message"),
    [
        ({"adaptive_augmentation": False}, {}, "has adaptive_augmentation True"),
        ({"adaptation_images": 50}, {}, "has adaptation_images 40, this call asks"),
        ({"augmentation_target": 0.3}, {}, "has augmentation_target -2.0, this call"),
        ({"augmentation_target": 1.0}, {}, "target must be below 1, got 1"),
        ({"loss_weights": {"r1": 2}}, {}, "has r1_weight 0.0256, this call asks for 2"),
        ({"domain": "healthy"}, {}, "trained on data of domain pathology|has domain"),
        ({}, {"batch_size": 500}, "photographs, fewer than one batch of 500"),
        ({"domain": None}, {}, "no domain for the patches of .*: healthy, pathology"),
        ({"domain": "sick"}, {}, "unknown domain 'sick' for the patches of"),
        ({"adaptation_images": 0}, {}, "adaptation_images must be at least 1, got 0"),
        ({}, {"mixed_precision": "float16"}, "float16 is too narrow"),
        ({"loss_weights": {"beauty": 1}}, {}, "beauty"),
    ],
)
def test_changed_or_bad_settings_are_refused(
    data_dir, whole, tmp_path, changes, run_changes, message
):
    options = RunOptions(**{"steps": STEPS, **SETTINGS, **run_changes})
    folder = tmp_path / "new" if "beauty" in message else whole
    with pytest.raises(InputError, match=message) as caught:
        train_unconditional(data_dir, folder, options, **{**ARGUMENTS, **changes})
    assert "\n" not in str(caught.value)


def test_bad_data(data_dir, tmp_path):
    options = RunOptions(steps=1, **SETTINGS)
    with pytest.raises(InputError, match="has neither pairs.json nor patches.json"):
        train_unconditional(tmp_path, tmp_path / "model", options)
    folder = shutil.copytree(data_dir, tmp_path / "patches")
    info = json.loads((folder / "patches.json").read_text())
    (folder / "patches.json").write_text(json.dumps({**info, "image_size": 48}))
    with pytest.raises(InputError, match="a power of two, 16 to 512, got 48"):
        train_unconditional(folder, tmp_path / "model", options, domain="healthy")
    del info["patches"]["train_healthy"]
    (folder / "patches.json").write_text(json.dumps(info))
    with pytest.raises(InputError, match="has 0 photographs, fewer than one batch"):
        train_unconditional(folder, tmp_path / "none", options, domain="healthy")
    assert not (tmp_path / "none").exists()


def test_photographs_of_pairs_and_of_patches(data_dir, tmp_path):
    pairs_dir = make_tiny_pairs(tmp_path / "clinic")
    with pytest.raises(InputError, match="pairs, which have no domains: leave out"):
        read_photographs_info(pairs_dir, "healthy")
    for folder, domain in ((pairs_dir, None), (data_dir, "healthy")):
        info = read_photographs_info(folder, domain)
        read = list(read_photographs(folder, "train", domain=domain))
        assert len(read) == info.counts["train"]
        batches = load_photographs(folder, "train", 4, domain=domain, start_step=1)
        batch = next(iter(batches))["image"].numpy()
        assert batch.shape == (4, info.image_size, info.image_size, 3)
        # Each is one of those in the folder, turned.
        known = {_unturned(one["image"]) for one in read}
        levels = np.rint((batch + 1) * 127.5).astype(np.uint8)
        assert all(_unturned(image) in known for image in levels)


def _unturned(image):
    """What is the same in all eight positions of an image."""
    turns = [np.rot90(x, k) for x in (image, image[:, ::-1]) for k in range(4)]
    return min(turn.tobytes() for turn in turns)


def test_the_generator_of_a_run(whole, tmp_path):
    for use_ema, file in ((True, "generator_ema"), (False, "generator")):
        network, provenance = load_run_unconditional(whole, use_ema)
        assert provenance["trained_steps"] == STEPS
        network.save_weights(tmp_path / "ours.weights.h5")
        ours = read_weights(tmp_path / "ours.weights.h5")
        theirs = read_weights(whole / f"{file}.weights.h5")
        assert len(ours) > 10
        for key, value in ours.items():
            np.testing.assert_array_equal(value, theirs[key])
    network, description = load_run_discriminator(whole)
    assert description["trained_steps"] == STEPS
    network.save_weights(tmp_path / "ours.weights.h5")
    ours = read_weights(tmp_path / "ours.weights.h5")
    theirs = read_weights(whole / "discriminator.weights.h5")
    assert len(ours) > 10
    for key, value in ours.items():
        np.testing.assert_array_equal(value, theirs[key])
    for load in (load_run_unconditional, load_run_discriminator):
        with pytest.raises(InputError, match="it has no model.json"):
            load(tmp_path)
    (tmp_path / "model.json").write_text('{"kind": "CycleGAN"}')
    with pytest.raises(InputError, match="holds no run of train_unconditional"):
        load_run_unconditional(tmp_path)


@pytest.mark.slow
def test_the_programs(data_dir, whole, exported, tmp_path):
    out = tmp_path / "images"
    done = run_program(
        "generate_unconditional",
        *(f"--saved_model={exported}", f"--output_dir={out}", "--count=5", "--seed=7"),
        *("--truncation=0.5", "--strips=2", "--frames=3"),
        *(f"--train_data_dir={data_dir}", "--domain=pathology"),
    )
    assert done.returncode == 0, done.stderr
    assert "5 synthetic images and sheet.png, strips.png, nearest.png" in done.stdout
    lines = [
        json.loads(line) for line in (out / "generated.jsonl").read_text().splitlines()
    ]
    assert [line["seed"] for line in lines] == [7, 8, 9, 10, 11]
    for line in lines:
        text = read_png_text(out / line["image"])
        assert line["source"] == "synthetic" and text["synthetic"] == "true"
        assert text["generator"] == line["generator"] and len(text["generator"]) == 64
        assert (text["seed"], text["truncation"]) == (str(line["seed"]), "0.5")
        assert read_photo(out / line["image"], min_side=1).shape == (16, 16, 3)
    for name in ("sheet", "strips", "nearest"):
        assert is_synthetic(out / f"{name}.png")
    nearest = json.loads((out / "nearest.json").read_text())
    assert [one["seed"] for one in nearest] == [7, 8, 9, 10, 11]
    record = json.loads((out / "run.json").read_text())
    assert record["data_fingerprint"] and str(data_dir) not in json.dumps(record)

    done = run_program(
        "evaluate_unconditional",
        *(f"--saved_model={exported}", f"--data_dir={data_dir}", "--domain=pathology"),
        *("--split=train", "--embedding=pixels", "--trials=2"),
        f"--output_dir={tmp_path / 'judged'}",
    )
    assert done.returncode == 0, done.stderr
    assert "synthetic images, as many real train images: Fréchet" in done.stdout
    assert "memory: not judged" in done.stdout
    metrics = json.loads((tmp_path / "judged" / "metrics.json").read_text())
    assert metrics["embedding"]["name"] == "pixels:32"
    assert metrics["memorization"] is None and metrics["overfitting"] is None

    more = make_tiny_patches(tmp_path / "more", 24, held_out=8)
    done = run_program(
        "evaluate_unconditional",
        *(f"--saved_model={exported}", f"--data_dir={more}", "--domain=pathology"),
        *(f"--train_data_dir={data_dir}", f"--model_dir={whole}"),
        *("--split=validation", "--embedding=pixels", "--trials=2"),
        f"--output_dir={tmp_path / 'known'}",
    )
    assert done.returncode == 0, done.stderr
    assert "the discriminator takes for photographs: " in done.stdout
    metrics = json.loads((tmp_path / "known" / "metrics.json").read_text())
    known = metrics["overfitting"]
    discriminator, _ = load_run_discriminator(whole)
    for kind, folder, split in (
        ("train", data_dir, "train"), ("held_out", more, "validation"),
    ):  # fmt: skip
        photos = read_photographs(folder, split, domain="pathology")
        images = np.stack([photo["image"] for photo in photos]) / 127.5 - 1
        logits = np.asarray(discriminator(images.astype(np.float32)))
        assert known["taken_for_photographs"][kind]["total"] == len(images)
        assert known["mean_logit"][kind] == pytest.approx(logits.mean(), rel=1e-4)

    done = run_program(
        "evaluate_unconditional",
        *(f"--saved_model={exported}", f"--data_dir={data_dir}", "--domain=pathology"),
        *("--split=test", "--embedding=pixels", f"--output_dir={tmp_path / 'few'}"),
    )
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "images of split 'test' are too few to judge by" in done.stderr


def test_a_generator_of_another_state_is_not_the_runs(exported, whole):
    saved = load_unconditional(exported)
    _, description = load_run_discriminator(whole)
    require_same_run(saved, description, whole)
    for changed in ({"trained_steps": 24}, {"data_fingerprint": "0"}, {"seed": 4}):
        with pytest.raises(InputError, match=f"its {next(iter(changed))} is .*export"):
            require_same_run(saved, description | changed, whole)


@pytest.mark.slow
def test_two_devices_train_as_one(data_dir, tmp_path):
    program = f"""
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
two = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, two)
from dermgan_tf.models.unconditional import augmentation
from dermgan_tf.training.run import RunOptions
from dermgan_tf.training.strategies import make_strategy
from dermgan_tf.generation.seeds import load_unconditional
from dermgan_tf.models.unconditional.task import train_unconditional
augmentation.ADJUST_EVERY = 6
settings = {SETTINGS!r} | {{"checkpoint_every": 1, "keep_checkpoints": 9}}
for name in ("mirrored", "one_device"):
    options = RunOptions(
        steps=7, decay_steps=0, strategy=make_strategy(name), **settings
    )
    train_unconditional({str(data_dir)!r}, name, options, **{ARGUMENTS!r})
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    for step, tolerance in {1: 1e-4, 4: 1e-2, 7: 3e-2}.items():
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
    def train(*flags):
        return run_program(
            "train_unconditional",
            *(f"--data_dir={data_dir}", f"--model_dir={tmp_path / 'model'}", *flags),
            afresh=True,
        )

    unknown = train("--domain=sick")
    assert unknown.returncode == 2 and "healthy|pathology" in unknown.stderr
    flags = ("--domain=healthy", "--base_filters=1", "--batch_size=2")
    done = train("--steps=2", *flags, "--noadaptive_augmentation")
    assert done.returncode == 0, done.stderr
    assert "augmentation            0.0000" in done.stdout
    on = train("--steps=3", *flags, "--noadaptive_augmentation")
    assert on.returncode == 0 and "went on from step 2" in on.stdout
    model = json.loads((tmp_path / "model" / "model.json").read_text())
    assert model["adaptation_images"] is None and model["batch_size"] == 2
