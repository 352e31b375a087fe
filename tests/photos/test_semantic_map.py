import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dermgan_tf as dg
from dermgan_tf.errors import InputError
from dermgan_tf.photos.semantic_map import box_pixels

SIZES = (64, 96, 100, 128, 256, 512)


def vocabulary_of(n):
    return dg.Vocabulary([f"condition {i}" for i in range(n)])


@st.composite
def scenes(draw):
    """A map whose boxes lie apart on pixel borders, so that it can be read back."""
    size = draw(st.sampled_from(SIZES))
    vocabulary = vocabulary_of(draw(st.integers(1, 60)))
    cells = draw(
        st.lists(
            st.tuples(st.integers(0, 3), st.integers(0, 3)), unique=True, max_size=6
        )
    )
    rois = []
    for row, column in cells:
        cell = size // 4
        top = draw(st.integers(row * cell, row * cell + cell - 3))
        bottom = draw(st.integers(top + 1, row * cell + cell - 1))
        left = draw(st.integers(column * cell, column * cell + cell - 3))
        right = draw(st.integers(left + 1, column * cell + cell - 1))
        condition = draw(st.sampled_from(vocabulary.conditions))
        box = (top / size, left / size, bottom / size, right / size)
        rois.append(dg.Roi(box, condition))
    return size, draw(st.integers(0, 6)), rois, vocabulary


@settings(max_examples=150, deadline=None)
@given(scenes())
def test_round_trip(scene):
    size, fitzpatrick, rois, vocabulary = scene
    semantic_map = dg.encode_semantic_map(size, fitzpatrick, rois, vocabulary)
    read_type, read_rois = dg.decode_semantic_map(semantic_map, vocabulary)
    assert read_type == fitzpatrick
    assert read_rois == sorted(rois, key=lambda roi: roi.box)


