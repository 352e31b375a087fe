"""Does the generator paint training photographs again?

Every synthetic image, painted from a held-out map, has a nearest training image; so has
the held-out photograph of that map, whose patient is in no training image. Memory shows
where synthetic images come nearer than such photographs do. Two measures, of
activations:
    distance  Euclidean, to the nearest training image
    relative  that distance over the mean one to the 50 nearest: adapts to how densely
              training images lie there (after Carlini et al. 2023, "Extracting training
              data from diffusion models"). A dull image is near to all of them; a copy
              is nearer to one than to the others.

Of each, the share of synthetic images at or under the 1st percentile of the held-out
ones is told, and the probability of so many by chance. It is a permutation test: the
two images of a map are exchanged, those of a case together, and the percentile is taken
anew. A binomial test would take the threshold as known, though it is estimated from
few photographs; that, and Fisher's exact test, would take crops of one case as
independent.

The verdict: memorised, where p < 0.01 by both measures, or where any image is nearer
than a tenth of the distance's threshold, as no photograph of another patient is.
Training turns and flips its images, so each image is compared in all eight positions of
the square, and takes the nearest; held-out photographs likewise.

A generator not caught here may still remember what this embedding does not see, or
paint it only from the training maps themselves.
"""

import itertools
from collections.abc import (
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from typing import Any

import numpy as np

from dermgan_tf.errors import InputError
from dermgan_tf.judging.intervals import share
from dermgan_tf.judging.scenes import drawn_scenes, painted
from dermgan_tf.metrics.activations import checked_activations
from dermgan_tf.metrics.neighbors import nearest_neighbours, pairwise_distances
from dermgan_tf.photos.contact_sheet import contact_sheet
from dermgan_tf.progress import silent

PERCENTILE = 1
NEIGHBOURHOOD = 50  # training images, Carlini et al. 2023
SIGNIFICANCE = 0.01
COPY = 0.1  # of the threshold: nearer than this is a copy
CLOSEST = 10
MIN_CASES = 8  # with fewer, no permutation test comes under SIGNIFICANCE
HISTOGRAM_BINS = 40
_PERMUTATIONS = 2000
_ROWS_AT_ONCE = 256
_SCENES_AT_ONCE = 32
_TURNS = 8


def memorization(
    generator: Any,
    embedding: Any,
    pairs: Iterable[dict[str, Any]],
    train_activations: np.ndarray,
    train_cases: Collection[str],
    max_scenes: int | None = 500,
    mirrored: bool = True,
    seed: int = 0,
    progress: Callable = silent,
) -> dict[str, Any]:
    """Judges whether synthetic images are copies of training images.

    Args:
        generator: with `.paint` and `.image_size`.
        embedding: with `.embed`.
        pairs: held-out pairs as `read_pairs` yields.
        train_activations: [m, d], by `embedding`, of all images that the generator was
            trained on.
        train_cases: the cases that these show.
        max_scenes: int ≥ 1, or None for all. Maps to paint from; a scene's seed is its
            position among `pairs`.
        mirrored: bool. Whether images are compared in all eight flips and transposes;
            takes eight times as long.
        seed: int. Of the draw of scenes and of the permutations.
        progress: see `dermgan_tf.progress`.

    Returns:
        dict of JSON values:
        memorised     bool by the rule above; None where it is undefined
        undefined     why, or None
        scenes, cases, train_images, mirrored
        copies        how many images are nearer than a tenth of distance's threshold
        distance, relative   each a dict of
            threshold   the 1st percentile of held-out photographs
            synthetic   share at or under it, as `dermgan_tf.judging.intervals.share`
                        returns it
            expected    the same share of held-out photographs: 0.01, or 1/scenes where
                        that is more
            p           one-sided, over 2,000 permutations
            percentiles synthetic, held_out: the 1st, 5th, 50th
            histogram   edges (HISTOGRAM_BINS + 1), and counts synthetic and held_out
        closest       the ten synthetic images nearest to a training image, as dicts of
                      synthetic (position among `pairs`), train (row of the
                      activations), distance, relative, and turn, see `turned`

    Raises:
        InputError: for no pairs or no training pairs, a synthetic one, one of another
            image size, a case in both, or activations that are not finite.
    """
    scenes = drawn_scenes(pairs, generator.image_size, max_scenes, seed)
    if not scenes:
        raise InputError("there are no held-out pairs to judge memory by")
    cases = [pair["case_id"] for _, pair in scenes]
    train = checked_activations(train_activations, "training images'", min_samples=1)
    if shared := set(cases).intersection(train_cases):
        raise InputError(f"case {min(shared)} is both held out and trained on")
    turns = range(_TURNS if mirrored else 1)
    activations = {"synthetic": [], "held_out": []}  # each [turns, some, d]
    progressing = progress(
        painted(generator, scenes, lambda i, pair: (pair["semantic_map"][None], [i])),
        total=len(scenes),
        desc="painting, embedding",
    )
    for some in _batches(progressing, _SCENES_AT_ONCE):
        images = {
            "synthetic": [image[0] for *_, image in some],
            "held_out": [pair["image"] for _, pair, *_ in some],
        }
        for kind, found in activations.items():
            found.append(
                [
                    embedding.embed(turned(i, turn) for i in images[kind])
                    for turn in turns
                ]
            )
    nearest = {
        kind: _nearest(np.concatenate(found, axis=1), train)
        for kind, found in activations.items()
    }
    synthetic, held_out = nearest["synthetic"], nearest["held_out"]
    found = {
        measure: _compared(synthetic[measure], held_out[measure], cases, seed)
        for measure in ("distance", "relative")
    }
    threshold = found["distance"]["threshold"]
    copies = int((synthetic["distance"] < COPY * threshold).sum())
    memorised = copies > 0 or all(f["p"] < SIGNIFICANCE for f in found.values())
    undefined = None
    if threshold == 0:
        undefined = (
            "held-out photographs are equal to training images: the splits share "
            "photographs, or the embedding does not tell images apart"
        )
    elif len(set(cases)) < MIN_CASES and not memorised:
        undefined = f"{len(set(cases))} cases; {MIN_CASES} are needed to exclude chance"
    first = np.argsort(synthetic["distance"], kind="stable")[:CLOSEST]
    return {
        "memorised": None if undefined else memorised,
        "undefined": undefined,
        "scenes": len(scenes),
        "cases": len(set(cases)),
        "train_images": len(train),
        "mirrored": mirrored,
        "copies": copies,
        **found,
        "closest": [
            {
                "synthetic": scenes[i][0],
                "train": int(synthetic["train"][i]),
                "distance": float(synthetic["distance"][i]),
                "relative": float(synthetic["relative"][i]),
                "turn": int(synthetic["turn"][i]),
            }
            for i in first
        ],
    }


def closest_sheet(
    closest: Sequence[dict[str, Any]],
    synthetic: Mapping[int, np.ndarray],
    train: Mapping[int, np.ndarray],
) -> np.ndarray:
    """The sheet of the synthetic images nearest to training images, beside those.

    Args:
        closest: as `memorization` returns it.
        synthetic, train: np.uint8 [S, S, 3] by the positions that `closest` names. A
            synthetic image is painted again from its map, with its position as seed.

    Returns:
        np.uint8 [H, W, 3]. Synthetic images are turned the way that they were compared.
    """
    return contact_sheet(
        [
            [turned(synthetic[one["synthetic"]], one["turn"]), train[one["train"]]]
            for one in closest
        ],
        row_labels=[
            f"distance {one['distance']:.3g}\nrelative {one['relative']:.2f}"
            for one in closest
        ],
        column_labels=["synthetic", "nearest training image"],
        title="SYNTHETIC images nearest to training images",
    )


def turned(image: np.ndarray, turn: int) -> np.ndarray:
    """One of the eight positions of a square image [S, S, 3].

    Args:
        image: the image.
        turn: int, 0…7. 0 is the image itself; bit 0 flips left and right, then bit 1 up
            and down, then bit 2 transposes.
    """
    if turn & 1:
        image = image[:, ::-1]
    if turn & 2:
        image = image[::-1]
    if turn & 4:
        image = image.swapaxes(0, 1)
    return np.ascontiguousarray(image)


def _nearest(activations: np.ndarray, train: np.ndarray) -> dict[str, np.ndarray]:
    """The nearest training image of each image, in its best turn.

    Args:
        activations: [turns, n, d].
        train: [m, d].

    Returns:
        dict of distance and relative (float64 [n]), train and turn (int [n]).
    """
    turns, count, features = activations.shape
    distances, indices = nearest_neighbours(activations.reshape(-1, features), train)
    distances = distances.reshape(turns, count)
    turn, every = distances.argmin(axis=0), np.arange(count)
    best = activations[turn, every]
    neighbours = min(NEIGHBOURHOOD, len(train))
    typical = np.concatenate(
        [
            np.partition(
                pairwise_distances(best[i : i + _ROWS_AT_ONCE], train), neighbours - 1
            )[:, :neighbours].mean(axis=1)
            for i in range(0, count, _ROWS_AT_ONCE)
        ]
    )
    distance = distances[turn, every]
    return {
        "distance": distance,
        # Where all neighbours are equal to the image, none is more so than others.
        "relative": np.divide(distance, typical, np.ones(count), where=typical > 0),
        "train": indices.reshape(turns, count)[turn, every],
        "turn": turn,
    }


def _compared(
    synthetic: np.ndarray, held_out: np.ndarray, cases: Sequence[str], seed: int
) -> dict[str, Any]:
    threshold = _threshold(held_out)
    near = synthetic <= threshold
    farthest = max(synthetic.max(), held_out.max())
    edges = np.linspace(0, farthest or 1.0, HISTOGRAM_BINS + 1)
    names, case_of = np.unique(cases, return_inverse=True)
    rng = np.random.default_rng(seed)
    reached = 0
    for _ in range(_PERMUTATIONS):
        exchanged = (rng.random(len(names)) < 0.5)[case_of]
        limit = _threshold(np.where(exchanged, synthetic, held_out))
        reached += (
            np.where(exchanged, held_out, synthetic) <= limit
        ).sum() >= near.sum()
    return {
        "threshold": threshold,
        "synthetic": share(near, cases),
        "expected": float((held_out <= threshold).mean()),
        "p": float((1 + reached) / (1 + _PERMUTATIONS)),
        "percentiles": {
            kind: {str(q): float(np.percentile(values, q)) for q in (1, 5, 50)}
            for kind, values in (("synthetic", synthetic), ("held_out", held_out))
        },
        "histogram": {
            "edges": edges.tolist(),
            **{
                kind: np.histogram(values, edges)[0].tolist()
                for kind, values in (("synthetic", synthetic), ("held_out", held_out))
            },
        },
    }


def _threshold(distances: np.ndarray) -> float:
    """The 1st percentile that is one of the distances: the lowest of up to 100."""
    rank = -(-len(distances) * PERCENTILE // 100) - 1
    return float(np.partition(distances, rank)[rank])


def _batches(items: Iterable, size: int) -> Iterator[list]:
    items = iter(items)
    while batch := list(itertools.islice(items, size)):
        yield batch
