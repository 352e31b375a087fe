"""Runs killed at any moment end as they would have ended undisturbed, to the last bit.

The few kills of the fast test come to processes that are forked from one that has
imported TensorFlow already, the many of the slow one to the program itself.
"""

import concurrent.futures
import contextlib
import os
import pathlib
import random
import signal
import subprocess
import sys
import threading
import time

import pytest

from dermgan_tf.training.checkpoints import saved_steps
from dermgan_tf.training.logs import read_history
from tests.helpers.forked_programs import CONTEXT
from tests.helpers.run_files import assert_same_run
from tests.helpers.tiny_pairs import make_tiny_pairs

ROOT = pathlib.Path(__file__).parents[2]
STEPS = 24
SETTINGS = {
    "steps": STEPS,
    "batch_size": 2,
    "base_filters": 2,
    "checkpoint_every": 2,
    "log_every": 1,
    "sample_every": 5,
    "seed": 3,
}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return make_tiny_pairs(tmp_path_factory.mktemp("data") / "clinic")


def train(data_dir, model_dir):
    from dermgan_tf.models.dermgan.task import train_gan

    train_gan(data_dir, model_dir, deterministic=True, **SETTINGS)


class ForkedRun:
    """A run in a process of its own, without the wait for TensorFlow's import.

    A subclass may have another `target`, a function of this module's kind of `train`.
    """

    target = staticmethod(train)
    context = CONTEXT
    # Starting one process asks for the state of all, and a state can be read but once:
    # two threads at it together would lose it.
    _one_at_a_time = threading.Lock()

    def __init__(self, data_dir, model_dir):
        self.started = time.time()
        self._process = self.context.Process(
            target=self.target, args=(data_dir, model_dir)
        )
        with self._one_at_a_time:
            self._process.start()
        self.pid = self._process.pid

    def status(self):
        with self._one_at_a_time:
            return self._process.exitcode

    def wait(self):
        deadline = time.monotonic() + 300
        while self.status() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        return self.status()


class ProgramRun:
    """A run as people start it."""

    def __init__(self, data_dir, model_dir):
        self.started = time.time()
        flags = {"data_dir": data_dir, "model_dir": model_dir, **SETTINGS}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pipelines.train_gan", "--deterministic"]
            + [f"--{name}={value}" for name, value in flags.items()],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,  # what it says of errors is shown
        )
        self.pid = self._process.pid

    def status(self):
        return self._process.poll()

    def wait(self):
        return self._process.wait(300)


def logged_step(folder, run):
    """The last step in history.csv, once the run has cut off what it does not know."""
    try:
        with open(folder / "history.csv", "rb") as file:
            fresh = os.fstat(file.fileno()).st_mtime > run.started
            return file.read().count(b"\n") - 1 if fresh else 0
    except FileNotFoundError:
        return 0


def half_written(folder, run):
    """Whether a checkpoint lies there unfinished: of this run, not of one before."""
    aside = folder / "checkpoints" / "partial"
    with contextlib.suppress(FileNotFoundError):  # it goes while we look
        files = [path for path in aside.glob("**/*") if path.is_file()]
        return any(path.stat().st_mtime > run.started for path in files)
    return False


def wait_until(happened, run):
    while not happened():
        assert run.status() is None, "it ended before it was killed"
        time.sleep(0.003)


def kill_in_step(run, folder, step, fraction):
    """Kills a run about that fraction of a step's time after it has logged `step`."""
    wait_until(lambda: logged_step(folder, run) >= step - 1, run)
    began = time.monotonic()
    wait_until(lambda: logged_step(folder, run) >= step, run)
    time.sleep(fraction * min(time.monotonic() - began, 0.2))
    os.kill(run.pid, signal.SIGKILL)


def kill_while_saving(run, folder, step):
    """Kills a run while a checkpoint, the first beyond `step`, is half-written."""
    while True:
        wait_until(
            lambda: logged_step(folder, run) > step and half_written(folder, run), run
        )
        os.kill(run.pid, signal.SIGSTOP)  # what is there now stays as it is
        saved = saved_steps(folder / "checkpoints")
        if half_written(folder, run) and logged_step(folder, run) not in saved:
            break
        os.kill(run.pid, signal.SIGCONT)
    os.kill(run.pid, signal.SIGKILL)


def kill_at_random(start, data_dir, folder, kills, seed):
    """Starts a run again and again, and kills it while it trains and while it saves."""
    randomness = random.Random(seed)
    targets = sorted(randomness.choices(range(2, STEPS - 6), k=kills))
    for number, target in enumerate(targets):
        run = start(data_dir, folder)
        if number % 2:
            kill_while_saving(run, folder, target)
        else:
            kill_in_step(run, folder, target, randomness.random())
        assert run.wait() == -signal.SIGKILL
    assert start(data_dir, folder).wait() == 0


@pytest.mark.parametrize(
    "kills", [(2,), pytest.param((3, 2), marks=pytest.mark.slow)], ids=str
)
def test_kills_while_it_trains_and_while_it_saves(data_dir, tmp_path, kills):
    whole = tmp_path / "whole"
    with concurrent.futures.ThreadPoolExecutor() as pool:
        chains = {
            tmp_path / f"broken-{seed}": pool.submit(
                kill_at_random,
                *(ForkedRun, data_dir, tmp_path / f"broken-{seed}"),
                kills=count,
                seed=seed,
            )
            for seed, count in enumerate(kills)
        }
        assert ForkedRun(data_dir, whole).wait() == 0
    assert len(read_history(whole / "validation.csv")) == STEPS // 2
    for folder, chain in chains.items():
        chain.result()
        assert_same_run(folder, whole, STEPS)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_ten_kills_of_the_program(data_dir, tmp_path, seed):
    whole = ProgramRun(data_dir, tmp_path / "whole")
    kill_at_random(ProgramRun, data_dir, tmp_path / "broken", kills=10, seed=seed)
    assert whole.wait() == 0
    assert_same_run(tmp_path / "broken", tmp_path / "whole", STEPS)
