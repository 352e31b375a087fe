"""evaluate_gan as users run it: a process, files in, files out."""

import json

import keras
import pytest

from dermgan_tf.models.dermgan.networks import build_generator
from dermgan_tf.models.dermgan.served import export_saved_model
from dermgan_tf.pairs.prepare import prepare_pairs
from dermgan_tf.pairs.sources import PhantomSource
from dermgan_tf.phantom import case_plan, phantom_vocabulary
from tests.helpers.forked_programs import run_program


def evaluate_gan(afresh=False, **flags):
    arguments = [f"--{name}={value}" for name, value in flags.items()]
    return run_program("evaluate_gan", *arguments, afresh=afresh)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with pairs, an untrained generator of them, and an embedding."""
    folder = tmp_path_factory.mktemp("evaluate_gan")
    vocabulary = phantom_vocabulary(4)
    photos = [
        PhantomSource(case, 0, vocabulary, (120, 160), split=split)
        for case, split in zip(
            case_plan(10, vocabulary, seed=0), ["train", "test"] * 5, strict=True
        )
    ]
    info = prepare_pairs(photos, vocabulary, folder / "pairs", 64, workers=1)
    assert info
    export_saved_model(
        build_generator(64, base_filters=4), vocabulary, folder / "generator"
    )
    inputs = keras.Input((32, 32, 3))
    outputs = keras.layers.Conv2D(6, 5, strides=2)(inputs)
    keras.Model(inputs, outputs).save(folder / "features.keras")
    return folder


def test_a_report_is_made(folder):
    output = folder / "report"
    done = evaluate_gan(
        saved_model=folder / "generator",
        data_dir=folder / "pairs",
        output_dir=output,
        embedding=folder / "features.keras",
        trials=7,
    )
    assert done.returncode == 0, done.stderr
    assert {path.name for path in output.iterdir()} >= {
        "metrics.json",
        "report.html",
        "held_out_maps.png",
        "placement.png",
        "distances.png",
        "run.json",
    }
    metrics = json.loads((output / "metrics.json").read_text("utf-8"))
    assert metrics["data"]["source"] == "phantom" and metrics["data"]["images"] == 20
    trials = metrics["distances"]["overall"]["synthetic_real"]["frechet_trials"]
    assert trials["trials"] == 7 and trials["sample_size"] == 10
    lines = done.stdout.splitlines()
    assert lines[0] == "embedding: features"
    assert f"{trials['mean']:.4g}" in lines[1] and "real against real" in lines[2]
    for part in ("darker at every step", "IoU", "diversity", "remembered"):
        assert part in done.stdout
    assert lines[-1] == f"report: {output}/report.html"
    assert "trials" in done.stderr  # the progress bar
    run = json.loads((output / "run.json").read_text("utf-8"))
    assert run["program"] == "evaluate_gan" and run["flags"]["trials"] == 7
    assert run["data_fingerprint"] == metrics["data"]["fingerprint"]

    before = (output / "metrics.json").read_bytes()
    done = evaluate_gan(
        saved_model=folder / "generator",
        data_dir=folder / "pairs",
        output_dir=output,
        embedding=folder / "features.keras",
    )
    assert done.returncode == 1
    assert "not empty" in done.stderr and "--overwrite" in done.stderr
    assert (output / "metrics.json").read_bytes() == before


def test_an_error_is_one_line_and_leaves_nothing_behind(folder):
    done = evaluate_gan(
        saved_model=folder / "generator",
        data_dir=folder / "pairs",
        output_dir=folder / "failed",
        embedding="mobilenet_v2",
        embedding_weights=folder / "gone.weights.h5",
        afresh=True,
    )
    assert done.returncode == 1 and done.stdout == ""
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "Traceback" not in done.stderr
    assert f"--embedding_weights={folder / 'gone.weights.h5'}" in errors[0]
    assert not [path for path in folder.iterdir() if path.name.startswith("failed")]


def test_help_and_usage():
    done = evaluate_gan(help="true", afresh=True)
    assert done.returncode == 0
    for flag in ("--saved_model", "--embedding_weights", "--trials", "--max_images"):
        assert flag in done.stdout
    assert evaluate_gan(saved_model="x", split="tset").returncode == 2
