"""A classifier's predictions on a labelled set, and the CSV file that holds them.

The header is `image_id,case_id,fitzpatrick,condition` and then a column `p:<condition>`
for every condition, in the vocabulary's order; a row is a photo.
"""

import csv
import dataclasses
import hashlib
import io
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from dermgan_tf.errors import InputError
from dermgan_tf.output_folder import atomic_write
from dermgan_tf.photos.vocabulary import Vocabulary

FIXED_COLUMNS = ("image_id", "case_id", "fitzpatrick", "condition")
PROBABILITY_PREFIX = "p:"
# Tells of the classifier; lies beside the file, or in the folder above.
CLASSIFIER_FILE = "classifier.json"
SUM_TOLERANCE = 1e-3
_SKIN_TYPES = {"": 0, **{str(t): t for t in range(7)}}


@dataclasses.dataclass(frozen=True)
class Predictions:
    """What a classifier said of each photo, and what the photo is.

    Args:
        image_ids: str [N], unique.
        cases: str [N], not empty.
        skin_types: int64 [N], 0…6, 0 = unknown.
        labels: int64 [N], positions in `conditions`.
        probabilities: float64 [N, K], 0…1, each row sums to 1.
        conditions: the K names, in the vocabulary's order.
        source: str. Where they come from, for messages.
        digest: str. sha256 (hex) of the file they were read from, if any.
    """

    image_ids: np.ndarray
    cases: np.ndarray
    skin_types: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray
    conditions: tuple[str, ...]
    source: str = ""
    digest: str = ""

    def __len__(self) -> int:
        return len(self.image_ids)

    def take(self, indices: Sequence[int]) -> "Predictions":
        """The photos at `indices`, in that order."""
        per_photo = ("image_ids", "cases", "skin_types", "labels", "probabilities")
        return dataclasses.replace(
            self, **{name: getattr(self, name)[indices] for name in per_photo}
        )


