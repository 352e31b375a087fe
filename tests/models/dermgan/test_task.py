"""Training in this process: what it writes, how it goes on, what it refuses."""

import collections
import functools
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from dermgan_tf.errors import InputError
from dermgan_tf.models.dermgan.model import (
    DEFAULT_LEARNING_RATES,
    DEFAULT_LOSS_WEIGHTS,
    DermGAN,
)
from dermgan_tf.models.dermgan.networks import build_discriminator, build_generator
from dermgan_tf.models.dermgan.runs import load_run_generator
from dermgan_tf.models.dermgan.task import train_gan
from dermgan_tf.output_folder import locked_folder
from dermgan_tf.photos.photo_io import is_synthetic
from dermgan_tf.training.callbacks import (
    CheckpointSaver,
    LossLog,
    TrainingDiverged,
    choose_sample_pairs,
)
from dermgan_tf.training.checkpoints import Checkpoints, saved_steps
from dermgan_tf.training.logs import read_history
from dermgan_tf.training.strategies import make_strategy
from tests.helpers.run_files import assert_same_weights, read_weights, summary_values
from tests.helpers.tiny_pairs import make_tiny_pairs

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


class Traces:
    """Counts how often Python runs through the training step and through painting.

    It does so only while TensorFlow traces them into a graph.
    """

    def __init__(self, monkeypatch):
        self.counts = collections.Counter()
        for name in ("train_step", "call"):
            monkeypatch.setattr(DermGAN, name, self._counted(name))

    def _counted(self, name):
        method = getattr(DermGAN, name)

        @functools.wraps(method)
        def counted(*args, **kwargs):
            self.counts[name] += 1
            return method(*args, **kwargs)

        return counted


@pytest.fixture(scope="module")
def traces():
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield Traces(monkeypatch)


@pytest.fixture(scope="module")
def trained(data_dir, tmp_path_factory, traces):
    """A run of 12 steps that nothing interrupted."""
    folder = tmp_path_factory.mktemp("run") / "model"
    result = train_gan(data_dir, folder, steps=12, **SMALL)
    traces.of_one_run = dict(traces.counts)
    return result


@pytest.fixture
def model_dir(trained, tmp_path):
    """A copy of the trained run, to be changed."""
    return shutil.copytree(trained.model_dir, tmp_path / "copy")


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
            if weight
        )
        assert row["generator_loss"] == pytest.approx(weighted, rel=1e-5)
    assert trained.losses == {k: v for k, v in history[-1].items() if k != "step"}
    assert trained.images_per_second > 0

    for name in LOSSES:
        tag = f"losses/{name}"
        assert list(summary_values(folder / "tensorboard", tag)) == [3, 6, 9, 12]
    assert summary_values(folder / "tensorboard", "speed/images_per_second")
    for network in ("generator", "discriminator"):
        rates = summary_values(folder / "tensorboard", f"learning_rate/{network}")
        # Steps 3 and 6 are of the constant half; 1/7 less in each one after it.
        rate = DEFAULT_LEARNING_RATES[network]
        assert rates == pytest.approx({3: rate, 6: rate, 9: 4 * rate / 7, 12: rate / 7})
        for quantity in ("gradient_norm", "update_norm"):
            norms = summary_values(folder / "tensorboard", f"{quantity}/{network}")
            assert list(norms) == [3, 6, 9, 12] and min(norms.values()) > 0
    assert list(summary_values(folder / "tensorboard", "held-out maps")) == [5, 10, 12]
    sheets = sorted(path.name for path in (folder / "samples").iterdir())
    assert sheets == ["step-000005.png", "step-000010.png", "step-000012.png"]
    assert all(is_synthetic(folder / "samples" / name) for name in sheets)
    rows = read_history(folder / "validation.csv")
    assert [row["step"] for row in rows] == [5, 10, 12]
    weights = model["loss_weights"]
    for row in rows:
        assert row["loss"] == pytest.approx(
            weights["reconstruction"] * row["reconstruction_loss"]
            + weights["condition"] * row["condition_loss"]
        )
    assert trained.best_step == min(rows, key=lambda row: row["loss"])["step"]
    assert saved_steps(folder / "checkpoints") == sorted({10, 12, trained.best_step})


def test_nothing_is_traced_twice(trained, traces):
    # Three times each the losses are logged, sheets are painted, the state is saved.
    assert traces.of_one_run == {"train_step": 1, "call": 1}


def test_several_steps_at_once(trained, data_dir, tmp_path, traces):
    before = collections.Counter(traces.counts)
    asked = iter([False] + [True] * 9)  # a stop is asked for after the second four
    settings = {**SMALL, "steps": 12, "steps_per_execution": 4, "log_every": 4}
    run = functools.partial(train_gan, data_dir, tmp_path / "model", **settings)
    assert run(stop_requested=lambda: next(asked)).step == 8
    assert traces.counts - before == {"train_step": 1, "call": 1}
    assert run().first_step == 8
    folder = tmp_path / "model"
    for name in ("history.csv", "validation.csv"):
        assert [row["step"] for row in read_history(folder / name)][-1] == 12
    assert [row["step"] for row in read_history(folder / "history.csv")] == [4, 8, 12]
    # Each step has its own learning rate, as in the run that takes them one by one.
    ours, theirs = (
        summary_values(path / "tensorboard", "learning_rate/generator")
        for path in (folder, trained.model_dir)
    )
    assert list(ours) == [4, 8, 12] and ours[12] == theirs[12]
    for name in ("generator", "generator_ema"):
        ours, theirs = (
            read_weights(path / f"{name}.weights.h5")
            for path in (folder, trained.model_dir)
        )
        for key, value in theirs.items():
            np.testing.assert_allclose(ours[key], value, atol=1e-4)


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
    for name in ("history.csv", "validation.csv", "samples/step-000010.png"):
        theirs = (trained.model_dir / name).read_bytes()
        assert (folder / name).read_bytes() == theirs
    losses = summary_values(folder / "tensorboard", "losses/generator_loss")
    assert list(losses) == [3, 6, 9, 12]


