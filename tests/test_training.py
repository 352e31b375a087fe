"""Training in this process: what it writes, how it goes on, what it refuses."""

import json
import pathlib
import resource
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_pairs import make_tiny_pairs

from dermgan_tf.checkpoints import Checkpoints
from dermgan_tf.dermgan import DEFAULT_LOSS_WEIGHTS, DermGAN
from dermgan_tf.discriminator import build_discriminator
from dermgan_tf.errors import InputError
from dermgan_tf.generator import build_generator
from dermgan_tf.output_folder import locked_folder
from dermgan_tf.photo_io import is_synthetic
from dermgan_tf.strategies import make_strategy
from dermgan_tf.training import train_gan
from dermgan_tf.training_callbacks import (
    CheckpointSaver,
    LossLog,
    TrainingDiverged,
    choose_sample_pairs,
    cut_history,
    cut_summaries,
    read_history,
)

LOSSES = {
    "generator_loss",
    "discriminator_loss",
    "reconstruction_loss",
    "condition_loss",
    "feature_matching_loss",
    "adversarial_loss",
}
SMALL = {
    "batch_size": 4,
    "base_filters": 4,
    "checkpoint_every": 5,
    "sample_every": 5,
    "log_every": 3,
    "seed": 3,
}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return make_tiny_pairs(tmp_path_factory.mktemp("data") / "clinic")


@pytest.fixture(scope="module")
def trained(data_dir, tmp_path_factory):
    """A run of 12 steps that nothing interrupted."""
    folder = tmp_path_factory.mktemp("run") / "model"
    return train_gan(data_dir, folder, steps=12, **SMALL)


@pytest.fixture
def model_dir(trained, tmp_path):
    """A copy of the trained run, to be changed."""
    return shutil.copytree(trained.model_dir, tmp_path / "copy")


def read_weights(path):
    arrays = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda name, item: (
                arrays.update({name: item[()]})
                if isinstance(item, h5py.Dataset)
                else None
            )
        )
    return arrays


def assert_same_weights(folder, other):
    for name in ("generator", "discriminator", "generator_ema"):
        ours = read_weights(folder / f"{name}.weights.h5")
        theirs = read_weights(other / f"{name}.weights.h5")
        assert ours.keys() == theirs.keys() and len(ours) > 10
        for key in ours:
            np.testing.assert_array_equal(ours[key], theirs[key], err_msg=key)


def summary_steps(folder, tag):
    events = EventAccumulator(str(folder), {"scalars": 0, "tensors": 0}).Reload()
    return [event.step for event in events.Tensors(tag)]


def test_run_leaves_everything(trained, data_dir):
    folder = trained.model_dir
    model = json.loads((folder / "model.json").read_text())
    assert model["image_size"] == 64
    assert model["base_filters"] == 4
    assert model["upsampling"] == "resize_conv"
    assert model["conditions"] == ["melanoma", "eczema"]
    assert model["seed"] == 3
    assert model["steps"] == model["trained_steps"] == 12
    pairs = json.loads((data_dir / "pairs.json").read_text())
    assert model["data_fingerprint"] == pairs["fingerprint"]

    history = read_history(folder / "history.csv")
    assert [row["step"] for row in history] == [3, 6, 9, 12]
    assert all(row.keys() == {"step", *LOSSES} for row in history)
    assert model["loss_weights"] == DEFAULT_LOSS_WEIGHTS
    for row in history:
        weighted = sum(
            weight * row[f"{name}_loss"]
            for name, weight in DEFAULT_LOSS_WEIGHTS.items()
        )
        assert row["generator_loss"] == pytest.approx(weighted, rel=1e-5)
    assert trained.losses == {k: v for k, v in history[-1].items() if k != "step"}
    assert trained.images_per_second > 0

    for name in LOSSES:
        tag = f"losses/{name}"
        assert summary_steps(folder / "tensorboard", tag) == [3, 6, 9, 12]
    assert summary_steps(folder / "tensorboard", "speed/images_per_second")
    assert summary_steps(folder / "tensorboard", "held-out maps") == [5, 10, 12]
    sheets = sorted(path.name for path in (folder / "samples").iterdir())
    assert sheets == ["step-000005.png", "step-000010.png", "step-000012.png"]
    assert all(is_synthetic(folder / "samples" / name) for name in sheets)
    assert sorted(p.name for p in (folder / "checkpoints").glob("*.index")) == [
        "step-10.index",
        "step-12.index",
    ]


