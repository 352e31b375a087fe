"""Outputs made from photos full of traces are searched, byte by byte, for all."""

import hashlib
import io
import json
import os

import pytest
from PIL import ExifTags, Image

from dermgan_tf.errors import InputError
from dermgan_tf.pairs.jobs import plain_image_id
from dermgan_tf.pairs.pairs import read_pairs, read_pairs_info
from dermgan_tf.pairs.prepare import prepare_pairs
from dermgan_tf.pairs.sources import AnnotatedPhoto
from dermgan_tf.photos.annotations import read_annotations, split_of_case
from dermgan_tf.photos.anonymous_ids import (
    anonymous_case_id,
    anonymous_image_id,
    read_salt,
)
from dermgan_tf.photos.vocabulary import Vocabulary
from tests.helpers import planted_traces
from tests.helpers.bounded_runs import run_program
from tests.helpers.planted_traces import (
    FOLDER,
    PATIENT,
    all_traces,
    found_traces,
    plant,
)

SALT = b"a salt of this test alone"
VOCABULARY = Vocabulary(["eczema", "melanoma"])
# For the owner, who has to find the photos: they name them. docs/privacy.md says so.
OWNERS = ("rejects.csv", "duplicates.csv", "changes.csv")
# Parts of a PNG that hold no text, and matplotlib's resolution.
PNG_KEYS = {"dpi"}


@pytest.fixture(scope="module")
def clinic(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clinic of Dr Plank")
    return plant(folder)


def outputs(folder, without=OWNERS):
    return [path for path in folder.rglob("*") if path.name not in without]


def assert_bare_pictures(folder):
    count = 0
    for path in folder.rglob("*"):
        for picture in planted_traces.pictures(path) if path.is_file() else ():
            count += 1
            assert len(picture.getexif()) == 0, path
            texts = set(picture.info) - PNG_KEYS - {"Software"}
            assert not texts or picture.info.get("synthetic") == "true", path
    return count


def test_the_search_finds_what_was_planted(clinic):
    """Or it would be no proof."""
    traces = all_traces(clinic.parent)
    photos = sorted((clinic.parent / FOLDER).iterdir())
    by_photo = {}
    for path, trace in found_traces(photos, traces):
        by_photo.setdefault(path, set()).add(trace)
    inside = {"camera", "serial", "artist", "description", "user comment", "place"}
    inside |= {"maker note", "thumbnail", "XMP", "profile", "trailer", "patient"}
    assert by_photo[f"{PATIENT}_0_0.jpg"] >= inside | {"IPTC", "comment", "metadata"}
    assert by_photo[f"{PATIENT}_1_0.png"] >= inside | {"tEXt", "zTXt", "iTXt"}
    assert by_photo[f"{PATIENT}_2_0.tif"] >= {"XMP", "IPTC", "description", "profile"}
    assert by_photo[f"{PATIENT}_3_0.webp"] >= inside
    assert "comment" in by_photo[f"{PATIENT}_4_0.gif"]
    # Other programs see them, too.
    with Image.open(clinic.parent / FOLDER / f"{PATIENT}_0_0.jpg") as photo:
        assert photo.getexif()[0x013B] == planted_traces.TEXTS["artist"]
        assert photo.getexif().get_ifd(ExifTags.IFD.GPSInfo)[2][0] == pytest.approx(
            planted_traces.LATITUDE[0] / planted_traces.LATITUDE[1]
        )
        assert 0x0201 in photo.getexif().get_ifd(ExifTags.IFD.IFD1)


def test_the_search_looks_below_the_surface(tmp_path):
    import tensorflow as tf

    traces = all_traces(tmp_path / "nowhere")
    photo = planted_traces._photos()["png"][0]
    text = f"<img src='data:image/png;base64,{planted_traces.base64_of(photo)}'>"
    (tmp_path / "page.html").write_text(text)
    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[photo]))
    example = tf.train.Example(
        features=tf.train.Features(feature={"image": feature})
    ).SerializeToString()
    options = tf.io.TFRecordOptions(compression_type="")
    with tf.io.TFRecordWriter(str(tmp_path / "a.tfrecord-0"), options) as writer:
        writer.write(example)
    digest = hashlib.sha256(planted_traces.CASE.encode()).hexdigest()
    (tmp_path / "ids.json").write_text(json.dumps({"case": digest}))
    found = found_traces(tmp_path.iterdir(), traces)
    for name in ("page.html", "a.tfrecord-0"):
        assert {(name, trace) for trace in ("zTXt", "camera", "artist")} <= found
    assert ("ids.json", "case") in found


