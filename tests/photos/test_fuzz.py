"""Programs on damaged photos and damaged annotations, as real processes with limits.

A sample runs by default, the whole corpus (about 1,500 photos and 550 annotation files)
with the slow tests. No crash, no endless wait, no more memory than said, nothing lost:
what is bad is in rejects.csv with its reason, what is good is in the output.
"""

import contextlib
import csv
import hashlib
import json
import os
import pathlib
import shutil

import numpy as np
import pytest

from dermgan_tf.errors import InputError, Reject, TooManyRejects
from dermgan_tf.pairs.jobs import plain_image_id
from dermgan_tf.pairs.pairs import read_pairs, read_pairs_info
from dermgan_tf.pairs.prepare import prepare_pairs
from dermgan_tf.pairs.sources import AnnotatedPhoto
from dermgan_tf.photos.annotations import MAX_LINE_BYTES, read_annotations
from dermgan_tf.photos.importers import coco, published, voc, yolo
from dermgan_tf.photos.vocabulary import Vocabulary
from pipelines.prepare_pairs import rejects_kept
from tests.helpers import fuzz_corpus
from tests.helpers.bounded_runs import run_bounded, run_program
from tests.helpers.crashing_decoder import CRASHES, crashing_decoder
from tests.helpers.fuzz_corpus import BAD, GOOD

# What processes of `prepare_pairs` may take: that of TensorFlow takes most by far.
# Decoded, the bombs of the corpus would take 2.7 GB and more.
GIGABYTES, PEAK_MEGABYTES = 8, 1100


@pytest.fixture(
    scope="module", params=[0.02, pytest.param(1.0, marks=pytest.mark.slow)]
)
def corpus(request, tmp_path_factory):
    """A folder of photos, good and bad, and annotations of all; and what they are."""
    folder = tmp_path_factory.mktemp("dirty")
    (folder / "photos").mkdir()
    files = fuzz_corpus.photo_corpus(folder / "photos", request.param)
    content = fuzz_corpus.encodings(8)["baseline.jpg"]
    for name, reason in CRASHES.items():
        (folder / "photos" / name).write_bytes(content)
        verdict = BAD if reason else GOOD
        files.append(fuzz_corpus.Damaged(name, "crash", verdict))
    with open(folder / "annotations.jsonl", "w") as lines:
        for number, file in enumerate(files):
            record = {
                "image": f"photos/{file.name}",
                "case_id": f"case {number}",
                "condition": ("melanoma", "eczema")[number % 2],
                "fitzpatrick": number % 7 or None,
                "rois": [{"box": [0.3, 0.3, 0.7, 0.7]}],
            }
            lines.write(json.dumps(record) + "\n")
    yield folder, files
    shutil.rmtree(folder)  # two sparse files are large to what copies them


def read_rejects(path):
    with open(path, newline="", encoding="utf-8") as file:
        return {row["item"]: row["reason"] for row in csv.DictReader(file)}


def assert_sound(ended):
    assert ended.code == 0, ended.stderr[-2000:]
    assert ended.peak < PEAK_MEGABYTES
    assert "Traceback" not in ended.stderr


def expected_items(folder, files):
    """What rejects.csv calls each file: unprintable names have their line alone."""
    return {
        file: f"photos/{file.name}"
        if file.name.isprintable() and "\\" not in file.name
        else f"annotations.jsonl:{number}"
        for number, file in enumerate(files, start=1)
    }


def assert_each_is_taken_or_listed(files, items, taken, rejects):
    """`taken` are the items that are in the output."""
    assert not set(taken) & set(rejects)
    for file, item in items.items():
        if item.startswith("annotations.jsonl:"):
            assert rejects[item], file  # annotations cannot name it
            continue
        assert (item in taken) != (item in rejects), file
        if file.verdict != fuzz_corpus.EITHER:
            assert (item in taken) == (file.verdict == GOOD), (file, rejects.get(item))
    assert all(rejects.values())
    assert len(taken) + len(rejects) == len(files)


