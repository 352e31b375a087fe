"""Prepares a folder of pairs, or of patches, from photos.

Worker processes read and cut photos; they import neither TensorFlow nor Keras. The
parent only serializes what they return, so that one writer decides order and shards.
A photo whose decoder crashes its process is a bad photo like others.
"""

import contextlib
import dataclasses
import functools
import json
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from dermgan_tf.errors import (
    InputError,
    Reject,
    check_reject_fraction,
    write_rejects,
)
from dermgan_tf.output_folder import output_folder
from dermgan_tf.pairs import pairs as pairs_folder
from dermgan_tf.pairs import patches as patches_folder
from dermgan_tf.pairs.cutting import (
    PhotoPairs,
    PhotoPatches,
    pairs_of_photo,
    patches_of_photo,
)
from dermgan_tf.pairs.jobs import PhotoJob, photo_jobs, photo_outcomes
from dermgan_tf.pairs.records import PairsWriter, PatchesWriter
from dermgan_tf.pairs.sources import (
    AnnotatedPhoto,
    MaskedPhoto,
    PhantomScene,
    PhantomSource,
)
from dermgan_tf.pairs.summary import PairsSummary, PatchesSummary
from dermgan_tf.pairs.windows import (
    HEALTHY_SHARES,
    PATHOLOGY_SHARES,
    Shares,
)
from dermgan_tf.photos import photo_io
from dermgan_tf.photos.draws import case_order
from dermgan_tf.photos.vocabulary import HEALTHY, Vocabulary
from dermgan_tf.progress import silent


def prepare_pairs(
    photos: Sequence[AnnotatedPhoto | PhantomSource],
    vocabulary: Vocabulary,
    output_dir: str | os.PathLike,
    image_size: int = 256,
    crops_per_photo: int = 4,
    seed: int = 0,
    workers: int | None = None,
    max_reject_fraction: float = 0.1,
    overwrite: bool = False,
    progress: Callable[..., Iterable] = silent,
    rejects: Sequence[Reject] = (),
    crash_safe: bool | None = None,
    id_salt: bytes | None = None,
    healthy_crops_per_photo: int = 0,
    train_cases: int | None = None,
) -> dict[str, Any]:
    """Cuts crops around the ROIs of photos and writes them with their maps.

    The records are the same, byte for byte, for any number of workers and any order of
    `photos`. Photos without ROI are left out; those that cannot be read, or have a
    condition outside `vocabulary`, are listed in rejects.csv. The folder appears whole
    or not at all.

    With more than one worker, or if it is to be crash-safe, new Python processes are
    started: a script that calls this keeps its own work under
    `if __name__ == "__main__":`.

    With a salt, the ids of cases and photos become hashes under it (see
    `dermgan_tf.photos.anonymous_ids`). Splits are those of the true case ids, so that
    they stay as they are without; windows are others, or they would give the true ids
    away.

    Args:
        photos: what to cut from.
        vocabulary: the conditions, in the order that the maps encode.
        output_dir: the folder to make: TFRecord shards, the metadata of TensorFlow
            Datasets, pairs.json, rejects.csv and sheet_<split>.png.
        image_size: int. Height and width of a pair, pixels.
        crops_per_photo: int, at least 1.
        seed: int, at least 0. Of the windows. Splits do not depend on it.
        workers: int. Processes; None = one a CPU core, 1 = this process alone.
        max_reject_fraction: float, 0…1. The share of bad photos tolerated.
        overwrite: bool. Whether to replace a non-empty `output_dir`.
        progress: wraps the loop over photos; see `dermgan_tf.progress`.
        rejects: bad items found before, to count and list along.
        crash_safe: bool. Whether photos are decoded in processes of their own: if a
            decoder crashes, or takes more than five minutes, that photo is listed and
            the rest goes on. None = with several workers. With one, False takes this
            process alone, which a crash then ends.
        id_salt: see `dermgan_tf.photos.anonymous_ids.read_salt`; None = ids as they
            are. The salt is not stored.
        healthy_crops_per_photo: int. So many crops of skin without any ROI are cut
            besides, as large as the photo's others; fewer where there is no place. Then
            the vocabulary ends with "healthy skin", their condition.
        train_cases: int. So many cases of the training split are taken only, of each
            condition its share; the seed draws them, and of one seed the first 10 are
            among the first 50. None = all.

    Returns:
        The content of pairs.json; among it "crops", "cases" and "photos" by split,
        "conditions" (crops by condition and skin type), "photos_without_roi",
        "rejected", and "skin_share": by measure ("skin_mask"; for phantoms also
        "truth") the mean share of skin pixels in our windows ("ours"), in windows of
        the same sizes at random places ("random"), and the 95 % interval of the mean
        difference ("difference_95").

    Raises:
        TooManyRejects: an InputError that has them; also if no photo is usable.
        InputError: for no photo with a ROI, a case in two splits, or an output folder
            that is in use or not empty.
    """
    with output_folder(output_dir, overwrite) as folder:
        return write_pairs(
            photos,
            vocabulary,
            folder,
            image_size,
            crops_per_photo,
            seed,
            workers,
            max_reject_fraction,
            progress,
            rejects,
            crash_safe,
            id_salt,
            healthy_crops_per_photo,
            train_cases,
        )


