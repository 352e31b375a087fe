"""Plans of synthetic images: how many, on which skin, and from which maps."""

import collections
import dataclasses
import hashlib
import itertools
import json
import os
import subprocess
import sys

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from dermgan_tf.errors import InputError
from dermgan_tf.generation.balance import (
    PlanEntry,
    SyntheticPlan,
    plan_synthetic,
    plan_table,
    spread_evenly,
    write_plan,
)
from dermgan_tf.generation.plan import MAX_SEED, read_plan
from dermgan_tf.generation.scenes import (
    Scene,
    count_crops,
    count_photos,
    require_training_cases,
    training_scenes,
    turned,
)
from dermgan_tf.photos.annotations import PhotoAnnotation
from dermgan_tf.photos.semantic_map import Roi, encode_semantic_map
from dermgan_tf.photos.vocabulary import Vocabulary

VOCABULARY = Vocabulary(["melanoma", "eczema", "vitiligo"])
SIZE = 32
BOX = (0.125, 0.25, 0.5, 0.875)  # no symmetry leaves it where it is

settings = hypothesis.settings(max_examples=60, deadline=None, derandomize=True)


def scene(condition, fitzpatrick=1, *boxes):
    return Scene(condition, fitzpatrick, boxes or (BOX,))


# Melanoma: 2 of type I, 1 of II, 2 unknown. Eczema: 8 of type III. Vitiligo: none.
SCENES = [scene("melanoma", t) for t in (1, 0, 1, 2, 0)] + [scene("eczema", 3)] * 8


def totals(plan):
    return {name: sum(by_type) for name, by_type in plan.synthetic().items()}


def fraction_of_pixels(count):
    """Boxes on the borders of SIZE pixels."""
    edges = st.lists(st.integers(0, SIZE), min_size=2, max_size=2, unique=True)
    box = st.tuples(edges.map(sorted), edges.map(sorted)).map(
        lambda e: (e[0][0] / SIZE, e[1][0] / SIZE, e[0][1] / SIZE, e[1][1] / SIZE)
    )
    return st.lists(box, min_size=1, max_size=count).map(tuple)


scenes_of_any_kind = st.lists(
    st.builds(
        Scene,
        st.sampled_from(list(VOCABULARY)),
        st.integers(0, 6),
        fraction_of_pixels(2),
    ),
    min_size=1,
    max_size=12,
)


# --- how many ----------------------------------------------------------------------


def test_every_class_is_filled_to_the_commonest():
    plan = plan_synthetic(SCENES, VOCABULARY)
    assert totals(plan) == {"melanoma": 3, "eczema": 0, "vitiligo": 0}
    assert plan.real["melanoma"] == (2, 2, 1, 0, 0, 0, 0)
    assert plan.real["vitiligo"] == (0,) * 7
    assert plan.left_out == ("vitiligo",) and plan.full == ("eczema",)
    assert plan.images == 3 and plan.unmet == 0
    assert plan.settings["fill_to"] == 8


def test_fill_to_and_ratio_counted_by_hand():
    assert totals(plan_synthetic(SCENES, VOCABULARY, fill_to=10)) == {
        "melanoma": 5,
        "eczema": 2,
        "vitiligo": 0,
    }
    ratio = plan_synthetic(SCENES, VOCABULARY, ratio=0.3)
    assert totals(ratio) == {"melanoma": 2, "eczema": 2, "vitiligo": 0}  # 1.5 and 2.4
    many = [scene("eczema")] * 100
    # Exactly 14.5, a half; in binary fractions it would be below.
    assert plan_synthetic(many, VOCABULARY, ratio=0.145).images == 15
    only = plan_synthetic(SCENES, VOCABULARY, fill_to=10, only=["melanoma"])
    assert totals(only) == {"melanoma": 5, "eczema": 0, "vitiligo": 0}
    assert only.left_out == () and only.settings["only"] == ["melanoma"]
    # The commonest of all classes sets the level, asked for or not.
    assert plan_synthetic(SCENES, VOCABULARY, only=["melanoma"]).images == 3


def test_too_low_a_level_adds_nothing():
    plan = plan_synthetic(SCENES, VOCABULARY, fill_to=5)
    assert plan.images == 0 and plan.entries == ()
    assert plan.full == ("melanoma", "eczema")


