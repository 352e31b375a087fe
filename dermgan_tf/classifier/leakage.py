"""Guards against what was trained on being scored: cases, generators, copies of photos.

A synthetic image among photographs, and a case in two splits, are refused where they
are read: see `dermgan_tf.classifier.labelled_reading`.

Copies are looked for with an embedding and with thumbnails. Let n be the distance of a
held-out photo to the nearest held-out one of another case, and m the median of n. An
image is a near-duplicate of the photo where the distance of the two, or of the image to
one of the photo's flips, and the correlation of their thumbnails are

    at most 0.3 min(n, m)   and at least 0.3, or
    at most 1.5 max(n, m)   and at least 0.7.

Thumbnails are 32 × 32 grey pixels without what a Gaussian of 2 pixels leaves of them,
cut off at 2 grey levels: neither light, nor one dark spot, nor the outline of a limb
makes two photos alike.

Neither alone tells. A phantom photo that was halved and saved at JPEG quality 50 is
about as far from itself as from other photos; and a weak embedding, which knows little
but colours, finds plain skin everywhere the same. As `benchmarks.copies` printed it
with a MobileNetV2 of natural images at 160 × 160 pixels, 40 % of the cases held out
(the commands are in docs/duplicates.md):

                                             phantom         foot ulcers (real)
    copies found: JPEG at 75, 50 and 30; scaled
    by 2, 1/2 and 1/3; halved, then JPEG at 50;
    flipped and JPEG at 75 or halved (3 flips);
    10 grey levels brighter; gamma 0.7; without
    1.5 % of each border                     1,560 of 1,560  1,560 of 1,560
    copies without 3 % of each border        97 of 120       109 of 120
    copies without 5 % of each border        5 of 120        6 of 120
    copies without 10 % of each border       0 of 120        0 of 120
    copies turned by 90°                     0 of 120        0 of 120
    photos of other names found              0 of 176        3 of 288

Of the three, two are the same photo under another name, one the same foot on another
day. The thresholds were chosen on other phantom photos, and perhaps on some of these
foot ulcers. Of 36 other photos (PAD-UFES-20) without 3 % of each border only 10 are
found. The cut at 2 grey levels keeps photos apart that share but an outline.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import cv2
import numpy as np

from dermgan_tf.classifier.labelled_images import (
    LabelledImages,
    fingerprint_of,
    image_batches,
    joined,
)
from dermgan_tf.errors import InputError
from dermgan_tf.metrics.neighbors import pairwise_distances
from dermgan_tf.pairs.pairs import PairsInfo, require_sound_records
from dermgan_tf.pairs.patches import DOMAINS, require_sound_patches
from dermgan_tf.pairs.photographs import read_data_info
from dermgan_tf.photos.anonymous_ids import anonymous_case_id
from dermgan_tf.photos.square import turned
from dermgan_tf.progress import silent

SURE_DISTANCE, SURE_CORRELATION = 0.3, 0.3  # of n and of m, see above
NEAR_DISTANCE, NEAR_CORRELATION = 1.5, 0.7  # of n or of m: poor copies
FLIPS = 4  # none, left-right, up-down, both: `turned` of 0…3

_THUMBNAIL = 32  # pixels a side
_COARSE = 2.0  # standard deviation, pixels of the thumbnail: what light changes
_CLIPPED = 2.0  # grey levels: an edge counts no more than this
_FLAT = 1e-3  # grey levels: less contrast than this is no picture
_ROWS_AT_ONCE = 512
_SHOWN = 3


@dataclasses.dataclass(frozen=True)
class NearDuplicate:
    """An image that looks like a held-out photo.

    Args:
        image, held_out: ints. Their rows.
        image_id, held_out_id: str. Their ids; "" where they have none.
        distance: float. Of their activations.
        relative: float. That over the photo's distance to the nearest held-out one of
            another case; NaN where there is none.
        correlation: float, −1…1. Of their thumbnails.
        turn: int, 0…3. The flip of the photo, see
            `dermgan_tf.photos.square.turned`.
    """

    image: int
    held_out: int
    image_id: str
    held_out_id: str
    distance: float
    relative: float
    correlation: float
    turn: int


def trained_case_digests(cases: Iterable[str]) -> list[str]:
    """Names of cases that can be compared, but tell nothing of the patient's name.

    Args:
        cases: str, repeated or not.

    Returns:
        The first 16 hexadecimal digits of the SHA-256 of each case, sorted, once each.
    """
    return sorted(
        {hashlib.sha256(str(case).encode()).hexdigest()[:16] for case in cases}
    )


def require_gan_inside(
    data_fingerprint: str | None,
    gan_data_dir: str | os.PathLike,
    train_cases: Iterable[str],
    id_salt: bytes | None = None,
) -> list[str]:
    """Refuses synthetic images of a generator that may know held-out cases.

    Args:
        data_fingerprint: of the pairs, or patches, that the generator was trained on,
            as `read_synthetic` returns it.
        gan_data_dir: the folder that is said to be these.
        train_cases: str. The cases that the classifier is trained on.
        id_salt: bytes. That of `train_cases`, where they are anonymized.

    Returns:
        The cases that the generator was trained on, sorted, named as `train_cases` are.

    Raises:
        InputError: for a generator that does not say what it was trained on, another
            folder than that, case ids that cannot be compared because one side's
            are anonymized otherwise, or a training case of the generator that is none
            of the classifier's.
    """
    shown = os.fspath(gan_data_dir)
    if not data_fingerprint:
        raise InputError(
            "the synthetic images do not say what pairs their generator was trained on "
            "(run.json beside them has no data_fingerprint): whether it has seen the "
            "test photos cannot be told; export and generate again"
        )
    info = read_data_info(gan_data_dir)
    if info.fingerprint != data_fingerprint:
        raise InputError(
            f"the generator was trained on other pairs than {shown}: on "
            f"{data_fingerprint[:16]}, while these are {info.fingerprint[:16]}; name "
            "the pairs that it was trained on"
        )
    cases = set(_train_cases(gan_data_dir))
    if id_salt is not None and not info.anonymized_ids:
        cases = {anonymous_case_id(case, id_salt) for case in cases}
    known = {str(case) for case in train_cases}
    if info.anonymized_ids and not cases & known:
        raise InputError(
            f"the case ids of {shown} are anonymized, and none is one of the "
            "classifier's: whether the generator has seen its test photos cannot be "
            "told; anonymize the classifier's under the same salt (--anonymize_ids), "
            "or train it on these pairs"
        )
    cases = sorted(cases)
    outside = [case for case in cases if case not in known]
    if outside:
        raise InputError(
            f"the generator was trained on {len(outside)} of {len(cases)} cases of "
            f"{shown} that the classifier is not trained on: "
            f"{_listed(map(repr, outside))}; they may be in its validation or test: "
            "split both data sets alike, or train the generator on fewer"
        )
    return cases


class HeldOutPhotos:
    """Held-out photos, described once: many sets can be searched for copies of them.

    Each photo is embedded four times, for its flips; an image that is looked at, once.

    Args:
        photos: with their cases.
        embedding: with `.embed`, as `dermgan_tf.metrics.embeddings.Embedding`.
        batch_size: int ≥ 1. Images that are embedded together.
        progress: see `dermgan_tf.progress`.

    Raises:
        InputError: for photos without cases, or activations that are not finite.
    """

    def __init__(
        self,
        photos: LabelledImages,
        embedding: Any,
        *,
        batch_size: int = 32,
        progress: Callable = silent,
    ):
        if photos.cases is None:
            raise InputError("near-duplicates: the held-out photos come without cases")
        self._photos, self._embedding, self._batch_size = photos, embedding, batch_size
        if not len(photos):
            return
        turns = progress(range(FLIPS), total=FLIPS, desc="held-out photos")
        self._turned = [
            _described(_all(photos.images, turn), embedding, batch_size)
            for turn in turns
        ]
        activations = self._turned[0][0]
        self._scale = _nearest_other_case(activations, np.asarray(photos.cases))
        # Without a second case nothing is near but what is equal, and nothing far.
        finite = self._scale[np.isfinite(self._scale)]
        typical = np.median(finite) if len(finite) else np.inf
        strict = np.minimum(self._scale, typical)
        self._strict = np.where(np.isfinite(strict), strict, 0)
        self._loose = np.maximum(self._scale, typical)

    def copies_among(
        self, images: LabelledImages, progress: Callable = silent
    ) -> list[NearDuplicate]:
        """Finds images that look the same as a held-out photo, by the module's rule.

        Copies that were recompressed, resized, flipped or made brighter are found; of
        those that were cropped or retouched, some.

        Args:
            images: training photos or synthetic images, of the photos' image size.
            progress: see `dermgan_tf.progress`.

        Returns:
            One for each image that is one, with the photo that it looks most like, in
            order of the images. In memory are the activations and thumbnails of the
            held-out photos and of some hundred images.

        Raises:
            InputError: for images of another size, or activations that are not finite.
        """
        photos = self._photos
        if images.images.shape[1:] != photos.images.shape[1:]:
            raise InputError(
                f"near-duplicates: images are {images.images.shape[1]} pixels wide, "
                f"the held-out photos {photos.images.shape[1]}"
            )
        if not len(images) or not len(photos):
            return []
        found = []
        starts = range(0, len(images), _ROWS_AT_ONCE)
        for start in progress(starts, total=len(starts), desc="looking for copies"):
            rows = images.images[start : start + _ROWS_AT_ONCE]
            found += self._copies(images, start, rows)
        return found

    def _copies(self, images, start: int, rows: np.ndarray) -> Iterator[NearDuplicate]:
        activations, thumbnails = _described(
            _all(rows), self._embedding, self._batch_size
        )
        distances, turns, correlations = _compared(
            activations, thumbnails, self._turned
        )
        sure = distances <= SURE_DISTANCE * self._strict
        near = distances <= NEAR_DISTANCE * self._loose
        alike = (sure & (correlations >= SURE_CORRELATION)) | (
            near & (correlations >= NEAR_CORRELATION)
        )
        for row in np.flatnonzero(alike.any(axis=1)):
            candidates = np.where(alike[row], distances[row], np.inf)
            photo = int(candidates.argmin())
            distance = float(distances[row, photo])
            yield NearDuplicate(
                start + int(row),
                photo,
                _id(images, start + row),
                _id(self._photos, photo),
                distance,
                _relative(distance, self._scale[photo]),
                float(correlations[row, photo]),
                int(turns[row, photo]),
            )


def named_pairs(found: Iterable[NearDuplicate]) -> str:
    """The first three by name, and how many more there are."""
    return _listed(
        f"{one.image_id or one.image} of {one.held_out_id or one.held_out}"
        for one in found
    )


def _train_cases(data_dir: str | os.PathLike) -> Iterator[str]:
    """The case of every training pair or patch; images are not decoded."""
    import tensorflow as tf

    info = read_data_info(data_dir)
    of_pairs = isinstance(info, PairsInfo)
    parts = ["train"] if of_pairs else [f"train_{domain}" for domain in DOMAINS]
    shards = [shard for part in parts for shard in info.shards.get(part, ())]
    if not shards:
        raise InputError(f"{os.fspath(data_dir)} has no split 'train'")
    paths = [os.path.join(os.fspath(data_dir), shard["file"]) for shard in shards]
    feature = {"case_id": tf.io.FixedLenFeature([], tf.string)}
    records = tf.data.TFRecordDataset(paths).batch(_ROWS_AT_ONCE)
    try:
        for batch in records.map(lambda r: tf.io.parse_example(r, feature)["case_id"]):
            yield from (case.decode() for case in batch.numpy())
    except tf.errors.OpError:  # a shard that is missing or damaged
        require_sound = require_sound_records if of_pairs else require_sound_patches
        require_sound(data_dir, "train")
        raise


def _all(images: np.ndarray, turn: int = 0) -> Iterator[np.ndarray]:
    for batch in image_batches(images):
        for image in batch:
            yield turned(image, turn)


def _described(
    images: Iterable[np.ndarray], embedding: Any, batch_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Activations [n, d] and unit thumbnails [n, 1024] of images; none is kept."""
    thumbnails = []

    def seen() -> Iterator[np.ndarray]:
        for image in images:
            thumbnails.append(_thumbnail(image))
            yield image

    activations = embedding.embed(seen(), batch_size)
    return activations, np.stack(thumbnails)


