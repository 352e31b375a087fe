"""Translated photographs and patches: what is painted, filed, told and refused."""

import csv
import json
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from dermgan_tf.classifier.labelled_reading import read_labelled_splits, read_synthetic
from dermgan_tf.classifier.leakage import require_gan_inside
from dermgan_tf.errors import InputError, TooManyRejects
from dermgan_tf.generation.translated import (
    TranslationExamples,
    mask_order,
    write_translated_patches,
    write_translated_photos,
)
from dermgan_tf.models.translation.networks import build_translator
from dermgan_tf.models.translation.served import export_translator, load_translator
from dermgan_tf.pairs.patches import read_patches, read_patches_info
from dermgan_tf.pairs.prepare import prepare_patches
from dermgan_tf.pairs.sources import annotations_of_folder, masked_photos
from dermgan_tf.photos.anonymous_ids import anonymous_case_id
from dermgan_tf.photos.photo_io import encode_png, read_png_text
from pipelines.shared import classifier_flags
from tests.helpers.bounded_runs import run_program
from tests.helpers.stand_in_translator import PAINT, StandIn
from tests.helpers.tiny_patches import SpotScene, make_tiny_patches, spot_scenes

GOOD = ("Roe_Jane.png", "empty.png", "turned.jpg")
BAD = {
    "Doe.png": "mask Doe.png is 20 × 20 pixels, the photo 40 × 24",
    "lost.png": "has no mask lost.*",
    "painted.png": "is a synthetic image, not a photo",
    "small.png": "is 20 × 15 pixels; at least 16 a side needed",
    "text.png": "is not an image of a known format",
    "truncated.jpg": "ends too early",
}


