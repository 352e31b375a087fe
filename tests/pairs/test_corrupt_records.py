"""Shards with corrupt records: named without, and passed over with the flag."""

import json
import os
import pathlib
import shutil
import struct
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from dermgan_tf.errors import InputError
from dermgan_tf.models.dermgan.task import train_gan
from dermgan_tf.pairs import corrupt_records
from dermgan_tf.pairs import records as records_writer
from dermgan_tf.pairs.pairs import load_pairs, read_pairs, read_pairs_info
from tests.helpers.tiny_pairs import make_tiny_pairs

ROOT = pathlib.Path(__file__).parents[2]
CASES = 20  # 16 pairs for training


@pytest.fixture(scope="module")
def sound_dir(tmp_path_factory):
    """Pairs for training in three shards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records_writer, "SHARD_BYTES", 12_000)
        folder = make_tiny_pairs(tmp_path_factory.mktemp("sound") / "clinic", CASES)
    assert len(read_pairs_info(folder).shards["train"]) >= 3
    return folder


@pytest.fixture
def data_dir(sound_dir, tmp_path):
    return shutil.copytree(sound_dir, tmp_path / "pairs")


def shard_of(data_dir, number=1):
    return data_dir / read_pairs_info(data_dir).shards["train"][number]["file"]


def offsets_of(shard):
    """Where the records of a sound file begin, and where it ends."""
    data, offsets = shard.read_bytes(), [0]
    while offsets[-1] < len(data):
        (length,) = struct.unpack_from("<Q", data, offsets[-1])
        offsets.append(offsets[-1] + 8 + 4 + length + 4)
    return offsets


def overwrite(shard, offset, data):
    with open(shard, "r+b") as file:
        file.seek(offset)
        file.write(data)


def flip(shard, offset):
    overwrite(shard, offset, bytes([shard.read_bytes()[offset] ^ 0x40]))


def images(dataset):
    return [image.tobytes() for batch in dataset for image in batch["image"].numpy()]


def plain(data_dir, **options):
    return load_pairs(data_dir, "train", 1, shuffle=False, augment=False, **options)


def first_pair(data_dir, number=1):
    """The number over all shards of the first pair of a shard."""
    shards = read_pairs_info(data_dir).shards["train"]
    return sum(shard["pairs"] for shard in shards[:number])


# What to do to the middle shard, given (path, offsets); the records of it that are lost
# then; and the places found: indices into the offsets, or bytes.
DAMAGES = {
    "data": (lambda path, at: flip(path, at[2] + 500), {2}, [2]),
    "data of the first": (lambda path, at: flip(path, 12), {0}, [0]),
    "data of the last": (lambda path, at: flip(path, at[-1] - 9), {-1}, [-2]),
    "length": (lambda path, at: flip(path, at[1] + 1), {1}, [1]),
    "top of length": (lambda path, at: flip(path, at[1] + 7), {1}, [1]),
    "checksum of length": (lambda path, at: flip(path, at[1] + 9), {1}, [1]),
    "checksum of data": (lambda path, at: flip(path, at[2] - 2), {1}, [1]),
    "length of the last": (lambda path, at: flip(path, at[-2]), {-1}, [-2]),
    "two records": (
        lambda path, at: (flip(path, at[0] + 30), flip(path, at[3] + 2)),
        {0, 3},
        [0, 3],
    ),
    "zeros over a border": (
        lambda path, at: overwrite(path, at[2] - 700, bytes(1400)),
        {1, 2},
        [1],
    ),
    "lengths of nothing over a border": (
        lambda path, at: overwrite(path, at[2] - 700, struct.pack("<Q", 1) * 175),
        {1, 2},
        [1],
    ),
    "a hole": (
        lambda path, at: path.write_bytes(
            path.read_bytes()[: at[1] + 99] + path.read_bytes()[at[1] + 199 :]
        ),
        {1},
        [1],
    ),
    "cut in the data": (lambda path, at: os.truncate(path, at[-1] - 50), {-1}, [-2]),
    "cut in the length": (lambda path, at: os.truncate(path, at[-2] + 5), {-1}, [-2]),
    "cut between two": (lambda path, at: os.truncate(path, at[-3]), {-1, -2}, []),
    "rubbish behind": (
        lambda path, at: overwrite(path, at[-1], b"rubbish" * 9),
        set(),
        [-1],
    ),
    "empty": (lambda path, at: os.truncate(path, 0), set(range(99)), []),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_all_but_the_corrupt_records_are_loaded(sound_dir, data_dir, damage):
    shard = shard_of(data_dir)
    offsets = offsets_of(shard)
    count, first = len(offsets) - 1, first_pair(data_dir)
    damage, lost, places = DAMAGES[damage]
    lost = {first + i % count for i in lost}
    damage(shard, offsets)
    expected = [x for i, x in enumerate(images(plain(sound_dir))) if i not in lost]

    dataset = plain(data_dir, skip_corrupt_records=True)
    assert images(dataset) == expected
    assert len(dataset) == len(expected)
    (found,) = dataset.damages
    assert found.path == str(shard)
    assert found.lost == len(lost)
    assert [offset for offset, _ in found.places] == [offsets[i] for i in places]
    assert str(shard) in str(found)

    if shard.stat().st_size == offsets[-1]:
        where = rf"{shard}: corrupted record at {offsets[places[0]]} bytes: its \w+ do"
        with pytest.raises(InputError, match=where):
            list(read_pairs(data_dir, "train"))
    else:
        with pytest.raises(InputError, match=f"{shard} has {shard.stat().st_size} by"):
            load_pairs(data_dir, "train", 1)


def test_sound_shards_are_read_where_they_are(sound_dir, data_dir):
    options = {"repeat": True, "seed": 4}
    dataset = load_pairs(sound_dir, "train", 4, skip_corrupt_records=True, **options)
    assert dataset.damages == ()
    expected = images(load_pairs(sound_dir, "train", 4, **options).take(9))
    assert images(dataset.take(9)) == expected
    flip(shard_of(data_dir), 100)
    for name in [shard_of(data_dir, 0), shard_of(data_dir, 2)]:
        shards = [corrupt_records.Shard(str(name), *counts(data_dir, name))]
        sound, damages = corrupt_records.without_corrupt_records(shards, tf.identity)
        assert sound == shards and not damages


def counts(data_dir, path):
    (shard,) = (
        shard
        for shard in read_pairs_info(data_dir).shards["train"]
        if shard["file"] == path.name
    )
    return shard["pairs"], shard["bytes"]


def test_what_is_left_is_shuffled_and_goes_on_like_any_pairs(data_dir):
    flip(shard_of(data_dir), 100)
    flip(shard_of(data_dir, 2), 3)
    options = {"repeat": True, "seed": 3, "skip_corrupt_records": True}
    whole = images(load_pairs(data_dir, "train", 4, **options).take(12))
    again = images(load_pairs(data_dir, "train", 4, start_step=5, **options).take(7))
    assert again == whole[20:]
    dataset = load_pairs(data_dir, "train", 4, augment=False, **options)
    epochs = images(dataset.take(7))
    assert sum(damage.lost for damage in dataset.damages) == 2
    assert len(set(epochs[:14])) == 14
    assert sorted(epochs[:14]) == sorted(epochs[14:])
    with pytest.raises(InputError, match="has 14 pairs, fewer than one batch of 15"):
        load_pairs(data_dir, "train", 15, **options)


def rewrite(data_dir, change):
    """Replaces record 2 of the middle shard by another that is framed correctly."""
    shard = shard_of(data_dir)
    records = list(tf.data.TFRecordDataset(str(shard)).as_numpy_iterator())
    example = tf.train.Example.FromString(records[2])
    change(example.features.feature)
    records[2] = example.SerializeToString()
    with tf.io.TFRecordWriter(str(shard)) as writer:
        for record in records:
            writer.write(record)
    info = json.loads((data_dir / "pairs.json").read_text())
    info["shards"]["train"][1]["bytes"] = shard.stat().st_size
    (data_dir / "pairs.json").write_text(json.dumps(info))
    return shard, offsets_of(shard)[2]


def set_png(features, key, image):
    features[key].bytes_list.value[:] = [tf.io.encode_png(image).numpy()]


def cut_png(features, key):
    (data,) = features[key].bytes_list.value
    features[key].bytes_list.value[:] = [data[: len(data) // 2]]


NO_PAIRS = {
    "no image": lambda features: features.pop("image"),
    "a number": lambda features: features["image"].int64_list.value.append(1),
    "no PNG": lambda features: features["image"].bytes_list.value.__setitem__(0, b"x"),
    "half a PNG": lambda features: cut_png(features, "image"),
    "half a map": lambda features: cut_png(features, "semantic_map"),
    "another size": lambda features: [
        set_png(features, key, np.zeros((32, 32, 3), np.uint8))
        for key in ("image", "semantic_map")
    ],
}


@pytest.mark.parametrize("change", NO_PAIRS)
def test_whole_records_that_hold_no_pair(sound_dir, data_dir, tmp_path, change):
    shard, offset = rewrite(data_dir, NO_PAIRS[change])
    expected = images(plain(sound_dir))
    del expected[first_pair(data_dir) + 2]
    dataset = plain(data_dir, skip_corrupt_records=True)
    assert images(dataset) == expected
    kept = read_pairs(data_dir, "train", skip_corrupt_records=True)
    assert len(list(kept)) == len(expected)
    ((place, reason),) = dataset.damages[0].places
    assert place == offset
    assert "no pair" in reason
    with pytest.raises(InputError, match=f"{shard}: corrupted record at {offset} byte"):
        list(read_pairs(data_dir, "train"))


def test_nothing_left(data_dir):
    for i in range(len(read_pairs_info(data_dir).shards["train"])):
        shard = shard_of(data_dir, i)
        shard.write_bytes(bytes(shard.stat().st_size))
    with pytest.raises(InputError, match="all records of split 'train' are corrupt"):
        load_pairs(data_dir, "train", 1, skip_corrupt_records=True)


def test_a_missing_shard_is_no_corrupt_record(data_dir):
    shard_of(data_dir).unlink()
    with pytest.raises(InputError, match="is missing"):
        load_pairs(data_dir, "train", 1, skip_corrupt_records=True)


def test_random_damage_costs_what_it_hits(sound_dir, tmp_path):
    rng = np.random.default_rng(0)
    source = shard_of(sound_dir)
    sound = source.read_bytes()
    offsets = offsets_of(source)
    records = [
        sound[start + 12 : end - 4]
        for start, end in zip(offsets, offsets[1:], strict=False)
    ]
    path = tmp_path / "shard"
    shard = corrupt_records.Shard(str(path), len(records), len(sound))
    for _ in range(25):
        data = bytearray(sound)
        start = int(rng.integers(len(data)))
        end = min(len(data), start + int(2 ** rng.uniform(0, 13)))
        stroke = rng.integers(0, 256, end - start, np.uint8).tobytes()
        data[start:end] = stroke
        path.write_bytes(data)
        hit = {
            i
            for i, (a, b) in enumerate(zip(offsets, offsets[1:], strict=False))
            if data[a:b] != sound[a:b]
        }
        (copy,), damages = corrupt_records.without_corrupt_records([shard], tf.identity)
        kept = list(tf.data.TFRecordDataset(copy.path).as_numpy_iterator())
        assert kept == [r for i, r in enumerate(records) if i not in hit]
        assert sum(damage.lost for damage in damages) == len(hit)


# === Training ===


def train(data_dir, model_dir, steps=6, **options):
    return train_gan(
        data_dir,
        model_dir,
        steps=steps,
        batch_size=4,
        base_filters=2,
        checkpoint_every=3,
        log_every=1,
        **options,
    )


def run_program(data_dir, model_dir, *arguments):
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pipelines.train_gan", "--base_filters=2"),
            *(f"--data_dir={data_dir}", f"--model_dir={model_dir}", "--steps=6"),
            *("--batch_size=4", "--checkpoint_every=3", "--log_every=1", *arguments),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout, done.stderr.replace("\r", "\n").strip()


def test_the_program_names_the_place_or_goes_on_past_it(data_dir, tmp_path):
    shard = shard_of(data_dir)
    offset = offsets_of(shard)[1]
    flip(shard, offset + 3)
    status, _, stderr = run_program(data_dir, tmp_path / "run")
    assert status == 1
    assert stderr.splitlines()[-1] == (
        f"error: {shard}: corrupted record at {offset} bytes: its length does not "
        "match the checksum; prepare or copy the pairs again, or train with "
        "skip_corrupt_records"
    )
    status, stdout, stderr = run_program(
        data_dir, tmp_path / "run", "--skip_corrupt_records"
    )
    assert status == 0, stderr
    assert "6 of 6" in stdout
    (line,) = (li for li in stdout.splitlines() if li.startswith("corrupt records"))
    assert line.split()[-1] == "1"
    (line,) = (line for line in stderr.splitlines() if "corrupt" in line)
    assert f"{shard}: 1 lost at {offset} bytes" in line
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert len(record["left_out"]) == 1
    assert record["left_out"][0].startswith(f"{shard.name}: ")  # where it lies, not


@pytest.mark.parametrize("change", [None, "another size"])
def test_training_names_the_place(data_dir, tmp_path, change):
    if change:
        shard, offset = rewrite(data_dir, NO_PAIRS[change])
    else:
        shard = shard_of(data_dir)
        offset = offsets_of(shard)[3]
        flip(shard, offset + 200)
    with pytest.raises(InputError, match=f"{shard}: corrupted record at {offset} byte"):
        train(data_dir, tmp_path / "run")


@pytest.mark.slow
def test_training_past_corrupt_records_resumes_exactly(data_dir, tmp_path):
    flip(shard_of(data_dir), 100)
    options = {"deterministic": True, "skip_corrupt_records": True}
    whole = train(data_dir, tmp_path / "whole", **options)
    stop = iter([False, False, True])
    broken = train(
        data_dir, tmp_path / "broken", stop_requested=lambda: next(stop), **options
    )
    assert broken.step == 3
    broken = train(data_dir, tmp_path / "broken", **options)
    assert broken.first_step == 3
    assert [damage.lost for damage in broken.damages] == [1]
    assert broken.losses == whole.losses
    for name in ("generator", "discriminator"):
        name = f"{name}.weights.h5"
        ours, theirs = (tmp_path / run / name for run in ("whole", "broken"))
        assert weights_of(ours) == weights_of(theirs)


def weights_of(path):
    import h5py

    values = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda name, item: (
                values.__setitem__(name, item[()].tobytes())
                if isinstance(item, h5py.Dataset)
                else None
            )
        )
    assert values
    return values


def test_damaged_pairs_for_samples_and_validation_are_skipped_too(data_dir, tmp_path):
    info = read_pairs_info(data_dir)
    shard = data_dir / info.shards["validation"][0]["file"]
    flip(shard, 200)
    with pytest.raises(InputError, match=f"{shard}: corrupted record at 0 bytes"):
        train(data_dir, tmp_path / "run", sample_every=3)
    result = train(
        data_dir, tmp_path / "run", sample_every=3, skip_corrupt_records=True
    )
    assert result.step == 6
    assert (tmp_path / "run" / "samples" / "step-000006.png").exists()
