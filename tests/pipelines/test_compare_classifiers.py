"""compare_classifiers as users run it: a process, files in, files out."""

import dataclasses
import io
import json
import pathlib
import re
import shutil
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest

from dermgan_tf.classifier.leakage import trained_case_digests
from dermgan_tf.classifier.predictions import read_predictions, write_predictions
from dermgan_tf.errors import InputError
from dermgan_tf.photos.anonymous_ids import anonymous_case_id, anonymous_image_id
from dermgan_tf.reports.comparison import draw_figures
from dermgan_tf.studies.arms import (
    parse_arms,
    read_arms,
    read_train_counts,
    train_counts,
)
from tests.helpers.prediction_sets import drawn_arms

ROOT = pathlib.Path(__file__).parents[2]


# As `-m` runs it; stderr ends with what it loaded that it should not.
RUN = """
import sys
from pipelines import compare_classifiers
try:
    compare_classifiers.run()
finally:
    loaded = sorted({"tensorflow", "keras"} & set(sys.modules))
    print("loaded:", *loaded, file=sys.stderr)
"""


def compare_classifiers(*arms, **flags):
    arguments = [f"--arm={arm}" for arm in arms]
    arguments += [f"--{name}={value}" for name, value in flags.items()]
    return subprocess.run(
        [sys.executable, "-c", RUN, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture
def folder(tmp_path):
    """Two predictions files, and two folders of trained classifiers."""
    baseline, augmented = drawn_arms(photos=80, cases=50)
    for i, predictions in enumerate(baseline.predictions):
        write_predictions(tmp_path / f"baseline_{i}.csv", predictions)
    for i, predictions in enumerate(augmented.predictions):
        trained = tmp_path / f"augmented_{i}"
        (trained / "predictions").mkdir(parents=True)
        write_predictions(trained / "predictions" / "test.csv", predictions)
        card = {
            "seed": i,
            "architecture": "mobilenet_v2",
            "trained_cases": trained_case_digests(["c99", "c98"]),
            "synthetic": {"ratio": 1.0, "cases_known": True},
            "train_counts": {f"k{k}": k for k in range(5)},
        }
        (trained / "classifier.json").write_text(json.dumps(card))
    return tmp_path


def paths(folder):
    return {
        "baseline": [folder / "baseline_0.csv", folder / "baseline_1.csv"],
        "augmented": [folder / "augmented_0", folder / "augmented_1"],
    }


def texts(folder):
    return [f"{n}={','.join(map(str, files))}" for n, files in paths(folder).items()]


def refused(given, message):
    with pytest.raises(InputError) as error:
        read_arms(given)
    assert message in str(error.value) and "\n" not in str(error.value)
    return str(error.value)


def test_a_report_is_made(folder):
    output = folder / "report"
    done = compare_classifiers(
        *texts(folder), output_dir=output, resamples=150, rarest=2
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((output / "comparison.json").read_text("utf-8"))
    assert found["test_set"]["photos"] == 80 and found["settings"]["resamples"] == 150
    assert [arm["name"] for arm in found["arms"]] == ["baseline", "augmented"]
    assert found["arms"][0]["files"][0]["classifier"] is None
    assert found["arms"][1]["files"][1]["classifier"] == {
        "architecture": "mobilenet_v2",
        "seed": 1,
        "synthetic": True,
    }
    assert any("beside 2 of 4 files" in remark for remark in found["remarks"])

    names = {path.name for path in output.iterdir()}
    figures = {name for name in names if name.endswith(".png")}
    assert len(figures) == 8 and {"differences.png", "confusion_2.png"} < figures
    assert names - figures == {"comparison.json", "report.html", "run.json"}
    for name in figures:
        image = PIL.Image.open(io.BytesIO((output / name).read_bytes()))
        assert min(image.size) > 200 and np.ptp(np.asarray(image.convert("L"))) > 200
    page = (output / "report.html").read_text("utf-8")
    assert not re.search(r"(src|href)=\"(?!data:)", page) and "http" not in page
    assert page.count("data:image/png;base64,") == len(figures)
    for text in (
        "McNemar",
        "paired t-test",
        "Holm",
        "augmented_1/predictions/test.csv",
    ):
        assert text in page

    lines = done.stdout.splitlines()
    assert lines[0] == "test set: 80 photos, 50 cases"
    assert lines[1].startswith("baseline, 2 seeds: top-1 0.")
    top_1 = found["comparisons"][0]["scores"]["top_1"]
    assert f"augmented minus baseline, top-1: {top_1['value']:.3g}" in done.stdout
    assert lines[-1] == f"report: {output}/report.html"
    assert "resamples" in done.stderr and done.stderr.endswith("\nloaded:\n")
    run = json.loads((output / "run.json").read_text("utf-8"))
    assert run["program"] == "compare_classifiers" and run["flags"]["rarest"] == 2
    assert run["data_fingerprint"] == found["test_set"]["fingerprint"]


def test_an_error_is_one_line_and_leaves_nothing_behind(folder):
    (folder / "baseline_1.csv").write_text("<html>not found</html>\n")
    done = compare_classifiers(*texts(folder), output_dir=folder / "failed")
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == (
        f"error: {folder / 'baseline_1.csv'}: line 1: this is HTML, not CSV; fetch it "
        "again\nloaded:\n"
    )
    assert not [path for path in folder.iterdir() if path.name.startswith("failed")]


def test_help_and_usage(folder):
    done = compare_classifiers(help="true")
    assert done.returncode == 0
    for flag in ("--arm", "--specificity", "--rarest", "--train_counts"):
        assert flag in done.stdout
    assert compare_classifiers(output_dir="x").returncode == 2


def test_arms_are_parsed():
    assert parse_arms(["a=x.csv, y.csv", "b b=c=d.csv"]) == {
        "a": ["x.csv", "y.csv"],
        "b b": ["c=d.csv"],
    }
    for given, message in (
        (["a=x"], "two arms or more, got 1"),
        (["a=x", "b"], "'b' is not NAME=FILE"),
        (["a=x", "b=y,"], "is not NAME=FILE"),
        (["a=x", "=y"], "is not NAME=FILE"),
        (["a=x", "a=y"], "'a' comes twice"),
    ):
        with pytest.raises(InputError, match=message):
            parse_arms(given)


def test_arms_are_read_in_one_order(folder):
    file = folder / "baseline_1.csv"
    predictions = read_predictions(file)
    write_predictions(file, predictions.take(np.arange(80)[::-1]))
    arms = read_arms(paths(folder))
    for arm in arms:
        for found in arm.predictions:
            np.testing.assert_array_equal(found.image_ids, predictions.image_ids)
    np.testing.assert_array_equal(
        arms[0].predictions[1].probabilities, predictions.probabilities
    )
    assert arms[0].classifiers == (None, None)
    assert [card["seed"] for card in arms[1].classifiers] == [0, 1]


def test_a_test_case_that_was_trained_on_is_refused(folder):
    card = folder / "augmented_1" / "classifier.json"
    told = json.loads(card.read_text())
    told["trained_cases"] += trained_case_digests(["c7"])
    card.write_text(json.dumps(told))
    message = refused(paths(folder), "case 'c7' is among the cases")
    assert str(folder / "augmented_1" / "predictions" / "test.csv") in message
    # Naming the file in place of the folder does not get around it.
    given = paths(folder)
    given["augmented"] = [folder / "augmented_1" / "predictions" / "test.csv"]
    refused(given, "case 'c7' is among the cases")
    told = {"trained_cases": [], "synthetic": {"cases_known": False}}
    card.write_text(json.dumps(told))
    refused(paths(folder), "does not know the cases that this was trained on")
    card.write_text(json.dumps({"trained_cases": [], "conditions": ["k0", "k2"]}))
    refused(paths(folder), "vocabularies differ at position 1")
    for text, why in (("{", "not JSON"), ("{}", "no list of trained_cases")):
        card.write_text(text)
        refused(paths(folder), f"{card}: {why}")


def hashed(given, salt):
    """Predictions as `train_classifier --anonymize_ids` writes them."""
    named = zip(given.cases, given.image_ids, strict=True)
    return dataclasses.replace(
        given,
        image_ids=np.array([anonymous_image_id(c, i, salt) for c, i in named]),
        cases=np.array([anonymous_case_id(case, salt) for case in given.cases]),
    )


def test_hashed_ids_go_together_under_one_salt_only(folder):
    salts = {"a": b"a salt of some length", "b": b"another one, as long"}
    file = folder / "baseline_1.csv"
    plain = [arm.predictions[1] for arm in read_arms(paths(folder))]
    for each in sum(paths(folder).values(), []):
        each = each if each.suffix else each / "predictions/test.csv"
        write_predictions(each, hashed(read_predictions(each), salts["a"]))
    arms = read_arms(paths(folder))
    for arm, before in zip(arms, plain, strict=True):
        order = np.argsort(arm.predictions[1].image_ids)
        expected = hashed(before, salts["a"])
        other = np.argsort(expected.image_ids)
        np.testing.assert_array_equal(
            arm.predictions[1].probabilities[order], expected.probabilities[other]
        )
    write_predictions(file, hashed(plain[0], salts["b"]))
    assert str(file) in refused(paths(folder), "has no photo of")
    assert "under one salt" in refused(paths(folder), "--anonymize_ids")


def test_files_that_do_not_go_together_are_refused(folder):
    file = folder / "baseline_1.csv"
    given = read_predictions(file)

    def refuse(changed, message):
        write_predictions(file, changed)
        assert str(file) in refused(paths(folder), message)

    refuse(given.take(range(79)), "lacks image 'i79'")
    refuse(
        dataclasses.replace(given, labels=(given.labels + 1) % 5),
        "image 'i0' has condition",
    )
    refuse(
        dataclasses.replace(given, conditions=("k1", "k0", "k2", "k3", "k4")),
        "vocabularies differ at position 0",
    )
    shutil.copy(folder / "baseline_0.csv", file)
    assert str(file) in refused(paths(folder), "give each training seed once")
    for name in ("baseline_0.csv", "baseline_1.csv"):
        one = dataclasses.replace(given, labels=np.full(80, 2))
        write_predictions(folder / name, one)
    refused(paths(folder), "all 80 photos are of 'k2'")
    with pytest.raises(FileNotFoundError):
        read_arms({"gone": [folder / "gone.csv"]})


def test_training_photos_are_counted(folder):
    names = [f"k{k}" for k in range(5)]
    given = paths(folder)
    assert train_counts(read_arms(given), names) is None
    given = dict(reversed(given.items()))
    assert train_counts(read_arms(given), names) == {f"k{k}": k for k in range(5)}
    file = folder / "counts.json"
    file.write_text('{"k0": 1, "k1": 2, "k2": 0, "k3": 3, "k4": 9, "more": 4}')
    assert read_train_counts(file, names)["k4"] == 9
    for text in ("[1]", '{"k0": 1}', '{"k0": -1}', '{"k0": "1"}', '{"k0": true}'):
        file.write_text(text)
        with pytest.raises(InputError, match="training photos for condition 'k"):
            read_train_counts(file, names)
    file.write_text("")
    with pytest.raises(InputError, match="not JSON"):
        read_train_counts(file, names)


def test_figures_of_much_that_is_undefined():
    from dermgan_tf.studies.comparison import compare

    arms = drawn_arms(seeds=(1, 1), photos=12, cases=10, conditions=2)
    third = dataclasses.replace(arms[1], name="third")
    figures = draw_figures(compare([*arms, third], resamples=100))
    assert len(figures) == 9
    assert all(png.startswith(b"\x89PNG") for png in figures.values())
