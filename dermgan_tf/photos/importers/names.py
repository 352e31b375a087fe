"""What names of files and folders tell: splits, and which photos are of one case."""

import collections
import dataclasses
import posixpath
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence

from dermgan_tf.errors import InputError
from dermgan_tf.photos.annotations import PhotoAnnotation
from dermgan_tf.photos.importers.photo_index import without_ending

_SPLIT_OF_WORD = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
# What links photos, the strongest first: a case is called after the strongest.
_STRENGTH = ("patient", "case", "pattern", "lesion", "folder", "photo", "same file")
_OBJ_DATA = re.compile(r"obj_(.+)_data")  # Darknet's, as CVAT writes YOLO

# Copies that programs make of a photo, to augment it or for no reason. Roboflow's names
# end in .rf. and a hash; Augmentor's begin with the class and end in a UUID.
_CHANGED = (
    r"(aug(mented|mentation)?|[hv][-_ ]?flip(ped)?|flip(ped)?([-_ ](lr|ud|h|v|x|y))?"
    r"|mirror(ed)?|rot(ate|ated|ation)?[-_ ]?\d+|blur(red)?|nois[ey]"
    r"|bright(er|ness|ened)?|dark(er|ened)?|contrast|zoom(ed)?|shear(ed)?)"
)
_COPY = re.compile(
    r"(?P<roboflow>.+?)\.rf\.[0-9A-Za-z_-]{8,}"
    r"|.*?_original_(?P<augmentor>.+?)_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    rf"|(?P<before>.+?)([-_ ]{_CHANGED}([-_ ]?\d+)?)+"
    rf"|({_CHANGED}([-_ ]\d+)?[-_ ])+(?P<behind>.+)",
    re.I,
)
# So names end of copies, but of other photos too: only beside the photo itself.
_PERHAPS_COPY = re.compile(
    r"(?P<own>.+?)(([-_ ]+copy([-_ ]?\(?\d+\)?)?)| \(\d+\))", re.I
)
# Folders that say that they are a person's: patient_17, PAT-3, case17, p01.
_PERSON = re.compile(
    r"(patient|pat|pt|person|subject|subj|sub|case|p)([-_ ]?(id|no|nr))?[-_ ]?\d+",
    re.I,
)


# === Splits


def split_of_word(word: str) -> str | None:
    """The split that a word names: train, val, validation, test and the like.

    It must be the whole word, of any capitals, with or without COCO's year
    (train2017): "patch test" names none.
    """
    return _SPLIT_OF_WORD.get(re.sub(r"(20\d\d)?$", "", word.strip().lower(), count=1))


def splits_of_folders(paths: Iterable[str]) -> dict[str, str]:
    """The splits that folders name: images/SPLIT, SPLIT/images, SPLIT, obj_SPLIT_data.

    The folders at one level name splits only if all of them do: one called `test` among
    others may be anything.

    Args:
        paths: of files, relative to the data set's folder, with `/`.

    Returns:
        path -> split, of the paths that have one.
    """
    paths = list(paths)
    for place_of in (_beside_images, _first_folder):
        folders = {path: place_of(path) for path in paths}
        named = {folder: split_of_word(folder) for folder in folders.values()}
        if named and all(named.values()):
            return {path: named[folder] for path, folder in folders.items()}
    return {}


def _beside_images(path: str) -> str:
    """The folder right below or above the folder of photos or labels, "" if none."""
    folders = path.split("/")[:-1]
    for i, folder in enumerate(folders):
        if folder.lower() in ("images", "labels", "jpegimages", "annotations"):
            below = folders[i + 1] if i + 1 < len(folders) else ""
            return below if i == 0 else folders[i - 1]
    return ""


def _first_folder(path: str) -> str:
    folders = path.split("/")[:-1]
    first = folders[0] if folders else ""
    inner = _OBJ_DATA.fullmatch(first)
    return inner[1] if inner else first


def settled_splits(
    annotations: Sequence[PhotoAnnotation], keep: bool = True
) -> list[PhotoAnnotation]:
    """The annotations with the splits that are of use.

    Where all photos lie in one split, as in exports that know only "train", it says
    nothing and is left: splits are then made by case.

    Args:
        annotations: as imported.
        keep: bool. Keep the data set's own splits at all.

    Raises:
        InputError: for a case in two splits.
    """
    splits = {annotation.split for annotation in annotations}
    if not keep or len(splits) == 1:
        return [dataclasses.replace(a, split=None) for a in annotations]
    of_case: dict[str, dict[str, str]] = collections.defaultdict(dict)
    for annotation in annotations:
        if annotation.split:
            of_case[annotation.case_id].setdefault(annotation.split, annotation.image)
    for case, images in of_case.items():
        if len(images) > 1:
            (split, image), (other, another), *_ = images.items()
            raise InputError(
                f"case {case!r} is in two splits, {split} ({image}) and {other} "
                f"({another}): keep_splits=False makes new ones by case"
            )
    return list(annotations)


