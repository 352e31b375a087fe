"""The ordered list of skin conditions that a data set, a model and its maps share."""

import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any

from dermgan_tf.errors import InputError

MAX_CONDITIONS = 60

# The name, in any vocabulary, of crops that show skin and no condition. It has no ROI:
# on its maps stands the skin type alone.
HEALTHY = "healthy skin"


def composed(text: Any) -> Any:
    """A text in Unicode's composed form (NFC), so that equal names are equal.

    macOS writes file names with letters and accents apart (NFD). What is no text is
    given back as it is.
    """
    return unicodedata.normalize("NFC", text) if isinstance(text, str) else text


class Vocabulary:
    """An ordered list of distinct condition names.

    The position of a name is its code in a semantic map, so two artefacts work together
    only when their vocabularies are equal.

    Args:
        conditions: 1…60 distinct, non-empty names. Order matters.

    Raises:
        InputError: for an empty list, an empty or repeated name, or too many names.

    Example:

    >>> vocabulary = Vocabulary(["melanoma", "eczema"])
    >>> vocabulary.index("eczema")
    1
    """

    def __init__(self, conditions: Iterable[str]):
        if isinstance(conditions, str):
            raise InputError(
                f"a vocabulary is a list of names, got one: {conditions!r}"
            )
        self.conditions = tuple(map(composed, conditions))
        if not 1 <= len(self.conditions) <= MAX_CONDITIONS:
            raise InputError(
                f"a vocabulary has 1…{MAX_CONDITIONS} conditions, "
                f"got {len(self.conditions)}"
            )
        for name in self.conditions:
            if not isinstance(name, str) or not name.strip() or not name.isprintable():
                raise InputError(f"not a condition name: {name!r}")
        self._index = {name: i for i, name in enumerate(self.conditions)}
        if len(self._index) != len(self.conditions):
            repeated = next(n for n in self.conditions if self.conditions.count(n) > 1)
            raise InputError(f"condition {repeated!r} stands twice in the vocabulary")

    def index(self, name: str) -> int:
        """Returns the 0-based position of `name`; InputError names the valid ones."""
        try:
            return self._index[composed(name)]
        except (KeyError, TypeError):
            raise InputError(
                f"unknown condition {name!r}; known: {', '.join(self.conditions)}"
            ) from None

    def require_equal(self, other: "Vocabulary", ours: str, theirs: str) -> None:
        """Raises InputError naming the first difference, unless `other` is the same.

        Args:
            other: the vocabulary to compare with.
            ours: str. What this vocabulary belongs to, for the message.
            theirs: str. What `other` belongs to.
        """
        if self == other:
            return
        pairs = zip(self.conditions, other.conditions, strict=False)
        first = next((i for i, (a, b) in enumerate(pairs) if a != b), None)
        if first is None:  # one list begins with the other
            raise InputError(
                f"vocabularies differ: {ours} has {len(self)} conditions, "
                f"{theirs} has {len(other)}"
            )
        raise InputError(
            f"vocabularies differ at position {first}: {ours} has "
            f"{self.conditions[first]!r}, {theirs} has {other.conditions[first]!r}"
        )

    def __len__(self) -> int:
        return len(self.conditions)

    def __iter__(self) -> Iterator[str]:
        return iter(self.conditions)

    def __contains__(self, name: object) -> bool:
        return composed(name) in self._index

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.conditions == other.conditions

    def __hash__(self) -> int:
        return hash(self.conditions)

    def __repr__(self) -> str:
        return f"Vocabulary({list(self.conditions)!r})"


# The 26 conditions of Liu et al. 2019 ("A deep learning system for differential
# diagnosis of skin diseases"), which DermGAN's data set covers, and "other".
DERMGAN_CONDITIONS = Vocabulary(
    [
        "acne",
        "actinic keratosis",
        "allergic contact dermatitis",
        "alopecia areata",
        "androgenetic alopecia",
        "basal cell carcinoma",
        "cyst",
        "eczema",
        "folliculitis",
        "hidradenitis",
        "lentigo",
        "melanocytic nevus",
        "melanoma",
        "post-inflammatory hyperpigmentation",
        "psoriasis",
        "SCC/SCCIS",
        "SK/ISK",
        "scar condition",
        "seborrheic dermatitis",
        "skin tag",
        "stasis dermatitis",
        "tinea",
        "tinea versicolor",
        "urticaria",
        "verruca vulgaris",
        "vitiligo",
        "other",
    ]
)
