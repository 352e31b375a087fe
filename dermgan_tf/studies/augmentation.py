"""Do synthetic images help a classifier, and how many: arms, seeds, a curve, a report.

All runs take the same number of steps on the same photographs; arms differ in what is
said of them alone. OUTPUT_DIR/augmentation.json says what the folder is of;
runs/<arm>/seed-<k>/ holds a run of `train_classifier`. One that is finished is never
trained again. `docs/augmentation.md` says what every key of metrics.json is.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from dermgan_tf.classifier.labelled_images import (
    LabelledImages,
    fingerprint_of,
    joined,
    without_those_of,
)
from dermgan_tf.classifier.leakage import look_for_copies
from dermgan_tf.classifier.task import length_in_steps, train_classifier
from dermgan_tf.errors import InputError
from dermgan_tf.output_folder import output_folder, write_json
from dermgan_tf.photos.draws import case_order
from dermgan_tf.progress import silent
from dermgan_tf.reports.augmentation import write_augmentation
from dermgan_tf.reports.comparison import write_comparison
from dermgan_tf.studies.arms import Arm, read_arms
from dermgan_tf.studies.augmentation_arms import (
    ALL_CASES,
    StudyArm,
    SyntheticSet,
    arm_groups,
    ratio_of_few,
    require_two_conditions,
    study_arms,
)
from dermgan_tf.studies.augmentation_metrics import study_metrics
from dermgan_tf.studies.comparison import compare
from dermgan_tf.studies.recognition import recognition
from dermgan_tf.studies.runs import study_folder
from dermgan_tf.training.run_folder import CHECKPOINTS

DESCRIPTION = "augmentation.json"
COPIES_FILE = "copies.json"
COMPARISON = "comparison"
_OWN_FILES = (
    "runs",
    COMPARISON,
    "metrics.json",
    "table.csv",
    "report.html",
    "run.json",
    "rejects.csv",
    COPIES_FILE,
    "ratios.png",
    "ratio_differences.png",
    "cases.png",
    "case_differences.png",
)


def run_augmentation_study(
    splits: Mapping[str, LabelledImages],
    output_dir: str | os.PathLike,
    training: Mapping[str, Any],
    *,
    synthetic: Sequence[SyntheticSet] = (),
    ratios: Sequence[float] = (0, 0.5, 1, 2, 5, 10),
    seeds: int = 5,
    no_augmentation_arm: bool = False,
    more_real: LabelledImages | None = None,
    train_cases: Sequence[int | None] = (),
    train_cases_ratio: float | None = None,
    embedding: Any = None,
    allow_copies: bool = False,
    resamples: int = 2000,
    specificity: float = 0.9,
    rarest: int = 8,
    keep_checkpoints: bool = False,
    overwrite: bool = False,
    cache_dir: str | os.PathLike | None = None,
    stop_requested: Callable[[], bool] = lambda: False,
    announce: Callable[[str], None] = lambda line: None,
    progress: Callable = silent,
) -> dict[str, Any]:
    """Trains all arms with all seeds, or goes on with what `output_dir` holds.

    Called again with the same arguments after a kill, it goes on within the run that
    was killed. Arms and seeds may change from one call to the next: runs that are not
    asked for stay, and are left out of the report.

    Args:
        splits: "train", "validation" and "test"; see `train_classifier`.
        output_dir: folder of the study; made if absent.
        training: arguments of `train_classifier` that all runs share. Its steps, or its
            epochs over the real training photos, are the steps of every run.
        synthetic: the sets of synthetic images; an arm each and ratio.
        ratios: synthetic images a real training photo; 0 is the baseline, which is
            always trained. With one seed a smaller ratio's images are among a larger
            one's.
        seeds: int ≥ 1. Every arm trains with the seeds 0 … seeds − 1.
        no_augmentation_arm: bool. Whether there is an arm without classic augmentation.
        more_real: photos for an arm "more real photos"; those that the training split
            has already, pixel by pixel, are left out.
        train_cases: numbers of training cases, None for all, to train on with and
            without synthetic images. Which cases it are depends on the seed; see
            `case_order`.
        train_cases_ratio: float > 0. Synthetic images a real photo in these arms, as
            far as there are so many. Default: the largest of `ratios`.
        embedding, allow_copies: as of `look_for_copies`; without an embedding copies
            are not looked for.
        resamples, specificity, rarest: as of `compare`.
        keep_checkpoints: bool. Whether finished runs keep their checkpoints.
        overwrite: bool. Whether to delete the study in `output_dir` and start anew.
        cache_dir: as of `read_labelled_splits`.
        stop_requested: asked after every training step; once true, what is done is
            saved and InputError raised.
        announce: called with a line of text when a run begins.
        progress: see `dermgan_tf.progress`.

    Returns:
        What metrics.json holds. Also written: table.csv, report.html, figures, and
        comparison/, with a folder for each group of arms that are compared.

    Raises:
        InputError: for bad arguments, ratios that need more synthetic images than there
            are, cases of `more_real` that are held out, a study of another
            configuration in the folder, what `look_for_copies` and `train_classifier`
            raise, or predictions that cannot be compared.
    """
    for name in ("train", "validation", "test"):
        if name not in splits or not len(splits[name]):
            raise InputError(f"there are no {name} photos; a study needs all three")
    train, test = splits["train"], splits["test"]
    if len(np.unique(test.labels)) < 2:  # said before hours of training
        raise InputError(
            f"all {len(test)} test photos are of {test.conditions[test.labels[0]]!r}; "
            "a comparison takes two conditions or more"
        )
    if more_real is not None:
        _require_apart(more_real, splits)
        given, more_real = len(more_real), without_those_of(more_real, train, cache_dir)
        if not len(more_real):
            raise InputError("--more_real has no photo that is not in training already")
    arms = study_arms(
        train,
        synthetic,
        ratios,
        no_augmentation_arm,
        more_real is not None,
        train_cases,
        train_cases_ratio,
    )
    if seeds < 1:
        raise InputError(f"a study needs at least 1 seed, got {seeds}")
    require_two_conditions(train, arms, seeds)
    training = _with_steps(training, len(train))
    facts = {"training": _facts(training), "data": _data(splits)}
    with study_folder(output_dir, DESCRIPTION, facts, _OWN_FILES, overwrite) as folder:
        copies = None
        if embedding is not None:
            copies = look_for_copies(
                splits,
                embedding,
                {one.name: one.images for one in synthetic},
                more_photos=more_real,
                allow_copies=allow_copies,
                known=_read_json(folder / COPIES_FILE),
                cache_dir=cache_dir,
                progress=progress,
            )
            write_json(folder / COPIES_FILE, copies)
        added = None if more_real is None else _added(train, more_real, cache_dir)
        runs = _trained_runs(
            splits,
            _TrainingPhotos(train, added, cache_dir),
            folder,
            arms,
            seeds,
            announce,
            training=training,
            copies=copies,
            keep_checkpoints=keep_checkpoints,
            stop_requested=stop_requested,
            progress=progress,
        )
        if synthetic:
            announce("looking at synthetic images with the baseline's classifiers")
        baselines = [folder / run["folder"] for run in runs["baseline"]]
        recognised = {one.name: recognition(baselines, one.images) for one in synthetic}
        counts = np.bincount(train.labels, minlength=len(train.conditions))
        settings = {
            "resamples": resamples,
            "specificity": specificity,
            "rarest": rarest,
            "train_counts": dict(zip(train.conditions, counts.tolist(), strict=True)),
        }
        groups = arm_groups(arms)
        comparisons = {
            name: _compared(folder, name, group, seeds, settings, announce, progress)
            for name, group in groups.items()
        }
        metrics = study_metrics(
            facts,
            groups,
            comparisons,
            runs,
            seeds=seeds,
            resamples=resamples,
            train_cases=train_cases,
            train_cases_ratio=(
                ratio_of_few(ratios, train_cases_ratio) if train_cases else None
            ),
            synthetic=synthetic,
            recognised=recognised,
            more_real=None
            if more_real is None
            else {
                "photos": len(more_real),
                "cases": len(np.unique(more_real.cases)),
                "left_out": given - len(more_real),
            },
            copies=copies,
        )
        first = comparisons[ALL_CASES]
        write_augmentation(folder, metrics, first, folder / COMPARISON / ALL_CASES)
        return metrics


def _require_apart(
    more_real: LabelledImages, splits: Mapping[str, LabelledImages]
) -> None:
    if more_real.conditions != splits["train"].conditions:
        raise InputError("--more_real has other conditions than the training photos")
    known = set(more_real.cases.tolist())
    for name in ("validation", "test"):
        held = sorted(known.intersection(splits[name].cases.tolist()))
        if held:
            raise InputError(
                f"--more_real: its training split has {len(held)} cases of the {name} "
                f"split, {held[0]!r} first; leave them out of either"
            )


# === Training ===


class _TrainingPhotos:
    """The photographs that an arm trains on; the latest choice of cases is kept."""

    def __init__(self, train: LabelledImages, added: LabelledImages | None, cache_dir):
        self._train, self._added, self._cache_dir = train, added, cache_dir
        self._key, self._part = None, None

    def of(self, arm: StudyArm, seed: int) -> LabelledImages:
        if arm.kind == "more_real":
            return self._added
        if arm.train_cases is None:
            return self._train
        if self._key != (arm.train_cases, seed):
            order = case_order(self._train.cases, self._train.labels, seed)
            which = np.isin(self._train.cases, order[: arm.train_cases])
            self._part = self._train.take(which, self._cache_dir)
            self._key = arm.train_cases, seed
        return self._part


def _added(train: LabelledImages, more: LabelledImages, cache_dir) -> LabelledImages:
    """Both; names may coincide where both come from folders of their own."""
    if train.image_ids is not None and more.image_ids is not None:
        ids = np.array([f"more_real/{one}" for one in more.image_ids])
        more = dataclasses.replace(more, image_ids=ids)
    return joined([train, more], cache_dir)


def _trained_runs(
    splits: Mapping[str, LabelledImages],
    photos: _TrainingPhotos,
    folder: pathlib.Path,
    arms: Sequence[StudyArm],
    seeds: int,
    announce: Callable[[str], None],
    training: Mapping[str, Any],
    **how: Any,
) -> dict[str, list[dict[str, Any]]]:
    """The runs of each arm, by its name, as metrics.json tells them."""
    runs: dict[str, list[dict[str, Any]]] = {arm.name: [] for arm in arms}
    # Seed by seed: what a stop leaves is complete for the seeds before.
    order = [(seed, arm) for seed in range(seeds) for arm in arms]
    for number, (seed, arm) in enumerate(order, start=1):
        announce(f"{arm.label}, seed {seed}, {number} of {len(order)}")
        place = f"runs/{arm.name}/seed-{seed}"
        own = photos.of(arm, seed)
        result = _train(
            {**splits, "train": own},
            folder / place,
            arm,
            {**training, "seed": seed},
            **how,
        )
        runs[arm.name].append(
            {
                "seed": seed,
                "folder": place,
                "real_images": result.images["train"],
                "real_cases": len(np.unique(own.cases)),
                "synthetic_images": result.images["synthetic"],
                "best_step": result.best_step,
                "validation_macro_f1": result.validation["macro_f1"],
            }
        )
    return runs


def _train(
    splits, folder, arm, training, *, copies, keep_checkpoints, stop_requested, progress
):
    own = dict(training)
    if arm.kind == "no_augmentation":
        own["augment"] = "none"
    if arm.synthetic is None:
        own |= {"real_share": None, "synthetic_until": None}
    else:
        own |= {
            "synthetic": arm.synthetic.images,
            "synthetic_ratio": arm.ratio,
            "generator": arm.synthetic.generator,
            "generator_cases": arm.synthetic.generator_cases,
        }
    result = train_classifier(
        splits,
        folder,
        **own,
        copies=copies,
        saved_model=False,
        stop_requested=stop_requested,
        progress=progress,
    )
    if result.step < result.steps:
        raise InputError(
            f"stopped after step {result.step} of {result.steps} of {arm.label}, which "
            "is saved; the same command goes on from there"
        )
    if not keep_checkpoints:
        shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    return result


def _with_steps(training: Mapping[str, Any], real: int) -> dict[str, Any]:
    training = {"batch_size": 32, "steps": None, "epochs": None, **training}
    steps = length_in_steps(
        training["steps"], training.pop("epochs"), real, training["batch_size"]
    )
    return {**training, "steps": steps}


def _facts(training: Mapping[str, Any]) -> dict[str, Any]:
    weights = training.get("weights")
    # A file's name alone: its folder is nobody's business.
    name = None if weights is None else pathlib.Path(weights).name
    return {**training, "weights": name}


def _data(splits: Mapping[str, LabelledImages]) -> dict[str, Any]:
    def counted(name: str) -> dict[str, Any]:
        part = splits[name]
        return {
            "photos": len(part),
            "cases": len(np.unique(part.cases)),
            "fingerprint": fingerprint_of(part),
        }

    return {
        "conditions": list(splits["train"].conditions),
        "image_size": splits["train"].images.shape[1],
        **{name: counted(name) for name in ("train", "validation", "test")},
    }


def _read_json(path: pathlib.Path) -> Any:
    with contextlib.suppress(OSError, ValueError):
        return json.loads(path.read_text("utf-8"))
    return None


# === Comparing ===


def _compared(
    folder: pathlib.Path,
    name: str,
    group: Sequence[StudyArm],
    seeds: int,
    settings: Mapping[str, Any],
    announce: Callable[[str], None],
    progress: Callable,
) -> dict[str, Any]:
    """Compares the arms of a group, and writes that into its folder."""
    announce(f"comparing {len(group)} arms of {group[0].train_cases or 'all'} cases")
    paths = {
        arm.label: [folder / "runs" / arm.name / f"seed-{k}" for k in range(seeds)]
        for arm in group
    }
    read = [_with_short_paths(arm, folder) for arm in read_arms(paths)]
    comparison = compare(read, **settings, progress=progress)
    with output_folder(folder / COMPARISON / name, overwrite=True) as aside:
        write_comparison(aside, comparison)
    return comparison


def _with_short_paths(arm: Arm, folder: pathlib.Path) -> Arm:
    predictions = tuple(
        dataclasses.replace(p, source=os.path.relpath(p.source, folder))
        for p in arm.predictions
    )
    return dataclasses.replace(arm, predictions=predictions)
