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
import types

import cv2
import fsspec
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from etils import epath
from etils.epath import backend, gpath
from fsspec.implementations.memory import MemoryFileSystem

from dermgan_tf.errors import InputError
from dermgan_tf.pairs.pairs import load_pairs, read_pairs_info
from dermgan_tf.pairs.prepare import prepare_pairs, write_pairs
from dermgan_tf.pairs.sources import AnnotatedPhoto
from dermgan_tf.photos.annotations import (
    PhotoAnnotation,
    annotations_vocabulary,
    read_annotations,
    write_annotations,
)
from dermgan_tf.photos.semantic_map import Roi
from dermgan_tf.remote_storage import is_remote, local_copy, remote_output_folder
from pipelines.shared import beam_flags
from tests.pipelines.test_prepare_pairs import living_members

pytest.importorskip("apache_beam", reason='needs pip install "dermgan_tf[beam]"')
from dermgan_tf import beam_runs  # noqa: E402

# Two workers that are threads of this process.
THREADS = ("--direct_num_workers=2", "--direct_running_mode=multi_threading")
ROOT = pathlib.Path(__file__).parents[2]
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


def run(*flags):
    command = [sys.executable, "-m", "pipelines.prepare_pairs", *map(str, flags)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=1200
    )
    return done.returncode, done.stdout, done.stderr


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


class CountedWorker:
    """Returns what it is given; fails if told to."""

    def do(self, number, part):
        if "fail" in part:
            raise ValueError("of our own")
        if "bad" in part:
            raise InputError("photos/7.png: is a folder")
        return number, [2 * item for item in part]

    def close(self):
        pass


def test_parts_come_back_in_their_order(tmp_path):
    parts = [[i] * (i % 3) for i in range(9)]
    run = beam_runs.BeamRun("DirectRunner", str(tmp_path), THREADS)
    shown = []

    def progress(items, total, desc):
        shown.append((len(list(items)), total, desc))
        return ()

    results = list(beam_runs.run_parts(CountedWorker, parts, run, progress, "doing"))
    assert results == [(i, [2 * i] * (i % 3)) for i in range(9)]
    assert shown == [(9, 9, "doing")]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("part", "kind", "text"),
    [
        ("bad", InputError, "photos/7.png: is a folder"),
        ("fail", RuntimeError, "ValueError: of our own"),
    ],
)
def test_what_a_worker_raises_is_told_in_a_line(tmp_path, part, kind, text):
    run = beam_runs.BeamRun("DirectRunner", str(tmp_path), THREADS)
    with pytest.raises(kind) as error:
        list(beam_runs.run_parts(CountedWorker, [["good"], [part]], run))
    assert str(error.value) == text
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_runner_is_told(tmp_path):
    run = beam_runs.BeamRun("NoRunner", str(tmp_path))
    with pytest.raises(InputError, match="--beam_runner=NoRunner"):
        list(beam_runs.run_parts(CountedWorker, [[1]], run))


def test_options_are_written_like_those_of_tfds():
    given = ["project=p,region=r", "streaming", '--environment_config={"a": 1, "b": 2}']
    assert beam_runs.parse_options(given) == [
        "--project=p",
        "--region=r",
        "--streaming",
        '--environment_config={"a": 1, "b": 2}',
    ]


