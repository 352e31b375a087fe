"""Labelled photographs from every source; what is refused, and where pixels lie."""

import hashlib
import json
import os
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from dermgan_tf.classifier.labelled_reading import labelled_crops, read_labelled_splits
from dermgan_tf.errors import InputError
from dermgan_tf.pairs.prepare import prepare_pairs
from dermgan_tf.pairs.sources import LoadedPhoto
from dermgan_tf.photos.annotations import (
    PhotoAnnotation,
    split_of_case,
    write_annotations,
)
from dermgan_tf.photos.anonymous_ids import anonymous_case_id, anonymous_image_id
from dermgan_tf.photos.photo_io import encode_jpeg, encode_png
from dermgan_tf.photos.semantic_map import Roi
from dermgan_tf.photos.vocabulary import Vocabulary
from tests.helpers.crashing_decoder import crashing_decoder
from tests.helpers.numbered_pictures import picture, png

CONDITIONS = ("eczema", "melanoma")
SYNTHETIC = {"synthetic": "true"}


def write_photo(path, number=0, **size):
    path.parent.mkdir(parents=True, exist_ok=True)
    png = path.suffix == ".png"
    encode = encode_png if png else encode_jpeg
    path.write_bytes(encode(picture(number, **size)))


def cases_of(split, count):
    """Names of cases that the hash puts into a split."""
    names = (f"case{i}" for i in range(10_000))
    return [name for name in names if split_of_case(name) == split][:count]


def annotated(folder, count=8, **changes):
    """Photos 0.png … of two conditions: the last two validation and test."""
    annotations = []
    for i in range(count):
        write_photo(folder / "photos" / f"{i}.png", i)
        fields = {
            "image": f"photos/{i}.png",
            "case_id": f"c{i}",
            "condition": CONDITIONS[i % 2],
            "fitzpatrick": i % 7,
            "split": {count - 2: "validation", count - 1: "test"}.get(i, "train"),
        }
        annotations.append(PhotoAnnotation(**(fields | changes.get(f"c{i}", {}))))
    path = folder / "annotations.jsonl"
    write_annotations(path, annotations)
    return path


# --- Annotations ---


def test_annotations_give_whole_photos_with_all_that_is_known(tmp_path):
    roi = Roi((0.2, 0.2, 0.4, 0.4), "melanoma")  # photo 0 is eczema; the others no ROI
    path = annotated(tmp_path, c0={"rois": (roi,)})
    splits, rejects = read_labelled_splits(path, 16)
    assert rejects == []
    assert {name: len(split) for name, split in splits.items()} == {
        "train": 6,
        "validation": 1,
        "test": 1,
    }
    train = splits["train"]
    assert train.images.shape == (6, 16, 16, 3) and train.images.dtype == np.uint8
    assert train.conditions == splits["test"].conditions == CONDITIONS
    assert train.labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert train.cases.tolist() == [f"c{i}" for i in range(6)]
    assert train.image_ids.tolist() == [f"{i}.png" for i in range(6)]
    assert train.skin_types.tolist() == [0, 1, 2, 3, 4, 5]
    # 48 × 64 to 16 × 16: means of 3 × 4 pixels, whatever the aspect becomes.
    means = picture(2).reshape(16, 3, 16, 4, 3).mean(axis=(1, 3))
    assert abs(train.images[2] - means).max() <= 0.51


@pytest.mark.parametrize(("height", "width"), [(20, 24), (64, 20), (20, 64), (32, 32)])
def test_sides_that_grow_are_linear_and_those_that_shrink_averaged(
    tmp_path, height, width
):
    for i in range(2):
        write_photo(
            tmp_path / "train" / CONDITIONS[i] / f"{i}.png",
            i,
            height=height,
            width=width,
        )
    splits, _ = read_labelled_splits(tmp_path, 32)
    expected = picture(0, height, width).astype(np.float32)
    if height > 32:
        expected = expected.reshape(32, 2, width, 3).mean(axis=1)
    if width > 32:
        expected = expected.reshape(len(expected), 32, 2, 3).mean(axis=2)
    expected = tf.image.resize(expected, (32, 32), method="bilinear").numpy()
    first = next(split for split in splits.values() if "0.png" in split.image_ids)
    row = first.image_ids.tolist().index("0.png")
    assert abs(first.images[row] - expected).max() <= 1.5


