"""Judging generators of known faults on pairs of known content."""

import base64
import dataclasses
import html
import io
import json
import pathlib
import re
import warnings

import keras
import numpy as np
import pytest
from PIL import Image

from dermgan_tf.errors import InputError
from dermgan_tf.judging.dermgan import evaluate
from dermgan_tf.metrics import frechet_distance, kernel_distance, precision_recall
from dermgan_tf.metrics.embeddings import Embedding
from dermgan_tf.pairs.pairs import read_pairs, read_pairs_info
from dermgan_tf.pairs.prepare import prepare_pairs
from dermgan_tf.pairs.sources import LoadedPhoto
from dermgan_tf.photos.photo_io import is_synthetic
from dermgan_tf.photos.semantic_map import Roi, decode_semantic_map
from dermgan_tf.photos.vocabulary import Vocabulary
from dermgan_tf.reports.evaluation import summary_lines, write_evaluation

VOCABULARY = Vocabulary(["melanoma", "<b>eczema</b> & co"])
SIZE = 64
# Skin colours of type I … VI, and of unknown type.
SKIN = np.array(
    [
        (170, 120, 90),
        (241, 214, 195),
        (228, 190, 160),
        (208, 160, 125),
        (170, 120, 88),
        (120, 80, 55),
        (75, 48, 34),
    ]
)


def skin_with_spots(fitzpatrick, rois, seed, size=SIZE):
    rng = np.random.default_rng(seed)
    image = SKIN[fitzpatrick] + rng.normal(0, 4, (size, size, 3))
    for roi in rois:
        top, left, bottom, right = (round(size * side) for side in roi.box)
        spot = (90, 40, 40) if roi.condition == "melanoma" else (200, 80, 70)
        image[top:bottom, left:right] = spot + rng.normal(0, 12, (3,))
    return np.clip(image, 0, 255).astype(np.uint8)


@dataclasses.dataclass(frozen=True)
class Drawn:
    """A photo for prepare_pairs that is drawn when asked for."""

    name: str
    case_id: str
    condition: str
    fitzpatrick: int
    split: str
    source: str = "real"

    def load(self):
        rng = np.random.default_rng(list(self.name.encode()))
        y, x = rng.uniform(0.3, 0.5, size=2)
        rois = [Roi((y, x, y + 0.2, x + 0.2), self.condition)]
        image = skin_with_spots(
            self.fitzpatrick, rois, int(rng.integers(1000)), size=128
        )
        return LoadedPhoto(image, rois, self.condition, self.fitzpatrick)


def drawn(count, split, source="real", fitzpatrick=None):
    return [
        Drawn(
            name=f"{split}{i}",
            case_id=f"{split}{i // 2}",
            condition=VOCABULARY.conditions[i % 3 % 2],
            fitzpatrick=i % 7 if fitzpatrick is None else fitzpatrick,
            split=split,
            source=source,
        )
        for i in range(count)
    ]


def prepared(folder, photos):
    prepare_pairs(photos, VOCABULARY, folder, SIZE, crops_per_photo=2, workers=1)
    return folder


@pytest.fixture(scope="module")
def pairs_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluation") / "pairs"
    return prepared(folder, drawn(24, "train") + drawn(14, "test"))


@pytest.fixture(scope="module")
def embedding():
    """Mean colours of a 2 × 2 grid: few features, all of them to be understood."""
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.AveragePooling2D(8)(inputs)
    return Embedding(keras.Model(inputs, keras.layers.Flatten()(x)), "grid_colours")


class Painter:
    """Stands where a loaded SavedModel does; paints what the map asks for."""

    image_size = SIZE
    vocabulary = VOCABULARY
    fingerprint = "f" * 64
    metadata = {"provenance": {"data_fingerprint": "of other pairs"}}

    def __init__(self):
        self.seeds = []

    def paint(self, semantic_maps, seeds):
        self.seeds += list(seeds)
        images = [
            self.paint_one(m, s) for m, s in zip(semantic_maps, seeds, strict=True)
        ]
        return np.stack(images)

    def paint_one(self, semantic_map, seed):
        return skin_with_spots(*decode_semantic_map(semantic_map, VOCABULARY), seed)


