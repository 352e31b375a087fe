"""Judging translators of known behaviour, against figures that are worked out here."""

import hashlib
import json

import keras
import numpy as np
import pytest
from PIL import Image

from dermgan_tf.classifier.served import load_classifier, save_served
from dermgan_tf.errors import InputError
from dermgan_tf.generation.changes import inpainted
from dermgan_tf.generation.translated import TranslationExamples
from dermgan_tf.judging.translation import evaluate_translator
from dermgan_tf.layers import losses
from dermgan_tf.metrics import frechet_distance
from dermgan_tf.metrics.embeddings import Embedding
from dermgan_tf.pairs.patches import read_patches, read_patches_info
from dermgan_tf.reports.translation import summary_lines, write_translator_evaluation
from tests.helpers.stand_in_translator import PAINT, StandIn
from tests.helpers.tiny_patches import make_tiny_patches

CONDITIONS = ("healthy skin", "spot")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return make_tiny_patches(tmp_path_factory.mktemp("data") / "patches", count=20)


@pytest.fixture(scope="module")
def pixels():
    image = keras.Input((16, 16, 3))
    small = keras.layers.Flatten()(keras.layers.AveragePooling2D(4)(image))
    return Embedding(keras.Model(image, small), "pixels:4")


class Reddish:
    """Takes a patch with a dark red pixel for a spot."""

    conditions = CONDITIONS
    fingerprint = "c" * 64
    trained_cases = frozenset(
        hashlib.sha256(f"case-{i}".encode()).hexdigest()[:16] for i in range(8)
    )
    trained_on_images_of = None

    def labels(self, images):
        return [CONDITIONS[int(self.sees(image))] for image in images]

    @staticmethod
    def sees(image):
        return bool((image.astype(int) - PAINT["add"] < 15).all(-1).any())


def examples_of(data_dir, direction, split="train"):
    examples = list(TranslationExamples(data_dir, split, direction, seed=3))
    photos, masks = (
        np.stack([getattr(example, name) for example in examples])
        for name in ("photo", "mask")
    )
    return examples, photos, masks


def levels(a, b, where):
    return np.abs(a.astype(float) - b).mean(-1)[where].mean()


@pytest.mark.parametrize("direction", ["add", "remove"])
def test_what_changed_and_what_stayed(data_dir, pixels, direction):
    """On train, where there are enough patches for distances."""
    translator = StandIn(direction, outside=2)
    classifier = Reddish()
    classifier.trained_cases = set()
    evaluation = evaluate_translator(
        *(translator, data_dir, pixels),
        split="train",
        classifier=classifier,
        trials=3,
        seed=3,
    )
    metrics = evaluation.metrics
    examples, photos, masks = examples_of(data_dir, direction)
    changed = translator.translate(photos, masks)
    change = metrics["change"]
    for name, where in (("outside", ~masks), ("inside", masks)):
        assert change[name]["value"] == pytest.approx(levels(photos, changed, where))
        low, high = change[name]["interval_95"]
        assert low <= change[name]["value"] <= high
    assert change["outside"]["value"] == pytest.approx(2, abs=1e-9)
    loss = losses.relevancy_loss(
        photos / 127.5 - 1, changed / 127.5 - 1, masks[..., np.newaxis].astype(float)
    )
    assert change["relevancy"]["value"] == pytest.approx(float(loss), rel=1e-4)
    assert metrics["data"]["images"] == len(examples)
    assert metrics["data"]["cases"] == len({one.case_id for one in examples})
    # === The classifier ===
    wanted = "pathology" if direction == "add" else "healthy"
    real = [one["image"] for one in read_patches(data_dir, "train", wanted)]
    for name, images in (("before", photos), ("translated", changed), ("real", real)):
        sees = [Reddish.sees(image) == (direction == "add") for image in images]
        assert metrics["classifier"][name]["hits"] == sum(sees)
        assert metrics["classifier"][name]["total"] == len(images)
    assert metrics["classifier"]["translated"]["value"] == 1
    # === Distances, of equally many ===
    found = metrics["distances"]
    count = min(len(examples), len(real))
    assert {found[name]["images"] for name in ("translated_real", "before_real")} == {
        count
    }
    if len(examples) == len(real):
        for name, images in (("translated_real", changed), ("before_real", photos)):
            distance = frechet_distance(pixels.embed(images), pixels.embed(real))
            assert found[name]["frechet_distance"] == pytest.approx(distance, rel=1e-3)
    assert "halves" in found["real_real"]["compared"]
    assert metrics["cycle"]["undefined"] and metrics["twins"]["undefined"]
    assert any("training split" in remark for remark in metrics["remarks"])
    lines = "\n".join(summary_lines(metrics))
    assert "changed outside the mask" in lines and "cycle" in lines
    assert f"{len(real)}" in lines


def test_a_cycle_both_ways(data_dir, pixels):
    translators = StandIn("add", outside=1), StandIn("remove", outside=3)
    evaluation = evaluate_translator(
        translators[0], data_dir, pixels, split="train", inverse=translators[1], seed=3
    )
    cycle = evaluation.metrics["cycle"]
    for name, order in (
        ("add, then remove", translators),
        ("remove, then add", translators[::-1]),
    ):
        _, photos, masks = examples_of(data_dir, order[0].direction)
        back = order[1].translate(order[0].translate(photos, masks), masks)
        whole = np.ones_like(masks)
        assert cycle[name]["whole"]["value"] == pytest.approx(
            levels(photos, back, whole)
        )
        inside = cycle[name]["inside"]["value"]
        assert inside == pytest.approx(levels(photos, back, masks))
    assert evaluation.sheets.keys() == {"translated", "cycle"}
    assert "add, then remove" in "\n".join(summary_lines(evaluation.metrics))
    with pytest.raises(InputError, match="both translators add"):
        evaluate_translator(
            StandIn("add"), data_dir, pixels, inverse=translators[0], split="train"
        )


