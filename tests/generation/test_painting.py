"""Plans, sweeps, and synthetic images on disk."""

import collections
import itertools
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from dermgan_tf.errors import InputError
from dermgan_tf.generation import plan as generation_plan
from dermgan_tf.generation.painting import paint_specs, write_images, write_sweep
from dermgan_tf.generation.plan import (
    ImageSpec,
    parse_boxes,
    plan_sweep,
    read_plan,
    sample_boxes,
    varied_specs,
)
from dermgan_tf.models.dermgan.networks import build_generator
from dermgan_tf.models.dermgan.served import export_saved_model, load_generator
from dermgan_tf.photos.photo_io import is_synthetic, read_photo, read_png_text
from dermgan_tf.photos.semantic_map import Roi, decode_semantic_map, encode_semantic_map
from dermgan_tf.photos.vocabulary import Vocabulary

VOCABULARY = Vocabulary(["melanoma", "eczema", "psoriasis", "vitiligo"])
SIZE = 64


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory):
    generator = build_generator(SIZE, base_filters=4)
    rng = np.random.default_rng(0)
    for weight in generator.weights:  # vivid images, not an untrained network's grey
        if weight.name == "kernel":
            scale = 1 / np.sqrt(np.prod(weight.shape[:-1]))
            weight.assign(rng.normal(0, scale, weight.shape))
    path = tmp_path_factory.mktemp("saved") / "model"
    export_saved_model(generator, VOCABULARY, path, {"steps": 1})
    return path


@pytest.fixture(scope="module")
def generator(saved_model):
    return load_generator(saved_model)


# --- series ------------------------------------------------------------------------


@pytest.mark.parametrize("conditions", [1, 4, 5, 6, 8, 27])
def test_all_combinations_take_turns(conditions):
    vocabulary = Vocabulary([f"c{i}" for i in range(conditions)])
    specs = list(varied_specs(vocabulary, count=conditions * 6 * 2))
    pairs = collections.Counter((s.condition, s.fitzpatrick) for s in specs)
    assert len(pairs) == conditions * 6 and set(pairs.values()) == {2}
    # Both change from image to image, so that a short series is varied, too.
    start = specs[: min(conditions, 6)]
    assert len({s.condition for s in start}) == len(start)
    assert len({s.fitzpatrick for s in start}) == len(start)


def test_what_is_given_stays():
    box = (0.1, 0.2, 0.3, 0.4)
    specs = list(varied_specs(VOCABULARY, 7, 5, "eczema", 0, [box]))
    assert specs == [ImageSpec("eczema", 0, (box,), 5 + i) for i in range(7)]
    types = [s.fitzpatrick for s in varied_specs(VOCABULARY, 13, condition="eczema")]
    assert types == [1, 2, 3, 4, 5, 6] * 2 + [1]
    names = [s.condition for s in varied_specs(VOCABULARY, 9, fitzpatrick=2)]
    assert names == [*VOCABULARY, *VOCABULARY, "melanoma"]
    assert [s.boxes for s in varied_specs(VOCABULARY, 2, boxes=[])] == [(), ()]


def test_a_series_can_be_continued_and_seeds_wrap_around():
    boxes = [s.boxes for s in varied_specs(VOCABULARY, 6, seed=100)]
    assert [s.boxes for s in varied_specs(VOCABULARY, 4, seed=102)] == boxes[2:]
    last = generation_plan.MAX_SEED
    assert [s.seed for s in varied_specs(VOCABULARY, 3, last)] == [last, 0, 1]


def test_drawn_boxes_look_like_those_of_training_crops():
    drawn = [sample_boxes(seed) for seed in range(500)]
    assert drawn == [sample_boxes(seed) for seed in range(500)]
    boxes = np.array(drawn)[:, 0]
    assert len(np.unique(boxes, axis=0)) == 500
    assert boxes.min() >= 0.05 - 1e-6 and boxes.max() <= 0.95 + 1e-6
    longer = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    assert longer.min() >= 0.25 - 1e-6 and longer.max() <= 0.75 + 1e-6
    assert longer.min() < 0.27 and longer.max() > 0.73
    centres = (boxes[:, 2:] + boxes[:, :2]).mean(axis=0) / 2
    np.testing.assert_allclose(centres, 0.5, atol=0.03)


