"""export_generator and generate as people run them: files, messages, exit codes."""

import json
import signal
import time

import pytest

from dermgan_tf.layers.fingerprint import weights_fingerprint
from dermgan_tf.models.dermgan.networks import build_generator
from dermgan_tf.models.dermgan.served import export_saved_model
from dermgan_tf.photos.photo_io import is_synthetic, read_photo, read_png_text
from dermgan_tf.photos.vocabulary import Vocabulary
from tests.helpers.forked_programs import run_program, start_program

CONDITIONS = ["melanoma", "eczema", "vitiligo"]


def run(program, *flags, afresh=False):
    done = run_program(program, *flags, afresh=afresh)
    return done.returncode, done.stdout, done.stderr


def error_of(stderr):
    """The one line that begins with `error: `."""
    lines = stderr.replace("\r", "\n").splitlines()
    assert "Traceback" not in stderr
    (line,) = [line for line in lines if line.startswith("error: ")]
    assert line == lines[-1]
    return line


@pytest.fixture(scope="module")
def average():
    return build_generator(64, base_filters=4)


@pytest.fixture(scope="module")
def model_dir(average, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "gan"
    folder.mkdir()
    description = {
        "image_size": 64,
        "base_filters": 4,
        "upsampling": "resize_conv",
        "conditions": CONDITIONS,
        "data_fingerprint": "f00d",
        "seed": 5,
        "steps": 20,
    }
    (folder / "model.json").write_text(json.dumps(description))
    build_generator(64, base_filters=4).save_weights(folder / "generator.weights.h5")
    average.save_weights(folder / "generator_ema.weights.h5")
    return folder


@pytest.fixture(scope="module")
def saved_model(average, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "gan"
    export_saved_model(
        average, Vocabulary(CONDITIONS), path, {"data_fingerprint": "f00d"}
    )
    return path


def test_a_training_run_is_exported(model_dir, average, tmp_path):
    out = tmp_path / "served" / "1"
    code, stdout, stderr = run(
        "export_generator",
        f"--model_dir={model_dir}",
        f"--output_dir={out}",
        afresh=True,
    )
    assert code == 0, stderr
    fingerprint = weights_fingerprint(average)
    for part in (
        str(out),
        "checked: loads and paints",
        f"{fingerprint} (generator_ema.weights.h5)",
        "melanoma, eczema, vitiligo",
        "serving_default(seed int32 [?], semantic_map uint8 [?, 64, 64, 3]) -> image",
        "png(",
    ):
        assert part in stdout
    metadata = json.loads((out / "assets.extra/dermgan.json").read_text("utf-8"))
    assert metadata["generator"] == fingerprint
    assert metadata["vocabulary"] == CONDITIONS
    assert metadata["provenance"]["steps"] == 20
    record = json.loads((out / "run.json").read_text("utf-8"))
    assert record["program"] == "export_generator"
    assert record["data_fingerprint"] == "f00d" and record["seed"] == 5
    assert record["flags"]["use_ema"] is True


def test_a_plan_becomes_images(saved_model, tmp_path):
    plan = tmp_path / "plan.json"
    plan.write_text(
        json.dumps([{"condition": "eczema", "count": 3}, {"fitzpatrick": 6, "seed": 9}])
    )
    out = tmp_path / "images"
    code, stdout, stderr = run(
        "generate",
        f"--saved_model={saved_model}",
        f"--output_dir={out}",
        f"--plan={plan}",
        "--write_maps",
        "--seed=4",
        afresh=True,
    )
    assert code == 0, stderr
    assert f"{out}: 4 synthetic images in" in stdout
    assert "painting: 100%" in stderr
    records = [
        json.loads(x) for x in (out / "generated.jsonl").read_text().splitlines()
    ]
    assert [r["seed"] for r in records] == [4, 5, 6, 9]
    assert [r["condition"] for r in records] == ["eczema"] * 3 + ["melanoma"]
    for record in records:
        assert is_synthetic(out / record["image"])
        assert read_photo(out / record["semantic_map"]).shape == (64, 64, 3)
    record = json.loads((out / "run.json").read_text("utf-8"))
    assert record["data_fingerprint"] == "f00d" and record["seed"] == 4
    assert record["flags"]["generator"] == records[0]["generator"]


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--condition=mole"], 1, "unknown condition 'mole'; known: melanoma, eczema"),
        (["--boxes=0.5,0.5"], 1, "is not ymin,xmin,ymax,xmax"),
        (["--fitzpatrick=7"], 2, "fitzpatrick"),
        (["--plan=plan.json", "--count=3"], 2, "--plan says itself what to paint"),
        (["--sweep=colour"], 2, "skin_color"),
    ],
)
def test_bad_requests_are_one_line_and_leave_nothing(
    saved_model, tmp_path, flags, code, message
):
    out = tmp_path / "out"
    result, stdout, stderr = run(
        "generate", f"--saved_model={saved_model}", f"--output_dir={out}", *flags
    )
    assert result == code and not stdout
    assert message in error_of(stderr)
    assert not list(tmp_path.iterdir())


def test_after_a_kill_a_sweep_fills_the_same_folder(saved_model, tmp_path):
    out = tmp_path / "images"
    flags = [f"--saved_model={saved_model}", f"--output_dir={out}"]
    process = start_program("generate", *flags, "--count=1000000")
    aside = tmp_path / "images.partial"
    deadline = time.monotonic() + 300
    while not (aside / "images/000100.png").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert not out.exists()
    code, stdout, stderr = run(
        "generate",
        *flags,
        "--sweep=skin_color",
        "--condition=vitiligo",
        "--boxes=0.2,0.2,0.5,0.6",
        "--count=2",
    )
    assert code == 0, stderr
    assert [path.name for path in tmp_path.iterdir()] == ["images"]
    assert "12 synthetic images and sheet.png" in stdout
    assert is_synthetic(out / "sheet.png")
    texts = [read_png_text(path) for path in sorted((out / "images").iterdir())]
    assert [text["fitzpatrick"] for text in texts] == list("123456") * 2
    assert {text["boxes"] for text in texts} == {"[[0.2, 0.2, 0.5, 0.6]]"}
