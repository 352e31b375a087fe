"""plan_synthetic as people run it, and generate with what it wrote."""

import json

import numpy as np
import pytest

from dermgan_tf.generation.plan import read_plan
from dermgan_tf.models.dermgan.networks import build_generator
from dermgan_tf.models.dermgan.served import export_saved_model
from dermgan_tf.pairs.pairs import read_pairs, read_pairs_info
from dermgan_tf.photos.annotations import PhotoAnnotation, write_annotations
from tests.helpers.forked_programs import run_program
from tests.helpers.tiny_pairs import VOCABULARY, make_tiny_pairs


def run(*flags, program="plan_synthetic", afresh=False):
    return run_program(program, *flags, afresh=afresh)


def error_of(done, code=1):
    """The one line that begins with `error: `."""
    assert done.returncode == code, done.stderr
    lines = done.stderr.replace("\r", "\n").splitlines()
    assert "Traceback" not in done.stderr
    (line,) = [line for line in lines if line.startswith("error: ")]
    assert line == lines[-1]
    return line


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Six training crops a class. Melanoma: I 2, II 1, III 3; eczema: I 2, II 3, III 1.

    And three for validation.
    """
    return make_tiny_pairs(tmp_path_factory.mktemp("plan") / "tiny")


def sides(boxes):
    """Of boxes, in pixels, whichever way they are turned."""
    return tuple(
        sorted(
            tuple(
                sorted((round((b[2] - b[0]) * 64.0, 3), round((b[3] - b[1]) * 64.0, 3)))
            )
            for b in np.array(boxes, np.float64).tolist()
        )
    )


@pytest.fixture(scope="module")
def planned(pairs, tmp_path_factory):
    path = tmp_path_factory.mktemp("planned") / "balance.json"
    done = run(
        f"--data_dir={pairs}",
        f"--output={path}",
        "--balance_skin_types",
        "--fill_to=14",
        "--max_images=12",
        "--seed=7",
        afresh=True,
    )
    assert done.returncode == 0, done.stderr
    return path, done


def test_a_plan_is_made(pairs, planned):
    path, done = planned
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["melanoma", "6", "6", "12", "2"] in [row[:5] for row in rows]
    assert ["all", "12", "12", "24"] in [row[:4] for row in rows]
    assert "--max_images=12 leaves 4 images unplanned" in done.stdout
    assert f"12 images, 12 maps: {path}" in done.stdout
    assert f"real images: training crops of {pairs}" in done.stdout
    assert "reading: 100%" in done.stderr and "error" not in done.stderr
    plan = json.loads(path.read_text("utf-8"))
    info = read_pairs_info(pairs)
    assert plan["data_fingerprint"] == info.fingerprint
    assert plan["conditions"] == list(VOCABULARY)
    assert plan["settings"]["fill_to"] == 14 and plan["settings"]["seed"] == 7
    assert plan["classes"]["melanoma"]["real"] == [0, 2, 1, 3, 0, 0, 0]
    assert plan["classes"]["eczema"]["real"] == [0, 2, 3, 1, 0, 0, 0]
    for counts in plan["classes"].values():
        after = np.add(counts["real"], counts["synthetic"])[1:]
        # One of type II, IV, V or VI is missing to two of each.
        assert sorted(after) == [1, 2, 2, 2, 2, 3]
    training, held_out = (
        {(pair["condition"], sides(pair["boxes"])) for pair in read_pairs(pairs, split)}
        for split in ("train", "validation")
    )
    used = {(entry["condition"], sides(entry["boxes"])) for entry in plan["images"]}
    assert used == training  # six images a class, of six crops
    assert held_out - training  # and those would have been noticed
    count, specs = read_plan(path, VOCABULARY, 0, info.fingerprint)
    assert count == 12
    assert [(spec.condition, spec.fitzpatrick, spec.seed) for spec in specs] == [
        (entry["condition"], entry["fitzpatrick"], entry["seed"])
        for entry in plan["images"]
    ]


@pytest.mark.slow
def test_a_plan_is_painted(pairs, planned, tmp_path):
    path, _ = planned
    plan = json.loads(path.read_text("utf-8"))
    info = read_pairs_info(pairs)
    model = tmp_path / "generator"
    generator = build_generator(64, base_filters=4)
    provenance = {"data_fingerprint": info.fingerprint}
    export_saved_model(generator, VOCABULARY, model, provenance)
    out = tmp_path / "images"
    flags = (f"--saved_model={model}", f"--output_dir={out}", f"--plan={path}")
    painted = run(*flags, program="generate")
    assert painted.returncode == 0, painted.stderr
    # The fingerprints were compared: a plan of other pairs is refused, see read_plan.
    assert "whether the generator was trained on them is unknown" not in painted.stderr
    lines = (out / "generated.jsonl").read_text("utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    keys = ("condition", "fitzpatrick", "boxes", "seed")
    assert [[record[key] for key in keys] for record in records] == [
        [entry[key] for key in keys] for entry in plan["images"]
    ]
    assert json.loads((out / "run.json").read_text())["data_fingerprint"] == (
        info.fingerprint
    )


def test_photos_are_counted_and_what_gets_nothing_is_said(pairs, tmp_path):
    photos = [
        *(PhotoAnnotation(f"e{i}.png", f"case{i}", "eczema") for i in (1, 3, 7)),
        PhotoAnnotation("m.png", "case2", "melanoma", 4),
        PhotoAnnotation("a.png", "other", "acne", 2),
    ]
    annotations = tmp_path / "annotations.jsonl"
    write_annotations(
        annotations,
        [
            PhotoAnnotation(p.image, p.case_id, p.condition, p.fitzpatrick, (), "train")
            for p in photos
        ],
    )
    with open(annotations, "a") as file:
        file.write("{torn\n")
    path = tmp_path / "plan.json"
    path.write_text("of yesterday")
    flags = (f"--data_dir={pairs}", f"--output={path}", f"--annotations={annotations}")
    assert "more than --max_reject_fraction=0.1 allows" in error_of(
        run(*flags, "--overwrite")
    )
    flags += ("--max_reject_fraction=0.2", "--balance_skin_types", "--fill_to=1")
    assert "is there; choose another or pass --overwrite" in error_of(run(*flags))
    assert path.read_text() == "of yesterday"
    done = run(*flags, "--overwrite")
    assert done.returncode == 0, done.stderr
    for line in (
        f"real images: training photos of {annotations}",
        f"bad lines of {annotations}, left out: 1",
        "left out, as no training crop has a box of them: acne",
        "nothing to add to: melanoma, eczema",
        "skin type unknown: 3 of 5 real images (training photos), not counted",
        "nothing is to be painted",
        f"0 images, 0 maps: {path}",
    ):
        assert line in done.stdout
    plan = json.loads(path.read_text("utf-8"))
    assert plan["settings"]["counted"] == "training photos"
    assert plan["classes"]["eczema"]["real"] == [3, 0, 0, 0, 0, 0, 0]
    assert plan["images"] == []


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--fill_to=9", "--ratio=1"], 2, "--fill_to or --ratio, not both"),
        (["--fill_to=0"], 2, "fill_to"),
        (["--ratio=0"], 2, "want a number above 0"),
        (["--ratio=-2"], 2, "want a number above 0"),
        (["--jitter=0.7"], 2, "jitter"),
        (["--data_dir=nowhere"], 1, "nowhere is not a folder of pairs"),
        (["--annotations=nowhere.jsonl"], 1, "nowhere.jsonl: No such file"),
        (["--output=."], 1, "is a folder; name a file"),
        (["--only=melanoma, mole"], 1, "unknown class 'mole'; known: melanoma, eczema"),
    ],
)
def test_bad_requests_are_one_line_and_write_nothing(
    pairs, tmp_path, flags, code, message
):
    done = run(f"--data_dir={pairs}", f"--output={tmp_path / 'plan.json'}", *flags)
    assert message in error_of(done, code) and not done.stdout
    assert not list(tmp_path.iterdir())


def test_the_pairs_themselves_are_not_overwritten(pairs):
    before = (pairs / "pairs.json").read_bytes()
    done = run(f"--data_dir={pairs}", f"--output={pairs / 'pairs.json'}", "--overwrite")
    assert "is an input; choose another" in error_of(done)
    assert (pairs / "pairs.json").read_bytes() == before
