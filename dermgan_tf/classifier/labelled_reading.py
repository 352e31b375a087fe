"""Reads photographs and synthetic images with their conditions, for classifiers.

Photographs come from annotations, from folders of classes, of pairs or of patches, or
from TensorFlow Datasets (`dermgan_tf.classifier.labelled_sources`), synthetic images
from the folders of `generate` and its like alone (`dermgan_tf.generation.folder`).
Pixels lie in a `dermgan_tf.classifier.labelled_images`.
"""

import collections
import concurrent.futures
import contextlib
import functools
import hashlib
import os
import pathlib
import posixpath
from collections.abc import Callable, Iterable, Iterator, Sequence

import cv2
import numpy as np

from dermgan_tf.classifier.labelled_images import (
    LabelledImages,
    PixelCache,
    fingerprinted,
    pixel_digest,
)
from dermgan_tf.classifier.labelled_sources import (
    LabelledPhoto,
    PhotoSource,
    SyntheticImage,
    open_source,
)
from dermgan_tf.errors import InputError, Reject, check_reject_fraction
from dermgan_tf.generation.folder import (
    generators_data,
    read_generated,
    read_generated_image,
)
from dermgan_tf.pairs.pairs import SPLITS, read_pairs, read_pairs_info
from dermgan_tf.photos.anonymous_ids import anonymous_case_id, anonymous_image_id
from dermgan_tf.photos.isolated_map import Lost, isolated_map, one_thread
from dermgan_tf.photos.photo_io import printable
from dermgan_tf.photos.vocabulary import Vocabulary
from dermgan_tf.progress import silent

MIN_CONDITIONS = 2
_WAITING_PER_THREAD = 4


