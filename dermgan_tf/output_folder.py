"""Output appears whole or not at all, and two processes never share a folder."""

import contextlib
import errno
import fcntl
import json
import os
import pathlib
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from dermgan_tf.errors import InputError, plain_message

ASIDE_SUFFIX = ".partial"
# What a write fails with when the disk, or the user's share of it, is full.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def output_folder(
    path: str | os.PathLike,
    overwrite: bool = False,
    inputs: Iterable[str | os.PathLike] = (),
) -> Iterator[pathlib.Path]:
    """Yields an empty folder that becomes `path` when the block succeeds.

    The new folder is made beside `path`, or within it where `path` itself cannot be
    renamed, as a mount point cannot. A link stays a link: the folder it names is
    replaced. The old content is moved aside, the new one in, and only then the old one
    is deleted, so that a kill at any moment leaves one of them whole; the next call
    tidies up. When the block raises, whatever stood at `path` stays.

    Args:
        path: the folder to make.
        overwrite: bool. Whether a non-empty folder at `path` is replaced.
        inputs: files and folders that must not be lost by that.

    Raises:
        InputError: before the block if `path` is a file, is not empty and `overwrite`
            is False, holds one of `inputs`, or if another process is writing it; after
            the block if the finished folder cannot take its place, and where it is.
        OSError: naming `path`, when the disk is full or nothing can be written there.
    """
    place = _Place(path)
    for given in inputs:
        real = os.path.realpath(given)
        if os.fspath(place.target) == os.path.commonpath([place.target, real]):
            raise InputError(
                f"output folder {os.fspath(path)} holds the input {os.fspath(given)}; "
                "choose another"
            )
    place.require_free(overwrite)
    place.aside.mkdir(parents=True, exist_ok=True)
    with _flock(place.aside, place.shown):
        place.tidy()
        place.require_free(overwrite)
        _empty(place.aside)
        try:
            with _full_disk_named(place.shown):
                yield place.aside
        except BaseException:
            shutil.rmtree(place.aside, ignore_errors=True)
            raise
        try:
            place.require_free(overwrite)
            place.replace()
        except (InputError, OSError) as error:
            raise InputError(
                f"{place.shown} cannot be replaced ({error}); the finished result is "
                f"in {place.keep()}"
            ) from error


class _Place:
    """Where an output folder appears, and where new and old content wait.

    Attributes:
        shown: the path as it was given, absolute.
        target: the folder itself, links followed.
        aside: where the new content is made.
    """

    def __init__(self, path: str | os.PathLike):
        self.shown = pathlib.Path(os.path.abspath(path))
        self.target = pathlib.Path(os.path.realpath(path))
        self._within = self.target.is_dir() and not _can_be_renamed(self.target)
        self.aside = self._waiting(ASIDE_SUFFIX)
        self._replaced = self._waiting(f".replaced{ASIDE_SUFFIX}")
        self._replacing = self._waiting(f".replacing{ASIDE_SUFFIX}")  # not yet whole

    def require_free(self, overwrite: bool) -> None:
        if self.target.exists() and not self.target.is_dir():
            raise InputError(f"{self.shown} is a file, not a folder")
        if not overwrite and self._content():
            raise InputError(
                f"output folder {self.shown} is not empty; choose another or pass "
                "--overwrite"
            )

    def tidy(self) -> None:
        """Ends, or takes back, what a killed process was replacing."""
        if self._replaced.exists() and self._within:
            self._arrive()
        elif self._replaced.exists() and self.target.exists():
            shutil.rmtree(self._replaced)
        elif self._replaced.exists():
            os.rename(self._replaced, self.target)
        elif self._replacing.exists():
            _move_content(self._replacing, self.target)
            self._replacing.rmdir()

    def replace(self) -> None:
        """Moves the old content aside and the new one in, then deletes the old."""
        old = self._content()
        if self._within:
            self._replacing.mkdir()
            for entry in old:
                os.rename(entry, self._replacing / entry.name)
            os.rename(self._replacing, self._replaced)  # now it is whole there
            self._arrive()
            shutil.rmtree(self.aside)
            return
        if old:
            os.rename(self.target, self._replaced)
        os.rename(self.aside, self.target)  # over nothing, or an empty folder
        if old:
            shutil.rmtree(self._replaced)

    def keep(self) -> pathlib.Path:
        """Gives the new content a name that no later call clears."""
        self.tidy()
        name = f"{self.target.name}.finished-{time.strftime('%Y%m%d-%H%M%S')}"
        folder = self.target if self._within else self.target.parent
        os.rename(self.aside, folder / name)
        return folder / name

    def _arrive(self) -> None:
        _move_content(self.aside, self.target)
        # Under this name nobody takes it for a result once it is half deleted.
        os.rename(self._replaced, self.aside / self._replaced.name)
        _empty(self.aside)

    def _waiting(self, ending: str) -> pathlib.Path:
        if self._within:
            return self.target / ending
        return self.target.with_name(self.target.name + ending)

    def _content(self) -> list[pathlib.Path]:
        waiting = {self.aside.name, self._replacing.name, self._replaced.name}
        entries = self.target.iterdir() if self.target.is_dir() else ()
        return [entry for entry in entries if entry.name not in waiting]


