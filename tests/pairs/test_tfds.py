"""The builders for TensorFlow Datasets, against what they are made of."""

import hashlib
import importlib.util
import io
import pathlib
import pickle
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from dermgan_tf import datasets
from dermgan_tf.errors import InputError
from dermgan_tf.pairs.pairs import pair_features, read_pairs
from dermgan_tf.pairs.prepare import prepare_pairs
from dermgan_tf.pairs.sources import AnnotatedPhoto, phantom_photos
from dermgan_tf.phantom import (
    case_plan,
    draw_photo,
    phantom_vocabulary,
    write_phantom,
)
from dermgan_tf.photos.annotations import (
    PhotoAnnotation,
    case_splits,
    read_annotations,
    write_annotations,
)
from dermgan_tf.photos.anonymous_ids import (
    anonymous_case_id,
    anonymous_image_id,
    read_salt,
)
from dermgan_tf.photos.photo_io import encode_jpeg, encode_png, read_photo
from dermgan_tf.photos.semantic_map import Roi, decode_semantic_map
from tests.helpers.tiny_pairs import VOCABULARY, make_tiny_pairs

ROOT = pathlib.Path(__file__).parents[2]
CONDITIONS = ("eczema", "melanoma")
SPLITS = ("train", "validation", "test")
SECRETS = ("SECRETNAME", "SECRETCAMERA", "SECRETCOMMENT", "Exif\0\0")
PRIVATE_EXIF = {0x010F: "SECRETCAMERA", 0x9286: "SECRETCOMMENT", 0x0112: 6}


def examples(builder):
    """{split: its examples}, in the order of storage."""
    return {
        split: list(tfds.as_numpy(builder.as_dataset(split=split)))
        for split in builder.info.splits
    }


def by_image_id(builder):
    found = {e["image_id"].decode(): e for es in examples(builder).values() for e in es}
    assert len(found) == builder.info.splits.total_num_examples
    return found


def built(name, data_dir, **options):
    builder = tfds.builder(name, data_dir=data_dir, **options)
    builder.download_and_prepare()
    return builder


def digests(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).digest()
        for path in folder.rglob("*tfrecord*")
    }


# --- Phantom ---


def test_phantom_photos_are_those_that_draw_phantom_draws(tmp_path):
    builder = built("derm_phantom/8_conditions_64", tmp_path / "sets", cases=15, seed=3)
    vocabulary = phantom_vocabulary(8)
    path = write_phantom(tmp_path / "drawn", 15, 8, seed=3, photo_size=(64, 64))
    annotations, _ = read_annotations(path)
    plan = case_plan(15, vocabulary, 3)
    photos = [(case, i) for case in plan for i in range(case.num_photos)]
    ids = {}  # as pairs of the same phantoms name them
    for source in phantom_photos(15, vocabulary, 3):
        name = f"{source.case_id}/{source.name}"
        digest = hashlib.sha256(name.encode()).hexdigest()
        ids[source.case_id, source.photo_index] = digest[:16]
    found = by_image_id(builder)
    names = builder.info.features["condition"].names
    assert names == list(vocabulary) and len(found) == len(photos)
    for (case, i), annotation in zip(photos, annotations, strict=True):
        example = found[ids[case.case_id, i]]
        drawn = draw_photo(case, i, vocabulary, (64, 64))
        np.testing.assert_array_equal(example["image"], drawn.photo)
        assert example["case_id"].decode() == annotation.case_id == case.case_id
        assert names[example["condition"]] == annotation.condition
        assert example["fitzpatrick"] == annotation.fitzpatrick
        assert example["source"] == b"phantom"
        boxes = np.array([roi.box for roi in annotation.rois]).reshape(-1, 4)
        np.testing.assert_allclose(example["rois"]["bbox"], boxes, atol=1e-6)
        assert [names[k] for k in example["rois"]["condition"]] == [
            roi.condition for roi in annotation.rois
        ]
        fitzpatrick, rois = decode_semantic_map(example["semantic_map"], vocabulary)
        assert fitzpatrick == annotation.fitzpatrick
        assert bool(rois) == bool(annotation.rois)
    splits = case_splits(annotations)
    for split, those in examples(builder).items():
        assert {splits[e["case_id"].decode()] for e in those} == {split}
    assert set(builder.info.splits) == set(splits.values()) == {"train", "validation"}


