"""Preparing pairs from real files and reading them back."""

import collections
import hashlib
import itertools
import json
import os
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from dermgan_tf.errors import InputError, Reject
from dermgan_tf.pairs import batches as record_batches
from dermgan_tf.pairs import pairs, records
from dermgan_tf.pairs.jobs import plain_image_id
from dermgan_tf.pairs.pairs import load_pairs, read_pairs, read_pairs_info
from dermgan_tf.pairs.prepare import prepare_pairs
from dermgan_tf.pairs.sources import AnnotatedPhoto
from dermgan_tf.photos import photo_io
from dermgan_tf.photos.annotations import PhotoAnnotation, split_of_case
from dermgan_tf.photos.semantic_map import Roi, encode_semantic_map
from dermgan_tf.photos.vocabulary import Vocabulary

VOCABULARY = Vocabulary(["melanoma", "eczema", "nevus"])
SIZE = 64
CAMERA = "SecretCamera9000"


def write_photos(folder, count=24):
    """Writes JPEGs of noisy skin on grey with lesions; returns their descriptions."""
    photos = []
    (folder / "ward 7").mkdir(parents=True, exist_ok=True)
    for i in range(count):
        rng = np.random.default_rng(i)
        height, width = (int(n) for n in rng.integers(120, 260, 2))
        image = np.full((height, width, 3), 90, np.float64)
        cv2.circle(image, (width // 2, height // 2), 100, (205, 160, 135), -1)
        rois = []
        for k in range(1 + i % 3):
            y, x = rng.uniform(0.35, 0.6, 2)
            box = (y, x, y + 0.1, x + 0.12)
            rois.append(Roi(box, VOCABULARY.conditions[(i + k) % 3]))
            at = tuple(int(v) for v in ((x + 0.06) * width, (y + 0.05) * height))
            cv2.circle(image, at, 9, (110, 60, 50), -1)
        image = np.clip(image + rng.normal(0, 6, image.shape), 0, 255).astype(np.uint8)
        exif = Image.Exif()
        exif[0x010F] = CAMERA
        exif.get_ifd(0x8825)[1] = "N"  # GPS latitude
        name = f"ward 7/JohnDoe_{i:03}.jpg"
        Image.fromarray(image).save(folder / name, exif=exif, quality=92)
        photos.append(
            AnnotatedPhoto(
                str(folder),
                PhotoAnnotation(
                    name,
                    case_id=f"case{i // 2}",
                    condition=rois[0].condition,
                    fitzpatrick=i % 7,
                    rois=tuple(rois),
                    split=[None, None, "validation", "test"][i // 2 % 4],
                ),
            )
        )
    return photos


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return write_photos(tmp_path_factory.mktemp("hospital"))


@pytest.fixture(scope="module")
def data_dir(photos, tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared") / "pairs"
    prepare_pairs(photos, VOCABULARY, folder, SIZE, crops_per_photo=3, workers=1)
    return folder


def shard_digests(folder):
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.glob("*.tfrecord-*"))
    }


def load(data_dir, count, split="train", batch=5, **kwargs):
    kwargs.setdefault("repeat", split == "train")
    dataset = load_pairs(data_dir, split, batch, **kwargs).take(count)
    return list(dataset.as_numpy_iterator())


def bytes_of(batches, key="image"):
    return [row.tobytes() for batch in batches for row in batch[key]]


# === Preparing ===


@pytest.mark.parametrize("workers", [2, 4])
def test_records_do_not_depend_on_workers_or_order(photos, data_dir, tmp_path, workers):
    prepare_pairs(
        photos[::-1],
        VOCABULARY,
        tmp_path / "pairs",
        SIZE,
        crops_per_photo=3,
        workers=workers,
    )
    assert shard_digests(tmp_path / "pairs") == shard_digests(data_dir)
    for name in ("pairs.json", "sheet_train.png", "features.json"):
        again, first = (f / name for f in (tmp_path / "pairs", data_dir))
        assert again.read_bytes() == first.read_bytes(), name


def test_records_do_not_depend_on_the_process(data_dir):
    """Protocol buffers order their maps anew in each process, unless told not to."""
    for path in data_dir.glob("*.tfrecord-*"):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            example = tf.train.Example.FromString(record)
            assert record == example.SerializeToString(deterministic=True)


def test_another_seed_cuts_other_windows_in_the_same_splits(photos, data_dir, tmp_path):
    info = prepare_pairs(photos, VOCABULARY, tmp_path / "p", SIZE, 3, seed=1, workers=1)
    assert info["fingerprint"] != read_pairs_info(data_dir).fingerprint
    for split in info["crops"]:
        cases = [
            {pair["case_id"] for pair in read_pairs(folder, split)}
            for folder in (tmp_path / "p", data_dir)
        ]
        assert cases[0] == cases[1]


def test_tensorflow_datasets_opens_the_folder(data_dir):
    builder = tfds.builder_from_directory(data_dir)
    info = read_pairs_info(data_dir)
    counts = {name: split.num_examples for name, split in builder.info.splits.items()}
    assert counts == info.counts
    assert sum(counts.values()) == 24 * 3
    dataset = builder.as_dataset(split="train")
    assert len(list(dataset)) == counts["train"]
    assert builder.info.features["condition"].names == list(VOCABULARY)
    assert builder.info.features["image"].shape == (SIZE, SIZE, 3)


def test_pairs_say_what_they_show(photos, data_dir):
    by_name = {photo.name: photo for photo in photos}
    ids = {plain_image_id(photo): photo for photo in photos}
    seen = set()
    for split in pairs.SPLITS:
        for pair in read_pairs(data_dir, split):
            photo = ids[pair["image_id"]]
            seen.add(photo.name)
            assert pair["case_id"] == photo.case_id
            assert pair["fitzpatrick"] == photo.annotation.fitzpatrick
            assert pair["source"] == "real"
            assert pair["condition"] in pair["box_conditions"]
            rois = [
                Roi(box, name)
                for box, name in zip(pair["boxes"], pair["box_conditions"], strict=True)
            ]
            expected = encode_semantic_map(SIZE, pair["fitzpatrick"], rois, VOCABULARY)
            np.testing.assert_array_equal(pair["semantic_map"], expected)
            # The crop is what the window shows of the photo.
            image = photo_io.read_photo(photo.path)
            height, width = image.shape[:2]
            top, left, bottom, right = np.rint(
                pair["window"] * [height, width, height, width]
            ).astype(int)
            assert bottom - top == right - left
            shown = cv2.resize(image[top:bottom, left:right], (SIZE, SIZE))
            assert np.abs(shown.astype(int) - pair["image"]).mean() < 8
    assert seen == set(by_name)


def test_no_case_stands_in_two_splits(photos, data_dir):
    cases = {
        split: {pair["case_id"] for pair in read_pairs(data_dir, split)}
        for split in pairs.SPLITS
    }
    for one, other in itertools.combinations(cases.values(), 2):
        assert not one & other
    for photo in photos:
        split = photo.annotation.split or split_of_case(photo.case_id)
        assert photo.case_id in cases[split]


def test_nothing_of_the_patient_but_the_pixels(photos, data_dir):
    for path in data_dir.rglob("*"):
        data = path.read_bytes()
        for trace in (CAMERA, "Exif", "JohnDoe", "ward 7", "GPS", photos[0].folder):
            assert trace.encode() not in data, (path.name, trace)


def test_photos_without_roi_are_left_out_and_not_bad(photos, tmp_path):
    bare = PhotoAnnotation("ward 7/JohnDoe_000.jpg", "case99", "nevus")
    listed = [*photos[:4], AnnotatedPhoto(photos[0].folder, bare)]
    info = prepare_pairs(listed, VOCABULARY, tmp_path / "p", SIZE, 2, workers=1)
    assert info["photos_without_roi"] == 1
    assert info["rejected"] == 0
    assert sum(info["crops"].values()) == 8
    with pytest.raises(InputError, match="has a ROI"):
        prepare_pairs(listed[-1:], VOCABULARY, tmp_path / "q", SIZE, workers=1)
    assert not (tmp_path / "q").exists()


@pytest.fixture(scope="module")
def damaged(photos, tmp_path_factory):
    """The photos' folder again, with bad files; returns (all photos, reasons)."""
    folder = tmp_path_factory.mktemp("damaged") / "photos"
    shutil.copytree(photos[0].folder, folder)
    image = photo_io.read_photo(photos[0].path)
    whole = (folder / photos[0].name).read_bytes()
    files = {
        "empty.jpg": (b"", "empty"),
        "truncated.jpg": (whole[: len(whole) // 2], "truncated"),
        "page.jpg": (b"<!DOCTYPE html><html>404</html>", "HTML"),
        "pixel.png": (photo_io.encode_png(image[:1, :1]), "1"),
        "painted.png": (photo_io.encode_png(image, {"synthetic": "true"}), "synthetic"),
        "missing.jpg": (None, "not exist"),
        "stranger.png": (photo_io.encode_png(image), "wart"),
    }
    listed = [AnnotatedPhoto(str(folder), photo.annotation) for photo in photos]
    for number, (name, (data, _)) in enumerate(files.items()):
        if data is not None:
            (folder / name).write_bytes(data)
        condition = "wart" if name == "stranger.png" else "nevus"
        annotation = PhotoAnnotation(
            name, f"bad{number}", condition, 2, (Roi((0.4, 0.4, 0.5, 0.5), "nevus"),)
        )
        listed.insert(3 * number, AnnotatedPhoto(str(folder), annotation))
    return listed, {name: reason for name, (_, reason) in files.items()}


def test_bad_photos_are_listed_and_good_ones_unharmed(damaged, data_dir, tmp_path):
    listed, reasons = damaged
    info = prepare_pairs(
        listed,
        VOCABULARY,
        tmp_path / "pairs",
        SIZE,
        crops_per_photo=3,
        workers=2,
        max_reject_fraction=0.3,
        rejects=[Reject("annotations.jsonl:7", "is not JSON")],
    )
    assert info["rejected"] == len(reasons) + 1
    assert shard_digests(tmp_path / "pairs") == shard_digests(data_dir)
    lines = (tmp_path / "pairs" / "rejects.csv").read_text().splitlines()
    assert lines[1] == "annotations.jsonl:7,is not JSON"
    for name, reason in reasons.items():
        (line,) = [line for line in lines if line.startswith(f"{name},")]
        assert reason in line
        assert listed[0].folder not in line


def test_too_many_bad_photos_end_the_run_without_a_folder(damaged, tmp_path):
    with pytest.raises(InputError, match="7 of 31 items .* are bad"):
        prepare_pairs(damaged[0], VOCABULARY, tmp_path / "p", SIZE, 1, workers=1)
    assert list(tmp_path.iterdir()) == []


def test_a_photo_listed_twice_is_taken_once(photos, tmp_path):
    listed = [*photos[:6], photos[2]]
    info = prepare_pairs(
        listed, VOCABULARY, tmp_path / "p", SIZE, 1, workers=1, max_reject_fraction=0.5
    )
    assert info["rejected"] == 1
    assert sum(info["crops"].values()) == 6


def test_a_case_in_two_splits_is_an_error(photos, tmp_path):
    listed = [
        AnnotatedPhoto("x", PhotoAnnotation(f"{split}.jpg", "c1", "nevus", split=split))
        for split in ("train", "test")
    ]
    with pytest.raises(InputError, match="case 'c1' .* two splits"):
        prepare_pairs(listed, VOCABULARY, tmp_path / "p", SIZE, workers=1)


def test_an_output_folder_is_replaced_only_when_asked(photos, tmp_path):
    folder = tmp_path / "pairs"
    folder.mkdir()
    (folder / "precious.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        prepare_pairs(photos[:4], VOCABULARY, folder, SIZE, 1, workers=1)
    assert (folder / "precious.txt").exists()
    prepare_pairs(photos[:4], VOCABULARY, folder, SIZE, 1, workers=1, overwrite=True)
    assert not (folder / "precious.txt").exists()
    assert read_pairs_info(folder).vocabulary == VOCABULARY


def test_our_windows_show_more_skin_than_random_ones(photos, tmp_path):
    info = prepare_pairs(photos, VOCABULARY, tmp_path / "p", SIZE, 3, workers=1)
    shares = info["skin_share"]["skin_mask"]
    assert shares["photos"] == 24
    assert shares["ours"] > shares["random"]
    low, high = shares["difference_95"]
    assert low < shares["ours"] - shares["random"] < high


def test_workers_load_neither_tensorflow_nor_keras():
    heavy = "{'tensorflow', 'keras', 'tensorflow_datasets', 'matplotlib'}"
    code = (
        "import sys, dermgan_tf.pairs.prepare;"
        f"print(sorted({heavy} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


# === Loading ===


def test_batches_are_scaled_pairs(data_dir):
    raw = list(read_pairs(data_dir, "validation"))
    assert len(load_pairs(data_dir, "validation", 4)) == -(-len(raw) // 4)
    loaded = load(data_dir, -1, "validation", batch=4)
    assert sum(len(batch["image"]) for batch in loaded) == len(raw)
    assert len(loaded[-1]["image"]) == len(raw) % 4 or len(raw) % 4 == 0
    for key in ("image", "semantic_map"):
        values = np.concatenate([batch[key] for batch in loaded])
        assert values.dtype == np.float32
        assert values.min() >= -1 and values.max() <= 1
        expected = np.stack([pair[key] for pair in raw]).astype(np.float32)
        np.testing.assert_allclose(values, expected / 127.5 - 1, atol=1e-6)
        back = np.clip(np.rint((values + 1) * 127.5), 0, 255).astype(np.uint8)
        np.testing.assert_array_equal(back, expected)


def test_every_epoch_shows_every_pair_once_in_another_order(data_dir):
    count = read_pairs_info(data_dir).counts["train"]
    batches = load(data_dir, 3 * count // 3, batch=3, augment=False)
    rows = bytes_of(batches)
    epochs = [rows[i * count : (i + 1) * count] for i in range(3)]
    assert len(set(epochs[0])) == count
    for epoch in epochs[1:]:
        assert sorted(epoch) == sorted(epochs[0])
        assert epoch != epochs[0]
    other = bytes_of(load(data_dir, count // 3, batch=3, augment=False, seed=1))
    assert sorted(other) == sorted(epochs[0]) and other != epochs[0]


def test_an_iteration_is_an_epoch_and_each_is_another(data_dir):
    count = read_pairs_info(data_dir).counts["train"]
    dataset = load_pairs(data_dir, "train", 5, augment=False)
    assert len(dataset) == -(-count // 5)
    epochs = [bytes_of(dataset.as_numpy_iterator()) for _ in range(3)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(epochs[2])
    assert len(epochs[0]) == count and len({tuple(epoch) for epoch in epochs}) == 3
    turned = load_pairs(data_dir, "train", 5)
    first, second = (bytes_of(turned.as_numpy_iterator()) for _ in range(2))
    assert sorted(first) != sorted(second)  # other flips and rotations
    again = load_pairs(data_dir, "train", 5)
    assert bytes_of(again.as_numpy_iterator()) == first


@pytest.mark.parametrize("balance", [0.5, 1.0])
def test_balance_brings_rare_pairs_more_often(data_dir, balance):
    pairs = list(read_pairs(data_dir, "train"))
    conditions, types = (
        collections.Counter(pair[key] for pair in pairs)
        for key in ("condition", "fitzpatrick")
    )
    weights = np.array(
        [
            (conditions[pair["condition"]] * types[pair["fitzpatrick"]]) ** -balance
            for pair in pairs
        ]
    )
    expected = len(pairs) * weights / weights.sum()
    assert expected.max() > 1.2 > 0.9 > expected.min()  # or it would test nothing
    epochs = 10
    options = {"shuffle": True, "augment": False, "seed": 3, "balance": balance}
    batches = load(data_dir, epochs * len(pairs), batch=1, **options)
    drawn = [row.tobytes() for batch in batches for row in batch["image"]]
    key = [(pair["image"] / np.float32(127.5) - 1).tobytes() for pair in pairs]
    for start in range(0, len(drawn), len(pairs)):
        epoch = collections.Counter(drawn[start : start + len(pairs)])
        counts = np.array([epoch[k] for k in key])
        assert counts.sum() == len(pairs)
        assert np.abs(counts - expected).max() < 1  # rounded up or down, no more
    means = np.array([drawn.count(k) for k in key]) / epochs
    np.testing.assert_allclose(means, expected, atol=4 * 0.5 / epochs**0.5)
    assert drawn[: len(pairs)] != drawn[len(pairs) : 2 * len(pairs)]


def test_balance_zero_is_the_plain_order_and_needs_shuffling(data_dir):
    plain = bytes_of(load(data_dir, 6))
    assert bytes_of(load(data_dir, 6, balance=0.0)) == plain
    assert bytes_of(load(data_dir, 6, balance=1.0)) != plain
    for wrong in ({"balance": 1.1}, {"balance": 0.5, "shuffle": False}):
        with pytest.raises(InputError, match="only where pairs are shuffled"):
            load_pairs(data_dir, "train", 4, **wrong)


@pytest.mark.parametrize("shuffle, balance", [(True, 0.0), (False, 0.0), (True, 0.75)])
def test_a_run_goes_on_exactly_where_it_stopped(data_dir, shuffle, balance):
    count = read_pairs_info(data_dir).counts["train"]
    steps = 2 * count // 5 + 3  # well into the third epoch
    options = {"seed": 7, "shuffle": shuffle, "balance": balance}
    whole = load(data_dir, steps, **options)
    tf.random.set_seed(1234)  # the program's own randomness must not matter
    for start in (1, count // 5, count // 5 + 1, steps - 2):
        rest = load(data_dir, steps - start, start_step=start, **options)
        assert len(rest) == steps - start
        for a, b in zip(whole[start:], rest, strict=True):
            np.testing.assert_array_equal(a["image"], b["image"])
            np.testing.assert_array_equal(a["semantic_map"], b["semantic_map"])


def test_evaluation_can_start_later_too(data_dir):
    whole = load(data_dir, -1, "test", batch=4)
    rest = load(data_dir, -1, "test", batch=4, start_step=1)
    assert bytes_of(whole[1:]) == bytes_of(rest)


def test_image_and_map_are_turned_alike(data_dir):
    symmetries = {}
    for pair in read_pairs(data_dir, "train"):
        both = np.concatenate([pair["semantic_map"], pair["image"]], axis=-1)
        for turns, flip in itertools.product(range(4), (False, True)):
            turned = np.rot90(both, turns)
            turned = turned[:, ::-1] if flip else turned
            symmetries[turned.tobytes()] = turns, flip
    count = read_pairs_info(data_dir).counts["train"]
    seen = []
    for batch in load(data_dir, 3 * count // 5):
        both = np.concatenate([batch["semantic_map"], batch["image"]], axis=-1)
        both = np.rint((both + 1) * 127.5).astype(np.uint8)
        seen += [symmetries[row.tobytes()] for row in both]
    shares = [seen.count(symmetry) / len(seen) for symmetry in set(seen)]
    assert len(shares) == 8
    assert min(shares) > 0.04


def test_many_shards_and_small_shuffle_windows(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(records, "SHARD_BYTES", 25_000)
    monkeypatch.setattr(record_batches, "SHUFFLE_BYTES", 100_000)
    folder = tmp_path / "pairs"
    info = prepare_pairs(photos, VOCABULARY, folder, SIZE, 3, workers=1)
    count = info["crops"]["train"]
    assert len(info["shards"]["train"]) > 4
    assert sum(shard["pairs"] for shard in info["shards"]["train"]) == count
    assert tfds.builder_from_directory(folder).info.splits["train"].num_shards > 4
    whole = load(folder, count, batch=2, augment=False)
    rows = bytes_of(whole)
    assert len(set(rows[:count])) == count
    assert sorted(rows[:count]) == sorted(rows[count:])
    rest = load(folder, count // 2, batch=2, augment=False, start_step=count // 2)
    assert bytes_of(rest) == bytes_of(whole[count // 2 :])
    in_order = [pair["image"].tobytes() for pair in read_pairs(folder, "train")]
    assert len(set(in_order)) == count


def test_strategies_distribute_the_pairs(data_dir):
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    dataset = load_pairs(data_dir, "train", 4, seed=5, repeat=True)
    distributed = iter(strategy.experimental_distribute_dataset(dataset))
    for expected in load(data_dir, 3, batch=4, seed=5):
        np.testing.assert_array_equal(next(distributed)["image"], expected["image"])


def test_wrong_folders_splits_and_sizes_are_named(data_dir, tmp_path):
    with pytest.raises(InputError, match="not a folder of pairs"):
        load_pairs(tmp_path, "train", 4)
    with pytest.raises(InputError, match="not a folder of pairs"):
        load_pairs(tmp_path / "nowhere", "train", 4)
    with pytest.raises(InputError, match="no split 'valid'; it has: train, "):
        load_pairs(data_dir, "valid", 4)
    count = read_pairs_info(data_dir).counts["train"]
    with pytest.raises(InputError, match=f"{count} pairs, fewer than one batch of 999"):
        load_pairs(data_dir, "train", 999, repeat=True)
    with pytest.raises(InputError, match="batch size 0"):
        load_pairs(data_dir, "train", 0)
    with pytest.raises(InputError, match="no split 'nope'"):
        next(read_pairs(data_dir, "nope"))


def test_damaged_folders_are_named(data_dir, tmp_path):
    folder = tmp_path / "pairs"
    shutil.copytree(data_dir, folder)
    (shard,) = folder.glob("pairs-test.tfrecord-*")
    os.truncate(shard, shard.stat().st_size - 5)
    with pytest.raises(InputError, match="pairs-test.tfrecord.* bytes"):
        load_pairs(folder, "test", 2)
    shard.unlink()
    with pytest.raises(InputError, match="pairs-test.tfrecord.* is missing"):
        load_pairs(folder, "test", 2)
    shutil.copy(data_dir / shard.name, shard)
    with open(shard, "r+b") as file:
        file.seek(300)
        file.write(b"damage")
    with pytest.raises(InputError, match=f"{shard.name}: corrupted record at 0 b"):
        list(read_pairs(folder, "test"))
    info = json.loads((folder / "pairs.json").read_text())
    for damage in ("{", "[]", json.dumps({**info, "vocabulary": ["a", "a"]})):
        (folder / "pairs.json").write_text(damage)
        with pytest.raises(InputError):
            read_pairs_info(folder)
    (folder / "pairs.json").write_text(json.dumps({**info, "format_version": 99}))
    with pytest.raises(InputError, match="format 99"):
        read_pairs_info(folder)


@pytest.mark.parametrize(
    "wrong", [{"image_size": 100}, {"crops_per_photo": 0}, {"seed": -1}, {"workers": 0}]
)
def test_wrong_arguments_are_named(photos, tmp_path, wrong):
    with pytest.raises(InputError, match=str(next(iter(wrong.values())))):
        prepare_pairs(photos, VOCABULARY, tmp_path / "p", **{"image_size": 64, **wrong})
