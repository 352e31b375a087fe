import json

import numpy as np
import pytest

from dermgan_tf.errors import InputError
from dermgan_tf.judging.placement_control import (
    CHANGE_THRESHOLD,
    changed_region,
    moved_box,
    placement_control,
    scaled_box,
)
from dermgan_tf.photos.skin_tone import srgb_to_lab
from tests.helpers.judged_pairs import (
    BOX,
    SIZE,
    SKIN,
    Painter,
    make_pair,
    one_image,
    only_noise,
    paint,
)

LARGE = (0.1, 0.1, 0.9, 0.9)


def pairs_of(count=10, box=BOX):
    names = ("melanoma", "eczema")
    return [make_pair(i, names[i % 2], i % 6 + 1, [box]) for i in range(count)]


def judged(painter, pairs=None, **options):
    found, sheet = placement_control(painter, pairs or pairs_of(), **options)
    json.dumps(found, allow_nan=False)
    assert sheet.dtype == np.uint8 and sheet.ndim == 3
    return found


def ellipse(semantic_map, seed):
    """A lesion that fills its box with an ellipse."""
    image = paint(semantic_map, seed)
    rows, columns = np.nonzero(semantic_map[..., 1])
    (top, bottom), (left, right) = (
        (side.min(), side.max() + 1) for side in (rows, columns)
    )
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    y, x = (
        (y - (top + bottom) / 2) / (bottom - top),
        (x - (left + right) / 2) / (right - left),
    )
    outside = (x**2 + y**2 > 0.25)[..., np.newaxis]
    plain = semantic_map.copy()
    plain[..., 1:] = 0
    return np.where(outside, paint(plain, seed), image)


def retextured(semantic_map, seed):
    """A lesion whose inside is other for every box."""
    image = paint(semantic_map, seed)
    rows, columns = np.nonzero(semantic_map[..., 1])
    shade = (int(rows.sum()) * 31 + int(columns.sum())) % 97
    image[rows, columns] = (250, shade, 250) if len(rows) > 256 else (0, 80 + shade, 0)
    return image


def test_a_painter_that_fills_its_boxes():
    found = judged(Painter())
    assert (found["scenes"], found["cases"]) == (10, 10)
    assert found["threshold"] == pytest.approx(4.6)
    move, grow = found["move"], found["grow"]
    assert move["scenes"] == grow["scenes"] == grow["grown"] == 10
    assert (move["no_room"], move["overlapping"], move["unchanged"]) == (0, 0, 0)
    assert move["undefined"] is None
    # The median filter rounds the corners off.
    assert move["iou"]["value"] > 0.93 and move["iou"]["interval_95"][0] > 0.93
    assert move["change_inside"]["value"] > 0.99
    assert move["region_share"]["value"] == pytest.approx(2 * 16**2 / SIZE**2)
    # An even lesion changes only in the ring that it grew by.
    assert grow["iou"]["value"] == pytest.approx(1 - 1 / 1.5**2, abs=0.02)
    assert grow["exclusive_iou"]["value"] > 0.93
    assert grow["change_inside"]["value"] > 0.99
    ring, rest = 24**2 - 16**2, SIZE**2 - 16**2
    assert grow["exclusive_share"]["value"] == pytest.approx(ring / rest)
    assert move["exclusive_iou"] == move["iou"]
    for row in move["by_condition"]:
        assert row["iou"]["images"] == row["iou"]["cases"] == 5
    assert [row["condition"] for row in grow["by_condition"]] == ["eczema", "melanoma"]


def test_an_ellipse_has_an_iou_of_a_quarter_of_pi():
    # A large box: the edges of a small one are coarse.
    found = judged(Painter(ellipse), pairs_of(4, (0, 0, 0.5, 0.5)))
    assert found["move"]["iou"]["value"] == pytest.approx(np.pi / 4, abs=0.03)


def test_a_lesion_with_another_inside_fills_the_grown_box():
    found = judged(Painter(retextured))
    assert found["grow"]["iou"]["value"] > 0.93
    assert found["grow"]["exclusive_iou"]["value"] > 0.93


def test_a_painter_that_does_not_look_at_the_box():
    for kind in ("move", "grow"):
        found = judged(Painter(one_image))[kind]
        assert found["iou"]["value"] == found["change_inside"]["value"] == 0
        assert found["unchanged"] == found["scenes"] == found["iou"]["images"] == 10


def test_noise_everywhere_counts_as_no_lesion():
    found = judged(Painter(only_noise))
    for kind in ("move", "grow"):
        share = found[kind]["region_share"]["value"]
        assert found[kind]["unchanged"] == 0
        assert found[kind]["iou"]["value"] == pytest.approx(share, abs=0.02)
        assert found[kind]["change_inside"]["value"] == pytest.approx(share, abs=0.02)