class OneColour(Painter):
    def paint_one(self, semantic_map, seed):
        return np.full((SIZE, SIZE, 3), SKIN[3], np.uint8)


class Backwards(Painter):
    """Paints type I as VI and VI as I."""

    def paint_one(self, semantic_map, seed):
        fitzpatrick, rois = decode_semantic_map(semantic_map, VOCABULARY)
        return skin_with_spots(7 - (fitzpatrick or 4), rois, seed)


class Noise(Painter):
    def paint_one(self, semantic_map, seed):
        rng = np.random.default_rng(seed)
        return rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def obedient(pairs_dir, embedding):
    """A painter that obeys its maps, and how it was judged."""
    painter = Painter()
    return painter, evaluate(painter, pairs_dir, embedding, trials=10)


def test_an_obedient_painter(pairs_dir, embedding, obedient):
    painter, metrics = obedient[0], obedient[1].metrics
    json.dumps(metrics, allow_nan=False)
    assert painter.seeds[:28] == list(range(28))
    info = read_pairs_info(pairs_dir)
    assert metrics["data"]["fingerprint"] == info.fingerprint
    assert metrics["data"]["images"] == metrics["data"]["images_in_split"] == 28
    assert metrics["data"]["cases"] == 7
    assert metrics["data"]["skin_types"] == {str(t): 4 for t in range(7)}
    assert sum(metrics["data"]["conditions"].values()) == 28
    assert metrics["embedding"]["name"] == "grid_colours"
    assert metrics["embedding"]["fingerprint"] == embedding.fingerprint

    pairs = list(read_pairs(pairs_dir, "test"))
    real = embedding.embed(pair["image"] for pair in pairs)
    synthetic = embedding.embed(
        painter.paint_one(pair["semantic_map"], i) for i, pair in enumerate(pairs)
    )
    found = metrics["distances"]["overall"]["synthetic_real"]
    assert found["images"] == 28
    assert found["frechet_distance"] == pytest.approx(
        frechet_distance(real, synthetic), rel=1e-6
    )
    assert found["kernel_distance"] == pytest.approx(
        kernel_distance(real, synthetic), rel=1e-6
    )
    expected = precision_recall(real, synthetic)
    assert {name: found[name] for name in expected} == expected
    assert found["frechet_trials"]["trials"] == 10
    assert found["frechet_trials"]["sample_size"] == 14

    beside = metrics["distances"]["overall"]["real_real"]
    assert beside["images"] == 28 and "train" in beside["compared"]
    assert beside["frechet_trials"]["sample_size"] == 14
    train = [embedding.embed([p["image"]])[0] for p in read_pairs(pairs_dir, "train")]
    assert beside["frechet_distance"] < 5 * frechet_distance(train, real)

    assert [row["group"] for row in metrics["distances"]["by_skin_type"]] == [*range(7)]
    by_condition = metrics["distances"]["by_condition"]
    assert sum(row["images"] for row in by_condition) == 28
    assert any("Too few images" in remark for remark in metrics["remarks"])

    control = metrics["control"]
    tone = control["skin_tone"]
    assert tone["spearman"]["value"] < -0.95 and tone["monotonic"]["value"] == 1
    assert control["placement"]["move"]["iou"]["value"] > 0.8
    assert control["condition"]["undefined"] == (
        "there is no validation split to make a judge from"
    )
    assert metrics["diversity"]["overall"]["same_map / real"]["value"] < 1
    assert metrics["memorization"]["train_images"] == 48
    assert any("whether it has seen these cases" in r for r in metrics["remarks"])


def test_disobedience_and_ugliness_show(pairs_dir, embedding, obedient):
    def judged(painter):
        return evaluate(painter, pairs_dir, embedding, trials=10).metrics

    good, backwards, noise = obedient[1].metrics, judged(Backwards()), judged(Noise())
    assert backwards["control"]["skin_tone"]["spearman"]["value"] > 0.9
    assert backwards["control"]["skin_tone"]["monotonic"]["value"] == 0
    distances = [m["distances"]["overall"] for m in (good, noise)]
    near, far = (d["synthetic_real"] for d in distances)
    assert far["frechet_distance"] > 10 * near["frechet_distance"]
    assert far["coverage"] == 0
    # What is compared with does not depend on who is judged.
    assert distances[0]["real_real"] == distances[1]["real_real"]
    assert noise["control"]["placement"]["move"]["iou"]["value"] < 0.3


