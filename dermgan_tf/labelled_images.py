"""Photographs and synthetic images with their conditions, for classifiers.

Photographs come from annotations, from folders of classes, from a pairs folder or from
TensorFlow Datasets; synthetic images from `generate` alone. Pixels lie in unlinked
temporary files that are mapped into memory, so that a set may be larger than memory.
"""

import collections
import concurrent.futures
import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import posixpath
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import cv2
import numpy as np

from dermgan_tf.errors import InputError, Reject, check_reject_fraction
from dermgan_tf.importers import cause
from dermgan_tf.labelled_sources import (
    LabelledPhoto,
    PhotoSource,
    SyntheticImage,
    open_source,
)
from dermgan_tf.pairs import SPLITS, read_pairs, read_pairs_info
from dermgan_tf.photo_io import read_photo, read_png_text
from dermgan_tf.progress import silent
from dermgan_tf.semantic_map import MAX_SKIN_TYPE
from dermgan_tf.vocabulary import Vocabulary

MIN_CONDITIONS = 2
_ROWS_AT_ONCE = 64
_WAITING_PER_THREAD = 4


@dataclasses.dataclass(frozen=True)
class LabelledImages:
    """Images with their conditions.

    Args:
        images: np.uint8 [N, S, S, 3], RGB. May be an np.memmap larger than memory: take
            batches of it, never the whole.
        labels: int [N], positions in `conditions`.
        conditions: the names of the conditions; the same in all sets of a comparison.
        cases: str [N], the case of each image; None where there are none (synthetic
            images).
        image_ids: str [N], unique; None where images have no names.
        skin_types: int [N], Fitzpatrick 1…6, 0 = unknown; None where nothing is known.
        fingerprint: str. SHA-256 (hex) over ids, labels, cases, skin types and pixels;
            "" where it was not taken.

    Raises:
        InputError: for arrays that do not fit together, a label that is no condition,
            a skin type out of range, or an id that stands twice.
    """

    images: np.ndarray
    labels: np.ndarray
    conditions: tuple[str, ...]
    cases: np.ndarray | None = None
    image_ids: np.ndarray | None = None
    skin_types: np.ndarray | None = None
    fingerprint: str = ""

    def __post_init__(self):
        object.__setattr__(self, "conditions", tuple(self.conditions))
        object.__setattr__(self, "labels", np.asarray(self.labels, np.int64))
        shape = np.shape(self.images)
        if len(shape) != 4 or shape[-1] != 3 or self.images.dtype != np.uint8:
            raise InputError(
                f"images are uint8 [N, S, S, 3], got {self.images.dtype} {list(shape)}"
            )
        for name in ("labels", "cases", "image_ids", "skin_types"):
            values = getattr(self, name)
            if values is not None and np.shape(values) != shape[:1]:
                raise InputError(f"{shape[0]} images with {np.shape(values)} {name}")
        known = (self.labels >= 0) & (self.labels < len(self.conditions))
        if not known.all():
            raise InputError(
                f"label {self.labels[~known][0]} is none of "
                f"{len(self.conditions)} conditions"
            )
        if self.skin_types is not None:
            types = np.asarray(self.skin_types, np.int64)
            object.__setattr__(self, "skin_types", types)
            if ((types < 0) | (types > MAX_SKIN_TYPE)).any():
                raise InputError(f"skin types are 0 to {MAX_SKIN_TYPE}, got {types}")
        if self.image_ids is not None:
            ids, counts = np.unique(self.image_ids, return_counts=True)
            if (counts > 1).any():
                raise InputError(f"image {str(ids[counts > 1][0])!r} stands twice")

    def __len__(self) -> int:
        return len(self.images)

    def take(
        self, indices: np.ndarray, cache_dir: str | os.PathLike | None = None
    ) -> "LabelledImages":
        """Some of the images, with a fingerprint of their own.

        Args:
            indices: int [M], or bool [N]. A run of neighbours in order is not copied.
            cache_dir: the folder for the pixels of a memory-mapped set's part; default:
                the system's temporary folder.
        """
        indices = np.asarray(indices)
        if indices.dtype == bool:
            indices = np.flatnonzero(indices)
        indices = indices.astype(np.int64)
        first = int(indices[0]) if len(indices) else 0
        if first >= 0 and (indices == np.arange(first, first + len(indices))).all():
            images = self.images[first : first + len(indices)]
        elif isinstance(self.images, np.memmap):
            cache = _PixelCache(cache_dir)
            for image in image_batches(self.images, indices):
                cache.append(image)
            images = cache.images(self.images.shape[1])
        else:
            images = self.images[indices]
        part = LabelledImages(
            images,
            self.labels[indices],
            self.conditions,
            *(
                None if values is None else np.asarray(values)[indices]
                for values in (self.cases, self.image_ids, self.skin_types)
            ),
        )
        if not self.fingerprint:
            return part
        return dataclasses.replace(part, fingerprint=_fingerprint(part, _digests(part)))