def test_a_faint_change_of_the_whole_image_is_not_a_lesion():
    def faint(semantic_map, seed):
        # Below the threshold where it stands alone; the box itself is not heeded.
        shift = 2 * int(np.argmax(semantic_map[..., 1].any(axis=0)) % 2)
        shift += int((semantic_map[..., 1] > 0).sum() > 300)
        return np.full((SIZE, SIZE, 3), SKIN[3] - shift, np.uint8)

    found = judged(Painter(faint))
    assert found["move"]["unchanged"] == found["grow"]["unchanged"] == 10
    assert found["grow"]["iou"]["value"] == 0
    share = found["grow"]["region_share"]["value"]
    assert found["grow"]["change_inside"]["value"] == pytest.approx(share, abs=1e-4)


def test_a_lesion_in_the_wrong_place():
    upside_down = Painter(lambda m, s: paint(np.ascontiguousarray(m[::-1]), s))
    found = judged(upside_down, pairs_of(10, (0.05, 0.25, 0.3, 0.5)))
    assert found["move"]["iou"]["value"] < 0.3
    assert found["grow"]["iou"]["value"] == 0


def test_the_changed_region_is_that_of_filtered_lab_differences():
    first = np.full((SIZE, SIZE, 3), (200, 150, 120), np.uint8)
    second = first.copy()
    second[10:30, 20:40] = (187, 139, 105)
    second[50, 50] = 0  # a single pixel
    difference = np.linalg.norm(
        srgb_to_lab(first[0, 0]) - srgb_to_lab(second[15, 25]), axis=-1
    )
    assert CHANGE_THRESHOLD < difference < 2 * CHANGE_THRESHOLD - 2.3
    region = changed_region(first, second)
    assert region[11:29, 21:39].all()
    region[10:30, 20:40] = False
    assert not region.any()
    assert not changed_region(first, first - np.uint8(3)).any()


@pytest.mark.parametrize("seed", range(5))
def test_moved_boxes_stay_inside_and_apart(seed):
    rng = np.random.default_rng(seed)
    for _ in range(50):
        height, width = rng.integers(1, 40, 2)
        top, left = rng.integers(0, [64 - height + 1, 64 - width + 1])
        box = (top, left, top + height, left + width)
        new = moved_box(box, 64, rng)
        if new is None:
            continue
        assert (new[2] - new[0], new[3] - new[1]) == (height, width)
        assert min(new) >= 0 and max(new) <= 64
        overlap = np.prod(
            [max(0, min(box[k + 2], new[k + 2]) - max(box[k], new[k])) for k in (0, 1)]
        )
        room = [max(box[k], 64 - box[k + 2]) >= (height, width)[k] for k in (0, 1)]
        assert overlap == 0 if any(room) else overlap <= height * width / 2


def test_boxes_without_room():
    rng = np.random.default_rng(0)
    assert moved_box((0, 0, 64, 64), 64, rng) is None
    # The farthest corner, where no place is free of the old one.
    assert moved_box((0, 0, 40, 40), 64, rng) == (24, 24, 64, 64)
    assert scaled_box((20, 20, 40, 30), 64) == (15, 17, 45, 32)
    assert scaled_box((4, 4, 60, 60), 64) == (13, 13, 50, 50)
    assert scaled_box((5, 5, 6, 6), 64) == (4, 4, 6, 6)
    found = judged(Painter(), [*pairs_of(4, LARGE), *pairs_of(2)])
    assert (found["move"]["scenes"], found["move"]["no_room"]) == (2, 4)
    assert (found["grow"]["grown"], found["grow"]["shrunk"]) == (2, 4)
    assert found["grow"]["exclusive_iou"]["value"] > 0.9
    # Too large to be free of itself: what both boxes share does not change.
    overlapping = judged(Painter(), pairs_of(4, (0, 0, 0.6, 0.6)))["move"]
    assert overlapping["overlapping"] == 4 and overlapping["iou"]["value"] < 0.94
    assert overlapping["exclusive_iou"]["value"] > overlapping["iou"]["value"]
    found = judged(Painter(), pairs_of(2, LARGE))
    assert found["move"]["iou"]["value"] is None
    assert found["move"]["undefined"] == "no box has room to move"


def test_only_scenes_of_one_box_count():
    two = make_pair(50, boxes=[BOX, (0.7, 0.7, 0.9, 0.9)])
    none = make_pair(51, boxes=[])
    assert judged(Painter(), [two, none, *pairs_of(3)])["scenes"] == 3
    with pytest.raises(InputError, match="no pair with exactly one box"):
        placement_control(Painter(), [two, none])
    with pytest.raises(InputError, match="no pair with exactly one box"):
        placement_control(Painter(), [])
    one = judged(Painter(), pairs_of(1))
    assert one["move"]["iou"]["interval_95"] is None


def test_the_same_call_gives_the_same_numbers():
    first, second = (judged(Painter(), max_scenes=4, seed=2) for _ in range(2))
    assert first == second and first["scenes"] == 4