def shard_digests(folder):
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.glob("*.tfrecord-*"))
    }


def test_prepare_pairs_takes_the_good_and_lists_the_bad(corpus, tmp_path):
    folder, files = corpus
    ended = run_program(
        "prepare_pairs",
        f"--annotations={folder / 'annotations.jsonl'}",
        f"--output_dir={tmp_path / 'pairs'}",
        *("--image_size=64", "--crops_per_photo=1", "--max_reject_fraction=1"),
        "--workers=2",
        gigabytes=GIGABYTES,
        seconds=900,
        PYTHONPATH=crashing_decoder(tmp_path / "hook"),
    )
    assert_sound(ended)
    annotations, _ = read_annotations(folder / "annotations.jsonl")
    photos = [AnnotatedPhoto(str(folder), one) for one in annotations]
    by_id = {plain_image_id(photo): photo for photo in photos}
    splits = read_pairs_info(tmp_path / "pairs").counts
    taken = [
        by_id[pair["image_id"]]
        for split in splits
        for pair in read_pairs(tmp_path / "pairs", split)
    ]
    rejects = read_rejects(tmp_path / "pairs/rejects.csv")
    names = [photo.name for photo in taken]
    items = expected_items(folder, files)
    assert_each_is_taken_or_listed(files, items, names, rejects)
    for name, reason in CRASHES.items():
        assert rejects.get(f"photos/{name}") == reason
    print(f"{len(files)} files, {len(taken)} taken, peak {ended.peak} MiB")
    # The records are those that the good photos give alone, in one process.
    prepare_pairs(
        taken,
        Vocabulary(["eczema", "melanoma"]),
        tmp_path / "alone",
        image_size=64,
        crops_per_photo=1,
        workers=1,
    )
    assert shard_digests(tmp_path / "pairs") == shard_digests(tmp_path / "alone")


@pytest.mark.slow
@pytest.mark.parametrize("program", ["describe", "find_duplicates"])
def test_other_readers_of_annotations(corpus, tmp_path, program):
    folder, files = corpus
    more = ["--max_reject_fraction=1"] if program == "find_duplicates" else []
    ended = run_program(
        program,
        f"--annotations={folder / 'annotations.jsonl'}",
        f"--output_dir={tmp_path / 'out'}",
        "--workers=2",
        *more,
        gigabytes=GIGABYTES,
        seconds=900,
    )
    assert_sound(ended)
    rejects = read_rejects(tmp_path / "out/rejects.csv")
    items = expected_items(folder, files)
    taken = [
        item
        for item in items.values()
        if item not in rejects and not item.startswith("annotations.jsonl:")
    ]
    # Without the hook the crashing ones are good.
    good = [file for file in files if file.kind != "crash"]
    assert set(rejects) <= set(items.values())
    taken = [item for item in taken if not item.startswith("photos/crash-")]
    items = {file: items[file] for file in good}
    assert_each_is_taken_or_listed(good, items, taken, rejects)
    print(f"{len(files)} files, {len(taken)} taken, peak {ended.peak} MiB")
    if program == "describe":
        numbers = json.loads((tmp_path / "out/description.json").read_text())
        assert numbers["counts"]["photos"] == len(taken) + len(CRASHES)


