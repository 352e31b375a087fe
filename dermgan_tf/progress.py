"""How the library tells of progress without printing: the caller hands a wrapper in."""

from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")


def silent(
    iterable: Iterable[T], total: int | None = None, desc: str = ""
) -> Iterable[T]:
    """Returns `iterable` unchanged: the default where a function takes `progress`.

    Args:
        iterable: what is worked through.
        total: int. How many items will come, where that is known.
        desc: str. A word for the work, shown before the bar.
    """
    del total, desc
    return iterable
