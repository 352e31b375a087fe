"""The augmentation study: training, curves, what goes on after a stop."""

import csv
import dataclasses
import json
import pathlib
import re

import numpy as np
import pytest
import sklearn.metrics

from dermgan_tf.classifier.labelled_images import joined
from dermgan_tf.classifier.leakage import trained_case_digests
from dermgan_tf.classifier.predictions import read_predictions
from dermgan_tf.errors import InputError
from dermgan_tf.photos.draws import case_order
from dermgan_tf.photos.photo_io import read_photo
from dermgan_tf.reports.augmentation import summary_lines
from dermgan_tf.studies.augmentation import run_augmentation_study
from dermgan_tf.studies.augmentation_arms import SyntheticSet
from tests.helpers.coloured_spots import spots

ROOT = pathlib.Path(__file__).parents[2]


def photos(count, seed, types=2):
    split = spots(count, seed, labels=np.arange(count) % 3)
    skin_types = 1 + np.arange(count) // 3 % types
    return dataclasses.replace(split, skin_types=skin_types)


SPLITS = {"train": photos(24, 0), "validation": photos(12, 1), "test": photos(63, 2)}
CASES = sorted(set(SPLITS["train"].cases))
PAINTED = SyntheticSet(
    "painted", dataclasses.replace(spots(30, 3), cases=None), "f" * 64, CASES
)
TRAINING = {
    "architecture": "small_conv",
    "weights": None,
    "batch_size": 8,
    "epochs": 1,
    "learning_rate": 3e-3,
    "log_every": 1,
}
ARMS = {
    "synthetic": [PAINTED],
    "ratios": [0, 1],
    "resamples": 100,
    "rarest": 2,
}


