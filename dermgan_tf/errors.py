"""The one exception type that stands for bad input, and the list of bad items."""

import csv
import dataclasses
import os
import re
from collections.abc import Sequence

PLACES_SHOWN = 5


class InputError(ValueError):
    """Bad input from the user: its text is one line that names what, where, and why.

    Programs print it as `error: …` without a traceback. Raise it only for what a user
    can mend; a defect of our own raises anything else.
    """


def printable(path: str | os.PathLike) -> str:
    """A path for messages and lists: one line of text, whatever the name holds."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode()
        for c in os.fspath(path)
    )


def cause(error: InputError, path: str | os.PathLike) -> str:
    """The error's text without the path, for a list that names the file already."""
    text = str(error).removeprefix(f"{printable(path)}: ")
    return text.removeprefix(f"{os.fspath(path)}: ")


def plain_message(error: Exception) -> str:
    """An exception's text without the places in a graph that TensorFlow mixes in."""
    text = getattr(error, "message", None) or str(error)
    return re.sub(r"\{\{.*?\}\} ?| ?\[Op:\w+\]( name: ?)?", "", text).strip()


@dataclasses.dataclass(frozen=True)
class Reject:
    """One bad item that was left out.

    Args:
        item: str. What was left out: a relative file name, or `file:line`.
        reason: str. The cause, in one line.
    """

    item: str
    reason: str


def write_rejects(path: str, rejects: Sequence[Reject]) -> None:
    """Writes `rejects.csv` with the columns item, reason (header only when empty)."""
    with open(
        path, "w", newline="", encoding="utf-8", errors="backslashreplace"
    ) as file:
        writer = csv.writer(file)
        writer.writerow(["item", "reason"])
        writer.writerows((reject.item, reject.reason) for reject in rejects)


class TooManyRejects(InputError):
    """More items were bad than are tolerated.

    Args:
        message: str.
        rejects: all bad items.
    """

    def __init__(self, message: str, rejects: Sequence[Reject]):
        super().__init__(message)
        self.rejects = tuple(rejects)


def check_reject_fraction(
    rejects: Sequence[Reject], total: int, max_reject_fraction: float, where: str
) -> None:
    """Raises TooManyRejects if too many of `total` items were bad, or none is left.

    Args:
        rejects: the bad items.
        total: int. How many items there were, good and bad.
        max_reject_fraction: float, 0…1. The share of bad items that is tolerated.
        where: str. The file or folder that the items come from, for the message.
    """
    example = f"; first: {rejects[0].item}: {rejects[0].reason}" if rejects else ""
    if total - len(rejects) <= 0:
        raise TooManyRejects(
            f"nothing usable in {os.fspath(where)}: all {total} items are bad{example}",
            rejects,
        )
    if len(rejects) > max_reject_fraction * total:
        raise TooManyRejects(
            f"{len(rejects)} of {total} items of {os.fspath(where)} are bad, more than "
            f"--max_reject_fraction={max_reject_fraction:g} allows{example}",
            rejects,
        )


@dataclasses.dataclass(frozen=True)
class Damage:
    """What a shard has lost.

    Args:
        path: str. The shard's.
        lost: int. The number of records that cannot be used.
        places: tuple of (offset, reason). In bytes, where each corrupted stretch
            begins; none for a file that ends early between two records.
    """

    path: str
    lost: int
    places: tuple[tuple[int, str], ...]

    def __str__(self) -> str:
        shown = [
            f"{offset} bytes ({why})" for offset, why in self.places[:PLACES_SHOWN]
        ]
        more = ["…"] if len(self.places) > PLACES_SHOWN else []
        return (
            f"{self.path}: {self.lost} lost at {', '.join(shown + more) or 'its end'}"
        )
