"""Which cases there are: conditions with a long tail, skin types, photos of each."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from dermgan_tf.errors import InputError
from dermgan_tf.phantom.conditions import LOOKS
from dermgan_tf.photos.vocabulary import Vocabulary

# Shares of Fitzpatrick types I…VI: uneven, the ends rarer, none missing.
SKIN_TYPE_SHARES = (0.08, 0.21, 0.26, 0.21, 0.15, 0.09)

# Shares of cases with 1…6 photos.
PHOTO_COUNT_SHARES = (0.16, 0.24, 0.24, 0.18, 0.11, 0.07)


@dataclasses.dataclass(frozen=True)
class PhantomCase:
    """One imagined patient visit; with a photo's index it says all that is drawn.

    Args:
        case_id: str. Unique within a plan.
        condition: str. The diagnosis.
        fitzpatrick: int, 1…6.
        num_photos: int. Photos of the case.
        index: int. The case's place in its plan.
        seed: int. The plan's seed.
    """

    case_id: str
    condition: str
    fitzpatrick: int
    num_photos: int
    index: int
    seed: int


def phantom_vocabulary(num_conditions: int = 8) -> Vocabulary:
    """The first conditions of a fixed order, in which the default eight lead.

    Args:
        num_conditions: int, 1…27.

    Raises:
        InputError: for another number.
    """
    if not 1 <= num_conditions <= len(LOOKS):
        raise InputError(
            f"the phantom has 1…{len(LOOKS)} conditions, asked for {num_conditions}"
        )
    return Vocabulary(list(LOOKS)[:num_conditions])


def case_plan(
    num_cases: int,
    vocabulary: Vocabulary,
    seed: int,
    skin_type_shares: Sequence[float] = SKIN_TYPE_SHARES,
    prefix: str = "phantom",
    first_index: int = 0,
) -> list[PhantomCase]:
    """Plans the cases: class balance with a long tail, uneven skin types.

    Shares are met as nearly as whole cases allow; a condition is missing only when
    there are fewer cases than conditions. Skin types are dealt out over all cases, not
    within each condition.

    Args:
        num_cases: int, at least 1.
        vocabulary: conditions that the phantom can draw.
        seed: int, at least 0.
        skin_type_shares: of the types I…VI, six numbers from 0 on, not all 0; only
            their ratios count.
        prefix: str. What the case ids begin with: plans of other seeds need another
            one, to be put together.
        first_index: int, at least 0. Of the first case: parts of one plan, as its
            splits, count on.

    Returns:
        The cases, in random order.

    Raises:
        InputError: for a condition that the phantom cannot draw, or a bad number.
    """
    if num_cases < 1:
        raise InputError(f"a phantom needs at least 1 case, asked for {num_cases}")
    if seed < 0:
        raise InputError(f"a seed is 0 or more, got {seed}")
    unknown = [name for name in vocabulary if name not in LOOKS]
    if unknown:
        raise InputError(
            f"the phantom cannot draw {unknown[0]!r}; it can: {', '.join(LOOKS)}"
        )
    shares = list(skin_type_shares)
    if len(shares) != len(SKIN_TYPE_SHARES) or not (
        all(0 <= share < math.inf for share in shares) and sum(shares) > 0
    ):
        raise InputError(
            f"shares of skin types are six numbers from 0 on, not all 0, got {shares}"
        )
    # The first part of a plan is drawn as a plan of its own.
    rng = np.random.default_rng([seed, 0x9A5E5, first_index][: 3 if first_index else 2])
    weights = [LOOKS[name].weight for name in vocabulary]
    conditions = rng.permutation(_allot(num_cases, weights))
    present = [t for t, share in enumerate(shares, start=1) if share]
    skin_types = rng.permutation(_allot(num_cases, [s for s in shares if s]))
    skin_types = np.array(present)[skin_types]
    photo_counts = 1 + rng.permutation(_allot(num_cases, PHOTO_COUNT_SHARES))
    return [
        PhantomCase(
            case_id=f"{prefix}-{first_index + i:05d}",
            condition=vocabulary.conditions[conditions[i]],
            fitzpatrick=int(skin_types[i]),
            num_photos=int(photo_counts[i]),
            index=first_index + i,
            seed=seed,
        )
        for i in range(num_cases)
    ]


def _allot(total: int, weights) -> np.ndarray:
    """`total` class indices in proportion to the weights, largest remainders first.

    Every class gets one before any gets two, as far as the total reaches.
    """
    weights = np.asarray(weights, np.float64)
    if total < len(weights):
        return np.argsort(-weights, kind="stable")[:total]
    quota = weights / weights.sum() * total
    counts = np.maximum(np.floor(quota).astype(int), 1)
    while counts.sum() < total:
        counts[np.argmax(quota - counts)] += 1
    while counts.sum() > total:  # the guaranteed ones come from the largest classes
        counts[np.argmax(counts - quota * (counts > 1) - 1e9 * (counts == 1))] -= 1
    return np.repeat(np.arange(len(weights)), counts)