def test_phantom_sets_are_the_same_every_time_and_others_have_other_names(tmp_path):
    for folder in ("a", "b"):
        tfds.load(
            "derm_phantom/8_conditions_64",
            data_dir=tmp_path / folder,
            builder_kwargs={"cases": 3},
        )
    assert digests(tmp_path / "a") == digests(tmp_path / "b") != {}
    same = tfds.builder("derm_phantom/8_conditions_64/cases=300,seed=0")
    assert same.builder_config.name == "8_conditions_64"
    other = tfds.builder("derm_phantom", cases=3, seed=1, data_dir=tmp_path / "a")
    assert other.builder_config.name == "8_conditions_128_3_cases_seed_1"
    assert not other.is_prepared()
    # Once built, it is found without the arguments.
    ds = tfds.load("derm_phantom/8_conditions_64_3_cases", data_dir=tmp_path / "a")
    assert {k for e in ds["train"].take(1) for k in e} == set(other.info.features)
    again = pickle.loads(pickle.dumps(other))
    assert again.data_path == other.data_path
    for wrong in ({"cases": 0}, {"seed": -1}, {"cases": "many"}):
        with pytest.raises(InputError, match="derm_phantom: .* whole number"):
            datasets.DermPhantom(**wrong)
    with pytest.raises(InputError, match="no config 'typo'; it has: 8_conditions_64"):
        datasets.DermPhantom(config="typo", cases=3)


def test_every_feature_of_every_set_is_documented(tmp_path):
    assert set(datasets.DermPhantom.builder_configs) == {
        f"{n}_conditions_{size}" for n in (8, 27) for size in (64, 128, 256)
    }
    for name in ("derm_phantom/27_conditions_256", "derm_photos"):
        info = tfds.builder(name, data_dir=tmp_path).info
        assert "split" in info.description.lower() and not info.as_proto.location.urls
        assert info.supervised_keys and info.version == "1.0.0"
        for line in info.features.catalog_documentation():
            if line.name:  # not the whole
                assert line.description, f"{name}: {line.name}"
    phantom = tfds.builder("derm_phantom/27_conditions_256", data_dir=tmp_path).info
    assert "27 conditions, 256 × 256 pixels, 1000 cases" in phantom.config_description
    assert phantom.features["condition"].num_classes == 27
    assert phantom.features["image"].shape == (256, 256, 3)
    assert "ghorbani2019dermgan" in phantom.citation


# --- Photos ---


def picture(number, height=40, width=56):
    """Photo-like: JPEG keeps it well."""
    y, x = np.mgrid[:height, :width]
    channels = 120 + 4 * number + y, 90 + x, 80 + 3 * number + (x + y) // 2
    return np.stack(channels, -1).astype(np.uint8)


def private_jpeg(number):
    """A JPEG as phones make it: turned, with GPS, maker, comment and preview."""
    photo = Image.fromarray(picture(number))
    exif = Image.Exif()
    exif.update(PRIVATE_EXIF)
    exif[0x8825] = {1: "N", 2: (47.0, 22.0, 1.0)}
    preview = io.BytesIO()
    photo.resize((28, 20)).save(preview, "JPEG", comment=b"SECRETCOMMENT preview")
    file = io.BytesIO()
    photo.save(file, "JPEG", quality=95, exif=exif, comment=b"SECRETCOMMENT")
    return file.getvalue() + preview.getvalue()