def test_a_long_series_takes_no_memory():
    specs = varied_specs(VOCABULARY, 10**12)
    assert next(itertools.islice(specs, 3, None)).seed == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": 0}, "count must be at least 1, got 0"),
        ({"seed": -1}, "bad seed -1; valid: whole numbers 0…2147483647"),
        ({"seed": 2**31}, "bad seed 2147483648"),
        ({"condition": "mole"}, "unknown condition 'mole'; known: melanoma"),
        ({"fitzpatrick": 7}, "skin type 7; valid"),
        ({"boxes": [(0.5, 0.1, 0.2, 0.3)]}, "inverted or empty"),
    ],
)
def test_a_bad_series_is_refused_at_once(arguments, message):
    with pytest.raises(InputError, match=message):
        varied_specs(VOCABULARY, **({"count": 1} | arguments))


def test_boxes_as_typed():
    two = ((0.1, 0.2, 0.3, 0.4), (0.0, 0.5, 0.25, 1.0))
    assert parse_boxes("0.1,0.2,0.3,0.4; 0,.5,0.25,1") == two
    assert parse_boxes(" 0.1, 0.2, 0.3, 0.4 ;") == two[:1]
    assert parse_boxes("none") == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' is not ymin,xmin,ymax,xmax"),
        ("0.1,0.2,0.3", "'0.1,0.2,0.3' is not ymin"),
        ("0.1,0.2,0.3,0.4;;0.1,0.2,0.3,0.4", "'' is not ymin"),
        ("0.1,0.2,0.3,a", "'0.1,0.2,0.3,a' is not"),
        ("0.1,0.2,0.3,nan", "not finite"),
        ("0.1,0.2,0.3,1.4", "outside 0…1"),
        ("0.3,0.2,0.1,0.4", "inverted"),
    ],
)
def test_badly_typed_boxes_are_shown(text, message):
    with pytest.raises(InputError, match=message):
        parse_boxes(text)


# --- plans -------------------------------------------------------------------------


def write_plan(tmp_path, entries):
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(entries), encoding="utf-8")
    return path


def test_a_plan_is_a_list_of_series(tmp_path):
    box = [0.3, 0.3, 0.7, 0.7]
    entries = [
        {
            "condition": "eczema",
            "fitzpatrick": 4,
            "boxes": [box],
            "count": 2,
            "seed": 9,
        },
        {"condition": "melanoma", "boxes": [], "count": 3},
        {"fitzpatrick": None},
    ]
    total, specs = read_plan(write_plan(tmp_path, entries), VOCABULARY, seed=50)
    assert total == 6
    assert list(specs) == [
        ImageSpec("eczema", 4, (tuple(box),), 9),
        ImageSpec("eczema", 4, (tuple(box),), 10),
        ImageSpec("melanoma", 1, (), 52),
        ImageSpec("melanoma", 2, (), 53),
        ImageSpec("melanoma", 3, (), 54),
        ImageSpec("melanoma", 1, sample_boxes(55), 55),
    ]


def test_every_problem_of_a_plan_is_named(tmp_path):
    entries = [
        {"condition": "melanoma"},
        {"condition": "mole", "fitzpatrick": 9},
        {"boxes": [[0, 0, 1, 1], [0.5, 0.5, 0.2, 0.9]], "count": 0},
        {"boxes": "none", "seed": 1.5, "condtion": "eczema"},
        "eczema",
        {"count": True, "condition": ["eczema"]},
    ]
    with pytest.raises(InputError) as error:
        read_plan(write_plan(tmp_path, entries), VOCABULARY)
    message = str(error.value)
    for part in (
        "plan.json: entry 2: unknown condition 'mole'",
        "entry 2: unknown Fitzpatrick skin type 9",
        "entry 3: box [0.5, 0.5, 0.2, 0.9] is inverted",
        "entry 3: bad count 0",
        "entry 4: unknown key 'condtion' (known: condition, fitzpatrick,",
        "entry 4: boxes 'none' is not a list",
        "entry 4: bad seed 1.5",
        "entry 5: 'eczema' is not an object",
        "entry 6: bad count True",
        "entry 6: unknown condition ['eczema']",
        "known conditions: melanoma, eczema, psoriasis, vitiligo",
    ):
        assert part in message
    assert "entry 1:" not in message and "\n" not in message
    assert message.count("known conditions") == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "No such file"),
        ("[{]", "is not JSON"),
        ("{}", "is not a list of entries such as"),
        ("[]", "is not a list of entries"),
        ("\x80", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ('{"images": [{"condition"', "is not JSON"),
    ],
)
def test_what_is_no_plan_is_named(tmp_path, text, message):
    path = tmp_path / "plan.json"
    if text is not None:
        path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=message):
        read_plan(path, VOCABULARY)


