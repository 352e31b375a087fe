"""Output appears whole or not at all, and two processes never share a folder."""

import contextlib
import errno
import fcntl
import json
import os
import pathlib
import shutil
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
    """Yields an empty folder beside `path` that becomes `path` when the block succeeds.

    What an earlier, killed run left aside is cleared first. When the block raises, the
    folder aside is removed and whatever stood at `path` stays.

    Args:
        path: the folder to make.
        overwrite: bool. Whether a non-empty folder at `path` is replaced.
        inputs: files and folders that must not be lost by that.

    Raises:
        InputError: if `path` is a file, is not empty and `overwrite` is False, holds
            one of `inputs`, or if another process is writing it.
        OSError: naming `path`, when the disk is full.
    """
    for given in inputs:
        if os.path.realpath(path) == os.path.commonpath(
            [os.path.realpath(path), os.path.realpath(given)]
        ):
            raise InputError(
                f"output folder {os.fspath(path)} holds the input {os.fspath(given)}; "
                "choose another"
            )
    path = pathlib.Path(os.path.abspath(path))
    _check_free(path, overwrite)
    aside = path.with_name(path.name + ASIDE_SUFFIX)
    aside.mkdir(parents=True, exist_ok=True)
    with _flock(aside, path):
        _empty(aside)
        try:
            with _full_disk_named(path):
                yield aside
            _check_free(path, overwrite)
            if path.exists():
                shutil.rmtree(path)
            os.rename(aside, path)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise


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
    path.mkdir(parents=True, exist_ok=True)
    with _flock(path, path), _full_disk_named(path):
        yield path


def atomic_write(path: str | os.PathLike, data: bytes) -> None:
    """Writes a file whole or not at all: aside first, then renamed over `path`."""
    path = pathlib.Path(path)
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


def _check_free(path: pathlib.Path, overwrite: bool) -> None:
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file, not a folder")
    if path.is_dir() and any(path.iterdir()) and not overwrite:
        raise InputError(
            f"output folder {path} is not empty; choose another or pass --overwrite"
        )


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
