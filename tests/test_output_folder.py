import errno
import os
import subprocess
import sys

import pytest

from dermgan_tf.errors import InputError
from dermgan_tf.output_folder import atomic_write, locked_folder, output_folder


def test_appears_whole(tmp_path):
    path = tmp_path / "a" / "out"
    with output_folder(path) as folder:
        (folder / "file").write_text("x")
        assert not path.exists()
    assert (path / "file").read_text() == "x"
    assert os.listdir(tmp_path / "a") == ["out"]


def test_failure_leaves_nothing_new_and_keeps_the_old(tmp_path):
    path = tmp_path / "out"
    path.mkdir()
    (path / "old").write_text("old")
    with pytest.raises(RuntimeError):
        with output_folder(path, overwrite=True) as folder:
            (folder / "new").write_text("new")
            raise RuntimeError
    assert os.listdir(tmp_path) == ["out"] and os.listdir(path) == ["old"]


def test_never_overwritten_unasked(tmp_path):
    path = tmp_path / "out"
    path.mkdir()
    with output_folder(path) as folder:  # an empty folder is free
        (folder / "old").write_text("old")
    with pytest.raises(InputError, match="not empty.*--overwrite"):
        with output_folder(path):
            pass
    with output_folder(path, overwrite=True) as folder:
        (folder / "new").write_text("new")
    assert os.listdir(path) == ["new"]
    with pytest.raises(InputError, match="is a file"):
        with output_folder(path / "new"):
            pass


@pytest.mark.parametrize("kind", [output_folder, locked_folder])
def test_two_processes_never_share_and_a_killed_one_frees_it(kind, tmp_path):
    path = tmp_path / "out"
    code = (
        f"import sys, time; from dermgan_tf.output_folder import {kind.__name__} as f\n"
        f"with f({str(path)!r}) as folder:\n"
        "    (folder / 'half').write_text('half'); print('held', flush=True)\n"
        "    time.sleep(60)\n"
    )
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(InputError, match="in use by another process"):
            with kind(path):
                pass
    finally:
        other.kill()
        other.wait()
    with kind(path) as folder:
        left = os.listdir(folder)
    assert left == ([] if kind is output_folder else ["half"])


@pytest.mark.parametrize("kind", [output_folder, locked_folder])
def test_a_full_disk_is_named(kind, tmp_path):
    """Writing to /dev/full fails as on a full disk, and Python names no file then."""
    with pytest.raises(OSError) as caught, kind(tmp_path / "out"):
        with open("/dev/full", "w") as file:
            file.write("x")
            file.flush()
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(tmp_path / "out")
    with pytest.raises(FileNotFoundError, match="nowhere"), kind(tmp_path / "out"):
        (tmp_path / "nowhere").read_text()


def test_inputs_are_never_replaced(tmp_path):
    (tmp_path / "data" / "photos").mkdir(parents=True)
    for given in (tmp_path / "data", tmp_path / "data" / "photos"):
        with pytest.raises(InputError, match="holds the input .*choose another"):
            with output_folder(tmp_path / "data", overwrite=True, inputs=[given]):
                pass
    with output_folder(tmp_path / "data2", inputs=[tmp_path / "data"]):
        pass
    assert (tmp_path / "data" / "photos").is_dir()


def test_atomic_write(tmp_path):
    atomic_write(tmp_path / "file", b"one")
    atomic_write(tmp_path / "file", b"two")
    assert (tmp_path / "file").read_bytes() == b"two"
    assert os.listdir(tmp_path) == ["file"]
