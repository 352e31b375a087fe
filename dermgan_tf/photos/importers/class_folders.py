"""Reads photos that lie in a folder for each condition, for classifiers."""

import contextlib
import dataclasses
import os
import pathlib
import posixpath
from collections import Counter

from dermgan_tf.errors import InputError, Reject, printable
from dermgan_tf.photos.annotations import PhotoAnnotation
from dermgan_tf.photos.folders import file_sha256, find_files, image_files, subfolders
from dermgan_tf.photos.importers.entries import Entry, Options, import_entries
from dermgan_tf.photos.importers.names import (
    case_finder,
    joined_cases,
    links_of_name,
    split_of_word,
)
from dermgan_tf.photos.importers.photo_index import PhotoIndex, Wanted, without_ending
from dermgan_tf.photos.vocabulary import composed


@dataclasses.dataclass(frozen=True)
class ClassPhoto:
    """A photo in a class folder.

    Args:
        image: str. Its path relative to the whole folder, with `/`.
        condition: str. The class folder's name.
        case_id: str.
        split: "train", "validation" or "test"; None where the folders name none.
    """

    image: str
    condition: str
    case_id: str
    split: str | None


def read_class_folders(
    folder: str | os.PathLike, case_pattern: str = ""
) -> tuple[list[ClassPhoto], list[Reject]]:
    """Lists the photos of CLASS/photo or SPLIT/CLASS/photo; none is opened.

    A photo's case is called after its name, if no other is called so, else after its
    path. Photos of one name and the same bytes are one case; for the rest see
    `links_of_name`.

    Args:
        folder: the folder. Splits are train, val or validation, and test; all folders
            of the upper level are splits, or none.
        case_pattern: see `case_finder`.

    Returns:
        (photos, rejects): the second are photos in no class folder, pictures of kinds
        that are not read, and photos without a case.

    Raises:
        InputError: for a folder of another form.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise InputError(f"cannot read folder {folder}: it is not a folder")
    if (folder / "annotations.jsonl").is_file():
        raise InputError(
            f"{folder} has annotations: give {folder / 'annotations.jsonl'} instead"
        )
    find_case = case_finder(case_pattern)
    class_folders = _class_folders(folder)
    rejects = [
        Reject(printable(path.name), "lies in no class folder")
        for path in image_files(folder)
    ]
    rejects += [
        Reject(printable(path), "pictures of this kind are not read")
        for path in find_files(folder).unread
    ]
    found = []
    for split, class_folder in class_folders:
        for path in image_files(class_folder):
            image = path.relative_to(folder).as_posix()
            try:
                if not class_folder.name.isprintable():
                    raise InputError("lies in a folder whose name cannot be printed")
                case = find_case(image)
            except InputError as error:
                rejects.append(Reject(printable(image), str(error)))
                continue
            found.append((image, composed(class_folder.name.strip()), case, split))
    if not found and not rejects:
        raise InputError(f"no photos in the class folders of {folder}")
    images = [image for image, *_ in found]
    links = [] if case_pattern else _links(folder, images)
    joined = joined_cases(list(zip(images, links, strict=False)))
    for i, (case, _) in enumerate(joined):
        image, condition, _, split = found[i]
        found[i] = image, condition, case, split
    return [ClassPhoto(*one) for one in found], rejects


def import_class_folders(
    folder: str | os.PathLike, **options
) -> tuple[list[PhotoAnnotation], list[Reject], dict[str, int]]:
    """Imports what `read_class_folders` reads, as the classifier's trainer does.

    There are no boxes and no skin types.

    Args:
        folder: the folder.
        **options: see `Options`.

    Returns:
        (annotations, rejects, counts), images relative to `folder`.

    Raises:
        InputError: for a folder of another form.
    """
    settings = Options(**options)
    photos, rejects = read_class_folders(folder, settings.case_pattern)
    index = PhotoIndex(folder)
    index.files.unread.clear()  # they are among the rejects
    links = _links(pathlib.Path(folder), [photo.image for photo in photos])
    entries = [
        Entry(
            photo.image,
            Wanted(photo.image, (photo.image,)),
            photo.condition,
            links=tuple(its),
            split=photo.split,
            split_by="folders",
        )
        for photo, its in zip(photos, links, strict=True)
    ]
    index.name_all()
    return import_entries(entries, rejects, Counter(), index, str(folder), settings)


def _links(folder: pathlib.Path, images: list[str]) -> list[list[tuple[str, str]]]:
    """What links photos: an only name, else the path; and equal files of one name."""
    paths = {without_ending(image) for image in images}
    names = Counter(map(posixpath.basename, paths))
    links = []
    for image in images:
        its = links_of_name(image, paths)
        name = posixpath.basename(without_ending(image))
        if names[name] == 1 and its == [("photo", without_ending(image))]:
            its = [("photo", name)]
        elif names[name] > 1:
            with contextlib.suppress(OSError):  # found out when it is opened
                its.append(("same file", f"{name} {file_sha256(folder / image)}"))
        links.append(its)
    return links


def _class_folders(folder: pathlib.Path) -> list[tuple[str | None, pathlib.Path]]:
    """(split, folder) of every class; split None where the folders name none."""
    inside = subfolders(folder)
    splits: dict[str, pathlib.Path] = {}
    for path in inside:
        split = split_of_word(path.name)
        if split and split in splits:
            raise InputError(
                f"{folder} has two folders for {split}, {splits[split].name} and "
                f"{path.name}: leave one"
            )
        if split:
            splits[split] = path
    if splits and len(splits) < len(inside):
        other = next(path for path in inside if path not in splits.values())
        raise InputError(
            f"{folder} has the folder {other.name!r} beside those of splits; want "
            "train, validation (or val) and test, with a folder for each class in them"
        )
    if splits:
        if "train" not in splits:
            raise InputError(f"{folder} has no folder train")
        found = [
            (split, path) for split in splits for path in subfolders(splits[split])
        ]
    else:
        found = [(None, path) for path in inside]
    if not found:
        raise InputError(
            f"{folder} has no class folders: want SPLIT/CLASS/photo or CLASS/photo"
        )
    for _, path in found:
        if deeper := subfolders(path):
            raise InputError(
                f"{deeper[0]} lies inside a class folder: want SPLIT/CLASS/photo or "
                "CLASS/photo"
            )
    return found
