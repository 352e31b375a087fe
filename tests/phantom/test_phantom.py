"""The phantom: deterministic, honest boxes, six skin colours, distinct conditions."""

import collections
import hashlib
import json
import pickle
import subprocess
import sys

import cv2
import numpy as np
import pytest
from PIL import Image

from dermgan_tf.errors import InputError
from dermgan_tf.phantom import (
    PhantomCase,
    case_plan,
    draw_photo,
    phantom_vocabulary,
    write_phantom,
)
from dermgan_tf.phantom.dataset import encode_camera_jpeg
from dermgan_tf.photos.annotations import read_annotations
from dermgan_tf.photos.photo_io import read_photo
from dermgan_tf.photos.semantic_map import box_pixels
from dermgan_tf.photos.vocabulary import DERMGAN_CONDITIONS, Vocabulary

EVERYTHING = phantom_vocabulary(27)
SMALL = (120, 160)


def one_case(condition, fitzpatrick=3, index=0, seed=5):
    return PhantomCase("c", condition, fitzpatrick, 3, index, seed)


@pytest.fixture(scope="module")
def drawn():
    """First photos of 150 cases of all conditions."""
    cases = case_plan(150, EVERYTHING, seed=2)
    return [draw_photo(case, 0, EVERYTHING, (180, 240)) for case in cases]


# Vocabulary and cases.


def test_the_vocabulary_grows_from_the_default_eight():
    assert phantom_vocabulary().conditions == EVERYTHING.conditions[:8]
    assert set(EVERYTHING) == set(DERMGAN_CONDITIONS)
    named_by_the_paper = {
        "melanoma",
        "basal cell carcinoma",
        "melanocytic nevus",
        "SK/ISK",
    }
    assert named_by_the_paper < set(phantom_vocabulary())


@pytest.mark.parametrize("count", [0, 28, -1])
def test_another_number_of_conditions_is_refused(count):
    with pytest.raises(InputError, match="1…27"):
        phantom_vocabulary(count)


def test_the_class_balance_has_a_long_tail():
    cases = case_plan(2000, EVERYTHING, seed=0)
    counts = collections.Counter(case.condition for case in cases)
    assert len(counts) == 27
    shares = np.sort(list(counts.values())) / 2000
    assert shares[0] < 0.01
    assert shares[-5:].sum() > 0.4
    eight = collections.Counter(
        case.condition for case in case_plan(1000, phantom_vocabulary(), seed=0)
    )
    assert min(eight, key=eight.get) == "melanoma"
    assert eight["melanoma"] < 50 < eight["eczema"]


def test_skin_types_are_uneven_but_all_present():
    counts = collections.Counter(
        case.fitzpatrick for case in case_plan(300, phantom_vocabulary(), seed=1)
    )
    assert set(counts) == {1, 2, 3, 4, 5, 6}
    assert max(counts[1], counts[6]) < min(counts[2], counts[3], counts[4])


def test_the_plan_is_known_before_drawing_and_repeats():
    cases = case_plan(40, phantom_vocabulary(), seed=3)
    assert cases == case_plan(40, phantom_vocabulary(), seed=3)
    assert cases != case_plan(40, phantom_vocabulary(), seed=4)
    assert pickle.loads(pickle.dumps(cases)) == cases
    assert len({case.case_id for case in cases}) == 40
    assert {case.condition for case in cases} == set(phantom_vocabulary())
    assert len({case.num_photos for case in cases}) > 3
    assert min(case.num_photos for case in cases) >= 1


def test_fewer_cases_than_conditions_take_the_commonest():
    cases = case_plan(3, phantom_vocabulary(), seed=0)
    assert {case.condition for case in cases} == {
        "eczema",
        "psoriasis",
        "melanocytic nevus",
    }


def test_bad_plans_are_refused():
    with pytest.raises(InputError, match="cannot draw 'gout'"):
        case_plan(5, Vocabulary(["eczema", "gout"]), seed=0)
    with pytest.raises(InputError, match="at least 1 case"):
        case_plan(0, phantom_vocabulary(), seed=0)
    with pytest.raises(InputError, match="seed"):
        case_plan(5, phantom_vocabulary(), seed=-1)


# Photos.


@pytest.mark.parametrize("condition", EVERYTHING)
def test_every_condition_is_drawn_at_every_size(condition):
    for index, size in enumerate([(64, 64), (100, 64), (64, 171), (300, 200)]):
        case = one_case(condition, 1 + index, index)
        photo = draw_photo(case, index, EVERYTHING, size)
        assert photo.photo.shape == (*size, 3)
        assert photo.photo.dtype == np.uint8
        assert photo.skin_mask.shape == photo.lesion_mask.shape == size
        assert photo.skin_mask.dtype == photo.lesion_mask.dtype == bool
        assert photo.rois
        assert {roi.condition for roi in photo.rois} == {condition}