@pytest.fixture(scope="module")
def clinic(tmp_path_factory):
    """Photos with masks as they come: three will do, six will not."""
    folder = tmp_path_factory.mktemp("clinic")
    photos, masks = folder / "photos", folder / "masks"
    photos.mkdir()
    masks.mkdir()

    def photo(seed, width, height):
        rng = np.random.default_rng(seed)
        coarse = rng.integers(60, 250, (height // 4, width // 4, 3), np.uint8)
        return Image.fromarray(coarse).resize((width, height), Image.BICUBIC)

    def mask(name, width, height, empty=False):
        pixels = np.zeros((height, width), np.uint8)
        pixels[5:12, 3:14] = 0 if empty else 255
        Image.fromarray(pixels).save(masks / name)

    photo(1, 40, 24).save(photos / "Roe_Jane.png")
    mask("Roe_Jane.png", 40, 24)
    photo(2, 32, 32).save(photos / "empty.png")
    mask("empty.png", 32, 32, empty=True)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90° to be upright
    exif[0x010F] = "TraceCamera"
    photo(3, 48, 28).save(photos / "turned.jpg", exif=exif, quality=95)
    mask("turned.png", 28, 48)
    photo(4, 40, 24).save(photos / "Doe.png")
    mask("Doe.png", 20, 20)
    photo(5, 40, 24).save(photos / "lost.png")
    made = encode_png(np.asarray(photo(6, 40, 24)), {"synthetic": "true"})
    (photos / "painted.png").write_bytes(made)
    mask("painted.png", 40, 24)
    photo(7, 20, 15).resize((20, 15)).save(photos / "small.png")
    mask("small.png", 20, 15)
    (photos / "text.png").write_text("no photo")
    mask("text.png", 40, 24)
    whole = (photos / "turned.jpg").read_bytes()
    (photos / "truncated.jpg").write_bytes(whole[: len(whole) * 2 // 3])
    mask("truncated.png", 28, 48)
    return folder


def upright(path):
    with Image.open(path) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def mask_of(clinic, name):
    return np.asarray(Image.open(clinic / "masks" / f"{name.split('.')[0]}.png")) > 127


def lines_of(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def assert_filed(folder, clinic, expected):
    """That the folder holds these images of the good photos, and nothing of others."""
    lines = lines_of(folder / "translated.jsonl")
    with open(folder / "sources.csv", newline="") as file:
        sources = dict(list(csv.reader(file))[1:])
    assert list(sources.values()) == sorted(GOOD)
    for line, (number, name) in zip(lines, sources.items(), strict=True):
        assert line["image"] == f"images/{number}" and line["source"] == "synthetic"
        png = folder / line["image"]
        np.testing.assert_array_equal(np.asarray(Image.open(png)), expected(name))
        text = read_png_text(png)
        assert text["synthetic"] == "true" and len(text["translator"]) == 64
        mask = mask_of(clinic, name)
        np.testing.assert_array_equal(Image.open(folder / line["mask"]), mask * 255)
        assert line["changed"] == mask.any() == (text["changed"] == "true")
        if mask.any():
            height, width = mask.shape
            box = [5 / height, 3 / width, 12 / height, 14 / width]
            assert line["boxes"] == [pytest.approx(box)]
            assert line["condition"] == text["condition"] == "healthy skin"
        else:
            assert line["condition"] is None and "condition" not in text
        assert line["mask_share"] == pytest.approx(mask.mean())
    assert not (folder / "generated.jsonl").exists()
    with open(folder / "rejects.csv", newline="") as file:
        rejects = dict(list(csv.reader(file))[1:])
    assert rejects.keys() == BAD.keys()
    for name, reason in BAD.items():
        assert reason in rejects[name] and "\n" not in rejects[name]
    for path in folder.rglob("*.*"):  # names and metadata are for the owner alone
        if path.name not in ("rejects.csv", "sources.csv"):
            content = path.read_bytes()
            for trace in (b"Roe", b"Jane", b"Doe", b"turned", b"TraceCamera"):
                assert trace not in content, path


def test_dirty_photos_as_a_program_reads_them(clinic, tmp_path):
    keras.utils.set_random_seed(1)
    network = build_translator(16, 2, "unet")
    for weight in network.weights:  # far from the mid-grey that it begins with
        weight.assign(weight * 20 if "kernel" in weight.path else weight)
    told = {"direction": "remove", "pathology": ["spot"], "data_fingerprint": "ab"}
    export_translator(network, tmp_path / "model", provenance=told)
    flags = [
        f"--saved_model={tmp_path / 'model'}",
        f"--images_dir={clinic / 'photos'}",
        f"--masks_dir={clinic / 'masks'}",
        "--workers=1",
    ]
    out = tmp_path / "out"
    ended = run_program(
        "translate", *flags, f"--output_dir={out}", "--max_reject_fraction=0.7"
    )
    assert ended.code == 0, ended.stderr
    assert "3 synthetic images, pathology removed" in ended.stdout
    assert "empty masks, photos left as they are: 1" in ended.stdout
    saved = tf.saved_model.load(str(tmp_path / "model")).signatures["any_size"]

    def expected(name):
        mask = mask_of(clinic, name)[..., np.newaxis].astype(np.uint8)
        photo = upright(clinic / "photos" / name)
        changed = saved(photo=tf.constant(photo), mask=tf.constant(mask))["photo"]
        assert mask.any() == (changed.numpy() != photo).any()
        return changed.numpy()

    assert_filed(out, clinic, expected)
    record = json.loads((out / "run.json").read_text())
    translator = load_translator(tmp_path / "model")
    assert record["flags"]["generator"] == translator.fingerprint
    assert record["data_fingerprint"] == "ab"
    assert record["flags"]["images_dir"] == "(a path)"
    sheet = Image.open(out / "sheet.png")
    assert sheet.info["synthetic"] == "true" and sheet.size[0] > 4 * 100


def test_photos_smaller_than_the_translator_and_too_many_bad_ones(clinic, tmp_path):
    annotations = annotations_of_folder(clinic / "photos", "spot")
    photos, rejects = masked_photos(clinic / "photos", annotations, clinic / "masks")
    translator = StandIn("remove")
    translator.image_size = 26
    translate = translator, photos, tmp_path, rejects
    with pytest.raises(TooManyRejects, match="7 of 9") as error:
        write_translated_photos(*translate, max_reject_fraction=0.7, workers=1)
    reasons = {reject.item: reject.reason for reject in error.value.rejects}
    assert reasons.keys() == BAD.keys() | {"Roe_Jane.png"}
    assert "40 × 24 pixels, smaller than the 26 × 26" in reasons["Roe_Jane.png"]


# --- Patches ---


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return make_tiny_patches(tmp_path_factory.mktemp("data") / "patches")


def written(translator, data_dir, folder, split="train", **options):
    folder.mkdir()
    done = write_translated_patches(translator, data_dir, split, folder, **options)
    return done, lines_of(folder / "translated.jsonl")


def pixels(folder, line):
    return np.asarray(Image.open(folder / line["image"]))


def test_removal_takes_the_patches_own_masks(data_dir, tmp_path):
    translator = StandIn("remove", read_patches_info(data_dir).fingerprint)
    done, lines = written(translator, data_dir, tmp_path / "out")
    patches = list(read_patches(data_dir, "train", "pathology"))
    assert done == {
        "images": len(patches),
        "unchanged": 0,
        "not_to_train_on": None,
    }
    for line, patch in zip(lines, patches, strict=True):
        expected = patch["image"].copy()
        expected[patch["mask"]] = PAINT["remove"]
        np.testing.assert_array_equal(pixels(tmp_path / "out", line), expected)
        assert line["condition"] == "healthy skin" and "case_id" not in line
    for line in lines_of(tmp_path / "out" / "generated.jsonl"):
        assert line["boxes"] == [] and line["condition"] == "healthy skin"


def test_addition_lays_masks_of_the_split_on_healthy_patches(data_dir, tmp_path):
    translator = StandIn("add", read_patches_info(data_dir).fingerprint)
    healthy = list(read_patches(data_dir, "train", "healthy"))
    sick = list(read_patches(data_dir, "train", "pathology"))
    runs = {}
    for name, seed in (("one", 5), ("same", 5), ("other", 6)):
        _, runs[name] = written(
            *(translator, data_dir, tmp_path / name),
            seed=seed,
            masks_per_patch=3,
        )
    assert runs["one"] == runs["same"] != runs["other"]
    lines = runs["one"]
    assert [line["patch"] for line in lines] == [
        i for i in range(len(healthy)) for _ in range(3)
    ]
    uses = np.bincount([line["mask_patch"] for line in lines], minlength=len(sick))
    assert uses.max() - uses.min() <= 1
    for line in lines:
        mask = sick[line["mask_patch"]]["mask"]
        expected = healthy[line["patch"]]["image"].copy()
        expected[mask] = PAINT["add"]
        np.testing.assert_array_equal(pixels(tmp_path / "one", line), expected)
        rows, columns = np.nonzero(mask)
        top, left = min(b[0] for b in line["boxes"]), min(b[1] for b in line["boxes"])
        assert (top, left) == (rows.min() / 16, columns.min() / 16)


def test_masks_are_laid_equally_often():
    order = mask_order(23, 5, 1)
    assert set(np.bincount(order)) <= {4, 5} and len(order) == 23
    assert sorted(order[:5]) == sorted(order[5:10]) == list(range(5))
    assert mask_order(3, 5, 1).tolist() == order[:3].tolist()


@pytest.mark.parametrize(
    ("translator", "split", "why"),
    [
        ({}, "test", "patches of the test split"),
        ({"trained_on": "others"}, "train", "trained on other patches"),
        ({"pathology": ("spot", "rash")}, "train", "several conditions"),
    ],
)
def test_what_nobody_may_train_on_is_not_offered(
    data_dir, tmp_path, translator, split, why
):
    trained_on = read_patches_info(data_dir).fingerprint
    translator = StandIn("add", **{"trained_on": trained_on, **translator})
    done, lines = written(translator, data_dir, tmp_path / "out", split)
    assert why in done["not_to_train_on"] and lines
    assert not (tmp_path / "out" / "generated.jsonl").exists()


def test_ids_that_are_hashes_are_told(tmp_path):
    salt = b"a salt of this test alone"
    prepare_patches(*(spot_scenes(), tmp_path / "patches", 16), workers=1, id_salt=salt)
    _, lines = written(StandIn("add"), tmp_path / "patches", tmp_path / "out")
    known = {anonymous_case_id(f"case-{i}", salt) for i in range(6)}
    assert {line["case_id"] for line in lines} <= known
    assert {line["mask_case_id"] for line in lines} <= known


def test_bad_requests(data_dir, tmp_path):
    translator = StandIn("add")
    translator.image_size = 32
    with pytest.raises(InputError, match="paints 32 × 32 pixels, the patches in"):
        write_translated_patches(translator, data_dir, "train", tmp_path)
    with pytest.raises(InputError, match="direction 'sideways'"):
        TranslationExamples(data_dir, "train", "sideways")
    with pytest.raises(InputError, match="2 masks per patch"):
        TranslationExamples(data_dir, "train", "remove", masks_per_patch=2)
    sick = [SpotScene(i, "train") for i in range(4)]
    sick += [SpotScene(i, "test", spot=False) for i in range(4, 6)]
    prepare_patches(sick, tmp_path / "patches", 16, workers=1)
    with pytest.raises(InputError, match="no pathology patch in split 'test'"):
        TranslationExamples(tmp_path / "patches", "test", "add")
    with pytest.raises(InputError, match="is not a SavedModel"):
        load_translator(tmp_path)
    with pytest.raises(InputError, match="direction is 'up', not add or remove"):
        StandIn("up")


# --- To train classifiers on ---


def test_patches_are_photographs_of_two_conditions(data_dir):
    splits, rejects = read_labelled_splits(data_dir, 32)
    assert rejects == []
    for split, found in splits.items():
        assert found.conditions == ("healthy skin", "spot")
        wanted = [
            (patch["case_id"], domain == "pathology")
            for domain in ("healthy", "pathology")
            for patch in read_patches(data_dir, split, domain)
        ]
        labels = found.labels.astype(bool).tolist()
        assert sorted(zip(found.cases, labels, strict=True)) == sorted(wanted)
        assert found.images.shape == (len(wanted), 32, 32, 3)


@pytest.mark.parametrize("direction", ["add", "remove"])
def test_a_classifier_of_the_same_patches_takes_them(data_dir, tmp_path, direction):
    fingerprint = read_patches_info(data_dir).fingerprint
    _, lines = written(StandIn(direction, fingerprint), data_dir, tmp_path / "out")
    generator = lines[0]["translator"]
    record = {"flags": {"generator": generator}, "data_fingerprint": fingerprint}
    (tmp_path / "out" / "run.json").write_text(json.dumps(record))
    splits, _ = read_labelled_splits(data_dir, 32)
    args = types.SimpleNamespace(
        image_size=32, cache_dir=None, data_dir=data_dir, anonymize_ids=False
    )
    images, named, cases = classifier_flags.read_synthetic_of(
        tmp_path / "out", args, splits, []
    )
    assert named == generator and len(images) == len(lines)
    assert set(images.labels) == {1 if direction == "add" else 0}
    assert set(cases) == set(splits["train"].cases)
    assert images.skin_types.tolist() == [0] * len(lines)


def test_the_guard_knows_patches(data_dir, tmp_path):
    fingerprint = read_patches_info(data_dir).fingerprint
    cases = {f"case-{i}" for i in range(4)}
    assert require_gan_inside(fingerprint, data_dir, cases) == sorted(cases)
    with pytest.raises(InputError, match="trained on 1 of 4 cases"):
        require_gan_inside(fingerprint, data_dir, cases - {"case-2"})
    with pytest.raises(InputError, match="on other pairs than"):
        require_gan_inside("another", data_dir, cases)
    translator = StandIn("add", fingerprint)
    written(translator, data_dir, tmp_path / "test", "test")
    with pytest.raises(InputError, match="translated images, but no generated"):
        read_synthetic(tmp_path / "test", 32, ("healthy skin", "spot"))