@contextlib.contextmanager
def locked_folder(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Makes a folder that a program keeps writing into, and holds it against others.

    The lock is the kernel's: it goes with the process, however that ends.

    Raises:
        InputError: if `path` is a file or another process holds the folder.
        OSError: naming `path`, when the disk is full.
    """
    path = pathlib.Path(os.path.abspath(path))
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file, not a folder")
    pathlib.Path(os.path.realpath(path)).mkdir(parents=True, exist_ok=True)
    with _flock(path, path), _full_disk_named(path):
        yield path


def atomic_write(path: str | os.PathLike, data: bytes) -> None:
    """Writes a file whole or not at all: aside first, then renamed over `path`.

    A link stays a link: the file that it names is replaced.
    """
    path = pathlib.Path(os.path.realpath(path))
    aside = path.with_name(f".{path.name}{ASIDE_SUFFIX}")
    try:
        with open(aside, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def tensorflow_errors_as_os_errors(folder: str | os.PathLike) -> Iterator[None]:
    """TensorFlow's writers have their own exceptions for a full disk and the like."""
    import tensorflow as tf

    try:
        yield
    except tf.errors.ResourceExhaustedError:
        code = errno.ENOSPC
        raise OSError(code, os.strerror(code), os.fspath(folder)) from None
    except tf.errors.OpError as error:
        raise OSError(errno.EIO, plain_message(error), os.fspath(folder)) from None


def _can_be_renamed(folder: pathlib.Path) -> bool:
    """Whether a folder can be replaced by another: no mount point, its parent ours."""
    if os.path.ismount(folder) or not os.access(folder.parent, os.W_OK | os.X_OK):
        return False
    try:  # a bind mount of the same device shows nowhere else
        mounts = pathlib.Path("/proc/self/mountinfo").read_bytes().splitlines()
    except OSError:
        return True
    points = (re.sub(rb"\\(\d{3})", _byte, line.split()[4]) for line in mounts)
    return os.fsencode(folder) not in points


def _byte(octal: re.Match) -> bytes:
    return bytes([int(octal[1], 8)])


def _move_content(source: pathlib.Path, target: pathlib.Path) -> None:
    for entry in list(source.iterdir()):
        os.rename(entry, target / entry.name)


@contextlib.contextmanager
def _full_disk_named(path: pathlib.Path) -> Iterator[None]:
    """Says which disk is full: a failed write does not, a failed copy names its source.

    What else fails keeps its name.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise OSError(error.errno, os.strerror(error.errno), os.fspath(path)) from error


@contextlib.contextmanager
def _flock(folder: pathlib.Path, shown: pathlib.Path) -> Iterator[None]:
    # A folder itself can be locked, so that no lock file is left behind.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"output folder {shown} is in use by another process"
            ) from None
        held = os.fstat(descriptor)
        if not folder.exists() or not os.path.samestat(held, folder.stat()):
            raise InputError(f"another process has just written {shown}")
        yield
    finally:
        os.close(descriptor)


def _empty(folder: pathlib.Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def write_json(path: pathlib.Path, content: Mapping[str, Any]) -> None:
    atomic_write(
        path, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()
    )
