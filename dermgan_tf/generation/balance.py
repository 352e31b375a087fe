"""A plan of synthetic images that bring a training set to what it lacks.

How many images each class and skin type gets; `dermgan_tf.generation.scenes`
draws the maps. `generate --plan` paints the result. The same seed gives the same plan
anywhere.
"""

import collections
import dataclasses
import fractions
import json
import math
import os
import pathlib
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from dermgan_tf.errors import InputError
from dermgan_tf.generation.plan import MAX_SEED, Box, ImageSpec, check_seed
from dermgan_tf.generation.scenes import Scene, TypeCounts, count_crops, drawn_maps
from dermgan_tf.output_folder import atomic_write
from dermgan_tf.photos.draws import below, shuffled
from dermgan_tf.photos.semantic_map import MAX_SKIN_TYPE, SKIN_TYPE_NAMES
from dermgan_tf.photos.vocabulary import HEALTHY, Vocabulary

MAX_IMAGES = 10_000_000  # a plan of more is a slip of the keyboard
MAX_JITTER = 0.5


class PlanEntry(NamedTuple):
    """`count` images of one map, whose seeds count up from `seed`."""

    condition: str
    fitzpatrick: int
    boxes: tuple[Box, ...]
    count: int
    seed: int


@dataclasses.dataclass(frozen=True)
class SyntheticPlan:
    """What to paint, and why.

    Args:
        conditions: the vocabulary of the pairs, in its order.
        data_fingerprint: str. Of the pairs that the maps are from.
        settings: dict. What the plan was asked for, as JSON can hold it.
        real: for every class how many real images there are by skin type.
        entries: what to paint. No two images have the same map and seed.
        left_out: classes that were asked for but cannot be painted: no training crop
            has a box of them.
        full: classes that were asked for and lack nothing.
        unmet: int. Images that were asked for beyond `max_images`.
    """

    conditions: tuple[str, ...]
    data_fingerprint: str
    settings: Mapping[str, Any]
    real: Mapping[str, TypeCounts]
    entries: tuple[PlanEntry, ...]
    left_out: tuple[str, ...] = ()
    full: tuple[str, ...] = ()
    unmet: int = 0

    @property
    def images(self) -> int:
        """How many synthetic images there will be."""
        return sum(entry.count for entry in self.entries)

    def synthetic(self) -> dict[str, TypeCounts]:
        """For every class how many synthetic images there will be by skin type."""
        counts = {name: [0] * (MAX_SKIN_TYPE + 1) for name in self.real}
        for entry in self.entries:
            counts[entry.condition][entry.fitzpatrick] += entry.count
        return {name: tuple(by_type) for name, by_type in counts.items()}

    def image_specs(self) -> Iterator[ImageSpec]:
        """The images one by one, for `dermgan_tf.generation.painting.paint_specs`."""
        for condition, fitzpatrick, boxes, count, seed in self.entries:
            for i in range(count):
                own_seed = (seed + i) % (MAX_SEED + 1)
                yield ImageSpec(condition, fitzpatrick, boxes, own_seed)


