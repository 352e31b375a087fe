"""annotations.jsonl: which condition is where on each photo, one JSON line per photo.

    {"image": "photos/0001.jpg", "case_id": "c17", "condition": "melanoma",
     "fitzpatrick": 4, "rois": [{"box": [0.21, 0.33, 0.48, 0.61]}], "split": "train"}

`image` is relative to the file's folder. Required: image, case_id, condition. A ROI's
condition defaults to the photo's; fitzpatrick to unknown; split to one by case_id.
`skin_type_source` says whether the type was given or estimated from the colour.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import posixpath
import stat
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from dermgan_tf.errors import InputError, Reject
from dermgan_tf.output_folder import atomic_write
from dermgan_tf.photos.semantic_map import MAX_SKIN_TYPE, Roi
from dermgan_tf.photos.vocabulary import Vocabulary, composed

SPLITS = ("train", "validation", "test")
SOURCES = ("real", "phantom")
SKIN_TYPE_SOURCES = ("given", "estimated")

MAX_LINE_BYTES = 1 << 20  # what a thousand boxes take, many times over
MAX_ROIS = 1000  # of a photo: grouping them takes their number squared of memory
MAX_NAME = 4096  # characters: what a path may have
_MAX_REASON = 300  # characters; a damaged line may have a thousand problems

# Shares of the cases: 80 % train, 10 % validation, 10 % test.
_TRAIN_BELOW = 0.8
_VALIDATION_BELOW = 0.9


@dataclasses.dataclass(frozen=True)
class PhotoAnnotation:
    """What is known of one photo.

    Args:
        image: str. The photo's path, relative to the annotations' folder, with `/`.
        case_id: str. The case (patient visit) that the photo belongs to.
        condition: str. The diagnosis.
        fitzpatrick: int, 0…6; 0 = unknown.
        rois: the regions of interest; none means that the photo has no boxes.
        split: "train", "validation" or "test"; None = by hash of case_id.
        source: "real" or "phantom".
        skin_type_source: "given" by the data set, or "estimated" from the photo's
            colour; None where no type is known, or nobody recorded it.

    Raises:
        InputError: naming every field that is not as above.
    """

    image: str
    case_id: str
    condition: str
    fitzpatrick: int = 0
    rois: tuple[Roi, ...] = ()
    split: str | None = None
    source: str = "real"
    skin_type_source: str | None = None

    def __post_init__(self):
        object.__setattr__(self, "rois", tuple(self.rois))
        for field in ("case_id", "condition"):
            object.__setattr__(self, field, composed(getattr(self, field)))
        problems = [
            _image_problem(self.image),
            _name_problem("case_id", self.case_id),
            _name_problem("condition", self.condition),
            _fitzpatrick_problem(self.fitzpatrick),
            *(_name_problem("a ROI's condition", roi.condition) for roi in self.rois),
            _choice_problem("split", self.split, (None, *SPLITS)),
            _choice_problem("source", self.source, SOURCES),
            _choice_problem(
                "skin_type_source", self.skin_type_source, (None, *SKIN_TYPE_SOURCES)
            ),
            _rois_problem(self.rois),
        ]
        problems = [problem for problem in problems if problem]
        if problems:
            raise InputError("; ".join(problems))
        object.__setattr__(self, "image", posixpath.normpath(self.image))


def read_annotations(
    path: str | os.PathLike, vocabulary: Vocabulary | None = None
) -> tuple[list[PhotoAnnotation], list[Reject]]:
    """Reads annotations.jsonl; bad lines are listed, good ones kept.

    Also rejected: a photo that an earlier line has already described, and a line whose
    split differs from the one that an earlier line gave its case. Blank lines and
    unknown keys are ignored. The photos themselves are not opened. The file is read
    line by line, and a line of more than 1 MiB is rejected unread, so that what a
    damaged file takes of memory is bounded by its good lines and its rejects.

    Args:
        path: the file; a regular one, as a pipe or a device may never end.
        vocabulary: the conditions that may occur; None = any.

    Returns:
        (annotations, rejects): the good lines in order, and one Reject for each bad
        line, its item "<file name>:<line>", its reason every problem of the line.

    Raises:
        InputError: if the file itself cannot be read.
    """
    path = pathlib.Path(path)
    annotations, rejects = [], []
    earlier = _EarlierLines()
    for number, line in annotation_lines(path):
        try:
            if len(line) > MAX_LINE_BYTES:
                raise InputError(f"is longer than {MAX_LINE_BYTES} bytes")
            annotation = _parse_line(line, vocabulary)
            earlier.add(annotation, f"line {number}")
        except InputError as error:
            reason = str(error)
            if len(reason) > _MAX_REASON:
                reason = f"{reason[:_MAX_REASON]} …"
            rejects.append(Reject(f"{path.name}:{number}", reason))
        else:
            annotations.append(annotation)
    return annotations, rejects


def annotation_lines(path: str | os.PathLike) -> Iterator[tuple[int, bytes]]:
    """Yields the lines of an annotations file that are not blank, one at a time.

    Args:
        path: the file.

    Yields:
        (number, line): from 1 on; without a byte order mark and without the line's end.
        Of a line of more than `MAX_LINE_BYTES` one byte more than these.

    Raises:
        InputError: if the file cannot be read.
    """
    path = pathlib.Path(path)
    try:
        # Opening a pipe could wait for ever, so look before opening.
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise InputError(
                f"{path} is a folder; want an annotations file such as "
                f"{path / 'annotations.jsonl'}"
            )
        if not stat.S_ISREG(mode):
            raise InputError(f"{path} is a pipe or device; want an annotations file")
        with path.open("rb") as file:
            number = 0
            # At \n alone: text may hold other line separators, such as U+2028.
            while line := file.readline(MAX_LINE_BYTES + 1):
                number, end = number + 1, line
                if number == 1:
                    line = line.removeprefix(b"\xef\xbb\xbf")
                while len(end) > MAX_LINE_BYTES and not end.endswith(b"\n"):
                    end = file.readline(MAX_LINE_BYTES + 1)
                line = line.removesuffix(b"\n")
                if line.strip():
                    yield number, line
    except OSError as error:
        raise InputError(f"cannot read annotations {path}: {error.strerror}") from None


def write_annotations(
    path: str | os.PathLike, annotations: Iterable[PhotoAnnotation]
) -> None:
    """Writes annotations.jsonl, whole or not at all, so that it reads back equal.

    Raises:
        InputError: for two annotations of one photo, or a case in two splits.
    """
    earlier = _EarlierLines()
    lines = []
    for number, annotation in enumerate(annotations, start=1):
        earlier.add(annotation, f"annotation {number}")
        lines.append(json.dumps(_as_json(annotation), ensure_ascii=False) + "\n")
    atomic_write(path, "".join(lines).encode())


def annotations_vocabulary(annotations: Iterable[PhotoAnnotation]) -> Vocabulary:
    """The conditions that occur, of photos and of ROIs, in alphabetical order."""
    names = set()
    for annotation in annotations:
        names.add(annotation.condition)
        names.update(roi.condition for roi in annotation.rois)
    return Vocabulary(sorted(names))


def split_of_case(case_id: str, seed: int = 0) -> str:
    """The split of a case that was given none: "train", "validation" or "test".

    A case keeps its split whatever other cases there are: the SHA-256 of seed and case
    is a number in 0…1; below 0.8 is train, below 0.9 validation.
    """
    # A case named after a file may have bytes that are no UTF-8, as lone surrogates.
    name = f"{seed}:{case_id}".encode("utf-8", "surrogatepass")
    digest = hashlib.sha256(name).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    if place < _TRAIN_BELOW:
        return "train"
    return "validation" if place < _VALIDATION_BELOW else "test"


def case_splits(
    annotations: Iterable[PhotoAnnotation], seed: int = 0
) -> dict[str, str]:
    """The split of every case: the one that any of its photos names, else by hash.

    Args:
        annotations: of photos; those of one case name one split, or none.
        seed: int. See `split_of_case`.

    Returns:
        case_id -> "train", "validation" or "test", in order of first appearance.
    """
    named: dict[str, str | None] = {}
    for annotation in annotations:
        named[annotation.case_id] = named.get(annotation.case_id) or annotation.split
    return {case: split or split_of_case(case, seed) for case, split in named.items()}


class _EarlierLines:
    """Remembers photos and cases, to find a photo told twice or a case split in two."""

    def __init__(self):
        self._photos: dict[str, str] = {}
        self._splits: dict[str, tuple[str, str]] = {}

    def add(self, annotation: PhotoAnnotation, where: str) -> None:
        """Raises InputError if the annotation clashes with an earlier one."""
        problems = []
        if annotation.image in self._photos:
            problems.append(
                f"image {annotation.image!r} stands already on "
                f"{self._photos[annotation.image]}"
            )
        split, first = self._splits.get(annotation.case_id, (annotation.split, ""))
        if annotation.split is not None and annotation.split != split:
            problems.append(
                f"case {annotation.case_id!r} is in split {annotation.split!r} here "
                f"but in {split!r} on {first}"
            )
        if problems:
            raise InputError("; ".join(problems))
        self._photos[annotation.image] = where
        if annotation.split is not None:
            self._splits.setdefault(annotation.case_id, (annotation.split, where))


def _as_json(annotation: PhotoAnnotation) -> dict[str, Any]:
    rois = [{"box": list(r.box), "condition": r.condition} for r in annotation.rois]
    record = {
        "image": annotation.image,
        "case_id": annotation.case_id,
        "condition": annotation.condition,
        "fitzpatrick": annotation.fitzpatrick or None,
        "rois": rois,
    }
    if annotation.split is not None:
        record["split"] = annotation.split
    if annotation.source != "real":
        record["source"] = annotation.source
    if annotation.skin_type_source is not None:
        record["skin_type_source"] = annotation.skin_type_source
    return record


def _parse_line(line: bytes, vocabulary: Vocabulary | None) -> PhotoAnnotation:
    """One line's annotation; InputError with every problem of the line."""
    try:
        record = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError:
        raise InputError("is not UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise InputError(f"is not JSON: {error.msg} at column {error.colno}") from None
    except (ValueError, RecursionError) as error:  # a huge number, endless nesting
        raise InputError(f"is not JSON: {error}") from None
    if not isinstance(record, dict):
        raise InputError(f"is not a JSON object but {_brief(record)}")
    problems = [
        f"has no {key!r}"
        for key in ("image", "case_id", "condition")
        if key not in record
    ]
    rois = _parse_rois(record.get("rois"), record.get("condition"), problems)
    fields = {
        # A missing field is reported above; "x" keeps the others' checks going.
        key: record.get(key, "x")
        for key in ("image", "case_id", "condition")
    }
    fitzpatrick = record.get("fitzpatrick")
    if isinstance(fitzpatrick, float) and fitzpatrick.is_integer():
        fitzpatrick = int(fitzpatrick)  # pandas writes 3.0 beside missing ones
    try:
        annotation = PhotoAnnotation(
            **fields,
            fitzpatrick=0 if fitzpatrick is None else fitzpatrick,
            rois=rois,
            split=record.get("split"),
            source=record.get("source", "real"),
            skin_type_source=record.get("skin_type_source"),
        )
    except InputError as error:
        problems.append(str(error))
    if vocabulary is not None:
        names = [record.get("condition"), *(roi.condition for roi in rois)]
        known = ", ".join(vocabulary)
        problems += [
            f"unknown condition {name!r}; known: {known}"
            for name in dict.fromkeys(n for n in names if isinstance(n, str))
            if name not in vocabulary
        ]
    if problems:
        raise InputError("; ".join(problems))
    return annotation


def _parse_rois(rois: Any, condition: Any, problems: list[str]) -> list[Roi]:
    """The good ROIs; what is wrong with the others is added to `problems`."""
    if rois is None:
        return []
    if not isinstance(rois, list):
        problems.append(f"rois is not a list but {_brief(rois)}")
        return []
    good = []
    for number, roi in enumerate(rois):
        where = f"rois[{number}]"
        if not isinstance(roi, dict):
            problems.append(f"{where} is not an object but {_brief(roi)}")
            continue
        box, name = roi.get("box"), roi.get("condition", condition)
        if "box" not in roi:
            problems.append(f"{where} has no 'box'")
        elif not isinstance(box, list) or not all(_is_number(value) for value in box):
            problems.append(f"{where}.box is not a list of numbers but {_brief(box)}")
        elif name is not condition and _name_problem("condition", name):
            problems.append(f"{where}: {_name_problem('condition', name)}")
        else:
            try:
                good.append(Roi(tuple(box), name))
            except (InputError, OverflowError) as error:
                problems.append(f"{where}: {error}")
    return good


def _image_problem(image: Any) -> str | None:
    problem = _name_problem("image", image)
    if problem:
        return problem
    if "\\" in image:
        return f"image {image!r} has a backslash; write folders with /"
    if image.startswith("/") or image[1:2] == ":":
        return f"image {image!r} is not relative to the annotations' folder"
    steps = posixpath.normpath(image).split("/")
    if steps[0] == "..":
        return f"image {image!r} leads out of the annotations' folder"
    if steps == ["."] or image.endswith("/"):
        return f"image {image!r} names a folder, not a file"
    return None


def _name_problem(field: str, value: Any) -> str | None:
    if not isinstance(value, str):
        return f"{field} is not text but {_brief(value)}"
    if not value.strip():
        return f"{field} is empty"
    if len(value) > MAX_NAME:
        return f"{field} has {len(value)} characters; at most {MAX_NAME} are read"
    if not value.isprintable():  # line breaks, NUL, halves of UTF-16 pairs
        return f"{field} {value!r} has characters that cannot be shown"
    return None


def _fitzpatrick_problem(value: Any) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        if 0 <= value <= MAX_SKIN_TYPE:
            return None
        return f"unknown Fitzpatrick skin type {value}; valid: 0 (unknown), 1…6"
    return f"fitzpatrick is not a whole number but {_brief(value)}"


def _rois_problem(rois: Sequence[Roi]) -> str | None:
    if len(rois) <= MAX_ROIS:
        return None
    return f"{len(rois)} ROIs are too many; at most {MAX_ROIS} are read"


def _choice_problem(
    field: str, value: Any, choices: Sequence[str | None]
) -> str | None:
    if any(value is choice or value == choice for choice in choices):
        return None
    names = ", ".join(choice for choice in choices if choice is not None)
    return f"unknown {field} {_brief(value)}; valid: {names}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _brief(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=True, default=repr)
    return text if len(text) <= 60 else f"{text[:57]}..."