def test_few_images_go_to_the_classes_that_have_least():
    few = plan_synthetic(SCENES, VOCABULARY, fill_to=10, max_images=4)
    assert totals(few) == {"melanoma": 4, "eczema": 0, "vitiligo": 0}
    assert few.unmet == 3
    more = plan_synthetic(SCENES, VOCABULARY, fill_to=100, max_images=5)
    assert totals(more) == {"melanoma": 4, "eczema": 1, "vitiligo": 0}
    share = plan_synthetic(SCENES, VOCABULARY, ratio=2, max_images=13)
    assert totals(share) == {"melanoma": 5, "eczema": 8, "vitiligo": 0}


@settings
@hypothesis.given(
    scenes_of_any_kind,
    st.integers(1, 20),
    st.one_of(st.none(), st.integers(1, 30)),
    st.booleans(),
)
def test_classes_come_out_as_asked(scenes, fill_to, max_images, balance):
    plan = plan_synthetic(
        scenes,
        VOCABULARY,
        fill_to=fill_to,
        max_images=max_images,
        balance_skin_types=balance,
    )
    real = collections.Counter(scene.condition for scene in scenes)
    lacking = {name: max(fill_to - real[name], 0) for name in real}
    planned = {name: n for name, n in totals(plan).items() if name in real}
    assert plan.images == len(list(plan.image_specs())) == sum(planned.values())
    assert plan.images == min(sum(lacking.values()), max_images or MAX_SEED)
    assert plan.images + plan.unmet == sum(lacking.values())
    assert all(planned[name] <= lacking[name] for name in real)
    assert set(plan.left_out) == set(VOCABULARY) - set(real)
    # What gets images ends no higher than one above any other.
    top = max((real[n] + planned[n] for n in real if planned[n]), default=0)
    assert all(real[name] + planned[name] >= top - 1 for name in real)