def joined(
    parts: Sequence[LabelledImages], cache_dir: str | os.PathLike | None = None
) -> LabelledImages:
    """Several sets as one, in their order.

    Args:
        parts: of one vocabulary and image size; what one of them does not know (cases,
            ids, skin types) the whole does not. Ids must differ.
        cache_dir: see `LabelledImages.take`.
    """
    first = parts[0]
    if any(isinstance(part.images, np.memmap) for part in parts):
        cache = _PixelCache(cache_dir)
        for part in parts:
            for batch in image_batches(part.images):
                cache.append(batch)
        images = cache.images(first.images.shape[1])
    else:
        images = np.concatenate([part.images for part in parts])
    columns = [
        None if any(c is None for c in column) else np.concatenate(column)
        for column in (
            [getattr(part, name) for part in parts]
            for name in ("cases", "image_ids", "skin_types")
        )
    ]
    labels = np.concatenate([part.labels for part in parts])
    digests = "".join(fingerprint_of(part) for part in parts)
    return LabelledImages(
        images,
        labels,
        first.conditions,
        *columns,
        hashlib.sha256(digests.encode()).hexdigest(),
    )


def fingerprint_of(part: LabelledImages) -> str:
    """Its fingerprint; where it has none, sha256 (hex) of labels and pixels."""
    if part.fingerprint:
        return part.fingerprint
    digest = hashlib.sha256(part.labels.tobytes())
    for batch in image_batches(part.images):
        digest.update(batch.tobytes())
    return digest.hexdigest()


def without_those_of(
    images: LabelledImages,
    others: LabelledImages,
    cache_dir: str | os.PathLike | None = None,
) -> LabelledImages:
    """The images whose pixels are not those of one of `others`."""
    known = set(_digests(others))
    new = np.array([digest not in known for digest in _digests(images)], bool)
    return images if new.all() else images.take(new, cache_dir)


def _digests(part: LabelledImages) -> list[bytes]:
    return [
        _pixel_digest(image) for batch in image_batches(part.images) for image in batch
    ]


def image_batches(
    images: np.ndarray,
    indices: np.ndarray | None = None,
    batch_size: int = _ROWS_AT_ONCE,
) -> Iterator[np.ndarray]:
    """Yields images by batches that are copies in memory: np.uint8 [≤ B, S, S, 3].

    Args:
        images: np.uint8 [N, S, S, 3], perhaps memory-mapped.
        indices: int [M]: which, in which order; None = all.
        batch_size: int ≥ 1.
    """
    total = len(images) if indices is None else len(indices)
    for start in range(0, total, batch_size):
        rows = slice(start, start + batch_size)
        yield np.array(images[rows if indices is None else indices[rows]])


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