def plan_synthetic(
    scenes: Sequence[Scene],
    vocabulary: Vocabulary,
    *,
    real: Mapping[str, TypeCounts] | None = None,
    counted: str = "training crops",
    fill_to: int | None = None,
    ratio: float | None = None,
    only: Sequence[str] | None = None,
    balance_skin_types: bool = False,
    max_images: int | None = None,
    jitter: float = 0.0,
    seed: int = 0,
    data_fingerprint: str = "",
) -> SyntheticPlan:
    """Plans synthetic images for classes, and skin types, that are short of real ones.

    An image's boxes are those of a training crop of the same class, all of that class
    in the crop together, turned by one of the 8 symmetries of the square as in
    training. Every crop comes once before any comes again, each time in another
    symmetry while there is one; a map that comes again has another seed.

    A class is planned by itself: its maps stay the same whatever `only` adds to it.

    Args:
        scenes: of the training split's crops.
        vocabulary: of the pairs.
        real: real images by class and skin type 0…6, to count on; default: the crops.
        counted: str. What was counted in `real`, for the plan's settings.
        fill_to: int ≥ 1. Every class gets as many as it lacks to this; default, unless
            there is a `ratio`: as many as the commonest class of all has.
        ratio: float > 0. Every class gets so many per real image instead, halves
            rounded up.
        only: the classes to plan for; default: all.
        balance_skin_types: bool. Whether a class's images go to the skin types 1…6
            that have least in it, so that the greatest difference between types, real
            images counted in, gets as small as it can. Images of unknown type do not
            count. Without it, skin types are those of the class's real images, unknown
            ones too, each coming once before any comes again.
        max_images: int ≥ 1. At most so many. With `fill_to` they go to the classes that
            have least, with `ratio` all get the same share of what they would.
        jitter: float, 0…0.5. The boxes of a map, taken together, are shifted by at most
            this share of their bounding box's side and scaled by at most 1 ± this.
        seed: int, 0…2³¹ − 1.
        data_fingerprint: str. Of the pairs.

    Returns:
        The plan. A class without a box in any training crop, unless it is healthy skin,
        gets nothing and is named in `left_out`.

    Raises:
        InputError: for an argument out of range, an unknown class, or a plan of more
            than 10,000,000 images.
    """
    _check_arguments(fill_to, ratio, max_images, jitter, seed)
    usable = collections.defaultdict(list)
    for scene in scenes:
        if scene.boxes or scene.condition == HEALTHY:
            usable[scene.condition].append(scene)
    given = count_crops(scenes) if real is None else real
    nothing = (0,) * (MAX_SKIN_TYPE + 1)
    others = sorted(set(given) - set(vocabulary))
    real = {name: given.get(name, nothing) for name in (*vocabulary, *others)}
    chosen = chosen_classes(only, real)
    totals = {name: sum(real[name]) for name in real}
    if ratio is None and fill_to is None:
        fill_to = max(totals.values())
    names = [name for name in chosen if usable[name]]
    has = [totals[name] for name in names]
    if ratio is None:
        wanted = [max(fill_to - n, 0) for n in has]
    else:
        exact = fractions.Fraction(str(ratio))
        wanted = [math.floor(exact * n + fractions.Fraction(1, 2)) for n in has]
    budget = sum(wanted) if max_images is None else min(sum(wanted), max_images)
    if budget > MAX_IMAGES:
        raise InputError(
            f"a plan of {budget:,} images; at most {MAX_IMAGES:,} are planned: ask for "
            "less, or set --max_images"
        )
    unmet = sum(wanted) - budget
    full = tuple(name for name, n in zip(names, wanted, strict=True) if not n)
    if ratio is None:
        # What brings the least to a level brings all of them to fill_to in the end.
        wanted = spread_evenly(has, budget)
    else:
        wanted = _shared_out(wanted, budget)
    entries = []
    next_seed = below(random.Random(f"seeds {seed}"), MAX_SEED + 1)
    for name, number in zip(names, wanted, strict=True):
        rng = random.Random(f"{seed} {name}")
        types = _skin_types(real[name], usable[name], number, balance_skin_types, rng)
        maps = drawn_maps(usable[name], types, jitter, rng)
        for (fitzpatrick, boxes), count in maps.items():
            entries.append(PlanEntry(name, fitzpatrick, boxes, count, next_seed))
            next_seed = (next_seed + count) % (MAX_SEED + 1)
    settings = {
        "counted": counted,
        "fill_to": fill_to,
        "ratio": ratio,
        "only": None if only is None else chosen,
        "balance_skin_types": balance_skin_types,
        "max_images": max_images,
        "jitter": jitter,
        "seed": seed,
    }
    return SyntheticPlan(
        vocabulary.conditions,
        data_fingerprint,
        settings,
        real,
        tuple(entries),
        left_out=tuple(name for name in chosen if not usable[name]),
        full=full,
        unmet=unmet,
    )


def chosen_classes(only: Sequence[str] | None, known: Iterable[str]) -> list[str]:
    """The classes to plan for, in the order of `known`; None stands for all.

    Raises:
        InputError: for an empty list, or a class that is not known.
    """
    known = list(known)
    if only is None:
        return known
    if isinstance(only, str) or not only:
        raise InputError(f"only names no class: {only!r}; known: {', '.join(known)}")
    for name in only:
        if name not in known:
            raise InputError(f"unknown class {name!r}; known: {', '.join(known)}")
    return [name for name in known if name in only]


