"""Looks for copies of validation and test photos among all that is trained on.

By the rule of `dermgan_tf.classifier.leakage`. Every image is embedded once, a held-out
photo four times, for its flips. With MobileNetV2 at 160 × 160 pixels
`benchmarks.copies` printed 10 processor seconds for 1,000 images, and 44 and 50 for
1,000 held-out ones; the commands are in docs/duplicates.md.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from dermgan_tf.classifier.labelled_images import LabelledImages, fingerprint_of, joined
from dermgan_tf.classifier.leakage import HeldOutPhotos, named_pairs
from dermgan_tf.errors import InputError
from dermgan_tf.progress import silent

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