def read_labelled_splits(
    source: str | os.PathLike,
    image_size: int,
    *,
    conditions: Sequence[str] | None = None,
    case_pattern: str = "",
    cache_dir: str | os.PathLike | None = None,
    max_reject_fraction: float = 0.1,
    threads: int | None = None,
    progress: Callable = silent,
) -> tuple[dict[str, LabelledImages], list[Reject]]:
    """Reads labelled photographs, split by case, for a classifier.

    Photos are squashed to squares, as the paper's and Keras'
    `image_dataset_from_directory` does by default: averaged over areas along a side
    that shrinks, linear along one that grows. What comes out depends on the photos
    alone, not on the number of threads.

    The source is one of:

    annotations.jsonl   whole photos, those without ROI among them; splits as
        `dermgan_tf.annotations.case_splits` makes them.
    a folder of classes SPLIT/CLASS/photo, with SPLIT train, validation (or val), test;
        or CLASS/photo, split by a hash of the case. The case is the file's name
        without extension, see `case_pattern`.
    a pairs folder      the crops that `prepare_pairs` wrote.
    "tfds:NAME"         a prepared data set of TensorFlow Datasets, by name or folder,
        with the features "image" and "label" or "condition", and perhaps "case_id",
        "fitzpatrick" and "image_id". Without "case_id" every photo is a case.

    Where a folder of classes or a data set names splits, but no validation or no test,
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
        threads: int ≥ 1 that decode; default: one a core.
        progress: see `dermgan_tf.progress`.

    Returns:
        (splits, rejects): "train", "validation", "test", as far as they have photos,
        each with cases, image_ids, skin_types and fingerprint; all of one vocabulary.
        A class may lack photos in a split.

    Raises:
        InputError: for a source that cannot be read or is of none of these forms, a
            synthetic image in any split, a case in two splits, too many bad photos, no
            photo to train on, or fewer than 2 or more than 60 conditions.
    """
    if image_size < 1 or (threads is not None and threads < 1):
        raise InputError(
            f"image size {image_size}, threads {threads}: want 1 or more of each"
        )
    found = open_source(source, case_pattern)
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
                left_out.append(Reject(photo.image_id, reason))

    work = _prepared_in_order(wanted(), image_size, threads)
    with contextlib.closing(work):
        for photo, result in progress(work, total=found.total, desc="reading photos"):
            if isinstance(result, SyntheticImage):
                raise InputError(
                    f"{found.name}: {photo.image_id} of split {photo.split!r} is a "
                    "synthetic image; those are never scored, and trained on through "
                    "--synthetic_dir only: take it out"
                )
            if isinstance(result, InputError):
                bad.append(Reject(photo.image_id, str(result)))
                continue
            if photo.split not in splits:
                splits[photo.split] = _SplitBuilder(cache_dir)
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
    lines = _generated_lines(folder)
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
    data_fingerprint = _generators_data(folder, generator)
    photos = [
        LabelledPhoto(
            line["image"],
            None,
            line["condition"],
            line["fitzpatrick"],
            "synthetic",
            functools.partial(_read_painted, folder / line["image"], line),
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


def _read_painted(path: pathlib.Path, line: dict[str, Any]) -> np.ndarray:
    try:
        text = read_png_text(path)
        if text.get("synthetic", "").strip().lower() != "true":
            raise InputError(
                "does not say synthetic=true in its PNG text: no image of generate"
            )
        for key in ("generator", "condition"):
            if text.get(key) != line[key]:
                raise InputError(
                    f"says {key} {text.get(key)!r}, but generated.jsonl says "
                    f"{line[key]!r}"
                )
        return read_photo(path)
    except InputError as error:
        raise InputError(cause(error, path)) from None


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


def _pixel_digest(image: np.ndarray) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(image)).digest()


# === Many photos ===


def _prepared_in_order(
    photos: Iterable[LabelledPhoto], image_size: int, threads: int | None
) -> Iterator[tuple[LabelledPhoto, tuple[np.ndarray, bytes] | InputError]]:
    """Yields each photo with (pixels [S, S, 3], their digest) or what is wrong."""
    threads = threads or os.cpu_count() or 1

    def prepare(photo: LabelledPhoto):
        try:
            image = _squashed(photo.read(), image_size)
        except InputError as error:
            return error
        return image, _pixel_digest(image)

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


class _PixelCache:
    """Images in a temporary file without a name; in memory is what is in use."""

    def __init__(self, folder: str | os.PathLike | None):
        self._folder = tempfile.gettempdir() if folder is None else os.fspath(folder)
        with self._explained():
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115

    def append(self, images: np.ndarray) -> None:
        with self._explained():
            self._file.write(np.ascontiguousarray(images))

    def images(self, image_size: int) -> np.memmap:
        """All of it, read-only: np.uint8 [N, S, S, 3]."""
        with self._explained():
            self._file.flush()
        count = os.fstat(self._file.fileno()).st_size // (image_size**2 * 3)
        shape = (count, image_size, image_size, 3)
        images = np.memmap(self._file, np.uint8, mode="r", shape=shape)
        self._file.close()  # the map keeps it
        return images

    @contextlib.contextmanager
    def _explained(self):
        try:
            yield
        except OSError as error:
            raise InputError(
                f"cannot keep pixels in {self._folder}: {error.strerror}; name a "
                "folder with room for them by --cache_dir"
            ) from error


class _SplitBuilder:
    """Gathers the photos of one split."""

    def __init__(self, cache_dir: str | os.PathLike | None):
        self.names: list[str] = []  # of conditions
        self._photos: list[tuple[str, str | None, int]] = []
        self._digests: list[bytes] = []
        self._cache = _PixelCache(cache_dir)

    def __len__(self) -> int:
        return len(self.names)

    def add(self, photo: LabelledPhoto, image: np.ndarray, digest: bytes) -> None:
        self._cache.append(image)
        self.names.append(photo.condition)
        self._photos.append((photo.image_id, photo.case_id, photo.fitzpatrick))
        self._digests.append(digest)

    def build(self, vocabulary: Vocabulary, image_size: int) -> LabelledImages:
        image_ids, cases, skin_types = zip(*self._photos, strict=True)
        built = LabelledImages(
            self._cache.images(image_size),
            [vocabulary.index(name) for name in self.names],
            vocabulary.conditions,
            None if cases[0] is None else np.array(cases),
            np.array(image_ids),
            np.array(skin_types),
        )
        fingerprint = _fingerprint(built, self._digests)
        return dataclasses.replace(built, fingerprint=fingerprint)


def _fingerprint(labelled: LabelledImages, pixel_digests: Sequence[bytes]) -> str:
    columns = [
        [None] * len(labelled) if values is None else np.asarray(values).tolist()
        for values in (
            labelled.image_ids,
            labelled.labels,
            labelled.cases,
            labelled.skin_types,
        )
    ]
    digest = hashlib.sha256(json.dumps(list(labelled.conditions)).encode())
    for *facts, pixels in zip(*columns, pixel_digests, strict=True):
        digest.update(json.dumps([*facts, pixels.hex()]).encode())
    return digest.hexdigest()


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


def _generated_lines(folder: pathlib.Path) -> list[dict[str, Any]]:
    path = folder / "generated.jsonl"
    try:
        texts = path.read_text("utf-8").split("\n")
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(
            f"{folder} has no generated.jsonl: give the --output_dir of generate"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {error}") from None
    lines = []
    for number, text in enumerate(texts, start=1):
        if not text.strip():
            continue
        try:
            lines.append(_generated_line(json.loads(text)))
        except (ValueError, KeyError, TypeError) as error:
            known = isinstance(error, InputError)
            reason = str(error) if known else f"is damaged: {error!r}"
            raise InputError(f"{path}:{number}: {reason}") from None
    if not lines:
        raise InputError(f"{path} lists no image")
    return lines


def _generated_line(record: dict[str, Any]) -> dict[str, Any]:
    image = posixpath.normpath(str(record["image"]))
    if not image.startswith("images/"):
        raise InputError(f"{record['image']!r} is not in the folder images")
    if record["source"] != "synthetic":
        raise InputError(f"{image} has the source {record['source']!r}, not synthetic")
    if not record["boxes"]:
        raise InputError(
            f"{image} was painted without a box: it shows skin without "
            f"{record['condition']!r}, and would teach the wrong thing"
        )
    fitzpatrick = record["fitzpatrick"]
    if fitzpatrick not in range(MAX_SKIN_TYPE + 1):
        raise InputError(f"{image} has the unknown skin type {fitzpatrick!r}")
    return {
        "image": image,
        "condition": str(record["condition"]),
        "fitzpatrick": fitzpatrick,
        "generator": str(record["generator"]),
    }


def _generators_data(folder: pathlib.Path, generator: str) -> str | None:
    """What run.json tells of the data that the generator was trained on."""
    path = folder / "run.json"
    try:
        record = json.loads(path.read_text("utf-8"))
        named = record["flags"].get("generator", generator)
        fingerprint = record["data_fingerprint"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is damaged: {error!r}") from None
    if named != generator:
        raise InputError(
            f"{path} tells of the generator {str(named)[:8]}, the images of "
            f"{generator[:8]}: this folder was put together from two"
        )
    return None if fingerprint is None else str(fingerprint)
