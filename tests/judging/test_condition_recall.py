import dataclasses
import json

import keras
import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, recall_score

from dermgan_tf.classifier.labelled_images import LabelledImages
from dermgan_tf.errors import InputError
from dermgan_tf.judging.condition_recall import Judge, condition_recall, train_judge
from dermgan_tf.photos.vocabulary import Vocabulary
from tests.helpers.judged_pairs import (
    SIZE,
    VOCABULARY,
    Painter,
    make_pair,
    one_image,
    paint,
)

NAMES = VOCABULARY.conditions


def pairs_of(count=24):
    return [
        make_pair(i, NAMES[i % 3 % 2], i % 6 + 1, case=f"case{i // 2}")
        for i in range(count)
    ]


def red_judge(threshold=100.0):
    """Takes an image with a pixel whose red exceeds its green by so much for eczema."""
    inputs = keras.Input((SIZE, SIZE, 3))
    redness = keras.layers.Conv2D(1, 1, name="redness")(inputs)
    output = keras.layers.Dense(2, activation="softmax", name="told")
    model = keras.Model(inputs, output(keras.layers.GlobalMaxPooling2D()(redness)))
    model.get_layer("redness").set_weights(
        [np.reshape([1.0, -1.0, 0.0], (1, 1, 3, 1)), np.array([-threshold])]
    )
    model.get_layer("told").set_weights([np.array([[-1.0, 1.0]]), np.zeros(2)])
    return Judge(model, NAMES, frozenset({"other"}))


@pytest.fixture(scope="module")
def judge():
    return red_judge()


def judged(painter, judge, pairs=None, **options):
    found = condition_recall(painter, pairs or pairs_of(), judge, **options)
    json.dumps(found, allow_nan=False)
    return found


def test_an_obedient_painter(judge):
    found = judged(Painter(), judge)
    assert found["undefined"] is None and found["without_images"] == []
    assert (found["scenes"], found["cases"], found["chance"]) == (24, 12, 0.5)
    assert found["conditions"] == list(NAMES)
    for kind in ("real", "synthetic"):
        assert found["macro_recall"][kind] == {"value": 1, "interval_95": [1, 1]}
        assert found["confusion"][kind] == [[16, 0], [0, 8]]
    ratio = found["macro_recall"]["ratio"]
    assert ratio == {"value": 1, "interval_95": [1, 1], "undefined": None}
    rows = {row["condition"]: row for row in found["by_condition"]}
    assert rows["melanoma"]["scenes"] == 16
    assert rows["melanoma"]["synthetic"]["interval_95"][0] < 1
    assert (found["paper"]["real"], found["paper"]["synthetic"]) == (0.61, 0.45)


def test_a_painter_that_forgets_some_eczema(judge):
    def forgetful(semantic_map, seed):
        return one_image(semantic_map, seed) if seed % 4 == 0 else paint(*args(seed))

    pairs = pairs_of()

    def args(seed):
        return pairs[seed]["semantic_map"], seed

    found = judged(Painter(forgetful), judge, pairs)
    wanted = [NAMES.index(pair["condition"]) for pair in pairs]
    told = [0 if i % 4 == 0 else w for i, w in enumerate(wanted)]
    assert found["confusion"]["synthetic"] == confusion_matrix(wanted, told).tolist()
    expected = recall_score(wanted, told, average="macro")
    assert expected < 1
    assert found["macro_recall"]["synthetic"]["value"] == pytest.approx(expected)
    ratio = found["macro_recall"]["ratio"]
    assert ratio["value"] == pytest.approx(expected)
    assert ratio["interval_95"][0] < expected < ratio["interval_95"][1] <= 1
    recalls = [row["synthetic"]["value"] for row in found["by_condition"]]
    np.testing.assert_allclose(recalls, recall_score(wanted, told, average=None))