def test_a_plan_tells_what_it_was_made_for(tmp_path):
    entries = [{"condition": "eczema", "count": 2, "seed": 9}, {"fitzpatrick": 3}]
    bare = read_plan(write_plan(tmp_path, entries), VOCABULARY, 4)
    plan = {
        "conditions": list(VOCABULARY),
        "data_fingerprint": "f00d",
        "settings": {"fill_to": 9},
        "classes": {},
        "images": entries,
    }
    total, specs = read_plan(write_plan(tmp_path, plan), VOCABULARY, 4, "f00d")
    assert total == bare[0] == 3 and list(specs) == list(bare[1])
    # Neither needs to be said.
    alone = write_plan(tmp_path, {"images": entries, "conditions": None})
    assert read_plan(alone, VOCABULARY, 4, "f00d")[0] == 3


def test_a_plan_of_unknown_origin_is_painted_with_a_warning(tmp_path, caplog):
    path = write_plan(tmp_path, {"data_fingerprint": "f00d", "images": [{}]})
    assert read_plan(path, VOCABULARY)[0] == 1
    assert "plan.json was made from pairs f00d" in caplog.text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data_fingerprint": "beef"}, r"other pairs \(beef\) than .* on \(f00d\)"),
        ({"data_fingerprint": 3}, "data_fingerprint 3 is not text"),
        (
            {"conditions": ["melanoma", "mole"]},
            "at position 1: plan .*plan.json has 'mole', the generator has 'eczema'",
        ),
        ({"conditions": ["melanoma"]}, "has 1 conditions, the generator has 4"),
        ({"conditions": "melanoma"}, "conditions 'melanoma' is not a list"),
        ({"conditions": [3]}, "not a condition name: 3"),
        ({"imgaes": []}, "unknown key 'imgaes' .known: conditions, data_fingerprint"),
        ({"images": []}, "has no image to paint"),
        ({"images": None}, "is not a list of entries"),
        ({"images": {"condition": "eczema"}}, "is not a list of entries"),
        ({"images": [{"condition": "mole"}]}, "entry 1: unknown condition 'mole'"),
    ],
)
def test_a_plan_for_another_generator_is_refused(tmp_path, changes, message):
    plan = {"conditions": list(VOCABULARY), "data_fingerprint": "f00d", "images": [{}]}
    path = write_plan(tmp_path, plan | changes)
    with pytest.raises(InputError, match=message) as error:
        read_plan(path, VOCABULARY, 0, "f00d")
    assert "\n" not in str(error.value)


def test_of_many_problems_the_first_are_shown(tmp_path):
    with pytest.raises(InputError) as error:
        read_plan(write_plan(tmp_path, [{"count": 0}] * 1000), VOCABULARY)
    message = str(error.value)
    assert "entry 20: bad count 0" in message and "entry 21" not in message
    assert message.endswith("and 980 more problems")


# --- sweeps ------------------------------------------------------------------------


def shown(sweep):
    """[(spec, shows_map)] by row, once the labels are found to fit."""
    assert len(sweep.rows) == len(sweep.row_labels)
    assert {len(row) for row in sweep.rows} == {len(sweep.column_labels)}
    return sweep.rows


