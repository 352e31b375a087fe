"""Arguments that every training has: what is wrong with them, in one line."""

import math
from collections.abc import Collection, Mapping

from dermgan_tf.errors import InputError


def require_counts(counts: Mapping[str, int]) -> None:
    """Raises InputError unless every count is at least 1.

    Args:
        counts: by the argument's name.
    """
    for name, count in counts.items():
        if count < 1:
            raise InputError(f"{name} must be at least 1, got {count}")


def require_rates(rates: Mapping[str, float]) -> None:
    """Raises InputError unless every learning rate is finite and not below 0."""
    for name, rate in rates.items():
        if not 0 <= rate < math.inf:
            raise InputError(f"{name} must be a number from 0 on, got {rate}")


def require_choices(choices: Mapping[str, tuple[str, Collection[str]]]) -> None:
    """Raises InputError unless every choice is one of those known.

    Args:
        choices: (choice, those known) by the argument's name.
    """
    for name, (choice, known) in choices.items():
        if choice not in known:
            raise InputError(f"unknown {name} {choice!r}; known: {', '.join(known)}")


def require_equal_shares(batch_size: int, replicas: int) -> None:
    """Raises InputError unless all replicas get equally many images of a batch."""
    if batch_size % replicas:
        raise InputError(
            f"batch_size {batch_size} is not a multiple of the {replicas} replicas"
        )
