"""Which photos show the same: copies, whatever was done to them, without a network.

A photo becomes a print: the SHA-256 of its pixels and a grey thumbnail of 64 × 64. What
is alike is found in three steps, each of which looks at fewer pairs:

1. Equal digests are exact copies.
2. The magnitudes of the 64 lowest cosine coefficients of a thumbnail, those of (u, v)
   and (v, u) sorted, are the same for all flips and quarter turns of a photo. The
   `NEIGHBOURS` nearest of each photo by them are its candidates.
3. The candidate is turned as fits best and laid over the photo by the affine map that
   maximises their correlation (ECC, Evangelidis and Psarakis 2008, OpenCV's
   `findTransformECC`). The similarity is the correlation then, without what a Gaussian
   of 4 pixels leaves of either, so that neither light nor one dark spot on skin makes
   two photos alike. What must be stretched, moved or cut much to fit is not alike.

From `COPY` on two photos are copies of one. From `LOOKALIKE` on they are hints: in real
photos mostly the same place of the same patient on another day. The measurements behind
both are in docs/duplicates.md.

`dermgan_tf.classifier.leakage` looks for copies of held-out photos at a classifier's
own input size with an embedding; this needs none, finds crops, and takes far more
photos.
"""

import concurrent.futures
import contextlib
import dataclasses
import functools
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import cv2
import numpy as np

from dermgan_tf.errors import InputError, Reject
from dermgan_tf.photos import photo_io
from dermgan_tf.photos.annotations import PhotoAnnotation
from dermgan_tf.photos.isolated_map import Lost, isolated_map
from dermgan_tf.progress import silent

COPY = 0.9  # similarity from which on two photos are copies of one
LOOKALIKE = 0.75  # … from which on they may show the same place of one patient
KINDS = ("exact", "resaved", "cropped", "mirrored", "turned", "lookalike")
NEIGHBOURS = 8  # candidates of a photo

_SIDE = 64  # pixels: a thumbnail
_MIDDLE_SIDE = 16  # pixels: enough to tell how a photo is turned
_COEFFICIENTS = 8  # a side
_FINE, _MIDDLE, _FLOW = 4.0, 3.0, 6.0  # standard deviations, pixels: what is left out
_FLAT = 0.25  # grey levels: photos of less contrast are compared by digest alone
_MIN_MIDDLE = 0.6  # candidates that correlate less in their main lines are dropped
_MAX_DISTANCE = 0.62  # … and those farther off by the coefficients (0 … 1.42)
_MAX_STRETCH = 0.25  # norm of the affine map's matrix minus the identity
_MIN_OVERLAP = 0.75  # share of the thumbnail that both photos show
_CROPPED = 0.03  # a stretch from here on is a crop: 1.5 % of each border
_ITERATIONS, _STEP = 40, 1e-4
_AT_ONCE = 4096  # photos, or pairs
_PAIRS_A_TASK = 64
# Turns, as numbers: 1 flips left-right, 2 up-down, 4 transposes (done last).
_TURNS = range(8)
_ROTATIONS = (3, 5, 6)  # by 180° and 90° each way; the other ones mirror


@dataclasses.dataclass(frozen=True)
class PhotoPrint:
    """What is kept of a photo to compare it: about 4 kB.

    Args:
        digest: str. Hexadecimal SHA-256 of shape and pixels.
        height, width: ints. Pixels of the photo.
        thumbnail: np.uint8 [64, 64]. Grey, stretched to a square.
    """

    digest: str
    height: int
    width: int
    thumbnail: np.ndarray


@dataclasses.dataclass(frozen=True)
class Likeness:
    """Two photos that look the same.

    Args:
        first, second: ints, first < second. Their places in the list of prints.
        kind: one of `KINDS`: "exact" (the same pixels), "resaved" (other size, quality
            or light), "cropped", "mirrored" and "turned" (by 90° or 180°), whatever
            else was done to them; "lookalike" under `COPY`.
        similarity: float, at most 1. See the module.
    """

    first: int
    second: int
    kind: str
    similarity: float


