"""The benchmark counts, times and tells what it says it does; no figure of speed."""

import functools
import importlib.util
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import textwrap
import time
import types

import numpy as np
import pytest

from benchmarks import (
    contenders,
    flops,
    groups,
    interleave,
    page,
    results,
    run,
    targets,
)
from dermgan_tf.errors import InputError
from dermgan_tf.progress import silent

ROOT = pathlib.Path(__file__).parents[2]

needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None,
    reason='needs PyTorch: pip install "dermgan_tf[benchmark]"',
)


# --- peers ---


@needs_torch
def test_pytorch_pix2pix_has_the_papers_sizes():
    from benchmarks.torch_pix2pix import PatchGan, UNet

    def parameters(network):
        return sum(p.numel() for p in network.parameters())

    assert parameters(UNet(256, 64)) == pytest.approx(54.4e6, rel=1e-3)
    assert parameters(PatchGan(64)) == pytest.approx(2.77e6, rel=1e-3)


@needs_torch
def test_a_logit_of_pytorch_pix2pix_sees_70_pixels():
    import torch

    from benchmarks.torch_pix2pix import PatchGan

    judge = PatchGan(2).eval()
    image = torch.randn(1, 3, 128, 128, requires_grad=True)
    logits = judge(torch.zeros_like(image), image)
    assert logits.shape == (1, 1, 14, 14)
    logits[0, 0, 7, 7].backward()
    reached = image.grad.abs().sum((0, 1)) > 0
    assert reached.any(0).sum() == 70 and reached.any(1).sum() == 70


@needs_torch
@pytest.mark.parametrize("half", [False, True])
def test_pytorch_pix2pix_trains(half):
    """After some long steps on one pair the image is nearer to the photograph."""
    import torch

    from benchmarks.torch_pix2pix import Pix2Pix

    torch.set_num_threads(1)  # faster for tiny networks beside other tests
    gan = Pix2Pix(64, 4, half)
    images = np.random.default_rng(0).uniform(-1, 1, (2, 2, 1, 1, 3))
    images = np.broadcast_to(images, (2, 2, 64, 64, 3)).astype(np.float32).copy()
    semantic_map, real = map(gan.tensor, images)
    assert semantic_map.shape == (2, 3, 64, 64)
    before = [w.clone() for w in gan.discriminator.parameters()]

    def error():
        with torch.no_grad():
            return float((gan.generator(semantic_map) - real).abs().mean())

    first = error()
    for optimizer in gan.optimizers:
        optimizer.param_groups[0]["lr"] = 0.01
    for _ in range(8):
        gan.train_step(semantic_map, real)
    assert error() < 0.8 * first
    weights = gan.discriminator.parameters()
    assert not any(torch.equal(*pair) for pair in zip(before, weights, strict=True))


@needs_torch
def test_pytorchs_ways_to_paint_agree():
    import torch

    from benchmarks.torch_pix2pix import Pix2Pix

    images = np.random.default_rng(0).uniform(-1, 1, (2, 64, 64, 3))
    painted = {}
    for half, way in ((False, "eager"), (False, "frozen"), (True, "half")):
        gan = Pix2Pix(64, 4, half)  # of one seed
        with torch.inference_mode():
            paint = gan.inference(gan.tensor(images.astype(np.float32)), way)
            painted[way] = paint().float().numpy()
    np.testing.assert_allclose(painted["frozen"], painted["eager"], atol=1e-5)
    np.testing.assert_allclose(painted["half"], painted["eager"], atol=0.02)


def test_keras_pix2pix_has_the_tutorials_sizes():
    from benchmarks.keras_pix2pix import build_patch_gan, build_unet

    unet = build_unet(256, 64, "transposed_conv")
    assert unet.count_params() == pytest.approx(54.4e6, rel=1e-3)
    assert build_patch_gan(256, 64).count_params() == pytest.approx(2.77e6, rel=2e-3)
    plain = build_unet(64, 2, "resize_conv")
    kinds = [type(layer).__name__ for layer in plain.layers]
    assert kinds.count("UpSampling2D") == 6 and "Conv2DTranspose" not in kinds
    assert plain.output_shape == (None, 64, 64, 3)


