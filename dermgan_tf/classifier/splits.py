"""The sets of images that one classifier is for: whether they fit, which they are."""

import hashlib
import json
from collections.abc import Mapping

import numpy as np

from dermgan_tf.classifier.labelled_images import LabelledImages, fingerprint_of
from dermgan_tf.errors import InputError


def require_fitting(
    splits: Mapping[str, LabelledImages], synthetic: LabelledImages | None
) -> None:
    """Raises InputError unless a classifier can be trained on these.

    Args:
        splits: "train", "validation", and "test" if there is one: of one vocabulary,
            one image size and different cases; two conditions or more to train on.
        synthetic: images to train on besides, of the same vocabulary and size.
    """
    for name in ("train", "validation"):
        if name not in splits or not len(splits[name]):
            raise InputError(f"there are no {name} images; a classifier needs both")
    train = splits["train"]
    others = {n: split for n, split in splits.items() if n != "train"}
    for name, other in {**others, "synthetic": synthetic}.items():
        if other is not None:
            _require_alike(train, other, name)
    if len(np.unique(train.labels)) < 2:
        raise InputError("the training images show one condition only; want 2 or more")
    seen: dict[str, str] = {}
    for name, split in splits.items():
        if split.cases is None:
            raise InputError(
                f"{name} images have no cases: only photographs may be in a split, "
                "synthetic images are given apart"
            )
        for case in np.unique(split.cases).tolist():
            if seen.setdefault(case, name) != name:
                raise InputError(
                    f"case {case!r} is in two splits, {seen[case]} and {name}"
                )


def absent_conditions(
    splits: Mapping[str, LabelledImages],
) -> dict[str, list[str]]:
    """By split, the conditions that none of its photos shows; {} if all occur.

    A condition without training photos can hardly be recognised, one without
    validation or test photos is not judged: macro averages leave it out.
    """
    found = {}
    for name, split in splits.items():
        present = set(np.unique(split.labels).tolist())
        absent = [c for k, c in enumerate(split.conditions) if k not in present]
        if absent:
            found[name] = absent
    return found


def splits_fingerprint(
    splits: Mapping[str, LabelledImages], synthetic: LabelledImages | None
) -> str:
    """sha256 (hex) over those of all sets."""
    parts = {
        name: fingerprint_of(part)
        for name, part in {**splits, "synthetic": synthetic}.items()
        if part is not None
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _require_alike(train: LabelledImages, other: LabelledImages, name: str) -> None:
    if other.conditions != train.conditions:
        raise InputError(
            f"training and {name} images have different conditions: "
            f"{', '.join(train.conditions)} against {', '.join(other.conditions)}"
        )
    if other.images.shape[1:] != train.images.shape[1:]:
        raise InputError(
            f"training images are {list(train.images.shape[1:])}, {name} images "
            f"{list(other.images.shape[1:])}"
        )
