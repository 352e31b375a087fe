"""Real processes that crash, are killed, leave, hang, and cannot be started."""

import multiprocessing
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from dermgan_tf.photos.isolated_map import Lost, isolated_map

LARGE = 3 << 20  # bytes: more than any pipe holds


def work(job):
    what, value = job
    if what == "signal":
        os.kill(os.getpid(), value)
    if what == "signal once" and not pathlib.Path(value).exists():
        pathlib.Path(value).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "leave":
        os._exit(value)
    if what == "sleep":
        time.sleep(value)
    if what == "grow":
        return bytes(value)
    if what == "fail":
        raise ValueError(value)
    if what == "noise":
        os.write(2, b"native chatter\n")
    return what, value


def test_a_job_that_ends_its_process_costs_itself_alone(tmp_path, capfd):
    jobs = [("number", i) for i in range(40)]
    jobs[0] = "signal", signal.SIGSEGV
    jobs[3] = "signal", signal.SIGABRT
    jobs[8] = "signal", signal.SIGKILL
    jobs[9] = "signal once", str(tmp_path / "been here")
    jobs[12] = "leave", 3
    jobs[20] = "grow", LARGE
    jobs[21] = "given", b"x" * LARGE
    jobs[30] = "noise", ""
    results = list(isolated_map(work, jobs, 2))
    lost = {i: r.reason for i, r in enumerate(results) if isinstance(r, Lost)}
    assert lost == {
        0: "the decoder crashed (signal 11, SIGSEGV)",
        3: "the decoder crashed (signal 6, SIGABRT)",
        8: "its process was killed, twice (signal 9, SIGKILL): too little memory?",
        12: "the decoder ended its process (exit code 3)",
    }
    for i, (job, result) in enumerate(zip(jobs, results, strict=True)):
        if i not in lost:
            assert result == (bytes(LARGE) if i == 20 else job)
    assert multiprocessing.active_children() == []
    assert "chatter" not in capfd.readouterr().err


def test_a_job_that_hangs_is_given_up(tmp_path):
    jobs = [("number", 0), ("sleep", 600), ("number", 2), ("sleep", 0.01)]
    results = list(isolated_map(work, jobs, 1, seconds=2.0))
    assert results == [jobs[0], Lost("took longer than 2 seconds"), *jobs[2:]]


def test_a_failing_work_is_told_and_leaves_no_process():
    with pytest.raises(RuntimeError, match="ValueError: of our own"):
        list(isolated_map(work, [("fail", "of our own")], 1))
    results = isolated_map(work, [("number", i) for i in range(100)], 2)
    assert next(results) == ("number", 0)
    results.close()
    assert multiprocessing.active_children() == []
    assert list(isolated_map(work, [], 2)) == []


def test_a_script_without_its_guard_is_told(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from dermgan_tf.photos.isolated_map import isolated_map\n"
        "print(list(isolated_map(abs, [-1], 1)))\n"
    )
    done = subprocess.run(
        [sys.executable, script],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(pathlib.Path(__file__).parents[2])},
    )
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "InputError: worker processes cannot be started" in last
    assert '`if __name__ == "__main__":`' in last
