"""train_classifier as people run it: a kill, messages, what it leaves behind."""

import json
import pathlib
import signal
import subprocess
import sys
import time
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from dermgan_tf.classifier.labelled_images import joined
from dermgan_tf.classifier.labelled_reading import read_labelled_splits
from dermgan_tf.classifier.predictions import read_predictions
from dermgan_tf.classifier.task import train_classifier
from dermgan_tf.errors import InputError
from dermgan_tf.photos.anonymous_ids import anonymous_case_id
from dermgan_tf.photos.photo_io import encode_png
from pipelines import train_classifier as train_classifier_program
from tests.helpers.coloured_spots import spots
from tests.helpers.painted_images import Painter, paint_images
from tests.helpers.tiny_pairs import make_tiny_pairs

ROOT = pathlib.Path(__file__).parents[2]
STEPS = 40
SALT = b"a salt of this test alone"
SETTINGS = {
    "architecture": "small_conv",
    "batch_size": 8,
    "steps": STEPS,
    "frozen_steps": 8,
    "validate_every": 4,
    "log_every": 1,
    "imbalance": "balanced_sampling",
    "deterministic": True,
}


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "pipelines.train_classifier", *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    stdout, stderr = process.communicate(timeout=300)
    return process.returncode, stdout, stderr.replace("\r", "\n").strip()


@pytest.fixture(scope="module")
def image_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for seed, (split, count) in enumerate(
        {"train": 30, "validation": 12, "test": 9}.items()
    ):
        photos = spots(count, seed, labels=np.arange(count) % 3)
        for i, (image, label) in enumerate(
            zip(photos.images, photos.labels, strict=True)
        ):
            place = folder / split / photos.conditions[label]
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{split}{i}.png").write_bytes(encode_png(image))
    return folder


def start_training(image_dir, output_dir, *more):
    flags = [*(f"--{name}={value}" for name, value in SETTINGS.items()), *more]
    return start(
        f"--image_dir={image_dir}",
        f"--output_dir={output_dir}",
        "--image_size=32",
        *flags,
    )


def test_synthetic_images_come_with_the_cases_of_their_generator(tmp_path, caplog):
    pairs = make_tiny_pairs(tmp_path / "clinic")
    paint_images(tmp_path / "painted", pairs)
    splits, _ = read_labelled_splits(pairs, 32)
    flags = {
        "allow_unchecked_generator": False,
        "synthetic_dir": tmp_path / "painted",
        "image_size": 32,
        "cache_dir": None,
        "data_dir": None,
        "gan_data_dir": None,
        "synthetic_ratio": None,
        "real_share": None,
        "synthetic_until": None,
        "anonymize_ids": False,
    }

    def read(**changed):
        args = types.SimpleNamespace(**{**flags, **changed})
        return train_classifier_program.read_synthetic_images(args, splits)

    for name in ("data_dir", "gan_data_dir"):
        synthetic, generator, cases = read(**{name: pairs})
        assert len(synthetic) == 4 and generator == Painter.fingerprint
        assert cases == sorted(set(splits["train"].cases))
    # Nobody tells what it was trained on, or other pairs are named.
    with pytest.raises(InputError, match="--gan_data_dir, or pass --allow_unchecked"):
        read()
    other = make_tiny_pairs(tmp_path / "other", cases=10)
    with pytest.raises(InputError, match="not trained on --data_dir=.*other/pairs and"):
        read(data_dir=other)
    with pytest.raises(InputError, match="on other pairs than"):
        read(gan_data_dir=other, allow_unchecked_generator=True)
    for name in (None, other):
        caplog.clear()
        unchecked = read(data_dir=name, allow_unchecked_generator=True)
        assert unchecked[2] is None and "is not checked" in caplog.text
    # What can be checked is, whatever is allowed.
    assert read(data_dir=pairs, allow_unchecked_generator=True)[2] is not None
    splits["train"] = splits["train"].take(np.arange(6))
    with pytest.raises(InputError, match="6 of 12 cases"):
        read(gan_data_dir=pairs)
    with pytest.raises(InputError, match="--real_share needs --synthetic_dir"):
        read(synthetic_dir=None, real_share=0.5)
    with pytest.raises(InputError, match="--synthetic_until needs --synthetic_dir"):
        read(synthetic_dir=None, synthetic_until=0.5)


def test_each_condition_without_photos_is_told():
    absent = {"train": ["vitiligo", "acne"], "test": ["eczema"]}
    told = train_classifier_program.told_absent(absent)
    assert [line.split(":")[0] for line in told] == [
        "no training photo of vitiligo",
        "no training photo of acne",
        "no test photo of eczema",
    ]


