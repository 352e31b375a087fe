"""Random draws that are the same in all versions of Python.

They are made of `random.Random.random`, whose sequence Python promises to keep, and are
whole numbers, which no platform rounds another way.
"""

import random
from collections.abc import Iterable


def shuffled(items: Iterable, rng: random.Random) -> list:
    """A permutation (Fisher and Yates). `random.shuffle` may change with Python."""
    shuffled = list(items)
    for i in range(len(shuffled) - 1, 0, -1):
        k = below(rng, i + 1)
        shuffled[i], shuffled[k] = shuffled[k], shuffled[i]
    return shuffled


def below(rng: random.Random, n: int) -> int:
    """A whole number 0 … n − 1; n is far below 2⁵³."""
    return int(rng.random() * n)