def test_weights_load_into_the_networks(trained):
    maps = np.full((1, 64, 64, 3), -1, np.float32)
    images = []
    for name in ("generator", "generator_ema"):
        generator = build_generator(64, 4)
        generator.load_weights(trained.model_dir / f"{name}.weights.h5")
        images.append(np.asarray(generator(maps, seed=[1])))
    assert np.abs(images[0] - images[1]).max() > 1e-4  # the average lags behind
    build_discriminator(64, 4).load_weights(
        trained.model_dir / "discriminator.weights.h5"
    )


def test_continued_run_equals_uninterrupted_one(trained, data_dir, tmp_path):
    folder = tmp_path / "model"
    asked = iter([False] * 6 + [True] * 9)  # a stop is asked for during step 7
    stopped = train_gan(
        data_dir, folder, steps=12, stop_requested=lambda: next(asked), **SMALL
    )
    assert stopped.step == 7
    assert (folder / "generator.weights.h5").exists()
    # What a kill leaves behind: rows and sheets of steps that no checkpoint holds.
    with open(folder / "history.csv", "a") as file:
        file.write("9,1,1,1,1,1,1\n12,0.")
    (folder / "samples" / "step-000010.png").write_bytes(b"")
    done = train_gan(data_dir, folder, steps=12, **SMALL)
    assert (done.first_step, done.step) == (7, 12)
    assert_same_weights(folder, trained.model_dir)
    for name in ("history.csv", "samples/step-000010.png"):
        theirs = (trained.model_dir / name).read_bytes()
        assert (folder / name).read_bytes() == theirs
    steps = summary_steps(folder / "tensorboard", "losses/generator_loss")
    assert steps == [3, 6, 9, 12]


def test_finished_run_is_left_as_it_is(model_dir, trained, data_dir):
    again = train_gan(data_dir, model_dir, steps=12, **SMALL)
    assert (again.first_step, again.step) == (12, 12)
    assert again.losses == trained.losses
    assert_same_weights(model_dir, trained.model_dir)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"base_filters": 8}, "base_filters 4, this call asks for 8"),
        ({"seed": 4}, "seed 3, this call asks for 4"),
        ({"batch_size": 2}, "batch_size 4, this call asks for 2"),
        (
            {"loss_weights": {"condition": 0}},
            r"condition_weight \d+\.\d, .* asks for 0.0",
        ),
        ({"upsampling": "transposed_conv"}, "upsampling resize_conv, .*transposed"),
        ({"ema_decay": 0.0}, "ema_decay 0.999, this call asks for 0.0"),
        ({"mixed_precision": "bfloat16"}, "mixed_precision none, .* bfloat16"),
        ({"steps": 11}, "trained for 12 steps already, more than the 11"),
    ],
)
def test_changed_settings_are_refused(trained, data_dir, changed, message):
    with pytest.raises(InputError, match=message):
        train_gan(data_dir, trained.model_dir, **{"steps": 12, **SMALL, **changed})


def test_other_data_are_refused(trained, data_dir, tmp_path):
    other = make_tiny_pairs(tmp_path / "clinic", cases=12, seed=1)
    with pytest.raises(InputError, match="data_fingerprint .*, this call asks for"):
        train_gan(other, trained.model_dir, steps=12, **SMALL)
    info = json.loads((other / "pairs.json").read_text())
    info["vocabulary"] = ["melanoma", "psoriasis"]
    (other / "pairs.json").write_text(json.dumps(info))
    with pytest.raises(InputError, match="at position 1: .*'eczema', .*'psoriasis'"):
        train_gan(other, trained.model_dir, steps=12, **SMALL)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"steps": 0}, "steps must be at least 1"),
        ({"batch_size": 100}, "12 pairs, fewer than one batch of 100"),
        ({"upsampling": "bicubic"}, "bicubic"),
        ({"ema_decay": 1.0}, "ema_decay"),
        ({"loss_weights": {"beauty": 1}}, "beauty"),
        ({"mixed_precision": "int8"}, "int8"),
        ({"deterministic": True, "jit_compile": True}, "exclude each other"),
    ],
)
def test_bad_arguments(data_dir, tmp_path, changed, message):
    with pytest.raises(InputError, match=message):
        train_gan(data_dir, tmp_path / "model", **{"steps": 1, **SMALL, **changed})


