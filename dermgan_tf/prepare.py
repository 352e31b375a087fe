"""Photos to pairs: windows are chosen, cut, mapped, and written as a pairs folder.

Worker processes read and cut photos; they import neither TensorFlow nor Keras. The
parent only serializes what they return, so that one writer decides order and shards.
A photo whose decoder crashes its process is a bad photo like others.
"""

import collections
import contextlib
import dataclasses
import functools
import hashlib
import heapq
import json
import math
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import cv2
import numpy as np

from dermgan_tf import crops, photo_io
from dermgan_tf.annotations import PhotoAnnotation, case_splits
from dermgan_tf.anonymous_ids import anonymous_case_id, anonymous_image_id
from dermgan_tf.contact_sheet import contact_sheet
from dermgan_tf.errors import (
    InputError,
    Reject,
    check_reject_fraction,
    write_rejects,
)
from dermgan_tf.isolated_map import Lost, isolated_map
from dermgan_tf.output_folder import output_folder
from dermgan_tf.pairs import FORMAT_VERSION, INFO_FILE, SPLITS
from dermgan_tf.pairs_writer import PairsWriter
from dermgan_tf.progress import silent
from dermgan_tf.semantic_map import Roi, encode_semantic_map
from dermgan_tf.skin_tone import skin_mask
from dermgan_tf.vocabulary import Vocabulary

# A crop is enlarged at most this much, unless the photo itself is smaller.
MAX_ENLARGEMENT = 2.0
# Skin is looked for at this resolution (longer side, pixels): enough to place a window.
SKIN_RESOLUTION = 192
SHEET_ROWS, SHEET_PAIRS_PER_ROW = 6, 4


@dataclasses.dataclass(frozen=True)
class AnnotatedPhoto:
    """A photo file and what is known of it.

    Args:
        folder: the folder that `annotation.image` is relative to.
        annotation: a PhotoAnnotation.
    """

    folder: str
    annotation: PhotoAnnotation

    @property
    def name(self) -> str:
        return self.annotation.image

    @property
    def case_id(self) -> str:
        return self.annotation.case_id

    @property
    def split(self) -> str | None:
        return self.annotation.split

    @property
    def source(self) -> str:
        return self.annotation.source

    @property
    def path(self) -> str:
        return os.path.join(self.folder, self.annotation.image)

    def load(self) -> "LoadedPhoto":
        if photo_io.is_synthetic(self.path):
            raise InputError(
                "is a synthetic image, not a photo; pairs are made of photos only"
            )
        return LoadedPhoto(
            photo_io.read_photo(self.path),
            self.annotation.rois,
            self.annotation.condition,
            self.annotation.fitzpatrick,
        )


@dataclasses.dataclass(frozen=True)
class PhantomSource:
    """A phantom photo, drawn when it is needed.

    Args:
        case: one of `dermgan_tf.phantom.case_plan`.
        photo_index: int. Which of the case's photos.
        vocabulary: the conditions that the plan was made for.
        size: (height, width) in pixels.
    """

    case: Any
    photo_index: int
    vocabulary: Vocabulary
    size: tuple[int, int] = (480, 640)
    split: str | None = None
    source: str = "phantom"

    @property
    def name(self) -> str:
        return f"{self.case.case_id}/{self.photo_index}"

    @property
    def case_id(self) -> str:
        return self.case.case_id

    def load(self) -> "LoadedPhoto":
        from dermgan_tf import phantom

        drawn = phantom.draw_photo(
            self.case, self.photo_index, self.vocabulary, self.size
        )
        return LoadedPhoto(
            drawn.photo, drawn.rois, drawn.condition, drawn.fitzpatrick, drawn.skin_mask
        )


@dataclasses.dataclass(frozen=True)
class LoadedPhoto:
    """What a source yields: pixels, uint8 [H, W, 3], and truth where it is known."""

    photo: np.ndarray
    rois: Sequence[Roi]
    condition: str
    fitzpatrick: int
    true_skin: np.ndarray | None = None


class TooManyRejects(InputError):
    """More items were bad than are tolerated.

    Args:
        message: str.
        rejects: all bad items.
    """

    def __init__(self, message: str, rejects: Sequence[Reject]):
        super().__init__(message)
        self.rejects = tuple(rejects)


@dataclasses.dataclass(frozen=True)
class _Job:
    """A photo to cut, the ids that its pairs carry, and its split."""

    photo: AnnotatedPhoto | PhantomSource
    image_id: str
    case_id: str
    split: str