def test_ids_tell_no_folder(tmp_path):
    for i, name in enumerate(("Roe, Jane/1.png", "Doe/1.png", "Doe/2.png")):
        write_photo(tmp_path / name, i)
    path = annotated(
        tmp_path,
        c0={"image": "Roe, Jane/1.png"},
        c1={"image": "Doe/1.png"},
        c2={"image": "Doe/2.png"},
    )
    (tmp_path / "photos/3.png").write_bytes(b"")
    splits, rejects = read_labelled_splits(path, 16, max_reject_fraction=0.2)
    assert [reject.item for reject in rejects] == ["photos/3.png"]  # for the owner
    hashes = [
        hashlib.sha256(name.encode()).hexdigest()[:8]
        for name in ("Roe, Jane/1.png", "Doe/1.png")
    ]
    assert splits["train"].image_ids.tolist() == [
        *(f"1.png~{digest}" for digest in hashes),
        *("2.png", "4.png", "5.png"),
    ]


def test_ids_under_a_salt_leave_the_splits_as_they_are(tmp_path):
    names = [one for s in ("train", "validation", "test") for one in cases_of(s, 2)]
    changes = {f"c{i}": {"case_id": n, "split": None} for i, n in enumerate(names)}
    path, salt = annotated(tmp_path, 6, **changes), b"0123456789abcdef"
    plain, _ = read_labelled_splits(path, 16)
    hashed, _ = read_labelled_splits(path, 16, id_salt=salt)
    for name, split in plain.items():
        np.testing.assert_array_equal(split.images, hashed[name].images)
        assert hashed[name].cases.tolist() == [
            anonymous_case_id(case, salt) for case in split.cases
        ]
        assert hashed[name].image_ids.tolist() == [
            anonymous_image_id(case, f"photos/{image}", salt)
            for case, image in zip(split.cases, split.image_ids, strict=True)
        ]
        assert hashed[name].fingerprint != split.fingerprint
    pairs = tmp_path / "pairs"
    pairs.mkdir()
    info = {"format_version": 1, "vocabulary": CONDITIONS, "image_size": 64}
    info |= {"crops": {}, "fingerprint": "f", "source": "real", "shards": {}}
    (pairs / "pairs.json").write_text(json.dumps({**info, "anonymized_ids": True}))
    with pytest.raises(InputError, match="anonymized already; leave out --anonym"):
        read_labelled_splits(pairs, 16, id_salt=salt)


def test_names_that_cannot_be_printed_are_told_in_one_line(tmp_path):
    folder = class_folders(tmp_path / "classes", train=4, val=2, test=2)
    write_photo(folder / "train/ecz\nema/9.jpg", 9)
    write_photo(folder / os.fsdecode(b"val/na\xefve/8.jpg"), 8)
    write_photo(folder / "train/eczema/two\nlines.jpg", 7)
    write_photo(folder / "train/eczema" / os.fsdecode(b"caf\xe9.jpg"), 6)
    (folder / "test/eczema/bell\a.jpg").write_bytes(b"")
    splits, rejects = read_labelled_splits(folder, 16, max_reject_fraction=0.2)
    assert sum(map(len, splits.values())) == 18
    assert splits["train"].conditions == CONDITIONS
    assert {reject.item: reject.reason for reject in rejects} == {
        r"train/ecz\nema/9.jpg": "lies in a folder whose name cannot be printed",
        r"val/na\udcefve/8.jpg": "lies in a folder whose name cannot be printed",
        r"test/eczema/bell\x07.jpg": "is empty",
    }
    ids = {*splits["train"].image_ids} - {f"p{i}.jpg" for i in range(100)}
    assert ids == {r"two\nlines.jpg", r"caf\udce9.jpg"}
    assert {r"two\nlines", r"caf\udce9"} < {*splits["train"].cases}
    with pytest.raises(InputError, match=r"3 of 21 .*bad.*ecz\\nema") as error:
        read_labelled_splits(folder, 16, max_reject_fraction=0.0)
    assert str(error.value).isprintable()


