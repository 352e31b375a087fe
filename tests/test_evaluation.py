"""Judging generators of known faults on pairs of known content."""

import base64
import dataclasses
import io
import json
import re
import warnings

import keras
import numpy as np
import pytest
from PIL import Image

from dermgan_tf.embeddings import Embedding
from dermgan_tf.errors import InputError
from dermgan_tf.evaluation import evaluate
from dermgan_tf.evaluation_report import write_evaluation
from dermgan_tf.metrics import frechet_distance, kernel_distance, precision_recall
from dermgan_tf.pairs import read_pairs, read_pairs_info
from dermgan_tf.photo_io import is_synthetic
from dermgan_tf.prepare import LoadedPhoto, prepare_pairs
from dermgan_tf.semantic_map import Roi, decode_semantic_map
from dermgan_tf.vocabulary import Vocabulary

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


def test_an_obedient_painter(pairs_dir, embedding):
    painter = Painter()
    metrics = evaluate(painter, pairs_dir, embedding, trials=10).metrics
    json.dumps(metrics, allow_nan=False)
    assert painter.seeds == list(range(28))
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
    found = metrics["distances"]["synthetic_real"]
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

    beside = metrics["distances"]["real_real"]
    assert beside["images"] == 28 and "train" in beside["compared"]
    assert beside["frechet_trials"]["sample_size"] == 14
    train = [embedding.embed([p["image"]])[0] for p in read_pairs(pairs_dir, "train")]
    assert beside["frechet_distance"] < 5 * frechet_distance(train, real)

    tone = metrics["skin_tone"]
    assert tone["unknown_type"] == 4
    for kind in ("synthetic", "real"):
        assert tone[kind]["spearman"] < -0.95
        assert -1 <= tone[kind]["interval_95"][0] <= tone[kind]["interval_95"][1] < -0.8
        assert tone[kind]["images"] == 24 and tone[kind]["unmeasured"] == 0
    assert [row["fitzpatrick"] for row in tone["by_type"]] == [1, 2, 3, 4, 5, 6]
    medians = [row["synthetic_ita"] for row in tone["by_type"]]
    assert medians == sorted(medians, reverse=True)
    assert any("whether it has seen these cases" in r for r in metrics["remarks"])


def test_disobedience_and_ugliness_show(pairs_dir, embedding):
    def judged(painter):
        return evaluate(painter, pairs_dir, embedding, trials=3).metrics

    good, backwards, noise = judged(Painter()), judged(Backwards()), judged(Noise())
    assert backwards["skin_tone"]["synthetic"]["spearman"] > 0.95
    distance = "frechet_distance"
    assert (
        noise["distances"]["synthetic_real"][distance]
        > 10 * good["distances"]["synthetic_real"][distance]
    )
    assert noise["distances"]["synthetic_real"]["coverage"] == 0
    # What is compared with does not depend on who is judged.
    assert noise["distances"]["real_real"] == good["distances"]["real_real"]


def test_one_colour_for_all_has_no_correlation_and_says_so(pairs_dir, embedding):
    metrics = evaluate(OneColour(), pairs_dir, embedding, trials=3).metrics
    tone = metrics["skin_tone"]["synthetic"]
    assert tone["spearman"] is None and tone["interval_95"] is None
    assert any("undefined in the synthetic" in r for r in metrics["remarks"])
    json.dumps(metrics, allow_nan=False)


def test_a_draw_of_the_split_keeps_each_images_own_seed(pairs_dir, embedding):
    painter, again, other = Painter(), Painter(), Painter()
    first = evaluate(painter, pairs_dir, embedding, trials=2, max_images=10, seed=4)
    second = evaluate(again, pairs_dir, embedding, trials=2, max_images=10, seed=4)
    assert len(painter.seeds) == 10 and max(painter.seeds) < 28
    assert painter.seeds == sorted(painter.seeds) != list(range(10))
    assert first.metrics == second.metrics
    np.testing.assert_array_equal(first.sheet, second.sheet)
    evaluate(other, pairs_dir, embedding, trials=2, max_images=10, seed=5)
    assert other.seeds != painter.seeds
    assert first.metrics["data"]["images"] == 10
    assert first.metrics["data"]["images_in_split"] == 28
    few = [r for r in first.metrics["remarks"] if "10 images, 5 a trial, are few" in r]
    assert few, "fewer images than features must be said"


def test_without_enough_training_images_halves_are_compared(tmp_path, embedding):
    folder = prepared(tmp_path / "pairs", drawn(2, "train") + drawn(8, "test"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # what is dubious stands in the report instead
        metrics = evaluate(Painter(), folder, embedding, trials=5).metrics
    beside = metrics["distances"]["real_real"]
    assert beside["compared"] == "random halves of the real test images"
    assert beside["images"] == 8 and beside["frechet_trials"]["sample_size"] == 8
    assert any("halves that show the same cases" in r for r in metrics["remarks"])


def test_unknown_skin_types_only(tmp_path, embedding):
    photos = drawn(6, "train", fitzpatrick=0) + drawn(6, "test", fitzpatrick=0)
    folder = prepared(tmp_path / "pairs", photos)
    evaluation = evaluate(Painter(), folder, embedding, trials=2)
    tone = evaluation.metrics["skin_tone"]
    assert tone["unknown_type"] == 12 and tone["by_type"] == []
    assert tone["real"]["spearman"] is None
    write_evaluation(tmp_path, evaluation)
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
    with pytest.raises(InputError, match="split 'test' is synthetic"):
        evaluate(Painter(), folder, embedding)


def test_the_report_is_one_page_that_opens_offline(tmp_path, pairs_dir, embedding):
    evaluation = evaluate(Painter(), pairs_dir, embedding, trials=3)
    write_evaluation(tmp_path, evaluation)
    assert {path.name for path in tmp_path.iterdir()} == {
        "metrics.json",
        "report.html",
        "held_out_maps.png",
    }
    assert json.loads((tmp_path / "metrics.json").read_text()) == evaluation.metrics
    assert is_synthetic(tmp_path / "held_out_maps.png")
    page = (tmp_path / "report.html").read_text("utf-8")
    assert not re.search(r"""(src|href)\s*=\s*["'](?!data:)""", page)
    assert "<script" not in page and "http" not in page and "@import" not in page
    # Names come from the user's files and are text, not markup.
    assert "<b>eczema</b>" not in page
    assert "&lt;b&gt;eczema&lt;/b&gt; &amp; co" in page
    picture = re.search(r"data:image/png;base64,([A-Za-z0-9+/=]+)", page).group(1)
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture))))
    np.testing.assert_array_equal(shown, evaluation.sheet)
    for part in ("grid_colours", "28 of\n28 real images", "Spearman"):
        assert part in page
    for remark in evaluation.metrics["remarks"]:
        assert remark in page
