"""describe as people run it."""

import json
import pathlib
import subprocess
import sys

import pytest
from PIL import Image

from dermgan_tf.photos.annotations import PhotoAnnotation, write_annotations
from tests.helpers.near_copies import textures

ROOT = pathlib.Path(__file__).parents[2]


def run(*flags):
    process = subprocess.run(
        [sys.executable, "-m", "pipelines.describe", *map(str, flags)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return process.returncode, process.stdout, process.stderr


@pytest.fixture
def annotations(tmp_path):
    listed = []
    for n, photo in enumerate(textures(4, size=(60, 80))):
        Image.fromarray(photo).save(tmp_path / f"{n}.png")
        listed.append(PhotoAnnotation(f"{n}.png", f"case {n}", "wart"))
    (tmp_path / "3.png").write_bytes(b"")
    write_annotations(tmp_path / "annotations.jsonl", listed)
    return tmp_path / "annotations.jsonl"


def test_it_describes_annotations(annotations, tmp_path):
    out = tmp_path / "out"
    code, stdout, stderr = run(
        f"--annotations={annotations}", f"--output_dir={out}", "--no_photos"
    )
    assert code == 0, stderr
    assert "photos: 3 of 3 cases, 1 conditions, 0 ROIs" in stdout
    assert "what will be hard:" in stdout and "wart (3)" in stdout
    assert json.loads((out / "description.json").read_text())["counts"]["rejected"] == 1
    assert (out / "rejects.csv").read_text().splitlines()[1:] == ["3.png,is empty"]
    assert json.loads((out / "run.json").read_text())["program"] == "describe"
    assert not list(out.glob("examples*"))
    assert "not for publication" not in (out / "report.html").read_text()


def test_bad_usage_and_bad_input_are_one_line(annotations, tmp_path):
    out = tmp_path / "out"
    code, stdout, stderr = run(f"--output_dir={out}")
    assert (code, stdout) == (2, "")
    assert "give either --annotations=FILE or --data_dir=DIR" in stderr
    code, stdout, stderr = run(
        f"--annotations={tmp_path / 'none.jsonl'}", f"--output_dir={out}"
    )
    assert (code, stdout) == (1, "")
    assert stderr.startswith("error: ") and stderr.count("\n") == 1
    assert "none.jsonl" in stderr and not out.exists()