def test_a_run_leaves_its_files_and_what_was_found_of_copies(image_dir, tmp_path):
    inputs = keras.Input((32, 32, 3))
    outputs = keras.layers.Conv2D(8, 5, strides=2)(inputs)
    keras.Model(inputs, outputs).save(tmp_path / "pixels.keras")
    output = tmp_path / "run"
    look = f"--embedding={tmp_path / 'pixels.keras'}"
    short = ("--steps=3", "--frozen_steps=1", "--validate_every=3")
    (tmp_path / "salt").write_bytes(SALT)
    hashed = ("--anonymize_ids", f"--id_salt_file={tmp_path / 'salt'}")
    status, stdout, stderr = finish(
        start_training(image_dir, output, look, *short, *hashed)
    )
    assert status == 0, stderr
    assert "30 train, 12 validation, 9 test, 0 synthetic" in stdout
    told = json.loads((output / "classifier.json").read_text("utf-8"))
    assert told["copies"]["embedding"] == "pixels" and told["copies"]["found"] == 0
    assert told["copies"]["photos"] == 30 and "not looked for" not in stderr
    assert (output / "saved_model/saved_model.pb").is_file()
    record = json.loads((output / "run.json").read_text("utf-8"))
    assert record["program"] == "train_classifier"
    assert record["flags"]["steps"] == 3 and record["seed"] == 0
    predictions = read_predictions(output / "predictions/test.csv")
    assert set(predictions.cases) == {
        anonymous_case_id(f"test{i}", SALT) for i in range(9)
    }
    # Neither the photos' names nor the salt are in any file.
    for path in output.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        for trace in (b"test3", b"validation3", b"train3", SALT, bytes(image_dir)):
            assert trace not in content, (path, trace)

    # The run knows what was found; of other photos it is looked for again.
    splits, _ = read_labelled_splits(image_dir, 32, id_salt=SALT)
    args = types.SimpleNamespace(
        output_dir=output,
        check_copies=None,
        embedding=str(tmp_path / "pixels.keras"),
        embedding_weights=None,
        architecture="small_conv",
        alpha=1.0,
        weights=None,
        allow_copies=False,
        cache_dir=None,
        synthetic_dir="painted",
    )
    found = train_classifier_program.copies_found(args, splits, None)
    assert found == told["copies"]
    copied = joined([splits["train"], splits["test"].take([0])])
    with pytest.raises(InputError, match=r"1 of 31 .*: (\S+) of \1 \(test\)"):
        train_classifier_program.copies_found(args, {**splits, "train": copied}, None)
    painted = splits["test"].take([3, 4])
    with pytest.raises(InputError, match=r"2 of 2 synthetic images \(painted\)"):
        train_classifier_program.copies_found(args, splits, painted)


def tensors(path):
    reader = tf.train.load_checkpoint(path)
    names = reader.get_variable_to_shape_map()
    return {n: reader.get_tensor(n) for n in names if not n.startswith("_CHECK")}


@pytest.mark.slow
def test_a_killed_run_ends_as_an_uninterrupted_one(image_dir, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    killed = start_training(image_dir, broken)
    splits, _ = read_labelled_splits(image_dir, 32)
    train_classifier(splits, whole, weights=None, saved_model=False, **SETTINGS)
    while not (broken / "checkpoints/step-12.index").exists():
        assert killed.poll() is None, finish(killed)
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    assert finish(killed)[0] == -signal.SIGKILL
    assert not (broken / "classifier.keras").exists()

    status, stdout, stderr = finish(start_training(image_dir, broken))
    assert status == 0, stderr
    assert "(resumed at step " in stdout and f"{STEPS} of {STEPS}" in stdout
    assert "30 train, 12 validation, 9 test, 0 synthetic" in stdout

    ours, theirs = (
        tensors(run / f"checkpoints/step-{STEPS}") for run in (broken, whole)
    )
    assert ours.keys() == theirs.keys() and len(ours) > 40
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
    for name in (
        "history.csv",
        "validation.csv",
        "classifier.json",
        "predictions/validation.csv",
        "predictions/test.csv",
    ):
        assert (broken / name).read_bytes() == (whole / name).read_bytes(), name
    assert (broken / "saved_model/saved_model.pb").is_file()
    record = json.loads((broken / "run.json").read_text("utf-8"))
    assert record["program"] == "train_classifier"
    assert record["flags"]["steps"] == STEPS and record["seed"] == 0
    assert any((broken / "tensorboard").iterdir())


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--image_dir=a", "--annotations=b"], "give one of --annotations"),
        (["--image_dir=a", "--steps=3", "--epochs=2"], "not both"),
    ],
)
def test_bad_usage(tmp_path, arguments, message):
    status, stdout, stderr = finish(start(f"--output_dir={tmp_path / 'o'}", *arguments))
    assert status == 2 and stdout == ""
    assert message in stderr.splitlines()[-1] and stderr.startswith("error: ")
    assert not (tmp_path / "o").exists()
