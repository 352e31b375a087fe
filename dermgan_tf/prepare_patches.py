"""Photos with masks to patches of two domains, healthy skin and pathology.

Worker processes read and cut photos; they import neither TensorFlow nor Keras. The
parent only serializes what they return, so that one writer decides order and shards.
"""

import collections
import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from dermgan_tf import crops, photo_io
from dermgan_tf.annotations import case_splits
from dermgan_tf.anonymous_ids import anonymous_case_id, anonymous_image_id
from dermgan_tf.contact_sheet import contact_sheet
from dermgan_tf.crops import Window
from dermgan_tf.errors import InputError, Reject, write_rejects
from dermgan_tf.isolated_map import Lost, isolated_map
from dermgan_tf.output_folder import output_folder
from dermgan_tf.patch_sources import MaskedPhoto, PhantomScene, Scene
from dermgan_tf.patch_windows import (
    HEALTHY_SHARES,
    PATHOLOGY_SHARES,
    PatchFinder,
    Shares,
)
from dermgan_tf.patches import (
    DATASET_NAME,
    DOMAIN_SPLITS,
    FORMAT_VERSION,
    INFO_FILE,
    SPLITS,
    patch_features,
)
from dermgan_tf.prepare import require_few_rejects
from dermgan_tf.progress import silent
from dermgan_tf.records_writer import RecordsWriter

IMAGE_SIZES = (16, 32, 64, 128, 256, 512)
DEFAULT_SHARES = {"healthy": HEALTHY_SHARES, "pathology": PATHOLOGY_SHARES}
_SHEET_ROWS, _SHEET_COLUMNS = 4, 8


@dataclasses.dataclass(frozen=True)
class _Job:
    """A photo to cut, the ids that its patches carry, and its split."""

    photo: MaskedPhoto | PhantomScene
    image_id: str
    case_id: str
    split: str


@dataclasses.dataclass
class _Outcome:
    """What became of one photo: its patches by domain, or a reason for having none."""

    job: _Job
    patches: dict[str, list[dict[str, Any]]] = dataclasses.field(default_factory=dict)
    sides: dict[str, list[int]] = dataclasses.field(default_factory=dict)
    reject: Reject | None = None