@settings
@hypothesis.given(scenes_of_any_kind, st.integers(1, 500), st.integers(1, 40))
def test_a_ratio_is_kept_in_every_class(scenes, percent, max_images):
    real = collections.Counter(scene.condition for scene in scenes)
    plan = plan_synthetic(scenes, VOCABULARY, ratio=percent / 100)
    wanted = {name: (2 * percent * real[name] + 100) // 200 for name in VOCABULARY}
    assert totals(plan) == wanted
    capped = plan_synthetic(
        scenes, VOCABULARY, ratio=percent / 100, max_images=max_images
    )
    total = sum(wanted.values())
    assert capped.images == min(total, max_images)
    for name, number in totals(capped).items():
        assert abs(number - wanted[name] * capped.images / max(total, 1)) < 1


# --- on which skin -----------------------------------------------------------------


def least_difference(counts, budget):
    """By trying all ways to add `budget`."""
    ways = (
        added
        for added in itertools.product(range(budget + 1), repeat=len(counts))
        if sum(added) == budget
    )
    return min(np.ptp(np.add(counts, added)) for added in ways)


@settings
@hypothesis.given(
    st.lists(st.integers(0, 6), min_size=1, max_size=4), st.integers(0, 7)
)
def test_what_is_spread_leaves_the_least_difference(counts, budget):
    added = spread_evenly(counts, budget)
    assert sum(added) == budget and min(added) >= 0
    assert np.ptp(np.add(counts, added)) == least_difference(counts, budget)


@settings
@hypothesis.given(
    st.lists(st.integers(0, 9), min_size=7, max_size=7), st.integers(0, 40)
)
def test_skin_types_are_balanced_as_far_as_the_images_reach(real, added):
    hypothesis.assume(sum(real))
    scenes = [scene("eczema", t) for t, n in enumerate(real) for _ in range(n)]
    plan = plan_synthetic(
        scenes,
        VOCABULARY,
        fill_to=sum(real) + added,
        balance_skin_types=True,
    )
    synthetic = plan.synthetic()["eczema"]
    assert sum(synthetic) == added and synthetic[0] == 0
    after = [n + m for n, m in zip(real[1:], synthetic[1:], strict=True)]
    # None that got an image is more than one above any other: nothing is left to level.
    top = max((a for a, m in zip(after, synthetic[1:], strict=True) if m), default=0)
    assert min(after) >= top - 1


def test_a_balance_counted_by_hand():
    plan = plan_synthetic(
        SCENES, VOCABULARY, fill_to=14, only=["melanoma"], balance_skin_types=True
    )
    synthetic = plan.synthetic()["melanoma"]
    # Known: I 2, II 1; 9 more make 12, two of each type. The unknown ones stay apart.
    assert synthetic == (0, 0, 1, 2, 2, 2, 2)


def test_which_type_gets_the_odd_image_is_drawn():
    favoured = set()
    for seed in range(40):
        plan = plan_synthetic(
            [scene("eczema", 0)],
            VOCABULARY,
            fill_to=2,
            balance_skin_types=True,
            seed=seed,
        )
        favoured.add(plan.entries[0].fitzpatrick)
    assert favoured == {1, 2, 3, 4, 5, 6}


@settings
@hypothesis.given(
    st.lists(st.integers(0, 5), min_size=7, max_size=7),
    st.integers(1, 4),
    st.integers(0, 100),
)
def test_without_balance_skin_types_are_the_classs_own(real, rounds, rest):
    hypothesis.assume(sum(real))
    scenes = [scene("eczema", t) for t, n in enumerate(real) for _ in range(n)]
    plan = plan_synthetic(scenes, VOCABULARY, ratio=rounds)
    assert plan.synthetic()["eczema"] == tuple(rounds * n for n in real)
    rest %= sum(real)
    number = rounds * sum(real) + rest
    plan = plan_synthetic(scenes, VOCABULARY, fill_to=sum(real) + number)
    for n, m in zip(real, plan.synthetic()["eczema"], strict=True):
        assert rounds * n <= m <= (rounds + 1) * n


# --- from which maps ---------------------------------------------------------------


def symmetries(image):
    """The 8 of the square, by NumPy."""
    turns = [np.rot90(image, k) for k in range(4)]
    return [*turns, *(np.fliplr(turn) for turn in turns)]


def painted(boxes, condition="eczema", size=SIZE):
    rois = [Roi(box, condition) for box in boxes]
    return encode_semantic_map(size, 3, rois, VOCABULARY)


@settings
@hypothesis.given(fraction_of_pixels(3))
def test_the_eight_turns_are_the_squares_symmetries(boxes):
    whole = painted(boxes)
    ours = [painted(turned(boxes, k)) for k in range(8)]
    for image in symmetries(whole):
        assert any(np.array_equal(image, other) for other in ours)
    for image in ours:
        assert any(np.array_equal(image, other) for other in symmetries(whole))


@settings
@hypothesis.given(scenes_of_any_kind, st.integers(0, 2**31 - 1))
def test_maps_are_those_of_the_classs_own_crops(scenes, seed):
    plan = plan_synthetic(scenes, VOCABULARY, fill_to=30, seed=seed)
    known = collections.defaultdict(list)
    for own in scenes:
        known[own.condition] += symmetries(painted(own.boxes, own.condition)[..., 1:])
    for spec in plan.image_specs():
        image = spec.semantic_map(SIZE, VOCABULARY)[..., 1:]
        assert any(np.array_equal(image, other) for other in known[spec.condition])


@pytest.mark.parametrize("size", [64, 512])
def test_maps_keep_their_pixel_borders(size):
    """As pairs give them, in 32 bits, and as the plan's file gives them."""
    rng = np.random.default_rng(0)
    for _ in range(6000 // size):
        edges = np.sort([rng.choice(size + 1, 2, False) for _ in range(2)], axis=1)
        box = (edges.T.ravel() / size).astype(np.float32)
        pair = {
            "condition": "eczema",
            "fitzpatrick": 3,
            "boxes": box[np.newaxis],
            "box_conditions": ("eczema",),
            "case_id": "c",
            "source": "real",
        }
        (own,) = training_scenes([pair])
        whole = np.zeros((size, size, 2), bool)
        whole[edges[0][0] : edges[0][1], edges[1][0] : edges[1][1]] = True
        for k in range(8):
            boxes = json.loads(json.dumps(turned(own.boxes, k)))
            image = painted(boxes, size=size)[..., 1:] > 0
            assert any(np.array_equal(image, other) for other in symmetries(whole))


def test_every_crop_comes_before_any_comes_again():
    boxes = [(0.1, 0.12, 0.2 + i * 0.03, 0.51) for i in range(10)]
    scenes = [scene("eczema", 1, box) for box in boxes]
    plan = plan_synthetic(scenes, VOCABULARY, fill_to=10 + 80)
    maps = [spec.boxes for spec in plan.image_specs()]
    assert len(set(maps)) == 80  # each crop in each of its turns
    areas = [round((b[2] - b[0]) * (b[3] - b[1]), 6) for (b,) in maps]
    for start in range(0, 80, 10):
        assert len(set(areas[start : start + 10])) == 10
    more = plan_synthetic(scenes, VOCABULARY, fill_to=10 + 85)
    assert sorted(entry.count for entry in more.entries) == [1] * 75 + [2] * 5


def test_a_map_that_comes_again_is_one_entry():
    plan = plan_synthetic([scene("eczema", 4)] * 3, VOCABULARY, fill_to=1003)
    assert plan.images == 1000 and len(plan.entries) == 8
    middle = plan_synthetic(
        [scene("eczema", 4, (0.25, 0.25, 0.75, 0.75))], VOCABULARY, fill_to=21
    )
    (entry,) = middle.entries
    assert entry.count == 20


@settings
@hypothesis.given(
    scenes_of_any_kind, st.booleans(), st.sampled_from([0.0, 0.1]), st.integers(0, 99)
)
def test_no_two_images_have_one_map_and_seed(scenes, balance, jitter, seed):
    plan = plan_synthetic(
        scenes,
        VOCABULARY,
        fill_to=60,
        balance_skin_types=balance,
        jitter=jitter,
        seed=seed,
    )
    specs = list(plan.image_specs())
    assert len({spec.seed for spec in specs}) == len(specs)
    maps = [(entry.condition, *entry[1:3]) for entry in plan.entries]
    assert len(set(maps)) == len(maps)


def test_boxes_of_another_condition_are_left_away():
    other = (0.6, 0.6, 0.9, 0.9)
    pair = {
        "image_id": "i",
        "case_id": "c1",
        "condition": "melanoma",
        "fitzpatrick": 2,
        "boxes": np.array([BOX, other], np.float32),
        "box_conditions": ("melanoma", "eczema"),
        "source": "real",
    }
    assert training_scenes([pair]) == [Scene("melanoma", 2, (BOX,), "c1")]
    without = pair | {"box_conditions": ("eczema", "eczema")}
    plan = plan_synthetic(training_scenes([without]), VOCABULARY, fill_to=9)
    assert plan.left_out == tuple(VOCABULARY) and plan.images == 0
    assert sum(plan.real["melanoma"]) == 1
    with pytest.raises(InputError, match="pairs: i of split 'train' is synthetic"):
        training_scenes([pair | {"source": "synthetic"}])


@settings
@hypothesis.given(fraction_of_pixels(3), st.integers(0, 1000))
def test_jitter_moves_boxes_together_a_little(boxes, seed):
    plan = plan_synthetic(
        [Scene("eczema", 1, boxes)], VOCABULARY, fill_to=4, jitter=0.2, seed=seed
    )
    variants = [np.array(turned(boxes, k)) for k in range(8)]
    for spec in plan.image_specs():
        moved = np.array(spec.boxes)
        assert moved.min() >= 0 and moved.max() <= 1
        spec.semantic_map(SIZE, VOCABULARY)

        def fits(variant, moved=moved):
            """Scaled by one factor near 1 and shifted by little; both exactly."""
            size = np.ptp(variant.reshape(-1, 2), axis=0)
            scale = np.ptp(moved.reshape(-1, 2), axis=0) / size
            low = variant.reshape(-1, 2).min(axis=0)
            new = moved.reshape(-1, 2).min(axis=0)
            expected = (variant.reshape(-1, 2) - low) * scale + new
            shift = np.abs(new + size * scale / 2 - low - size / 2)
            return (
                np.allclose(moved.reshape(-1, 2), expected, atol=1e-6)
                and abs(scale[0] - scale[1]) < 1e-5
                and 0.8 - 1e-6 <= scale[0] <= 1.2 + 1e-6
                and (shift <= 0.2 * size + 1e-6).all()
            )

        assert any(fits(variant) for variant in variants)


# --- the same everywhere -----------------------------------------------------------

SAME = """
import sys
from dermgan_tf.generation.balance import plan_synthetic, write_plan
from dermgan_tf.generation.scenes import Scene
from dermgan_tf.generation.plan import read_plan
from dermgan_tf.photos.vocabulary import Vocabulary

vocabulary = Vocabulary(["melanoma", "eczema", "vitiligo"])
scenes = [
    Scene(["melanoma", "eczema"][i % 3 == 0], i % 7, ((i / 50, 0.1, 0.7, 0.9),))
    for i in range(30)
]
plan = plan_synthetic(
    scenes, vocabulary, fill_to=90, balance_skin_types=True, jitter=0.1, seed=3
)
write_plan(sys.argv[1], plan)
read_plan(sys.argv[1], vocabulary)
assert "tensorflow" not in sys.modules and "keras" not in sys.modules
"""
SAME_DIGEST = "ee447a56c5790fc9af7626b64ada850f29a6d0a0e51357f7a6f5ac61f6390a1d"


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_the_same_seed_gives_the_same_file_everywhere_without_tensorflow(
    tmp_path, hash_seed
):
    path = tmp_path / "plan.json"
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    subprocess.run([sys.executable, "-c", SAME, path], check=True, env=environment)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == SAME_DIGEST


def test_another_seed_gives_another_plan():
    boxes = [(0.1, 0.12, 0.2 + i * 0.03, 0.51) for i in range(10)]
    scenes = [scene("eczema", 1 + i % 3, box) for i, box in enumerate(boxes)]
    first, second = (
        plan_synthetic(scenes, VOCABULARY, fill_to=20, seed=seed) for seed in (0, 1)
    )
    assert first.entries != second.entries
    assert first == plan_synthetic(scenes, VOCABULARY, fill_to=20, seed=0)


def test_a_classs_maps_do_not_depend_on_the_other_classes():
    def maps(plan):
        return [entry[:4] for entry in plan.entries if entry.condition == "melanoma"]

    every = plan_synthetic(SCENES, VOCABULARY, fill_to=40)
    one = plan_synthetic(SCENES, VOCABULARY, fill_to=40, only=["melanoma"])
    assert maps(every) == maps(one) and maps(one)


# --- the file ----------------------------------------------------------------------


def test_a_plan_reads_back_as_it_was(tmp_path):
    plan = plan_synthetic(
        SCENES, VOCABULARY, fill_to=30, jitter=0, data_fingerprint="f00d"
    )
    path = tmp_path / "new" / "plan.json"
    write_plan(path, plan)
    total, specs = read_plan(path, VOCABULARY, 12345, "f00d")
    assert total == plan.images == 47
    assert list(specs) == list(plan.image_specs())
    content = json.loads(path.read_text("utf-8"))
    assert content["conditions"] == list(VOCABULARY)
    assert content["data_fingerprint"] == "f00d"
    assert content["settings"]["seed"] == 0
    assert content["settings"]["counted"] == "training crops"
    eczema = content["classes"]["eczema"]
    assert eczema == {
        "real": [0, 0, 0, 8, 0, 0, 0],
        "synthetic": [0, 0, 0, 22, 0, 0, 0],
    }
    assert sum(entry.get("count", 1) for entry in content["images"]) == 47
    with pytest.raises(InputError, match="is a folder"):
        write_plan(tmp_path, plan)


def test_an_empty_plan_is_written_and_refused_by_name(tmp_path):
    plan = plan_synthetic(SCENES, VOCABULARY, fill_to=1)
    write_plan(tmp_path / "plan.json", plan)
    with pytest.raises(InputError, match="plan.json has no image to paint"):
        read_plan(tmp_path / "plan.json", VOCABULARY)


def test_seeds_wrap_around_alike_in_plan_and_file(tmp_path):
    plan = plan_synthetic(SCENES, VOCABULARY)
    entry = PlanEntry("eczema", 2, (BOX,), 3, MAX_SEED)
    plan = dataclasses.replace(plan, entries=(entry,))
    write_plan(tmp_path / "plan.json", plan)
    _, specs = read_plan(tmp_path / "plan.json", VOCABULARY)
    specs = list(specs)
    assert [spec.seed for spec in specs] == [MAX_SEED, 0, 1]
    assert specs == list(plan.image_specs())


def test_the_table_shows_before_and_after():
    plan = SyntheticPlan(
        ("melanoma", "all"),
        "",
        {},
        {"melanoma": (1, 2, 0, 0, 0, 0, 0), "all": (0, 0, 0, 0, 0, 0, 10)},
        (
            PlanEntry("melanoma", 1, (BOX,), 9, 0),
            PlanEntry("melanoma", 6, (BOX,), 1, 9),
        ),
    )
    assert plan_table(plan).splitlines() == [
        "class     real  synthetic  total     I  II  III  IV  V     VI  unknown",
        "melanoma     3         10     13  2→11   0    0   0  0    0→1        1",
        "all         10          0     10     0   0    0   0  0     10        0",
        "all         13         10     23  2→11   0    0   0  0  10→11        1",
    ]


# --- photos instead of crops -------------------------------------------------------


def photo(name, case, condition="melanoma", fitzpatrick=1, split="train"):
    return PhotoAnnotation(name, case, condition, fitzpatrick, split=split)


def test_photos_are_counted_instead_of_crops():
    annotations = [
        photo("1.jpg", "a"),
        photo("2.jpg", "a", fitzpatrick=0),
        photo("3.jpg", "b", "eczema", 5),
        photo("4.jpg", "c", "acne", 2),
        photo("5.jpg", "v", split="validation"),
        photo("6.jpg", "t", "eczema", split="test"),
    ]
    real = count_photos(annotations)
    assert real == {
        "melanoma": (1, 1, 0, 0, 0, 0, 0),
        "eczema": (0, 0, 0, 0, 0, 1, 0),
        "acne": (0, 0, 1, 0, 0, 0, 0),
    }
    assert count_crops(SCENES)["melanoma"] == (2, 2, 1, 0, 0, 0, 0)
    plan = plan_synthetic(
        SCENES, VOCABULARY, real=real, counted="training photos", fill_to=4
    )
    assert list(plan.real) == [*VOCABULARY, "acne"]
    assert totals(plan) == {"melanoma": 2, "eczema": 3, "vitiligo": 0, "acne": 0}
    # Other classes that a classifier knows have no crop to draw maps from.
    assert plan.left_out == ("vitiligo", "acne")
    assert plan.synthetic()["eczema"] == (0, 0, 0, 0, 0, 3, 0)
    # Photos say nothing of vitiligo's skin types, its crops do.
    more = [*SCENES, scene("vitiligo", 6)]
    plan = plan_synthetic(more, VOCABULARY, real=real, fill_to=4)
    assert plan.synthetic()["vitiligo"] == (0, 0, 0, 0, 0, 0, 4)


def test_cases_that_the_annotations_hold_out_are_refused():
    annotations = [photo("1.jpg", "a"), photo("2.jpg", "b", split="test")]
    crop = scene("melanoma")
    require_training_cases(
        [dataclasses.replace(crop, case_id=case) for case in ("a", "elsewhere")],
        annotations,
        "pairs",
        "photos.jsonl",
    )
    with pytest.raises(InputError) as error:
        require_training_cases(
            [dataclasses.replace(crop, case_id="b")], annotations, "pairs", "p.jsonl"
        )
    message = str(error.value)
    assert "1 training cases of pairs are not in split train of p.jsonl" in message
    assert "first 'b' (there test)" in message and "\n" not in message


# --- bad input ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"fill_to": 5, "ratio": 1.0}, "fill_to or ratio, not both"),
        ({"fill_to": 0}, "fill_to must be at least 1, got 0"),
        ({"ratio": 0.0}, "ratio must be a number above 0, got 0.0"),
        ({"ratio": -1.0}, "ratio must be a number above 0"),
        ({"ratio": float("nan")}, "ratio must be a number above 0, got nan"),
        ({"ratio": float("inf")}, "ratio must be a number above 0"),
        ({"max_images": 0}, "max_images must be at least 1"),
        ({"jitter": 0.6}, "jitter must be 0 to 0.5, got 0.6"),
        ({"jitter": float("nan")}, "jitter must be"),
        ({"seed": -1}, "bad seed -1"),
        ({"only": ["mole"]}, "unknown class 'mole'; known: melanoma, eczema, vitiligo"),
        ({"only": []}, "only names no class"),
        ({"only": "melanoma"}, "only names no class: 'melanoma'"),
        ({"fill_to": 10**9}, "a plan of 1,999,999,987 images; at most 10,000,000"),
    ],
)
def test_bad_requests_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        plan_synthetic(SCENES, VOCABULARY, **arguments)


def test_a_huge_wish_is_met_as_far_as_max_images():
    plan = plan_synthetic(SCENES, VOCABULARY, fill_to=10**9, max_images=7)
    assert plan.images == 7 and plan.unmet == 2 * 10**9 - 13 - 7


def test_nothing_at_all():
    plan = plan_synthetic([], VOCABULARY)
    assert plan.images == 0 and plan.left_out == tuple(VOCABULARY)
    assert spread_evenly([], 0) == []