def write_predictions(path: str | os.PathLike, predictions: Predictions) -> None:
    """Writes the CSV file, whole or not at all; an unknown skin type stays empty.

    Raises:
        InputError: if `read_predictions` would refuse the file.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = [PROBABILITY_PREFIX + name for name in predictions.conditions]
    writer.writerow([*FIXED_COLUMNS, *columns])
    for i in range(len(predictions)):
        writer.writerow(
            [
                predictions.image_ids[i],
                predictions.cases[i],
                predictions.skin_types[i] or "",
                predictions.conditions[predictions.labels[i]],
                *(f"{p:.9g}" for p in predictions.probabilities[i]),
            ]
        )
    data = text.getvalue().encode()
    _parse(data, os.fspath(path))
    atomic_write(path, data)


def read_predictions(path: str | os.PathLike) -> Predictions:
    """Reads and checks a predictions file.

    Raises:
        InputError: naming the file, and the line where one is at fault, if it is empty,
            cut off, HTML or no such CSV file at all; if an image id is missing or
            doubled; if a case is missing; if a skin type, condition or probability is
            none; or if a row's probabilities do not sum to 1 within 1e-3.
        OSError: if it cannot be read.
    """
    path = pathlib.Path(path)
    data = path.read_bytes()
    return dataclasses.replace(
        _parse(data, os.fspath(path)), digest=hashlib.sha256(data).hexdigest()
    )


def require_same_photos(first: Predictions, other: Predictions) -> Predictions:
    """Brings `other` into the order of `first`.

    Returns:
        `other`, its photos in the order of `first`.

    Raises:
        InputError: naming both files and the first difference, unless both have the
            same conditions and the same photos with equal labels, cases and skin types.
    """
    Vocabulary(first.conditions).require_equal(
        Vocabulary(other.conditions), first.source, other.source
    )
    place = {image_id: i for i, image_id in enumerate(other.image_ids)}
    if place.keys().isdisjoint(first.image_ids):
        raise InputError(
            f"{other.source}: has no photo of {first.source}; compare predictions on "
            "the same photos, and, if --anonymize_ids hashed their ids, under one salt"
        )
    for image_id in first.image_ids:
        if image_id not in place:
            raise InputError(
                f"{other.source}: lacks image {str(image_id)!r}, which {first.source} "
                "has; compare predictions on the same photos"
            )
    if len(other) > len(first):
        known = set(first.image_ids)
        extra = next(i for i in other.image_ids if i not in known)
        raise InputError(
            f"{first.source}: lacks image {str(extra)!r}, which {other.source} has; "
            "compare predictions on the same photos"
        )
    other = other.take([place[image_id] for image_id in first.image_ids])
    for name, word in (
        ("labels", "condition"),
        ("cases", "case"),
        ("skin_types", "skin type"),
    ):
        ours, theirs = getattr(first, name), getattr(other, name)
        if (ours != theirs).any():
            i = int(np.argmax(ours != theirs))
            a, b = ours[i], theirs[i]
            if name == "labels":
                a, b = first.conditions[a], first.conditions[b]
            raise InputError(
                f"{other.source}: image {str(first.image_ids[i])!r} has {word} "
                f"{b.item() if hasattr(b, 'item') else b!r}, but {first.source} says "
                f"{a.item() if hasattr(a, 'item') else a!r}; which is right?"
            )
    return other


def _parse(data: bytes, source: str) -> Predictions:
    text = _text(data, source)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(reader)
        conditions = _conditions(header, source)
        rows, lines = [], []
        for row in reader:
            if len(row) != len(header):
                raise InputError(
                    f"{source}: line {reader.line_num} has {len(row)} of "
                    f"{len(header)} columns; write the file again"
                )
            rows.append(row)
            lines.append(reader.line_num)
    except csv.Error as error:
        raise InputError(
            f"{source}: line {reader.line_num}: {error}; write the file again"
        ) from None
    if not rows:
        raise InputError(f"{source}: has a header and no rows; write the file again")
    return _checked(rows, lines, conditions, source)


def _text(data: bytes, source: str) -> str:
    if not data.strip():
        raise InputError(f"{source}: is empty; write the file again")
    if data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        raise InputError(f"{source}: line 1: this is HTML, not CSV; fetch it again")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InputError(f"{source}: line {line}: not UTF-8 text") from None
    if not text.endswith(("\n", "\r")):
        line = text.count("\n") + 1
        raise InputError(
            f"{source}: line {line} has no end: the file is cut off; write it again"
        )
    return text


def _conditions(header: list[str], source: str) -> tuple[str, ...]:
    fixed, columns = header[: len(FIXED_COLUMNS)], header[len(FIXED_COLUMNS) :]
    if tuple(fixed) != FIXED_COLUMNS:
        raise InputError(
            f"{source}: line 1: columns begin with {','.join(fixed)[:80]!r}, not with "
            f"{','.join(FIXED_COLUMNS)}"
        )
    for name in columns:
        if not name.startswith(PROBABILITY_PREFIX):
            raise InputError(
                f"{source}: line 1: column {name!r} is not named "
                f"{PROBABILITY_PREFIX}CONDITION"
            )
    if len(columns) < 2:
        raise InputError(
            f"{source}: line 1: {len(columns)} probability columns; a comparison takes "
            "two conditions or more"
        )
    names = [name.removeprefix(PROBABILITY_PREFIX) for name in columns]
    try:
        return Vocabulary(names).conditions
    except InputError as error:
        raise InputError(f"{source}: line 1: {error}") from None


def _checked(
    rows: list[list[str]], lines: list[int], conditions: tuple[str, ...], source: str
) -> Predictions:
    positions = {name: i for i, name in enumerate(conditions)}
    seen: dict[str, int] = {}
    labels, skin_types = [], []
    for line, (image_id, case, skin_type, condition, *_) in zip(
        lines, rows, strict=True
    ):
        where = f"{source}: line {line}"
        if not image_id.strip():
            raise InputError(f"{where}: no image_id")
        if image_id in seen:
            raise InputError(
                f"{where}: image_id {image_id!r} stands on line {seen[image_id]} too"
            )
        if not case.strip():
            raise InputError(
                f"{where}: no case_id; intervals need to know which photos are of one "
                "case (give every photo its own where that is so)"
            )
        if skin_type not in _SKIN_TYPES:
            raise InputError(
                f"{where}: fitzpatrick {skin_type!r} is not 1…6 or empty (unknown)"
            )
        if condition not in positions:
            raise InputError(
                f"{where}: condition {condition!r} has no column "
                f"{PROBABILITY_PREFIX}{condition}"
            )
        seen[image_id] = line
        labels.append(positions[condition])
        skin_types.append(_SKIN_TYPES[skin_type])
    return Predictions(
        image_ids=np.array([row[0] for row in rows]),
        cases=np.array([row[1] for row in rows]),
        skin_types=np.array(skin_types, np.int64),
        labels=np.array(labels, np.int64),
        probabilities=_probabilities(rows, lines, conditions, source),
        conditions=conditions,
        source=source,
    )


def _probabilities(rows, lines, conditions, source) -> np.ndarray:
    """float64 [N, K], checked; rows are not divided by their sums."""
    try:
        found = np.array([row[len(FIXED_COLUMNS) :] for row in rows], np.float64)
    except ValueError:
        for line, row in zip(lines, rows, strict=True):
            for text in row[len(FIXED_COLUMNS) :]:
                try:
                    float(text)
                except ValueError:
                    raise InputError(
                        f"{source}: line {line}: {text!r} is not a probability"
                    ) from None
        raise
    bad = ~((found >= 0) & (found <= 1 + SUM_TOLERANCE))  # NaN is bad, too
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise InputError(
            f"{source}: line {lines[row]}: {found[row, column]:g} for "
            f"{conditions[column]!r} is not a probability"
        )
    sums = found.sum(axis=1)
    bad = np.abs(sums - 1) > SUM_TOLERANCE
    if bad.any():
        row = int(np.argmax(bad))
        raise InputError(
            f"{source}: line {lines[row]}: probabilities sum to {sums[row]:.6g}, not "
            f"to 1 (within {SUM_TOLERANCE:g})"
        )
    return found