def prepare_patches(
    photos: Sequence[MaskedPhoto | PhantomScene],
    output_dir: str | os.PathLike,
    image_size: int = 128,
    patches_per_photo: int = 4,
    shares: Mapping[str, Shares] = DEFAULT_SHARES,
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
        seed: int, at least 0. Of the windows. Splits do not depend on it.
        workers: int. Processes; None = one a CPU core, 1 = this process alone.
        max_reject_fraction: float, 0…1. The share of bad photos tolerated.
        overwrite: bool. Whether to replace a non-empty `output_dir`.
        progress: wraps the loop over photos; see `dermgan_tf.progress`.
        rejects: bad items found before, to count and list along.
        crash_safe: bool. Whether photos are decoded in processes of their own, so that
            a decoder that crashes costs its photo only. None = with several workers.
        id_salt: see `dermgan_tf.anonymous_ids.read_salt`; None = ids as they are.

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
    rejects, jobs = list(rejects), _jobs(photos, id_salt)
    work = functools.partial(
        _patches_of_photo,
        image_size=image_size,
        patches_per_photo=patches_per_photo,
        shares=dict(shares),
        seed=seed,
    )
    writer = RecordsWriter(
        folder,
        patch_features(image_size),
        name=DATASET_NAME,
        splits=DOMAIN_SPLITS,
        unit="patches",
        description="Patches of healthy skin and of pathology, with its masks.",
        homepage="https://doi.org/10.1007/978-3-030-58309-5_15",  # Furger et al. 2020
    )
    total, summary = len(jobs) + len(rejects), _Summary()
    outcomes = _outcomes(work, jobs, workers, crash_safe)
    with contextlib.closing(outcomes):
        for outcome in progress(outcomes, total=len(jobs), desc="cutting"):
            if outcome.reject:
                rejects.append(outcome.reject)
                continue
            for domain, patches in outcome.patches.items():
                writer.write(f"{outcome.job.split}_{domain}", patches)
            summary.add(outcome)
    require_few_rejects(rejects, total, max_reject_fraction, "the photos")
    summary.require_both_domains(shares)
    info = {
        "format_version": FORMAT_VERSION,
        "image_size": image_size,
        "seed": seed,
        "patches_per_photo": patches_per_photo,
        "shares": {name: dataclasses.asdict(s) for name, s in shares.items()},
        **summary.as_json(),
        "rejected": len(rejects),
        **({"anonymized_ids": True} if id_salt else {}),
        **writer.finish(),
    }
    write_rejects(folder / "rejects.csv", rejects)
    (folder / INFO_FILE).write_text(
        json.dumps(info, indent=2, ensure_ascii=False) + "\n", "utf-8"
    )
    for split in SPLITS:
        if sheet := summary.sheet(split):
            (folder / f"sheet_{split}.png").write_bytes(sheet)
    return info


def _jobs(photos, id_salt: bytes | None) -> list[_Job]:
    """The photos with their ids and splits, in one order whatever theirs is."""
    splits, jobs = case_splits(photos), {}
    for photo in photos:
        # As in pairs: opaque names that stay the same from run to run.
        image_id = hashlib.sha256(f"{photo.case_id}/{photo.name}".encode())
        image_id, case_id = image_id.hexdigest()[:16], photo.case_id
        if id_salt is not None:
            image_id = anonymous_image_id(case_id, photo.name, id_salt)
            case_id = anonymous_case_id(case_id, id_salt)
        jobs[image_id] = _Job(photo, image_id, case_id, splits[photo.case_id])
    return [job for _, job in sorted(jobs.items())]


def _outcomes(
    work: Callable[[_Job], _Outcome],
    jobs: Sequence[_Job],
    workers: int | None,
    crash_safe: bool | None,
) -> Iterator[_Outcome]:
    """`map(work, jobs)`, over processes or not."""
    workers = min(workers or os.cpu_count() or 1, len(jobs))
    if workers <= 1 and not crash_safe or not jobs:
        yield from map(work, jobs)
        return
    results = isolated_map(work, jobs, workers, _one_thread)
    with contextlib.closing(results):
        for job, result in zip(jobs, results, strict=True):
            if isinstance(result, Lost):
                result = _Outcome(job, reject=Reject(job.photo.name, result.reason))
            yield result


def _one_thread() -> None:
    cv2.setNumThreads(1)  # the processes are the parallelism


def _patches_of_photo(
    job: _Job,
    image_size: int,
    patches_per_photo: int,
    shares: Mapping[str, Shares],
    seed: int,
) -> _Outcome:
    """Reads one photo and cuts its patches: a pure function, run in any process."""
    outcome = _Outcome(job)
    try:
        scene = job.photo.load(twin=job.split == "test")
        _cut_patches(outcome, scene, image_size, patches_per_photo, shares, seed)
    # One bad photo must not end the run, whatever its decoder raises.
    except Exception as error:
        reason = str(error) or type(error).__name__
        if not isinstance(error, InputError):
            reason = f"{type(error).__name__}: {error}"
        reason = reason.removeprefix(f"{job.photo.path}: ")
        reject = Reject(job.photo.name, " ".join(reason.split()))
        outcome = _Outcome(job, reject=reject)
    return outcome


def _cut_patches(
    outcome: _Outcome,
    scene: Scene,
    image_size: int,
    patches_per_photo: int,
    shares: Mapping[str, Shares],
    seed: int,
) -> None:
    height, width = scene.photo.shape[:2]
    if min(height, width) < image_size:
        raise InputError(
            f"is {width} × {height} pixels, smaller than a patch of {image_size}"
        )
    rng = np.random.default_rng([seed, int(outcome.job.image_id, 16)])
    finder = PatchFinder(scene.skin, scene.pathology, image_size, rng)
    sides: list[int] = []
    for domain in ("pathology", "healthy"):
        windows: list[Window] = []
        for i in range(patches_per_photo):
            side = sides[i % len(sides)] if sides else None
            window = finder.find(shares[domain], side)
            if window is not None and window not in windows:
                windows.append(window)
        sides = sides or [window.side for window in windows]
        if windows:
            outcome.sides[domain] = [window.side for window in windows]
            outcome.patches[domain] = [
                _patch(outcome.job, scene, window, finder.shares_in(window), image_size)
                for window in windows
            ]


def _patch(job, scene, window, shares, image_size) -> dict[str, Any]:
    twin = scene.twin if shares[1] > 0 else None
    mask = scene.pathology.astype(np.uint8) * 255
    mask = crops.cut(mask, window, image_size)
    return {
        "image": _png(crops.cut(scene.photo, window, image_size)),
        "mask": _png(np.where(mask > 127, 255, 0).astype(np.uint8)),
        "twin": [] if twin is None else [_png(crops.cut(twin, window, image_size))],
        "image_id": job.image_id,
        "case_id": job.case_id,
        "condition": job.photo.condition,
        "skin_share": shares[0],
        "pathology_share": shares[1],
        "window": window.box(*scene.photo.shape[:2]),
        "source": job.photo.source,
    }


class _Summary:
    """Counts what was written and keeps a small sample of it for the sheets."""

    def __init__(self):
        self._patches: collections.Counter = collections.Counter()
        self._photos: collections.Counter = collections.Counter()
        self._cases: dict[str, set[str]] = collections.defaultdict(set)
        self._sides: dict[str, list[int]] = collections.defaultdict(list)
        self._shares: dict[str, list[tuple]] = collections.defaultdict(list)
        self._samples: dict[str, list] = collections.defaultdict(list)
        self._sources: set[str] = set()
        self._conditions: set[str] = set()
        self._bare = 0

    def add(self, outcome: _Outcome) -> None:
        self._bare += not outcome.patches
        for domain, patches in outcome.patches.items():
            name = f"{outcome.job.split}_{domain}"
            self._patches[name] += len(patches)
            self._photos[name] += 1
            self._cases[name].add(outcome.job.case_id)
            self._sides[domain] += outcome.sides[domain]
            if domain == "pathology":
                self._conditions.add(outcome.job.photo.condition)
            for i, patch in enumerate(patches):
                self._sources.add(patch["source"])
                share = patch["skin_share"], patch["pathology_share"]
                self._shares[domain].append(share)
                self._sample(name, f"{outcome.job.image_id}/{i}", patch)

    def _sample(self, name: str, key: str, patch: dict[str, Any]) -> None:
        """Keeps those of lowest digest: a sample that depends on the patches alone."""
        digest = hashlib.sha256(key.encode()).digest()
        pictures = [patch["image"], patch["mask"], *patch["twin"]]
        sample = self._samples[name]
        sample.append((digest, pictures))
        sample.sort()
        del sample[_SHEET_ROWS * _SHEET_COLUMNS :]

    def require_both_domains(self, shares: Mapping[str, Shares]) -> None:
        for domain in ("healthy", "pathology"):
            if not self._patches[f"train_{domain}"]:
                skin, pathology = shares[domain].skin, shares[domain].pathology
                raise InputError(
                    f"the training split has no {domain} patch: no window shows skin "
                    f"{skin[0]:g} to {skin[1]:g} and pathology {pathology[0]:g} to "
                    f"{pathology[1]:g}; allow other shares, smaller patches or give "
                    f"more photos"
                )

    def as_json(self) -> dict[str, Any]:
        names = [name for name in DOMAIN_SPLITS if self._patches[name]]
        domains = sorted(self._shares)
        means = {d: np.mean(self._shares[d], axis=0) for d in domains}
        return {
            "source": "+".join(sorted(self._sources)),
            "conditions": sorted(self._conditions),
            "patches": {name: self._patches[name] for name in names},
            "photos": {name: self._photos[name] for name in names},
            "cases": {name: len(self._cases[name]) for name in names},
            "skin_share": {d: round(float(means[d][0]), 4) for d in domains},
            "pathology_share": {d: round(float(means[d][1]), 4) for d in domains},
            "side": {d: float(np.median(self._sides[d])) for d in domains},
            "photos_without_patch": self._bare,
        }

    def sheet(self, split: str) -> bytes | None:
        """Healthy patches above, below those of pathology with masks and twins: PNG."""
        rows, labels = [], []
        for domain, shown in (("healthy", 1), ("pathology", 3)):
            name = f"{split}_{domain}"
            cells = [
                [_decoded(data) for data in pictures[:shown]]
                for _, pictures in self._samples[name]
            ]
            width = max((len(group) for group in cells), default=1)
            for start in range(0, len(cells), each := _SHEET_COLUMNS // width):
                groups = cells[start : start + each]
                rows.append([picture for group in groups for picture in group])
                labels.append(domain)
        if not rows:
            return None
        counts = [
            f"{self._patches[f'{split}_{domain}']} {domain}"
            for domain in ("healthy", "pathology")
        ]
        title = f"{split}: {' and '.join(counts)} patches"
        sheet = contact_sheet(
            rows[: 2 * _SHEET_ROWS], row_labels=labels, title=title, cell=128
        )
        return photo_io.encode_png(sheet)


def _png(image: np.ndarray) -> bytes:
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    # Training decodes each patch many times. Of all filters this one is undone fastest.
    settings = [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]
    return cv2.imencode(".png", image, settings)[1].tobytes()


def _decoded(data: bytes) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