def test_skin_color_sweep_changes_the_skin_type_alone():
    sweep = plan_sweep("skin_color", VOCABULARY, seed=3, variants=2)
    rows = shown(sweep)
    assert len(rows) == len(VOCABULARY) * 3
    assert sweep.row_labels[:3] == (
        "melanoma\nmap",
        "melanoma\nseed 3",
        "melanoma\nseed 4",
    )
    assert [label.split()[-1] for label in sweep.column_labels] == [
        "I", "II", "III", "IV", "V", "VI"
    ]  # fmt: skip
    for i, row in enumerate(rows):
        seed = (3, 3, 4)[i % 3]
        boxes = ((0.3, 0.3, 0.7, 0.7),)
        wanted = [
            ImageSpec(VOCABULARY.conditions[i // 3], t, boxes, seed)
            for t in range(1, 7)
        ]
        assert row == tuple((spec, i % 3 == 0) for spec in wanted)
    assert len(sweep.image_specs()) == len(VOCABULARY) * 2 * 6


def test_size_sweep_grows_boxes_about_their_centres():
    boxes = [(0.2, 0.3, 0.4, 0.4), (0.7, 0.75, 0.9, 0.85)]
    sweep = plan_sweep("size", VOCABULARY, 0, "eczema", 5, boxes)
    maps, images = shown(sweep)
    assert [spec for spec, _ in maps] == [spec for spec, _ in images]
    grown = np.array([spec.boxes for spec, _ in images])  # [6, 2, 4]
    sides = grown[..., 2:] - grown[..., :2]
    assert (np.diff(sides, axis=0) > 0).all()
    assert {(s.condition, s.fitzpatrick, s.seed) for s, _ in images} == {
        ("eczema", 5, 0)
    }
    # The smaller ones stay off the image's edge: centre and aspect as given.
    np.testing.assert_allclose(
        (grown[:2, :, :2] + grown[:2, :, 2:]) / 2,
        [[[0.3, 0.35], [0.8, 0.8]]] * 2,
        atol=1e-5,
    )
    np.testing.assert_allclose(sides[:2, :, 0] / sides[:2, :, 1], 2, atol=1e-4)
    assert grown.min() == 0 and grown.max() == 1  # the largest are cut off
    middle = plan_sweep("size", VOCABULARY, condition="eczema")
    assert [label.split("%")[0] for label in middle.column_labels] == [
        "25", "35", "45", "55", "65", "75"
    ]  # fmt: skip


def test_condition_sweep_shows_all_conditions_on_one_skin():
    sweep = plan_sweep("condition", VOCABULARY, seed=8, fitzpatrick=6, variants=3)
    rows = shown(sweep)
    assert sweep.row_labels == VOCABULARY.conditions
    assert sweep.column_labels == ("map", "seed 8", "seed 9", "seed 10")
    for name, row in zip(VOCABULARY, rows, strict=True):
        assert [shows_map for _, shows_map in row] == [True, False, False, False]
        assert [spec.seed for spec, _ in row] == [8, 8, 9, 10]
        assert {(s.condition, s.fitzpatrick) for s, _ in row} == {(name, 6)}


def test_place_sweep_moves_the_boxes_together():
    boxes = [(0.3, 0.3, 0.5, 0.4), (0.4, 0.5, 0.5, 0.6)]
    sweep = plan_sweep("place", VOCABULARY, condition="vitiligo", boxes=boxes)
    rows = shown(sweep)
    assert len(rows) == 3
    for i, row in enumerate(rows):
        assert [shows_map for _, shows_map in row] == [True] * 3 + [False] * 3
        assert [s for s, _ in row[:3]] == [s for s, _ in row[3:]]
        for j, (spec, _) in enumerate(row[:3]):
            moved = np.array(spec.boxes)
            shift = moved[0] - boxes[0]
            np.testing.assert_allclose(moved - boxes, [shift, shift], atol=1e-5)
            # The group is 0.2 high and 0.3 wide, and 0.05 off the edge at the ends.
            corner = moved[:, :2].min(axis=0)
            np.testing.assert_allclose(
                corner, [0.05 + 0.35 * i, 0.05 + 0.3 * j], atol=1e-5
            )
    whole = plan_sweep(
        "place", VOCABULARY, condition="vitiligo", boxes=[(0, 0, 1, 0.2)]
    )
    tops = {spec.boxes[0][0] for row in whole.rows for spec, _ in row}
    assert tops == {0.0}  # as high as the image: moves sideways only


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        ("colour", {}, "unknown sweep 'colour'; known: skin_color, size"),
        ("skin_color", {"fitzpatrick": 3}, "varies the skin type"),
        ("condition", {"condition": "eczema"}, "varies the condition"),
        ("size", {"boxes": []}, "varies the boxes"),
        ("place", {"boxes": []}, "varies the boxes"),
        ("size", {"condition": "mole"}, "unknown condition 'mole'"),
        ("size", {"fitzpatrick": 8}, "skin type 8"),
        ("size", {"variants": 0}, "at least 1 seed"),
        ("size", {"boxes": [(0, 0, 2, 1)]}, "outside"),
    ],
)
def test_a_bad_sweep_is_refused(kind, arguments, message):
    with pytest.raises(InputError, match=message):
        plan_sweep(kind, VOCABULARY, **arguments)