def test_splits_without_a_name_go_by_the_hash_of_the_case(tmp_path):
    names = [one for s in ("train", "validation", "test") for one in cases_of(s, 2)]
    changes = {f"c{i}": {"case_id": n, "split": None} for i, n in enumerate(names)}
    path = annotated(tmp_path, 6, **changes)
    splits, _ = read_labelled_splits(path, 16)
    for name, split in splits.items():
        assert split.cases.tolist() == cases_of(name, 2)


def test_photos_of_any_make_are_read_upright_and_bad_ones_listed(tmp_path):
    path = annotated(tmp_path, 20)
    photos = tmp_path / "photos"
    upright = Image.fromarray(picture(0))
    turned = upright.transpose(Image.Transpose.ROTATE_90)  # EXIF 6 turns it back
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(photos / "0.png", exif=exif)
    grey16 = (picture(1)[..., 0].astype(np.uint16)) * 257
    Image.fromarray(grey16).save(photos / "1.png")
    # Names say nothing of the format.
    upright.convert("CMYK").save(photos / "2.png", format="JPEG", quality=95)
    data = (photos / "3.png").read_bytes()
    (photos / "3.png").write_bytes(data[: len(data) // 2])
    (photos / "4.png").write_text("<!DOCTYPE html><p>Not found")
    (photos / "5.png").unlink()
    with pytest.raises(InputError, match=r"3 of 20 .*max_reject_fraction=0.1"):
        read_labelled_splits(path, 16)
    splits, rejects = read_labelled_splits(path, 16, max_reject_fraction=0.15)
    assert [reject.item for reject in rejects] == [f"photos/{i}.png" for i in (3, 4, 5)]
    reasons = [reject.reason for reject in rejects]
    assert "ends too early" in reasons[0] and "HTML" in reasons[1]
    assert reasons[2] == "does not exist"
    train = splits["train"]
    assert train.cases.tolist() == ["c0", "c1", "c2"] + [f"c{i}" for i in range(6, 18)]
    by_area = (picture(0), np.repeat(picture(1)[..., :1], 3, axis=-1), picture(0))
    for row, (image, tolerance) in enumerate(zip(by_area, (1, 1, 12), strict=True)):
        means = image.reshape(16, 3, 16, 4, 3).mean(axis=(1, 3))
        assert abs(train.images[row] - means).mean() <= tolerance


def test_bad_lines_count_as_bad_photos(tmp_path):
    path = annotated(tmp_path)
    with open(path, "a") as file:
        file.write("{\n")
    with pytest.raises(InputError, match="1 of 9 items"):
        read_labelled_splits(path, 16)
    _, rejects = read_labelled_splits(path, 16, max_reject_fraction=0.2)
    assert [reject.item for reject in rejects] == ["annotations.jsonl:9"]


# --- Where pixels lie, and what they depend on ---


def test_pixels_are_mapped_from_a_file_without_a_name(tmp_path):
    path = annotated(tmp_path / "data")
    cache = tmp_path / "cache"
    cache.mkdir()
    splits, _ = read_labelled_splits(path, 16, cache_dir=cache)
    train = splits["train"]
    assert isinstance(train.images, np.memmap) and not train.images.flags.writeable
    assert os.listdir(cache) == []
    if sys.platform == "linux":
        with open("/proc/self/maps") as maps:
            assert sum(str(cache) in line for line in maps) == 3  # one a split
    # A run of neighbours shares the map; others are copied into a map of their own.
    assert np.shares_memory(train.take([2, 3, 4]).images, train.images)
    some = train.take([4, 0, 5], cache)
    assert isinstance(some.images, np.memmap) and os.listdir(cache) == []
    np.testing.assert_array_equal(some.images, np.asarray(train.images)[[4, 0, 5]])
    assert some.image_ids.tolist() == [f"{i}.png" for i in (4, 0, 5)]
    assert some.labels.tolist() == [0, 0, 1] and some.skin_types.tolist() == [4, 0, 5]
    assert len(train.take(train.labels == 1)) == 3
    assert len(train.take([])) == 0
    with pytest.raises(InputError, match=r"cannot keep pixels in .*--cache_dir"):
        read_labelled_splits(path, 16, cache_dir=tmp_path / "none")


def test_order_and_fingerprint_do_not_depend_on_threads_but_on_the_data(tmp_path):
    path = annotated(tmp_path, 20)
    one, _ = read_labelled_splits(path, 16, threads=1)
    many, _ = read_labelled_splits(path, 16, threads=7)
    for name, split in one.items():
        assert split.fingerprint == many[name].fingerprint and split.fingerprint
        assert split.image_ids.tolist() == many[name].image_ids.tolist()
        np.testing.assert_array_equal(split.images, many[name].images)
    train = one["train"]
    assert train.take(np.arange(18)).fingerprint == train.fingerprint
    assert train.take(np.arange(18)[::-1]).fingerprint != train.fingerprint
    assert (
        train.take([3, 4]).fingerprint == train.take([0, 3, 4]).take([1, 2]).fingerprint
    )
    prints = {train.fingerprint}
    for change in ({"case_id": "x"}, {"condition": "melanoma"}, {"fitzpatrick": 6}):
        changed, _ = read_labelled_splits(annotated(tmp_path, 20, c0=change), 16)
        prints.add(changed["train"].fingerprint)
    write_photo(annotated(tmp_path, 20).parent / "photos" / "0.png", 90)
    prints.add(read_labelled_splits(path, 16)[0]["train"].fingerprint)
    assert len(prints) == 5


def test_progress_is_told_of_every_photo(tmp_path):
    seen = []

    def progress(iterable, total, desc):
        for item in iterable:
            seen.append((total, desc))
            yield item

    read_labelled_splits(annotated(tmp_path), 16, progress=progress)
    assert seen == [(8, "reading photos")] * 8


# --- Folders of classes ---


def class_folders(folder, **counts):
    """So many photos a class in each split; their numbers go on through all."""
    number = 0
    for split, count in counts.items():
        for condition in CONDITIONS:
            for _ in range(count):
                write_photo(folder / split / condition / f"p{number}.jpg", number)
                number += 1
    return folder


def test_folders_of_splits_and_classes(tmp_path):
    class_folders(tmp_path, train=2, val=1, test=1)
    (tmp_path / "train" / "eczema" / "notes.txt").write_text("no photo")
    (tmp_path / ".cache").mkdir()
    splits, rejects = read_labelled_splits(tmp_path, 16)
    assert rejects == [] and list(splits) == ["train", "validation", "test"]
    assert splits["train"].cases.tolist() == ["p0", "p1", "p2", "p3"]
    assert splits["train"].labels.tolist() == [0, 0, 1, 1]
    assert splits["validation"].image_ids[0] == "p4.jpg"
    assert splits["test"].skin_types.tolist() == [0, 0]


def test_a_decoder_that_crashes_costs_one_photo(tmp_path, monkeypatch):
    folder = class_folders(tmp_path / "classes", train=2, val=1, test=1)
    good, _ = read_labelled_splits(folder, 16, threads=2)
    write_photo(folder / "train" / "eczema" / "crash-segfault.jpg")
    write_photo(folder / "test" / "eczema" / "empty.jpg")
    (folder / "test" / "eczema" / "empty.jpg").write_bytes(b"")
    monkeypatch.setenv("PYTHONPATH", crashing_decoder(tmp_path / "hook"))
    splits, rejects = read_labelled_splits(
        folder, 16, threads=2, max_reject_fraction=0.2, crash_safe=True
    )
    assert {reject.item: reject.reason for reject in rejects} == {
        "train/eczema/crash-segfault.jpg": "the decoder crashed (signal 11, SIGSEGV)",
        "test/eczema/empty.jpg": "is empty",
    }
    for name, split in splits.items():
        assert split.fingerprint == good[name].fingerprint
        assert split.cases.tolist() == good[name].cases.tolist()
    write_photo(folder / "test" / "eczema" / "painted.png")
    painted = encode_png(picture(0), SYNTHETIC)
    (folder / "test" / "eczema" / "painted.png").write_bytes(painted)
    with pytest.raises(InputError, match="painted.png .* is a synthetic image"):
        read_labelled_splits(folder, 16, max_reject_fraction=1, crash_safe=True)


def test_classes_without_splits_and_missing_splits_go_by_hash(tmp_path):
    names = {s: cases_of(s, 2) for s in ("train", "validation", "test")}
    for split_names in names.values():
        for condition, name in zip(CONDITIONS, split_names, strict=True):
            write_photo(tmp_path / "flat" / condition / f"{name}.png")
            write_photo(tmp_path / "named" / "train" / condition / f"{name}.png")
            write_photo(tmp_path / "named" / "test" / condition / f"x{name}.png")
    write_photo(tmp_path / "flat" / "loose.png")
    flat, rejects = read_labelled_splits(tmp_path / "flat", 16, max_reject_fraction=0.2)
    for name, split in flat.items():
        assert sorted(split.cases) == sorted(names[name])
    assert [r.reason for r in rejects] == ["lies in no class folder"]
    named, _ = read_labelled_splits(tmp_path / "named", 16)
    # A test split there is; only validation is cut off train.
    assert sorted(named["validation"].cases) == sorted(names["validation"])
    assert sorted(named["train"].cases) == sorted(names["train"] + names["test"])
    assert all(case.startswith("x") for case in named["test"].cases)


def test_a_pattern_finds_the_case_in_the_name_or_in_the_path(tmp_path):
    for i, condition in enumerate(CONDITIONS):
        for k in range(2):
            write_photo(tmp_path / "train" / condition / f"a{i}_{k}.png", i)
        write_photo(tmp_path / "test" / condition / f"b{i}_0.png", i)

    def found(pattern):
        splits, rejects = read_labelled_splits(
            tmp_path, 16, case_pattern=pattern, max_reject_fraction=0.5
        )
        return {c for split in splits.values() for c in split.cases.tolist()}, rejects

    assert found(r"^(\w\d)_") == ({"a0", "a1", "b0", "b1"}, [])
    assert found(r"(_)?(?P<case>[ab]\d)")[0] == {"a0", "a1", "b0", "b1"}
    assert found(r"^\w+/\w+/\w\d")[0] == {
        f"{place}{i}"
        for i, c in enumerate(CONDITIONS)
        for place in (f"train/{c}/a", f"test/{c}/b")
    }
    cases, rejects = found(r"a\d")
    assert cases == {"a0", "a1"} and len(rejects) == 2
    assert "no case in its name" in rejects[0].reason
    with pytest.raises(InputError, match="is no regular expression"):
        found("(")
    with pytest.raises(InputError, match="leave out the case pattern"):
        read_labelled_splits(annotated(tmp_path / "a"), 16, case_pattern="x")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "no class folders"),
        (["train/a/1.png", "other/a/1.png"], "'other' beside those of splits"),
        (["val/a/1.png", "validation/a/2.png"], "two folders for validation"),
        (["test/a/1.png"], "has no folder train"),
        (["a/b/c/1.png"], "lies inside a class folder"),
        (["a/1.png"], "2 conditions or more apart, got a"),
        (["a/1.txt", "b/2.txt"], "no photos in the class folders"),
        (["annotations.jsonl"], "give .*annotations.jsonl instead"),
    ],
)
def test_folders_of_another_form_say_what_is_wrong(tmp_path, files, message):
    for i, name in enumerate(files):
        write_photo(tmp_path / name, i)
    with pytest.raises(InputError, match=message):
        read_labelled_splits(tmp_path, 16)