def read_labelled_splits(
    source: str | os.PathLike,
    image_size: int,
    *,
    conditions: Sequence[str] | None = None,
    case_pattern: str = "",
    cache_dir: str | os.PathLike | None = None,
    max_reject_fraction: float = 0.1,
    id_salt: bytes | None = None,
    threads: int | None = None,
    progress: Callable = silent,
    crash_safe: bool = False,
) -> tuple[dict[str, LabelledImages], list[Reject]]:
    """Reads labelled photographs, split by case, for a classifier.

    Photos are squashed to squares, as the paper's and Keras'
    `image_dataset_from_directory` does by default: averaged over areas along a side
    that shrinks, linear along one that grows. What comes out depends on the photos
    alone, not on the number of threads.

    The source is one of:

    annotations.jsonl   whole photos, those without ROI among them; splits as
        `dermgan_tf.photos.annotations.case_splits` makes them.
    a folder of classes SPLIT/CLASS/photo, with SPLIT train, validation (or val), test;
        or CLASS/photo, split by a hash of the case. The case is the file's name
        without extension, see `case_pattern` and `read_class_folders`.
    a pairs folder      the crops that `prepare_pairs` wrote.
    a patches folder    what `prepare_patches` wrote: patches of pathology are of their
        photo's condition, healthy ones of "healthy skin".

    Where a folder of classes names splits, but no validation or no test,
    these are cut off train by hash of the case: about a tenth of the cases each.

    Args:
        source: see above.
        image_size: int. Rows and columns of the images, in pixels.
        conditions: the vocabulary, 2…60 names. Photos of others are left out; they are
            listed among the rejects, but not counted as bad. Default: those that occur,
            in alphabetical order.
        case_pattern: str. For a folder of classes, a regular expression that finds the
            case in a photo's name without extension: its group named "case", else its
            first group, else the whole match. One with a slash in it is searched in the
            path below the folder, such as "train/melanoma/017".
        cache_dir: an existing folder for the pixels, image_size² × 3 bytes a photo. The
            files have no names there and go with the process. Default: the system's
            temporary folder.
        max_reject_fraction: float, 0…1. The share of bad photos that is tolerated.
        id_salt: bytes. With it the ids of cases and images are hashes, see
            `dermgan_tf.photos.anonymous_ids`; splits stay as they are without.
        threads: int ≥ 1 that decode; default: one a core.
        progress: see `dermgan_tf.progress`.
        crash_safe: bool. Whether photos in files are decoded by processes, so many
            instead of threads: one whose decoder crashes is then a bad photo like
            others. A script that asks for it needs `if __name__ == "__main__":`.

    Returns:
        (splits, rejects): "train", "validation", "test", as far as they have photos,
        each with cases, image_ids, skin_types and fingerprint; all of one vocabulary.
        A class may lack photos in a split. Ids of files are their names without
        folders; rejects name the files as the source does.

    Raises:
        InputError: for a source that cannot be read or is of none of these forms, a
            synthetic image in any split, a case in two splits, too many bad photos, no
            photo to train on, fewer than 2 or more than 60 conditions, or a salt for
            ids that are anonymized already.
    """
    if image_size < 1 or (threads is not None and threads < 1):
        raise InputError(
            f"image size {image_size}, threads {threads}: want 1 or more of each"
        )
    found = open_source(source, case_pattern)
    if id_salt is not None and found.anonymized_ids:
        raise InputError(
            f"{found.name}: its ids are anonymized already; leave out --anonymize_ids"
        )
    given = None if conditions is None else _checked_conditions(conditions, found)
    possible = found.conditions if given is None else given
    if len(possible) < MIN_CONDITIONS:
        raise InputError(_too_few(found.name, possible))
    bad, left_out = list(found.rejects), list(found.left_out)
    splits: dict[str, _SplitBuilder] = {}

    def wanted() -> Iterator[LabelledPhoto]:
        for photo in found.photos:
            if given is None or photo.condition in given:
                yield photo
            else:
                reason = f"is of condition {photo.condition!r}, which was not asked for"
                left_out.append(Reject(printable(photo.image_id), reason))

    isolated = crash_safe and found.in_files
    work = _prepared_in_order(wanted(), image_size, threads, isolated)
    with contextlib.closing(work):
        for photo, result in progress(work, total=found.total, desc="reading photos"):
            if isinstance(result, SyntheticImage):
                raise InputError(
                    f"{found.name}: {printable(photo.image_id)} of split "
                    f"{photo.split!r} is a synthetic image; those are never scored, "
                    "and trained on through --synthetic_dir only: take it out"
                )
            if isinstance(result, InputError):
                bad.append(Reject(printable(photo.image_id), str(result)))
                continue
            if photo.split not in splits:
                splits[photo.split] = _SplitBuilder(cache_dir, found.in_files, id_salt)
            splits[photo.split].add(photo, *result)
    total = len(bad) + sum(len(split) for split in splits.values())
    check_reject_fraction(bad, total, max_reject_fraction, found.name)
    occurring = sorted({name for split in splits.values() for name in split.names})
    if len(occurring) < MIN_CONDITIONS:
        raise InputError(_too_few(found.name, occurring))
    vocabulary = Vocabulary(occurring) if given is None else given
    if "train" not in splits:
        raise InputError(
            f"{found.name} has no photo to train on: all are of split "
            f"{' or '.join(sorted(splits))}"
        )
    return {
        name: splits[name].build(vocabulary, image_size)
        for name in SPLITS
        if name in splits
    }, bad + left_out