@pytest.mark.parametrize("kind", generation_plan.SWEEPS)
def test_every_sweep_fits_every_generator(kind):
    for name in VOCABULARY:
        given = {} if kind == "condition" else {"condition": name}
        for spec in plan_sweep(kind, VOCABULARY, **given).image_specs():
            semantic_map = spec.semantic_map(SIZE, VOCABULARY)
            fitzpatrick, rois = decode_semantic_map(semantic_map, VOCABULARY)
            assert fitzpatrick == spec.fitzpatrick
            assert [roi.condition for roi in rois] == [spec.condition]


# --- painting ----------------------------------------------------------------------


def test_specs_are_painted_as_their_maps_say(generator):
    specs = list(varied_specs(VOCABULARY, 7))
    painted = list(paint_specs(generator, specs, batch_size=3))
    assert [spec for spec, _, _ in painted] == specs
    for spec, semantic_map, image in painted:
        rois = [Roi(box, spec.condition) for box in spec.boxes]
        wanted = encode_semantic_map(SIZE, spec.fitzpatrick, rois, VOCABULARY)
        np.testing.assert_array_equal(semantic_map, wanted)
        alone = generator.paint(wanted[np.newaxis], [spec.seed])[0]
        np.testing.assert_array_equal(image, alone)


def test_painting_is_lazy(generator):
    taken = itertools.count()
    specs = (ImageSpec("eczema", 1, (), next(taken)) for _ in range(10**9))
    assert len(list(itertools.islice(paint_specs(generator, specs), 20))) == 20
    assert next(taken) <= 32