def test_one_name_is_one_case_only_where_the_files_are_the_same(tmp_path):
    for i, place in enumerate(("train/eczema", "train/melanoma", "test/eczema")):
        write_photo(tmp_path / place / "1.png", i)
    splits, _ = read_labelled_splits(tmp_path, 16)
    cases = {case for split in splits.values() for case in split.cases.tolist()}
    assert cases == {"train/eczema/1", "train/melanoma/1", "test/eczema/1"}
    write_photo(tmp_path / "test/melanoma/1.png", 0)  # that of train/eczema
    with pytest.raises(InputError, match="'test/melanoma/1' is in two splits"):
        read_labelled_splits(tmp_path, 16)


# --- Pairs ---


class Drawn:
    """A photo for `prepare_pairs` that needs no file."""

    def __init__(self, number, split, source="real"):
        self.name, self.case_id = f"p{number}", f"c{number}"
        self.condition, self.split, self.source = CONDITIONS[number % 2], split, source
        self.number = number

    def load(self):
        roi = Roi((0.3, 0.3, 0.6, 0.6), self.condition)
        photo = picture(self.number, 80, 96)
        return LoadedPhoto(photo, [roi], self.condition, self.number % 7)


def make_pairs(folder, splits, sources=None):
    """Pairs of 64 pixels, two a photo; the vocabulary has a condition too many."""
    photos = [
        Drawn(i, split, (sources or {}).get(i, "real"))
        for i, split in enumerate(splits)
    ]
    vocabulary = Vocabulary(["melanoma", "acne", "eczema"])
    prepare_pairs(photos, vocabulary, folder, 64, crops_per_photo=2, workers=1)
    return folder


