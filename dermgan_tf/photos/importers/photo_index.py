"""Finds photos by the names that annotation files give them, and never elsewhere.

A name in an annotation file is looked up among the photos that were found inside the
data set's folder. No path is ever made of it, so that it cannot lead out.
"""

import os
import pathlib
import posixpath
import re
from collections.abc import Iterable, Iterator
from typing import Any

from dermgan_tf.errors import InputError
from dermgan_tf.photos.photo_io import PHOTO_SUFFIXES

# Where Label Studio says that a photo lies: its own upload folder (also as
# ../../label-studio/data/media/upload/4/…, version 1.16), images/ with the project's
# number (before 2023), a server address of local files, or images/ with a name that has
# eight hexadecimal digits before the uploaded file's own.
_LABEL_STUDIO = re.compile(
    r"(?:^|/)(?:data/local-files/\?d=.+|upload/\d+/[^/]+"
    r"|images/\d+/[^/]+|images/[0-9a-f]{8}-[^/]+)$"
)
_UPLOAD_PREFIX = re.compile(r"^[0-9a-f]{8}-(?=.)")


class PhotoIndex:
    """The photos in a folder and its subfolders.

    Links to folders are followed, in circles once. Hidden files are left out.

    Args:
        folder: the folder.

    Raises:
        InputError: if the folder cannot be read.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = pathlib.Path(folder)
        self.images = sorted(_photos_below(self.folder))
        self._images = set(self.images)
        self._named: set[str] = set()
        self._of_name: dict[str, list[str]] = {}
        self._of_stem: dict[str, list[str]] = {}
        for image in self.images:
            name = posixpath.basename(image)
            self._of_name.setdefault(name, []).append(image)
            self._of_stem.setdefault(posixpath.splitext(name)[0], []).append(image)

    def __len__(self) -> int:
        return len(self.images)

    def __contains__(self, image: str) -> bool:
        return image in self._images

    def with_stem(self, stem: str) -> str | None:
        """The photo of a name without extension, in any subfolder; None if absent.

        Raises:
            InputError: if there are several.
        """
        return self._only(self._of_stem.get(stem, []), stem)

    def with_name(self, name: str) -> str | None:
        """The photo of a name with extension, in any subfolder; None if absent.

        Raises:
            InputError: if there are several.
        """
        return self._only(self._of_name.get(name, []), name)

    def in_folder(self, place: str, stem: str) -> str | None:
        """The photo of a name without extension in one folder; None if absent.

        Raises:
            InputError: if there are several.
        """
        place = posixpath.normpath(place or ".")
        images = [
            image
            for image in self._of_stem.get(stem, [])
            if (posixpath.dirname(image) or ".") == place
        ]
        return self._only(images, stem)

    def name_all(self) -> None:
        """Counts every photo as asked for."""
        self._named.update(self.images)

    def find(
        self, name: Any, bases: Iterable[str] = ("",), by_name: bool = False
    ) -> str | None:
        """The photo that an annotation file names.

        Args:
            name: as the file has it; Windows' backslashes and the ways of Label Studio
                are understood.
            bases: folders, relative to the index's, that the name may be relative to;
                the first that has the photo counts.
            by_name: bool. Go by the file's own name alone, whatever folders come with
                it: for files that name the places of another computer.

        Returns:
            The photo's path relative to the index's folder, or None if it is absent.

        Raises:
            InputError: for a name that is absolute, leads out of the folder or is no
                file name, or when several photos are called so.
        """
        name = _plain(name)
        own = posixpath.basename(name)
        of_label_studio = bool(_LABEL_STUDIO.search(name))
        if not (by_name or of_label_studio):
            _require_inside(name)
        if not (by_name or _leads_out(name)):
            for base in bases:
                image = posixpath.normpath(posixpath.join(base, name))
                if image in self._images:
                    self._named.add(image)
                    return image
        if not (by_name or of_label_studio):
            return None
        return self.with_name(own) or self.with_name(_UPLOAD_PREFIX.sub("", own))

    def unnamed(self, suffix: str = "") -> list[str]:
        """The photos that nothing has asked for so far.

        Args:
            suffix: str. Masks, whose names end so (before the extension, in any case),
                are no photos.
        """
        end = suffix.lower()
        return [
            image
            for image in self.images
            if image not in self._named
            and not (end and posixpath.splitext(image)[0].lower().endswith(end))
        ]

    def _only(self, images: list[str], name: str) -> str | None:
        self._named.update(images)
        if len(images) > 1:
            raise InputError(
                f"{len(images)} photos are called {name!r}: {', '.join(images[:3])}"
            )
        return images[0] if images else None


def _photos_below(folder: pathlib.Path) -> Iterator[str]:
    if not folder.is_dir():
        raise InputError(f"cannot read folder {folder}: it is not a folder")
    seen = set()
    for place, inside, names in os.walk(folder, followlinks=True):
        status = os.stat(place)
        if (status.st_dev, status.st_ino) in seen:
            inside.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        inside[:] = sorted(name for name in inside if not name.startswith("."))
        below = pathlib.Path(place).relative_to(folder).as_posix()
        for name in names:
            suffix = os.path.splitext(name)[1].lower()
            if suffix in PHOTO_SUFFIXES and not name.startswith("."):
                yield name if below == "." else f"{below}/{name}"


def _plain(name: Any) -> str:
    if not isinstance(name, str) or not name.strip():
        raise InputError(f"{str(name)[:60]!r} is not a file name")
    if not name.isprintable():
        raise InputError(f"file name {name!r} has characters that cannot be shown")
    return name.strip().replace("\\", "/")


def _leads_out(name: str) -> bool:
    absolute = name.startswith("/") or name[1:2] == ":" or "://" in name
    return absolute or ".." in name.split("/")


def _require_inside(name: str) -> None:
    if _leads_out(name):
        raise InputError(
            f"file name {name!r} leads out of the data set's folder: if the photo lies "
            "in it all the same, --match_names finds it by its own name"
        )
