"""Windows: where they lie, what they hold, what they show, how they are cut."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dermgan_tf.pairs import windows as crops
from dermgan_tf.photos.semantic_map import Roi, box_pixels

steady = settings(deadline=None, derandomize=True)
pixel_sides = st.integers(16, 300)


@st.composite
def photo_and_rois(draw, max_rois=6):
    height, width = draw(pixel_sides), draw(pixel_sides)
    rois = []
    for _ in range(draw(st.integers(1, max_rois))):
        top = draw(st.integers(0, height - 1))
        left = draw(st.integers(0, width - 1))
        bottom = draw(st.integers(top + 1, height))
        right = draw(st.integers(left + 1, width))
        box = (top / height, left / width, bottom / height, right / width)
        rois.append(Roi(box, draw(st.sampled_from(["a", "b"]))))
    return height, width, rois


def bounds(group, height, width):
    boxes = np.array([box_pixels(roi.box, height, width) for roi in group])
    return boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)


@steady
@given(photo_and_rois())
def test_every_roi_is_in_exactly_one_group(case):
    height, width, rois = case
    groups = crops.group_rois(rois, height, width)
    grouped = [roi for group in groups for roi in group]
    assert sorted(grouped, key=repr) == sorted(rois, key=repr)
    for group in groups:
        low, high = bounds(group, height, width)
        assert len(group) == 1 or (high - low).max() <= 0.75 * min(height, width)


def test_near_rois_are_grouped_and_far_ones_are_not():
    near = [Roi((0.1, 0.1, 0.2, 0.2), "a"), Roi((0.1, 0.24, 0.2, 0.3), "a")]
    far = Roi((0.8, 0.8, 0.9, 0.9), "b")
    assert crops.group_rois([near[0], far, near[1]], 200, 200) == [near, [far]]
    assert crops.group_rois([], 200, 200) == []


def test_a_chain_of_near_rois_is_cut_where_it_outgrows_a_window():
    chain = [Roi((0.4, x / 10, 0.5, x / 10 + 0.08), "a") for x in range(10)]
    groups = crops.group_rois(chain, 100, 100)
    assert len(groups) > 1
    for group in groups:
        low, high = bounds(group, 100, 100)
        assert (high - low).max() <= 75


@steady
@given(photo_and_rois(), st.integers(0, 2**32), st.integers(1, 128))
def test_windows_lie_within_the_area_and_contain_rois(case, seed, min_side):
    height, width, rois = case
    low, high = bounds(rois, height, width)
    area = (low[0] // 2, low[1] // 3, high[0], (high[1] + width) // 2)
    shorter = min(area[2] - area[0], area[3] - area[1])
    skin = np.random.default_rng(seed).random((height // 2 + 1, width // 2 + 1)) > 0.5
    for group in crops.group_rois(rois, height, width):
        rng = np.random.default_rng(seed)
        window = crops.choose_window(group, skin, height, width, rng, min_side, area)
        assert area[0] <= window.top <= window.top + window.side <= area[2]
        assert area[1] <= window.left <= window.left + window.side <= area[3]
        assert min(min_side, shorter) <= window.side <= shorter
        whole = []
        for roi in group:
            top, left, bottom, right = box_pixels(roi.box, height, width)
            if max(bottom - top, right - left) > shorter:
                whole.append(window.side == shorter)  # as much as there can be
            else:
                whole.append(
                    window.top <= top
                    and window.left <= left
                    and bottom <= window.top + window.side
                    and right <= window.left + window.side
                )
        assert any(whole)
        # A group is never lost from its own crop.
        assert crops.rois_in_window(group, window, height, width)


@steady
@given(st.integers(0, 2**32), st.integers(10, 40), st.integers(10, 40))
def test_the_group_is_prominent_with_skin_on_every_side(seed, rows, columns):
    size = 400  # large enough for every prominence
    box = (200 / size, 180 / size, (200 + rows) / size, (180 + columns) / size)
    skin = np.ones((size, size), bool)
    window = crops.choose_window(
        [Roi(box, "a")], skin, size, size, np.random.default_rng(seed)
    )
    share = max(rows, columns) / window.side
    assert 0.24 <= share <= 0.77
    gaps = (
        200 - window.top,
        180 - window.left,
        window.top + window.side - 200 - rows,
        window.left + window.side - 180 - columns,
    )
    assert min(gaps) >= 0.05 * window.side - 1


def test_a_group_too_long_for_the_area_gives_windows_of_one_of_it():
    """Near each other, but together longer than the part of the photo that counts."""
    height, width = 130, 30
    rois = [
        Roi((top / 130, 0, end / 130, 1 / 30), "a")
        for top, end in ((111, 112), (114, 129))
    ]
    boxes = [box_pixels(roi.box, height, width) for roi in rois]
    for seed in range(100):
        rng = np.random.default_rng(seed)
        skin = np.ones((13, 3))
        window = crops.choose_window(
            rois, skin, height, width, rng, area=(0, 0, 129, 15)
        )
        low, end = window.top, window.top + window.side
        assert any(low <= box[0] and box[2] <= end for box in boxes), (seed, window)


def test_windows_turn_away_from_the_background():
    # Skin on the left half; the lesion stands on its border.
    skin = np.zeros((200, 200), bool)
    skin[:, :100] = True
    lesion = Roi((0.45, 0.4, 0.55, 0.5), "a")
    shares, anywhere = [], []
    for seed in range(50):
        rng = np.random.default_rng(seed)
        window = crops.choose_window([lesion], skin, 200, 200, rng)
        shares.append(crops.MaskMeans(skin, 200, 200).inside(window))
        other = crops.random_window(window.side, 200, 200, rng)
        anywhere.append(crops.MaskMeans(skin, 200, 200).inside(other))
    assert min(shares) > 0.8
    assert np.mean(anywhere) < 0.6


def test_a_group_is_taken_whole_or_one_by_one():
    skin = np.ones((300, 300), bool)
    group = [Roi((0.4, 0.40, 0.45, 0.45), "a"), Roi((0.4, 0.47, 0.5, 0.53), "b")]
    assert crops.group_rois(group, 300, 300) == [group]
    seen = set()
    for seed in range(40):
        rng = np.random.default_rng(seed)
        window = crops.choose_window(group, skin, 300, 300, rng)
        visible = crops.rois_in_window(group, window, 300, 300)
        seen.add(tuple(roi.condition for roi in visible))
    assert seen >= {("a", "b"), ("a",)}


def test_black_bars_are_no_part_of_the_photo():
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 12, (120, 200, 3)).astype(np.uint8)  # as JPEG leaves black
    photo[10:90, 30:160] = rng.integers(40, 256, (80, 130, 3))
    assert crops.unpadded_area(photo) == (10, 30, 90, 160)
    roi = Roi((0.0, 0.5, 0.5, 0.9), "a")  # reaches into the bars: believed
    assert crops.unpadded_area(photo, [roi]) == (0, 30, 90, 180)
    assert crops.unpadded_area(np.zeros_like(photo)) == (0, 0, 120, 200)


def test_windows_differ_where_all_is_skin():
    skin = np.ones((200, 200), bool)
    lesion = Roi((0.45, 0.4, 0.55, 0.5), "a")
    windows = {
        crops.choose_window([lesion], skin, 200, 200, np.random.default_rng(seed))
        for seed in range(30)
    }
    assert len(windows) >= 25
    assert len({window.side for window in windows}) >= 10


@steady
@given(photo_and_rois(), st.integers(0, 2**32))
def test_rois_are_clipped_to_the_window(case, seed):
    height, width, rois = case
    rng = np.random.default_rng(seed)
    side = int(rng.integers(1, min(height, width) + 1))
    window = crops.random_window(side, height, width, rng)
    visible = crops.rois_in_window(rois, window, height, width)
    expected = []
    for roi in rois:  # by painting: what of the box's pixels the window shows
        mask = np.zeros((height, width), bool)
        top, left, bottom, right = box_pixels(roi.box, height, width)
        mask[top:bottom, left:right] = True
        seen = mask[window.top : window.top + side, window.left : window.left + side]
        share = seen.sum() / min(mask.sum(), side * side)
        assume(abs(share - 0.02) > 1e-6)
        if share >= 0.02:
            expected.append((roi.condition, seen))
    assert [roi.condition for roi in visible] == [name for name, _ in expected]
    for roi, (_, seen) in zip(visible, expected, strict=True):
        painted = np.zeros((side, side), bool)
        top, left, bottom, right = box_pixels(roi.box, side, side)
        painted[top:bottom, left:right] = True
        np.testing.assert_array_equal(painted, seen)


def test_a_box_around_the_whole_window_stays():
    everywhere = Roi((0.0, 0.0, 1.0, 1.0), "a")
    window = crops.Window(10, 20, 5)  # 0.06 % of the box
    (seen,) = crops.rois_in_window([everywhere], window, 200, 200)
    assert seen.box == (0, 0, 1, 1)


def test_cut_shrinks_by_averaging_areas():
    photo = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    window = crops.Window(4, 8, 32)
    part = photo[4:36, 8:40].astype(float)
    mean = part.reshape(16, 2, 16, 2, 3).mean(axis=(1, 3))
    assert np.abs(crops.cut(photo, window, 16) - mean).max() <= 0.5
    np.testing.assert_array_equal(crops.cut(photo, window, 32), part)
    assert crops.cut(photo, window, 64).shape == (64, 64, 3)


@steady
@given(photo_and_rois(), st.integers(0, 2**32))
def test_share_is_the_mean_of_the_mask(case, seed):
    height, width, _ = case
    rng = np.random.default_rng(seed)
    mask = rng.random((height, width)) > 0.4
    side = int(rng.integers(1, min(height, width) + 1))
    window = crops.random_window(side, height, width, rng)
    part = mask[window.top : window.top + side, window.left : window.left + side]
    share = crops.MaskMeans(mask, height, width).inside(window)
    assert share == pytest.approx(part.mean(), abs=1e-9)