def test_pairs_give_their_crops(tmp_path):
    data = make_pairs(tmp_path / "pairs", ["train"] * 3 + ["validation", "test"])
    splits, rejects = read_labelled_splits(data, 64)
    assert rejects == [] and splits["train"].conditions == CONDITIONS
    train, crops = splits["train"], labelled_crops(data, "train")
    np.testing.assert_array_equal(train.images, crops.images)
    assert train.cases.tolist() == crops.cases.tolist()
    assert [CONDITIONS[k] for k in train.labels] == [
        crops.conditions[k] for k in crops.labels
    ]
    assert [int(case[1:]) % 7 for case in train.cases] == train.skin_types.tolist()
    assert len(set(train.image_ids)) == 6
    half, _ = read_labelled_splits(data, 32)
    means = crops.images[0].reshape(32, 2, 32, 2, 3).mean(axis=(1, 3))
    assert abs(half["train"].images[0] - means).max() <= 0.51


def test_crops_come_with_condition_and_case_and_synthetic_ones_are_refused(tmp_path):
    data = make_pairs(tmp_path / "pairs", ["train"] * 3 + ["test"], {3: "synthetic"})
    crops = labelled_crops(data, "train")
    assert len(crops) == 6 and crops.images.shape == (6, 64, 64, 3)
    assert crops.conditions == ("melanoma", "acne", "eczema")
    assert sorted(crops.cases) == ["c0", "c0", "c1", "c1", "c2", "c2"]
    assert all(
        crops.conditions[label] == CONDITIONS[int(case[1:]) % 2]
        for label, case in zip(crops.labels, crops.cases, strict=True)
    )
    with pytest.raises(InputError, match="is synthetic; only photographs"):
        labelled_crops(data, "test")
    with pytest.raises(InputError, match="no split 'validation'"):
        labelled_crops(data, "validation")