class Replay(Painter):
    """Plays training images back, whatever the map."""

    def __init__(self, folder):
        super().__init__()
        self.images = [pair["image"] for pair in read_pairs(folder, "train")]

    def paint_one(self, semantic_map, seed):
        return self.images[int(seed) % len(self.images)]


def test_a_planted_memoriser_is_caught(tmp_path, pairs_dir, embedding):
    evaluation = evaluate(Replay(pairs_dir), pairs_dir, embedding, trials=2)
    memory = evaluation.metrics["memorization"]
    assert memory["memorised"] and memory["copies"] == 28
    closest = memory["closest"][0]
    assert closest["distance"] == 0
    assert closest["train"] == closest["synthetic"] % 48  # the very image it played
    lines = summary_lines(evaluation.metrics)
    assert lines[-1] == "training images remembered: yes"
    write_evaluation(tmp_path, evaluation.metrics, evaluation.sheets)
    assert "training images are remembered" in (tmp_path / "report.html").read_text()
    assert (tmp_path / "closest_pairs.png").is_file()


def test_a_judge_of_conditions_is_trained(tmp_path, embedding):
    photos = drawn(12, "train") + drawn(4, "validation") + drawn(12, "test")
    folder = prepared(tmp_path / "pairs", photos)
    evaluation = evaluate(Painter(), folder, embedding, trials=2, judge_steps=60)
    recall = evaluation.metrics["control"]["condition"]
    assert recall["undefined"] is None and recall["scenes"] == 24
    assert recall["macro_recall"]["real"]["value"] > 0.9
    assert recall["macro_recall"]["ratio"]["value"] > 0.9
    write_evaluation(tmp_path, evaluation.metrics, evaluation.sheets)
    assert (tmp_path / "condition_recall.png").is_file()


def test_one_colour_for_all_has_no_correlation_and_says_so(pairs_dir, embedding):
    metrics = evaluate(OneColour(), pairs_dir, embedding, trials=3).metrics
    spearman = metrics["control"]["skin_tone"]["spearman"]
    assert spearman["value"] is None and spearman["interval_95"] is None
    assert any(
        "skin colour follows the type is undefined" in r for r in metrics["remarks"]
    )
    assert metrics["diversity"]["overall"]["same_map / real"]["value"] == 0
    assert metrics["control"]["placement"]["move"]["iou"]["value"] == 0
    json.dumps(metrics, allow_nan=False)


def test_a_draw_of_the_split_keeps_each_images_own_seed(pairs_dir, embedding):
    painter, again, other = Painter(), Painter(), Painter()
    first = evaluate(painter, pairs_dir, embedding, trials=2, max_images=10, seed=4)
    second = evaluate(again, pairs_dir, embedding, trials=2, max_images=10, seed=4)
    drawn_seeds = painter.seeds[:10]
    assert max(drawn_seeds) < 28
    assert drawn_seeds == sorted(drawn_seeds) != list(range(10))
    assert first.metrics == second.metrics
    assert first.sheets.keys() == second.sheets.keys()
    for name, sheet in first.sheets.items():
        np.testing.assert_array_equal(sheet, second.sheets[name])
    evaluate(other, pairs_dir, embedding, trials=2, max_images=10, seed=5)
    assert other.seeds[:10] != drawn_seeds
    assert first.metrics["data"]["images"] == 10
    assert first.metrics["data"]["images_in_split"] == 28
    few = [r for r in first.metrics["remarks"] if "10 images, 5 a trial, are few" in r]
    assert few, "fewer images than features must be said"