def test_bad_requests_are_refused():
    with pytest.raises(InputError, match="at least 64"):
        draw_photo(one_case("eczema"), 0, EVERYTHING, (63, 100))
    with pytest.raises(InputError, match="unknown condition"):
        draw_photo(one_case("other"), 0, phantom_vocabulary(), SMALL)


def test_drawing_is_a_pure_function():
    case = one_case("psoriasis")
    first = draw_photo(case, 0, EVERYTHING, SMALL)
    draw_photo(one_case("acne", 6, 9), 1, EVERYTHING, (90, 90))
    again = draw_photo(case, 0, EVERYTHING, SMALL)
    np.testing.assert_array_equal(first.photo, again.photo)
    np.testing.assert_array_equal(first.lesion_mask, again.lesion_mask)
    assert first.rois == again.rois
    others = [
        draw_photo(case, 1, EVERYTHING, SMALL),
        draw_photo(one_case("psoriasis", index=1), 0, EVERYTHING, SMALL),
        draw_photo(one_case("psoriasis", seed=6), 0, EVERYTHING, SMALL),
    ]
    for other in others:
        assert np.abs(first.photo.astype(int) - other.photo).mean() > 2


def test_a_fresh_process_draws_the_same_pixels():
    program = """if True:
        import hashlib, sys
        from dermgan_tf.phantom import *
        case = PhantomCase("c", "melanoma", 2, 3, 4, 5)
        photo = draw_photo(case, 1, phantom_vocabulary(), (120, 160)).photo
        print(hashlib.sha256(photo.tobytes()).hexdigest())
        assert "tensorflow" not in sys.modules and "keras" not in sys.modules
        """
    fresh = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    here = draw_photo(one_case("melanoma", 2, 4), 1, phantom_vocabulary(), SMALL)
    assert fresh.stdout.strip() == hashlib.sha256(here.photo.tobytes()).hexdigest()


def test_boxes_are_the_lesions_tight_bounds(drawn):
    exact = total = 0
    for photo in drawn:
        height, width = photo.lesion_mask.shape
        inside_any = np.zeros_like(photo.lesion_mask)
        _, _, parts, _ = cv2.connectedComponentsWithStats(
            photo.lesion_mask.astype(np.uint8), connectivity=8
        )
        parts = {(t, x, t + h, x + w) for x, t, w, h, _ in parts[1:].tolist()}
        for roi in photo.rois:
            box = box_pixels(roi.box, height, width)
            top, left, bottom, right = box
            inside_any[top:bottom, left:right] = True
            piece = photo.lesion_mask[top:bottom, left:right]
            # The lesion touches all four sides of its box.
            assert piece[0].any() and piece[-1].any()
            assert piece[:, 0].any() and piece[:, -1].any()
            exact += box in parts
            total += 1
        assert not (photo.lesion_mask & ~inside_any).any()
    assert exact >= 0.95 * total  # some lesions touch a neighbour


def test_lesions_lie_on_skin(drawn):
    for photo in drawn:
        assert not (photo.lesion_mask & ~photo.skin_mask).any()
        if "alopecia" in photo.condition:
            continue  # hair is around them
        height, width = photo.skin_mask.shape
        for roi in photo.rois:
            top, left, bottom, right = box_pixels(roi.box, height, width)
            assert photo.skin_mask[top:bottom, left:right].mean() > 0.9


def test_lesions_come_in_many_sizes_and_numbers(drawn):
    main = [max(p.rois[0].box[3] - p.rois[0].box[1], 0) for p in drawn]
    assert np.quantile(main, 0.1) < 0.10
    assert np.quantile(main, 0.9) > 0.30
    numbers = collections.Counter(len(photo.rois) for photo in drawn)
    assert max(numbers) >= 4
    assert numbers[1] > len(drawn) / 3


def test_many_photos_show_a_background(drawn):
    shares = np.array([photo.skin_mask.mean() for photo in drawn])
    assert (shares < 0.9).mean() > 0.4
    assert (shares > 0.99).mean() > 0.1


