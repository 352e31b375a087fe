"""find_duplicates as people run it, and the warning of prepare_pairs."""

import csv
import io
import json
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from dermgan_tf.inspection.duplicates import same_files_across_splits
from dermgan_tf.photos.annotations import (
    PhotoAnnotation,
    case_splits,
    read_annotations,
    write_annotations,
)
from tests.helpers.near_copies import cropped, jpeg, textures

ROOT = pathlib.Path(__file__).parents[2]


def run(*flags):
    process = subprocess.run(
        [sys.executable, "-m", "pipelines.find_duplicates", *map(str, flags)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return process.returncode, process.stdout, process.stderr


@pytest.fixture(scope="module")
def clinic(tmp_path_factory):
    """12 photos of 12 cases, 3 copies of other cases, a double, and a bad one."""
    folder = tmp_path_factory.mktemp("clinic")
    photos = textures(12, seed=5)
    splits = ["train"] * 6 + ["validation"] * 3 + ["test"] * 3
    listed = []
    exif = Image.Exif()
    exif[0x010E] = "JANE DOE"

    def put(name, pixels, case, split, condition="wart"):
        Image.fromarray(np.ascontiguousarray(pixels)).save(folder / name, exif=exif)
        listed.append(PhotoAnnotation(name, case, condition, split=split))

    for n, (photo, split) in enumerate(zip(photos, splits, strict=True)):
        put(f"{n}.png", photo, f"case {n}", split)
    put("mirror of 9.png", photos[9][:, ::-1], "case a", "train")
    put("crop of 7.png", cropped(jpeg(photos[7], 60)), "case b", "test", "nevus")
    shutil.copy(folder / "1.png", folder / "copy of 1.png")
    listed.append(PhotoAnnotation("copy of 1.png", "case 10", "wart", split="test"))
    put("double of 2.png", photos[2], "case 2", "train")
    (folder / "bad.png").write_bytes(b"")
    listed.append(PhotoAnnotation("bad.png", "case 3", "wart"))
    write_annotations(folder / "annotations.jsonl", listed)
    return folder


@pytest.fixture(scope="module")
def found(clinic, tmp_path_factory):
    out = tmp_path_factory.mktemp("found") / "out"
    clean = clinic / "clean.jsonl"
    code, stdout, stderr = run(
        f"--annotations={clinic / 'annotations.jsonl'}",
        f"--output_dir={out}",
        f"--dedupe={clean}",
    )
    assert code == 0, stderr
    return out, clean, stdout


def test_groups_are_listed_and_shown(found):
    out, _, stdout = found
    with open(out / "duplicates.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    groups = {}
    for row in rows:
        groups.setdefault(row["group"], []).append((row["image"], row["kind"]))
    assert list(groups.values()) == [  # several splits, then one case
        [("1.png", ""), ("copy of 1.png", "exact")],
        [("7.png", ""), ("crop of 7.png", "cropped")],
        [("9.png", ""), ("mirror of 9.png", "mirrored")],
        [("2.png", ""), ("double of 2.png", "exact")],
    ]
    assert rows[1]["of"] == "1.png" and float(rows[1]["similarity"]) == 1
    assert rows[1]["split"] == "test" and rows[1]["case_id"] == "case 10"
    assert "4 (8 photos), 3 of several cases, 3 of several splits" in stdout
    assert "several conditions: 1" in stdout
    assert (out / "rejects.csv").read_text().splitlines()[1:] == ["bad.png,is empty"]
    data = (out / "duplicates.png").read_bytes()
    assert b"JANE" not in data
    with Image.open(io.BytesIO(data)) as sheet:
        assert not sheet.info and not sheet.getexif()
        assert np.asarray(sheet).std() > 10
    assert json.loads((out / "run.json").read_text())["program"] == "find_duplicates"


def test_cleaned_annotations_have_no_leak(clinic, found):
    out, clean, stdout = found
    annotations, rejects = read_annotations(clean)
    assert not rejects
    assert "double of 2.png" not in {one.image for one in annotations}
    splits = case_splits(annotations)
    assert all(one.split == splits[one.case_id] for one in annotations)
    for one, other in [("1", "10"), ("7", "b"), ("9", "a")]:
        assert splits[f"case {one}"] == splits[f"case {other}"]
    with open(out / "changes.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(r["case_id"], r["before"], r["after"]) for r in rows[:-1]} == {
        ("case 10", "test", "train"),
        ("case b", "test", "validation"),
        ("case 9", "test", "train"),
    }
    assert (rows[-1]["change"], rows[-1]["image"]) == ("dropped", "double of 2.png")
    assert "cases moved: 3; photos dropped: 1" in stdout
    assert not same_files_across_splits(clinic, annotations, splits)


def test_prepare_pairs_warns_of_the_same_file_in_two_splits(clinic, found, capsys):
    from pipelines.prepare_pairs import warn_of_copies

    path = clinic / "annotations.jsonl"
    warn_of_copies(str(path), read_annotations(path)[0])
    warning = capsys.readouterr().err
    assert warning.count("\n") == 1
    assert "warning: photos that stand in two splits, byte for byte: 1" in warning
    assert "copy of 1.png (test) and 1.png (train)" in warning
    assert f"pipelines.find_duplicates --annotations={path}" in warning
    warn_of_copies(str(found[1]), read_annotations(found[1])[0])
    assert capsys.readouterr().err == ""


def test_bad_input_is_one_line(clinic, found, tmp_path):
    path = clinic / "annotations.jsonl"
    out = tmp_path / "out"
    before = found[1].read_bytes()
    for dedupe, message in [
        (tmp_path / "clean.jsonl", "is not in the folder of --annotations"),
        (path, "names the file of --annotations"),
        (found[1], "is there already; --overwrite replaces it"),
    ]:
        code, stdout, stderr = run(
            f"--annotations={path}", f"--output_dir={out}", f"--dedupe={dedupe}"
        )
        assert (code, stdout) == (1, "")
        assert stderr.startswith("error: ") and stderr.count("\n") == 1
        assert message in stderr
    assert found[1].read_bytes() == before
    line = '{{"image": "{}.png", "case_id": "x", "condition": "y", "split": "{}"}}\n'
    clash = clinic / "clash.jsonl"
    clash.write_text(line.format(1, "train") + line.format(2, "test"))
    code, _, stderr = run(f"--annotations={clash}", f"--output_dir={out}")
    assert code == 1
    assert "case 'x' is in splits train and test; --dedupe=FILE" in stderr
    assert not out.exists()
