import csv
import json
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from dermgan_tf.photos.annotations import read_annotations

ROOT = pathlib.Path(__file__).parents[2]
SKIN = (209, 158, 122)


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "pipelines.import_annotations", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def data(tmp_path):
    """Twelve photos with masks; the first has a wound of 20 × 20 pixels and a speck."""
    folder = tmp_path / "data"
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for i in range(12):
        Image.new("RGB", (80, 60), SKIN).save(folder / f"images/c{i // 2}_{i}.jpg")
        mask = np.zeros((60, 80), np.uint8)
        if i == 0:
            mask[10:30, 20:40] = 255
            mask[50, 70] = 255
        Image.fromarray(mask).save(folder / f"masks/c{i // 2}_{i}.png")
    return folder


def mask_folder(data, output, *more):
    return run(
        "--format=mask_folder",
        f"--input_dir={data}",
        "--condition=foot ulcer",
        "--min_region_area=0.001",
        f"--output_dir={output}",
        *more,
    )


def assert_one_line_error(result, code, *words):
    assert result.returncode == code
    lines = result.stderr.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert len(errors) == 1, result.stderr
    assert errors[0] == lines[-1]
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in errors[0]


def test_mask_folder_end_to_end(data, tmp_path):
    (data / "images/c1_2.jpg").write_bytes(b"")
    output = tmp_path / "out"
    result = mask_folder(data, output, "--case_pattern=^[^_]+", "--estimate_skin_type")
    assert result.returncode == 0, result.stderr
    annotations, rejects = read_annotations(output / "annotations.jsonl")
    assert rejects == []
    assert len(annotations) == 11
    assert {a.case_id for a in annotations} == {f"c{i}" for i in range(6)}
    assert [len(a.rois) for a in annotations] == [1] + [0] * 10
    assert {a.fitzpatrick for a in annotations} == {3}
    for annotation in annotations:
        assert (output / annotation.image).is_symlink()
        assert (output / annotation.image).read_bytes()
    with open(output / "rejects.csv", newline="") as file:
        assert list(csv.reader(file)) == [
            ["item", "reason"],
            ["c1_2.jpg", "is empty"],
        ]
    record = json.loads((output / "run.json").read_text())
    assert record["flags"]["condition"] == "foot ulcer"
    assert len(record["data_fingerprint"]) == 64
    table = {
        tuple(line.rsplit(maxsplit=1)) for line in result.stdout.splitlines() if line
    }
    counts = dict(pair for pair in table if len(pair) == 2)
    assert counts["photos"] == "11"
    assert counts["cases"] == "6"
    assert counts["ROIs"] == "1"
    assert counts["specks ignored"] == "1"
    assert counts["photos without ROI"] == "10"
    assert counts["rejected"] == "1"
    row = next(r for r in result.stdout.splitlines() if r.startswith("foot ulcer"))
    assert row.split()[2:] == ["0", "0", "11", "0", "0", "0", "0", "11"]
    assert "error is unknown" in result.stdout


def test_copied_photos_survive_the_originals(data, tmp_path):
    output = tmp_path / "out"
    result = mask_folder(data, output, "--photos=copy")
    assert result.returncode == 0, result.stderr
    assert "nothing but names tells the cases" in result.stdout
    shutil.rmtree(data)
    annotations, _ = read_annotations(output / "annotations.jsonl")
    for annotation in annotations:
        assert (output / annotation.image).stat().st_size > 0


def test_pad_ufes_20_end_to_end(tmp_path):
    folder = tmp_path / "pad"
    (folder / "images").mkdir(parents=True)
    rows = ["patient_id,diagnostic,fitspatrick,img_id"]
    for i in range(4):
        Image.new("RGB", (64, 64), SKIN).save(folder / f"images/{i}.png")
        rows.append(f"P{i},MEL,{['3.0', '4.0', '1.0', ''][i]},{i}.png")
    rows.append("P9,NEV,,absent.png")
    (folder / "metadata.csv").write_text("\n".join(rows) + "\n")
    result = run(
        "--format=pad_ufes_20",
        f"--input_dir={folder}",
        f"--output_dir={tmp_path / 'out'}",
        "--estimate_skin_type",
    )
    assert result.returncode == 0, result.stderr
    annotations, _ = read_annotations(tmp_path / "out/annotations.jsonl")
    assert [a.fitzpatrick for a in annotations] == [3, 4, 1, 3]
    assert "images absent" in result.stdout
    assert "skin type estimated for 1 photos" in result.stdout
    assert [a.skin_type_source for a in annotations].count("estimated") == 1
    lines = result.stdout.splitlines()
    usual = next(line for line in lines if "usual limits" in line)
    always = next(line for line in lines if "always type" in line)
    assert (
        "exact  33%, within one  67%, mean absolute error 1.00 types, mean error +0.33"
    ) in usual
    assert "type I," in always and "mean absolute error 1.67" in always