def _thumbnail(image: np.ndarray) -> np.ndarray:
    """Grey pixels without their coarse part, of length 1: float32 [1024].

    Zeros for an image that shows nothing.
    """
    small = cv2.resize(
        image, (_THUMBNAIL, _THUMBNAIL), interpolation=cv2.INTER_AREA
    ).astype(np.float32)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    fine = (grey - cv2.GaussianBlur(grey, (0, 0), _COARSE)).ravel()
    fine = np.clip(fine, -_CLIPPED, _CLIPPED)
    length = np.linalg.norm(fine)
    return fine / length if length > _FLAT * _THUMBNAIL else np.zeros_like(fine)


def _nearest_other_case(activations: np.ndarray, cases: np.ndarray) -> np.ndarray:
    """float64 [n]: each one's distance to the nearest of another case; inf if none."""
    nearest = np.empty(len(activations))
    for start in range(0, len(activations), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        distances = pairwise_distances(activations[rows], activations)
        distances[cases[rows, None] == cases] = np.inf
        nearest[rows] = distances.min(axis=1)
    return nearest


def _compared(
    activations: np.ndarray,
    thumbnails: np.ndarray,
    photos: list[tuple[np.ndarray, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distances, the turn of the least, and the highest correlations, each [n, m]."""
    distances = turns = correlations = None
    for turn, (others, other_thumbnails) in enumerate(photos):
        distance = pairwise_distances(activations, others)
        correlation = thumbnails @ other_thumbnails.T
        if distances is None:
            distances, correlations = distance, correlation
            turns = np.zeros(distance.shape, np.int8)
            continue
        turns[distance < distances] = turn
        np.minimum(distances, distance, out=distances)
        np.maximum(correlations, correlation, out=correlations)
    return distances, turns, correlations


def _relative(distance: float, scale: float) -> float:
    if not np.isfinite(scale):
        return float("nan")
    return (
        distance / float(scale) if scale else (0.0 if distance == 0 else float("inf"))
    )


def _id(labelled: LabelledImages, row: int) -> str:
    return "" if labelled.image_ids is None else str(labelled.image_ids[row])


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


HELD_OUT = ("validation", "test")


def look_for_copies(
    splits: Mapping[str, LabelledImages],
    embedding: Any,
    synthetic: Mapping[str, LabelledImages] | None = None,
    *,
    more_photos: LabelledImages | None = None,
    allow_copies: bool = False,
    known: Mapping[str, Any] | None = None,
    cache_dir: str | os.PathLike | None = None,
    progress: Callable = silent,
) -> dict[str, Any]:
    """Refuses images to train on that are copies of validation or test photos.

    Args:
        splits: "train", "validation" and perhaps "test", as `train_classifier` takes
            them.
        embedding: with `.embed`, `.name` and `.fingerprint`; see
            `dermgan_tf.metrics.embeddings.Embedding`.
        synthetic: synthetic images, by a name for messages.
        more_photos: photographs to train on beside those of "train".
        allow_copies: bool. Whether photographs may be copies. Synthetic images never
            may.
        known: what an earlier call returned. If it was of the same images and
            embedding, nothing is looked for again.
        cache_dir: as of `read_labelled_splits`, for the pixels of held-out photos.
        progress: see `dermgan_tf.progress`.

    Returns:
        dict of JSON values: embedding (its name), of (sha256, hex, of all images and
        the embedding), photos (training photos looked at), synthetic (images looked
        at), found (training photos that are copies), pairs (the first three of them,
        as text).

    Raises:
        InputError: naming up to three copies; for a synthetic one always.
    """
    photos = {"training photos": splits["train"], "photos to add": more_photos}
    photos = {name: part for name, part in photos.items() if part is not None}
    synthetic = synthetic or {}
    of = _digest(splits, photos, synthetic, embedding)
    if not (known and known.get("of") == of):
        held_out = HeldOutPhotos(
            _held_out(splits, cache_dir), embedding, progress=progress
        )
        for name, part in synthetic.items():  # first: these end it in any case
            if found := held_out.copies_among(part, progress):
                raise InputError(
                    f"{len(found)} of {len(part)} synthetic images ({name}) look the "
                    f"same as validation or test photos: {named_pairs(found)}; their "
                    "generator seems to know these photos: train it on training cases "
                    "alone, or take these lines out of generated.jsonl"
                )
        found = [x for p in photos.values() for x in held_out.copies_among(p, progress)]
        known = {
            "embedding": embedding.name,
            "of": of,
            "photos": sum(map(len, photos.values())),
            "synthetic": sum(map(len, synthetic.values())),
            "found": len(found),
            "pairs": named_pairs(found),
        }
    if known["found"] and not allow_copies:
        raise InputError(
            f"{known['found']} of {known['photos']} training photos look the same as "
            f"validation or test photos: {known['pairs']}; take them out of either, "
            "give them one case, or pass --allow_copies to go on"
        )
    return dict(known)


def _held_out(splits: Mapping[str, LabelledImages], cache_dir) -> LabelledImages:
    """Validation and test as one; the ids tell which."""
    parts = []
    for name in HELD_OUT:
        if name in splits:
            part = splits[name]
            ids = range(len(part)) if part.image_ids is None else part.image_ids
            ids = np.array([f"{one} ({name})" for one in ids])
            parts.append(dataclasses.replace(part, image_ids=ids))
    return joined(parts, cache_dir)


def _digest(splits, photos, synthetic, embedding) -> str:
    parts = {
        **{name: splits[name] for name in HELD_OUT if name in splits},
        **photos,
        **{f"synthetic {name}": part for name, part in synthetic.items()},
    }
    told = {name: fingerprint_of(part) for name, part in parts.items()}
    told["embedding"] = embedding.fingerprint
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
