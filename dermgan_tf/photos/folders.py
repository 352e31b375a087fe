"""What lies in folders of photos: photos, other files, and what other systems leave."""

import dataclasses
import hashlib
import os
import pathlib
from collections import Counter

from dermgan_tf.errors import InputError

# How names of photos end, in lower case. HEIC and AVIF cannot be read, and say so when
# tried, unless the file is a JPEG that is only called so.
# fmt: off
PHOTO_SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".jfi", ".jif", ".pjpeg", ".pjp",
    ".png", ".webp", ".tif", ".tiff", ".bmp", ".dib", ".gif",
    ".jp2", ".j2k", ".jpf", ".jpx", ".jpc", ".pgm", ".ppm", ".pnm", ".pbm",
    ".heic", ".heif", ".hif", ".avif",
)
# Pictures that are never tried: of raw ones Pillow would read the preview.
UNREAD_SUFFIXES = (
    ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".raw", ".dcm",
    ".dicom", ".psd", ".svg", ".eps", ".ai", ".jxl", ".jxr", ".exr", ".tga", ".pcx",
    ".mp4", ".mov", ".avi", ".pdf", ".npy", ".npz", ".mat",
)
# Made by computers for themselves, in lower case: Synology, QNAP, macOS, Windows,
# Linux, Jupyter, Picasa. Names that begin with a point are junk as well.
_JUNK = frozenset((
    "@eadir", "@tmp", "@recycle", "@recently-snapshot", "#recycle", "#snapshot",
    "__macosx", "__pycache__", "$recycle.bin", "system volume information", "recycler",
    "lost+found", "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini",
    "picasa.ini", "icon\r", "network trash folder", "temporary items",
))
# fmt: on


@dataclasses.dataclass
class Found:
    """What lies below a folder. Paths are relative to it, with `/`, in order of name.

    Args:
        photos: files that are called like photos.
        unread: pictures of kinds that are not read.
        others: other files.
        junk: name of the folder or kind of file -> how many were passed over.
    """

    photos: list[str]
    unread: list[str]
    others: list[str]
    junk: Counter


def is_junk(name: str) -> bool:
    """Whether a file or folder of this name is a computer's own, or hidden."""
    return name.startswith(".") or name.lower() in _JUNK


def find_files(folder: str | os.PathLike) -> Found:
    """Walks through a folder and its subfolders; links to folders in circles once.

    Raises:
        InputError: if the folder cannot be read.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        _list(folder)
        raise InputError(f"cannot read folder {folder}: it is not a folder")
    found = Found([], [], [], Counter())
    seen = set()
    for place, inside, names in os.walk(folder, followlinks=True):
        status = os.stat(place)
        if (status.st_dev, status.st_ino) in seen:
            inside.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        below = pathlib.Path(place).relative_to(folder)
        for name in [name for name in inside if is_junk(name)]:
            found.junk[name] += 1
        inside[:] = sorted(name for name in inside if not is_junk(name))
        for name in sorted(names):
            path, suffix = (below / name).as_posix(), os.path.splitext(name)[1].lower()
            if is_junk(name):
                found.junk["._*" if name.startswith("._") else name] += 1
            elif suffix in PHOTO_SUFFIXES:
                found.photos.append(path)
            elif suffix in UNREAD_SUFFIXES:
                found.unread.append(path)
            else:
                found.others.append(path)
    for paths in (found.photos, found.unread, found.others):
        paths.sort()
    return found


def image_files(folder: str | os.PathLike) -> list[pathlib.Path]:
    """The files in a folder that are named like images, in order of name.

    Raises:
        InputError: if the folder cannot be read.
    """
    return [
        path
        for path in _list(pathlib.Path(folder))
        if path.suffix.lower() in PHOTO_SUFFIXES
        and not is_junk(path.name)
        and not path.is_dir()
    ]


def subfolders(folder: str | os.PathLike) -> list[pathlib.Path]:
    """The folders in a folder, in order of name, without junk.

    Raises:
        InputError: if the folder cannot be read.
    """
    inside = _list(pathlib.Path(folder))
    return [path for path in inside if path.is_dir() and not is_junk(path.name)]


def file_sha256(path: str | os.PathLike) -> str:
    """SHA-256 (hex) of a file's bytes, which tells files that are the same.

    Raises:
        OSError: if the file cannot be read.
    """
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _list(folder: pathlib.Path) -> list[pathlib.Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise InputError(f"cannot read folder {folder}: {error.strerror}") from None