# === Cases


def case_finder(pattern: str) -> Callable[[str], str]:
    """Finds the case in a photo's path.

    Args:
        pattern: str. Regular expression, looked for in the photo's name without
            extension, or, if it has a `/`, in its path below the folder of photos. The
            case is the group named `case`, else the first group, else the whole match.
            "" makes every photo a case of its own, named like its path.

    Returns:
        A function of a path relative to the folder of photos (str, with `/`, with
        extension) that gives the case, or raises InputError if there is none.

    Raises:
        InputError: if the pattern is no regular expression.
    """
    if not pattern:
        return without_ending
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise InputError(
            f"case pattern {pattern!r} is no regular expression: {error}"
        ) from None
    group = "case" if "case" in compiled.groupindex else min(compiled.groups, 1)

    def find_case(image: str) -> str:
        path = without_ending(image)
        match = compiled.search(path if "/" in pattern else posixpath.basename(path))
        if not match or not match[group]:
            raise InputError(f"has no case in its name by the pattern {pattern!r}")
        return match[group]

    return find_case


def joined_cases(
    photos: Sequence[tuple[str, Sequence[tuple[str, str]]]],
) -> list[tuple[str, str]]:
    """The cases of photos: all that anything links are one.

    Args:
        photos: (image, links): its path, and what links it with other photos: (kind,
            id), such as ("patient", "17"). Without links it is told by its name, see
            `links_of_name`.

    Returns:
        (case, kind) of every photo: the kind of the case's strongest link.
    """
    paths = {without_ending(image) for image, _ in photos}
    links = [(list(its) or links_of_name(image, paths)) for image, its in photos]
    parents: dict[tuple[str, str], tuple[str, str]] = {}

    def root(link: tuple[str, str]) -> tuple[str, str]:
        while parents.setdefault(link, link) != link:
            parents[link] = parents[parents[link]]
            link = parents[link]
        return link

    members: dict[tuple[str, str], set[tuple[str, str]]] = defaultdict(set)
    for its in links:
        for link in its:
            parents[root(link)] = root(its[0])
    for its in links:
        members[root(its[0])].update(its)
    best = {
        case: min(its, key=lambda link: (_STRENGTH.index(link[0]), link))
        for case, its in members.items()
    }
    # Patient 5 and lesion 5 are two cases.
    repeated = Counter(name for _, name in best.values())
    named = {
        case: f"{kind} {name}" if repeated[name] > 1 else name
        for case, (kind, name) in best.items()
    }
    return [(named[root(its[0])], best[root(its[0])][0]) for its in links]


def links_of_name(image: str, paths: Collection[str] = ()) -> list[tuple[str, str]]:
    """What a photo's path tells of its case, if nothing else is known.

    A folder that says that it is a person's (patient_17, p01) is one case; so are a
    photo and its copies (`.rf.` and a hash of Roboflow, _flip, _aug_3, …); else the
    photo is a case of its own.

    Args:
        image: str. Its path, relative, with `/`.
        paths: all photos without endings, to tell whether `a (1).jpg` is of `a.jpg`.
    """
    folders = image.split("/")[:-1]
    for i, folder in enumerate(folders):
        if _PERSON.fullmatch(folder):
            # train/p01 and test/p01 are one person.
            above = [name for name in folders[:i] if not split_of_word(name)]
            return [("folder", "/".join([*above, folder]))]
    path = without_ending(image)
    place, own = posixpath.split(path)
    source = None
    if match := _COPY.fullmatch(own):
        source = next(filter(None, match.groupdict().values()))
    elif match := _PERHAPS_COPY.fullmatch(own):
        source = match["own"] if posixpath.join(place, match["own"]) in paths else None
    if not source:
        return [("photo", path)]
    source = re.sub(r"[_.](jpe?g|png|bmp|webp|tiff?)$", "", source, flags=re.I)
    apart = [name for name in place.split("/") if name and not split_of_word(name)]
    return [("photo", "/".join([*apart, source]))]
