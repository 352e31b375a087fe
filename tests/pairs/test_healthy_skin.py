"""Crops of healthy skin, and few training cases: from windows to plans and pictures."""

import collections

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dermgan_tf.errors import InputError
from dermgan_tf.generation.balance import plan_synthetic, write_plan
from dermgan_tf.generation.plan import (
    SWEEPS,
    ImageSpec,
    plan_sweep,
    read_plan,
    varied_specs,
)
from dermgan_tf.generation.scenes import read_training_scenes
from dermgan_tf.pairs import windows
from dermgan_tf.pairs.pairs import read_pairs, read_pairs_info
from dermgan_tf.pairs.prepare import prepare_pairs
from dermgan_tf.pairs.sources import phantom_photos
from dermgan_tf.photos.annotations import read_annotations
from dermgan_tf.photos.semantic_map import Roi, box_pixels, encode_semantic_map
from dermgan_tf.photos.vocabulary import HEALTHY, Vocabulary
from tests.pairs.test_pairs import VOCABULARY, write_photos
from tests.pairs.test_windows import photo_and_rois

WITH_HEALTHY = Vocabulary([*VOCABULARY, HEALTHY])


@settings(deadline=None, derandomize=True)
@given(
    photo_and_rois(), st.integers(1, 200), st.integers(1, 80), st.integers(0, 2**32 - 1)
)
def test_windows_of_healthy_skin_show_no_roi(case, side, min_side, seed):
    height, width, rois = case
    rng = np.random.default_rng(seed)
    skin = np.zeros((height, width), bool)
    skin[: rng.integers(1, height + 1), : rng.integers(1, width + 1)] = True
    window = windows.choose_healthy_window(
        rois, skin, height, width, side, rng, min_side=min_side
    )
    if window is None:
        return
    assert min(min_side, side) <= window.side <= side
    bottom, right = window.top + window.side, window.left + window.side
    assert 0 <= window.top < bottom <= height and 0 <= window.left < right <= width
    assert skin[window.top : bottom, window.left : right].mean() >= 0.75
    margin = round(windows.MARGIN * window.side)
    shown = np.zeros((height + 2 * margin, width + 2 * margin), bool)
    shown[window.top : bottom + 2 * margin, window.left : right + 2 * margin] = True
    for roi in rois:
        top, left, low, far = box_pixels(roi.box, height, width)
        assert not shown[margin:, margin:][top:low, left:far].any()


def test_there_is_no_window_where_there_is_no_room_or_no_skin():
    everywhere = Roi((0.05, 0.05, 0.95, 0.95), "eczema")
    skin = np.ones((100, 100), bool)
    rng = np.random.default_rng(0)

    def found(rois, mask, min_side):
        return windows.choose_healthy_window(rois, mask, 100, 100, 60, rng, min_side)

    assert found([everywhere], skin, 20) is None
    assert found([], np.zeros_like(skin), 20) is None
    # A strip of 20 pixels beside the lesion: smaller windows are tried until one fits.
    beside = Roi((0.0, 0.2, 1.0, 1.0), "eczema")
    assert found([beside], skin, 25) is None
    assert found([beside], skin, 10).side <= 20


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return write_photos(tmp_path_factory.mktemp("hospital"))


@pytest.fixture(scope="module")
def prepared(photos, tmp_path_factory):
    """(folder without, folder with crops of healthy skin)."""
    root = tmp_path_factory.mktemp("pairs")
    for name, count in (("without", 0), ("with", 3)):
        prepare_pairs(
            photos,
            VOCABULARY,
            root / name,
            image_size=64,
            crops_per_photo=2,
            healthy_crops_per_photo=count,
            workers=1,
        )
    return root / "without", root / "with"


def told(folder, split="train"):
    return [
        (p["image_id"], p["image"].tobytes(), p["condition"], p["boxes"].tolist())
        for p in read_pairs(folder, split)
    ]


def test_healthy_crops_come_besides_the_others(photos, prepared):
    without, folder = prepared
    assert read_pairs_info(folder).vocabulary == WITH_HEALTHY
    assert read_pairs_info(without).vocabulary == VOCABULARY
    by_condition = collections.Counter()
    pixels = {photo.path: photo.load().photo for photo in photos}
    for split in read_pairs_info(folder).counts:
        ours = told(folder, split)
        assert [one for one in ours if one[2] != HEALTHY] == told(without, split)
        for pair in read_pairs(folder, split):
            by_condition[pair["condition"] == HEALTHY] += 1
            if pair["condition"] != HEALTHY:
                continue
            assert len(pair["boxes"]) == 0 and pair["box_conditions"] == ()
            # Skin type alone: no condition anywhere.
            expected = encode_semantic_map(64, pair["fitzpatrick"], [], WITH_HEALTHY)
            np.testing.assert_array_equal(pair["semantic_map"], expected)
            assert not pair["semantic_map"][..., 1:].any()
            # Pixels are those of the window, in the photo of some case.
            ymin, xmin, ymax, xmax = pair["window"]
            assert any(
                _same(pair["image"], photo, (ymin, xmin, ymax, xmax))
                for photo in pixels.values()
            )
    assert by_condition[True] > 0.5 * 3 * len(photos)