def test_beam_that_is_not_installed_is_told(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    monkeypatch.delitem(sys.modules, "dermgan_tf.beam_runs")
    args = types.SimpleNamespace(
        output_dir=str(tmp_path / "out"),
        overwrite=False,
        beam_runner="DirectRunner",
        beam_pipeline_options=[],
    )
    with pytest.raises(InputError) as error:
        with beam_flags.output(args, "pairs.json", []):
            pass
    assert 'pip install "dermgan_tf[beam]"' in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def bucket(monkeypatch):
    """A store that epath takes for s3://, in this process' memory."""
    store = type("Store", (MemoryFileSystem,), {"store": {}, "pseudo_dirs": [""]})
    monkeypatch.setenv("EPATH_USE_TF", "false")
    fsspec.register_implementation("s3", store, clobber=True)
    caches = gpath._is_tf_installed, type(backend.fsspec_backend)._get_filesystem
    for cache in caches:
        cache.cache_clear()
    yield epath.Path("s3://bucket")
    for cache in caches:
        cache.cache_clear()
    fsspec.register_implementation("s3", "s3fs.S3FileSystem", clobber=True)


def test_photos_and_pairs_on_an_object_store(
    annotations, one_process, bucket, tmp_path
):
    clinic, out = bucket / "clinic", "s3://bucket/data/pairs"
    for path in annotations.parent.rglob("*.*"):
        place = clinic / path.relative_to(annotations.parent).as_posix()
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(path.read_bytes())
    with local_copy(f"{clinic}/annotations.jsonl") as path:
        listed, bad = read_annotations(path)
    photos = [AnnotatedPhoto("s3://bucket/clinic", one) for one in listed]
    names = annotations_vocabulary(listed)

    def write(overwrite=False, **given):
        with remote_output_folder(out, overwrite, "pairs.json") as (folder, aside):
            run = beam_runs.BeamRun("DirectRunner", aside, THREADS)
            return write_pairs(
                photos, names, folder, 64, 2, 3, rejects=bad, beam_run=run, **given
            )

    with pytest.raises(InputError, match="max_reject_fraction"):
        write(max_reject_fraction=0.01)
    assert not epath.Path(out).exists() and not epath.Path(out + ".partial").exists()
    write(crash_safe=True)
    assert not epath.Path(out + ".partial").exists()
    for path in epath.Path(out).iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    assert digests(tmp_path) == digests(one_process)
    assert told(tmp_path) == told(one_process)
    assert rejects(tmp_path) == rejects(one_process)
    assert read_pairs_info(out).counts == read_pairs_info(one_process).counts
    with pytest.raises(InputError, match="is not empty"):
        write()
    write(overwrite=True)
    assert len(list(epath.Path(out).iterdir())) == len(list(tmp_path.iterdir()))


def test_only_storage_that_can_be_reached_is_taken():
    assert not is_remote("/a/b") and not is_remote("file:///a/b")
    assert is_remote("gs://bucket/a")
    with pytest.raises(InputError, match="hdfs://a/b: unknown storage"):
        is_remote("hdfs://a/b")


@pytest.mark.slow
def test_a_killed_run_leaves_nothing_and_starts_again(annotations, tmp_path):
    out, aside = tmp_path / "pairs", tmp_path / "pairs.partial"
    flags = (
        f"--annotations={annotations}",
        f"--output_dir={out}",
        "--image_size=64",
        "--crops_per_photo=40",
        "--beam_runner=DirectRunner",
        "--workers=2",
    )
    process = start(*flags, start_new_session=True)
    deadline = time.monotonic() + 300
    while not list(aside.glob("*.partial")) or not list(aside.glob("0*.partial")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not out.exists() and aside.exists()
    while living_members(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert living_members(process.pid) == []  # the workers left with it
    code, _, stderr = run(*flags)
    assert code == 0, stderr
    assert [path.name for path in tmp_path.iterdir()] == ["pairs"]
    assert sum(read_pairs_info(out).counts.values()) == 66 * 40


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["run", "worker"])
def test_an_interrupted_run_ends_at_once(victim, annotations, tmp_path):
    process = start(
        f"--annotations={annotations}",
        f"--output_dir={tmp_path / 'pairs'}",
        "--image_size=64",
        "--crops_per_photo=400",
        "--beam_runner=DirectRunner",
        "--workers=2",
        start_new_session=True,
    )
    deadline = time.monotonic() + 300
    while not list((tmp_path / "pairs.partial").glob("0*.partial")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    if victim == "run":
        process.send_signal(signal.SIGTERM)
        wanted = "error: interrupted"
    else:
        workers = [
            pid
            for pid in living_members(process.pid)
            if b"sdk_worker_main" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
            and "python" in os.readlink(f"/proc/{pid}/exe")
        ]
        os.kill(workers[0], signal.SIGKILL)
        wanted = "error: DirectRunner: a worker process ended"
    _, stderr = process.communicate(timeout=600)
    assert process.returncode == 1
    assert "Traceback" not in stderr
    assert stderr.strip().splitlines()[-1].startswith(wanted)
    while living_members(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert living_members(process.pid) == []
    assert not (tmp_path / "pairs").exists()