def counts_of(result):
    rows = [line.rsplit(maxsplit=1) for line in result.stdout.splitlines() if line]
    return dict(row for row in rows if len(row) == 2)


def test_coco_with_a_label_map_end_to_end(tmp_path):
    folder, output = tmp_path / "coco", tmp_path / "out"
    for split in ("train", "val"):
        (folder / f"images/{split}").mkdir(parents=True)
        for i in range(3):
            Image.new("RGB", (64, 32), SKIN).save(folder / f"images/{split}/{i}.jpg")
        content = {
            "images": [
                {"id": i, "file_name": f"{i}.jpg", "width": 64, "height": 32}
                for i in range(4)
            ],
            "categories": [{"id": 1, "name": "NV"}, {"id": 2, "name": "ruler"}],
            "annotations": [
                {"id": 1, "image_id": 0, "category_id": 1, "bbox": [16, 8, 32, 16]},
                {"id": 2, "image_id": 0, "category_id": 2, "bbox": [0, 0, 8, 8]},
                {"id": 3, "image_id": 1, "category_id": 2, "bbox": [0, 0, 8, 8]},
                {"id": 4, "image_id": 2, "category_id": 1, "bbox": [90, 0, 8, 8]},
            ],
        }
        path = folder / f"annotations/instances_{split}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))
    (tmp_path / "map.csv").write_text("NV,melanocytic nevus\nruler,\nMEL,melanoma\n")
    result = run(
        "--format=coco",
        f"--input_dir={folder}",
        f"--label_map={tmp_path / 'map.csv'}",
        "--max_reject_fraction=0.4",
        f"--output_dir={output}",
    )
    assert result.returncode == 0, result.stderr
    annotations, rejects = read_annotations(output / "annotations.jsonl")
    assert rejects == []
    assert [(a.image, a.condition, a.split) for a in annotations] == [
        ("photos/images/train/0.jpg", "melanocytic nevus", "train"),
        ("photos/images/val/0.jpg", "melanocytic nevus", "validation"),
    ]
    assert [roi.box for roi in annotations[0].rois] == [(0.25, 0.25, 0.75, 0.75)]
    assert (output / annotations[0].image).read_bytes()
    with open(output / "label_report.csv", newline="") as file:
        assert list(csv.reader(file))[1:] == [
            ["NV", "melanocytic nevus", "mapped", "2", "2"],
            ["ruler", "", "left out", "2", "4"],
            ["MEL", "melanoma", "not met", "0", "0"],
        ]
    assert counts_of(result)["images absent"] == "2"
    assert counts_of(result)["rejected"] == "2"
    assert "lies wholly outside the image" in result.stdout
    row = next(line for line in result.stdout.splitlines() if "left out" in line)
    assert row.split() == ["ruler", "left", "out", "2", "4"]
    assert "nothing but names tells the cases" in result.stdout
    (tmp_path / "map.csv").write_text("NV,\n")
    result = run(
        "--format=coco",
        f"--input_dir={folder}",
        f"--label_map={tmp_path / 'map.csv'}",
        "--only_mapped",
        "--max_reject_fraction=0.4",
        f"--output_dir={tmp_path / 'none'}",
    )
    assert_one_line_error(result, 1, "leaves no photo of: 'NV', 'ruler'")
    assert not (tmp_path / "none").exists()


def test_yolo_copied_end_to_end(tmp_path):
    folder, output = tmp_path / "yolo", tmp_path / "out"
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    (folder / "classes.txt").write_text("eczema\n")
    for i in range(6):
        Image.new("RGB", (64, 32), SKIN).save(folder / f"images/p{i // 2}_{i}.jpg")
        (folder / f"labels/p{i // 2}_{i}.txt").write_text(
            "0 0.5 0.5 0.5 0.5\n" if i else ""
        )
    result = run(
        "--format=yolo",
        f"--input_dir={folder}",
        "--condition=clear skin",
        "--case_pattern=^p\\d+",
        "--photos=copy",
        f"--output_dir={output}",
    )
    assert result.returncode == 0, result.stderr
    annotations, _ = read_annotations(output / "annotations.jsonl")
    assert [a.condition for a in annotations] == ["clear skin"] + ["eczema"] * 5
    assert [a.case_id for a in annotations] == ["p0", "p0", "p1", "p1", "p2", "p2"]
    assert not (output / annotations[0].image).is_symlink()
    assert not (output / "label_report.csv").exists()


def test_class_folders_end_to_end(tmp_path):
    folder = tmp_path / "classes"
    for name in ("melanoma", "eczema"):
        (folder / name).mkdir(parents=True)
        Image.new("RGB", (64, 32), SKIN).save(folder / name / f"{name}.jpg")
    result = run(
        "--format=class_folders",
        f"--input_dir={folder}",
        f"--output_dir={tmp_path / 'out'}",
    )
    assert result.returncode == 0, result.stderr
    annotations, _ = read_annotations(tmp_path / "out/annotations.jsonl")
    assert {a.condition for a in annotations} == {"melanoma", "eczema"}