def test_keras_pix2pix_trains():
    import tensorflow as tf

    from benchmarks.keras_pix2pix import Pix2Pix

    gan = Pix2Pix(64, 4, "resize_conv")
    images = np.random.default_rng(0).uniform(-1, 1, (2, 2, 1, 1, 3))
    semantic_map, real = np.broadcast_to(images, (2, 2, 64, 64, 3)).astype(np.float32)
    before = [w.copy() for w in gan.discriminator.get_weights()]
    for optimizer in gan.optimizers:
        optimizer.learning_rate = 0.01
    batch = tuple(map(tf.constant, (semantic_map, real)))
    losses = [float(gan.train_step(*batch)) for _ in range(10)]
    assert losses[-1] < 0.8 * losses[0]
    after = gan.discriminator.get_weights()
    assert not any(np.array_equal(*pair) for pair in zip(before, after, strict=True))


def test_every_form_of_our_layer_is_measured():
    from dermgan_tf.layers.resize_conv2d import FORMS

    assert {"auto", *groups.OWN_FORMS} == {*FORMS, "transposed_conv"}


@pytest.mark.slow
def test_layers_are_those_of_the_step_and_hold_all_its_operations():
    from benchmarks import layers
    from dermgan_tf.models.dermgan.networks import build_generator

    case = contenders.Case("float32", 64, 4, 2)
    parts = layers.measure(case, seconds=0.0, rounds=2)
    names = {layer.name for layer in build_generator(64, 4).network.layers}
    assert names - {"semantic_map", "seed"} < set(parts)
    assert {"patch_0_conv", "logits_conv", "optimizers", "average", "step"} < set(parts)
    assert all(len(part["values"]) == 2 for part in parts.values())
    assert all(value >= 0 for part in parts.values() for value in part["values"])
    assert parts["decoder_2_upsampling"]["form"] in (*groups.OWN_FORMS, "two_step")
    counted = sum(p.get("gflop", 0) for n, p in parts.items() if n != "product")
    assert counted == pytest.approx(2 * flops.training_flops(64, 4) / 1e9)


def test_page_sums_small_layers_up():
    parts = {
        "encoder_0_conv": {"values": [0.4, 0.2, 0.1], "gflop": 30.0},
        "decoder_0_upsampling": {"values": [0.1] * 3, "gflop": 30.0, "form": "folded"},
        "small": {"values": [0.004] * 3},
        "smaller": {"values": [0.002] * 3},
        "step": {"values": [1.0, 1.0, 1.1]},
        "product": {"values": [0.5] * 3, "gflop": 50.0},
    }
    case = {
        "dtype": "float32",
        "image_size": 64,
        "base_filters": 4,
        "batch_size": 2,
    }
    group = {"task": "layers", "case": case, "contenders": parts, "unit": "seconds"}
    lines = page.summarize(group).splitlines()
    assert lines[2:] == [
        "| encoder 0 conv |  | 30.0 | 200.0 | 20.0% | 1.50 |",
        "| decoder 0 upsampling | folded | 30.0 | 100.0 | 10.0% | 3.00 |",
        "| 2 others |  |  | 6.0 | 0.6% |  |",
        "| **sum** |  | 60.0 | 306.0 | 30.6% | 1.96 |",
        "| **whole step** |  |  | 1000.0 | 100.0% |  |",
        "",
        "Matrix product: 100 GFLOP/s.",
    ]


# --- operations ---


def test_operations_of_known_layers():
    layers = {c.name: c.flops for c in flops.generator_convolutions(256, 64)}
    assert len(layers) == 16
    assert layers["encoder_0"] == 2 * 128 * 128 * 4 * 4 * 3 * 64
    assert layers["encoder_7"] == 2 * 1 * 1 * 4 * 4 * 512 * 512
    assert layers["decoder_0"] == 2 * 1 * 1 * 4 * 4 * 512 * 512
    assert layers["decoder_6"] == 2 * 64 * 64 * 4 * 4 * 256 * 64
    assert layers["image"] == 2 * 128 * 128 * 4 * 4 * 128 * 3
    judged = {c.name: c.flops for c in flops.discriminator_convolutions(256, 64)}
    assert judged["patch_3"] == 2 * 31 * 31 * 4 * 4 * 256 * 512
    assert judged["logits"] == 2 * 30 * 30 * 4 * 4 * 512 * 1


