"""augmentation_study as people run it: one short study, a kill, what is refused."""

import json
import signal
import time
import types

import numpy as np
import pytest

from dermgan_tf.errors import InputError
from dermgan_tf.photos.photo_io import encode_png
from pipelines import augmentation_study as program
from tests.helpers.forked_programs import start_program
from tests.helpers.painted_images import paint_images
from tests.helpers.tiny_pairs import VOCABULARY, make_tiny_pairs


def start(folder, *more, afresh=False):
    arguments = (
        f"--image_dir={folder / 'photos'}",
        f"--synthetic=gan={folder / 'painted'}",
        f"--gan_data_dir={folder / 'clinic' / 'pairs'}",
        f"--output_dir={folder / 'study'}",
        *("--architecture=small_conv", "--image_size=32", "--batch_size=4"),
        *("--ratios=0.25", "--resamples=100", "--rarest=1"),
    )
    return start_program("augmentation_study", *arguments, *more, afresh=afresh)


def finish(process):
    stdout, stderr = process.communicate(timeout=300)
    return process.returncode, stdout, stderr.replace("\r", "\n").strip()


def write_photos(folder, names, seed):
    rng = np.random.default_rng(seed)
    for i, name in enumerate(names):
        photo = rng.integers(0, 120, (32, 32, 3), np.uint8)
        photo[..., i % 2] += 120
        path = folder / VOCABULARY.conditions[i % 2] / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_png(photo))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Photos of the cases that the generator was trained on, and of others."""
    folder = tmp_path_factory.mktemp("program")
    paint_images(folder / "painted", make_tiny_pairs(folder / "clinic"))
    trained = [f"case{i}" for i in range(15) if i % 5]
    write_photos(folder / "photos/train", trained, 0)
    write_photos(folder / "photos/validation", [f"v{i}" for i in range(6)], 1)
    write_photos(folder / "photos/test", [f"t{i}" for i in range(8)], 2)
    return folder


def test_a_study_runs(folder):
    study = start(folder, "--seeds=1", "--steps=2", afresh=True)
    status, stdout, stderr = finish(study)
    assert status == 0, stderr
    assert "gan 0.25 : 1, seed 0, 2 of 2" in stderr.splitlines()
    assert stderr.count("are not looked for: name a network") == 1
    lines = stdout.splitlines()
    assert lines[0].startswith("baseline: macro F1 ")
    assert lines[1].startswith("gan 0.25 : 1: macro F1 ") and "minus base" in lines[1]
    output = folder / "study"
    assert lines[-1] == f"report: {output}/report.html"
    run = json.loads((output / "run.json").read_text("utf-8"))
    assert run["program"] == "augmentation_study" and run["flags"]["ratios"] == ["0.25"]
    metrics = json.loads((output / "metrics.json").read_text("utf-8"))
    assert metrics["synthetic"][0]["generator_cases"] == 12
    assert metrics["training"]["steps"] == 2 and metrics["copies"] is None
    assert [arm["runs"][0]["synthetic_images"] for arm in metrics["arms"]] == [0, 3]


@pytest.mark.slow
def test_a_killed_study_goes_on(folder, tmp_path):
    again = (f"--output_dir={tmp_path}", "--steps=60", "--validate_every=2")
    again += ("--seeds=2", "--no_augmentation_arm", "--deterministic")
    killed = start(folder, *again)
    run = tmp_path / "runs/gan-x0.25/seed-0"
    while not list(run.glob("checkpoints/step-*.index")):
        assert killed.poll() is None, finish(killed)
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    assert finish(killed)[0] == -signal.SIGKILL
    first = tmp_path / "runs/baseline/seed-0/classifier.keras"
    before = first.stat().st_mtime_ns
    status, stdout, stderr = finish(start(folder, *again))
    assert status == 0, stderr
    assert first.stat().st_mtime_ns == before
    # As if it had not been killed: the run that was broken off, and all else.
    whole = tmp_path / "whole"
    status, _, stderr = finish(start(folder, *again, f"--output_dir={whole}"))
    assert status == 0, stderr
    for name in ("table.csv", "ratios.png", "metrics.json"):
        assert (whole / name).read_bytes() == (tmp_path / name).read_bytes(), name
    status, stdout, stderr = finish(start(folder, *again, "--learning_rate=1"))
    assert status == 1 and stdout == ""
    assert "begun with learning_rate 0.0001, this call asks for 1" in stderr


def test_what_flags_say():
    assert program.numbers(["0", " 0.5"], float, "ratios") == [0, 0.5]
    assert program.numbers(["10", "all"], int, "train_cases", every="all") == [10, None]
    with pytest.raises(InputError, match="--train_cases: '1.5' is no number"):
        program.numbers(["1.5"], int, "train_cases", every="all")

    def folders(*named, synthetic_dir=None):
        flags = {"synthetic_dir": synthetic_dir, "synthetic": named}
        return program.synthetic_folders(types.SimpleNamespace(**flags))

    assert folders() == {}
    assert folders("a=x", "b=y=z", synthetic_dir="w") == {
        "synthetic": "w",
        "a": "x",
        "b": "y=z",
    }
    for given, message in ((["x"], "is not NAME=DIR"), (["a=x", "a=y"], "comes twice")):
        with pytest.raises(InputError, match=message):
            folders(*given)


def test_more_photos_need_not_show_all_conditions(folder):
    args = types.SimpleNamespace(
        more_real=str(folder / "photos"),
        case_pattern="",
        image_size=32,
        cache_dir=None,
        max_reject_fraction=0.1,
        anonymize_ids=False,
    )
    conditions = ("acne", "eczema", "melanoma")
    more, rejects = program.read_more_real(args, conditions)
    assert len(more) == 12 and more.conditions == conditions and not rejects
    names = [conditions[label] for label in more.labels]
    paths = {path.name: path for path in (folder / "photos/train").glob("*/*")}
    assert [paths[one].parent.name for one in more.image_ids] == names