def test_painters_that_swap_or_ignore_the_condition(judge):
    def swapped(semantic_map, seed):
        other = semantic_map.copy()
        inside = other[..., 1] > 0
        blue = other[..., 2][inside]
        other[..., 2][inside] = np.where(blue == 255, 128, 255)
        return paint(other, seed)

    found = judged(Painter(swapped), judge)
    assert found["macro_recall"]["synthetic"]["value"] == 0
    assert found["macro_recall"]["ratio"]["value"] == 0
    constant = judged(Painter(one_image), judge)
    assert constant["macro_recall"]["synthetic"]["value"] == found["chance"] == 0.5


def test_no_ratio_of_a_judge_that_guesses():
    found = judged(Painter(), red_judge(threshold=1000.0))
    assert found["macro_recall"]["real"]["value"] == 0.5
    ratio = found["macro_recall"]["ratio"]
    assert ratio["value"] is None and ratio["interval_95"] is None
    assert "not surely better than guessing" in ratio["undefined"]


def test_conditions_without_images_are_named(judge):
    melanomas = [make_pair(i) for i in range(6)]
    found = judged(Painter(), judge, melanomas)
    assert found["without_images"] == ["eczema"]
    assert found["by_condition"][1]["real"]["value"] is None
    assert found["macro_recall"]["real"]["value"] == 1
    bare = [make_pair(i, boxes=[]) for i in range(2)]
    found = judged(Painter(), judge, [*melanomas, *bare])
    assert (found["scenes"], found["not_in_map"]) == (6, 2)
    one = judged(Painter(), judge, melanomas[:1])
    assert one["macro_recall"]["real"]["interval_95"] is None
    assert one["macro_recall"]["ratio"]["undefined"] == "one case only: no interval"
    for nothing in ([], bare):
        with pytest.raises(InputError, match="no pair with a box of its condition"):
            condition_recall(Painter(), nothing, judge)


def test_a_single_condition_has_no_recall():
    painter = Painter()
    painter.vocabulary = Vocabulary(["foot ulcer"])
    found = condition_recall(painter, pairs_of(), None)
    assert found == {
        "undefined": "foot ulcer is the only condition: nothing to tell apart"
    }


def test_unfit_judges(judge):
    with pytest.raises(InputError, match="needs a judge"):
        condition_recall(Painter(), pairs_of(), None)
    knowing = dataclasses.replace(judge, cases=frozenset({"case3"}))
    with pytest.raises(InputError, match="trained on case case3"):
        condition_recall(Painter(), pairs_of(), knowing)
    other = dataclasses.replace(judge, conditions=("melanoma", "scar"))
    with pytest.raises(InputError, match="tells melanoma, scar, the generator paints"):
        condition_recall(Painter(), pairs_of(), other)
    large = Painter()
    large.image_size = 128
    with pytest.raises(InputError, match="reads 64 × 64 pixels"):
        condition_recall(large, pairs_of(), judge)
    broken = red_judge(threshold=float("nan"))
    with pytest.raises(InputError, match="not finite"):
        condition_recall(Painter(), pairs_of(), broken)


def test_a_judge_learns_from_real_crops():
    def crops(first, count):
        pairs = [
            make_pair(i, NAMES[i % 2], i // 2 % 6 + 1, case=f"t{i}")
            for i in range(first, first + count)
        ]
        return LabelledImages(
            np.stack([pair["image"] for pair in pairs]),
            [NAMES.index(pair["condition"]) for pair in pairs],
            NAMES,
            np.array([pair["case_id"] for pair in pairs]),
        )

    train, validation = crops(100, 48), crops(200, 12)
    judge = train_judge(train, validation, steps=30)
    assert judge.conditions == NAMES
    assert judge.cases == {*train.cases.tolist(), *validation.cases.tolist()}
    found = judged(Painter(), judge, pairs_of(12))
    assert found["macro_recall"]["real"]["value"] > 0.9
    with pytest.raises(InputError, match="real crops only"):
        train_judge(dataclasses.replace(train, cases=None), validation)