class Halves:
    """An embedding that tells all pictures apart."""

    name, fingerprint = "halves", "h"

    def embed(self, images, batch_size=32):
        flat = [image[::4, ::4].ravel() for image in images]
        return np.array(flat, np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("study") / "study"


@pytest.fixture(scope="module")
def study(folder):
    """Stopped within the second run, and gone on with."""
    more = joined([SPLITS["train"].take(np.arange(5)), photos(9, 8)])
    arguments = {
        **ARMS,
        "seeds": 1,
        "no_augmentation_arm": True,
        "more_real": more,
        "train_cases": [4],
        "embedding": Halves(),
    }
    answers = iter([False] * 4 + [True] * 9)
    said = []
    with pytest.raises(InputError, match="stopped after step 2 of 3 of no augment"):
        run_augmentation_study(
            SPLITS,
            folder,
            TRAINING,
            **arguments,
            stop_requested=lambda: next(answers),
        )
    assert (folder / "runs/no-augmentation/seed-0/checkpoints/step-2.index").exists()
    assert not (folder / "metrics.json").exists()
    first = (folder / "runs/baseline/seed-0/classifier.keras").stat().st_mtime_ns
    metrics = run_augmentation_study(
        SPLITS, folder, TRAINING, **arguments, announce=said.append
    )
    assert said[0] == "baseline, seed 0, 1 of 6"
    assert said[-2:] == ["comparing 4 arms of all cases", "comparing 2 arms of 4 cases"]
    own = folder / "runs/baseline/seed-0/classifier.keras"
    assert own.stat().st_mtime_ns == first
    return metrics


def test_arms_differ_in_what_is_said_of_them_alone(study, folder):
    told = {
        (arm["arm"], run["seed"]): json.loads(
            (folder / run["folder"] / "classifier.json").read_text("utf-8")
        )
        for arm in study["arms"]
        for run in arm["runs"]
    }
    assert len(told) == 6
    base = told["baseline", 0]
    for (arm, seed), card in told.items():
        assert card["trained_steps"] == 3 and card["seed"] == seed
        assert card["copies"]["found"] == 0
        few = arm.endswith("-cases")
        differs = {k for k, v in card["settings"].items() if v != base["settings"][k]}
        if arm == "no-augmentation":
            assert differs == {"augment"}
        elif card["synthetic"]:
            assert differs == {"synthetic_ratio"}
            assert card["synthetic"]["images"] == (12 if few else 24)
            assert card["trained_cases"] == trained_case_digests(CASES)
        else:
            assert not differs
        expected = {"more-real": 33}.get(arm, 12 if few else 24)
        assert card["images"]["train"] == expected
    assert told["baseline-4-cases", 0]["trained_cases"] == trained_case_digests(
        case_order(SPLITS["train"].cases, SPLITS["train"].labels, 0)[:4]
    )
    assert not list(folder.glob("runs/*/*/checkpoints"))
    assert not list(folder.glob("runs/*/*/saved_model"))


def test_the_numbers_are_those_of_scikit_learn_on_the_predictions(study, folder):
    for arm in study["arms"]:
        for run in arm["runs"]:
            found = read_predictions(folder / run["folder"] / "predictions/test.csv")
            predicted = found.probabilities.argmax(axis=1)
            assert run["macro_f1"] == pytest.approx(
                sklearn.metrics.f1_score(found.labels, predicted, average="macro")
            )
            assert run["top_1"] == pytest.approx(np.mean(predicted == found.labels))
            recalls = [
                sklearn.metrics.recall_score(
                    found.labels[found.skin_types == t],
                    predicted[found.skin_types == t],
                    average="macro",
                )
                for t in (1, 2)
            ]
            assert run["gap_macro_recall"] == pytest.approx(abs(np.diff(recalls)[0]))
    rows = {arm["arm"]: arm for arm in study["arms"]}
    for arm, baseline in (
        ("painted-x1", "baseline"),
        ("painted-x1-4-cases", "baseline-4-cases"),
    ):
        assert rows[arm]["compared_with"] == baseline
        ours, theirs = (rows[n]["scores"]["macro_f1"]["value"] for n in (arm, baseline))
        assert rows[arm]["minus"]["macro_f1"]["value"] == pytest.approx(ours - theirs)
    assert rows["baseline"]["minus"] is None
    with open(folder / "table.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == 6
    assert float(table[-1]["top_1"]) == study["arms"][-1]["runs"][-1]["top_1"]
    assert [row["train_cases"] for row in table] == ["all"] * 4 + ["4"] * 2


def test_the_report_tells_what_must_be_known(study, folder):
    saw = "the generator saw all 8 training cases"
    assert [arm["arm"] for arm in study["arms"] if arm["generator_saw"] == saw] == [
        "painted-x1-4-cases"
    ]
    assert study["more_real"] == {"photos": 9, "cases": 3, "left_out": 5}
    page = (folder / "report.html").read_text("utf-8")
    assert "What the baseline makes of painted" in page
    rows = study["synthetic"][0]["recognition"]
    painted = np.bincount(PAINTED.images.labels)
    assert [row["images"] for row in rows] == painted.tolist()
    for text in (saw, "Every arm was trained once", "McNemar", "more real photos"):
        assert text in page
    assert not re.search(r"(src|href)=\"(?!data:)", page) and "http" not in page
    figures = ("ratios", "ratio_differences", "cases", "case_differences")
    for name in figures:
        assert np.ptp(read_photo(folder / f"{name}.png")) > 200
    assert page.count("data:image/png;base64,") == len(figures) + 6 + 4
    lines = summary_lines(study)
    assert len(lines) == 6 and lines[-1].startswith("painted 1 : 1, 4 cases: macro F1 ")
    assert (folder / "comparison/4-cases/comparison.json").is_file()


def test_every_number_is_documented(study):
    text = (ROOT / "docs/augmentation.md").read_text("utf-8")
    text += (ROOT / "docs/comparison.md").read_text("utf-8")
    documented = set(re.findall(r"[a-z_0-9]+", text))

    def keys(value):
        if isinstance(value, dict):
            for key, inner in value.items():
                yield key
                yield from keys(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from keys(inner)

    found = set(keys(study))
    assert len(found) > 50
    assert not found - documented


def test_more_seeds_may_follow_but_nothing_else(study, folder):
    said = []
    arguments = {**ARMS, "ratios": [0], "no_augmentation_arm": True, "seeds": 2}
    before = (folder / "runs/baseline/seed-0/history.csv").stat().st_mtime_ns
    again = run_augmentation_study(
        SPLITS, folder, TRAINING, **arguments, announce=said.append
    )
    assert (folder / "runs/baseline/seed-0/history.csv").stat().st_mtime_ns == before
    assert said[0] == "baseline, seed 0, 1 of 4" and len(said) == 6
    assert [arm["arm"] for arm in again["arms"]] == ["baseline", "no-augmentation"]
    assert [run["seed"] for run in again["arms"][0]["runs"]] == [0, 1]
    assert again["copies"] is None and "were not looked for" in again["remarks"][-1]
    with pytest.raises(InputError, match="begun with steps 3, this call asks for 6"):
        run_augmentation_study(SPLITS, folder, {**TRAINING, "epochs": 2}, **ARMS)
    other = {**SPLITS, "test": photos(63, 6)}
    with pytest.raises(InputError, match="begun with data test fingerprint"):
        run_augmentation_study(other, folder, TRAINING, **ARMS)


def test_more_photos_must_not_be_of_held_out_cases(tmp_path):
    held = joined([SPLITS["test"].take(np.arange(3)), photos(9, 8)])
    with pytest.raises(InputError, match="has 1 cases of the test split, 'c2-0' first"):
        run_augmentation_study(SPLITS, tmp_path, TRAINING, more_real=held)
    with pytest.raises(InputError, match="no photo that is not in training already"):
        run_augmentation_study(SPLITS, tmp_path, TRAINING, more_real=SPLITS["train"])
    rare = dataclasses.replace(SPLITS["train"], labels=np.repeat([0, 1], [21, 3]))
    with pytest.raises(InputError, match="the 2 cases of seed . show one condition"):
        run_augmentation_study(
            {**SPLITS, "train": rare}, tmp_path, TRAINING, **ARMS, train_cases=[2]
        )
    with pytest.raises(InputError, match="there are no test photos"):
        two = {name: SPLITS[name] for name in ("train", "validation")}
        run_augmentation_study(two, tmp_path, TRAINING, **ARMS)
    test = SPLITS["test"]
    alike = {**SPLITS, "test": test.take(np.flatnonzero(test.labels == 0))}
    with pytest.raises(InputError, match="test photos are of .* takes two conditions"):
        run_augmentation_study(alike, tmp_path, TRAINING, **ARMS)
    assert not list(tmp_path.iterdir())
