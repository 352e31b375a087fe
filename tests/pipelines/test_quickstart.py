"""The whole job in one real process, made small."""

import json
import os
import re
import subprocess
import sys

import pytest

from dermgan_tf.photos.annotations import read_annotations
from dermgan_tf.photos.photo_io import is_synthetic

SMALL = ("--cases=80", "--steps=6", "--classifier_steps=12")


def run(output_dir, *flags):
    return subprocess.run(
        [sys.executable, "-m", "pipelines.quickstart", f"--output_dir={output_dir}"]
        + list(flags),
        check=False,
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    output_dir = tmp_path_factory.mktemp("quickstart") / "out"
    done = run(output_dir, *SMALL)
    assert done.returncode == 0, done.stderr[-3000:]
    return output_dir, done


def test_leaves_what_it_promises(finished):
    output_dir, done = finished
    assert f"open {output_dir}/report.html" in done.stdout
    assert "baseline_classifier" in done.stdout  # a distance is named by its embedding
    assert {
        "photos",
        "pairs",
        "model",
        "generator",
        "sweeps",
        "evaluation",
        "comparison",
        "metrics.json",
        "report.html",
        "run.json",
    } <= set(os.listdir(output_dir))
    annotations, rejects = read_annotations(output_dir / "photos/annotations.jsonl")
    assert annotations and not rejects
    assert {annotation.source for annotation in annotations} == {"phantom"}
    for kind in ("skin_color", "size", "condition", "place"):
        assert is_synthetic(output_dir / "sweeps" / kind / "sheet.png")


def test_report_stands_alone_and_shows_the_sheets(finished):
    output_dir, done = finished
    page = (output_dir / "report.html").read_text(encoding="utf-8")
    # Nothing to fetch; two links lead to the pages beside it.
    assert not re.search(r'src="(?!data:)', page)
    links = re.findall(r'href="([^"]*)', page)
    assert links == ["evaluation/report.html", "comparison/report.html"]
    assert all((output_dir / link).is_file() for link in links)
    assert page.count("data:image/png;base64,") == 5
    assert "baseline_classifier" in page
    told = re.sub(r"<style>.*?</style>|<[^>]+>", " ", page, flags=re.DOTALL)
    assert not re.search(r"\breal\b", told)  # phantoms are drawn
    # The verdict stands before everything else, and on the console.
    top = page[: page.index("A program drew")]
    assert top.count("<tr><td>") == 5 and "<img" not in top
    for subject in ("skin colour", "place", "condition", "variety", "help for"):
        assert f"<tr><td>{subject}" in top and f"\n{subject}" in done.stdout
    assert "no verdict" in top and "one training per arm" in top
    for text in ("recall of the manifold", "seeds of one map", "best possible"):
        assert text in page
    assert str(output_dir) not in page


def test_numbers_carry_counts_and_intervals(finished):
    output_dir, _ = finished
    metrics = json.loads((output_dir / "metrics.json").read_text())
    trials = metrics["evaluation"]["distances"]["overall"]["synthetic_real"][
        "frechet_trials"
    ]
    assert trials["trials"] == 50 and len(trials["interval_95"]) == 2
    comparison = metrics["classifier"]["comparison"]
    assert [arm["name"] for arm in comparison["arms"]] == ["baseline", "augmented"]
    for arm in (*comparison["arms"], *comparison["comparisons"]):
        assert len(arm["scores"]["top_1"]["interval_95"]) == 2
    classifier = metrics["classifier"]
    assert 0 < 2 * classifier["synthetic_images"] <= classifier["real_images"]
    baseline, augmented = classifier["arms"]
    assert baseline["real_images_seen"] == augmented["real_images_seen"] == 12 * 64
    assert baseline["synthetic_images_seen"] == 0
    assert augmented["synthetic_images_seen"] == (augmented["steps"] - 12) * 64 > 0


def test_full_folder_is_not_overwritten(finished):
    output_dir, _ = finished
    done = run(output_dir, *SMALL)
    assert done.returncode == 1
    assert re.search(r"^error: .*not empty.*--overwrite", done.stderr, re.MULTILINE)


@pytest.mark.slow
def test_same_numbers_on_every_run(finished, tmp_path):
    output_dir, _ = finished
    assert run(tmp_path / "again", *SMALL).returncode == 0
    first, second = (
        json.loads((folder / "metrics.json").read_text())
        for folder in (output_dir, tmp_path / "again")
    )
    first.pop("seconds"), second.pop("seconds")
    assert first == second