def test_pairs_carry_nothing_of_the_patient(clinic, tmp_path):
    (tmp_path / "salt").write_bytes(SALT + b"\n")
    out = tmp_path / "out" / "pairs"
    ended = run_program(
        "prepare_pairs",
        f"--annotations={clinic}",
        f"--output_dir={out}",
        *("--image_size=64", "--crops_per_photo=2", "--workers=1"),
        *("--anonymize_ids", f"--id_salt_file={tmp_path / 'salt'}"),
    )
    assert ended.code == 0, ended.stderr
    traces = all_traces(clinic.parent)
    traces["salt"] = list(planted_traces._forms(SALT.decode()))
    annotations, _ = read_annotations(clinic)
    photos = [AnnotatedPhoto(str(clinic.parent), one) for one in annotations]
    traces["plain image ids"] = [plain_image_id(photo).encode() for photo in photos]
    traces["output's path"] = [str(tmp_path).encode()]
    assert found_traces(outputs(out), traces) == set()
    assert assert_bare_pictures(out) > 2 * 2 * 12
    # The list for the owner names the bad photo, and nothing else.
    rejects = (out / "rejects.csv").read_text().splitlines()
    assert len(rejects) == 2 and rejects[1].startswith(f"{FOLDER}/{PATIENT}_bad.jpg,")
    assert str(clinic.parent) not in rejects[1]
    record = json.loads((out / "run.json").read_text())
    assert record["flags"]["annotations"] == "(a path)"
    assert record["flags"]["anonymize_ids"] is True
    assert json.loads((out / "pairs.json").read_text())["anonymized_ids"] is True
    # The ids are those of the salt, the splits those of the true cases.
    ids = {anonymous_image_id(p.case_id, p.name, SALT): p for p in photos}
    seen = set()
    for split in read_pairs_info(out).counts:
        for pair in read_pairs(out, split):
            photo = ids[pair["image_id"]]
            seen.add(photo.name)
            assert pair["case_id"] == anonymous_case_id(photo.case_id, SALT)
            assert split == photo.split or split == split_of_case(photo.case_id)
    assert len(seen) == 12


def test_a_salt_gives_its_own_ids_and_windows_and_the_same_splits(clinic, tmp_path):
    annotations, _ = read_annotations(clinic)
    photos = [AnnotatedPhoto(str(clinic.parent), one) for one in annotations[:8]]

    def prepared(name, salt):
        prepare_pairs(
            photos, VOCABULARY, tmp_path / name, 64, 1, workers=1, id_salt=salt
        )
        return {
            pair["image_id"]: (split, pair["case_id"], tuple(pair["window"]))
            for split in read_pairs_info(tmp_path / name).counts
            for pair in read_pairs(tmp_path / name, split)
        }

    plain, one = prepared("plain", None), prepared("one", SALT)
    again, other = prepared("again", SALT), prepared("other", SALT[::-1])
    assert one == again
    assert not plain.keys() & one.keys() and not one.keys() & other.keys()
    assert "anonymized_ids" not in json.loads(
        (tmp_path / "plain/pairs.json").read_text()
    )
    for salt, found in ((SALT, one), (SALT[::-1], other)):
        for photo in photos:
            split, case, window = plain[plain_image_id(photo)]
            image_id = anonymous_image_id(photo.case_id, photo.name, salt)
            assert case == photo.case_id
            assert found[image_id][:2] == (split, anonymous_case_id(case, salt))
            # A window that followed from the true id would tell who guesses the id.
            assert found[image_id][2] != window