def photo_print(photo: np.ndarray) -> PhotoPrint:
    """The print of a photo.

    Args:
        photo: np.uint8 [H, W, 3], RGB.
    """
    digest = hashlib.sha256(np.array(photo.shape, np.int64).tobytes())
    digest.update(np.ascontiguousarray(photo))
    # Colour to grey after shrinking: a hundredth of the work.
    small = cv2.resize(photo, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    return PhotoPrint(digest.hexdigest(), *photo.shape[:2], grey)


def read_prints(
    folder: str | os.PathLike,
    annotations: Sequence[PhotoAnnotation],
    workers: int | None = None,
    progress: Callable[..., Iterable] = silent,
    crash_safe: bool = False,
) -> tuple[list[PhotoPrint | None], list[Reject]]:
    """Reads the photos of annotations, as prints.

    Args:
        folder: what the annotations' images are relative to.
        annotations: one a photo.
        workers: int ≥ 1. Threads or processes that read photos; None = one a CPU core.
        progress: see `dermgan_tf.progress`.
        crash_safe: bool. Whether they are processes, see `map_photos`.

    Returns:
        (prints, rejects): a print for each annotation, None where the photo cannot be
        read, and a Reject for each of those.
    """
    read = functools.partial(_read_print, folder)
    return map_photos(read, folder, annotations, workers, progress, crash_safe)


def _read_print(folder: str | os.PathLike, annotation: PhotoAnnotation) -> PhotoPrint:
    return photo_print(photo_io.read_photo(os.path.join(folder, annotation.image)))


def map_photos(
    work: Callable[[PhotoAnnotation], Any],
    folder: str | os.PathLike,
    annotations: Sequence[PhotoAnnotation],
    workers: int | None = None,
    progress: Callable[..., Iterable] = silent,
    crash_safe: bool = False,
) -> tuple[list[Any], list[Reject]]:
    """`work` on every annotation, in order.

    It is done by threads, as decoders leave Python free, or, with `crash_safe`, by
    processes: a photo whose decoder crashes is then lost alone. For these `work` can be
    pickled, and a script needs `if __name__ == "__main__":`.

    Returns:
        (results, rejects): None and a Reject where `work` raised; else its result.
    """
    workers = workers or os.cpu_count() or 1
    attempt = functools.partial(_attempt, work, folder)
    results, rejects = [], []
    with contextlib.ExitStack() as stack:
        if crash_safe:
            done = isolated_map(attempt, annotations, workers)
            stack.enter_context(contextlib.closing(done))
        else:
            # A thread more than cores would only wait; the photos in memory are as
            # many.
            pool = stack.enter_context(_threads(workers))
            done = (f.result() for f in [pool.submit(attempt, a) for a in annotations])
        reading = progress(done, total=len(annotations), desc="reading photos")
        for annotation, result in zip(annotations, reading, strict=True):
            if isinstance(result, Lost):
                rejects.append(Reject(annotation.image, result.reason))
            results.append(None if isinstance(result, Lost) else result)
    return results, rejects


def _attempt(
    work: Callable[[PhotoAnnotation], Any],
    folder: str | os.PathLike,
    annotation: PhotoAnnotation,
) -> Any:
    """What `work` gives, or a `Lost` with what it raised."""
    try:
        return work(annotation)
    except MemoryError:
        raise
    # One bad photo must not end the run, whatever its decoder raises.
    except Exception as error:  # noqa: BLE001
        reason = str(error) or type(error).__name__
        if isinstance(error, InputError):  # the item names the file already
            path = os.path.join(folder, annotation.image)
            reason = reason.removeprefix(f"{photo_io.printable(path)}: ")
        return Lost(" ".join(reason.split()))


def find_duplicates(
    prints: Sequence[PhotoPrint | None],
    min_similarity: float = COPY,
    workers: int | None = None,
    progress: Callable[..., Iterable] = silent,
) -> list[Likeness]:
    """The pairs of photos that look the same.

    Of more than two exact copies each is paired with the first, which alone is compared
    with others. Of more than `NEIGHBOURS` photos that look alike not every pair is
    told, but enough that `duplicate_groups` puts them together.

    Args:
        prints: of photos; None is passed over.
        min_similarity: float, 0.5…1. `COPY`, or `LOOKALIKE` for hints as well.
        workers: int ≥ 1. Threads that compare; None = one a CPU core.
        progress: see `dermgan_tf.progress`.

    Returns:
        In order of (first, second).

    Raises:
        InputError: for a similarity outside 0.5…1.
    """
    if not 0.5 <= min_similarity <= 1:
        raise InputError(f"similarity {min_similarity:g}: want 0.5 to 1")
    found, firsts = [], {}
    for place, given in enumerate(prints):
        if given is None:
            continue
        first = firsts.setdefault(given.digest, place)
        if first != place:
            found.append(Likeness(first, place, "exact", 1.0))
    places = np.array([place for place in firsts.values() if _contrast(prints[place])])
    if len(places) > 1:
        thumbnails = np.stack([prints[place].thumbnail for place in places])
        pairs = _candidates(thumbnails, progress)
        compared = _compared(thumbnails, pairs, min_similarity, workers, progress)
        for (a, b, turn), (alike, stretch) in zip(pairs, compared, strict=True):
            if alike >= min_similarity:
                kind = _kind(alike, turn, stretch)
                found.append(Likeness(int(places[a]), int(places[b]), kind, alike))
    return sorted(found, key=lambda one: (one.first, one.second))


def duplicate_groups(pairs: Iterable[Likeness]) -> list[list[int]]:
    """Photos that hang together by pairs: lists of two or more places, in order."""
    return connected((pair.first, pair.second) for pair in pairs)


def connected(links: Iterable[tuple[int, int]]) -> list[list[int]]:
    """What hangs together by links: lists of two or more numbers, in order."""
    neighbours: dict[int, set[int]] = {}
    for a, b in links:
        neighbours.setdefault(a, set()).add(b)
        neighbours.setdefault(b, set()).add(a)
    groups, seen = [], set()
    for start in sorted(neighbours):
        if start in seen:
            continue
        group, ahead = {start}, [start]
        while ahead:
            new = neighbours[ahead.pop()] - group
            group |= new
            ahead += new
        seen |= group
        groups.append(sorted(group))
    return groups


def same_files_across_splits(
    folder: str | os.PathLike,
    annotations: Sequence[PhotoAnnotation],
    splits: dict[str, str],
) -> list[tuple[PhotoAnnotation, PhotoAnnotation]]:
    """Photos that stand in two splits byte for byte. Cheap: sizes tell most apart.

    Args:
        folder: what the annotations' images are relative to.
        annotations: one a photo. What cannot be read, or is larger than any photo
            that is read (`photo_io.MAX_BYTES`), is passed over.
        splits: the split by case, as `dermgan_tf.photos.annotations.case_splits` gives
            it.

    Returns:
        (photo, the first one that it equals), for each that equals one of another
        split.
    """
    by_size: dict[int, list[PhotoAnnotation]] = {}
    for annotation in annotations:
        try:
            size = os.stat(os.path.join(folder, annotation.image)).st_size
        except OSError:
            continue
        by_size.setdefault(size, []).append(annotation)
    found = []
    for size, alike in by_size.items():
        if not 0 < size <= photo_io.MAX_BYTES:
            continue
        if len({splits[a.case_id] for a in alike}) < 2:
            continue
        firsts: dict[bytes, list[PhotoAnnotation]] = {}
        for annotation in alike:
            digest = _file_digest(os.path.join(folder, annotation.image))
            if digest is None:
                continue
            earlier = firsts.setdefault(digest, [])
            split = splits[annotation.case_id]
            others = [e for e in earlier if splits[e.case_id] != split]
            if others:
                found.append((annotation, others[0]))
            earlier.append(annotation)
    return found


def _file_digest(path: str) -> bytes | None:
    try:
        if not os.path.isfile(path):  # a pipe would be waited for
            return None
        digest = hashlib.sha256()
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        return digest.digest()
    except OSError:
        return None


def _contrast(given: PhotoPrint) -> bool:
    return bool(np.std(_without(given.thumbnail, _FINE)) >= _FLAT)


def _candidates(
    thumbnails: np.ndarray, progress: Callable[..., Iterable]
) -> list[tuple[int, int, int]]:
    """Pairs (a, b, turn) of near neighbours, a < b, with the turn of b that fits a."""
    from sklearn.neighbors import NearestNeighbors

    features = np.stack([_turn_invariant(thumbnail) for thumbnail in thumbnails])
    middles = np.stack([_middle(thumbnail) for thumbnail in thumbnails])
    count = min(NEIGHBOURS + 1, len(features))  # each is its own nearest
    # Of 63 dimensions, a tree would be slower than this: products of blocks, in C.
    search = NearestNeighbors(n_neighbors=count, algorithm="brute").fit(features)
    pairs: set[tuple[int, int]] = set()
    starts = range(0, len(features), _AT_ONCE)
    for start in progress(starts, total=len(starts), desc="looking for copies"):
        distances, places = search.kneighbors(features[start : start + _AT_ONCE])
        for row, rank in zip(*np.nonzero(distances <= _MAX_DISTANCE), strict=True):
            a, b = start + int(row), int(places[row, rank])
            if a != b:
                pairs.add((min(a, b), max(a, b)))
    ordered = np.array(sorted(pairs), np.int64).reshape(-1, 2)
    kept = []
    for start in range(0, len(ordered), _AT_ONCE):
        rows = ordered[start : start + _AT_ONCE]
        fits = _turn_correlations(middles[rows[:, 0]], middles[rows[:, 1]])
        turns = fits.argmax(axis=1)
        for (a, b), turn, fit in zip(rows, turns, fits.max(axis=1), strict=True):
            if fit >= _MIN_MIDDLE:
                kept.append((int(a), int(b), int(turn)))
    return kept


def _compared(
    thumbnails: np.ndarray,
    pairs: Sequence[tuple[int, int, int]],
    enough: float,
    workers: int | None,
    progress: Callable[..., Iterable],
) -> Iterator[tuple[float, float]]:
    """`_aligned` of each (a, b, turn), in order."""

    def compare(start: int) -> list[tuple[float, float]]:
        return [
            _aligned(thumbnails[a], _turned(thumbnails[b], turn), enough)
            for a, b, turn in pairs[start : start + _PAIRS_A_TASK]
        ]

    starts = range(0, len(pairs), _PAIRS_A_TASK)
    with _threads(workers) as pool:
        tasks = pool.map(compare, starts)
        for some in progress(tasks, total=len(starts), desc="comparing"):
            yield from some


@contextlib.contextmanager
def _threads(
    workers: int | None,
) -> Iterator[concurrent.futures.ThreadPoolExecutor]:
    """Threads that drop what waits when the block is left, so that Ctrl-C ends."""
    pool = concurrent.futures.ThreadPoolExecutor(workers or os.cpu_count() or 1)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _turn_invariant(thumbnail: np.ndarray) -> np.ndarray:
    """float32 [63], of length 1: cosine magnitudes that flips and transposes leave.

    A flip changes the sign of coefficients, a transpose exchanges (u, v) and (v, u).
    They are weighted with their frequency, by which those of photographs fall.
    """
    half = _SIDE // 2
    small = cv2.resize(thumbnail, (half, half), interpolation=cv2.INTER_AREA)
    size = _COEFFICIENTS
    found = np.abs(cv2.dct(small.astype(np.float32))[:size, :size]) * _frequencies()
    upper = np.triu_indices(size, 1)
    here, there = found[upper], found.T[upper]
    features = np.concatenate(
        [np.maximum(here, there), np.minimum(here, there), np.diag(found)[1:]]
    )
    return features / max(np.linalg.norm(features), 1e-6)


@functools.cache
def _frequencies() -> np.ndarray:
    u, v = np.mgrid[:_COEFFICIENTS, :_COEFFICIENTS]
    return np.hypot(u, v).astype(np.float32)


def _middle(thumbnail: np.ndarray) -> np.ndarray:
    """float32 [16, 16], of length 1: the main lines of a photo."""
    small = cv2.resize(
        thumbnail, (_MIDDLE_SIDE, _MIDDLE_SIDE), interpolation=cv2.INTER_AREA
    )
    fine = _without(small, _MIDDLE)
    return fine / max(np.linalg.norm(fine), 1e-6)


def _turn_correlations(here: np.ndarray, there: np.ndarray) -> np.ndarray:
    """[n, 8]: of [n, S, S] with the other's eight positions."""
    return np.stack(
        [np.einsum("nyx,nyx->n", here, _turned(there, turn)) for turn in _TURNS], axis=1
    )


def _turned(images: np.ndarray, turn: int) -> np.ndarray:
    """One of the eight positions of squares [..., S, S]."""
    if turn & 1:
        images = images[..., ::-1]
    if turn & 2:
        images = images[..., ::-1, :]
    if turn & 4:
        images = images.swapaxes(-1, -2)
    return np.ascontiguousarray(images)


def _without(image: np.ndarray, deviation: float) -> np.ndarray:
    """float32: what a Gaussian of so many pixels does not leave."""
    image = image.astype(np.float32)
    return image - cv2.GaussianBlur(
        image, (0, 0), deviation, borderType=cv2.BORDER_REFLECT
    )


def _aligned(here: np.ndarray, there: np.ndarray, enough: float) -> tuple[float, float]:
    """(similarity, stretch) of two thumbnails, laid on each other either way.

    ECC may settle in another place for a crop over its original than the other way
    round; the second is tried only where the first is not `enough`.
    """
    found = _laid_over(here, there)
    return found if found[0] >= enough else max(found, _laid_over(there, here))


def _laid_over(here: np.ndarray, there: np.ndarray) -> tuple[float, float]:
    """The correlation where `there` lies over `here`, and the norm of the stretch."""
    warp = np.eye(2, 3, dtype=np.float32)
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, _ITERATIONS, _STEP)
    try:
        cv2.findTransformECC(
            _without(here, _FLOW),
            _without(there, _FLOW),
            warp,
            cv2.MOTION_AFFINE,
            stop,
            None,
            5,  # pixels: a small Gaussian before gradients are taken
        )
    except cv2.error:  # it does not settle: nothing in common
        return -1.0, np.inf
    stretch = float(np.linalg.norm(warp[:, :2] - np.eye(2)))
    if not stretch <= _MAX_STRETCH:
        return -1.0, np.inf
    back = cv2.WARP_INVERSE_MAP
    size = (_SIDE, _SIDE)
    laid = cv2.warpAffine(
        _without(there, _FINE), warp, size, flags=cv2.INTER_LINEAR | back
    )
    ones = np.ones(size, np.uint8)
    both = cv2.warpAffine(ones, warp, size, flags=cv2.INTER_NEAREST | back) > 0
    if both.mean() < _MIN_OVERLAP:
        return -1.0, np.inf
    a, b = _without(here, _FINE)[both], laid[both]
    length = float(np.linalg.norm(a) * np.linalg.norm(b))
    return (min(1.0, float(a @ b) / length) if length else -1.0), stretch