def read_synthetic(
    folder: str | os.PathLike,
    image_size: int,
    conditions: Sequence[str],
    *,
    cache_dir: str | os.PathLike | None = None,
    threads: int | None = None,
    progress: Callable = silent,
) -> tuple[LabelledImages, str, str | None]:
    """Reads the images that `generate` wrote, to train on beside photographs.

    Args:
        folder: the `--output_dir` of `generate`.
        image_size: int. Rows and columns of the images, in pixels; others are resized,
            as by `read_labelled_splits`.
        conditions: the classifier's, in its order.
        cache_dir, threads, progress: see `read_labelled_splits`.

    Returns:
        (images, generator, data_fingerprint): the images, without cases; the
        fingerprint of the generator's weights; that of the pairs it was trained on, or
        None where the folder's run.json does not tell it.

    Raises:
        InputError: for a folder that is missing, damaged or holds no images; an image
            that does not say itself that it is synthetic, or says another generator or
            condition than the list; images of two generators; one without a box, which
            shows no condition; or a condition that is none of `conditions`.
    """
    folder = pathlib.Path(folder)
    lines = read_generated(folder)
    generators = {line["generator"] for line in lines}
    if len(generators) > 1:
        names = " and ".join(sorted(name[:8] for name in generators))
        raise InputError(
            f"{folder} has images of {len(generators)} generators, {names}: paint them "
            "into folders of their own"
        )
    vocabulary = Vocabulary(conditions)
    for line in lines:
        if line["condition"] not in vocabulary:
            raise InputError(
                f"{folder}: {line['image']} shows {line['condition']!r}, which the "
                f"classifier does not have; it has: {', '.join(vocabulary)}"
            )
    generator = generators.pop()
    data_fingerprint = generators_data(folder, generator)
    photos = [
        LabelledPhoto(
            line["image"],
            None,
            line["condition"],
            line["fitzpatrick"],
            "synthetic",
            functools.partial(read_generated_image, folder / line["image"], line),
        )
        for line in lines
    ]
    split = _SplitBuilder(cache_dir)
    with contextlib.closing(_prepared_in_order(photos, image_size, threads)) as work:
        for photo, result in progress(
            work, total=len(photos), desc="reading synthetic images"
        ):
            if isinstance(result, InputError):
                raise InputError(f"{folder / photo.image_id}: {result}")
            split.add(photo, *result)
    return split.build(vocabulary, image_size), generator, data_fingerprint


def labelled_crops(
    data_dir: str | os.PathLike,
    split: str,
    max_images: int | None = None,
    seed: int = 0,
) -> LabelledImages:
    """Reads the crops of a pairs folder with their conditions into memory.

    Args:
        data_dir: a folder that `prepare_pairs` wrote.
        split: "train", "validation" or "test".
        max_images: int. Where there are more, so many are drawn at random.
        seed: int. Of that draw.

    Raises:
        InputError: for a folder or split that is not there, or a synthetic image among
            the crops: those are handed to `train_classifier` apart, and never scored.
    """
    info = read_pairs_info(data_dir)
    conditions, total = info.vocabulary.conditions, info.counts.get(split, 0)
    drawn = set(np.random.default_rng(seed).permutation(total)[:max_images].tolist())
    images, labels, cases, skin_types = [], [], [], []
    for position, pair in enumerate(read_pairs(data_dir, split)):
        if position not in drawn:
            continue
        if pair["source"] == "synthetic":
            raise InputError(
                f"{os.fspath(data_dir)}: {pair['image_id']} of split {split!r} is "
                "synthetic; only photographs may be here"
            )
        images.append(pair["image"])
        labels.append(conditions.index(pair["condition"]))
        cases.append(pair["case_id"])
        skin_types.append(pair["fitzpatrick"])
    if not images:
        raise InputError(f"{os.fspath(data_dir)}: split {split!r} is empty")
    return LabelledImages(
        np.stack(images),
        labels,
        conditions,
        np.array(cases),
        skin_types=np.array(skin_types),
    )


def _checked_conditions(conditions: Sequence[str], source: PhotoSource) -> Vocabulary:
    given, known = Vocabulary(conditions), set(source.conditions)
    for name in given:
        if name not in known:  # more likely a slip than a wish
            raise InputError(
                f"{source.name} has no photo of {name!r}; it has: "
                f"{', '.join(sorted(known))}"
            )
    return given


def _too_few(source: str, conditions: Iterable[str]) -> str:
    only = ", ".join(conditions) or "none"
    return f"{source}: a classifier tells 2 conditions or more apart, got {only}"


