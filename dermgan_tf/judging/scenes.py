"""The held-out scenes that a generator is judged on, and painting them in batches."""

import heapq
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from dermgan_tf.errors import InputError

BATCH_SIZE = 16  # images painted together
_SCENES_AT_ONCE = 8

Scene = tuple[int, dict[str, Any]]  # (position among all pairs, the pair)


def drawn_scenes(
    pairs: Iterable[dict[str, Any]],
    image_size: int,
    max_scenes: int | None = None,
    seed: int = 0,
    suits: Callable[[dict[str, Any]], bool] = lambda pair: True,
    group_of: Callable[[dict[str, Any]], str] = lambda pair: "",
) -> list[Scene]:
    """Draws scenes at random, of as many cases as can be: at first one of each.

    Args:
        pairs: dicts as `read_pairs` yields; no more than are drawn are held.
        image_size: int. What the generator paints.
        max_scenes: int ≥ 1. Of each group; None keeps all.
        seed: int. Of the draw.
        suits: which pairs may be drawn.
        group_of: the group of a pair; by default all are of one.

    Returns:
        The scenes in the order of the draw: the first n of a group are a draw of n. The
        position serves as the scene's seed.

    Raises:
        InputError: if a pair is synthetic or has another size.
    """
    if max_scenes is not None and max_scenes < 1:
        raise InputError(f"at least 1 scene is judged, got {max_scenes}")
    rng = np.random.default_rng(seed)
    seen = Counter()
    groups: dict[str, list[tuple[tuple, Scene]]] = {}  # heaps, the last drawn on top
    for position, pair in enumerate(pairs):
        require_photograph(pair)
        side = len(pair["semantic_map"])
        if side != image_size:
            raise InputError(
                f"the generator paints {image_size} × {image_size} pixels, the map of "
                f"{pair['image_id']} has {side}"
            )
        if not suits(pair):
            continue
        name, case = group_of(pair), pair["case_id"]
        drawn = groups.setdefault(name, [])
        heapq.heappush(drawn, ((-seen[name, case], rng.random()), (position, pair)))
        seen[name, case] += 1
        if max_scenes is not None and len(drawn) > max_scenes:
            heapq.heappop(drawn)
    return [
        scene
        for name in sorted(groups)
        for _, scene in sorted(groups[name], key=lambda item: item[0], reverse=True)
    ]


def require_photograph(pair: dict[str, Any]) -> None:
    """Raises InputError for a synthetic pair."""
    if pair["source"] == "synthetic":
        raise InputError(
            f"{pair['image_id']} is synthetic; synthetic images are judged against "
            "photographs only"
        )


def painted(
    generator: Any,
    scenes: Sequence[Scene],
    variants: Callable[[int, dict[str, Any]], tuple[np.ndarray, Sequence[int]]],
) -> Iterator[tuple[int, dict[str, Any], np.ndarray, np.ndarray]]:
    """Paints variants of each scene, a batch at a time.

    Args:
        generator: with `.paint(semantic_maps, seeds)`.
        scenes: from `drawn_scenes`.
        variants: (position, pair) -> (maps np.uint8 [K, S, S, 3], K seeds).

    Yields:
        (position, pair, maps, images), images np.uint8 [K, S, S, 3].
    """
    scenes = iter(scenes)
    while some := list(itertools.islice(scenes, _SCENES_AT_ONCE)):
        planned = [variants(position, pair) for position, pair in some]
        maps = np.concatenate([own for own, _ in planned])
        seeds = np.concatenate([own for _, own in planned])
        images = np.concatenate(
            [
                generator.paint(maps[i : i + BATCH_SIZE], seeds[i : i + BATCH_SIZE])
                for i in range(0, len(maps), BATCH_SIZE)
            ]
        )
        ends = np.cumsum([len(own) for own, _ in planned])
        for (position, pair), own, end in zip(some, planned, ends, strict=True):
            yield position, pair, own[0], images[end - len(own[0]) : end]
