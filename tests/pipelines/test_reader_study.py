"""`reader_study` as people run it."""

import csv
import json
import re
import signal

import numpy as np
import pytest
from PIL import Image

from benchmarks.reader_study_load import noise_study, run_load
from dermgan_tf.apps.reader_study.store import AnswerStore
from dermgan_tf.apps.reader_study.study import read_key, read_study
from dermgan_tf.photos.photo_io import encode_jpeg
from tests.helpers.bounded_runs import run_program
from tests.helpers.browser import Served
from tests.helpers.study_pools import (
    CONDITIONS,
    make_study,
    noise_image,
    write_generated,
)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Annotated photographs, and images of a generator."""
    folder = tmp_path_factory.mktemp("sources")
    lines = []
    for place in range(30):
        (folder / f"{place}.jpg").write_bytes(encode_jpeg(noise_image(96, place)))
        line = {
            "image": f"{place}.jpg",
            "case_id": f"Mrs Plank {place}",
            "condition": CONDITIONS[place % 3],
            "fitzpatrick": place % 6 + 1,
            "rois": [{"box": [0.3, 0.3, 0.6, 0.6]}],
            "split": "train" if place < 6 else "test",
        }
        lines.append(json.dumps(line) + "\n")
    (folder / "annotations.jsonl").write_text("".join(lines))
    write_generated(folder / "generated", 24)
    return folder


def flags(sources, output, **more):
    values = {
        "annotations": sources / "annotations.jsonl",
        "generated": sources / "generated",
        "output_dir": output,
        "real": 6,
        "synthetic": 6,
        "questions": 2,
        "images_per_question": 4,
        "participants": 2,
        "image_size": 64,
    }
    return [f"--{name}={value}" for name, value in (values | more).items()]


def test_build_answer_and_analyze(sources, tmp_path):
    folder = tmp_path / "study"
    done = run_program("reader_study", "build", *flags(sources, folder))
    assert done.code == 0, done.stderr
    assert "14 questions, 20 images of 64 × 64 pixels, 2 participants" in done.stdout
    study = read_study(folder)
    key = read_key(study)
    assert {line.source for line in key.values()} == {"real", "synthetic"}
    with (folder / "participants.csv").open() as file:
        people = list(csv.DictReader(file))
    assert [person["parts"] for person in people] == ["turing+recognition"] * 2
    run = json.loads((folder / "run.json").read_text())
    assert run["program"] == "reader_study build" and run["flags"]["real"] == 6
    assert people[0]["code"] not in (folder / "run.json").read_text()
    served = [p for p in (folder / "served").rglob("*") if p.is_file()]
    assert not any(b"Plank" in path.read_bytes() for path in served)

    store = AnswerStore(folder / "answers.sqlite", study.fingerprint)
    for person in (1, 2):
        for name in study.names("turing"):
            said = key[name].kind if person == 1 else "real"
            store.record(person, name, said, 1000, 1500)
        for name in study.names("recognition"):
            images = study.questions[name].images
            shown = [
                image
                for image in images
                if study.questions[name].condition in key[image].shows
            ]
            store.record(person, name, sorted(shown), 1000, 1500)
    store.close()
    report = tmp_path / "report"
    done = run_program(
        "reader_study", "analyze", f"--study={folder}", f"--output_dir={report}"
    )
    assert done.code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("part 1, real images called real (TPR): 1 (95 % ")
    assert lines[1].startswith("part 1, synthetic images called real (FPR): 0.5 ")
    assert "part 2, recall of real images: 1 " in done.stdout
    assert lines[-1] == f"report: {report}/report.html"
    names = {path.name for path in report.iterdir()}
    figures = {"figure_10a.png", "figure_10b.png", "judged.png"}
    assert names == figures | {
        "analysis.json",
        "answers.csv",
        "report.html",
        "run.json",
    }
    page = (report / "report.html").read_text("utf-8")
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert page.count("data:image/png;base64,") == 3
    with (report / "answers.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 20 and {row["kind"] for row in rows} == {
        *("real", "synthetic")
    }
    sheet = Image.open(report / "judged.png")
    assert sheet.info["synthetic"] == "true"
    red = np.all(np.asarray(sheet) == (208, 36, 36), axis=-1)
    assert red.sum() > 6 * 4 * 5 * 100  # the frames of synthetic images

    # People have answered: nothing builds over it, and nothing is half there.
    again = run_program("reader_study", "build", *flags(sources, folder), "--overwrite")
    assert again.code == 1 and "holds 28 answers" in again.stderr
    assert len(again.stderr.splitlines()) == 1
    assert read_study(folder) == study


def test_bad_input_is_one_line(sources, tmp_path):
    done = run_program(
        "reader_study", "build", *flags(sources, tmp_path / "study", generated=tmp_path)
    )
    assert done.code == 1 and "has no generated.jsonl" in done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_usage():
    for arguments, message in (
        ([], "no command; want one of build, invite, serve, analyze"),
        (["paint"], "unknown command 'paint'"),
        (["analyze", "--study=x"], "--output_dir"),
    ):
        done = run_program("reader_study", *arguments)
        assert done.code == 2 and message in done.stderr
    done = run_program("reader_study", "serve", "--help")
    assert done.code == 0 and "--public_url" in done.stdout


def test_serve_and_invite(tmp_path):
    study, store, _ = make_study(tmp_path / "study", 0)
    store.close()
    done = run_program(
        *("reader_study", "invite", f"--study={study.folder}", "--count=2"),
        *("--label=nurse", "--parts=2"),
    )
    codes = done.stdout.split()
    assert done.code == 0 and len(codes) == 2
    told = (study.folder / "participants.csv").read_text().splitlines()
    assert told[1] == f"{codes[0]},nurse,recognition"
    running = Served(study.folder).wait()
    assert running.lines[0] == "Real or synthetic?: 14 questions, 2 participants\n"
    assert running.url.startswith("http://127.0.0.1:")
    taken = run_program(
        "reader_study", "serve", f"--study={study.folder}", f"--port={running.port}"
    )
    assert taken.code == 1 and taken.stderr.count("\n") == 1
    assert f"port {running.port} of 127.0.0.1 is in use" in taken.stderr
    running.kill(signal.SIGTERM)
    assert running.process.returncode == 0
    assert running.process.stderr.read() == ""


def test_what_cannot_be_served(tmp_path):
    study, store, _ = make_study(tmp_path / "study", 1)
    store.close()
    name = f"--study={study.folder}"
    done = run_program("reader_study", "serve", name, "--host=0.0.0.0", "--port=0")
    assert done.code == 1 and "say by --public_url" in done.stderr
    assert done.stderr.count("\n") == 1
    study.image_path(study.names("turing")[0]).unlink()
    done = run_program("reader_study", "serve", name)
    assert done.code == 1 and "1 of 20 images are missing" in done.stderr


def check_load(told):
    for name in ("lost", "changed", "doubled", "still waiting"):
        assert told[name] == 0, told
    assert told["problems"] == "none", told
    # The answer that was under way when the time was over.
    assert told["most of them of one participant"] <= 1


def test_load_with_a_kill(tmp_path):
    study, codes = noise_study(tmp_path / "study", 30, 10)
    told = run_load(study, codes, 3, 1, 0.1, at_least=60)
    check_load(told)
    assert told["answers told as stored"] >= 60 and told["retries"] > 0


@pytest.mark.slow
def test_load_of_100_participants_for_two_minutes(tmp_path):
    study, codes = noise_study(tmp_path / "study", 400, 100)
    check_load(run_load(study, codes, 120, 2, 0.5, at_least=300))
