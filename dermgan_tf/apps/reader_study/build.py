"""Builds a study: draws images, encodes all alike, writes the folder."""

import contextlib
import dataclasses
import hashlib
import os
import pathlib
import secrets
import sqlite3
from collections.abc import Callable, Mapping
from typing import Any

from dermgan_tf.apps.reader_study.encoding import encode_blind
from dermgan_tf.apps.reader_study.pools import KINDS
from dermgan_tf.apps.reader_study.sampling import draw_study
from dermgan_tf.apps.reader_study.store import AnswerStore
from dermgan_tf.apps.reader_study.study import (
    ANSWERS_FILE,
    IMAGES,
    KEY_FILE,
    STUDY_FILE,
    KeyLine,
    Question,
    study_text,
    write_key,
)
from dermgan_tf.errors import InputError
from dermgan_tf.progress import silent

# All files get this time: when each was written would tell in which order.
_FILE_TIME = 946_684_800  # 2000-01-01, UTC
MAX_TITLE, MAX_INTRODUCTION = 200, 20_000  # characters
INTRODUCTION = (
    "You will see pictures of skin. Some are photographs of skin conditions, others "
    "were made by a computer program. We want to know how well people can tell them "
    "apart, and whether the pictures show what they are meant to show.",
    "It is the pictures that are tested, not you. There is no time limit; answer as "
    "you would after a short, careful look. Every answer is stored at once and cannot "
    "be changed afterwards. You can close the window at any time and go on later with "
    "the same code.",
    "Stored are your answers and how long each took, under a number instead of your "
    "name. Taking part is voluntary.",
    "Nothing you see here is medical advice. Please do not copy or photograph the "
    "pictures.",
)


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a study is made.

    Args:
        real, synthetic: ints. Images of each kind in part 1.
        questions: int. Of part 2.
        images_per_question: int, even, at least 4.
        image_size: int, pixels; None = the smaller side of the two pools' images.
        quality: int, 1…95, of the JPEGs.
        title: str.
        introduction: paragraphs of plain text.
        seed: int. Of what is drawn; names and codes are secret, and differ every time.
    """

    real: int = 80
    synthetic: int = 80
    questions: int = 16
    images_per_question: int = 8
    image_size: int | None = None
    quality: int = 90
    title: str = "Real or synthetic?"
    introduction: tuple[str, ...] = INTRODUCTION
    seed: int = 0


def build_study(
    folder: str | os.PathLike,
    pools: Mapping[str, Any],
    settings: Settings,
    progress: Callable = silent,
) -> dict[str, Any]:
    """Writes a study's folder but for participants.

    Args:
        folder: an existing, empty folder.
        pools: by "real" and "synthetic", something with `candidates` and `images`; see
            `dermgan_tf.apps.reader_study.pools`.
        settings: how it is made.
        progress: see `dermgan_tf.progress`.

    Returns:
        dict of images (int), questions (int, of both parts), image_size (int) and
        notes (what could not be had as it should be, a line each).

    Raises:
        InputError: for pools that do not hold enough, or an image that is too small.
    """
    folder = pathlib.Path(folder)
    _check(settings)
    draw = draw_study(
        {kind: pools[kind].candidates for kind in KINDS},
        {"real": settings.real, "synthetic": settings.synthetic},
        settings.questions,
        settings.images_per_question,
        settings.seed,
    )
    places = {
        kind: [
            *draw.turing[kind],
            *(place for q in draw.recognition for place in q.images[kind]),
        ]
        for kind in KINDS
    }
    pixels = {}
    for kind in KINDS:
        read = pools[kind].images(places[kind])
        for place, image in progress(
            read, total=len(places[kind]), desc=f"{kind} images"
        ):
            pixels[kind, place] = image
    size = settings.image_size or min(min(i.shape[:2]) for i in pixels.values())
    files = encode_blind(list(pixels.values()), size, settings.quality)
    named = {at: f"{secrets.token_hex(16)}.jpg" for at in pixels}
    key, questions = _questions(pools, draw, named)
    contents = {named[at]: data for at, data in zip(pixels, files, strict=True)}
    _write_images(folder / IMAGES, contents)
    digests = {
        name: hashlib.sha256(contents[name]).hexdigest() for name in sorted(contents)
    }
    title, introduction = settings.title.strip(), list(settings.introduction)
    text = study_text(title, introduction, size, questions, digests)
    (folder / STUDY_FILE).write_text(text, "utf-8")
    write_key(folder / KEY_FILE, sorted(key, key=lambda line: line.image))
    fingerprint = hashlib.sha256(text.encode()).hexdigest()
    AnswerStore.create(folder / ANSWERS_FILE, fingerprint).close()
    folder.chmod(0o700)
    return {
        "images": len(contents),
        "questions": len(questions),
        "image_size": size,
        "notes": draw.notes,
    }


def require_no_answers(folder: str | os.PathLike) -> None:
    """Raises InputError for a study that people have answered: it is not built over."""
    path = pathlib.Path(folder) / ANSWERS_FILE
    if not path.is_file():
        return
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        with contextlib.closing(connection):
            (count,) = connection.execute("SELECT count(*) FROM answers").fetchone()
    except sqlite3.Error:
        return  # nobody can have answered into it
    if count:
        raise InputError(
            f"{folder} holds {count} answers of participants, which --overwrite does "
            "not delete; move it away, or choose another --output_dir"
        )


def read_introduction(path: str | os.PathLike | None) -> tuple[str, ...]:
    """Reads a text file of paragraphs that blank lines separate; None = ours.

    Raises:
        InputError: for a file that cannot be read, is no text, empty, or very long.
    """
    if path is None:
        return INTRODUCTION
    try:
        text = pathlib.Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the introduction {path}: {error}") from None
    if len(text) > MAX_INTRODUCTION:
        raise InputError(f"{path} has more than {MAX_INTRODUCTION} characters")
    paragraphs = [" ".join(part.split()) for part in text.split("\n\n")]
    paragraphs = [paragraph for paragraph in paragraphs if paragraph]
    if not paragraphs:
        raise InputError(f"{path} is empty; participants need to know what this is")
    return tuple(paragraphs)


def _check(settings: Settings) -> None:
    title = settings.title.strip()
    if not title or len(title) > MAX_TITLE or not title.isprintable():
        raise InputError(f"title {title[:40]!r}: want one line of 1…{MAX_TITLE}")
    if not settings.real + settings.synthetic + settings.questions:
        raise InputError("a study without images and questions: ask for some")
    if bool(settings.real) != bool(settings.synthetic):
        raise InputError("part 1 needs real and synthetic images, or none at all")


def _questions(pools, draw, named) -> tuple[list[KeyLine], list[Question]]:
    key, questions = [], []

    def add(kind: str, place: int, part: str, question: str) -> str:
        candidate, name = pools[kind].candidates[place], named[kind, place]
        key.append(
            KeyLine(
                image=name,
                part=part,
                question=question or name,
                kind=kind,
                source=candidate.source,
                condition=candidate.condition,
                shows=tuple(sorted(candidate.shows)),
                fitzpatrick=candidate.fitzpatrick,
                case_id=candidate.case,
                origin=candidate.origin,
            )
        )
        return name

    turing = [add(k, p, "turing", "") for k in KINDS for p in draw.turing[k]]
    # By name, which is random: the order tells nothing.
    questions += [Question(name, "turing", (name,)) for name in sorted(turing)]
    for number, asked in enumerate(draw.recognition, start=1):
        name = f"q{number:02d}"
        images = [
            add(kind, place, "recognition", name)
            for kind in KINDS
            for place in asked.images[kind]
        ]
        shown = tuple(sorted(images))
        questions.append(Question(name, "recognition", shown, asked.condition))
    return key, questions


def _write_images(folder: pathlib.Path, contents: Mapping[str, bytes]) -> None:
    folder.mkdir(parents=True)
    for name in sorted(contents):
        (folder / name).write_bytes(contents[name])
        os.utime(folder / name, (_FILE_TIME, _FILE_TIME))
