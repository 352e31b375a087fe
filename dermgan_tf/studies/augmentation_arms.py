"""The arms of an augmentation study: what each trains on, and which are compared."""

import dataclasses
import re
from collections.abc import Sequence

import numpy as np

from dermgan_tf.classifier.labelled_images import LabelledImages
from dermgan_tf.errors import InputError
from dermgan_tf.photos.draws import case_order

ALL_CASES = "all-cases"  # the group of arms that are trained on all of them


@dataclasses.dataclass(frozen=True)
class SyntheticSet:
    """Synthetic images of one generator.

    Args:
        name: letters, digits, "-", "_" and "."; names folders.
        images: as `read_synthetic` gives them.
        generator: str. Names the generator, for the record.
        generator_cases: those that it was trained on, all of them training cases here.
    """

    name: str
    images: LabelledImages
    generator: str | None
    generator_cases: Sequence[str]


@dataclasses.dataclass(frozen=True)
class StudyArm:
    """One way of training.

    Args:
        name: str. Its folder.
        label: str. What reports call it.
        kind: "baseline", "synthetic", "no_augmentation" or "more_real".
        synthetic: None for an arm without synthetic images.
        ratio: float. Synthetic images for every real one, at most.
        train_cases: int. So many training cases; None for all.
    """

    name: str
    label: str
    kind: str
    synthetic: SyntheticSet | None = None
    ratio: float = 0.0
    train_cases: int | None = None


def study_arms(
    train: LabelledImages,
    synthetic: Sequence[SyntheticSet],
    ratios: Sequence[float],
    no_augmentation_arm: bool,
    more_real: bool,
    train_cases: Sequence[int | None],
    train_cases_ratio: float | None,
) -> list[StudyArm]:
    """The arms, the baseline first; see `run_augmentation_study`.

    Raises:
        InputError: for what cannot be trained: ratios that need more images than there
            are, more training cases than there are, nothing to compare.
    """
    _require_names(synthetic)
    for ratio in ratios:
        if not 0 <= ratio < np.inf:
            raise InputError(f"a ratio is a number from 0 on, got {ratio}")
    cases = len(np.unique(train.cases))
    short = []
    for count in train_cases:
        if count is not None and not 2 <= count <= cases:
            raise InputError(
                f"--train_cases: {count} of {cases} training cases; want 2 to {cases}"
            )
        if count is not None and count < cases:
            short.append(count)
    swept = {float(ratio) for ratio in ratios if ratio}
    if train_cases:
        few_ratio = ratio_of_few(ratios, train_cases_ratio)
        if not (synthetic and few_ratio > 0):
            raise InputError(
                "--train_cases trains with and without synthetic images: it needs some "
                "and a ratio above 0"
            )
        if len(short) < len(train_cases):  # the end of that curve
            swept.add(few_ratio)
    arms = [StudyArm("baseline", "baseline", "baseline")]
    if no_augmentation_arm:
        arms.append(StudyArm("no-augmentation", "no augmentation", "no_augmentation"))
    for one in synthetic:
        for ratio in sorted(swept):
            _require_enough(one, ratio, len(train))
            arms.append(_synthetic_arm(one, ratio, None))
    if more_real:
        arms.append(StudyArm("more-real", "more real photos", "more_real"))
    if len(arms) < 2:
        raise InputError(
            "there is nothing to compare the baseline with: give synthetic images and "
            "a ratio above 0, --no_augmentation_arm or --more_real"
        )
    for count in sorted(set(short)):
        arms.append(
            StudyArm(
                f"baseline-{count}-cases", "baseline", "baseline", train_cases=count
            )
        )
        arms += [_synthetic_arm(one, few_ratio, count) for one in synthetic]
    return arms


def arm_groups(arms: Sequence[StudyArm]) -> dict[str, list[StudyArm]]:
    """Arms of equally many training cases, the baseline first, by name."""
    groups: dict[str, list[StudyArm]] = {}
    for arm in arms:
        count = arm.train_cases
        name = ALL_CASES if count is None else f"{count}-cases"
        groups.setdefault(name, []).append(arm)
    return groups


def require_two_conditions(
    train: LabelledImages, arms: Sequence[StudyArm], seeds: int
) -> None:
    """Raises InputError for few cases of one condition: before hours of training."""
    counts = {arm.train_cases for arm in arms if arm.train_cases is not None}
    for seed in range(seeds if counts else 0):
        order = case_order(train.cases, train.labels, seed)
        for count in counts:
            which = np.isin(train.cases, order[:count])
            if len(np.unique(train.labels[which])) < 2:
                raise InputError(
                    f"--train_cases: the {count} cases of seed {seed} show one "
                    "condition only; take more"
                )


def ratio_of_few(ratios: Sequence[float], given: float | None) -> float:
    """The ratio of the arms of few cases: `given`, or else the largest of `ratios`."""
    return float(max(ratios, default=0) if given is None else given)


def _synthetic_arm(one: SyntheticSet, ratio: float, count: int | None) -> StudyArm:
    name = f"{one.name}-x{ratio:g}"
    if count is not None:
        name = f"{name}-{count}-cases"
    return StudyArm(name, f"{one.name} {ratio:g} : 1", "synthetic", one, ratio, count)


def _require_names(synthetic: Sequence[SyntheticSet]) -> None:
    names = [one.name for one in synthetic]
    for name in names:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
            raise InputError(
                f"synthetic images {name!r}: a name is of letters, digits, - _ and ."
            )
        if names.count(name) > 1 or name in (
            "baseline",
            "no-augmentation",
            "more-real",
        ):
            raise InputError(f"synthetic images: the name {name!r} is taken")


def _require_enough(one: SyntheticSet, ratio: float, real: int) -> None:
    needed = round(ratio * real)
    if needed > len(one.images):
        raise InputError(
            f"{one.name} holds {len(one.images)} synthetic images; a ratio of "
            f"{ratio:g} to {real} training photos takes {needed}: generate more, or "
            f"stay at {len(one.images) / real:.3g} or less"
        )