def test_the_lesion_can_be_seen():
    """Lesions differ from the skin around them, on all six skin types."""
    for condition in phantom_vocabulary():
        for skin_type in range(1, 7):
            case = one_case(condition, skin_type, 10 * skin_type)
            photo = draw_photo(case, 0, EVERYTHING, (240, 320))
            lab = cv2.cvtColor(photo.photo.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
            near = cv2.dilate(photo.lesion_mask.astype(np.uint8), np.ones((25, 25)))
            around = photo.skin_mask & (near > 0) & ~photo.lesion_mask
            plain = lab[around].mean(0)
            contrast = np.linalg.norm(lab[photo.lesion_mask] - plain, axis=-1)
            assert contrast.mean() > 4, (condition, skin_type)


def ita_of(rgb):
    """Mean colour's ITA by OpenCV's CIELAB."""
    lab = cv2.cvtColor(rgb[np.newaxis].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    light, _, yellow = lab.reshape(-1, 3).mean(0)
    return np.degrees(np.arctan2(light - 50, yellow))


def test_ita_falls_from_type_1_to_6_with_hardly_any_overlap():
    angles = {}
    for skin_type in range(1, 7):
        angles[skin_type] = []
        for index in range(14):
            case = one_case(EVERYTHING.conditions[index % 8], skin_type, index)
            photo = draw_photo(case, index, EVERYTHING, (120, 160))
            bare = photo.skin_mask & ~photo.lesion_mask
            angles[skin_type].append(ita_of(photo.photo[bare]))
    means = np.array([np.mean(angles[t]) for t in range(1, 7)])
    assert (np.diff(means) < -9).all(), means
    middles = (means[1:] + means[:-1]) / 2
    misplaced = sum(
        int(np.sum(np.searchsorted(-middles, -np.array(angles[t])) != t - 1))
        for t in range(1, 7)
    )
    assert misplaced <= 4  # of 84
    # In the classes of Chardon et al. 1991.
    assert (np.digitize(means, [55, 41, 28, 10, -30]) == np.arange(6)).all(), means


def test_conditions_can_be_told_apart():
    """A simple classifier reads the condition from 32 × 32 crops."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.ensemble import ExtraTreesClassifier

    vocabulary = phantom_vocabulary()
    features, labels = [], []
    for index in range(400):
        condition = vocabulary.conditions[index % 8]
        case = one_case(condition, 1 + (index // 8) % 6, index)
        photo = draw_photo(case, 0, vocabulary, (180, 240))
        features.append(crop_features(photo))
        labels.append(index % 8)
    features, labels = np.array(features), np.array(labels)
    train = np.arange(400) < 360
    scores = []
    for model in (
        LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"),
        ExtraTreesClassifier(300, random_state=0),
    ):
        model.fit(features[train], labels[train])
        scores.append(model.score(features[~train], labels[~train]))
    assert max(scores) > 0.75, scores  # chance is 0.125


def crop_features(photo):
    """A crop twice the lesion's size relative to the skin around: pixels, colours."""
    height, width = photo.lesion_mask.shape
    top, left, bottom, right = box_pixels(photo.rois[0].box, height, width)
    half = max(bottom - top, right - left)
    y, x = (top + bottom) // 2, (left + right) // 2
    padded = cv2.copyMakeBorder(photo.photo, *[half] * 4, cv2.BORDER_REFLECT)
    crop = padded[y : y + 2 * half, x : x + 2 * half]
    crop = cv2.resize(crop, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
    crop -= np.median(crop.reshape(-1, 3)[:96], axis=0)
    inner = crop[8:24, 8:24].reshape(-1, 3)
    radii = np.hypot(*np.mgrid[-15.5:16, -15.5:16]).astype(int)
    rings = [crop[radii == r].mean(0) for r in range(16)]
    spread = [crop[radii == r].std(0) for r in range(16)]
    quantiles = np.quantile(inner, [0.05, 0.25, 0.5, 0.75, 0.95], axis=0)
    return np.concatenate([np.ravel(part) for part in (rings, spread, quantiles)])


def test_photos_of_a_case_show_the_same_skin_and_lesion():
    case = one_case("melanocytic nevus", 2, 3)
    photos = [draw_photo(case, index, EVERYTHING, (240, 320)) for index in range(4)]
    skin = [ita_of(p.photo[p.skin_mask & ~p.lesion_mask]) for p in photos]
    assert np.ptp(skin) < 9
    mole = [np.median(p.photo[p.lesion_mask], axis=0) for p in photos]
    assert np.ptp(mole, axis=0).max() < 40


# Files.


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_files_read_upright(tmp_path, orientation):
    drawn = draw_photo(one_case("tinea", 4), 0, EVERYTHING, SMALL).photo
    path = tmp_path / "photo.jpg"
    path.write_bytes(encode_camera_jpeg(drawn, orientation))
    with Image.open(path) as stored:
        assert stored.getexif()[0x0112] == orientation
        turned = orientation >= 5
        assert stored.size == (SMALL if turned else SMALL[::-1])
    error = np.abs(read_photo(path).astype(int) - drawn)
    assert error.mean() < 2.5


def test_write_phantom(tmp_path):
    calls = []

    def progress(items, total=None, desc=""):
        calls.append((total, desc))
        return items

    path = write_phantom(tmp_path / "a", 24, 6, 7, SMALL, progress=progress)
    assert path == tmp_path / "a/annotations.jsonl"
    cases = case_plan(24, phantom_vocabulary(6), 7)
    annotations, rejects = read_annotations(path, phantom_vocabulary(6))
    assert not rejects
    assert calls == [(len(annotations), "drawing")]
    assert {a.source for a in annotations} == {"phantom"}
    by_case = collections.Counter(a.case_id for a in annotations)
    assert by_case == {case.case_id: case.num_photos for case in cases}
    drawn = iter(
        draw_photo(case, index, phantom_vocabulary(6), SMALL)
        for case in cases
        for index in range(case.num_photos)
    )
    orientations = []
    for annotation in annotations:
        photo = next(drawn)
        assert annotation.rois == photo.rois
        assert annotation.condition == photo.condition
        assert annotation.fitzpatrick == photo.fitzpatrick
        upright = read_photo(path.parent / annotation.image)
        assert np.abs(upright.astype(int) - photo.photo).mean() < 2.5
        with Image.open(path.parent / annotation.image) as stored:
            orientations.append(stored.getexif().get(0x0112, 1))
        assert orientations[-1] == photo.exif_orientation
    assert 0.08 < np.mean(np.array(orientations) != 1) < 0.35
    first = json.loads(path.read_text().splitlines()[0])
    assert first["source"] == "phantom" and first["image"] == "photos/0001.jpg"


def test_skin_types_as_asked():
    shares = (10, 10, 10, 10, 10, 0.5)
    cases = case_plan(505, phantom_vocabulary(), 3, shares, "more", first_index=7)
    counts = collections.Counter(case.fitzpatrick for case in cases)
    assert counts == {1: 100, 2: 100, 3: 100, 4: 100, 5: 100, 6: 5}
    assert cases[0].case_id == "more-00007" and cases[0].index == 7
    none = case_plan(60, phantom_vocabulary(), 3, (1, 0, 1, 0, 1, 0))
    assert collections.Counter(c.fitzpatrick for c in none) == {1: 20, 3: 20, 5: 20}
    for bad in ((1, 1), (0,) * 6, (1, 1, 1, 1, 1, -1), (1, 1, 1, 1, 1, float("nan"))):
        with pytest.raises(InputError, match="six numbers"):
            case_plan(10, phantom_vocabulary(), 3, bad)


def test_the_program_draws_splits_of_other_skin_types(tmp_path):
    def draw(*flags):
        return subprocess.run(
            [sys.executable, "-m", "pipelines.draw_phantom", *flags],
            capture_output=True,
            text=True,
        )

    done = draw(
        f"--output_dir={tmp_path / 'photos'}",
        "--split_cases=train=10,test=6",
        "--skin_types=1,1,1,1,1,0",
        "--test_skin_types=1,1,1,1,1,1",
        "--photo_size=64,80",
        "--case_prefix=more",
    )
    assert done.returncode == 0, done.stderr
    annotations, rejects = read_annotations(tmp_path / "photos/annotations.jsonl")
    assert not rejects
    assert f"{len(annotations)} photos of 16 cases" in done.stdout
    types = {
        split: collections.Counter(
            {a.case_id: a.fitzpatrick for a in annotations if a.split == split}.values()
        )
        for split in ("train", "test")
    }
    assert types["train"] == dict.fromkeys(range(1, 6), 2)
    assert types["test"] == dict.fromkeys(range(1, 7), 1)
    photo = read_photo(tmp_path / "photos" / annotations[0].image)
    assert photo.shape == (64, 80, 3)
    # no two cases alike, though both splits are of one seed
    assert len({a.case_id for a in annotations}) == 16

    for flags, cause in (
        (["--split_cases=train=10,tests=6"], "'tests=6'"),
        (["--test_skin_types=1,1,1,1,1,1"], "--split_cases"),
        (["--skin_types=1,2"], "six numbers"),
        (["--photo_size=64"], "height,width"),
    ):
        done = draw(f"--output_dir={tmp_path / 'none'}", *flags)
        assert done.returncode == 1 and cause in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert not (tmp_path / "none").exists()


def test_write_phantom_repeats_byte_for_byte(tmp_path):
    for name in ("a", "b"):
        write_phantom(tmp_path / name, 4, 8, 1, (64, 80))
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.*"))
    assert len(files) > 4
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (
            tmp_path / "b" / file
        ).read_bytes()