@pytest.mark.slow
def test_class_folders_with_any_names(corpus, tmp_path):
    """Files by names that annotations cannot hold are met in folders."""
    folder, files = corpus
    for kind in ("eczema", "melanoma"):
        (tmp_path / "classes" / kind).mkdir(parents=True)
    for number, file in enumerate(files):
        if os.path.isdir(os.path.join(folder, "photos", file.name)):
            continue  # then it is no folder of classes
        place = tmp_path / "classes" / ("eczema", "melanoma")[number % 2]
        os.symlink(os.path.join(folder, "photos", file.name), place / file.name)
    ended = run_program(
        "import_annotations",
        "--format=class_folders",
        f"--input_dir={tmp_path / 'classes'}",
        f"--output_dir={tmp_path / 'out'}",
        "--max_reject_fraction=1",
        gigabytes=GIGABYTES,
        seconds=900,
        PYTHONPATH=crashing_decoder(tmp_path / "hook"),
    )
    assert_sound(ended)
    annotations, bad = read_annotations(tmp_path / "out/annotations.jsonl")
    assert bad == []
    taken = {one.image.rpartition("/")[2] for one in annotations}
    for file in files:
        printable = file.name.isprintable() and "\\" not in file.name
        if file.verdict == GOOD and printable and not file.name.startswith("."):
            assert file.name in taken
        if file.verdict == BAD:
            assert file.name not in taken
    rejects = read_rejects(tmp_path / "out/rejects.csv").values()
    assert CRASHES["crash-segfault.jpg"] in rejects
    print(f"{len(files)} files, {len(taken)} taken, peak {ended.peak} MiB")


def test_too_many_bad_photos_leave_the_list_of_them(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(fuzz_corpus.annotation_lines(4)))
    for i in range(4):
        (tmp_path / "photos" / f"{i}.jpg").write_bytes(b"")
    annotations, _ = read_annotations(tmp_path / "a.jsonl")
    photos = [AnnotatedPhoto(str(tmp_path), one) for one in annotations]
    vocabulary = Vocabulary(["melanoma", "nævus"])
    listed = tmp_path / "new/pairs.rejects.csv"
    with pytest.raises(InputError, match="nothing usable.*all of them: ") as error:
        with rejects_kept(tmp_path / "new/pairs"):
            prepare_pairs(photos, vocabulary, tmp_path / "new/pairs", 64, 1, workers=1)
    assert str(listed) in str(error.value)
    assert read_rejects(listed) == {f"photos/{i}.jpg": "is empty" for i in range(4)}
    assert list((tmp_path / "new").iterdir()) == [listed]
    with rejects_kept(tmp_path / "new/pairs"):  # the next run does
        pass
    assert list((tmp_path / "new").iterdir()) == []
    # Before any output folder was begun, and where there cannot be one.
    bad = TooManyRejects("3 of 4 are bad", [Reject("a.jsonl:1", "is not JSON")])
    with pytest.raises(InputError, match="bad .all of them: .*/p.rejects.csv"):
        with rejects_kept(tmp_path / "deeper/still/p"):
            raise bad
    assert read_rejects(tmp_path / "deeper/still/p.rejects.csv") == {
        "a.jsonl:1": "is not JSON"
    }
    with pytest.raises(InputError, match="3 of 4 are bad .no list of them: "):
        with rejects_kept(listed.parent.parent / "a.jsonl" / "p"):
            raise bad


# === Annotations ===

READ_ALL = """
import json, pathlib, sys
from dermgan_tf.photos.annotations import read_annotations
from dermgan_tf.errors import InputError, Reject
from dermgan_tf.photos.importers import coco, published, voc, yolo

for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    try:
        annotations, rejects = read_annotations(path)
    except InputError as error:
        print(json.dumps([path.name, str(error), None]))
    else:
        images = [one.image for one in annotations]
        bad = [[one.item, one.reason] for one in rejects]
        print(json.dumps([path.name, images, bad]))
"""


