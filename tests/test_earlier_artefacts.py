"""Folders and files of version 0.1.0 are opened by today's code.

tests/data/version_0_1_0/README.md has the commands that made them.
"""

import hashlib
import json
import pathlib
import shutil

import numpy as np
import pytest
from PIL import Image

import dermgan_tf as dg
from dermgan_tf.photos.photo_io import is_synthetic
from tests.helpers.forked_programs import run_program

EARLIER = pathlib.Path(__file__).parent / "data" / "version_0_1_0"
BOX = (0.2, 0.2, 0.7, 0.7)
CONDITIONS = ("melanoma", "basal cell carcinoma", "melanocytic nevus", "SK/ISK")


@pytest.fixture
def earlier(tmp_path):
    """A copy that programs may write to."""
    shutil.copytree(EARLIER, tmp_path / "earlier")
    return tmp_path / "earlier"


def succeeded(name, *arguments):
    done = run_program(name, *arguments)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def pixels(folder):
    files = sorted((folder / "images").glob("*.png"))
    return np.stack([np.asarray(Image.open(file)) for file in files])


def test_pairs_are_read(earlier):
    images = [
        image
        for batch in dg.load_pairs(earlier / "pairs", "validation", batch_size=4)
        for image in batch["image"].numpy()
    ]
    assert np.shape(images) == (9, 64, 64, 3)
    assert -1 <= np.min(images) < np.max(images) <= 1


def test_pairs_are_written_as_before(tmp_path):
    succeeded(
        "prepare_pairs",
        "--phantom",
        "--phantom_cases=24",
        "--phantom_conditions=4",
        "--image_size=64",
        "--crops_per_photo=1",
        f"--output_dir={tmp_path / 'pairs'}",
    )
    for shard in sorted((EARLIER / "pairs").glob("*.tfrecord*")):
        digests = [
            hashlib.sha256(path.read_bytes()).hexdigest()
            for path in (shard, tmp_path / "pairs" / shard.name)
        ]
        assert digests[0] == digests[1], shard.name


def test_saved_model_paints_as_before(earlier, tmp_path):
    """One level of difference is left to other processors."""
    generator = dg.load_generator(earlier / "saved_model")
    assert generator.vocabulary.conditions[0] == "melanoma"
    output_dir = tmp_path / "generated"
    succeeded(
        "generate",
        f"--saved_model={earlier / 'saved_model'}",
        f"--output_dir={output_dir}",
        "--condition=melanoma",
        "--fitzpatrick=3",
        f"--boxes={','.join(map(str, BOX))}",
        "--count=4",
        "--seed=5",
    )
    before, now = pixels(earlier / "generated"), pixels(output_dir)
    assert np.ptp(before) > 20
    assert np.abs(before.astype(int) - now).max() <= 1


def test_run_is_exported_byte_for_byte_and_resumed(earlier, tmp_path):
    exported = tmp_path / "exported"
    succeeded(
        "export_generator",
        f"--model_dir={earlier / 'run'}",
        f"--output_dir={exported}",
    )
    maps = np.stack(
        [
            dg.encode_semantic_map(
                64, skin, [dg.Roi(BOX, condition)], dg.Vocabulary(CONDITIONS)
            )
            for skin, condition in zip((0, 2, 4, 6), CONDITIONS, strict=True)
        ]
    )
    import tensorflow as tf

    seeds = tf.range(4)
    before, now = (
        tf.saved_model.load(folder)
        .signatures["serving_default"](semantic_map=tf.constant(maps), seed=seeds)[
            "image"
        ]
        .numpy()
        for folder in (str(earlier / "saved_model"), str(exported))
    )
    np.testing.assert_array_equal(before, now)

    out = succeeded(
        "train_gan",
        f"--data_dir={earlier / 'pairs'}",
        f"--model_dir={earlier / 'run'}",
        "--base_filters=2",
        "--batch_size=4",
        "--sample_every=0",
        "--checkpoint_every=2",
        "--steps=6",
    )
    assert "6 of 6" in out
    rows = (earlier / "run" / "history.csv").read_text().splitlines()
    steps = [row.split(",")[0] for row in rows]
    assert steps[-1] == "6"
    assert len(steps) == len(set(steps)), "a step that was trained before stands twice"


def test_predictions_are_read():
    predictions = dg.read_predictions(EARLIER / "classifier/predictions/validation.csv")
    assert len(predictions.image_ids) == 9
    assert set(predictions.conditions) == set(CONDITIONS)
    shown = {predictions.conditions[label] for label in predictions.labels}
    assert shown == {"SK/ISK", "basal cell carcinoma"}
    np.testing.assert_allclose(predictions.probabilities.sum(axis=1), 1, atol=1e-6)


def test_generated_images_say_that_they_are_synthetic():
    folder = EARLIER / "generated"
    records = (folder / "generated.jsonl").read_text().splitlines()
    images = sorted((folder / "images").glob("*.png"))
    assert len(records) == len(images) == 4
    assert all(is_synthetic(image) for image in images)


def test_atlas_is_searched(earlier):
    photo = next((earlier / "generated" / "images").glob("*.png"))
    out = succeeded(
        "image_atlas",
        "search",
        f"--atlas={earlier / 'atlas'}",
        f"--image={photo}",
    )
    assert "melanoma" in out or "nevus" in out, out


def test_half_done_ablation_resumes_and_keeps_what_it_had(earlier):
    finished = earlier / "ablation/runs/full-seed0/judgement.json"
    judged = finished.read_bytes()
    succeeded(
        "ablation",
        f"--data_dir={earlier / 'pairs'}",
        f"--output_dir={earlier / 'ablation'}",
        "--models=full,no_condition_loss",
        "--seeds=1",
        "--steps=2",
        "--base_filters=2",
        "--batch_size=4",
        "--split=validation",
        "--embedding=pixels",
        "--trials=2",
    )
    assert finished.read_bytes() == judged
    other = earlier / "ablation/runs/no_condition_loss-seed0/judgement.json"
    assert other.stat().st_size
    assert json.loads(other.read_text()).keys() == json.loads(judged).keys()