def test_images_are_filed_with_their_provenance(generator, tmp_path):
    specs = list(varied_specs(VOCABULARY, 20, seed=40))
    count = write_images(generator, iter(specs), tmp_path, 20, write_maps=True)
    assert count == 20
    lines = (tmp_path / "generated.jsonl").read_text("utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    assert len(list((tmp_path / "images").iterdir())) == len(records) == 20
    for spec, record in zip(specs, records, strict=True):
        assert record == {
            "image": f"images/{spec.seed - 40:06d}.png",
            "condition": spec.condition,
            "fitzpatrick": spec.fitzpatrick,
            "boxes": [list(box) for box in spec.boxes],
            "seed": spec.seed,
            "generator": generator.fingerprint,
            "source": "synthetic",
            "semantic_map": f"maps/{spec.seed - 40:06d}.png",
        }
        path = tmp_path / record["image"]
        assert is_synthetic(path)
        text = read_png_text(path)
        assert text.pop("software").startswith("dermgan_tf ")
        assert json.loads(text.pop("boxes")) == record["boxes"]
        assert text == {
            "synthetic": "true",
            "generator": generator.fingerprint,
            "condition": spec.condition,
            "fitzpatrick": str(spec.fitzpatrick),
            "seed": str(spec.seed),
        }
        # The text is enough to paint the image again.
        semantic_map = spec.semantic_map(SIZE, VOCABULARY)
        np.testing.assert_array_equal(
            read_photo(tmp_path / record["semantic_map"]), semantic_map
        )
        again = generator.paint(semantic_map[np.newaxis], [int(text["seed"])])[0]
        np.testing.assert_array_equal(read_photo(path), again)


def test_a_sweep_is_filed_as_sheet_and_images(generator, tmp_path):
    sweep = plan_sweep("place", VOCABULARY, condition="eczema")
    assert write_sweep(generator, sweep, tmp_path) == 9
    assert {p.name for p in tmp_path.iterdir()} == {
        "images",
        "generated.jsonl",
        "sheet.png",
    }
    assert is_synthetic(tmp_path / "sheet.png")
    text = read_png_text(tmp_path / "sheet.png")
    assert text["generator"] == generator.fingerprint
    assert text["sweep"].startswith("place")
    # Map and image of each cell stand on the sheet, enlarged to 128 px, in order.
    sheet = read_photo(tmp_path / "sheet.png")
    for i, row in enumerate(sweep.rows):
        for j, (spec, shows_map) in enumerate(row):
            image = spec.semantic_map(SIZE, VOCABULARY)
            if not shows_map:
                image = generator.paint(image[np.newaxis], [spec.seed])[0]
            cell = image.repeat(2, axis=0).repeat(2, axis=1)
            bottom = sheet.shape[0] - (2 - i) * 132 - 4
            right = sheet.shape[1] - (5 - j) * 132 - 4
            found = sheet[bottom - 128 : bottom, right - 128 : right]
            np.testing.assert_array_equal(found, cell, f"row {i}, column {j}")


def test_a_spec_of_another_vocabulary_is_refused(generator, tmp_path):
    with pytest.raises(InputError, match="unknown condition 'mole'; known: melanoma"):
        write_images(generator, [ImageSpec("mole", 1, (), 0)], tmp_path)


# --- loading -----------------------------------------------------------------------


def test_the_loaded_generator_tells_what_it_is(generator):
    assert generator.image_size == SIZE
    assert generator.vocabulary == VOCABULARY
    assert len(generator.fingerprint) == 64
    assert generator.metadata["provenance"] == {"steps": 1}
    names = [name for name, _, _ in generator.signatures()]
    assert sorted(names) == ["from_annotation", "metadata", "png", "serving_default"]


def copied(saved_model, tmp_path):
    path = tmp_path / "copy"
    for file in saved_model.rglob("*"):
        if file.is_file():
            target = path / file.relative_to(saved_model)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    return path


@pytest.mark.parametrize(
    "name",
    ["saved_model.pb", "variables/variables.index"]
    + ["variables/variables.data-00000-of-00001"],
)
@pytest.mark.parametrize("damage", ["missing", "empty", "torn", "garbled"])
def test_a_damaged_saved_model_is_one_line(saved_model, tmp_path, name, damage):
    path = copied(saved_model, tmp_path)
    data = (path / name).read_bytes()
    if damage == "missing":
        (path / name).unlink()
    else:
        changed = {
            "empty": b"",
            "torn": data[: len(data) // 2],
            "garbled": bytes(255 - byte for byte in data),
        }
        (path / name).write_bytes(changed[damage])
    with pytest.raises(InputError, match="SavedModel") as error:
        load_generator(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_other_folders_are_refused(tmp_path):
    with pytest.raises(
        InputError, match="is not a SavedModel: it has no saved_model.pb"
    ):
        load_generator(tmp_path / "nowhere")

    class Other(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None])])
        def double(self, x):
            return 2 * x

    other = Other()
    signatures = {"serving_default": other.double}
    tf.saved_model.save(other, os.fspath(tmp_path / "other"), signatures=signatures)
    with pytest.raises(InputError, match="not a dermgan_tf generator: it has no signa"):
        load_generator(tmp_path / "other")


# --- a thousand images -------------------------------------------------------------

THOUSAND = """
import resource, sys
from dermgan_tf.generation.painting import load_generator, write_images
from dermgan_tf.generation.plan import varied_specs

peaks = []
def watched(images, total, desc):
    for i, image in enumerate(images):
        if i in (100, total - 1):
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        yield image

generator = load_generator(sys.argv[1])
specs = varied_specs(generator.vocabulary, 1000)
assert write_images(generator, specs, sys.argv[2], 1000, progress=watched) == 1000
print(*peaks)
"""


@pytest.mark.slow
def test_a_thousand_images_take_no_more_memory_than_a_hundred(saved_model, tmp_path):
    result = subprocess.run(
        [sys.executable, "-c", THOUSAND, str(saved_model), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=1200,
        check=True,
    )
    early, late = (float(peak) for peak in result.stdout.split())
    assert late < early + 20  # MB
    assert len(list((tmp_path / "images").iterdir())) == 1000
