"""What an atlas says of itself: a JSON object, kept in the store beside the images."""

import dataclasses
import json
from typing import Any

from dermgan_tf.errors import InputError

FORMAT_VERSION = 1
BUILDING, READY = "building", "ready"
PROVENANCES = ("real", "phantom", "synthetic")
MAX_CONDITIONS = 1000  # of an atlas; a generator knows fewer


@dataclasses.dataclass(frozen=True)
class About:
    """What an atlas says of itself.

    Args:
        title: str. What pages show above.
        conditions: the vocabulary, in order; no image shows another.
        embedding: what `describe` of its embedding gives: name, features, image_size,
            resizing, fingerprint.
        embedding_flag: str. What builds that embedding again, without weights; "" for a
            model in a file, whose path is not kept.
        picture_size: int. Pixels of the longer side of the pictures that are kept and
            embedded, at most.
        salt_check: str. Tells whether a salt is that of the ids; "" for plain ids.
        state: "building" or "ready".
        images: int. How many there are, once it is ready.
        indexed: int. How many there were when the approximate index was trained.
    """

    title: str
    conditions: tuple[str, ...]
    embedding: dict[str, Any]
    embedding_flag: str
    picture_size: int
    salt_check: str = ""
    state: str = BUILDING
    images: int = 0
    indexed: int = 0

    def to_json(self) -> str:
        record = {"format_version": FORMAT_VERSION, **dataclasses.asdict(self)}
        return json.dumps(record, ensure_ascii=False)

    @staticmethod
    def from_json(text: str, where: str) -> "About":
        """Reads what `to_json` gave.

        Args:
            text: the JSON.
            where: the atlas, for messages.

        Raises:
            InputError: for another format, or what is damaged.
        """
        try:
            record = json.loads(text)
            version = record.pop("format_version")
            if version != FORMAT_VERSION:
                raise InputError(
                    f"{where}: atlas format {version}, this version of dermgan_tf "
                    f"reads {FORMAT_VERSION}; build the atlas again"
                )
            record["conditions"] = checked_conditions(record["conditions"], where)
            return About(**record)
        except InputError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{where} is damaged: what it says of itself cannot be read "
                f"({type(error).__name__}); build it again into another folder"
            ) from None


def checked_conditions(names, where: str) -> tuple[str, ...]:
    """The names as a tuple; InputError for none, doubled or unprintable ones."""
    names = tuple(names)
    if not 1 <= len(names) <= MAX_CONDITIONS:
        raise InputError(
            f"{where}: want 1…{MAX_CONDITIONS} conditions, got {len(names)}"
        )
    for name in names:
        if not isinstance(name, str) or not name.strip() or not name.isprintable():
            raise InputError(f"{where}: not a condition's name: {name!r}")
    if len(set(names)) < len(names):
        raise InputError(f"{where}: a condition is named twice")
    return names


def require_same_embedding(about: About, embedding, where: str) -> None:
    """InputError where vectors of `embedding` and of the atlas do not compare."""
    own, given = about.embedding, embedding.describe()
    for key in ("name", "features", "fingerprint"):
        if own.get(key) != given[key]:
            raise InputError(
                f"{where} was built with the embedding {_shown(own)}, not with "
                f"{_shown(given)}: vectors of two embeddings do not compare; give the "
                "same --embedding and --embedding_weights, or build another atlas"
            )


def _shown(embedding: dict[str, Any]) -> str:
    return f"{embedding.get('name')} (weights {str(embedding.get('fingerprint'))[:8]})"
