"""Several devices and several processes train as one device does, to 1e-5."""

import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from dermgan_tf.models.dermgan.task import train_gan
from dermgan_tf.training.checkpoints import saved_steps
from dermgan_tf.training.logs import read_history
from tests.helpers.run_files import summary_values
from tests.helpers.tiny_pairs import make_tiny_pairs

ROOT = pathlib.Path(__file__).parents[2]
SETTINGS = {
    "batch_size": 4,
    "base_filters": 4,
    "decay_steps": 0,
    "checkpoint_every": 1,
    "keep_checkpoints": 20,
    "sample_every": 0,
    "log_every": 3,
    "seed": 3,
}
FIRST, LAST = 4, 6  # steps; runs move to another number of devices after the first


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return make_tiny_pairs(tmp_path_factory.mktemp("data") / "clinic")


@pytest.fixture(scope="module")
def begun(data_dir, tmp_path_factory):
    """The first steps on one device."""
    folder = tmp_path_factory.mktemp("begun") / "model"
    train_gan(data_dir, folder, steps=FIRST, **SETTINGS)
    return folder


@pytest.fixture(scope="module")
def alone(begun, data_dir, tmp_path_factory):
    """The whole run on one device."""
    folder = shutil.copytree(begun, tmp_path_factory.mktemp("alone") / "model")
    train_gan(data_dir, folder, steps=LAST, **SETTINGS)
    return folder


def assert_equal_steps(folder, other, tolerances):
    """Weights, averages, moments, losses and norms are equal but for rounding.

    Args:
        tolerances: by step, relative to each value and absolute. Rounding errors grow,
            and jump where one moves a pixel over a kink of a loss.
    """
    for step, tolerance in tolerances.items():
        ours, theirs = (
            tf.train.load_checkpoint(run / "checkpoints" / f"step-{step}")
            for run in (folder, other)
        )
        shapes = ours.get_variable_to_shape_map()
        assert shapes == theirs.get_variable_to_shape_map()
        moments = [name for name in shapes if "_optimizer/_" in name]
        assert len(moments) > 100
        for name, dtype in ours.get_variable_to_dtype_map().items():
            if dtype != tf.string:
                np.testing.assert_allclose(
                    ours.get_tensor(name),
                    theirs.get_tensor(name),
                    rtol=tolerance,
                    atol=tolerance,
                    err_msg=f"{name} after step {step}",
                )
    ours, theirs = (read_history(run / "history.csv") for run in (folder, other))
    logged = [row["step"] for row in ours]
    assert logged == [row["step"] for row in theirs][: len(ours)] and len(ours) > 1
    for our_row, their_row in zip(ours, theirs, strict=False):
        assert our_row == pytest.approx(their_row, rel=1e-4)
    for network in ("generator", "discriminator"):
        for quantity in ("gradient_norm", "update_norm"):
            ours, theirs = (
                summary_values(run / "tensorboard", f"{quantity}/{network}")
                for run in (folder, other)
            )
            assert list(ours) == logged
            for step, norm in ours.items():
                assert norm == pytest.approx(theirs[step], rel=1e-4)