def write_plan(path: str | os.PathLike, plan: SyntheticPlan) -> None:
    """Writes a plan for `generate --plan`: compact JSON, an entry a line.

    The file appears whole or not at all, and is the same for the same plan, byte for
    byte.

    Raises:
        InputError: if `path` is a folder.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder; a plan is a file such as plan.json")
    synthetic = plan.synthetic()
    head = {
        "conditions": plan.conditions,
        "data_fingerprint": plan.data_fingerprint,
        "settings": plan.settings,
        "classes": {
            name: {"real": plan.real[name], "synthetic": synthetic[name]}
            for name in plan.real
        },
    }
    parts = [f'"{key}":{_compact(value)}' for key, value in head.items()]
    lines = []
    for entry in plan.entries:
        values = entry._asdict()
        if entry.count == 1:  # as read_plan takes it
            del values["count"]
        lines.append(_compact(values))
    images = ",\n".join(lines)
    text = "{" + ",\n".join([*parts, f'"images":[\n{images}\n]']) + "}\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, text.encode())


def plan_table(plan: SyntheticPlan) -> str:
    """A plan as text: class × real, synthetic, total, and skin types before → after."""
    synthetic = plan.synthetic()
    columns = [*range(1, MAX_SKIN_TYPE + 1), 0]
    rows = [
        ["class", "real", "synthetic", "total", *(SKIN_TYPE_NAMES[t] for t in columns)]
    ]
    counts = [(name, plan.real[name], synthetic[name]) for name in plan.real]
    counts.append(("all", _summed(plan.real), _summed(synthetic)))
    for name, before, added in counts:
        totals = [sum(before), sum(added), sum(before) + sum(added)]
        types = [
            f"{before[t]}→{before[t] + added[t]}" if added[t] else f"{before[t]}"
            for t in columns
        ]
        rows.append([name, *map(str, totals), *types])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])])
        for row in rows
    )


def spread_evenly(counts: Sequence[int], budget: int) -> list[int]:
    """How many to add to each so that the least ones rise together, to one level.

    Of all ways to add `budget`, this leaves the smallest difference between the
    greatest and the least sum. What is over at the end goes to the first of the least.

    Args:
        counts: ints ≥ 0, at least one unless `budget` is 0.
        budget: int ≥ 0. The sum of what is added.

    Returns:
        An int ≥ 0 a count.
    """
    sums = list(counts)
    while budget:
        level = min(sums)
        least = [i for i, n in enumerate(sums) if n == level]
        step = budget // len(least)
        higher = [n for n in sums if n > level]
        if higher:
            step = min(step, min(higher) - level)
        if not step:  # fewer left than there are least ones
            least, step = least[:budget], 1
        for i in least:
            sums[i] += step
        budget -= step * len(least)
    return [after - before for after, before in zip(sums, counts, strict=True)]


def _shared_out(wanted: Sequence[int], budget: int) -> list[int]:
    """`budget` in proportion to `wanted`; the largest remainders are rounded up."""
    total = sum(wanted)
    if not total:
        return list(wanted)
    shares = [divmod(n * budget, total) for n in wanted]
    order = sorted(range(len(wanted)), key=lambda i: -shares[i][1])
    more = set(order[: budget - sum(whole for whole, _ in shares)])
    return [whole + (i in more) for i, (whole, _) in enumerate(shares)]


def _skin_types(
    real: TypeCounts,
    scenes: Sequence[Scene],
    number: int,
    balance: bool,
    rng: random.Random,
) -> list[int]:
    """The skin types of a class's images, in random order."""
    if balance:
        known = shuffled(range(1, MAX_SKIN_TYPE + 1), rng)  # no type is always first
        added = spread_evenly([real[t] for t in known], number)
        types = [t for t, n in zip(known, added, strict=True) for _ in range(n)]
        return shuffled(types, rng)
    if not sum(real):  # the annotations have no such photo, the pairs have crops
        real = count_crops(scenes)[scenes[0].condition]
    own = [t for t, n in enumerate(real) for _ in range(n)]
    types = []
    while len(types) < number:
        types += shuffled(own, rng)[: number - len(types)]
    return types


def _check_arguments(fill_to, ratio, max_images, jitter, seed) -> None:
    if fill_to is not None and ratio is not None:
        raise InputError("give fill_to or ratio, not both")
    for name, value in (("fill_to", fill_to), ("max_images", max_images)):
        if value is not None and value < 1:
            raise InputError(f"{name} must be at least 1, got {value}")
    if ratio is not None and not 0 < ratio < math.inf:
        raise InputError(f"ratio must be a number above 0, got {ratio}")
    if not 0 <= jitter <= MAX_JITTER:
        raise InputError(f"jitter must be 0 to {MAX_JITTER}, got {jitter}")
    check_seed(seed)


def _summed(counts: Mapping[str, TypeCounts]) -> TypeCounts:
    return tuple(map(sum, zip(*counts.values(), strict=True)))


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