# --- Planted leaks ---


@pytest.mark.parametrize("number", [0, 6, 7])  # of train, validation, test
def test_a_synthetic_photo_is_refused_in_every_split(tmp_path, number):
    path = annotated(tmp_path)
    (tmp_path / "photos" / f"{number}.png").write_bytes(png(1, SYNTHETIC))
    with pytest.raises(InputError, match=rf"photos/{number}.png of split .*synthetic"):
        read_labelled_splits(path, 16, max_reject_fraction=1)


def test_a_synthetic_image_is_refused_whatever_the_source(tmp_path):
    folder = class_folders(tmp_path / "classes", train=2, test=1)
    (folder / "test" / "eczema" / "leak.png").write_bytes(png(1, SYNTHETIC))
    for source in (
        folder,
        make_pairs(tmp_path / "train", ["train"] * 3 + ["test"], {1: "synthetic"}),
        make_pairs(tmp_path / "test", ["train"] * 3 + ["test"], {3: "synthetic"}),
    ):
        with pytest.raises(InputError, match="is a synthetic image; .*--synthetic_dir"):
            read_labelled_splits(source, 16)


def test_a_case_in_two_splits_is_refused_by_name(tmp_path):
    path = annotated(tmp_path, 20)
    line = {"image": "photos/x.png", "case_id": "c3", "condition": "eczema"}
    with open(path, "a") as file:
        file.write(json.dumps(line | {"split": "test"}) + "\n")
    with pytest.raises(
        InputError, match=r"'c3' .*train \(line 4\) and test \(line 21\)"
    ):
        read_labelled_splits(path, 16)


