"""Finds photos by the names that annotations give them, never by less, never elsewhere.

A name is looked up among the photos that lie below the data set's folder. No path is
ever made of it, so that it cannot lead out.
"""

import dataclasses
import os
import pathlib
import posixpath
import re
import urllib.parse
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from dermgan_tf.errors import InputError, Reject
from dermgan_tf.photos.folders import PHOTO_SUFFIXES, file_sha256, find_files
from dermgan_tf.photos.vocabulary import composed

# Where Label Studio says that a photo lies: its own upload folder (also as
# ../../label-studio/data/media/upload/4/…, version 1.16), a server address of local
# files, or images/ (before 2023 with the project's number) with a name that has eight
# hexadecimal digits before the uploaded file's own.
_LABEL_STUDIO = re.compile(
    r"(?:^|/)(?:data/local-files/\?d=.+|upload/\d+/[^/]+"
    r"|images/(?:\d+/)?[0-9a-f]{8}-[^/]+)$"
)
_UPLOAD_PREFIX = re.compile(r"^[0-9a-f]{8}-(?=.)")
_LOCAL_FILES = re.compile(r"^.*data/local-files/\?d=")


@dataclasses.dataclass(frozen=True)
class Wanted:
    """A photo as a source names it.

    Args:
        name: str. As the source has it, for messages.
        places: paths relative to the index's folder where the photo may lie, the
            likeliest first.
        anywhere: bool. The source names no folders: the photo may be in any.
        ending: bool. Whether the name surely has its ending (.jpg).
        by_name: bool. Go by the file's own name alone, whatever folders come with it:
            for sources that name the places of another computer.
    """

    name: str
    places: tuple[str, ...] = ()
    anywhere: bool = False
    ending: bool = True
    by_name: bool = False


def wanted(
    name: Any,
    bases: Iterable[str] = ("",),
    *,
    anywhere: bool = False,
    ending: bool | None = None,
    by_name: bool = False,
) -> Wanted:
    """Reads a name as a source has it: with Windows' backslashes, and quotes around it.

    Args:
        name: a path relative to one of `bases`, or, where that is Label Studio's way,
            a path on its server.
        bases: folders, relative to the index's.
        anywhere, by_name: see `Wanted`.
        ending: see `Wanted`; by default it is looked for.

    Raises:
        InputError: for a name that is absolute, leads out of the folder or is no file
            name.
    """
    if not isinstance(name, str) or not name.strip():
        raise InputError(f"{str(name)[:60]!r} is not a file name")
    if not name.isprintable():
        raise InputError(f"file name {name!r} has characters that cannot be shown")
    name = composed(name.strip()).replace("\\", "/")
    if len(name) > 2 and name[0] == name[-1] and name[0] in "\"'":
        name = name[1:-1]
    if _leads_out(name) and not (by_name or _LABEL_STUDIO.search(name)):
        raise InputError(
            f"file name {name!r} leads out of the data set's folder: if the photo lies "
            "in it all the same, match_names finds it by its own name"
        )
    if ending is None:
        ending = without_ending(name) != name
    places = ()
    if not _leads_out(name):
        places = tuple(posixpath.normpath(posixpath.join(b, name)) for b in bases)
    return Wanted(name, places, anywhere, ending, by_name)


