"""What may be asked of an atlas: conditions, skin types, provenance, all of it checked.

Nothing that a user writes reaches the store: names are looked up in the vocabulary, and
the store gets values, never text to be parsed.
"""

import dataclasses
from collections.abc import Sequence

from dermgan_tf.apps.atlas.about import PROVENANCES
from dermgan_tf.errors import InputError
from dermgan_tf.photos.semantic_map import MAX_SKIN_TYPE

SKIN_TYPES = tuple(range(1, MAX_SKIN_TYPE + 1))
ROMAN = ("unknown", "I", "II", "III", "IV", "V", "VI")
MAX_VALUES = 2000  # of one filter


@dataclasses.dataclass(frozen=True)
class Filters:
    """Which images are wanted; an empty tuple leaves that open.

    Args:
        conditions: names of the atlas' vocabulary.
        fitzpatrick: ints, 0…6; 0 = unknown.
        provenances: of "real", "phantom", "synthetic".
    """

    conditions: tuple[str, ...] = ()
    fitzpatrick: tuple[int, ...] = ()
    provenances: tuple[str, ...] = ()

    def admits(self, condition: str, fitzpatrick: int, provenance: str) -> bool:
        return (
            (not self.conditions or condition in self.conditions)
            and (not self.fitzpatrick or fitzpatrick in self.fitzpatrick)
            and (not self.provenances or provenance in self.provenances)
        )


def parse_filters(
    known: Sequence[str],
    conditions: Sequence[str] = (),
    fitzpatrick: Sequence[str] = (),
    provenances: Sequence[str] = (),
) -> Filters:
    """Filters of what a user wrote.

    Args:
        known: the atlas' conditions.
        conditions, fitzpatrick, provenances: texts; skin types as 0…6, I…VI or
            "unknown". Empty texts are passed over, doubled ones count once.

    Raises:
        InputError: for what is not known, naming what is.
    """
    if max(map(len, (conditions, fitzpatrick, provenances))) > MAX_VALUES:
        raise InputError(f"more than {MAX_VALUES} values of one filter")
    return Filters(
        _each(conditions, {name: name for name in known}, "condition"),
        _each(fitzpatrick, _TYPES, "Fitzpatrick skin type"),
        _each(provenances, {name: name for name in PROVENANCES}, "provenance"),
    )


_TYPES = {str(number): number for number in range(MAX_SKIN_TYPE + 1)}
_TYPES |= {name: number for number, name in enumerate(ROMAN)}


def _each(texts: Sequence[str], known: dict, what: str) -> tuple:
    found = {}
    for text in texts:
        if text == "":
            continue
        if text not in known:
            shown = ", ".join(map(str, dict.fromkeys(known)))
            if len(shown) > 300:
                shown = f"{shown[:300]} …"
            raise InputError(f"unknown {what} {text[:80]!r}; known: {shown}")
        found[known[text]] = None
    return tuple(found)