def write_pairs(
    photos: Sequence[AnnotatedPhoto | PhantomSource],
    vocabulary: Vocabulary,
    folder: pathlib.Path,
    image_size: int = 256,
    crops_per_photo: int = 4,
    seed: int = 0,
    workers: int | None = None,
    max_reject_fraction: float = 0.1,
    progress: Callable[..., Iterable] = silent,
    rejects: Sequence[Reject] = (),
    crash_safe: bool | None = None,
    id_salt: bytes | None = None,
    healthy_crops_per_photo: int = 0,
    train_cases: int | None = None,
    beam_run: Any = None,
) -> dict[str, Any]:
    """`prepare_pairs` into an empty folder, for callers that add to it.

    With a `dermgan_tf.beam_runs.BeamRun`, photos are cut and shards written by Beam's
    workers, in its folder; `folder` gets all else. Records and counts are the same.
    """
    _check_arguments(image_size, crops_per_photo, seed, workers)
    if healthy_crops_per_photo < 0:
        raise InputError(f"healthy crops per photo: {healthy_crops_per_photo}")
    if healthy_crops_per_photo and HEALTHY not in vocabulary:
        vocabulary = Vocabulary([*vocabulary, HEALTHY])
    rejects = list(rejects)
    jobs, without_roi, seen = [], 0, set()
    for job in photo_jobs(photos, id_salt):
        photo = job.photo
        if job.image_id in seen:
            rejects.append(Reject(photo.name, "stands twice in the list of photos"))
        elif isinstance(photo, AnnotatedPhoto) and not photo.annotation.rois:
            without_roi += 1
        else:
            jobs.append(job)
        seen.add(job.image_id)
    if train_cases is not None:
        jobs = _of_training_cases(jobs, train_cases, seed)
    work = functools.partial(
        pairs_of_photo,
        vocabulary=vocabulary,
        image_size=image_size,
        crops_per_photo=crops_per_photo,
        healthy_crops_per_photo=healthy_crops_per_photo,
        seed=seed,
    )
    total = len(jobs) + len(rejects)
    if not total:
        raise InputError(
            f"none of {len(photos)} photos has a ROI: there is nothing to cut"
        )
    if beam_run is None:
        writer = PairsWriter(folder, vocabulary, image_size)
        outcomes = photo_outcomes(
            work,
            jobs,
            lambda job, reject: PhotoPairs(job.image_id, job.split, reject=reject),
            workers,
            crash_safe,
        )
        shown = progress(outcomes, total=len(jobs), desc="cutting")
    else:
        from dermgan_tf.pairs.beam import BeamPairs

        writer = BeamPairs(folder, vocabulary, image_size, beam_run, bool(crash_safe))
        shown = outcomes = writer.outcomes(work, jobs, progress)
    summary = PairsSummary()
    with contextlib.closing(outcomes):
        for outcome in shown:
            if outcome.reject:
                rejects.append(outcome.reject)
                continue
            if not outcome.pairs:  # a phantom without ROI
                without_roi += 1
                continue
            writer.write(outcome.split, outcome.pairs)
            summary.add(outcome)
    check_reject_fraction(rejects, total, max_reject_fraction, "the photos")
    if not summary.crops:
        raise InputError("none of the photos has a ROI: there is nothing to cut")
    info = {
        "format_version": pairs_folder.FORMAT_VERSION,
        "vocabulary": list(vocabulary),
        "image_size": image_size,
        "source": "+".join(sorted(summary.sources)),
        "seed": seed,
        "crops_per_photo": crops_per_photo,
        "healthy_crops_per_photo": healthy_crops_per_photo,
        **summary.as_json(),
        "photos_without_roi": without_roi,
        "rejected": len(rejects),
        **({"anonymized_ids": True} if id_salt else {}),
        **writer.finish(),
    }
    _write_record(folder / pairs_folder.INFO_FILE, info, rejects)
    for split in info["crops"]:
        sheet = summary.sheet(split, vocabulary)
        (folder / f"sheet_{split}.png").write_bytes(photo_io.encode_png(sheet))
    return info


