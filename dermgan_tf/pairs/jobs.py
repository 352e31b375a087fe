"""Photos as jobs: their ids and splits, and a map over them that loses one at most."""

import contextlib
import dataclasses
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from dermgan_tf.errors import InputError, Reject
from dermgan_tf.pairs.pairs import SPLITS
from dermgan_tf.photos.annotations import case_splits
from dermgan_tf.photos.anonymous_ids import anonymous_case_id, anonymous_image_id
from dermgan_tf.photos.isolated_map import Lost, isolated_map, one_thread


@dataclasses.dataclass(frozen=True)
class PhotoJob:
    """A photo to cut, the ids that what is cut carries, and its split.

    Args:
        photo: of `dermgan_tf.pairs.sources` or `dermgan_tf.pairs.sources`.
        image_id, case_id: str.
        split: "train", "validation" or "test".
    """

    photo: Any
    image_id: str
    case_id: str
    split: str


def photo_jobs(photos: Sequence[Any], id_salt: bytes | None = None) -> list[PhotoJob]:
    """The photos with their ids and splits, in one order whatever theirs is.

    Args:
        photos: each with name, case_id and split.
        id_salt: see `dermgan_tf.photos.anonymous_ids.read_salt`; None = ids as they
            are.

    Raises:
        InputError: for a case in two splits, or a split of another name.
    """
    splits = _splits(photos)
    jobs = []
    for photo in photos:
        image_id, case_id = plain_image_id(photo), photo.case_id
        if id_salt is not None:
            image_id = anonymous_image_id(case_id, photo.name, id_salt)
            case_id = anonymous_case_id(case_id, id_salt)
        jobs.append(PhotoJob(photo, image_id, case_id, splits[photo.case_id]))
    return sorted(jobs, key=lambda job: job.image_id)


def plain_image_id(photo: Any) -> str:
    """An opaque name that stays the same from run to run: no path, no file name."""
    return hashlib.sha256(f"{photo.case_id}/{photo.name}".encode()).hexdigest()[:16]


def photo_outcomes(
    work: Callable[[PhotoJob], Any],
    jobs: Sequence[PhotoJob],
    lost: Callable[[PhotoJob, Reject], Any],
    workers: int | None = None,
    crash_safe: bool | None = None,
) -> Iterator[Any]:
    """`map(work, jobs)`, over processes or not; to be closed.

    Args:
        work: a pure function that can be pickled, and raises nothing.
        jobs: what it is called with.
        lost: gives the outcome of a job that its process did not survive.
        workers: int. Processes; None = one a CPU core, 1 = this process alone.
        crash_safe: bool. Whether there is a process even for one worker.
    """
    workers = min(workers or os.cpu_count() or 1, len(jobs))
    if workers <= 1 and not crash_safe:
        yield from map(work, jobs)
        return
    results = isolated_map(work, jobs, workers, one_thread)
    with contextlib.closing(results):
        for job, result in zip(jobs, results, strict=True):
            if isinstance(result, Lost):
                result = lost(job, Reject(job.photo.name, result.reason))
            yield result


def _splits(photos) -> dict[str, str]:
    """The split by case; InputError when photos of one case name two."""
    named: dict[str, str] = {}
    for photo in photos:
        if photo.split is None:
            continue
        if photo.split not in SPLITS:
            raise InputError(
                f"{photo.name}: unknown split {photo.split!r}; "
                f"valid: {', '.join(SPLITS)}"
            )
        if named.setdefault(photo.case_id, photo.split) != photo.split:
            raise InputError(
                f"case {photo.case_id!r} has photos in two splits, "
                f"{named[photo.case_id]!r} and {photo.split!r}: put it in one"
            )
    return case_splits(photos)