def test_operations_of_an_image():
    assert flops.inference_flops(256, 64) / 1e9 == pytest.approx(12.1, abs=0.05)
    # A rougher count of a training image, 82.9: three passes of the generator, seven of
    # the discriminator with its last two layers padded to 32 × 32.
    generator = flops.inference_flops(256, 64)
    judged = flops.discriminator_convolutions(256, 64)
    judging = sum(c.flops for c in judged[:3])
    judging += sum(c.flops / c.positions * 32 * 32 for c in judged[3:])
    rough = 3 * generator + 7 * judging
    assert rough / 1e9 == pytest.approx(82.9, abs=0.05)
    assert flops.training_flops(256, 64) / 1e9 == pytest.approx(80.5, abs=0.05)


@needs_torch
def test_operations_are_those_that_pytorch_counts():
    """PyTorch's step judges the synthetic image once more; all else is the same."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from benchmarks.torch_pix2pix import Pix2Pix

    gan = Pix2Pix(64, 4)
    images = np.zeros((2, 2, 64, 64, 3), np.float32)
    semantic_map, real = map(gan.tensor, images)
    with FlopCounterMode(display=False) as painting, torch.no_grad():
        gan.generator(semantic_map)
    assert painting.get_total_flops() == 2 * flops.inference_flops(64, 4)
    with FlopCounterMode(display=False) as training:
        gan.train_step(semantic_map, real)
    judging = sum(c.flops for c in flops.discriminator_convolutions(64, 4))
    expected = flops.training_flops(64, 4) + judging
    assert training.get_total_flops() == 2 * expected


# --- measuring ---


def work(seconds, log, name, stopwatch):
    stopwatch.note(name=name)
    while True:
        time.sleep(seconds)
        with open(log, "a") as file:
            file.write(name)
        stopwatch.step_done(3)


def work_with_memory(mebibytes, stopwatch):
    held = np.ones(mebibytes * 2**17)  # float64
    del held
    while True:
        stopwatch.step_done(1)


def fail(stopwatch):
    stopwatch.step_done(1)
    raise ValueError("no such kernel")


def die(stopwatch):
    os.kill(os.getpid(), signal.SIGKILL)


def test_contenders_take_turns(tmp_path):
    log = str(tmp_path / "log")
    contenders = {n: functools.partial(work, 0.01, log, n) for n in "abc"}
    measured = interleave.measure(contenders, 3, 0.03, silent)
    assert list(measured) == ["a", "b", "c"]
    for name, result in measured.items():
        assert len(result["values"]) == 3 and result["name"] == name
        assert all(0 < rate <= 300 for rate in result["values"])  # 3 a step of 10 ms
    turns = re.sub(r"(.)\1+", r"\1", pathlib.Path(log).read_text())
    # the warm-up, then a round forth, one back, one forth
    assert turns == "abc" + "abc" + "ba" + "bc"


@pytest.mark.skipif(not pathlib.Path("/proc/stat").exists(), reason="needs Linux")
def test_load_of_others_leaves_contenders_out():
    """With and without a busy process among the contenders, at the same time."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        own, foreign = {}, {}
        with interleave._foreign_load([], foreign):
            with interleave._foreign_load([types.SimpleNamespace(process=busy)], own):
                time.sleep(1)
        busy.kill()
        _, _, usage = os.wait4(busy.pid, 0)
        busy.returncode = -9  # wait4 took it
    spent = (usage.ru_utime + usage.ru_stime) / os.cpu_count()
    difference = foreign["foreign_load"][0] - own["foreign_load"][0]
    assert spent > 0.1 and difference == pytest.approx(spent, rel=0.2)


def test_no_word_of_others_that_hardly_worked():
    load = {"values": [1.0, 1.0, 1.0], "foreign_load": [0.01, 0.02, 0.049]}
    quiet = {**group(ours=[1.0]), "contenders": {"ours": load}}
    assert "Disturbed" not in page.summarize(quiet)
    load["foreign_load"][1] = 0.314
    assert (
        "Disturbed: in 1 of 3 slices other processes took over 5% of the processor, "
        "at most 31%." in page.summarize(quiet)
    )