def test_ids_are_hmac_sha256():
    """RFC 2104, by hand: H(K ^ opad, H(K ^ ipad, text)), keys padded to 64 bytes."""
    key = SALT.ljust(64, b"\0")
    inner = bytes(k ^ 0x36 for k in key) + b'["case", "c17"]'
    outer = bytes(k ^ 0x5C for k in key) + hashlib.sha256(inner).digest()
    expected = hashlib.sha256(outer).hexdigest()[:16]
    assert anonymous_case_id("c17", SALT) == expected
    assert anonymous_image_id("a", "b", SALT) != anonymous_image_id("a/b", "", SALT)
    ids = {anonymous_case_id(f"c{i}", SALT) for i in range(1000)}
    assert len(ids) == 1000
    assert anonymous_case_id("\udcff half", SALT)  # what a file's name can hold


def test_the_salt_comes_from_a_file_or_the_environment(tmp_path):
    path = tmp_path / "salt.txt"
    path.write_bytes(b"  0123456789abcdef\r\n")
    assert read_salt(path, {}) == b"0123456789abcdef"
    variables = {"DERMGAN_ID_SALT": "fedcba9876543210\n"}
    assert read_salt(None, variables) == b"fedcba9876543210"
    assert read_salt(path, variables) == b"0123456789abcdef"
    with pytest.raises(InputError, match="id_salt_file.*secrets.token_hex"):
        read_salt(None, {})
    path.write_bytes(b"short secret")
    with pytest.raises(InputError, match="12 bytes, want 16") as error:
        read_salt(path, {})
    assert "short secret" not in str(error.value)
    path.write_bytes(bytes(5000))
    with pytest.raises(InputError, match="more than 4096"):
        read_salt(path, {})
    os.mkfifo(tmp_path / "pipe")
    for wrong in ("pipe", "", "none"):
        with pytest.raises(InputError, match="salt's file"):
            read_salt(tmp_path / wrong, {})


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--anonymize_ids"], 1, "name its file by id_salt_file, or set"),
        (["--id_salt_file=x"], 2, "--id_salt_file is for --anonymize_ids"),
    ],
)
def test_flags_of_the_salt(tmp_path, flags, code, message):
    ended = run_program(
        "prepare_pairs", "--phantom", f"--output_dir={tmp_path / 'p'}", *flags
    )
    assert ended.code == code
    assert message in ended.stderr.strip().splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("program", ["describe", "find_duplicates"])
def test_reports_carry_nothing_of_the_patient(clinic, tmp_path, program):
    out = tmp_path / "out"
    ended = run_program(
        program, f"--annotations={clinic}", f"--output_dir={out}", "--workers=2"
    )
    assert ended.code == 0, ended.stderr
    files = outputs(out)
    assert {"describe": 6, "find_duplicates": 1}[program] <= len(files)
    assert found_traces(files, all_traces(clinic.parent)) == set()
    assert assert_bare_pictures(out) >= 1


@pytest.mark.slow
def test_synthetic_images_carry_nothing_of_the_patient(clinic, tmp_path):
    from dermgan_tf.models.dermgan.networks import build_generator
    from dermgan_tf.models.dermgan.served import export_saved_model

    pairs = tmp_path / "pairs"
    annotations, _ = read_annotations(clinic)
    photos = [AnnotatedPhoto(str(clinic.parent), one) for one in annotations[:-1]]
    info = prepare_pairs(photos, VOCABULARY, pairs, 64, 1, workers=1, id_salt=SALT)
    model = tmp_path / "saved"
    export_saved_model(
        build_generator(64, base_filters=4),
        VOCABULARY,
        model,
        {"data_fingerprint": info["fingerprint"]},
    )
    ended = run_program(
        "generate",
        f"--saved_model={model}",
        f"--output_dir={tmp_path / 'images'}",
        *("--count=3", "--condition=melanoma", "--fitzpatrick=4"),
        gigabytes=16,
    )
    assert ended.code == 0, ended.stderr
    traces = all_traces(clinic.parent)
    assert found_traces(outputs(model), traces) == set()
    files = outputs(tmp_path / "images")
    assert found_traces(files, traces) == set()
    assert assert_bare_pictures(tmp_path / "images") >= 3
    assert Image.open(io.BytesIO(next(iter(pictures_of(files))))).info["synthetic"]


def pictures_of(files):
    return [path.read_bytes() for path in files if path.suffix == ".png"]