def _kind(similarity: float, turn: int, stretch: float) -> str:
    if similarity < COPY:
        return "lookalike"
    if turn:
        return "turned" if turn in _ROTATIONS else "mirrored"
    return "cropped" if stretch >= _CROPPED else "resaved"


def ordered_groups(
    pairs: Sequence[Likeness], cases: Sequence[str], splits: Sequence[str]
) -> list[list[int]]:
    """`duplicate_groups`, the most harmful first: of several splits, cases, one case.

    Args:
        pairs: as `find_duplicates` returns them.
        cases, splits: str, one for each photo.
    """

    def harm(group: list[int]) -> tuple[int, int, int]:
        several_splits = len({splits[place] for place in group}) > 1
        several_cases = len({cases[place] for place in group}) > 1
        return -int(several_splits), -int(several_cases), group[0]

    return sorted(duplicate_groups(pairs), key=harm)


def summarize_duplicates(
    pairs: Sequence[Likeness],
    cases: Sequence[str],
    splits: Sequence[str],
    conditions: Sequence[str],
) -> dict[str, Any]:
    """Counts of what was found.

    Args:
        pairs: as `find_duplicates` returns them.
        cases, splits, conditions: str, one for each photo.

    Returns:
        "groups", and of these "groups_across_splits", "groups_across_cases" and
        "groups_of_several_conditions"; "photos" in all groups, "largest_group" and
        "pairs" by kind.
    """
    groups = duplicate_groups(pairs)

    def several(values: Sequence[str]) -> int:
        return sum(len({values[place] for place in group}) > 1 for group in groups)

    return {
        "groups": len(groups),
        "groups_across_splits": several(splits),
        "groups_across_cases": several(cases),
        "groups_of_several_conditions": several(conditions),
        "photos": sum(map(len, groups)),
        "largest_group": max(map(len, groups), default=0),
        "pairs": {kind: sum(pair.kind == kind for pair in pairs) for kind in KINDS},
    }