# === Many photos ===


def _squashed(image: np.ndarray, size: int) -> np.ndarray:
    """Resizes to [size, size, 3] without keeping the aspect."""
    height, width = image.shape[:2]
    # Sides that shrink first: with any side that grows, OpenCV averages over none.
    shrunk = min(width, size), min(height, size)
    if shrunk != (width, height):
        image = cv2.resize(image, shrunk, interpolation=cv2.INTER_AREA)
    if shrunk != (size, size):
        image = cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(image)


def _prepared_in_order(
    photos: Iterable[LabelledPhoto],
    image_size: int,
    threads: int | None,
    isolated: bool = False,
) -> Iterator[tuple[LabelledPhoto, tuple[np.ndarray, bytes] | InputError]]:
    """Yields each photo with (pixels [S, S, 3], their digest) or what is wrong."""
    threads = threads or os.cpu_count() or 1
    prepare = functools.partial(_prepared, image_size)
    if isolated:
        photos = list(photos)
        results = isolated_map(prepare, photos, threads, one_thread)
        with contextlib.closing(results):
            for photo, result in zip(photos, results, strict=True):
                lost = isinstance(result, Lost)
                yield photo, InputError(result.reason) if lost else result
        return
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        waiting: collections.deque = collections.deque()
        try:
            for photo in photos:
                waiting.append((photo, pool.submit(prepare, photo)))
                # Few wait at a time, or a slow one would fill the memory.
                if len(waiting) > _WAITING_PER_THREAD * threads:
                    photo, future = waiting.popleft()
                    yield photo, future.result()
            while waiting:
                photo, future = waiting.popleft()
                yield photo, future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _prepared(
    image_size: int, photo: LabelledPhoto
) -> tuple[np.ndarray, bytes] | InputError:
    try:
        image = _squashed(photo.read(), image_size)
    except InputError as error:
        return error
    return image, pixel_digest(image)


def file_names(paths: Sequence[str]) -> list[str]:
    """The files' names without folders, which may have patients' names.

    Where two are the same, each gets a hash of its path behind it.
    """
    names = [posixpath.basename(path) for path in paths]
    count = collections.Counter(names)
    found = []
    for name, path in zip(names, paths, strict=True):
        digest = hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()
        found.append(printable(name) + (f"~{digest[:8]}" if count[name] > 1 else ""))
    return found


class _SplitBuilder:
    """Gathers the photos of one split."""

    def __init__(
        self,
        cache_dir: str | os.PathLike | None,
        in_files: bool = False,
        id_salt: bytes | None = None,
    ):
        self._in_files, self._id_salt = in_files, id_salt
        self.names: list[str] = []  # of conditions
        self._photos: list[tuple[str, str | None, int]] = []
        self._digests: list[bytes] = []
        self._cache = PixelCache(cache_dir)

    def __len__(self) -> int:
        return len(self.names)

    def add(self, photo: LabelledPhoto, image: np.ndarray, digest: bytes) -> None:
        self._cache.append(image)
        self.names.append(photo.condition)
        self._photos.append((photo.image_id, photo.case_id, photo.fitzpatrick))
        self._digests.append(digest)

    def build(self, vocabulary: Vocabulary, image_size: int) -> LabelledImages:
        image_ids, cases, skin_types = zip(*self._photos, strict=True)
        if self._id_salt is not None:
            image_ids = [
                anonymous_image_id(case, image_id, self._id_salt)
                for image_id, case, _ in self._photos
            ]
            cases = [anonymous_case_id(case, self._id_salt) for case in cases]
        elif self._in_files:
            image_ids, cases = file_names(image_ids), list(map(printable, cases))
        built = LabelledImages(
            self._cache.images(image_size),
            [vocabulary.index(name) for name in self.names],
            vocabulary.conditions,
            None if cases[0] is None else np.array(cases),
            np.array(image_ids),
            np.array(skin_types),
        )
        return fingerprinted(built, self._digests)