def test_peak_memory_is_the_contenders_own():
    contenders = {str(n): functools.partial(work_with_memory, n) for n in (300, 0, 600)}
    measured = interleave.measure(contenders, 1, 0.0, silent)
    peaks = {name: result["peak_memory"] for name, result in measured.items()}
    assert 290 < (peaks["300"] - peaks["0"]) / 2**20 < 330
    assert 590 < (peaks["600"] - peaks["0"]) / 2**20 < 630


@pytest.mark.parametrize(
    "contender, message",
    [(fail, "bad: ValueError: no such kernel"), (die, "bad ended with exit code -9")],
)
def test_a_failing_contender_ends_the_run(tmp_path, contender, message):
    import multiprocessing

    good = functools.partial(work, 0.01, str(tmp_path / "log"), "g")
    with pytest.raises(interleave.ContenderFailed, match=message):
        interleave.measure({"good": good, "bad": contender}, 2, 0.0, silent)
    assert not multiprocessing.active_children()


def test_ratios_are_taken_by_round():
    ratio = targets.ratio([2.0, 4.0, 3.0], [1.0, 4.0, 1.0])
    assert ratio == targets.Spread(2.0, 1.0, 3.0)


# --- results and page ---


def group(task="training", dtype="float32", **values):
    case = {"dtype": dtype, "image_size": 256, "base_filters": 64, "batch_size": 4}
    contenders = {
        name: {"values": v, "peak_memory": 1000 * 2**20} for name, v in values.items()
    }
    return {
        "task": task,
        "case": case,
        "unit": "images/s",
        "date": "2026-01-02",
        "command": "python -m benchmarks.run",
        "contenders": contenders,
    }


def test_the_limit_follows_from_the_fastest_matrix_product():
    measured = group(
        ours=[1.0, 1.0],
        multiply_numpy=[100.0, 500.0],
        multiply_pytorch=[400.0, 420.0],
    )
    limited = targets.with_limit(measured)["contenders"]
    assert set(limited) == {"ours", "limit"}
    assert limited["limit"]["values"] == pytest.approx(
        [400 / 80.546, 420 / 80.546], 1e-4
    )


def test_page_tells_targets_met_and_missed(tmp_path):
    environment = results.describe_machine()
    training = group(
        ours=[2.6, 2.5, 2.4],
        pytorch=[2.0, 2.0, 1.0],
        keras_resize=[1.0, 1.0, 1.0],
        multiply_numpy=[8.0546 * 40] * 3,
    )
    training["contenders"]["pytorch"]["peak_memory"] = 500 * 2**20
    half = group(dtype="bfloat16", ours=[3.0] * 3, pytorch=[2.5] * 3)
    painting = group("inference", ours=[9.0], pytorch=[8.0], pytorch_frozen=[10.0])
    remarks = tmp_path / "remarks.md"
    remarks.write_text("## Remarks\n\nSomething.\n")
    text = page.render(
        environment, [training, half, painting], tmp_path / "none.json", remarks
    )
    rows = [line for line in text.splitlines() if line.startswith("|")]

    def row(*parts):
        (found,) = (r for r in rows if all(part in r for part in parts))
        return [cell.strip() for cell in found.strip("|").split("|")]

    assert row("training, speed", "fp32", "÷ PyTorch")[3:] == [
        "1.30 (1.25–2.40)",
        "≥ 1.25",
        "yes",
        "2.00",
    ]
    assert row("training, speed", "fp32", "÷ limit")[3:] == [
        "0.62 (0.60–0.65)",
        "≥ 0.90",
        "**no**",
        "1.00",
    ]
    assert row("training, peak memory", "fp32")[3:6] == ["2.00", "≤ 1.25", "**no**"]
    assert row("training, speed", "bf16", "÷ PyTorch")[3:] == [
        "1.20 (1.20–1.20)",
        "≥ 1.50",
        "**no**",
        "–",
    ]
    # against the fastest of PyTorch's ways
    assert row("inference, speed", "TorchScript")[5] == "**no**"
    # what was not measured in one of the cases is left open
    keras = [r for r in rows if r.startswith("| Keras, resize")]
    assert keras[0] == "| Keras, resize + 3 × 3 convolution | 1.00 (1.00–1.00) | – |"
    assert "No GPU or TPU was at hand" in text
    assert environment["processor"] in text and environment["numpy"] in text
    assert "2026-01-02" in text and "`python -m benchmarks.run`" in text
    assert text.endswith("## Remarks\n\nSomething.\n")