def test_folder_of_something_else_is_refused(data_dir, tmp_path):
    (tmp_path / "thesis.docx").write_text("")
    with pytest.raises(InputError, match="no training run .*thesis.docx"):
        train_gan(data_dir, tmp_path, steps=1, **SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.docx"]


def test_folder_in_use_is_refused(trained, data_dir):
    with locked_folder(trained.model_dir):
        with pytest.raises(InputError, match="in use by another process"):
            train_gan(data_dir, trained.model_dir, steps=12, **SMALL)


def test_missing_checkpoints_are_not_taken_for_a_new_run(model_dir, data_dir):
    shutil.rmtree(model_dir / "checkpoints")
    with pytest.raises(InputError, match="12 steps, but its checkpoints are gone"):
        train_gan(data_dir, model_dir, steps=12, **SMALL)


def test_diverging_run_stops_and_keeps_the_last_good_checkpoint(
    model_dir, trained, data_dir
):
    with pytest.raises(TrainingDiverged) as caught:
        # The guard looks at steps 15, 18, … and, before it is saved, at step 20.
        train_gan(data_dir, model_dir, steps=40, generator_learning_rate=1e30, **SMALL)
    message = str(caught.value)
    assert "_loss is " in message and "at step 15" in message
    assert "checkpoint, of step 12, is kept" in message
    assert "\n" not in message
    assert sorted(p.stem for p in (model_dir / "checkpoints").glob("*.index")) == [
        "step-10",
        "step-12",
    ]
    assert_same_weights(model_dir, trained.model_dir)


def test_weights_are_checked_before_they_are_saved(tmp_path):
    # The losses of a step are those before its update, which can still ruin weights.
    gan = DermGAN(build_generator(64, 4), build_discriminator(64, 4))
    gan.compile()
    log = LossLog(0, 9, 3, path=tmp_path / "history.csv", writer=None, batch_size=4)
    saver = CheckpointSaver(
        0,
        9,
        3,
        checkpoints=Checkpoints(tmp_path / "checkpoints", 2, network=gan.generator),
        step_variable=tf.Variable(0, dtype=tf.int64),
        loss_log=log,
        stop_requested=lambda: False,
    )
    saver.set_model(gan)
    saver.on_step(3, {"generator_loss": tf.constant(1.0)})
    gan.discriminator.trainable_variables[2].assign_add([np.nan])
    with pytest.raises(TrainingDiverged, match="weight .* is not finite at step 6"):
        saver.on_step(6, {"generator_loss": tf.constant(1.0)})
    with pytest.raises(TrainingDiverged, match="generator_loss is inf at step 6"):
        saver.on_step(6, {"generator_loss": tf.constant(np.inf)})
    assert saver.checkpoints.saved_steps() == [3]


def test_damaged_record_is_named(data_dir, tmp_path):
    pairs = shutil.copytree(data_dir, tmp_path / "pairs")
    shard = next(pairs.glob("*train*tfrecord*"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 255
    shard.write_bytes(content)
    with pytest.raises(InputError, match=rf"{shard.name}: corrupted record at \d+"):
        train_gan(pairs, tmp_path / "model", steps=9, **SMALL)


def test_two_devices_train_like_one(trained, data_dir, tmp_path):
    program = f"""
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
two = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, two)
from dermgan_tf.strategies import make_strategy
from dermgan_tf.training import train_gan
strategy = make_strategy("mirrored")
assert strategy.num_replicas_in_sync == 2
train_gan({str(data_dir)!r}, "model", steps=3, strategy=strategy, **{SMALL!r})
"""
    root = pathlib.Path(__file__).parents[1]
    subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(root), "CUDA_VISIBLE_DEVICES": "", "PATH": ""},
        check=True,
    )
    ours = read_history(tmp_path / "model" / "history.csv")[0]
    theirs = read_history(trained.model_dir / "history.csv")[0]
    assert ours == pytest.approx(theirs, rel=1e-4)
    # A run may move to another number of devices, and change its learning rates.
    done = train_gan(
        data_dir, tmp_path / "model", steps=4, generator_learning_rate=1e-9, **SMALL
    )
    assert (done.first_step, done.step) == (3, 4)


def test_strategies_that_this_machine_cannot_give(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert make_strategy("auto") is make_strategy("one_device")
    for name, message in {
        "mirrored": "several devices",
        "multi_worker": "TF_CONFIG",
        "tpu": "name or address",
        "quantum": "unknown strategy 'quantum'",
    }.items():
        with pytest.raises(InputError, match=message):
            make_strategy(name)
    with pytest.raises(InputError, match="a TPU is named"):
        make_strategy("one_device", tpu="local")
    monkeypatch.setenv("TF_CONFIG", "{nonsense")
    with pytest.raises(InputError, match="TF_CONFIG is not"):
        make_strategy("auto")


class TestCheckpoints:
    @pytest.fixture
    def value(self):
        return tf.Variable(tf.zeros([1000]))

    def save(self, folder, value, *steps, keep=2):
        checkpoints = Checkpoints(folder, keep, value=value)
        for step in steps:
            value.assign(tf.fill([1000], float(step)))
            checkpoints.save(step)
        return checkpoints

    def test_keeps_the_last(self, tmp_path, value):
        assert Checkpoints(tmp_path / "none", 2, value=value).restore() == 0
        assert self.save(tmp_path, value, 1, 2, 3).saved_steps() == [2, 3]
        value.assign(tf.zeros([1000]))
        assert Checkpoints(tmp_path, 2, value=value).restore() == 3
        assert value.numpy()[0] == 3

    @pytest.mark.parametrize("suffix", ["index", "data-00000-of-00001"])
    @pytest.mark.parametrize("damage", ["flipped", "cut", "missing"])
    def test_damaged_one_falls_back(self, tmp_path, value, suffix, damage):
        self.save(tmp_path, value, 5, 10)
        path = tmp_path / f"step-10.{suffix}"
        content = path.read_bytes()
        middle = len(content) // 2
        if damage == "missing":
            path.unlink()
        elif damage == "cut":
            path.write_bytes(content[:middle])
        else:
            flipped = bytes([content[middle] ^ 255])
            path.write_bytes(content[:middle] + flipped + content[middle + 1 :])
        checkpoints = Checkpoints(tmp_path, 2, value=value)
        assert checkpoints.restore() == 5
        assert value.numpy()[0] == 5
        assert checkpoints.saved_steps() == [5]
        checkpoints.save(7)
        assert Checkpoints(tmp_path, 2, value=value).saved_steps() == [5, 7]

    def test_all_damaged(self, tmp_path, value):
        self.save(tmp_path, value, 5, 10)
        for path in tmp_path.glob("*.index"):
            path.write_bytes(b"")
        with pytest.raises(InputError, match="none of the 2 checkpoints"):
            Checkpoints(tmp_path, 2, value=value).restore()

    def test_half_written_one_is_removed(self, tmp_path, value):
        self.save(tmp_path, value, 5)
        (tmp_path / "step-10_temp").mkdir()
        (tmp_path / "step-10_temp" / "part-00000-of-00001.index").write_bytes(b"x")
        (tmp_path / "step-10.data-00000-of-00001").write_bytes(b"x")
        Checkpoints(tmp_path, 2, value=value)
        assert sorted(path.name for path in tmp_path.iterdir()) == [
            "checkpoint",
            "step-5.data-00000-of-00001",
            "step-5.index",
        ]

    def test_full_disk(self, tmp_path, value):
        checkpoints = self.save(tmp_path, value, 5)
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
        try:
            with pytest.raises(InputError, match="step 10 .*that of step 5 is intact"):
                self.save(tmp_path, value, 10)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert not list(tmp_path.glob("step-10*"))
        assert checkpoints.restore() == 5
        assert value.numpy()[0] == 5


def test_cut_history(tmp_path):
    path = tmp_path / "history.csv"
    cut_history(path, 0)
    assert not path.exists()
    path.write_text("step,loss\r\n10,1.5\r\n20,2.5\r\n30,3.")
    cut_history(path, 20)
    assert path.read_bytes() == b"step,loss\r\n10,1.5\r\n20,2.5\r\n"
    cut_history(path, 10)
    assert read_history(path) == [{"step": 10.0, "loss": 1.5}]


def test_cut_summaries(tmp_path):
    def log(steps):
        writer = tf.summary.create_file_writer(str(tmp_path))
        for step in steps:
            with writer.as_default(step=step):
                tf.summary.scalar("loss", 1.0)
        writer.close()

    cut_summaries(tmp_path / "none", 10)
    log([10, 20])
    log([30, 40, 50])
    last = max(tmp_path.iterdir())
    last.write_bytes(last.read_bytes()[:-3])  # killed while writing
    cut_summaries(tmp_path, 30)
    log([35])
    assert summary_steps(tmp_path, "loss") == [10, 20, 30, 35]
    assert len(list(tmp_path.iterdir())) == 3


def test_sample_pairs_differ():
    pairs = [
        {"condition": condition, "fitzpatrick": skin, "n": n}
        for n, (condition, skin) in enumerate(
            [("a", 1), ("a", 1), ("a", 2), ("b", 3), ("a", 1), ("c", 1), ("b", 4)]
        )
    ]
    assert [pair["n"] for pair in choose_sample_pairs(pairs, 3)] == [0, 3, 5]
    assert [pair["n"] for pair in choose_sample_pairs(pairs, 5)] == [0, 2, 3, 6, 5]
    assert len(choose_sample_pairs(pairs, 8)) == 7