def test_two_devices_train_as_one(begun, alone, data_dir, tmp_path):
    shutil.copytree(begun, tmp_path / "widened")
    program = f"""
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
two = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, two)
from dermgan_tf.errors import InputError
from dermgan_tf.training.strategies import make_strategy
from dermgan_tf.models.dermgan.task import train_gan
strategy = make_strategy("mirrored")
assert strategy.num_replicas_in_sync == 2
def train(folder, steps, **changes):
    settings = {SETTINGS!r} | {{"strategy": strategy}} | changes
    return train_gan({str(data_dir)!r}, folder, steps=steps, **settings)
train("narrowed", {FIRST})
assert train("widened", {LAST}).first_step == {FIRST}
for changes in ({{"batch_size": 3}}, {{"jit_compile": True}}):
    try:
        train("refused", 1, **changes)
    except InputError as error:
        print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines() == [
        "batch_size 3 is not a multiple of the 2 replicas",
        "jit_compile is for one device, these are 2; a TPU compiles without it",
    ]
    assert not (tmp_path / "refused").exists()
    train_gan(data_dir, tmp_path / "narrowed", steps=LAST, **SETTINGS)
    assert_equal_steps(tmp_path / "narrowed", alone, {1: 1e-5, FIRST: 1e-5, LAST: 1e-2})
    assert_equal_steps(tmp_path / "widened", alone, {FIRST + 1: 1e-5, LAST: 1e-2})


@pytest.mark.slow
def test_several_steps_at_once_on_two_devices(alone, data_dir, tmp_path):
    program = f"""
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
two = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, two)
from dermgan_tf.training.strategies import make_strategy
from dermgan_tf.models.dermgan.task import train_gan
settings = {SETTINGS!r} | {{
    "strategy": make_strategy("mirrored"),
    "checkpoint_every": 3,
    "steps_per_execution": 3,
}}
train_gan({str(data_dir)!r}, "model", steps=3, **settings)
"""
    subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
    )
    ours, theirs = (
        read_history(folder / "history.csv")[0]
        for folder in (tmp_path / "model", alone)
    )
    assert ours == pytest.approx(theirs, rel=1e-5)


class Workers:
    """Processes of `python -m pipelines.train_gan` that train together.

    Args:
        count: int. How many TF_CONFIG lists.
        flags: by name, the same for all.
        own_flags: list of dict. The flags of each one that is started, over `flags`.
    """

    def __init__(self, count, flags, own_flags=None):
        probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
        self.addresses = [f"127.0.0.1:{probe.getsockname()[1]}" for probe in probes]
        for probe in probes:
            probe.close()
        self.processes = []
        for index, own in enumerate(own_flags or [{}] * count):
            task = {"type": "worker", "index": index}
            config = {"cluster": {"worker": self.addresses}, "task": task}
            arguments = {"strategy": "multi_worker", **SETTINGS, **flags, **own}
            self.processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "pipelines.train_gan"]
                    + [f"--{name}={value}" for name, value in arguments.items()],
                    cwd=ROOT,
                    env={**os.environ, "TF_CONFIG": json.dumps(config)},
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        for process in self.processes:
            process.kill()
            process.communicate()

    def wait_for_step(self, folder, step):
        """Waits for a checkpoint, of this step or a later one."""
        until = time.monotonic() + 300
        while max(saved_steps(folder / "checkpoints"), default=0) < step:
            for process in self.processes:
                assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < until
            time.sleep(0.02)

    def finish(self, index):
        """Waits for the end of a worker.

        Returns:
            Its exit status, what it printed, and the last line of its messages.
        """
        process = self.processes[index]
        stdout, stderr = process.communicate(timeout=300)
        assert "Traceback" not in stderr
        lines = stderr.replace("\r", "\n").strip().splitlines()
        assert sum(line.startswith("error: ") for line in lines) == (
            process.returncode == 1
        )
        return process.returncode, stdout, lines[-1] if lines else ""


def test_two_workers_train_as_one(alone, data_dir, tmp_path):
    folder = tmp_path / "model"
    flags = {"data_dir": data_dir, "model_dir": folder, "steps": FIRST}
    with Workers(2, flags) as workers:
        (status, summary, message), (other, silence, _) = map(workers.finish, range(2))
    assert (status, other) == (0, 0), message
    assert f"{FIRST} of {FIRST}" in summary
    assert silence == ""  # the chief speaks for all
    assert json.loads((folder / "run.json").read_text())["flags"]["seed"] == 3
    train_gan(data_dir, folder, steps=LAST, **SETTINGS)
    assert_equal_steps(folder, alone, {1: 1e-5, FIRST: 1e-5, LAST: 1e-2})


@pytest.mark.parametrize(
    ("index", "kill"),
    [
        (1, signal.SIGKILL),
        pytest.param(0, signal.SIGKILL, marks=pytest.mark.slow),
        # A machine that no longer answers.
        pytest.param(0, signal.SIGSTOP, marks=pytest.mark.slow),
        pytest.param(1, signal.SIGSTOP, marks=pytest.mark.slow),
    ],
)
def test_lost_and_stopped_workers(begun, alone, data_dir, tmp_path, index, kill):
    """Of a run begun by one process, two lose one, two go on and stop, one goes on."""
    folder = shutil.copytree(begun, tmp_path / "model")
    flags = {
        "data_dir": data_dir,
        "model_dir": folder,
        "steps": 100_000,
        "checkpoint_every": 5,
    }
    with Workers(2, flags) as workers:
        workers.wait_for_step(folder, 10)
        workers.processes[index].send_signal(kill)
        status, _, message = workers.finish(1 - index)
        assert status == 1
        assert message.startswith(
            f"error: lost worker {index} ({workers.addresses[index]}): "
        )
    lost_at = saved_steps(folder / "checkpoints")[-1]
    with Workers(2, flags) as workers:
        workers.wait_for_step(folder, lost_at + 5)
        workers.processes[1 - index].send_signal(signal.SIGTERM)
        ends = [workers.finish(index) for index in range(2)]
    stopped_at = saved_steps(folder / "checkpoints")[-1]
    for (status, _, message), why in zip(
        ends if index else reversed(ends), ("SIGTERM", "another worker"), strict=True
    ):
        assert status == 1
        assert message == (
            f"error: stopped by {why} after step {stopped_at} of 100000, which is "
            f"saved; the same command goes on from there"
        )
    assert f"{stopped_at} of 100000 (went on from step {lost_at})" in ends[0][1]
    done = train_gan(data_dir, folder, steps=stopped_at + 1, **SETTINGS)
    assert (done.first_step, done.step) == (stopped_at, stopped_at + 1)
    ours, theirs = (read_history(run / "history.csv") for run in (folder, alone))
    steps = [row["step"] for row in ours]
    assert steps[:2] == [3, FIRST] and steps[2:-1] == list(range(6, stopped_at + 1, 3))
    assert ours[2] == pytest.approx(theirs[2], rel=1e-5)


def test_workers_that_disagree(begun, data_dir, tmp_path):
    folder = shutil.copytree(begun, tmp_path / "model")
    flags = {"data_dir": data_dir, "steps": LAST}
    with Workers(
        2,
        flags,
        [{"model_dir": folder}, {"model_dir": folder, "checkpoint_every": 2}],
    ) as workers:
        for index, mine in enumerate((1, 2)):
            status, _, message = workers.finish(index)
            assert status == 1
            assert re.fullmatch(
                r"error: worker 1 \(.*\) has another checkpoint_every than worker 0 "
                rf"\(.*\) \(here: {mine}\); give all workers the same command .*",
                message,
            )
    assert saved_steps(folder / "checkpoints")[-1] == FIRST


@pytest.mark.slow
def test_workers_that_see_other_folders(begun, data_dir, tmp_path):
    folder = shutil.copytree(begun, tmp_path / "model")
    flags = {"data_dir": data_dir, "steps": LAST}
    with Workers(
        2, flags, [{"model_dir": folder}, {"model_dir": tmp_path / "elsewhere"}]
    ) as workers:
        for index, mine in enumerate((FIRST, 0)):
            status, _, message = workers.finish(index)
            assert status == 1
            assert re.fullmatch(
                r"error: worker 1 \(.*\) has another newest checkpoint than worker 0 "
                rf"\(.*\) \(here: {mine}\); let all workers reach the same model_dir.*",
                message,
            )
    assert saved_steps(folder / "checkpoints")[-1] == FIRST


@pytest.mark.parametrize("index", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_worker_that_never_comes(index, data_dir, tmp_path):
    flags = {
        "data_dir": data_dir,
        "model_dir": tmp_path / "model",
        "steps": 1,
        "wait_for_workers": 1,
    }
    with Workers(2, flags) as workers:
        workers.processes[1 - index].kill()
        status, stdout, message = workers.finish(index)
        missing = f"worker {1 - index} ({workers.addresses[1 - index]})"
    assert status == 1
    assert stdout == ""
    assert message.startswith(f"error: waited 1 s for {missing}: start all workers")
    assert not (tmp_path / "model").exists()
