"""Questions to an atlas: an own photo, and one condition on six skin colours."""

from collections.abc import Sequence

import numpy as np

from dermgan_tf.apps.atlas.filters import ROMAN, SKIN_TYPES, Filters
from dermgan_tf.apps.atlas.pictures import shrunk
from dermgan_tf.apps.atlas.store import AtlasStore, Facts
from dermgan_tf.apps.atlas.vectors import unit_vectors
from dermgan_tf.errors import InputError
from dermgan_tf.photos.contact_sheet import contact_sheet
from dermgan_tf.photos.photo_io import decode_photo

_ALT = {
    "real": "Photograph",
    "phantom": "Drawn phantom",
    "synthetic": "Synthetic image",
}


def vector_of(image: np.ndarray, embedding, picture_size: int) -> np.ndarray:
    """The vector of a photo of one's own, made as those of the atlas were.

    Args:
        image: np.uint8 [H, W, 3].
        embedding: of the atlas.
        picture_size: int. Of the atlas.

    Returns:
        np.float32 [d], of length 1.
    """
    return unit_vectors(embedding.embed([shrunk(image, picture_size)]))[0]


def on_skin_colours(
    store: AtlasStore,
    vector: np.ndarray,
    condition: str,
    each: int = 3,
    provenances: Sequence[str] = (),
    exact: bool = False,
    without: str = "",
) -> dict[int, list[Facts]]:
    """The images of a condition most like a vector, for each of the six skin types.

    Args:
        store: the atlas.
        vector: np.float32 [d].
        condition: one of the atlas'.
        each: int ≥ 1. Images of a skin type, at most.
        provenances: only these; empty = all.
        exact, without: see `AtlasStore.similar`.

    Returns:
        skin type 1…6 -> images, the most similar first; perhaps none.

    Raises:
        InputError: for an unknown condition.
    """
    if condition not in store.about.conditions:
        raise InputError(f"unknown condition {condition[:80]!r}")
    found = {}
    for skin_type in SKIN_TYPES:
        wanted = Filters((condition,), (skin_type,), tuple(provenances))
        found[skin_type] = store.similar(
            vector, wanted, each, exact=exact, without=without
        )
    return found


def admitted_by(counts, filters: Filters) -> int:
    """How many images of `AtlasStore.counts` the filters admit."""
    return sum(count for key, count in counts.items() if filters.admits(*key))


def described(facts: Facts) -> str:
    """An image in words, as for who cannot see it."""
    skin = ROMAN[facts.fitzpatrick]
    return f"{_ALT[facts.provenance]}: {facts.condition}, skin type {skin}"


def sheet_of(
    store: AtlasStore,
    rows: Sequence[Sequence[Facts]],
    labels: Sequence[str],
    title: str,
) -> np.ndarray:
    """A contact sheet, np.uint8 [H, W, 3]; synthetic images bear their mark.

    Args:
        store: the atlas.
        rows: images by row.
        labels: a text left of each row.
        title: a text above.
    """
    pictures = [[_pixels(store, one.id) for one in row] for row in rows]
    return contact_sheet(pictures, labels, title=title, cell=160)


def _pixels(store: AtlasStore, image_id: str) -> np.ndarray:
    kept = store.picture(image_id)
    if kept is None:
        raise InputError(f"the atlas {store.where} has no image {image_id}")
    return decode_photo(kept[0], f"image {image_id}", min_side=1)