@settings(max_examples=80, deadline=None)
@given(scenes(), st.integers(0, 2**32 - 1))
def test_noise_just_under_half_a_code_step_is_survived(scene, seed):
    size, fitzpatrick, rois, vocabulary = scene
    clean = dg.encode_semantic_map(size, fitzpatrick, rois, vocabulary)
    n = math.ceil(math.sqrt(len(vocabulary)))
    # Half a step, less the rounding of the code itself to a whole number.
    margins = [255 / 6 / 2 - 1, 255 / n / 2 - 1, 255 / n / 2 - 1]
    rng = np.random.default_rng(seed)
    noise = np.stack(
        [rng.integers(-int(m), int(m) + 1, clean.shape[:2]) for m in margins], axis=-1
    )
    noisy = np.clip(clean.astype(int) + noise, 0, 255).astype(np.uint8)
    read_type, read_rois = dg.decode_semantic_map(noisy, vocabulary)
    assert read_type == fitzpatrick
    assert read_rois == sorted(rois, key=lambda roi: roi.box)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(SIZES),
    st.lists(
        st.tuples(*[st.floats(0, 1)] * 4).filter(
            lambda b: b[0] != b[2] and b[1] != b[3]
        ),
        max_size=5,
    ),
    st.integers(1, 60),
)
def test_painting_against_the_definition(size, corners, conditions):
    """An oracle written from the definition: for each pixel the smallest box wins."""
    vocabulary = vocabulary_of(conditions)
    rois = []
    for i, (a, b, c, d) in enumerate(corners):
        box = (min(a, c), min(b, d), max(a, c), max(b, d))
        rois.append(dg.Roi(box, vocabulary.conditions[i % conditions]))
    painted = dg.encode_semantic_map(size, 3, rois, vocabulary)
    n = math.ceil(math.sqrt(conditions))
    expected = np.zeros((size, size, 3), int)
    expected[..., 0] = round(255 * 3 / 6)
    smallest = np.full((size, size), np.inf)
    for roi in rois:
        top, left, bottom, right = box_pixels(roi.box, size, size)
        assert bottom > top and right > left
        k = vocabulary.index(roi.condition)
        inside = np.zeros((size, size), bool)
        inside[top:bottom, left:right] = True
        wins = inside & ((bottom - top) * (right - left) <= smallest)
        smallest[wins] = (bottom - top) * (right - left)
        expected[wins, 1] = round(255 * (k // n + 1) / n)
        expected[wins, 2] = round(255 * (k % n + 1) / n)
    np.testing.assert_array_equal(painted, expected)
    mask = (expected[..., 1] > 0) | (expected[..., 2] > 0)
    np.testing.assert_array_equal(dg.roi_mask(painted)[..., 0], mask.astype("float32"))


def test_box_covers_floor_to_ceil():
    assert box_pixels((0.26, 0.5, 0.51, 0.99), 4, 100) == (1, 50, 3, 99)
    assert box_pixels((0.999, 0.999, 1.0, 1.0), 64, 64) == (63, 63, 64, 64)
    assert box_pixels((1 - 1e-9, 0.0, 1.0, 1e-9), 64, 64) == (63, 0, 64, 1)
    for size in SIZES:  # boxes made from pixels stay on their pixels, also in float32
        for i in range(size):
            for dtype in (np.float32, np.float64):
                box = dtype(i) / dtype(size), 0, dtype(i + 1) / dtype(size), 1
                assert box_pixels(box, size, size)[:3:2] == (i, i + 1)


def test_codes_of_all_vocabulary_sizes_are_distinct_and_non_zero():
    for count in range(1, 61):
        vocabulary = vocabulary_of(count)
        codes = set()
        for name in vocabulary:
            painted = dg.encode_semantic_map(
                64, 0, [dg.Roi((0, 0, 1, 1), name)], vocabulary
            )
            code = tuple(painted[0, 0])
            assert code[0] == 0 and code[1] > 0 and code[2] > 0
            codes.add(code)
        assert len(codes) == count


def test_no_roi_and_unknown_type_is_black():
    semantic_map = dg.encode_semantic_map(64, 0, [], vocabulary_of(8))
    assert semantic_map.dtype == np.uint8 and not semantic_map.any()
    assert dg.decode_semantic_map(semantic_map, vocabulary_of(8)) == (0, [])


def test_roi_mask_of_tensors_and_batches():
    import tensorflow as tf

    vocabulary = vocabulary_of(8)
    maps = np.stack(
        [
            dg.encode_semantic_map(
                64, t, [dg.Roi((0.2, 0.1, 0.4, 0.9), name)], vocabulary
            )
            for t, name in enumerate(vocabulary.conditions[:3])
        ]
    )
    mask = dg.roi_mask(maps)
    assert mask.shape == (3, 64, 64, 1) and mask.dtype == np.float32
    tensor = dg.roi_mask(tf.constant(maps))
    assert tensor.dtype == tf.float32
    np.testing.assert_array_equal(tensor.numpy(), mask)
    np.testing.assert_array_equal(dg.roi_mask(tf.constant(maps[0])).numpy(), mask[0])


@pytest.mark.parametrize(
    "box, cause",
    [
        ((0.1, 0.1, 0.1, 0.5), "inverted or empty"),
        ((0.5, 0.1, 0.2, 0.5), "inverted or empty"),
        ((-0.1, 0.1, 0.2, 0.5), "outside 0…1"),
        ((0.1, 0.1, 0.2, 1.5), "outside 0…1"),
        ((0.1, 0.1, 0.2, math.nan), "not finite"),
        ((0.1, 0.1, 0.2), "four numbers"),
        (("a", 0.1, 0.2, 0.3), "four numbers"),
        (None, "four numbers"),
    ],
)
def test_bad_boxes_are_refused(box, cause):
    with pytest.raises(InputError, match=cause):
        dg.Roi(box, "eczema")


def test_bad_maps_types_and_conditions_are_refused():
    vocabulary = vocabulary_of(2)
    for fitzpatrick in (-1, 7, 2.5, "IV", None, True):
        with pytest.raises(InputError, match="valid: 0"):
            dg.encode_semantic_map(64, fitzpatrick, [], vocabulary)
    with pytest.raises(InputError, match="unknown condition 'acne'"):
        dg.encode_semantic_map(64, 1, [dg.Roi((0, 0, 1, 1), "acne")], vocabulary)
    with pytest.raises(InputError, match="uint8"):
        dg.decode_semantic_map(np.zeros((8, 8, 3), np.float32), vocabulary)
    with pytest.raises(InputError, match="shape"):
        dg.decode_semantic_map(np.zeros((8, 8), np.uint8), vocabulary)
    foreign = dg.encode_semantic_map(
        64, 1, [dg.Roi((0, 0, 1, 1), "condition 3")], vocabulary_of(4)
    )
    with pytest.raises(InputError, match="another vocabulary"):
        dg.decode_semantic_map(foreign, vocabulary_of(3))
