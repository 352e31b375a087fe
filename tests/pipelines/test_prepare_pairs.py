"""prepare_pairs as people run it: exit codes, messages, files, kills."""

import csv
import json
import os
import pathlib
import resource
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest

from dermgan_tf.pairs.pairs import read_pairs_info
from dermgan_tf.photos.annotations import PhotoAnnotation, write_annotations
from dermgan_tf.photos.semantic_map import Roi

ROOT = pathlib.Path(__file__).parents[2]


def start(*flags, **kwargs):
    return subprocess.Popen(
        [sys.executable, "-m", "pipelines.prepare_pairs", *map(str, flags)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **kwargs,
    )


def run(*flags, **kwargs):
    process = start(*flags, **kwargs)
    stdout, stderr = process.communicate(timeout=120)
    return process.returncode, stdout, stderr


def living_members(group):
    """Ids of the processes of a process group, without the dead that nobody buried."""
    members = []
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, pgrp = path.read_text().rpartition(")")[2].split()[:3]
        except OSError:  # it has just ended
            continue
        if int(pgrp) == group and state != "Z":
            members.append(int(path.parent.name))
    return members


def last_line(text):
    return text.replace("\r", "\n").strip().splitlines()[-1]


@pytest.fixture(scope="module")
def annotations(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clinic")
    rng = np.random.default_rng(0)
    listed = []
    for i in range(40):
        image = np.clip(rng.normal((130, 160, 205), 12, (200, 240, 3)), 0, 255)
        cv2.imwrite(str(folder / f"{i}.png"), image.astype(np.uint8))
        condition = ["nevus", "eczema", "wart"][i % 3]
        rois = (Roi((0.4, 0.4, 0.6, 0.6), condition),)
        listed.append(PhotoAnnotation(f"{i}.png", f"c{i}", condition, i % 7, rois))
    (folder / "8.png").write_bytes(b"")
    write_annotations(folder / "annotations.jsonl", listed)
    with open(folder / "annotations.jsonl", "a") as file:
        file.write('{"image": "x.png"}\n')
    return folder / "annotations.jsonl"


def test_it_prepares_annotated_photos(annotations, tmp_path):
    out = tmp_path / "pairs"
    code, stdout, stderr = run(
        f"--annotations={annotations}",
        f"--output_dir={out}",
        "--image_size=64",
        "--crops_per_photo=2",
        "--conditions=wart,nevus",
        "--workers=2",
        "--seed=3",
    )
    assert code == 0, stderr
    info = read_pairs_info(out)
    assert info.vocabulary.conditions == ("wart", "nevus")
    # 40 photos: 13 of eczema are left out, one wart is an empty file.
    assert sum(info.counts.values()) == 26 * 2
    assert "left out: 13" in stdout and "random windows" in stdout
    with open(out / "rejects.csv", newline="") as file:
        items = {row["item"]: row["reason"] for row in csv.DictReader(file)}
    assert set(items) == {"8.png", "annotations.jsonl:41"}
    assert "case_id" in items["annotations.jsonl:41"]
    record = json.loads((out / "run.json").read_text())
    assert record["data_fingerprint"] == info.fingerprint
    assert record["seed"] == 3
    for split in info.counts:
        assert cv2.imread(str(out / f"sheet_{split}.png")).std() > 10


def test_it_prepares_phantoms(tmp_path):
    code, _, stderr = run(
        "--phantom",
        "--phantom_cases=12",
        "--phantom_conditions=3",
        f"--output_dir={tmp_path / 'pairs'}",
        "--image_size=64",
        "--crops_per_photo=1",
        "--workers=1",
    )
    assert code == 0, stderr
    info = read_pairs_info(tmp_path / "pairs")
    assert info.source == "phantom"
    assert len(info.vocabulary) == 3
    shares = json.loads((tmp_path / "pairs/pairs.json").read_text())["skin_share"]
    assert shares["truth"]["ours"] > shares["truth"]["random"]


def test_bad_usage_and_bad_input_are_one_line(annotations, tmp_path):
    out = tmp_path / "pairs"
    code, stdout, stderr = run(f"--output_dir={out}")
    assert (code, stdout) == (2, "")
    assert last_line(stderr).startswith("error: ")
    assert "--phantom" in last_line(stderr)
    code, stdout, stderr = run(
        f"--annotations={tmp_path / 'none.jsonl'}", f"--output_dir={out}"
    )
    assert (code, stdout) == (1, "")
    assert stderr.startswith("error: ") and stderr.count("\n") == 1
    assert "none.jsonl" in stderr
    code, _, stderr = run(
        f"--annotations={annotations}", f"--output_dir={out}", "--conditions=worts"
    )
    assert code == 1
    assert "unknown condition 'worts'; known: eczema, nevus, wart" in stderr
    assert not out.exists()


def test_a_killed_run_leaves_nothing_and_starts_again(annotations, tmp_path):
    out = tmp_path / "pairs"
    flags = (
        f"--annotations={annotations}",
        f"--output_dir={out}",
        "--image_size=64",
        "--crops_per_photo=20",
        "--workers=2",
    )
    process = start(*flags, start_new_session=True)
    aside = tmp_path / "pairs.partial"
    deadline = time.monotonic() + 300
    while not list(aside.glob("train-*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not out.exists() and aside.exists()
    while living_members(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert living_members(process.pid) == []  # the workers left with their parent
    code, _, stderr = run(*flags)
    assert code == 0, stderr
    assert not aside.exists()
    assert sum(read_pairs_info(out).counts.values()) == 39 * 20


def test_a_full_disk_is_one_line(annotations, tmp_path):
    # The kernel refuses files above this size, as a full disk refuses any.
    def small_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    code, _, stderr = run(
        f"--annotations={annotations}",
        f"--output_dir={tmp_path / 'pairs'}",
        "--image_size=64",
        "--workers=1",
        preexec_fn=small_files,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert code == 1
    assert last_line(stderr).startswith(f"error: {tmp_path / 'pairs'}")
    assert "Traceback" not in stderr
    assert list(tmp_path.iterdir()) == []