def test_no_two_steps_see_the_same(data_dir, tmp_path):
    """So that the run before, which ends as a whole one, went on with other data."""
    # Without learning, the losses of a step are those of its pairs and masks alone.
    settings = {
        **SMALL,
        "steps": 6,
        "batch_size": 2,
        "log_every": 1,
        "sample_every": 0,
        "generator_learning_rate": 1e-12,
        "discriminator_learning_rate": 1e-12,
    }
    train_gan(data_dir, tmp_path / "whole", **settings)
    rows = read_history(tmp_path / "whole" / "history.csv")
    losses = [row["reconstruction_loss"] for row in rows]
    assert len(losses) == 6 and min(np.diff(sorted(losses))) > 1e-4


def test_best_checkpoint_stays(data_dir, tmp_path):
    settings = {**SMALL, "checkpoint_every": 2, "sample_every": 0}
    run = functools.partial(train_gan, data_dir, tmp_path / "model", **settings)
    assert run(steps=2).best_step == 2
    early = shutil.copytree(tmp_path / "model", tmp_path / "early")
    # Such a rate drives every pixel to an end of the scale.
    assert run(steps=8, generator_learning_rate=0.3).best_step == 2
    assert saved_steps(tmp_path / "model" / "checkpoints") == [2, 6, 8]
    best, *rest = read_history(tmp_path / "model" / "validation.csv")
    assert all(row["loss"] > 1.2 * best["loss"] for row in rest)
    assert_same_weights_as_checkpoint(early, tmp_path / "model", "best")
    assert_same_weights_as_checkpoint(tmp_path / "model", tmp_path / "model", "last")


def assert_same_weights_as_checkpoint(folder, run, checkpoint):
    for name, use_ema in (("generator_ema", True), ("generator", False)):
        loaded, _, _ = load_run_generator(run, checkpoint, use_ema)
        expected = build_generator(64, 4)
        expected.load_weights(folder / f"{name}.weights.h5")
        for ours, theirs in zip(loaded.weights, expected.weights, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_without_validation_split_no_best_checkpoint(data_dir, tmp_path, caplog):
    pairs = shutil.copytree(data_dir, tmp_path / "pairs")
    info = json.loads((pairs / "pairs.json").read_text())
    for part in ("crops", "shards"):
        del info[part]["validation"]
    (pairs / "pairs.json").write_text(json.dumps(info))
    settings = {**SMALL, "steps": 2, "sample_every": 0}
    done = train_gan(pairs, tmp_path / "model", **settings)
    assert done.best_step is None
    assert not (tmp_path / "model" / "validation.csv").exists()
    assert caplog.text.count("no best checkpoint is kept") == 1
    with pytest.raises(InputError, match="has no best checkpoint: none of its 1 has"):
        load_run_generator(tmp_path / "model", "best")


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
    with pytest.raises(InputError, match="of data_fingerprint .*, these have"):
        train_gan(other, trained.model_dir, steps=12, **SMALL)
    info = json.loads((other / "pairs.json").read_text())
    info["image_size"] = 128
    (other / "pairs.json").write_text(json.dumps(info))
    with pytest.raises(InputError, match="of image_size 64, these have 128; give it"):
        train_gan(other, trained.model_dir, steps=12, **SMALL)
    info["image_size"] = 64
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
        ({"decay_steps": -1}, r"decay_steps must be 0 to steps \(1\), got -1"),
        ({"decay_steps": 2}, r"decay_steps must be 0 to steps \(1\), got 2"),
        ({"generator_learning_rate": -1.0}, "rate must be a number from 0 on, got -1"),
        ({"discriminator_learning_rate": np.nan}, "from 0 on, got nan"),
        ({"adam_beta_1": 1.0}, "adam_beta_1 must be 0 or more, below 1, got 1.0"),
        ({"steps": 5, "steps_per_execution": 2}, "5 steps to do are not a multiple"),
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
        validation=None,
        stop_requested=lambda: False,
    )
    saver.set_model(gan)
    saver.on_step(3, {"generator_loss": tf.constant(1.0)})
    second_moment = gan.generator_optimizer._velocities[0]
    finite = np.array(second_moment)
    second_moment.assign(np.full_like(finite, np.inf))
    with pytest.raises(TrainingDiverged, match="moment .* is not finite at step 6"):
        saver.on_step(6, {"generator_loss": tf.constant(1.0)})
    second_moment.assign(finite)
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
    with pytest.raises(InputError, match="TF_CONFIG is wrong"):
        make_strategy("auto")


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
