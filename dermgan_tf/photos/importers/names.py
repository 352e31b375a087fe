"""The splits that a data set comes with: read from names, and kept or left."""

import collections
import dataclasses
import re
from collections.abc import Iterable, Sequence

from dermgan_tf.errors import InputError
from dermgan_tf.photos.annotations import PhotoAnnotation

_SPLIT_OF_WORD = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}


def split_of_names(names: Iterable[str]) -> str | None:
    """The split that folders' or files' names tell of, such as instances_train2017.

    Args:
        names: the nearest to the photo first.

    Returns:
        "train", "validation" or "test", by the first name that has the word of one
        split alone; None if none has.
    """
    for name in names:
        words = re.split(r"[^a-z]+", name.lower())
        splits = {_SPLIT_OF_WORD[word] for word in words if word in _SPLIT_OF_WORD}
        if len(splits) == 1:
            return splits.pop()
    return None


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
                f"({another}): --nokeep_splits makes new ones by case"
            )
    return list(annotations)
