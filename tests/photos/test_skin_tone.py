import itertools
import math

import cv2
import numpy as np
import pytest

from dermgan_tf.errors import InputError
from dermgan_tf.photos.photo_io import read_photo
from dermgan_tf.photos.semantic_map import Roi
from dermgan_tf.photos.skin_tone import (
    estimate_skin_type,
    estimated_types,
    estimation_error,
    fitted_limits,
    fitzpatrick_from_ita,
    ita_degrees,
    skin_mask,
    srgb_to_lab,
)
from tests.helpers.real_photos import PHOTOS, needs

FOOT_ULCER = PHOTOS / "foot_ulcer"

# Usual sRGB colours of the six skin types, from very light to dark.
SKIN = [
    (244, 208, 188),
    (229, 184, 150),
    (209, 158, 122),
    (179, 124, 89),
    (128, 83, 58),
    (72, 45, 34),
]


def lab_by_hand(rgb):
    """CIELAB (D65) of one colour with plain floats, after the CIE's formulas."""

    def linear(value):
        value /= 255
        return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4

    def f(t):
        return t ** (1 / 3) if t > (6 / 29) ** 3 else t / (3 * (6 / 29) ** 2) + 4 / 29

    r, g, b = map(linear, rgb)
    x = (0.4124564 * r + 0.3575761 * g + 0.1804375 * b) / 0.95047
    y = 0.2126729 * r + 0.7151522 * g + 0.0721750 * b
    z = (0.0193339 * r + 0.1191920 * g + 0.9503041 * b) / 1.08883
    return 116 * f(y) - 16, 500 * (f(x) - f(y)), 200 * (f(y) - f(z))


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [  # published values of the corners of sRGB
        ((255, 255, 255), (100, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
        ((255, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 255, 0), (87.73, -86.18, 83.18)),
        ((0, 0, 255), (32.30, 79.19, -107.86)),
        ((119, 119, 119), (50.03, 0, 0)),
    ],
)
def test_lab_of_known_colours(rgb, lab):
    np.testing.assert_allclose(srgb_to_lab(np.uint8(rgb)), lab, atol=0.01)


def test_lab_and_ita_of_random_colours():
    rgb = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    lab = srgb_to_lab(rgb)
    assert lab.dtype == np.float64
    by_hand = np.array([[lab_by_hand(map(float, c)) for c in row] for row in rgb])
    np.testing.assert_allclose(lab, by_hand, atol=1e-3)
    # OpenCV interpolates in tables; its error is below 0.5.
    opencv = cv2.cvtColor(np.float32(rgb) / 255, cv2.COLOR_RGB2LAB)
    np.testing.assert_allclose(lab, opencv, atol=0.6)
    ita = ita_degrees(rgb)
    assert ita.shape == (20, 30)
    expected = [
        [math.degrees(math.atan2(light - 50, b)) for light, _, b in row]
        for row in by_hand
    ]
    np.testing.assert_allclose(ita, expected, atol=0.1)


def test_ita_falls_from_light_to_dark_skin():
    ita = ita_degrees(np.uint8(SKIN))
    assert (np.diff(ita) < 0).all()
    assert [fitzpatrick_from_ita(angle) for angle in ita] == [1, 2, 3, 4, 5, 6]


def test_colours_of_another_kind_are_refused():
    for colours in (np.zeros((4, 4, 3), np.float32), np.zeros((4, 4), np.uint8)):
        with pytest.raises(InputError, match="uint8"):
            ita_degrees(colours)


@pytest.mark.parametrize(
    ("ita", "skin_type"),
    [
        (180, 1),
        (55.01, 1),
        (55, 2),
        (41.01, 2),
        (41, 3),
        (28.01, 3),
        (28, 4),
        (10.01, 4),
        (10, 5),
        (-29.99, 5),
        (-30, 6),
        (-180, 6),
    ],
)
def test_limits_of_ita(ita, skin_type):
    assert fitzpatrick_from_ita(ita) == skin_type


def test_ita_that_is_no_number():
    with pytest.raises(InputError, match="not a number"):
        fitzpatrick_from_ita(float("nan"))


BACKGROUNDS = {
    "white sheet": (225, 226, 228),
    "grey wall": (150, 148, 142),
    "blue blanket": (90, 130, 190),
    "green cloth": (70, 130, 95),
    "dark chair": (35, 36, 40),
    "wooden floor": (112, 98, 84),
    "black padding": (0, 0, 0),
}


def limb(skin, background, seed=0):
    """(photo, truth, roi): a shaded limb with a red wound before a background."""
    rng = np.random.default_rng(seed)
    height, width = 240, 320
    y, x = np.mgrid[0:height, 0:width]
    across = (x - 160 - 20 * np.sin(y / 60)) / 75
    truth = abs(across) < 1
    shading = np.sqrt(np.clip(1.15 - across**2, 0.15, 1))[..., np.newaxis]
    noise = rng.normal(0, 4, (height, width, 1))
    photo = np.full((height, width, 3), background, float)
    photo = np.where(truth[..., np.newaxis], np.array(skin) * shading, photo)
    if background != (0, 0, 0):
        photo += noise
    wound = (x - 165) ** 2 + (y - 120) ** 2 < 18**2
    photo[wound] = (150, 30, 30)
    roi = Roi((100 / 240, 145 / 320, 140 / 240, 185 / 320), "wound")
    return np.clip(photo, 0, 255).astype(np.uint8), truth, roi


def overlap(mask, truth):
    return (mask & truth).sum() / (mask | truth).sum()


@pytest.mark.parametrize("background", BACKGROUNDS)
@pytest.mark.parametrize("skin", SKIN)
def test_skin_mask_follows_a_limb(background, skin):
    photo, truth, roi = limb(skin, BACKGROUNDS[background])
    mask = skin_mask(photo, [roi])
    assert mask.dtype == bool
    assert mask.shape == photo.shape[:2]
    assert overlap(mask, truth) > 0.85
    assert mask[100:140, 145:185].all()  # the ROI counts as skin
    np.testing.assert_array_equal(skin_mask(photo, [roi]), mask)


@pytest.mark.parametrize("background", ["white sheet", "blue blanket", "black padding"])
@pytest.mark.parametrize("skin", SKIN)
def test_skin_mask_without_rois(background, skin):
    photo, truth, _ = limb(skin, BACKGROUNDS[background])
    # The wound is not skin of the main colour and may be left out.
    assert overlap(skin_mask(photo), truth) > 0.8


def test_skin_mask_of_photos_without_skin_or_of_odd_sizes():
    for colour in [(0, 0, 0), (255, 255, 255), (60, 110, 200), (128, 128, 128)]:
        assert not skin_mask(np.full((90, 120, 3), colour, np.uint8)).any()
    whole = [Roi((0, 0, 1, 1), "x")]
    for shape in [(1, 1), (2, 7), (16, 400), (17, 16)]:
        for value in (0, 130, 255):
            photo = np.full((*shape, 3), value, np.uint8)
            assert skin_mask(photo).shape == shape
            assert skin_mask(photo, whole).all()


def test_pale_skin_without_much_colour_is_found_around_a_roi():
    photo = np.full((200, 200, 3), (222, 216, 208), np.uint8)
    photo[80:120, 80:120] = (120, 70, 60)
    assert skin_mask(photo, [Roi((0.4, 0.4, 0.6, 0.6), "mole")]).all()


def test_skin_mask_agrees_with_drawn_photos():
    phantom = pytest.importorskip("dermgan_tf.phantom")
    vocabulary = phantom.phantom_vocabulary(8)
    cases = phantom.case_plan(12, vocabulary, 1)
    photos = [phantom.draw_photo(case, 0, vocabulary) for case in cases]
    with_rois = [overlap(skin_mask(p.photo, p.rois), p.skin_mask) for p in photos]
    assert np.mean(with_rois) > 0.9
    without = [overlap(skin_mask(p.photo), p.skin_mask) for p in photos]
    assert np.mean(without) > 0.8


def test_estimate_skin_type_of_uniform_skin():
    for skin_type, colour in enumerate(SKIN, start=1):
        photo = np.full((100, 120, 3), colour, np.uint8)
        assert estimate_skin_type(photo) == skin_type


def test_estimate_leaves_rois_and_background_out():
    photo = np.full((200, 200, 3), (60, 90, 160), np.uint8)
    photo[:, 40:160] = SKIN[1]
    photo[40:160, 50:150] = (60, 25, 20)
    roi = Roi((0.2, 0.25, 0.8, 0.75), "mole")
    assert estimate_skin_type(photo, [roi]) == 2


def test_estimate_says_unknown_without_skin():
    assert estimate_skin_type(np.full((80, 80, 3), (60, 110, 200), np.uint8)) == 0
    photo = np.full((80, 80, 3), SKIN[2], np.uint8)
    assert estimate_skin_type(photo, [Roi((0, 0, 1, 1), "x")]) == 0


def test_estimation_error():
    error = estimation_error([1, 2, 3, 0, 4, 5], [1, 3, 1, 2, 0, 5])
    assert error == {
        "n": 4,
        "exact": 0.5,
        "within_one": 0.75,
        "mean_absolute_error": 0.75,
        "mean_error": -0.25,
    }
    nothing = estimation_error([0, 3], [2, 0])
    assert nothing["n"] == 0
    assert math.isnan(nothing["exact"])


@needs(FOOT_ULCER)
def test_skin_mask_on_clinic_photographs():
    around, padding = [], []
    for path in sorted((FOOT_ULCER / "images").iterdir())[::20]:
        photo = read_photo(path)
        wound = read_photo(FOOT_ULCER / "masks" / f"{path.stem}.png")[..., 0] > 127
        if not wound.any():
            continue
        rows, columns = np.nonzero(wound)
        height, width = wound.shape
        roi = Roi(
            (
                rows.min() / height,
                columns.min() / width,
                (rows.max() + 1) / height,
                (columns.max() + 1) / width,
            ),
            "foot ulcer",
        )
        mask = skin_mask(photo, [roi])
        close = cv2.dilate(wound.astype(np.uint8), np.ones((15, 15))) > 0
        around.append(mask[close].mean())
        black = (photo.max(axis=-1) < 4) & ~wound
        if black.sum() > 5000:
            padding.append(mask[black].mean())
        assert 0.02 < mask.mean() < 0.95
    assert np.mean(around) > 0.9  # what borders on a wound is skin
    assert np.mean(padding) < 0.01


def test_limits_are_those_of_least_error():
    rng = np.random.default_rng(3)
    for _ in range(20):
        itas = rng.integers(-60, 70, 12).astype(float)
        types = rng.integers(1, 7, 12)
        limits = fitted_limits(itas, types)
        assert limits == sorted(limits, reverse=True)

        def error(limits, itas=itas, types=types):
            return sum(
                abs(fitzpatrick_from_ita(ita, limits) - t)
                for ita, t in zip(itas, types, strict=True)
            )

        # No other limits err less: any five of the places between the angles.
        places = [-181, *(np.unique(itas) + 0.25), 181]
        chosen = itertools.combinations_with_replacement(places[::-1], 5)
        best = min(map(error, rng.permutation(list(chosen))[:3000].tolist()))
        assert error(limits) <= best


def test_types_are_fitted_to_known_ones_where_that_helps():
    rng = np.random.default_rng(0)
    types = rng.integers(1, 4, 90)
    itas = 40 - 20 * types + rng.normal(0, 3, 90)  # darker than usual limits say
    known = [int(t) if i % 3 else 0 for i, t in enumerate(types)]
    itas[6] = np.nan
    cases = [f"c{i // 2}" for i in range(90)]
    found, errors = estimated_types(itas, known, cases)
    assert errors["used"] == "fitted"
    assert errors["usual"]["n"] == errors["fitted"]["n"] == 60
    assert errors["fitted"]["exact"] > 0.95 > 0.5 > errors["usual"]["exact"]
    assert found[6] == 0
    hidden = [i for i in range(0, 90, 3) if i != 6]
    assert np.mean([found[i] == types[i] for i in hidden]) > 0.95
    # One case is too few to judge by others, and noise is no reason to leave the usual.
    assert estimated_types(itas, known, ["c"] * 90)[1]["fitted"] is None
    shuffled = rng.permutation(known).tolist()
    errors = estimated_types(itas, shuffled, cases)[1]
    assert errors["commonest"]["exact"] >= errors["fitted"]["exact"] - 0.15