def clinic(folder, cases=8, bad=(), split=None):
    """A folder of two photos a case, those of the numbers in `bad` broken."""
    (folder / "photos").mkdir(parents=True)
    annotations = []
    for i in range(2 * cases):
        name = f"photos/SECRETNAME {i}.jpg"
        data = private_jpeg(i)
        (folder / name).write_bytes(data[:300] if i in bad else data)
        condition = CONDITIONS[i // 2 % 2]
        rois = (Roi((0.1, 0.2, 0.5, 0.25 + i / 64), condition),) if i % 3 else ()
        annotations.append(
            PhotoAnnotation(
                name,
                case_id=f"case{i // 2}",
                condition=condition,
                fitzpatrick=i % 7,
                rois=rois,
                split=split or SPLITS[min(i // 2 % 4, 2)],
            )
        )
    write_annotations(folder / "annotations.jsonl", annotations)
    return folder / "annotations.jsonl"


def test_photos_hold_all_that_is_annotated_and_nothing_of_the_patient(tmp_path):
    path = clinic(tmp_path / "SECRETNAME clinic", bad=(5,))
    folder = path.parent
    (folder / "page.jpg").write_bytes(b"<html>")
    (folder / "painted.png").write_bytes(encode_png(picture(0), {"synthetic": "true"}))
    annotations, _ = read_annotations(path)
    with open(path, "a") as lines:
        for name in ("page.jpg", "painted.png", "absent.jpg"):
            lines.write(f'{{"image":"{name}","case_id":"x","condition":"eczema"}}\n')
        lines.write("no JSON\n")
    builder = built(
        "derm_photos/clinic",
        tmp_path / "sets",
        annotations=path,
        rejects=tmp_path / "rejects.csv",
        max_reject_fraction=0.5,
    )
    good = [a for i, a in enumerate(annotations) if i != 5]
    ids = {pair_id(annotation): annotation for annotation in good}
    found = by_image_id(builder)
    assert set(found) == set(ids)
    names = builder.info.features["condition"].names
    assert names == sorted(CONDITIONS)
    for image_id, annotation in ids.items():
        example = found[image_id]
        photo = read_photo(folder / annotation.image)
        assert photo.shape == (56, 40, 3)  # upright
        expected = tf.io.decode_jpeg(encode_jpeg(photo)).numpy()
        np.testing.assert_array_equal(example["image"], expected)
        assert np.abs(expected.astype(int) - photo).max() < 16
        assert example["case_id"].decode() == annotation.case_id
        assert names[example["condition"]] == annotation.condition
        assert example["fitzpatrick"] == annotation.fitzpatrick
        boxes = np.array([roi.box for roi in annotation.rois]).reshape(-1, 4)
        np.testing.assert_allclose(example["rois"]["bbox"], boxes, atol=1e-6)
        assert example["source"] == b"real"
    for split, those in examples(builder).items():
        assert sorted(e["case_id"].decode() for e in those) == sorted(
            annotation.case_id for annotation in good if annotation.split == split
        )
    assert builder.info.metadata["rejected"] == 5
    rejects = (tmp_path / "rejects.csv").read_text()
    for item in ("annotations.jsonl:20", "SECRETNAME 5.jpg", "page.jpg", "painted.png"):
        assert item in rejects
    assert "absent.jpg,does not exist" in rejects
    stored = [p for p in (tmp_path / "sets").rglob("*") if p.is_file()]
    assert len(stored) >= 6
    for file in stored:
        for secret in (*SECRETS, str(tmp_path), "page.jpg", "painted"):
            assert secret.encode() not in file.read_bytes(), (file.name, secret)
            assert secret not in str(file.relative_to(tmp_path))
    frame = tfds.as_dataframe(builder.as_dataset(split="test"), builder.info)
    assert len(frame) == builder.info.splits["test"].num_examples
    assert {"image", "condition", "rois/bbox", "rois/condition"} <= set(frame)


def pair_id(annotation):
    """The image_id that prepare_pairs gives the photo."""
    name = f"{annotation.case_id}/{annotation.image}"
    return hashlib.sha256(name.encode()).hexdigest()[:16]


def test_photos_and_pairs_of_one_photo_have_one_image_id(tmp_path):
    path = clinic(tmp_path / "clinic", cases=2)
    annotations, _ = read_annotations(path)
    photos = [
        AnnotatedPhoto(str(path.parent), annotation) for annotation in annotations
    ]
    prepare_pairs(photos, VOCABULARY, tmp_path / "pairs", 64, 1, workers=1)
    pairs = {
        p["image_id"] for s in SPLITS[:2] for p in read_pairs(tmp_path / "pairs", s)
    }
    assert pairs == {pair_id(a) for a in annotations if a.rois}


def test_photos_without_loss_and_of_chosen_conditions(tmp_path):
    path = clinic(tmp_path / "clinic", cases=4)
    options = {"annotations": path, "conditions": ["melanoma"], "image_format": "png"}
    builder = built("derm_photos", tmp_path, **options)
    found = by_image_id(builder)
    annotations, _ = read_annotations(path)
    melanomas = [a for a in annotations if a.condition == "melanoma"]
    assert set(found) == {pair_id(annotation) for annotation in melanomas}
    for annotation in melanomas:
        np.testing.assert_array_equal(
            found[pair_id(annotation)]["image"],
            read_photo(path.parent / annotation.image),
        )
    assert builder.info.features["condition"].names == ["melanoma"]
    assert set(builder.info.splits) == {"validation", "test"}
    again = pickle.loads(pickle.dumps(builder))
    assert again.info.splits.total_num_examples == len(melanomas)
    for changed, message in (
        ({"conditions": ["acne"]}, "no photo has condition 'acne'"),
        ({"image_format": "gif"}, "unknown image_format 'gif'; valid: jpeg, png"),
    ):
        with pytest.raises(InputError, match=message):
            built("derm_photos/other", tmp_path, **{**options, **changed})


def test_photos_with_anonymous_ids_are_those_of_anonymous_pairs(tmp_path, monkeypatch):
    monkeypatch.setenv("DERMGAN_ID_SALT", "a salt that nobody knows")
    path = clinic(tmp_path / "clinic", cases=4)
    options = {"annotations": path, "anonymize_ids": True}
    builder = built("derm_photos/hashed", tmp_path, **options)
    salt = read_salt()
    annotations, _ = read_annotations(path)
    expected = {
        anonymous_image_id(a.case_id, a.image, salt): (
            anonymous_case_id(a.case_id, salt),
            a.split,
        )
        for a in annotations
    }
    assert expected == {
        example["image_id"].decode(): (example["case_id"].decode(), split)
        for split, those in examples(builder).items()
        for example in those
    }
    monkeypatch.delenv("DERMGAN_ID_SALT")
    assert tfds.load("derm_photos/hashed", data_dir=tmp_path, builder_kwargs=options)
    with pytest.raises(InputError, match="anonymized with a secret salt"):
        built("derm_photos/other", tmp_path, **options)


def test_spaces_around_a_condition_make_no_other_label(tmp_path):
    path = clinic(tmp_path / "clinic", cases=2)
    path.write_text(path.read_text().replace('"eczema"', '" eczema"', 1))
    builder = built("derm_photos", tmp_path, annotations=path)
    again = tfds.builder_from_directory(builder.data_dir)
    assert again.info.features["condition"].names == list(CONDITIONS)
    labels = [e["condition"] for es in examples(again).values() for e in es]
    assert sorted(labels) == [0, 0, 1, 1]


def test_one_name_never_stands_for_two_inputs(tmp_path):
    first, second = (
        clinic(tmp_path / name, cases=n) for name, n in (("a", 2), ("b", 3))
    )
    build = {"data_dir": tmp_path, "split": "train"}
    tfds.load("derm_photos/x", builder_kwargs={"annotations": first}, **build)
    # Asked for without an input, or with the same, it is found.
    for kwargs in ({}, {"annotations": first}):
        assert len(tfds.load("derm_photos/x", builder_kwargs=kwargs, **build)) == 2
    for options in (
        {"annotations": second},
        {"annotations": first, "conditions": ["a"]},
    ):
        with pytest.raises(InputError, match="derm_photos/x.* of another input"):
            tfds.load("derm_photos/x", builder_kwargs=options, **build)
        with pytest.raises(InputError, match="name this set otherwise"):
            built("derm_photos/x", tmp_path, **options)
    tfds.load("derm_photos/y", builder_kwargs={"annotations": second}, **build)
    assert len(tfds.load("derm_photos/x", **build)) == 2


def test_photos_that_cannot_be_used_say_why_in_one_line(tmp_path, caplog):
    def fails(message, name="derm_photos", **options):
        with pytest.raises(InputError, match=message) as caught:
            built(name, tmp_path / "sets", **options)
        assert "\n" not in str(caught.value)
        assert not list((tmp_path / "sets").rglob("*tfrecord*"))  # nothing is left

    fails("give annotations=FILE to the builder, or --manual_dir=FOLDER")
    fails(
        "cannot read annotations .*absent.jsonl", annotations=tmp_path / "absent.jsonl"
    )
    (tmp_path / "empty.jsonl").touch()
    fails("describes no photo", annotations=tmp_path / "empty.jsonl")
    (tmp_path / "bad lines.jsonl").write_text("x\n" * 9)
    fails("all 9 items are bad", annotations=tmp_path / "bad lines.jsonl")
    path = clinic(tmp_path / "all bad", cases=2, bad=range(4))
    fails("nothing usable in .*: all 4 items are bad; first:", annotations=path)
    path = clinic(tmp_path / "half bad", cases=2, bad=(1, 2))
    caplog.clear()
    fails("2 of 4 items of .* are bad, more than", annotations=path)
    assert "2 bad items of" in caplog.text and "SECRETNAME 2.jpg: " in caplog.text
    # A split of which nothing is left is left out.
    path = clinic(tmp_path / "no validation", cases=2, bad=(2, 3))
    builder = built(
        "derm_photos/more", tmp_path, annotations=path, max_reject_fraction=0.5
    )
    assert set(builder.info.splits) == {"train"}


# --- Pairs ---


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return make_tiny_pairs(tmp_path_factory.mktemp("clinic") / "tiny")


def test_pairs_are_a_set_where_they_lie(pairs):
    builder = tfds.builder_from_directory(pairs)
    ours = pair_features(VOCABULARY, 64)
    features = builder.info.features
    assert features.get_tensor_info() == ours.get_tensor_info()
    assert features.get_serialized_info() == ours.get_serialized_info()
    assert features["condition"].names == list(VOCABULARY)
    assert features["box_conditions"].feature.names == list(VOCABULARY)
    for split, those in examples(builder).items():
        expected = {pair["image_id"]: pair for pair in read_pairs(pairs, split)}
        assert len(those) == len(expected)
        for example in those:
            pair = expected[example["image_id"].decode()]
            for key in ("image", "semantic_map", "boxes", "window", "fitzpatrick"):
                np.testing.assert_array_equal(example[key], pair[key])
            assert example["case_id"].decode() == pair["case_id"]
            assert VOCABULARY.conditions[example["condition"]] == pair["condition"]
            assert example["source"].decode() == pair["source"]
            conditions = [VOCABULARY.conditions[k] for k in example["box_conditions"]]
            assert tuple(conditions) == pair["box_conditions"]


# --- Processes ---

# The command `tfds build` without the others, which want packages that TensorFlow
# Datasets does not install (its issue 5463).
BUILD = """
from absl import app
from tensorflow_datasets.scripts.cli import build, cli_utils
parse = cli_utils.make_flags_parser(build.Args, description="tfds build")
app.run(lambda args: args.execute(), flags_parser=parse)
"""
READ = """
import sys
sys.modules["dermgan_tf"] = None  # an import of it fails
import tensorflow_datasets as tfds
for folder in sys.argv[1:]:
    builder = tfds.builder_from_directory(folder)
    count = sum(1 for s in builder.info.splits for _ in builder.as_dataset(split=s))
    names = builder.info.features["condition"].names
    print(builder.info.full_name, count, len(builder.info.splits), ",".join(names))
"""


def tfds_build(*arguments):
    whole = all(map(importlib.util.find_spec, ("apache_beam", "mlcroissant")))
    command = ["-m", "tensorflow_datasets.scripts.cli.main", "build"]
    return run(*(command if whole else ["-c", BUILD]), *arguments)


def run(*arguments):
    process = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_tfds_build_makes_sets_that_other_readers_open(tmp_path):
    path = clinic(tmp_path / "clinic", cases=4)
    output = tfds_build(
        "derm_phantom/8_conditions_64/cases=6",
        f"derm_photos/mine/annotations={path}",
        "--imports=dermgan_tf.datasets",
        f"--data_dir={tmp_path / 'sets'}",
    )
    folders = [
        tmp_path / "sets" / name / "1.0.0"
        for name in (
            "derm_phantom/8_conditions_64_6_cases",
            "derm_photos/mine",
        )
    ]
    phantom = case_plan(6, phantom_vocabulary(8), 0)
    expected = [
        (sum(case.num_photos for case in phantom), list(phantom_vocabulary(8))),
        (8, sorted(CONDITIONS)),
    ]
    for folder, (count, names) in zip(folders, expected, strict=True):
        name = folder.relative_to(tmp_path / "sets").as_posix()
        assert f"full_name='{name}'" in output
        builder = tfds.builder_from_directory(folder)
        assert builder.info.features["condition"].names == names
        assert sum(map(len, examples(builder).values())) == count
        assert "dermgan_tf" not in (folder / "features.json").read_text()


@pytest.mark.slow
def test_others_read_a_built_set_without_our_code(tmp_path):
    builder = built("derm_phantom/8_conditions_64", tmp_path, cases=60)
    info = builder.info
    assert run("-c", READ, builder.data_dir).split(maxsplit=3) == [
        info.full_name,
        str(info.splits.total_num_examples),
        "3",
        ",".join(info.features["condition"].names) + "\n",
    ]