class PhotoIndex:
    """The photos in a folder and its subfolders.

    Args:
        folder: the folder.

    Raises:
        InputError: if the folder cannot be read.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = pathlib.Path(folder)
        self.files = find_files(self.folder)
        self.images = self.files.photos
        self.loosely: Counter = Counter()
        self._named: set[str] = set()
        self._read: set[str] = set()
        places = {posixpath.dirname(image) for image in self.images}
        self._flat = places <= {"", "images"}
        self._twins: set[str] = set()
        self._by_path = _Names(self.images, lambda image: image)
        self._by_name = _Names(self.images, posixpath.basename)

    def find_all(self, names: Sequence[Wanted]) -> list[str | InputError | None]:
        """Finds the photos of all names of a source at once.

        A name is looked for as it is, then percent-decoded, without regard to capitals,
        and with another ending; the ways of Label Studio are understood. Of these
        guesses none takes a photo that another name fits better, and each must be the
        only one; `loosely` counts them by kind.

        Returns:
            Of each name the photo's path relative to the folder; None if it is absent;
            or an InputError, if there are several, or it could be another name's.
        """
        found: dict[Wanted, str | InputError | None] = dict.fromkeys(names)
        taken: set[str] = set()
        for kind, look_up in self._steps():
            claims: dict[str, list[Wanted]] = defaultdict(list)
            for name in found:
                if found[name] is None:
                    images = look_up(name)
                    images = [image for image in images if image not in taken]
                    try:
                        if images:
                            claims[self._only(images, name.name)].append(name)
                    except InputError as error:
                        found[name] = error
            for image, claimants in claims.items():
                told = {name.name for name in claimants}
                for name in claimants:
                    if kind and len(told) > 1:
                        found[name] = InputError(
                            f"{image} could be the photo of {' or '.join(sorted(told))}"
                        )
                    else:
                        found[name] = image
                        self.loosely[kind] += bool(kind)
            taken |= claims.keys()
        self._named |= taken
        self.loosely["names in Unicode's other form (NFD)"] = sum(
            composed(image) != image for image in self._named
        )
        self.loosely = +self.loosely
        return [found[name] for name in names]

    def same_as(self, images: Iterable[str], others: Iterable[str]) -> set[str]:
        """Those of `images` that are byte for byte the same as one of `others`."""
        sizes = {(self.folder / image).stat().st_size for image in others}
        alike = [i for i in images if (self.folder / i).stat().st_size in sizes]
        known = {self._bytes(image) for image in others} if alike else set()
        return {image for image in alike if self._bytes(image) in known}

    def name_all(self) -> None:
        """Counts every photo as asked for."""
        self._named.update(self.images)

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
            if image not in self._named | self._twins
            and not (end and posixpath.splitext(image)[0].lower().endswith(end))
        ]

    def read(self, paths: Iterable[str | os.PathLike]) -> None:
        """Counts other files as read."""
        here = os.path.abspath(self.folder)
        for path in paths:
            relative = os.path.relpath(os.path.abspath(path), here)
            self._read.add(relative.replace(os.sep, "/"))

    def left_over(self) -> tuple[list[Reject], Counter]:
        """What lies in the folder beside photos: unread pictures, junk, twins."""
        rejects = [
            Reject(
                path, f"pictures that end in {posixpath.splitext(path)[1]} are not read"
            )
            for path in self.files.unread
        ]
        counts = Counter(
            {f"passed over: {name}": n for name, n in self.files.junk.items()}
        )
        for path in self.files.others:
            if path not in self._read:
                ending = posixpath.splitext(path)[1].lower() or "without ending"
                counts[f"other files, not read: {ending}"] += 1
        counts["photos that lie there twice"] = len(self._twins - self._named)
        return rejects, +counts

    def _steps(self) -> Iterator[tuple[str, Callable[[Wanted], list[str]]]]:
        """(what it is called in the summary, look-up), the strictest first."""
        for kind, level in _LEVELS:
            yield kind, lambda name, level=level: self._at_places(name, level)
            yield kind, lambda name, level=level: self._anywhere(name, level)
        for _, level in _LEVELS:
            yield (
                "names without the folders told",
                lambda name, level=level: self._without_folders(name, level),
            )
        for _, level in _LEVELS:
            yield (
                "names without Label Studio's digits",
                lambda name, level=level: self._without_digits(name, level),
            )

    def _at_places(self, name: Wanted, level: int) -> list[str]:
        for place in name.places:
            if images := self._by_path.find(place, level, name.ending):
                return images
        return []

    def _anywhere(self, name: Wanted, level: int) -> list[str]:
        if not name.anywhere:
            return []
        return self._by_name.find(posixpath.basename(name.name), level, name.ending)

    def _without_folders(self, name: Wanted, level: int) -> list[str]:
        own = posixpath.basename(name.name)
        if name.by_name:
            return self._by_name.find(own, level, name.ending)
        if not _LABEL_STUDIO.search(name.name):
            return []
        # Fewer and fewer of the folders told, but never others, and not none where
        # photos lie in folders.
        told = [own]
        if _LOCAL_FILES.match(name.name):
            told = _LOCAL_FILES.sub("", name.name).split("/")
        for first in range(max(1, len(told) - (not self._flat))):
            for base in ("", "images"):
                place = posixpath.join(base, *told[first:])
                if images := self._by_path.find(place, level, name.ending):
                    return images
        if _UPLOAD_PREFIX.match(own):
            return self._by_name.find(own, level, name.ending)
        return []

    def _without_digits(self, name: Wanted, level: int) -> list[str]:
        own = posixpath.basename(name.name)
        if not _UPLOAD_PREFIX.match(own):
            return []
        if not (name.by_name or _LABEL_STUDIO.search(name.name)):
            return []
        return self._by_name.find(_UPLOAD_PREFIX.sub("", own), level, name.ending)

    def _only(self, images: list[str], name: str) -> str:
        """The one photo of several; InputError unless all are the same bytes."""
        if len(images) > 1 and len({self._bytes(image) for image in images}) > 1:
            self._named.update(images)
            raise InputError(
                f"{len(images)} photos are called {name!r}: {', '.join(images[:3])}"
            )
        self._twins.update(images)
        return images[0]

    def _bytes(self, image: str) -> tuple[int, str]:
        path = self.folder / image
        try:
            return path.stat().st_size, file_sha256(path)
        except OSError:
            return 0, image


def without_ending(path: str) -> str:
    """A path without the ending of a photo; other endings are part of its name."""
    stem, ending = posixpath.splitext(path)
    return stem if ending.lower() in PHOTO_SUFFIXES else path


# The forms in which names are compared, the strictest first.
_LEVELS = (
    ("", 0),
    ("names that were percent-encoded", 1),
    ("names with other capitals", 2),
    ("names with another ending", 3),
)


class _Names:
    """Photos by the forms of a name."""

    def __init__(self, images: Iterable[str], name_of: Callable[[str], str]):
        self._images: dict[tuple[int, bool, str], list[str]] = defaultdict(list)
        for image in images:
            name = name_of(image)
            for ending in (True, False):
                for _, level in _LEVELS:
                    if key := _form(name, level, ending, True):
                        self._images[level, ending, key].append(image)

    def find(self, name: str, level: int, ending: bool) -> list[str]:
        images = []
        for of_form in (True,) if ending else (False, True):
            key = _form(name, level, of_form, of_file=False)
            images = images or self._images.get((level, of_form, key), [])
        return images


def _form(name: str, level: int, ending: bool, of_file: bool) -> str:
    """What two names have in common that are the same at a level; "" for nothing."""
    name = composed(name)
    if not ending and of_file:
        name = posixpath.splitext(name)[0]
    if level >= 1:
        name = composed(urllib.parse.unquote(name, errors="replace"))
    if level >= 2:
        name = name.casefold()
    if level >= 3:
        name = without_ending(name) if ending else ""
    return name


def _leads_out(name: str) -> bool:
    absolute = name.startswith("/") or name[1:2] == ":" or "://" in name
    return absolute or ".." in name.split("/")
