"""Draws a study's images: stratified by condition and skin type, none twice."""

import collections
import dataclasses
import random
from collections.abc import Callable, Hashable, Mapping, Sequence

from dermgan_tf.apps.reader_study.pools import KINDS, Candidate
from dermgan_tf.errors import InputError
from dermgan_tf.photos.draws import below, shuffled


@dataclasses.dataclass(frozen=True)
class Question:
    """A question of part 2: which of these images show the condition?

    Args:
        condition: str. What is asked for.
        images: for each kind, "real" and "synthetic", places in its pool.
    """

    condition: str
    images: dict[str, list[int]]


@dataclasses.dataclass(frozen=True)
class Draw:
    """A study's images.

    Args:
        turing: for each kind the places in its pool of part 1's images.
        recognition: the questions of part 2.
        notes: what could not be had as it should be, a line each.
    """

    turing: dict[str, list[int]]
    recognition: list[Question]
    notes: list[str]


def draw_study(
    pools: Mapping[str, Sequence[Candidate]],
    counts: Mapping[str, int],
    questions: int,
    images_per_question: int,
    seed: int,
) -> Draw:
    """Draws the images of both parts.

    Part 1 shows equally many real and synthetic images of each condition, and of each
    skin type of it, as far as both pools have them: else the condition or the colour
    would tell which are synthetic. Conditions get equal shares, and so do the skin
    types of a condition. In part 2 half of a question's images are real and half
    synthetic; how many of each half show the condition is drawn from 1 to half − 1, so
    that counting does not help. No image comes twice, and images of one case
    only when there are no others.

    Args:
        pools: candidates by kind, "real" and "synthetic".
        counts: images of part 1 by kind; both may be 0.
        questions: int. Questions of part 2; may be 0.
        images_per_question: int, even, at least 4.
        seed: int. The same seed and pools give the same draw.

    Raises:
        InputError: when the pools do not hold enough.
    """
    if questions and (images_per_question < 4 or images_per_question % 2):
        raise InputError(
            f"{images_per_question} images a question: want an even number from 4 on"
        )
    rng = random.Random(seed)
    left = {kind: _Remaining(pools[kind], rng) for kind in KINDS}
    notes: list[str] = []
    turing = _draw_turing(left, counts, rng, notes)
    asked = _draw_recognition(left, questions, images_per_question // 2, rng)
    return Draw(turing, asked, notes)


class _Remaining:
    """What of a pool is not drawn yet, in random order, other cases first."""

    def __init__(self, candidates: Sequence[Candidate], rng: random.Random):
        self._candidates = candidates
        self._left = shuffled(range(len(candidates)), rng)
        self._of_case: collections.Counter = collections.Counter()

    def count(self, wanted: Callable[[Candidate], Hashable]) -> collections.Counter:
        """How many are left by what `wanted` says of them; those of None are none."""
        keys = (wanted(self._candidates[place]) for place in self._left)
        return collections.Counter(key for key in keys if key is not None)

    def take(self, count: int, wanted: Callable[[Candidate], bool]) -> list[int]:
        """Takes `count` of those wanted, or all there are."""
        taken = []
        for _ in range(count):
            found = [p for p in self._left if wanted(self._candidates[p])]
            if not found:
                break
            # min takes the first of equals, and the order is random.
            best = min(found, key=lambda p: self._of_case[self._candidates[p].case])
            self._left.remove(best)
            self._of_case[self._candidates[best].case] += 1
            taken.append(best)
        return taken


def _draw_turing(left, counts, rng, notes) -> dict[str, list[int]]:
    for kind in KINDS:
        have = sum(left[kind].count(lambda c: c.condition).values())
        if have < counts[kind]:
            raise InputError(
                f"part 1 wants {counts[kind]} {kind} images, there are {have}; ask for "
                f"fewer (--{kind}) or give more"
            )
    drawn: dict[str, list[int]] = {kind: [] for kind in KINDS}
    matched = min(counts.values())
    held = {kind: left[kind].count(lambda c: c.condition) for kind in KINDS}
    by_condition = _equal_shares(_both(held), matched, rng)
    same_type = 0
    for condition, wanted in sorted(by_condition.items()):

        def type_of(c, condition=condition):
            return c.fitzpatrick if c.condition == condition else None

        types = {kind: left[kind].count(type_of) for kind in KINDS}
        both = _equal_shares(_both(types), wanted, rng)
        same_type += sum(both.values())
        for kind in KINDS:
            own = collections.Counter(both)
            rest = types[kind] - own
            own.update(_equal_shares(rest, wanted - sum(both.values()), rng))
            for fitzpatrick, number in sorted(own.items()):
                drawn[kind] += left[kind].take(
                    number, lambda c, t=fitzpatrick: type_of(c) == t
                )
    of_condition = sum(by_condition.values())
    if of_condition < matched:
        notes.append(
            f"part 1: only {of_condition} of {matched} real images have a synthetic "
            "one of the same condition beside them, so that conditions tell"
        )
    if same_type < of_condition:
        notes.append(
            f"part 1: only {same_type} of {of_condition} real images have a synthetic "
            "one of the same condition and skin type beside them, so that skin colour "
            "may tell"
        )
    for kind in KINDS:
        missing = counts[kind] - len(drawn[kind])
        rest = left[kind].count(lambda c: (c.condition, c.fitzpatrick))
        for cell, number in sorted(_equal_shares(rest, missing, rng).items()):
            drawn[kind] += left[kind].take(
                number, lambda c, cell=cell: (c.condition, c.fitzpatrick) == cell
            )
    return drawn


def _draw_recognition(left, questions, half, rng) -> list[Question]:
    asked: collections.Counter = collections.Counter()
    drawn = []
    for number in range(questions):
        both = _both({kind: left[kind].count(lambda c: c.condition) for kind in KINDS})
        few = min((asked[name] for name in both), default=0)
        names = sorted(name for name in both if asked[name] == few)
        if not names:
            raise _too_few(questions, number)
        condition = names[below(rng, len(names))]
        asked[condition] += 1
        images = {}
        for kind in KINDS:
            wanted = 1 + below(rng, half - 1)
            shown = _take_showing(left[kind], condition, wanted, rng)
            others = _take_others(left[kind], condition, half - len(shown), rng)
            if len(shown) + len(others) < half:
                raise _too_few(questions, number)
            images[kind] = shown + others
        drawn.append(Question(condition, images))
    return drawn


def _take_showing(left: _Remaining, condition: str, count: int, rng) -> list[int]:
    """Images of a condition, of all its skin types alike; fewer if there are fewer."""
    types = left.count(lambda c: c.fitzpatrick if c.condition == condition else None)
    taken = []
    for fitzpatrick, share in sorted(_equal_shares(types, count, rng).items()):
        cell = condition, fitzpatrick
        taken += left.take(
            share, lambda c, cell=cell: (c.condition, c.fitzpatrick) == cell
        )
    return taken


def _take_others(left: _Remaining, condition: str, count: int, rng) -> list[int]:
    """Images without a condition, each of what is then the commonest other one.

    Rare ones are kept for their own questions.
    """
    taken: list[int] = []
    while len(taken) < count:
        others = left.count(lambda c: None if condition in c.shows else c.condition)
        if not others:
            break
        most = max(others.values())
        names = sorted(name for name in others if others[name] == most)
        name = names[below(rng, len(names))]
        taken += left.take(
            1, lambda c, name=name: c.condition == name and condition not in c.shows
        )
    return taken


def _too_few(questions: int, number: int) -> InputError:
    return InputError(
        f"part 2 wants {questions} questions, there are real and synthetic images, of "
        f"the condition asked for and of others, for {number}; ask for fewer "
        "(--questions, --images_per_question), or give more images"
    )


def _both(held: Mapping[str, collections.Counter]) -> collections.Counter:
    """What is there in both kinds: of each key the smaller count."""
    return held["real"] & held["synthetic"]


def _equal_shares(
    capacity: Mapping[Hashable, int], total: int, rng: random.Random
) -> dict[Hashable, int]:
    """Shares `total` out equally, as far as each can take it; odd ones go at random."""
    shares = dict.fromkeys(capacity, 0)
    total = min(total, sum(capacity.values()))
    while total > 0:
        open_keys = [k for k in sorted(capacity) if shares[k] < capacity[k]]
        level = min(shares[k] for k in open_keys)
        lowest = [k for k in open_keys if shares[k] == level]
        for key in shuffled(lowest, rng)[:total]:
            shares[key] += 1
            total -= 1
    return {key: share for key, share in shares.items() if share}
