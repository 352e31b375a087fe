"""Files and output folders on object stores: gs://, s3://, az://, hf://.

All of it goes through `etils.epath`, which comes with TensorFlow Datasets and takes
TensorFlow's file systems or, with the environment variable EPATH_USE_TF=false, fsspec's
(gcsfs, s3fs, adlfs).
"""

import concurrent.futures
import contextlib
import os
import pathlib
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Iterator

from etils import epath

from dermgan_tf.errors import InputError
from dermgan_tf.output_folder import ASIDE_SUFFIX, atomic_write

SCHEMES = ("gs", "s3", "az", "hf")  # what epath knows
_BLOCK = 1 << 20
_MOVERS = 16  # threads: each move waits for the store


def is_remote(path: str | os.PathLike) -> bool:
    """Whether a path is on an object store.

    Raises:
        InputError: for a scheme that cannot be reached.
    """
    scheme, colon, _ = os.fspath(path).partition("://")
    if not colon or scheme == "file":
        return False
    if scheme not in SCHEMES:
        known = ", ".join(f"{name}://" for name in ("file", *SCHEMES))
        raise InputError(f"{os.fspath(path)}: unknown storage; known: {known}")
    return True


def without_file_scheme(path: str | os.PathLike) -> str:
    """`file:///a/b` as `/a/b`; other paths as they are."""
    return os.fspath(path).removeprefix("file://")


def fetch(path: str, local: str | os.PathLike, max_bytes: int | None = None) -> None:
    """Copies a file here; no more of it than one byte above `max_bytes`.

    Raises:
        FileNotFoundError: if there is none.
    """
    left = None if max_bytes is None else max_bytes + 1
    with epath.Path(path).open("rb") as source, open(local, "wb") as copy:
        while block := source.read(_BLOCK if left is None else min(_BLOCK, left)):
            copy.write(block)
            left = left and left - len(block)
            if left == 0:
                return


def put(local: str | os.PathLike, path: str) -> None:
    """Copies a file of this machine there."""
    with open(local, "rb") as source, epath.Path(path).open("wb") as copy:
        shutil.copyfileobj(source, copy, _BLOCK)


def write_whole(path: str, data: bytes) -> None:
    """Writes a file that nobody sees before it is complete."""
    if is_remote(path):  # an object appears when it is closed
        epath.Path(path).write_bytes(data)
    else:
        atomic_write(path, data)


@contextlib.contextmanager
def local_copy(path: str) -> Iterator[str]:
    """A remote file as one of this machine while the block runs, of the same name."""
    with tempfile.TemporaryDirectory() as folder:
        local = os.path.join(folder, path.rstrip("/").rpartition("/")[2])
        try:
            fetch(path, local)
        except FileNotFoundError:
            raise InputError(f"{path} does not exist") from None
        yield local


@contextlib.contextmanager
def remote_output_folder(
    path: str, overwrite: bool, manifest: str, inputs: Iterable[str] = ()
) -> Iterator[tuple[pathlib.Path, str]]:
    """`dermgan_tf.output_folder.output_folder` for an object store, which renames none.

    Small files are written to a folder of this machine, large ones by any machine to
    a folder in `path`.partial. At the end all are moved to `path`, one by one, and last
    `manifest`, without which readers take the folder for none. What is to be replaced
    stays until then; its manifest goes first.

    Nothing keeps two runs off one `path`.

    Args:
        path: the folder to make.
        overwrite: bool. Whether files below `path` are replaced.
        manifest: name of the file that is written last.
        inputs: files and folders that must not be lost by that.

    Yields:
        (folder of this machine, remote folder).

    Raises:
        InputError: if `path` is not empty and `overwrite` is False, or holds an input.
    """
    path = path.rstrip("/")
    for given in inputs:
        if f"{given.rstrip('/')}/".startswith(f"{path}/"):
            raise InputError(
                f"output folder {path} holds the input {given}; choose another"
            )
    target, aside = epath.Path(path), epath.Path(path + ASIDE_SUFFIX)
    _check_free(target, overwrite)
    _remove(aside)
    # Of this run alone: workers of a killed one may still be writing to theirs.
    own = aside / uuid.uuid4().hex
    try:
        with tempfile.TemporaryDirectory() as folder:
            yield pathlib.Path(folder), os.fspath(own)
            _check_free(target, overwrite)
            (target / manifest).unlink(missing_ok=True)
            _remove(target)
            _move_all(own, target)
            _put_all(pathlib.Path(folder), target, manifest)
    finally:
        _remove(aside)


def _check_free(target: epath.Path, overwrite: bool) -> None:
    if not overwrite and target.exists() and any(target.iterdir()):
        raise InputError(
            f"output folder {target} is not empty; choose another or pass --overwrite"
        )


def _remove(folder: epath.Path) -> None:
    if folder.exists():
        folder.rmtree()


def _move_all(source: epath.Path, target: epath.Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    moves = [(path, target / name) for name, path in _files(source)]
    for folder in {place.parent for _, place in moves}:
        folder.mkdir(parents=True, exist_ok=True)
    with concurrent.futures.ThreadPoolExecutor(_MOVERS) as pool:
        list(pool.map(lambda move: _move(*move), moves))


def _move(path: epath.Path, place: epath.Path) -> None:
    try:
        path.rename(place)
    except FileNotFoundError:
        # The folder of `place`, that fsspec asks for: an empty one is none in a store.
        path.copy(place, overwrite=True)
        path.unlink()


def _files(folder: epath.Path, prefix: str = "") -> Iterator[tuple[str, epath.Path]]:
    """Yields (name below the folder, path); epath has no recursive search of stores."""
    for path in folder.iterdir() if folder.exists() else ():
        name = prefix + path.name
        if path.is_dir():
            yield from _files(path, f"{name}/")
        else:
            yield name, path


def _put_all(folder: pathlib.Path, target: epath.Path, manifest: str) -> None:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    paths.sort(key=lambda path: path == folder / manifest)
    for path in paths:
        place = target / path.relative_to(folder).as_posix()
        place.parent.mkdir(parents=True, exist_ok=True)
        put(path, os.fspath(place))
