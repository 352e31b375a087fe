"""A study's folder: what is shown to participants, and the key that never is.

    served/study.json    title, introduction, questions; nothing of what is synthetic
    served/images/       one JPEG an image, under a random name
    key.csv              what every image is: for `analyze` alone
    answers.sqlite       participants and answers (`dermgan_tf.apps.reader_study.store`)
    participants.csv     codes to hand out
    run.json

`serve` opens served/ and answers.sqlite only: the key need not be on the machine.
"""

import csv
import dataclasses
import hashlib
import json
import os
import pathlib
from typing import Any

from dermgan_tf.errors import InputError

FORMAT_VERSION = 1
STUDY_FILE = "served/study.json"
IMAGES = "served/images"
KEY_FILE = "key.csv"
ANSWERS_FILE = "answers.sqlite"
PARTICIPANTS_FILE = "participants.csv"
PARTS = ("turing", "recognition")
KEY_COLUMNS = (
    *("image", "part", "question", "kind", "source", "condition", "shows"),
    *("fitzpatrick", "case_id", "origin"),
)


@dataclasses.dataclass(frozen=True)
class Question:
    """What a participant is asked on one page.

    Args:
        name: str. Unique in the study.
        part: "turing" (is this image real?) or "recognition" (which show this?).
        images: names of the images shown, without folder.
        condition: str. What part 2 asks for; "" in part 1.
    """

    name: str
    part: str
    images: tuple[str, ...]
    condition: str = ""


@dataclasses.dataclass(frozen=True)
class Study:
    """What participants may see of a study.

    Args:
        folder: the study's folder.
        title: str.
        introduction: paragraphs of plain text, shown before the consent.
        image_size: int, pixels.
        questions: by name.
        fingerprint: str. SHA-256 of study.json, hex: names the study.
    """

    folder: pathlib.Path
    title: str
    introduction: tuple[str, ...]
    image_size: int
    questions: dict[str, Question]
    fingerprint: str

    def names(self, part: str) -> list[str]:
        """The questions of a part, in the study's order."""
        return [q.name for q in self.questions.values() if q.part == part]

    def image_path(self, name: str) -> pathlib.Path:
        """Where an image lies. `name` must be one of a question's."""
        return self.folder / IMAGES / name


@dataclasses.dataclass(frozen=True)
class KeyLine:
    """What an image of a study is.

    Args:
        image: str. Its name in the study.
        part: "turing" or "recognition".
        question: str. The question that shows it.
        kind: "real" or "synthetic".
        source: "real", "phantom" or "synthetic".
        condition: str. What it shows most of.
        shows: all its conditions.
        fitzpatrick: int, 0…6.
        case_id: str.
        origin: str. Where it comes from.
    """

    image: str
    part: str
    question: str
    kind: str
    source: str
    condition: str
    shows: tuple[str, ...]
    fitzpatrick: int
    case_id: str
    origin: str


def study_text(
    title: str,
    introduction: list[str],
    image_size: int,
    questions: list[Question],
    digests: dict[str, str],
) -> str:
    """What study.json holds.

    Args:
        title, introduction, image_size, questions: as of Study.
        digests: SHA-256, hex, of each image file by name.
    """
    record = {
        "format_version": FORMAT_VERSION,
        "title": title,
        "introduction": introduction,
        "image_size": image_size,
        "questions": [dataclasses.asdict(question) for question in questions],
        "digests": digests,
    }
    return json.dumps(record, indent=1, ensure_ascii=False) + "\n"


def read_study(folder: str | os.PathLike, check_images: bool = True) -> Study:
    """Reads what participants may see, and checks that all of it is there.

    Args:
        folder: the study's folder.
        check_images: bool. Whether every image is read and compared with its digest.

    Raises:
        InputError: for a folder that is no study, a half or damaged one.
    """
    folder = pathlib.Path(folder)
    path = folder / STUDY_FILE
    try:
        text = path.read_bytes()
        record = json.loads(text)
        if record["format_version"] != FORMAT_VERSION:
            raise InputError(
                f"{path}: study format {record['format_version']}, this version of "
                f"dermgan_tf reads {FORMAT_VERSION}; build the study again"
            )
        questions = [
            Question(q["name"], q["part"], tuple(q["images"]), q["condition"])
            for q in record["questions"]
        ]
        study = Study(
            folder,
            str(record["title"]),
            tuple(record["introduction"]),
            int(record["image_size"]),
            {question.name: question for question in questions},
            hashlib.sha256(text).hexdigest(),
        )
        digests = dict(record["digests"])
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(_why_no_study(folder)) from None
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path} is damaged: {error!r}; build the study again"
        ) from None
    if check_images:
        _require_images(study, digests)
    return study


def require_answers(folder: str | os.PathLike) -> pathlib.Path:
    """The path of the study's answers; InputError when they are not there."""
    path = pathlib.Path(folder) / ANSWERS_FILE
    if not path.is_file():
        raise InputError(
            f"{path} is missing: the study was not built to its end, or only a part "
            "of it was copied"
        )
    return path


def write_key(path: str | os.PathLike, lines: list[KeyLine]) -> None:
    """Writes key.csv; only the owner may read it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    with open(descriptor, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(KEY_COLUMNS)
        for line in lines:
            row = dataclasses.asdict(line) | {"shows": json.dumps(line.shows)}
            writer.writerow(row.values())


def read_key(study: Study) -> dict[str, KeyLine]:
    """The answer key, by image.

    Raises:
        InputError: for a key that is missing, damaged, or of another study.
    """
    path = study.folder / KEY_FILE
    try:
        with path.open(newline="", encoding="utf-8") as file:
            key = {row["image"]: _key_line(row) for row in csv.DictReader(file)}
    except FileNotFoundError:
        raise InputError(
            f"{path} is missing: without the answer key nothing can be counted; copy "
            "it from where the study was built"
        ) from None
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise InputError(f"{path} is damaged: {error!r}") from None
    shown = {image for q in study.questions.values() for image in q.images}
    if shown != set(key):
        raise InputError(
            f"{path} is the key of another study: {len(shown - set(key))} of "
            f"{len(shown)} images are not in it"
        )
    return key


def _key_line(row: dict[str, Any]) -> KeyLine:
    shows = tuple(json.loads(row["shows"]))
    return KeyLine(**row | {"shows": shows, "fitzpatrick": int(row["fitzpatrick"])})


def _why_no_study(folder: pathlib.Path) -> str:
    if not folder.exists():
        return f"{folder} does not exist; reader_study build makes a study"
    half = "" if folder.is_dir() and any(folder.iterdir()) else ", it is empty"
    return (
        f"{folder} is not a whole study: it has no {STUDY_FILE}{half}; reader_study "
        "build makes one, and is run again with the same flags when it was stopped"
    )


def _require_images(study: Study, digests: dict[str, str]) -> None:
    missing, damaged = [], []
    shown = {image for q in study.questions.values() for image in q.images}
    if not shown or shown != set(digests):
        raise InputError(
            f"{study.folder / STUDY_FILE} is damaged: its questions and its images "
            "differ; build the study again"
        )
    for name in sorted(shown):
        try:
            data = study.image_path(name).read_bytes()
        except OSError:
            missing.append(name)
            continue
        if hashlib.sha256(data).hexdigest() != digests[name]:
            damaged.append(name)
    for names, what in ((missing, "missing"), (damaged, "damaged")):
        if names:
            raise InputError(
                f"{study.folder / IMAGES}: {len(names)} of {len(shown)} images are "
                f"{what}, the first is {names[0]}; copy the whole folder, or build the "
                "study again"
            )