def test_page_tells_of_an_accelerator(tmp_path):
    path = tmp_path / "accelerator.json"
    row = {"work": "painting", "dtype": "bfloat16", "batch_size": 4}
    content = {
        "device": "NVIDIA H200",
        "date": "2026-02-03",
        "command": "python -m benchmarks.accelerator",
        "versions": {"jax": "0.10"},
        "image_size": 256,
        "base_filters": 64,
        "peaks": {"bfloat16": {"products": [700.0, 800.0, 750.0], "maker": 989.4}},
        "rows": [
            {**row, "values": [31000.0]},
            {**row, "work": "training", "values": None},
        ],
    }
    path.write_text(json.dumps(content))
    text = page.render(results.describe_machine(), [], path, tmp_path / "none")
    # 31,000 · 12.096 GFLOP = 375 TFLOP/s
    assert "| painting | bf16 | 4 | 31000 (31000–31000) | 50% | 38% |" in text
    assert "| training | bf16 | 4 | too little memory | – | – |" in text
    assert "NVIDIA H200, 2026-02-03" in text


def test_results_keep_the_newest_of_a_case(tmp_path):
    path = tmp_path / "runs" / "results.json"

    def add(value, batch_size):
        kept = results.Results(path)
        kept.require_this_machine()
        case = {"batch_size": batch_size}
        kept.add(groups.Group("training", case, "images/s", {}), value, "command")

    add({"ours": {"values": [1.0]}}, 1)
    add({"ours": {"values": [2.0]}}, 4)
    add({"ours": {"values": [3.0]}}, 1)
    kept = results.Results(path).groups
    found = {g["case"]["batch_size"]: g["contenders"]["ours"]["values"] for g in kept}
    assert found == {1: [3.0], 4: [2.0]}

    content = json.loads(path.read_text())
    content["environment"]["numpy"] = "0.1"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="measured with numpy 0.1, here it is"):
        results.Results(path).require_this_machine()
    path.write_text("{")
    with pytest.raises(InputError, match="is damaged"):
        results.Results(path)


# --- the programs ---


def run_program(*arguments, module="benchmarks.run"):
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


@needs_torch
@pytest.mark.slow
def test_quick_run_and_page(tmp_path):
    files = [f"--results={tmp_path / 'r.json'}", f"--page={tmp_path / 'page.md'}"]
    chosen = ["--dtypes=float32", "--contenders=ours,pytorch,multiply_numpy"]
    done = run_program("--quick", "--only=training,phantoms", *chosen, *files)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "page.md").read_text()
    measured = json.loads((tmp_path / "r.json").read_text())["groups"]
    names = [(g["task"], g["case"].get("dtype")) for g in measured]
    assert names == [("training", "float32"), ("phantoms", None)]
    assert set(measured[0]["contenders"]) == {"ours", "pytorch", "multiply_numpy"}
    for contender in measured[0]["contenders"].values():
        assert contender["values"][0] > 0 and contender["peak_memory"] > 2**20
    assert "## Training step" in text and "## Drawing phantoms" in text
    (tmp_path / "page.md").unlink()
    done = run_program("--quick", "--render_only", *files)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "page.md").read_text() == text


@pytest.mark.slow
@needs_torch
def test_quick_run_of_everything(tmp_path):
    files = [f"--results={tmp_path / 'r.json'}", f"--page={tmp_path / 'page.md'}"]
    done = run_program("--quick", *files)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "page.md").read_text()
    for heading, _ in page.SECTIONS.values():
        assert f"## {heading}" in text


@pytest.mark.parametrize(
    "flag, message",
    [
        ("--only=training,speed", "want some of training,"),
        ("--dtypes=float16", "want some of float32,bfloat16"),
        ("--batch_sizes=1,x", "want positive numbers"),
    ],
)
def test_bad_flags(flag, message):
    done = run_program(flag)
    assert done.returncode == 2
    assert message in done.stderr and done.stderr.count("\n") == 1