def _check_arguments(image_size, crops_per_photo, seed, workers) -> None:
    if image_size not in (64, 128, 256, 512):
        raise InputError(f"image size {image_size}: want 64, 128, 256 or 512")
    if crops_per_photo < 1 or seed < 0 or (workers is not None and workers < 1):
        raise InputError(
            f"crops per photo {crops_per_photo}, seed {seed}, workers {workers}: "
            "want at least 1, 0 and 1"
        )


def _of_training_cases(jobs: list[PhotoJob], count: int, seed: int) -> list[PhotoJob]:
    """Those of the first cases of the training split, and of all other splits."""
    training = [job.photo for job in jobs if job.split == "train"]
    names = sorted({photo.condition for photo in training})
    order = case_order(
        np.array([photo.case_id for photo in training]),
        np.array([names.index(photo.condition) for photo in training]),
        seed,
    )
    if not 1 <= count <= len(order):
        raise InputError(
            f"{count} training cases were asked for; there are {len(order)}"
        )
    chosen = set(order[:count].tolist())
    return [job for job in jobs if job.split != "train" or job.photo.case_id in chosen]


def _write_record(
    path: pathlib.Path, info: dict[str, Any], rejects: Sequence[Reject]
) -> None:
    """What a folder says of itself, and rejects.csv beside it."""
    write_rejects(path.with_name("rejects.csv"), rejects)
    path.write_text(json.dumps(info, indent=2, ensure_ascii=False) + "\n", "utf-8")


# Healthy windows keep this distance from pathology, as a share of the photo's shorter
# side: what lies around a wound is swollen, red or callous, and no mask has it.
HEALTHY_MARGIN = 0.04
IMAGE_SIZES = (16, 32, 64, 128, 256, 512)
DEFAULT_SHARES = {"healthy": HEALTHY_SHARES, "pathology": PATHOLOGY_SHARES}


def prepare_patches(
    photos: Sequence[MaskedPhoto | PhantomScene],
    output_dir: str | os.PathLike,
    image_size: int = 128,
    patches_per_photo: int = 4,
    shares: Mapping[str, Shares] = DEFAULT_SHARES,
    healthy_margin: float = HEALTHY_MARGIN,
    seed: int = 0,
    workers: int | None = None,
    max_reject_fraction: float = 0.1,
    overwrite: bool = False,
    progress: Callable[..., Iterable] = silent,
    rejects: Sequence[Reject] = (),
    crash_safe: bool | None = None,
    id_salt: bytes | None = None,
) -> dict[str, Any]:
    """Cuts patches of healthy skin and of pathology, and writes them with their masks.

    Windows are no smaller than a patch, so that none is enlarged. In each photo windows
    of pathology are looked for first, then healthy ones of the same sides (where there
    is no room, of smaller ones): the domains must not differ in scale, which a network
    would take for the difference. A photo may give patches of one domain or of none.

    Splits are by case, as those of pairs. The records are the same, byte for byte, for
    any number of workers and any order of `photos`. The folder appears whole or not at
    all. In the test split patches of phantoms' pathology have their true twins, the
    same scene without it: to judge by, never to train on.

    With more than one worker new Python processes are started: a script that calls this
    keeps its own work under `if __name__ == "__main__":`.

    Args:
        photos: what to cut from.
        output_dir: the folder to make: TFRecord shards, the metadata of TensorFlow
            Datasets, patches.json, rejects.csv and sheet_<split>.png.
        image_size: int. Height and width of a patch, pixels: 16 to 512.
        patches_per_photo: int, at least 1. Of each domain, at most.
        shares: by "healthy" and "pathology", what a patch has to show.
        healthy_margin: float ≥ 0. What lies so near to pathology, as a share of the
            photo's shorter side, counts as pathology when healthy windows are chosen.
        seed: int, at least 0. Of the windows. Splits do not depend on it.
        workers: int. Processes; None = one a CPU core, 1 = this process alone.
        max_reject_fraction: float, 0…1. The share of bad photos tolerated.
        overwrite: bool. Whether to replace a non-empty `output_dir`.
        progress: wraps the loop over photos; see `dermgan_tf.progress`.
        rejects: bad items found before, to count and list along.
        crash_safe: bool. Whether photos are decoded in processes of their own, so that
            a decoder that crashes costs its photo only. None = with several workers.
        id_salt: see `dermgan_tf.photos.anonymous_ids.read_salt`; None = ids as they
            are.

    Returns:
        The content of patches.json; among it "patches", "cases" and "photos" by split
        and domain, as "train_healthy"; by domain the mean "skin_share" and
        "pathology_share" and the median window's "side" in pixels; and
        "photos_without_patch", "rejected".

    Raises:
        TooManyRejects: an InputError that has them; also if no photo is usable.
        InputError: for bad arguments, an output folder that is in use or not empty, or
            if the training split has no patch of one of the domains.
    """
    with output_folder(output_dir, overwrite) as folder:
        return write_patches(
            photos,
            folder,
            image_size,
            patches_per_photo,
            shares,
            healthy_margin,
            seed,
            workers,
            max_reject_fraction,
            progress,
            rejects,
            crash_safe,
            id_salt,
        )