# --- Vocabulary ---


def test_photos_of_conditions_not_asked_for_are_left_out_and_listed(tmp_path):
    path = annotated(tmp_path, 8, c0={"condition": "acne"}, c1={"condition": "acne"})
    splits, rejects = read_labelled_splits(path, 16, conditions=CONDITIONS[::-1])
    assert splits["train"].conditions == ("melanoma", "eczema")  # as they were given
    assert splits["train"].labels.tolist() == [1, 0, 1, 0]
    assert [reject.item for reject in rejects] == ["photos/0.png", "photos/1.png"]
    assert "'acne', which was not asked for" in rejects[0].reason
    everything, _ = read_labelled_splits(path, 16)
    assert everything["train"].conditions == ("acne", "eczema", "melanoma")
    assert (everything["test"].labels == 2).all()  # a class without test photo will do
    for conditions, message in (
        (["eczema", "melanom"], "no photo of 'melanom'; it has: acne, eczema, melan"),
        (["eczema"], "2 conditions or more apart, got eczema"),
        (["eczema", "eczema"], "twice in the vocabulary"),
        ([], "1…60"),
    ):
        with pytest.raises(InputError, match=message):
            read_labelled_splits(path, 16, conditions=conditions)


def test_one_condition_left_more_than_60_or_no_training_photo_is_an_error(tmp_path):
    path = annotated(tmp_path / "a", 4)
    for i in (1, 3):
        (tmp_path / "a" / "photos" / f"{i}.png").write_text("")
    with pytest.raises(InputError, match="apart, got eczema"):
        read_labelled_splits(path, 16, max_reject_fraction=0.5)
    names = {f"c{i}": {"condition": f"condition {i}"} for i in range(61)}
    with pytest.raises(InputError, match="1…60 conditions, got 61"):
        read_labelled_splits(annotated(tmp_path / "b", 61, **names), 8)
    test = {f"c{i}": {"split": "test"} for i in range(3)}
    with pytest.raises(InputError, match="no photo to train on: all are of split test"):
        read_labelled_splits(
            annotated(tmp_path / "c", 4, **test, c3={"split": "test"}), 16
        )
    for name in ("none.jsonl", "none"):
        with pytest.raises(InputError, match="cannot read annotations"):
            read_labelled_splits(tmp_path / name, 16)
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(InputError, match="describes no photo"):
        read_labelled_splits(tmp_path / "empty.jsonl", 16)
    with pytest.raises(InputError, match="image size 0"):
        read_labelled_splits(path, 0)
