"""Photos to pairs: windows are chosen, cut, mapped, and written as a pairs folder.

Worker processes read and cut photos; they import neither TensorFlow nor Keras. The
parent only serializes what they return, so that one writer decides order and shards.
A photo whose decoder crashes its process is a bad photo like others.
"""

import contextlib
import functools
import json
import os
import pathlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from dermgan_tf.errors import (
    InputError,
    Reject,
    check_reject_fraction,
    write_rejects,
)
from dermgan_tf.output_folder import output_folder
from dermgan_tf.pairs.cutting import PhotoPairs, pairs_of_photo
from dermgan_tf.pairs.jobs import PhotoJob, photo_jobs, photo_outcomes
from dermgan_tf.pairs.pairs import FORMAT_VERSION, INFO_FILE
from dermgan_tf.pairs.pairs_summary import PairsSummary
from dermgan_tf.pairs.pairs_writer import PairsWriter
from dermgan_tf.pairs.photo_sources import AnnotatedPhoto, PhantomSource
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
        outcomes = photo_outcomes(work, jobs, _lost, workers, crash_safe)
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
        "format_version": FORMAT_VERSION,
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
    write_rejects(folder / "rejects.csv", rejects)
    (folder / INFO_FILE).write_text(
        json.dumps(info, indent=2, ensure_ascii=False) + "\n", "utf-8"
    )
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


def _lost(job: PhotoJob, reject: Reject) -> PhotoPairs:
    return PhotoPairs(job.image_id, job.split, reject=reject)