@pytest.mark.parametrize("name", ["label_map", "annotations_file"])
def test_files_that_are_not_there_are_one_line(data, tmp_path, name):
    result = run(
        "--format=coco",
        f"--input_dir={data}",
        f"--{name}={tmp_path / 'none.json'}",
        f"--output_dir={tmp_path / 'out'}",
    )
    assert_one_line_error(result, 1, "none.json", "No such file")


def test_too_many_rejects_leave_nothing_behind(data, tmp_path):
    for i in range(4):
        (data / f"images/c{i // 2}_{i}.jpg").write_text("<html>gone</html>")
    output = tmp_path / "out"
    result = mask_folder(data, output)
    assert_one_line_error(
        result, 1, "4 of 12 items", "c0_0.jpg", "is HTML", "max_reject_fraction"
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data"]
    assert mask_folder(data, output, "--max_reject_fraction=0.5").returncode == 0


def test_output_folder_is_not_overwritten_by_mistake(data, tmp_path):
    output = tmp_path / "out"
    output.mkdir()
    (output / "mine.txt").write_text("keep")
    assert_one_line_error(mask_folder(data, output), 1, "not empty", "--overwrite")
    assert (output / "mine.txt").read_text() == "keep"
    assert mask_folder(data, output, "--overwrite").returncode == 0
    assert not (output / "mine.txt").exists()


def test_inputs_are_never_cleared(data):
    for output in (data, data / "images", data.parent):
        result = mask_folder(data, output, "--overwrite")
        assert_one_line_error(result, 1, "holds the input")
    assert len(list((data / "images").iterdir())) == 12


def test_bad_usage(data, tmp_path):
    out = f"--output_dir={tmp_path / 'out'}"
    for arguments, words in [
        (["--format=mask_folder", f"--input_dir={data}", out], ["--condition"]),
        (
            ["--format=mask_folder", "--condition= ", f"--input_dir={data}", out],
            ["--condition"],
        ),
        (["--format=mask_folder", "--condition=x", out], ["--input_dir"]),
        (["--format=pad_ufes_20", out], ["--input_dir"]),
        (["--format=other", out], ["mask_folder", "coco", "isic"]),
        (["--format=coco", out], ["--input_dir"]),
        (
            ["--format=coco", f"--input_dir={data}", "--ddi_skin_tone=lower", out],
            ["--ddi_skin_tone is for the formats ddi, not for coco"],
        ),
        (
            ["--format=scin", f"--input_dir={data}", "--case_pattern=x", out],
            ["--case_pattern is for"],
        ),
        (
            ["--format=ddi", f"--input_dir={data}", "--label_column=x", out],
            ["disease, malignant"],
        ),
        (
            ["--format=voc", f"--input_dir={data}", "--only_mapped", out],
            ["--only_mapped needs --label_map"],
        ),
        (["--format=pad_ufes_20", f"--input_dir={data}"], ["output_dir"]),
    ]:
        assert_one_line_error(run(*arguments), 2, *words)
    result = run("--help")
    assert result.returncode == 0
    assert "--estimate_skin_type" in result.stdout.replace("[no]", "")


def test_missing_input_is_one_line(tmp_path):
    result = mask_folder(tmp_path / "nowhere", tmp_path / "out")
    assert_one_line_error(result, 1, "nowhere", "No such file")


def test_errors_name_flags_and_turned_photos_are_told(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    for folder in ("train", "test", "images"):
        (tmp_path / "in" / folder).mkdir(parents=True)
    for folder in ("train", "test"):
        photo = tmp_path / "in" / folder / "a_jpg.rf.0123456789ab.jpg"
        Image.new("RGB", (64, 32), SKIN).save(photo, exif=exif)
        content = {
            "images": [{"id": 1, "file_name": photo.name}],
            "categories": [{"id": 1, "name": "x"}],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 1}],
        }
        content["annotations"][0]["bbox"] = [4, 4, 8, 8]
        (photo.parent / "_annotations.coco.json").write_text(json.dumps(content))
    arguments = ["--format=coco", f"--input_dir={tmp_path / 'in'}"]
    out = f"--output_dir={tmp_path / 'out'}"
    result = run(*arguments, out)
    assert_one_line_error(result, 1, "is in two splits", "--nokeep_splits makes")
    result = run(*arguments, out, "--nokeep_splits")
    assert result.returncode == 0, result.stderr
    assert counts_of(result)["photos turned by EXIF"] == "2"
    assert counts_of(result)["cases by photo"] == "1"
    assert "see --boxes_in" in result.stdout
    assert "made by case: those named are all one, or are not kept" in result.stdout
