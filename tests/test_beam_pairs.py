"""Pairs cut by Beam's workers, against those that one process cuts."""

import csv
import hashlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from dermgan_tf.annotations import (
    PhotoAnnotation,
    annotations_vocabulary,
    read_annotations,
    write_annotations,
)
from dermgan_tf.pairs import load_pairs, read_pairs_info
from dermgan_tf.prepare import AnnotatedPhoto, prepare_pairs
from dermgan_tf.semantic_map import Roi

pytest.importorskip("apache_beam", reason='needs pip install "dermgan_tf[beam]"')

ROOT = pathlib.Path(__file__).parents[1]
BAD = {"8.png": b"", "9.png": b"\x89PNG\r\n\x1a\nnothing more", "11.png": None}


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
    stdout, stderr = process.communicate(timeout=300)
    return process.returncode, stdout, stderr


@pytest.fixture(scope="module")
def annotations(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clinic")
    (folder / "photos").mkdir()
    rng = np.random.default_rng(0)
    listed = []
    for i in range(70):
        image = np.clip(rng.normal((130, 160, 205), 12, (100, 120, 3)), 0, 255)
        cv2.imwrite(str(folder / f"photos/{i}.png"), image.astype(np.uint8))
        condition = ["nevus", "eczema", "wart"][i % 3]
        rois = (Roi((0.4, 0.4, 0.6, 0.6), condition),)
        rois = () if i == 12 else rois
        listed.append(
            PhotoAnnotation(f"photos/{i}.png", f"c{i // 2}", condition, i % 7, rois)
        )
    for name, content in BAD.items():
        path = folder / "photos" / name
        path.unlink() if content is None else path.write_bytes(content)
    write_annotations(folder / "annotations.jsonl", listed)
    with open(folder / "annotations.jsonl", "a") as file:
        file.write('{"image": "x.png"}\n')
    return folder / "annotations.jsonl"


@pytest.fixture(scope="module")
def one_process(annotations, tmp_path_factory):
    listed, rejects = read_annotations(annotations)
    photos = [AnnotatedPhoto(str(annotations.parent), one) for one in listed]
    folder = tmp_path_factory.mktemp("one") / "pairs"
    prepare_pairs(
        photos, annotations_vocabulary(listed), folder, 64, 2, 3, 1, rejects=rejects
    )
    return folder


def digests(folder):
    """By split the digests of the records, in order."""
    found = {}
    for split, shards in read_pairs_info(folder).shards.items():
        paths = [str(folder / shard["file"]) for shard in shards]
        for shard, path in zip(shards, map(pathlib.Path, paths), strict=True):
            assert hashlib.sha256(path.read_bytes()).hexdigest() == shard["sha256"]
            assert path.stat().st_size == shard["bytes"]
        records = tf.data.TFRecordDataset(paths).as_numpy_iterator()
        found[split] = [hashlib.sha256(record).hexdigest() for record in records]
    return found


def rejects(folder):
    with open(folder / "rejects.csv", newline="") as file:
        return {row["item"]: row["reason"] for row in csv.DictReader(file)}


def told(folder):
    """pairs.json without the shards, which are others."""
    info = json.loads((folder / "pairs.json").read_text())
    del info["shards"], info["fingerprint"]
    return info


def test_two_processes_give_the_folder_of_one(annotations, one_process, tmp_path):
    out = tmp_path / "pairs"
    code, stdout, stderr = run(
        f"--annotations=file://{annotations}",
        f"--output_dir={out}",
        "--image_size=64",
        "--crops_per_photo=2",
        "--seed=3",
        "--beam_runner=DirectRunner",
        "--workers=2",
    )
    assert code == 0, stderr
    assert "66 pairs" not in stdout and "132 pairs" in stdout
    found, wanted = digests(out), digests(one_process)
    assert {s: set(d) for s, d in found.items()} == {
        s: set(d) for s, d in wanted.items()
    }
    assert found == wanted  # even in order
    assert len(read_pairs_info(out).shards["train"]) > 2
    assert told(out) == told(one_process)
    assert rejects(out) == rejects(one_process)
    assert set(rejects(out)) == {
        "annotations.jsonl:71",
        *(f"photos/{name}" for name in BAD),
    }
    for split in found:
        sheet = f"sheet_{split}.png"
        assert (out / sheet).read_bytes() == (one_process / sheet).read_bytes()
    # What reads pairs takes it for the same, and nothing else is left.
    builder = tfds.builder_from_directory(out)
    for split, count in read_pairs_info(out).counts.items():
        assert builder.info.splits[split].num_examples == count
    batch = next(iter(load_pairs(out, "train", 4)))
    assert batch["image"].shape == (4, 64, 64, 3)
    names = {path.name for path in out.iterdir()}
    assert not [name for name in names if "partial" in name]
    assert [path.name for path in tmp_path.iterdir()] == ["pairs"]