@pytest.mark.parametrize("share", [0.1, pytest.param(1.0, marks=pytest.mark.slow)])
def test_every_line_of_a_damaged_file_is_read_or_listed(tmp_path, share):
    files = fuzz_corpus.annotation_corpus(share)
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    specials = {
        "pipe": lambda path: os.mkfifo(path),
        "loop": lambda path: path.symlink_to(path.name),
        "endless": lambda path: path.symlink_to("/dev/zero"),
        "folder": lambda path: path.mkdir(),
    }
    for name, make in specials.items():
        make(tmp_path / name)
    with open(tmp_path / "sparse", "wb") as file:
        file.write(fuzz_corpus.annotation_lines()[0] + b"\n")
        file.truncate(400 << 20)
    ended = run_bounded(["-c", READ_ALL, str(tmp_path)], 0.9, 300)
    assert ended.code == 0, ended.stderr
    assert ended.peak < 200
    found = {}
    for line in ended.stdout.splitlines():
        name, images, rejects = json.loads(line)
        found[name] = images, rejects
    assert found.keys() == files.keys() | specials.keys() | {"sparse"}
    for name in specials:
        assert isinstance(found[name][0], str) and "\n" not in found[name][0]
    images, rejects = found["sparse"]
    assert images == ["photos/0.jpg"]
    assert rejects == [["sparse:2", f"is longer than {MAX_LINE_BYTES} bytes"]]
    untouched = set(fuzz_corpus.annotation_lines())
    for name, content in files.items():
        images, rejects = found[name]
        lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
        places = [n for n, line in enumerate(lines, start=1) if line.strip()]
        assert len(images) + len(rejects) == len(places), name
        assert {item for item, _ in rejects} <= {f"{name}:{n}" for n in places}
        assert all(reason and "\n" not in reason for _, reason in rejects)
        assert max((len(reason) for _, reason in rejects), default=0) < 400
        # What the damage spared is there, unless a line before took its place.
        whole = {json.loads(line)["image"] for line in lines if line in untouched}
        clashes = [reason for _, reason in rejects if "stands already" in reason]
        assert len(whole - set(images)) <= len(clashes), name
        for image in images:
            place = os.path.normpath(os.path.join("/folder", image))
            assert place.startswith("/folder/"), image


def test_a_long_line_and_many_boxes_are_refused(tmp_path):
    good = fuzz_corpus.annotation_lines(2)
    space = b" " * (MAX_LINE_BYTES - len(good[0]))
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\n".join([good[0] + space, good[1] + space + b"  " * 40]))
    annotations, rejects = read_annotations(path)
    assert [one.image for one in annotations] == ["photos/0.jpg"]
    assert [one.reason for one in rejects] == [f"is longer than {MAX_LINE_BYTES} bytes"]
    record = {**json.loads(good[0]), "rois": [{"box": [0, 0, 1, 1]}] * 1001}
    path.write_text(json.dumps(record))
    assert "1001 ROIs are too many" in read_annotations(path)[1][0].reason
    with pytest.raises(InputError, match="is a pipe or device"):
        os.mkfifo(tmp_path / "pipe")
        read_annotations(tmp_path / "pipe")


@pytest.mark.slow
def test_prepare_pairs_on_damaged_annotations(tmp_path):
    """One program run a kind: a photo for each line that is left."""
    (tmp_path / "photos").mkdir()
    for i in range(6):
        content = fuzz_corpus.encodings(i)["baseline.jpg"]
        (tmp_path / "photos" / f"{i}.jpg").write_bytes(content)
    (tmp_path / "x").write_bytes(b"")
    secret = pathlib.Path(tmp_path, "..", "secret.jpg")
    secret.write_bytes(fuzz_corpus.encodings(9)["baseline.jpg"])
    for number, (name, content) in enumerate(
        fuzz_corpus.annotation_corpus(0.001).items()
    ):
        path = tmp_path / name
        path.write_bytes(content)
        out = tmp_path / f"out-{number}"
        ended = run_program(
            "prepare_pairs",
            f"--annotations={path}",
            f"--output_dir={out}",
            *("--image_size=64", "--crops_per_photo=1", "--max_reject_fraction=0.99"),
        )
        assert ended.peak < PEAK_MEGABYTES
        assert "Traceback" not in ended.stderr
        if ended.code == 0:
            assert sum(read_pairs_info(out).counts.values()) <= 6
        else:
            assert ended.code == 1, ended.stderr
            assert ended.stderr.strip().splitlines()[-1].startswith("error: ")
            assert not out.exists()
    secret.unlink()