def write_patches(
    photos: Sequence[MaskedPhoto | PhantomScene],
    folder: pathlib.Path,
    image_size: int = 128,
    patches_per_photo: int = 4,
    shares: Mapping[str, Shares] = DEFAULT_SHARES,
    healthy_margin: float = HEALTHY_MARGIN,
    seed: int = 0,
    workers: int | None = None,
    max_reject_fraction: float = 0.1,
    progress: Callable[..., Iterable] = silent,
    rejects: Sequence[Reject] = (),
    crash_safe: bool | None = None,
    id_salt: bytes | None = None,
) -> dict[str, Any]:
    """`prepare_patches` into an empty folder, for callers that add to it."""
    if image_size not in IMAGE_SIZES:
        raise InputError(
            f"image size {image_size}: want one of {', '.join(map(str, IMAGE_SIZES))}"
        )
    if patches_per_photo < 1 or seed < 0 or (workers is not None and workers < 1):
        raise InputError(
            f"patches per photo {patches_per_photo}, seed {seed}, workers {workers}: "
            "want at least 1, 0 and 1"
        )
    if not 0 <= healthy_margin <= 1:
        raise InputError(f"healthy margin {healthy_margin}: want 0 to 1")
    rejects = list(rejects)
    # A photo that stands twice is cut once.
    jobs = list({job.image_id: job for job in photo_jobs(photos, id_salt)}.values())
    work = functools.partial(
        patches_of_photo,
        image_size=image_size,
        patches_per_photo=patches_per_photo,
        shares=dict(shares),
        healthy_margin=healthy_margin,
        seed=seed,
    )
    writer = PatchesWriter(folder, image_size)
    total, summary = len(jobs) + len(rejects), PatchesSummary()
    outcomes = photo_outcomes(
        work,
        jobs,
        lambda job, reject: PhotoPatches(job, reject=reject),
        workers,
        crash_safe,
    )
    with contextlib.closing(outcomes):
        for outcome in progress(outcomes, total=len(jobs), desc="cutting"):
            if outcome.reject:
                rejects.append(outcome.reject)
                continue
            for domain, patches in outcome.patches.items():
                writer.write(f"{outcome.job.split}_{domain}", patches)
            summary.add(outcome)
    check_reject_fraction(rejects, total, max_reject_fraction, "the photos")
    summary.require_both_domains(shares)
    info = {
        "format_version": patches_folder.FORMAT_VERSION,
        "image_size": image_size,
        "seed": seed,
        "patches_per_photo": patches_per_photo,
        "shares": {name: dataclasses.asdict(s) for name, s in shares.items()},
        "healthy_margin": healthy_margin,
        **summary.as_json(),
        "rejected": len(rejects),
        **({"anonymized_ids": True} if id_salt else {}),
        **writer.finish(),
    }
    _write_record(folder / patches_folder.INFO_FILE, info, rejects)
    for split in patches_folder.SPLITS:
        if sheet := summary.sheet(split):
            (folder / f"sheet_{split}.png").write_bytes(sheet)
    return info