def test_without_enough_training_images_halves_are_compared(tmp_path, embedding):
    folder = prepared(tmp_path / "pairs", drawn(2, "train") + drawn(8, "test"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # what is dubious stands in the report instead
        metrics = evaluate(Painter(), folder, embedding, trials=5).metrics
    beside = metrics["distances"]["overall"]["real_real"]
    assert beside["compared"] == "random halves of the real test images"
    assert beside["images"] == 8 and beside["frechet_trials"]["sample_size"] == 8
    assert any("halves that show the same cases" in r for r in metrics["remarks"])


def test_unknown_skin_types_only(tmp_path, embedding):
    photos = drawn(6, "train", fitzpatrick=0) + drawn(6, "test", fitzpatrick=0)
    folder = prepared(tmp_path / "pairs", photos)
    evaluation = evaluate(Painter(), folder, embedding, trials=2)
    tone = evaluation.metrics["control"]["skin_tone"]
    assert tone["spearman"]["value"] < -0.95  # types can be asked for all the same
    assert tone["data_colours"]["undefined"] and tone["classes"]["real"]["images"] == 0
    write_evaluation(tmp_path, evaluation.metrics, evaluation.sheets)
    assert "undefined" in (tmp_path / "report.html").read_text("utf-8")


def test_what_cannot_be_judged(tmp_path, pairs_dir, embedding):
    with pytest.raises(InputError, match="no split 'validation'; it has: train, test"):
        evaluate(Painter(), pairs_dir, embedding, split="validation")
    with pytest.raises(InputError, match="7 images of split 'test' are too few"):
        evaluate(Painter(), pairs_dir, embedding, max_images=7)
    other = Painter()
    other.vocabulary = Vocabulary(["melanoma", "scar"])
    with pytest.raises(InputError, match="position 1: the SavedModel has 'scar'"):
        evaluate(other, pairs_dir, embedding)
    larger = Painter()
    larger.image_size = 128
    with pytest.raises(InputError, match="paints 128 × 128 pixels"):
        evaluate(larger, pairs_dir, embedding)
    mixed = drawn(6, "train") + drawn(4, "test") + drawn(4, "test", "synthetic")[2:]
    mixed = [dataclasses.replace(p, name=f"{p.name}-{i}") for i, p in enumerate(mixed)]
    folder = prepared(tmp_path / "mixed", mixed)
    with pytest.raises(InputError, match="is synthetic"):
        evaluate(Painter(), folder, embedding)


def test_the_report_is_one_page_that_opens_offline(tmp_path, obedient):
    evaluation = obedient[1]
    write_evaluation(tmp_path, evaluation.metrics, evaluation.sheets)
    sheets = {f"{name}.png" for name in evaluation.sheets}
    assert sheets == {
        *("held_out_maps.png", "skin_types.png", "sizes.png", "conditions.png"),
        *("seeds.png", "placement.png", "closest_pairs.png"),
    }
    figures = {"distances.png", "sample_size.png", "skin_tone.png", "diversity.png"}
    assert {path.name for path in tmp_path.iterdir()} == {
        *("metrics.json", "report.html", "memorization.png"),
        *(sheets | figures),
    }
    assert json.loads((tmp_path / "metrics.json").read_text()) == evaluation.metrics
    for name in sheets:
        assert is_synthetic(tmp_path / name)
    page = (tmp_path / "report.html").read_text("utf-8")
    assert not re.search(r"""(src|href)\s*=\s*["'](?!data:)""", page)
    assert "<script" not in page and "http" not in page and "@import" not in page
    # Names come from the user's files and are text, not markup.
    assert "<b>eczema</b>" not in page
    assert "&lt;b&gt;eczema&lt;/b&gt; &amp; co" in page
    picture = re.search(r"data:image/png;base64,([A-Za-z0-9+/=]+)", page).group(1)
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture))))
    np.testing.assert_array_equal(shown, evaluation.sheets["held_out_maps"])
    for part in ("grid_colours", "28 of\n28 real images", "Spearman"):
        assert part in page
    for remark in evaluation.metrics["remarks"]:
        assert html.escape(remark, quote=False).replace("'", "&#39;") in page


def test_every_number_is_documented(obedient):
    text = (pathlib.Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
    documented = set(re.findall(r"[a-z_0-9]+", text))

    def keys(value):
        if isinstance(value, dict):
            for key, inner in value.items():
                yield key
                yield from keys(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from keys(inner)

    metrics = obedient[1].metrics
    names = {*VOCABULARY, *metrics["generator"]["provenance"]}
    found = {key for key in keys(metrics) if key not in names and not key.isdigit()}
    found = {word for key in found for word in key.split(" / ")}
    assert len(found) > 60
    assert not found - documented
