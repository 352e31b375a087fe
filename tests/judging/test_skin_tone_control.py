import json

import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import confusion_matrix

from dermgan_tf.errors import InputError
from dermgan_tf.judging.skin_tone_control import ita_by_type, skin_tone_control
from dermgan_tf.photos.skin_tone import fitzpatrick_from_ita, ita_degrees
from tests.helpers.judged_pairs import (
    SKIN,
    VOCABULARY,
    Painter,
    decode_semantic_map,
    make_pair,
    one_image,
    paint,
)

COLOURS = {t: float(ita_degrees(SKIN[t].astype(np.uint8))) for t in range(1, 7)}


def pairs_of(count=12):
    return [
        make_pair(i, fitzpatrick=i % 6 + 1, case=f"case{i // 2}") for i in range(count)
    ]


def judged(painter, pairs=None, **options):
    found = skin_tone_control(painter, pairs or pairs_of(), **options)
    json.dumps(found, allow_nan=False)
    return found


def test_an_obedient_painter():
    painter = Painter()
    found = judged(painter, real_ita_by_type=COLOURS)
    assert (found["scenes"], found["cases"], found["measured"]) == (12, 6, 12)
    assert found["unmeasured"] == 0 and set(found["without_skin"].values()) == {0}
    assert sum(painter.batches) == 72
    assert found["spearman"]["value"] < -0.98 and found["spearman"]["images"] == 72
    assert found["spearman"]["value"] == pytest.approx(
        found["spearman"]["best"],
        abs=1e-3,  # some images have one ITA
    )
    low, high = found["spearman"]["interval_95"]
    assert -1 <= low <= found["spearman"]["value"] <= high < -0.98
    assert found["monotonic"]["hits"] == found["monotonic"]["total"] == 12
    assert found["falling_steps"]["hits"] == found["falling_steps"]["total"] == 60
    assert found["monotonic"]["interval_95"] == found["falling_steps"]["interval_95"]
    for row in found["by_type"]:
        assert row["ita"] == pytest.approx(COLOURS[row["fitzpatrick"]], abs=1)
        assert row["interval_95"][0] <= row["ita"] <= row["interval_95"][1]
    exact = found["data_colours"]["synthetic"]
    assert exact["confusion"] == (12 * np.eye(6, dtype=int)).tolist()
    assert exact["exact"]["value"] == exact["within_one"]["value"] == 1
    assert found["data_colours"]["real"]["images"] == 12
    classes = found["classes"]["synthetic"]
    measured = [fitzpatrick_from_ita(COLOURS[t]) for t in range(1, 7)]
    expected = confusion_matrix(range(1, 7), measured, labels=range(1, 7))
    assert classes["confusion"] == (12 * expected).tolist()
    assert classes["exact"]["value"] == np.trace(expected) / 6


def test_correlation_against_scipy_where_two_types_swap():
    order = np.array([0, 2, 1, 3, 4, 5, 6])
    found = judged(Painter(lambda m, s: paint(m, 0, SKIN[order])), max_scenes=5)
    colours = [COLOURS[order[t]] for t in range(1, 7)]
    expected = scipy.stats.spearmanr(range(1, 7), colours).statistic
    assert found["spearman"]["value"] == pytest.approx(expected)
    assert found["scenes"] == found["cases"] == 5  # of different cases
    assert found["monotonic"]["hits"] == 0
    assert (found["falling_steps"]["hits"], found["falling_steps"]["total"]) == (20, 25)


def test_disobedient_painters():
    backwards = SKIN[[0, 6, 5, 4, 3, 2, 1]]
    found = judged(Painter(lambda m, s: paint(m, s, backwards)))
    assert found["spearman"]["value"] > 0.98
    assert found["monotonic"]["hits"] == found["falling_steps"]["hits"] == 0
    constant = judged(Painter(one_image), real_ita_by_type=COLOURS)
    assert constant["spearman"]["value"] is None
    assert constant["spearman"]["undefined"] == "every image has the same ITA"
    assert constant["falling_steps"]["value"] == 0 and constant["measured"] == 12
    assert constant["data_colours"]["synthetic"]["exact"]["value"] == 1 / 6


def test_a_type_without_skin_is_measured_on_the_others_pixels():
    def black_for_six(semantic_map, seed):
        image = paint(semantic_map, seed)
        return 0 * image if semantic_map[0, 0, 0] == 255 else image

    found = judged(Painter(black_for_six))
    assert found["without_skin"]["6"] == 12 and found["without_skin"]["1"] == 0
    assert found["measured"] == 12 and found["by_type"][5]["ita"] == -90


def test_what_cannot_be_measured_is_counted():
    full = [make_pair(i, boxes=[(0, 0, 1, 1)]) for i in range(3)]
    found = judged(Painter(), full)
    assert (found["scenes"], found["measured"], found["unmeasured"]) == (3, 0, 3)
    assert found["spearman"]["undefined"] == "no sweep was measured"
    assert found["monotonic"]["value"] is None and found["by_type"][0]["ita"] is None
    mixed = judged(Painter(), [*full, *pairs_of(4)])
    assert (mixed["measured"], mixed["unmeasured"]) == (4, 3)
    assert mixed["monotonic"]["total"] == 4
    one = judged(Painter(), pairs_of(1))
    assert one["spearman"]["value"] is not None
    assert one["spearman"]["interval_95"] is None
    with pytest.raises(InputError, match="no pairs to judge skin tones by"):
        skin_tone_control(Painter(), [])


def test_colours_of_the_data():
    pairs = [*pairs_of(12), make_pair(20, fitzpatrick=0)]
    found = ita_by_type(iter(pairs))
    assert list(found) == [1, 2, 3, 4, 5, 6]
    for t, ita in found.items():
        assert ita == pytest.approx(COLOURS[t], abs=1)
    unknown = judged(Painter())["data_colours"]
    assert unknown["synthetic"] is None and "of 0 skin types" in unknown["undefined"]
    # As read from JSON, with types that the data lack.
    given = {"1": COLOURS[1], "3": COLOURS[3], "6": None, "5": float("nan")}
    some = judged(Painter(), real_ita_by_type=given)["data_colours"]
    assert some["real_ita"]["6"] is None and some["real_ita"]["5"] is None
    assert some["synthetic"]["images"] == 24 and some["synthetic"]["left_out"] == 48
    assert some["synthetic"]["exact"]["value"] == 1


def test_the_map_differs_in_skin_type_alone():
    seen = []

    def paint_one(semantic_map, seed):
        seen.append((decode_semantic_map(semantic_map, VOCABULARY), seed))
        return paint(semantic_map, seed)

    judged(Painter(paint_one), [make_pair(0, "eczema", 2)])
    assert [fitzpatrick for (fitzpatrick, _), _ in seen] == [1, 2, 3, 4, 5, 6]
    assert len({str(rois) for (_, rois), _ in seen}) == 1
    assert {seed for _, seed in seen} == {0}