@dataclasses.dataclass
class _Outcome:
    """What became of one photo: its pairs, or the reason for having none."""

    image_id: str
    split: str
    pairs: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    # Mean shares of skin over the photo's windows: (ours, random) by measure.
    skin_shares: dict[str, tuple[float, float]] = dataclasses.field(
        default_factory=dict
    )
    reject: Reject | None = None


def phantom_photos(
    num_cases: int,
    vocabulary: Vocabulary,
    seed: int = 0,
    photo_size: tuple[int, int] = (480, 640),
) -> list[PhantomSource]:
    """The photos of a phantom data set, to be drawn when they are cut.

    Args:
        num_cases: int, at least 1; a case has 1…6 photos.
        vocabulary: conditions that the phantom can draw.
        seed: int, at least 0.
        photo_size: (height, width) in pixels.
    """
    from dermgan_tf import phantom

    return [
        PhantomSource(case, index, vocabulary, photo_size)
        for case in phantom.case_plan(num_cases, vocabulary, seed)
        for index in range(case.num_photos)
    ]


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
    `dermgan_tf.anonymous_ids`). Splits are those of the true case ids, so that they
    stay as they are without; windows are others, or they would give the true ids away.

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
        id_salt: see `dermgan_tf.anonymous_ids.read_salt`; None = ids as they are. The
            salt is not stored.

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
) -> dict[str, Any]:
    """`prepare_pairs` into an empty folder, for callers that add to it."""
    _check_arguments(image_size, crops_per_photo, seed, workers)
    rejects = list(rejects)
    jobs, without_roi, seen = [], 0, set()
    for job in _jobs(photos, id_salt):
        photo = job.photo
        if job.image_id in seen:
            rejects.append(Reject(photo.name, "stands twice in the list of photos"))
        elif isinstance(photo, AnnotatedPhoto) and not photo.annotation.rois:
            without_roi += 1
        else:
            jobs.append(job)
        seen.add(job.image_id)
    work = functools.partial(
        _pairs_of_photo,
        vocabulary=vocabulary,
        image_size=image_size,
        crops_per_photo=crops_per_photo,
        seed=seed,
    )
    total = len(jobs) + len(rejects)
    if not total:
        raise InputError(
            f"none of {len(photos)} photos has a ROI: there is nothing to cut"
        )
    writer = PairsWriter(folder, vocabulary, image_size)
    summary = _Summary()
    outcomes = _outcomes(work, jobs, workers, crash_safe)
    with contextlib.closing(outcomes):
        for outcome in progress(outcomes, total=len(jobs), desc="cutting"):
            if outcome.reject:
                rejects.append(outcome.reject)
                continue
            if not outcome.pairs:  # a phantom without ROI
                without_roi += 1
                continue
            writer.write(outcome.split, outcome.pairs)
            summary.add(outcome)
    require_few_rejects(rejects, total, max_reject_fraction, "the photos")
    if not summary.crops:
        raise InputError("none of the photos has a ROI: there is nothing to cut")
    info = {
        "format_version": FORMAT_VERSION,
        "vocabulary": list(vocabulary),
        "image_size": image_size,
        "source": "+".join(sorted(summary.sources)),
        "seed": seed,
        "crops_per_photo": crops_per_photo,
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


def require_few_rejects(
    rejects: Sequence[Reject], total: int, max_reject_fraction: float, where: str
) -> None:
    """`check_reject_fraction`, but what it raises has the rejects: TooManyRejects."""
    try:
        check_reject_fraction(rejects, total, max_reject_fraction, where)
    except InputError as error:
        raise TooManyRejects(str(error), rejects) from None


def _check_arguments(image_size, crops_per_photo, seed, workers) -> None:
    if image_size not in (64, 128, 256, 512):
        raise InputError(f"image size {image_size}: want 64, 128, 256 or 512")
    if crops_per_photo < 1 or seed < 0 or (workers is not None and workers < 1):
        raise InputError(
            f"crops per photo {crops_per_photo}, seed {seed}, workers {workers}: "
            "want at least 1, 0 and 1"
        )


def _jobs(photos, id_salt: bytes | None) -> list[_Job]:
    """The photos with their ids and splits, in one order whatever theirs is."""
    splits = _splits(photos)
    jobs = []
    for photo in photos:
        image_id, case_id = _image_id(photo), photo.case_id
        if id_salt is not None:
            image_id = anonymous_image_id(case_id, photo.name, id_salt)
            case_id = anonymous_case_id(case_id, id_salt)
        jobs.append(_Job(photo, image_id, case_id, splits[photo.case_id]))
    return sorted(jobs, key=lambda job: job.image_id)


def _image_id(photo) -> str:
    """An opaque name that stays the same from run to run: no path, no file name."""
    return hashlib.sha256(f"{photo.case_id}/{photo.name}".encode()).hexdigest()[:16]


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


def _outcomes(
    work: Callable[[_Job], _Outcome],
    jobs: Sequence[_Job],
    workers: int | None,
    crash_safe: bool | None,
) -> Iterator[_Outcome]:
    """`map(work, jobs)`, over processes or not."""
    workers = min(workers or os.cpu_count() or 1, len(jobs))
    if workers <= 1 and not crash_safe:
        yield from map(work, jobs)
        return
    results = isolated_map(work, jobs, workers, _one_thread)
    with contextlib.closing(results):
        for job, result in zip(jobs, results, strict=True):
            if isinstance(result, Lost):
                reject = Reject(job.photo.name, result.reason)
                result = _Outcome(job.image_id, job.split, reject=reject)
            yield result


def _one_thread() -> None:
    cv2.setNumThreads(1)  # the processes are the parallelism


def _pairs_of_photo(
    job: _Job, vocabulary: Vocabulary, image_size: int, crops_per_photo: int, seed: int
) -> _Outcome:
    """Reads one photo and cuts its pairs: a pure function, run in any process."""
    photo, outcome = job.photo, _Outcome(job.image_id, job.split)
    try:
        loaded = photo.load()
        for name in [loaded.condition, *(roi.condition for roi in loaded.rois)]:
            vocabulary.index(name)
        if loaded.rois:
            _cut_pairs(
                outcome, job, loaded, vocabulary, image_size, crops_per_photo, seed
            )
    # One bad photo must not end the run, whatever its decoder raises.
    except Exception as error:
        reason = str(error) or type(error).__name__
        if isinstance(error, MemoryError):
            reason = "takes more memory than there is"
        elif not isinstance(error, InputError):
            reason = f"{type(error).__name__}: {error}"
        if isinstance(photo, AnnotatedPhoto):  # the item names the file already
            reason = reason.removeprefix(f"{photo.path}: ")
        outcome = _Outcome(job.image_id, job.split)
        outcome.reject = Reject(photo.name, " ".join(reason.split()))
    return outcome


def _cut_pairs(
    outcome: _Outcome,
    job: _Job,
    loaded: LoadedPhoto,
    vocabulary: Vocabulary,
    image_size: int,
    crops_per_photo: int,
    seed: int,
) -> None:
    height, width = loaded.photo.shape[:2]
    skin = _skin(loaded.photo, loaded.rois)
    masks = {"skin_mask": skin}
    if loaded.true_skin is not None:
        masks["truth"] = loaded.true_skin
    shares = {name: ([], []) for name in masks}
    groups = crops.group_rois(loaded.rois, height, width)
    number = int(outcome.image_id, 16)
    area = crops.unpadded_area(loaded.photo, loaded.rois)
    first = np.random.default_rng([seed, number]).integers(len(groups))
    for i in range(crops_per_photo):
        rng = np.random.default_rng([seed, number, i])
        window = crops.choose_window(
            groups[(first + i) % len(groups)],
            skin,
            height,
            width,
            rng,
            min_side=math.ceil(image_size / MAX_ENLARGEMENT),
            area=area,
        )
        rois = crops.rois_in_window(loaded.rois, window, height, width)
        largest = max(
            rois, key=lambda roi: np.ptp(roi.box[::2]) * np.ptp(roi.box[1::2])
        )
        semantic_map = encode_semantic_map(
            image_size, loaded.fitzpatrick, rois, vocabulary
        )
        crop = crops.cut(loaded.photo, window, image_size)
        outcome.pairs.append(
            {
                "image": _encode_png(crop, cv2.IMWRITE_PNG_STRATEGY_RLE),
                # Its equal rows are found as long repetitions.
                "semantic_map": _encode_png(
                    semantic_map, cv2.IMWRITE_PNG_STRATEGY_DEFAULT
                ),
                "image_id": outcome.image_id,
                "case_id": job.case_id,
                "condition": largest.condition,
                "fitzpatrick": loaded.fitzpatrick,
                "boxes": [roi.box for roi in rois],
                "box_conditions": [roi.condition for roi in rois],
                "window": window.box(height, width),
                "source": job.photo.source,
            }
        )
        anywhere = crops.random_window(window.side, height, width, rng)
        for name, mask in masks.items():
            for values, place in zip(shares[name], (window, anywhere), strict=True):
                values.append(crops.share_in_window(mask, place, height, width))
    outcome.skin_shares = {
        name: (float(np.mean(ours)), float(np.mean(random)))
        for name, (ours, random) in shares.items()
    }


def _skin(photo: np.ndarray, rois: Sequence[Roi]) -> np.ndarray:
    """Likely skin and the ROIs, bool [h, w], at a resolution that is enough."""
    height, width = photo.shape[:2]
    scale = SKIN_RESOLUTION / max(height, width)
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        photo = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
    return skin_mask(photo, rois)


class _Summary:
    """Counts what was written and keeps a small sample of it for the sheets."""

    def __init__(self):
        self.crops: collections.Counter = collections.Counter()
        self.sources: set[str] = set()
        self._photos: collections.Counter = collections.Counter()
        self._cases: dict[str, set[str]] = collections.defaultdict(set)
        self._conditions: dict[str, list[int]] = {}
        self._shares: dict[str, list[tuple[float, float]]] = collections.defaultdict(
            list
        )
        # By (split, condition) the pairs of lowest digest: a sample that depends on
        # nothing but the pairs.
        self._samples: dict[tuple[str, str], list] = collections.defaultdict(list)

    def add(self, outcome: _Outcome) -> None:
        split = outcome.split
        self._photos[split] += 1
        for name, shares in outcome.skin_shares.items():
            self._shares[name].append(shares)
        for i, pair in enumerate(outcome.pairs):
            self.crops[split] += 1
            self.sources.add(pair["source"])
            self._cases[split].add(pair["case_id"])
            by_type = self._conditions.setdefault(pair["condition"], [0] * 7)
            by_type[pair["fitzpatrick"]] += 1
            key = hashlib.sha256(f"{outcome.image_id}/{i}".encode()).digest()
            sample = self._samples[split, pair["condition"]]
            # Highest digest first in the heap, to be pushed out by a lower one.
            entry = (-int.from_bytes(key, "big"), pair["image"], pair["semantic_map"])
            if len(sample) < SHEET_ROWS * SHEET_PAIRS_PER_ROW:
                heapq.heappush(sample, entry)
            else:
                heapq.heappushpop(sample, entry)

    def as_json(self) -> dict[str, Any]:
        splits = [split for split in SPLITS if self.crops[split]]
        return {
            "crops": {split: self.crops[split] for split in splits},
            "photos": {split: self._photos[split] for split in splits},
            "cases": {split: len(self._cases[split]) for split in splits},
            "conditions": dict(sorted(self._conditions.items())),
            "skin_share": {
                name: _compare(np.array(shares))
                for name, shares in sorted(self._shares.items())
            },
        }

    def sheet(self, split: str, vocabulary: Vocabulary) -> np.ndarray:
        """Crops with their maps beside them, a row or more for each condition."""
        present = [name for name in vocabulary if (split, name) in self._samples]
        rows_each = math.ceil(SHEET_ROWS / len(present))
        rows, labels = [], []
        for name in present:
            sample = sorted(self._samples[split, name], reverse=True)
            sample = sample[: rows_each * SHEET_PAIRS_PER_ROW]
            for start in range(0, len(sample), SHEET_PAIRS_PER_ROW):
                row = sample[start : start + SHEET_PAIRS_PER_ROW]
                rows.append([_decode_png(data) for _, *pair in row for data in pair])
                labels.append(name)
        title = f"{split}: {self.crops[split]} crops of {self._photos[split]} photos"
        return contact_sheet(rows, row_labels=labels, title=title, cell=128)


def _compare(shares: np.ndarray) -> dict[str, Any]:
    """Means over photos of (ours, random) and their difference with its interval."""
    difference = shares[:, 0] - shares[:, 1]
    error = 1.96 * difference.std(ddof=1) / len(shares) ** 0.5 if len(shares) > 1 else 0
    ours, random = shares.mean(axis=0)
    mean = difference.mean()
    return {
        "photos": len(shares),
        "ours": round(float(ours), 4),
        "random": round(float(random), 4),
        "difference_95": [round(float(mean - error), 4), round(float(mean + error), 4)],
    }


def _encode_png(image: np.ndarray, strategy: int) -> bytes:
    """PNG by OpenCV: ten times as fast as Pillow for a seventh more bytes."""
    # Training decodes each pair many times. Of all filters this one is undone fastest.
    settings = [
        cv2.IMWRITE_PNG_FILTER,
        cv2.IMWRITE_PNG_FILTER_UP,
        cv2.IMWRITE_PNG_COMPRESSION,
        1,
        cv2.IMWRITE_PNG_STRATEGY,
        strategy,
    ]
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".png", bgr, settings)[1].tobytes()


def _decode_png(data: bytes) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