def test_unknown_contender(tmp_path):
    files = [f"--results={tmp_path / 'r.json'}", f"--page={tmp_path / 'page.md'}"]
    done = run_program("--quick", "--only=phantoms", "--contenders=theirs", *files)
    assert done.returncode == 1
    assert done.stderr == "error: no contender of phantoms is named theirs\n"


def test_absent_pytorch_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r'pip install "dermgan_tf\[benchmark\]"'):
        run.require_torch()


WITHOUT_TENSORFLOW = """
    import importlib.abc, sys
    class Absent(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path, target=None):
            if name.split(".")[0] in ("tensorflow", "cv2", "PIL", "sklearn"):
                raise ModuleNotFoundError(f"No module named {name!r}")
    sys.meta_path.insert(0, Absent())
"""


def run_without_tensorflow(code):
    """Where TensorFlow and OpenCV are not installed; returns what is printed."""
    code = textwrap.dedent(WITHOUT_TENSORFLOW) + textwrap.dedent(code)
    quick_compiler = {"XLA_FLAGS": "--xla_backend_optimization_level=0"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, **quick_compiler},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_accelerator_program(tmp_path):
    run_without_tensorflow(
        f"""
        sys.argv += ["--image_size=64", "--base_filters=2", "--batch_sizes=2",
                     "--dtypes=bfloat16", "--matrix_size=32", "--slices=2",
                     "--slice_seconds=0", "--output={tmp_path / "a.json"}"]
        import runpy
        try:
            runpy.run_module("benchmarks.accelerator", run_name="__main__")
        except SystemExit as end:
            assert not end.code, end.code
        """
    )
    content = json.loads((tmp_path / "a.json").read_text())
    assert [row["work"] for row in content["rows"]] == ["painting", "training"]
    assert all(len(row["values"]) == 2 for row in content["rows"])
    text = page.render(
        results.describe_machine(), [], tmp_path / "a.json", tmp_path / "none"
    )
    assert "| training | bf16 | 2 |" in text


@pytest.mark.slow
def test_accelerators_step_is_dermgans():
    """Losses as DermGAN's; gradients as of each loss by itself; both networks learn."""
    printed = run_without_tensorflow(
        """
        from benchmarks.accelerator import *
        from dermgan_tf.models.dermgan.model import DermGAN
        training = Training(64, 2)
        state = training.start()
        images = np.random.default_rng(0).uniform(-1, 1, (2, 2, 64, 64, 3))
        semantic_map, real = images.astype(np.float32)
        semantic_map[:, :20, :, 1:] = -1  # outside of all ROIs
        seed = np.array([5, 6], np.int32)
        batch = tuple(map(jnp.asarray, (semantic_map, real, seed)))
        semantic_map, real, seed = batch

        gan = DermGAN(training.generator, training.discriminator, ema_decay=0)
        gan.compile()

        def of_generator(weights):
            image = training.paint(weights, semantic_map, seed)
            judged = training.judge(state.discriminator, semantic_map, image)
            on_real = training.judge(state.discriminator, semantic_map, real)[1]
            return generator_loss_of(semantic_map, real, on_real, image, judged)

        def of_discriminator(weights):
            image = training.paint(state.generator, semantic_map, seed)
            return losses.discriminator_adversarial_loss(
                training.judge(weights, semantic_map, real)[0],
                training.judge(weights, semantic_map, image)[0],
            )

        @jax.jit  # all in one: compiling is what takes long here
        def run(state):
            return (
                gan.compute_losses(*batch),
                training.gradients(state, *batch),
                jax.grad(of_generator)(state.generator),
                jax.grad(of_discriminator)(state.discriminator),
                training.step(state, *batch),
            )

        expected, (values, gradients), *wanted, after = run(state)
        np.testing.assert_allclose(values[0], expected["generator_loss"], rtol=1e-5)
        np.testing.assert_allclose(values[1], expected["discriminator_loss"], rtol=1e-5)
        for ours, theirs in zip(jax.tree.leaves(gradients), jax.tree.leaves(wanted)):
            scale = abs(np.asarray(theirs)).max()
            np.testing.assert_allclose(ours, theirs, atol=1e-4 * scale)
        for before, now in zip(state, after):
            assert any(np.any(a != b) for a, b in zip(before, now))
        print("equal", len(jax.tree.leaves(gradients)))
        """
    )
    assert printed.startswith("equal ") and int(printed.split()[1]) > 40