def twin_errors(patches, direction, translate):
    """Mean absolute differences from the truth inside the masks."""
    sick, healthy, masks = (
        np.stack([patch[name] for patch in patches])
        for name in ("image", "twin", "mask")
    )
    photos, truth = (healthy, sick) if direction == "add" else (sick, healthy)
    images = {"error": translate(photos, masks), "unchanged": photos}
    if direction == "remove":
        images["telea"] = inpainted(photos, masks)
    return {
        name: np.abs(image[masks].astype(int) - truth[masks]).mean()
        for name, image in images.items()
    }


@pytest.mark.parametrize("direction", ["add", "remove"])
def test_true_twins(data_dir, pixels, direction, tmp_path):
    """In test; too few for distances."""
    translator = StandIn(direction, read_patches_info(data_dir).fingerprint)
    evaluation = evaluate_translator(translator, data_dir, pixels)
    metrics = evaluation.metrics
    patches = list(read_patches(data_dir, "test", "pathology"))
    expected = twin_errors(patches, direction, translator.translate)
    for name in {"error", "unchanged", "telea"} & expected.keys():
        found = metrics["twins"][name]
        assert found["value"] == pytest.approx(expected[name])
        assert found["images"] == len(patches)
    assert ("telea" in metrics["twins"]) == (direction == "remove")
    assert metrics["change"]["beyond_border"]["value"] == 0
    assert "too few" in metrics["distances"]["undefined"]
    assert metrics["classifier"] == {"undefined": "no classifier was given"}
    assert not any("cannot be known" in remark for remark in metrics["remarks"])
    write_translator_evaluation(
        tmp_path, metrics, evaluation.sheets, translator.provenance()
    )
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics
    for name in ("translated", "twins"):
        with Image.open(tmp_path / f"{name}.png") as sheet:
            assert sheet.info["translator"] == translator.fingerprint
            assert sheet.info["synthetic"] == "true"
    if direction == "remove":
        photo, mask = patches[0]["image"][np.newaxis], patches[0]["mask"][np.newaxis]
        assert (inpainted(photo, mask) != photo).any()  # the peer does something


def test_only_some_patches(data_dir, pixels):
    metrics = evaluate_translator(
        StandIn("remove"), data_dir, pixels, split="train", max_images=9, trials=2
    ).metrics
    assert metrics["data"]["images"] == metrics["data"]["wanted_images"] == 9
    assert metrics["change"]["inside"]["images"] == 9
    assert metrics["distances"]["real_real"]["frechet_trials"]["sample_size"] == 4


# --- The classifier ---


def test_a_classifier_must_be_independent(data_dir, pixels):
    def judge(**changes):
        classifier = Reddish()
        for name, value in changes.items():
            setattr(classifier, name, value)
        translator = StandIn("remove")
        return evaluate_translator(
            translator, data_dir, pixels, classifier=classifier
        ).metrics

    judged = judge()
    assert judged["classifier"]["wanted"] == ["healthy skin"]
    unknown = judge(trained_cases=None)["remarks"]
    assert any("no classifier.json" in remark for remark in unknown)
    test_case = next(read_patches(data_dir, "test", "pathology"))["case_id"]
    digest = hashlib.sha256(test_case.encode()).hexdigest()[:16]
    with pytest.raises(InputError, match="trained on 1 of 1 cases of the test"):
        judge(trained_cases={digest})
    with pytest.raises(InputError, match="images of this translator"):
        judge(trained_on_images_of=StandIn("remove").fingerprint)
    with pytest.raises(InputError, match="does not know 'healthy skin'"):
        judge(conditions=("spot", "rash"))


def test_an_exported_classifier_is_loaded_with_its_card(tmp_path):
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.GlobalAveragePooling2D()(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    # Red minus blue: high for spots alone.
    kernel = np.array([[0, 1.0], [0, 0], [0, -1.0]])
    model.layers[-1].set_weights([kernel, np.array([0, -50.0])])
    description = {"conditions": list(CONDITIONS), "synthetic": {"generator": "g"}}
    save_served(model, 1.0, tmp_path, description)
    classifier = load_classifier(tmp_path / "saved_model")
    assert classifier.trained_cases is None and classifier.conditions == CONDITIONS
    assert classifier.trained_on_images_of == "g"
    (tmp_path / "classifier.json").write_text(json.dumps({"trained_cases": ["a"]}))
    classifier = load_classifier(tmp_path)
    assert classifier.trained_cases == {"a"}
    red, grey = np.full((2, 20, 40, 3), 120, np.uint8)
    red[..., 2] = 20
    assert classifier.labels([red, grey, red]) == ["spot", CONDITIONS[0], "spot"]
    (tmp_path / "classifier.json").write_text("[]")
    with pytest.raises(InputError, match="classifier.json is damaged"):
        load_classifier(tmp_path)
    with pytest.raises(InputError, match="give the --output_dir of train_classifier"):
        load_classifier(tmp_path / "other" / "nowhere")


def test_patches_that_do_not_fit(data_dir, pixels):
    translator = StandIn("add")
    translator.image_size = 32
    with pytest.raises(InputError, match="paints 32 × 32 pixels"):
        evaluate_translator(translator, data_dir, pixels)