# === Other people's annotations ===


def _coco() -> bytes:
    images = [
        {"id": i, "file_name": f"{name}.jpg", "width": 88, "height": 72}
        for i, name in enumerate("ab")
    ]
    boxes = [
        {"id": i, "image_id": i, "category_id": 1, "bbox": [10, 10, 20, 20]}
        for i in range(2)
    ]
    boxes[1]["segmentation"] = [[1, 1, 20, 1, 20, 20]]
    categories = [{"id": 1, "name": "melanoma"}]
    return json.dumps(
        {"images": images, "annotations": boxes, "categories": categories}
    ).encode()


_VOC = b"""<annotation><filename>a.jpg</filename><size><width>88</width>
<height>72</height><depth>3</depth></size><object><name>melanoma</name><bndbox>
<xmin>10</xmin><ymin>10</ymin><xmax>30</xmax><ymax>30</ymax></bndbox></object>
</annotation>"""
_XML_BOMB = (
    b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b0 "boom">'
    + b"".join(f'<!ENTITY b{i + 1} "{f"&b{i};" * 10}">'.encode() for i in range(9))
    + b"]><annotation>&b9;</annotation>"
)
_XML_READER = (
    b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    b"<annotation><filename>&x;</filename></annotation>"
)
_TABLE = (
    b"md5hash,fitzpatrick_scale,fitzpatrick_centaur,label,nine_partition_label,"
    b"three_partition_label,qc,url,url_alphanum\n"
    b"a,3,3,eczema,inflammatory,non-neoplastic,,u,u\n"
    b"b,-1,2,melanoma,x,y,,u,u\n"
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("importer", "name", "content", "more"),
    [
        (coco.import_coco, "annotations.json", _coco(), [b"[" * 10**5]),
        (voc.import_voc, "a.xml", _VOC, [_XML_BOMB, _XML_READER]),
        (yolo.import_yolo, "a.txt", b"0 0.5 0.5 0.2 0.2\n0 0.3 0.3 0.1 0.1\n", []),
        (published.import_fitzpatrick17k, "fitzpatrick17k.csv", _TABLE, []),
    ],
)
def test_importers_on_damaged_files(tmp_path, importer, name, content, more):
    def made(number):
        folder = tmp_path / str(number)
        folder.mkdir()
        for photo in "ab":
            (folder / f"{photo}.jpg").write_bytes(photo_content)
        if importer is yolo.import_yolo:
            (folder / "data.yaml").write_text("names: [melanoma]\n")
        return folder

    photo_content = fuzz_corpus.encodings(0)["baseline.jpg"]
    rng = np.random.default_rng(0)
    files = [content[: len(content) * k // 12] for k in range(13)]
    for number in range(24):
        damaged = bytearray(content)
        for _ in range(1 << number % 5):
            damaged[rng.integers(len(damaged))] ^= 1 << int(rng.integers(8))
        files.append(bytes(damaged))
    files += [b"", bytes(99), b"{" * 10**5, content.decode().encode("utf-16")]
    files += [photo_content, content * 2, *more]
    for number, data in enumerate(files):
        folder = made(number)
        (folder / name).write_bytes(data)
        try:
            annotations, rejects, _ = importer(folder)
        except InputError as error:
            assert "\n" not in str(error)
            assert number != 12  # the whole file
            continue
        assert all(reject.reason for reject in rejects)
        for one in annotations:
            assert one.image in ("a.jpg", "b.jpg")
            assert not any("root:" in label for label in (one.condition, one.case_id))
    specials = [os.mkfifo, os.mkdir, lambda p: os.symlink(name, p)]
    for number, make in enumerate([*specials, lambda p: os.symlink("/dev/zero", p)]):
        folder = made(f"special {number}")
        make(folder / name)
        with contextlib.suppress(InputError):
            importer(folder)
