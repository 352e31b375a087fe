import errno
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

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


@pytest.fixture
def mounted(tmp_path):
    """A mount point: a folder bound over itself, which os.path.ismount cannot see."""
    folder = tmp_path / "a mount, [1]"
    folder.mkdir()
    done = subprocess.run(["mount", "--bind", folder, folder], capture_output=True)
    if done.returncode:
        pytest.skip("may not mount")
    yield folder
    subprocess.run(["umount", folder], check=True)


def place(kind, tmp_path, request):
    """An output path of some kind, and the folder that must hold the content."""
    path = real = tmp_path / "out"
    if kind == "mount point":
        path = real = request.getfixturevalue("mounted")
    elif kind == "link":
        real = tmp_path / "elsewhere" / "real"
        real.mkdir(parents=True)
        path.symlink_to(real)
    elif kind == "dangling link":
        (tmp_path / "elsewhere").mkdir()
        real = tmp_path / "elsewhere" / "real"
        path.symlink_to(real)
    elif kind == "other file system":
        real = pathlib.Path(tempfile.mkdtemp(dir="/dev/shm"))
        request.addfinalizer(lambda: shutil.rmtree(real))
        path.symlink_to(real)
    return path, real


PLACES = ["plain", "mount point", "link", "dangling link", "other file system"]


@pytest.mark.parametrize("kind", PLACES)
def test_written_and_replaced_wherever_it_is(kind, tmp_path, request):
    path, real = place(kind, tmp_path, request)
    beside = set(os.listdir(path.parent)) | {path.name}
    for name in ("one", "two"):
        with output_folder(path, overwrite=True) as folder:
            (folder / "sub").mkdir()
            (folder / "sub" / name).write_text(name)
        assert [p.name for p in real.rglob("*")] == ["sub", name]
    assert path.is_symlink() == (path != real)
    assert set(os.listdir(path.parent)) == beside
    with locked_folder(path) as folder:
        atomic_write(folder / "more", b"more")
    assert (real / "more").read_bytes() == b"more"


KILLED = """
import os, pathlib, shutil, sys
from dermgan_tf.output_folder import output_folder
path, calls_left = sys.argv[1], int(sys.argv[2])
def counted(work):
    def do(*args, **kwargs):
        global calls_left
        if not calls_left:
            os.kill(os.getpid(), 9)
        calls_left -= 1
        return work(*args, **kwargs)
    return do
with output_folder(path, overwrite=True) as folder:
    for name in "abc":
        (folder / name).write_text("new")
    os.rename, os.unlink = counted(os.rename), counted(os.unlink)
    os.rmdir, os.mkdir = counted(os.rmdir), counted(os.mkdir)
print("done")
"""


@pytest.mark.parametrize("kind", ["plain", "mount point", "link"])
def test_a_kill_at_any_moment_of_replacing_leaves_one_whole(kind, tmp_path, request):
    path, _ = place(kind, tmp_path, request)
    told = []
    for moment in range(40):
        with output_folder(path, overwrite=True) as folder:
            for name in "abcd":
                (folder / name).write_text("old")
        command = [sys.executable, "-c", KILLED, path, str(moment)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.stdout:
            assert moment > 3
            break
        assert done.returncode == -9, done.stderr
        wholes = [whole(folder) for folder in [path, *waiting(path)]]
        assert any(wholes), moment
        # The next call, though it fails, puts a whole one back in its place.
        with pytest.raises(RuntimeError), output_folder(path, overwrite=True):
            told.append(whole(path))
            assert told[-1], moment
            raise RuntimeError
        assert waiting(path) == [] and whole(path) == told[-1]
    assert set(told) == {"old", "new"}


def waiting(path):
    real = pathlib.Path(os.path.realpath(path))
    return [*real.parent.glob("*.partial"), *real.glob("*.partial")]


def whole(folder):
    """Which result lies in a folder with nothing of another, if any."""
    files = [p for p in folder.iterdir() if p.is_file()] if folder.exists() else []
    texts = {file.read_text() for file in files}
    names = "".join(sorted(file.name for file in files))
    return texts.pop() if (names, texts) in WHOLE else ""


WHOLE = [("abcd", {"old"}), ("abc", {"new"})]


def test_a_finished_result_is_kept_when_it_cannot_take_its_place(tmp_path):
    path = tmp_path / "out"
    with pytest.raises(InputError, match="not empty.*finished result is in") as caught:
        with output_folder(path) as folder:
            (folder / "file").write_text("hours of work")
            path.mkdir()
            (path / "of another").write_text("")
    kept = pathlib.Path(str(caught.value).rpartition(" is in ")[2])
    assert (kept / "file").read_text() == "hours of work"
    assert os.listdir(path) == ["of another"]


def test_what_cannot_be_written_is_said_before_the_work():
    with pytest.raises(OSError, match="/proc/out"), output_folder("/proc/out"):
        raise AssertionError("too late")


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
