"""A study's answers as tables: participants in rows, images in columns."""

import dataclasses
import os
import pathlib
from typing import Any

import numpy as np

from dermgan_tf.apps.reader_study.store import AnswerStore
from dermgan_tf.apps.reader_study.study import (
    PARTS,
    KeyLine,
    Study,
    read_key,
    read_study,
    require_answers,
)
from dermgan_tf.errors import InputError

# A browser's clock may run a little ahead of ours; more is no honest time.
CLOCK_TOLERANCE_MS = 1000


@dataclasses.dataclass(frozen=True)
class Table:
    """The answers of one part.

    Args:
        participants: ids of those who answered something in it, [P].
        images: what the images are, [I].
        said: float [P, I]; NaN = no answer. Part 1: 1 = "real". Part 2: 1 = marked as
            showing the condition asked for.
        asked: str [I]; the condition asked for, "" in part 1.
    """

    participants: tuple[int, ...]
    images: tuple[KeyLine, ...]
    said: np.ndarray
    asked: np.ndarray

    def where(self, **wanted: Any) -> np.ndarray:
        """bool [I]: the images with these values of `KeyLine`."""
        return np.array(
            [all(getattr(i, k) == v for k, v in wanted.items()) for i in self.images],
            bool,
        )

    @property
    def target(self) -> np.ndarray:
        """bool [I]: whether an image shows the condition asked for."""
        pairs = zip(self.images, self.asked, strict=True)
        return np.array([asked in image.shows for image, asked in pairs], bool)


@dataclasses.dataclass(frozen=True)
class Answers:
    """All that `analyze` works on.

    Args:
        study: what was shown.
        tables: by part.
        people: dicts of id, label, parts, consented, answers, expected (counts).
        rows: every answer to every image, for the CSV export.
        times: milliseconds by part, [P, questions] like the tables' participants;
            NaN where there is no answer, or no credible time.
        incredible: int. Times that were left out because the server's clock says less.
    """

    study: Study
    tables: dict[str, Table]
    people: list[dict[str, Any]]
    rows: list[dict[str, Any]]
    times: dict[str, np.ndarray]
    incredible: int


def read_answers(folder: str | os.PathLike) -> Answers:
    """Reads a study's answers and its key; the study may be going on meanwhile.

    Raises:
        InputError: for a folder that is no whole study, or has no answers yet.
    """
    folder = pathlib.Path(folder)
    study = read_study(folder, check_images=False)
    key = read_key(study)
    store = AnswerStore(require_answers(folder), study.fingerprint)
    try:
        people, answers = store.participants(), store.answers()
    finally:
        store.close()
    answers = [a for a in answers if a["question"] in study.questions]
    if not answers:
        raise InputError(
            f"{folder} has no answers yet: reader_study serve collects them"
        )
    for person in people:
        person["expected"] = sum(len(study.names(part)) for part in person["parts"])
    rows = [row for answer in answers for row in _rows(study, key, answer)]
    tables = {part: _table(study, key, part, rows) for part in PARTS}
    times = {
        part: _times(study, part, table, answers) for part, table in tables.items()
    }
    incredible = sum(
        answer["client_ms"] is not None and credible_ms(answer) is None
        for answer in answers
    )
    return Answers(study, tables, people, rows, times, incredible)


def credible_ms(answer: dict[str, Any]) -> int | None:
    """The browser's time of an answer; None where it told none, or an impossible one.

    The server sent the page before the browser could show it, so that by the server's
    clock it was longer.
    """
    client, server = answer["client_ms"], answer["server_ms"]
    if client is None or client < 0:
        return None
    if server is not None and client > server + CLOCK_TOLERANCE_MS:
        return None
    return client


def _rows(study: Study, key: dict[str, KeyLine], answer: dict[str, Any]):
    question = study.questions[answer["question"]]
    for image in question.images:
        line = key[image]
        if question.part == "turing":
            said, truth = answer["answer"] == "real", line.kind == "real"
        else:
            said, truth = image in answer["answer"], question.condition in line.shows
        yield {
            "participant": answer["participant"],
            "part": question.part,
            "question": question.name,
            "asked": question.condition,
            "image": image,
            "kind": line.kind,
            "source": line.source,
            "condition": line.condition,
            "fitzpatrick": line.fitzpatrick,
            "said": int(said),
            "truth": int(truth),
            "milliseconds": credible_ms(answer),
            "answered": answer["answered"],
        }


def _table(study: Study, key: dict[str, KeyLine], part: str, rows) -> Table:
    rows = [row for row in rows if row["part"] == part]
    people = sorted({row["participant"] for row in rows})
    asked = [study.questions[name] for name in study.names(part)]
    shown = [(question.condition, i) for question in asked for i in question.images]
    columns = {image: place for place, (_, image) in enumerate(shown)}
    lines = {person: place for place, person in enumerate(people)}
    said = np.full((len(people), len(shown)), np.nan)
    for row in rows:
        said[lines[row["participant"]], columns[row["image"]]] = row["said"]
    return Table(
        tuple(people),
        tuple(key[image] for _, image in shown),
        said,
        np.array([asked for asked, _ in shown], object),
    )


def _times(study: Study, part: str, table: Table, answers) -> np.ndarray:
    columns = {name: place for place, name in enumerate(study.names(part))}
    lines = {person: place for place, person in enumerate(table.participants)}
    times = np.full((len(lines), len(columns)), np.nan)
    for answer in answers:
        value = credible_ms(answer)
        if answer["question"] in columns and value is not None:
            times[lines[answer["participant"]], columns[answer["question"]]] = value
    return times