def _same(crop, photo, window):
    height, width = photo.shape[:2]
    top, left, bottom, right = box_pixels(window, height, width)
    part = photo[top:bottom, left:right]
    if part.shape[0] != part.shape[1]:
        return False
    larger = part.shape[0] > 64
    method = cv2.INTER_AREA if larger else cv2.INTER_CUBIC
    part = cv2.resize(part, (64, 64), interpolation=method)
    return np.abs(part.astype(int) - crop).mean() < 1


def test_healthy_crops_show_no_lesion_of_a_phantom(tmp_path):
    """The phantom's own truth: a crop is drawn again without its lesions."""
    vocabulary = Vocabulary(["melanoma", "psoriasis"])
    photos = phantom_photos(6, vocabulary, seed=3, photo_size=(240, 320))
    prepare_pairs(
        photos,
        vocabulary,
        tmp_path / "pairs",
        64,
        crops_per_photo=1,
        healthy_crops_per_photo=2,
        workers=1,
    )
    info = read_pairs_info(tmp_path / "pairs")
    pairs = [p for s in info.counts for p in read_pairs(tmp_path / "pairs", s)]
    healthy = [p for p in pairs if p["condition"] == HEALTHY]
    assert len(healthy) > len(photos)
    drawn = [photo.load() for photo in photos]
    for pair in healthy:
        ymin, xmin, ymax, xmax = pair["window"]
        (source,) = [
            one for one in drawn if _same(pair["image"], one.photo, pair["window"])
        ]
        for roi in source.rois:
            apart = (
                roi.box[2] <= ymin + 1e-6
                or roi.box[0] >= ymax - 1e-6
                or roi.box[3] <= xmin + 1e-6
                or roi.box[1] >= xmax - 1e-6
            )
            assert apart


def test_plans_fill_healthy_skin_with_maps_of_skin_alone(prepared, tmp_path):
    _, folder = prepared
    scenes = read_training_scenes(folder)
    plan = plan_synthetic(scenes, WITH_HEALTHY, ratio=2, jitter=0.2)
    assert HEALTHY not in plan.left_out
    real = sum(scene.condition == HEALTHY for scene in scenes)
    assert sum(plan.synthetic()[HEALTHY]) == 2 * real
    write_plan(tmp_path / "plan.json", plan)
    _, specs = read_plan(tmp_path / "plan.json", WITH_HEALTHY)
    for spec in specs:
        assert bool(spec.boxes) == (spec.condition != HEALTHY)
        spec.semantic_map(64, WITH_HEALTHY)


def test_specs_of_healthy_skin_have_no_box(tmp_path):
    specs = list(varied_specs(WITH_HEALTHY, 24))
    assert {bool(s.boxes) for s in specs if s.condition == HEALTHY} == {False}
    assert {bool(s.boxes) for s in specs if s.condition != HEALTHY} == {True}
    box = (0.1, 0.1, 0.5, 0.5)
    with pytest.raises(InputError, match="has no box"):
        varied_specs(WITH_HEALTHY, 1, condition=HEALTHY, boxes=[box])
    with pytest.raises(InputError, match="has no box"):
        ImageSpec(HEALTHY, 3, (box,), 0).semantic_map(64, WITH_HEALTHY)
    plan = tmp_path / "plan.json"
    plan.write_text('[{"condition": "healthy skin", "boxes": [[0.1, 0.1, 0.5, 0.5]]}]')
    with pytest.raises(InputError, match="entry 1: 'healthy skin' has no box"):
        read_plan(plan, WITH_HEALTHY)


def test_sweeps_leave_healthy_skin_without_boxes():
    for kind in SWEEPS:
        specs = plan_sweep(kind, WITH_HEALTHY).image_specs()
        assert all(bool(s.boxes) == (s.condition != HEALTHY) for s in specs)
        shown = any(spec.condition == HEALTHY for spec in specs)
        assert shown == (kind in ("skin_color", "condition"))
    with pytest.raises(InputError, match="no box whose size could vary"):
        plan_sweep("size", WITH_HEALTHY, condition=HEALTHY)


def test_annotations_with_a_box_of_healthy_skin_are_rejected(tmp_path):
    path = tmp_path / "annotations.jsonl"
    path.write_text(
        '{"image": "a.jpg", "case_id": "1", "condition": "healthy skin", '
        '"rois": [{"box": [0.1, 0.1, 0.5, 0.5]}]}\n'
    )
    annotations, rejects = read_annotations(path)
    assert not annotations
    assert "'healthy skin' has no box" in rejects[0].reason


def test_few_training_cases_are_nested_and_leave_the_other_splits(
    photos, prepared, tmp_path
):
    without, _ = prepared

    def of(count, seed=0):
        folder = tmp_path / f"{count}-{seed}"
        prepare_pairs(
            photos, VOCABULARY, folder, 64, 2, seed, workers=1, train_cases=count
        )
        return folder

    def cases(folder):
        return {pair["case_id"] for pair in read_pairs(folder, "train")}

    three, five = of(3), of(5)
    assert len(cases(three)) == 3 and len(cases(five)) == 5
    assert cases(three) < cases(five) < cases(without)
    for split in ("validation", "test"):
        assert told(three, split) == told(without, split)
    # What stays is cut as before.
    assert set(map(repr, told(three))) < set(map(repr, told(without)))
    with pytest.raises(InputError, match="50 training cases were asked for; there are"):
        of(50)
