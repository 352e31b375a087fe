"""Images painted by Beam's workers, against those that one process paints."""

import json
import pathlib
import subprocess
import sys
from unittest import mock

import pytest

from dermgan_tf.generation.painting import write_images
from dermgan_tf.generation.plan import varied_specs
from dermgan_tf.models.dermgan.networks import build_generator
from dermgan_tf.models.dermgan.served import export_saved_model, load_generator
from dermgan_tf.photos.vocabulary import Vocabulary

pytest.importorskip("apache_beam", reason='needs pip install "dermgan_tf[beam]"')
from dermgan_tf.beam_runs import BeamRun  # noqa: E402
from dermgan_tf.generation import beam  # noqa: E402

ROOT = pathlib.Path(__file__).parents[2]
THREADS = ("--direct_num_workers=2", "--direct_running_mode=multi_threading")
COUNT = 70  # five parts, the last one of six images


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "gan"
    generator = build_generator(64, base_filters=2)
    names = Vocabulary(["melanoma", "eczema"])
    export_saved_model(generator, names, path, {"data_fingerprint": "f00d"})
    return path


@pytest.fixture(scope="module")
def one_process(saved_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    generator = load_generator(saved_model)
    specs = varied_specs(generator.vocabulary, COUNT, 5, None, None, None)
    write_images(generator, specs, folder, COUNT, write_maps=True)
    return folder


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "run.json"
    }


def test_two_workers_paint_what_one_process_does(saved_model, one_process, tmp_path):
    generator = load_generator(saved_model)
    specs = varied_specs(generator.vocabulary, COUNT, 5, None, None, None)
    loads = mock.Mock(side_effect=load_generator)
    with mock.patch.object(beam, "load_generator", loads):
        count = beam.write_images_by_beam(
            str(saved_model),
            generator,
            specs,
            COUNT,
            tmp_path,
            BeamRun("DirectRunner", str(tmp_path), THREADS),
            write_maps=True,
        )
    assert count == COUNT
    assert contents(tmp_path) == contents(one_process)
    assert len(contents(tmp_path)) == 2 * COUNT + 1


@pytest.mark.slow
def test_the_program_paints_with_two_processes(saved_model, one_process, tmp_path):
    out = tmp_path / "images"
    command = [
        *(sys.executable, "-m", "pipelines.generate"),
        f"--saved_model={saved_model}",
        f"--output_dir={out}",
        f"--count={COUNT}",
        "--seed=5",
        "--write_maps",
        "--beam_runner=DirectRunner",
        "--workers=2",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"{COUNT} synthetic images" in done.stdout
    assert contents(out) == contents(one_process)
    record = json.loads((out / "run.json").read_text())
    assert record["flags"]["beam_runner"] == "DirectRunner"
    sweep = [*command, "--sweep=size", "--overwrite"]
    done = subprocess.run(sweep, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "--sweep" in done.stderr
