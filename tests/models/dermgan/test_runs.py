"""The generator of a run: as it was last, at its best, with or without the average."""

import json
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

from dermgan_tf.errors import InputError
from dermgan_tf.layers.fingerprint import weights_fingerprint
from dermgan_tf.models.dermgan.networks import build_generator
from dermgan_tf.models.dermgan.runs import load_run_generator
from dermgan_tf.training.checkpoints import Checkpoints

ROOT = pathlib.Path(__file__).parents[3]
LOSSES = {2: 0.5, 4: 0.25, 6: 1.0}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that was killed: its folder, and its weights by step and name."""
    folder = tmp_path_factory.mktemp("runs") / "gan"
    folder.mkdir()
    description = {
        "image_size": 64,
        "base_filters": 2,
        "upsampling": "resize_conv",
        "conditions": ["melanoma", "eczema"],
        "ema_decay": 0.999,
        "seed": 5,
        "steps": 20,
        "trained_steps": 0,
    }
    (folder / "model.json").write_text(json.dumps(description))
    networks = {
        name: build_generator(64, base_filters=2)
        for name in ("generator", "ema_generator")
    }
    checkpoints = Checkpoints(folder / "checkpoints", 3, **networks)
    weights = {}
    for step in LOSSES:
        for name, network in networks.items():
            value = step + (0.5 if name == "ema_generator" else 0)
            network.set_weights([np.full_like(w, value) for w in network.get_weights()])
            weights[step, name] = value
        checkpoints.save(step)
    rows = "".join(f"{step},{loss},0,0\n" for step, loss in LOSSES.items())
    header = "step,loss,reconstruction_loss,condition_loss\n"
    (folder / "validation.csv").write_text(header + rows)
    return folder, weights


@pytest.fixture
def copied(run, tmp_path):
    return shutil.copytree(run[0], tmp_path / "gan")


@pytest.mark.parametrize(
    ("checkpoint", "use_ema", "step", "name"),
    [
        ("last", True, 6, "ema_generator"),
        ("last", False, 6, "generator"),
        ("best", True, 4, "ema_generator"),
        ("best", False, 4, "generator"),
    ],
)
def test_weights_are_those_asked_for(run, checkpoint, use_ema, step, name):
    folder, weights = run
    generator, vocabulary, provenance = load_run_generator(folder, checkpoint, use_ema)
    for weight in generator.get_weights():
        assert np.all(weight == weights[step, name])
    assert vocabulary.conditions == ("melanoma", "eczema")
    assert provenance["weights"] == f"checkpoints/step-{step}, {name}"
    assert provenance["trained_steps"] == step
    assert provenance["seed"] == 5
    assert "conditions" not in provenance


def test_run_without_average_gives_its_generator(copied):
    description = json.loads((copied / "model.json").read_text())
    (copied / "model.json").write_text(json.dumps({**description, "ema_decay": 0.0}))
    _, _, provenance = load_run_generator(copied)
    assert provenance["weights"] == "checkpoints/step-6, generator"


def test_folder_without_checkpoints_gives_its_final_weights(copied):
    shutil.rmtree(copied / "checkpoints")
    with pytest.raises(InputError, match="has no generator_ema.weights.h5"):
        load_run_generator(copied)
    generator = build_generator(64, base_filters=2)
    generator.save_weights(copied / "generator_ema.weights.h5")
    loaded, _, provenance = load_run_generator(copied)
    assert weights_fingerprint(loaded) == weights_fingerprint(generator)
    assert provenance["weights"] == "generator_ema.weights.h5"
    with pytest.raises(InputError, match="has no best checkpoint: none of its 0 has"):
        load_run_generator(copied, "best")


def test_damaged_files_are_named(copied, tmp_path):
    data = copied / "checkpoints" / "step-4.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[::-1])
    with pytest.raises(InputError, match="step-4 is damaged"):
        load_run_generator(copied, "best")
    (copied / "model.json").write_text("{")
    with pytest.raises(InputError, match="model.json is damaged"):
        load_run_generator(copied)
    with pytest.raises(InputError, match="is not a model folder"):
        load_run_generator(tmp_path)


def test_best_is_exported_by_the_program(run, copied, tmp_path):
    out = tmp_path / "served"
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.export_generator", "--checkpoint=best"]
        + [f"--model_dir={copied}", f"--output_dir={out}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "(checkpoints/step-4, ema_generator)" in done.stdout
    metadata = json.loads((out / "assets.extra/dermgan.json").read_text("utf-8"))
    generator, _, _ = load_run_generator(copied, "best")
    assert metadata["generator"] == weights_fingerprint(generator)
    assert metadata["provenance"]["trained_steps"] == 4
