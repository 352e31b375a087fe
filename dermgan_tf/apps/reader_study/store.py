"""Participants, sessions and answers, in one SQLite file that a kill does not hurt.

Write-ahead log and synchronous=FULL: an answer is on the disk before the browser hears
that it is stored (https://sqlite.org/pragma.html#pragma_synchronous). Codes and session
tokens are kept as SHA-256 only: who reads the file cannot answer in another's name.
"""

import contextlib
import csv
import dataclasses
import datetime
import hashlib
import json
import os
import pathlib
import secrets
import sqlite3
import threading
from collections.abc import Iterator
from typing import Any

from dermgan_tf.apps.reader_study.study import PARTS
from dermgan_tf.errors import InputError

SCHEMA_VERSION = 1
CODE_BYTES, SESSION_BYTES = 16, 32  # 128 and 256 random bits
MAX_LABEL = 60  # characters
MAX_SESSIONS = 20  # of a participant that are remembered
_BUSY_SECONDS = 20.0  # how long a write waits for another process

_SCHEMA = """
CREATE TABLE study (
  fingerprint TEXT NOT NULL, schema_version INTEGER NOT NULL
);
CREATE TABLE participants (
  id INTEGER PRIMARY KEY,
  code_digest TEXT NOT NULL UNIQUE,
  label TEXT NOT NULL,
  parts TEXT NOT NULL,
  seed INTEGER NOT NULL,
  session INTEGER REFERENCES sessions,
  consented TEXT
);
CREATE TABLE sessions (
  id INTEGER PRIMARY KEY,
  token_digest TEXT NOT NULL UNIQUE,
  participant INTEGER NOT NULL REFERENCES participants,
  opened TEXT NOT NULL
);
CREATE TABLE answers (
  participant INTEGER NOT NULL REFERENCES participants,
  question TEXT NOT NULL,
  answer TEXT NOT NULL,
  answered TEXT NOT NULL,
  client_ms INTEGER,
  server_ms INTEGER,
  PRIMARY KEY (participant, question)
) WITHOUT ROWID;
"""


@dataclasses.dataclass(frozen=True)
class Participant:
    """Who is answering.

    Args:
        id: int, from 1.
        parts: of the study that are theirs, in order.
        seed: int. Of their own order of questions.
        consented: bool.
        current: bool. Whether this session is the one that their code was last opened
            in; an older one may read and write nothing.
    """

    id: int
    parts: tuple[str, ...]
    seed: int
    consented: bool
    current: bool


class AnswerStore:
    """The answers of a study; may be used by several threads and processes at once.

    Args:
        path: the file, which `create` made.
        fingerprint: of the study that it must belong to.

    Raises:
        InputError: for a file that is no such store, or of another study.
    """

    def __init__(self, path: str | os.PathLike, fingerprint: str):
        self._path, self._lock = pathlib.Path(path), threading.RLock()
        try:
            self._connection = _connect(self._path)
            row = self._connection.execute("SELECT * FROM study").fetchone()
        except sqlite3.Error as error:
            raise InputError(f"{path} is not a study's answers: {error}") from None
        if row["schema_version"] != SCHEMA_VERSION:
            raise InputError(
                f"{path} has the format {row['schema_version']}, this version of "
                f"dermgan_tf reads {SCHEMA_VERSION}"
            )
        if row["fingerprint"] != fingerprint:
            raise InputError(
                f"{path} belongs to another study than the images beside it: put "
                "together again what was built together"
            )

    @classmethod
    def create(cls, path: str | os.PathLike, fingerprint: str) -> "AnswerStore":
        """Makes the file; only its owner may read it."""
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        connection = _connect(pathlib.Path(path))
        connection.executescript(_SCHEMA)
        connection.execute(
            "INSERT INTO study VALUES (?, ?)", (fingerprint, SCHEMA_VERSION)
        )
        connection.close()
        return cls(path, fingerprint)

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def invite(self, label: str, parts: tuple[str, ...]) -> str:
        """Adds a participant, and returns the code, which is stored nowhere.

        Raises:
            InputError: for a label that spreadsheets would take for a formula, or that
                cannot be shown.
        """
        formula = label.startswith(("=", "+", "-", "@"))
        if len(label) > MAX_LABEL or not label.isprintable() or formula:
            raise InputError(
                f"label {label[:80]!r}: want up to {MAX_LABEL} characters on one line "
                "that do not begin with = + - @"
            )
        if not parts or any(part not in PARTS for part in parts):
            raise InputError(f"parts {parts!r}: want some of {', '.join(PARTS)}")
        code = secrets.token_urlsafe(CODE_BYTES)
        with self._writing() as connection:
            connection.execute(
                "INSERT INTO participants (code_digest, label, parts, seed) "
                "VALUES (?, ?, ?, ?)",
                (_digest(code), label, json.dumps(parts), secrets.randbits(53)),
            )
        return code

    def enter(self, code: str) -> tuple[str, bool] | None:
        """Opens a session for a code; an older one of the same code ends.

        Returns:
            (session token, whether the code was open elsewhere); None for an unknown
            code.
        """
        token = secrets.token_urlsafe(SESSION_BYTES)
        with self._writing() as connection:
            row = connection.execute(
                "SELECT id, session FROM participants WHERE code_digest = ?",
                (_digest(code),),
            ).fetchone()
            if row is None:
                return None
            session = connection.execute(
                "INSERT INTO sessions (token_digest, participant, opened) "
                "VALUES (?, ?, ?)",
                (_digest(token), row["id"], _now()),
            ).lastrowid
            connection.execute(
                "UPDATE participants SET session = ? WHERE id = ?", (session, row["id"])
            )
            connection.execute(
                "DELETE FROM sessions WHERE participant = ? AND id NOT IN (SELECT id "
                "FROM sessions WHERE participant = ? ORDER BY id DESC LIMIT ?)",
                (row["id"], row["id"], MAX_SESSIONS),
            )
        return token, row["session"] is not None

    def participant(self, token: str) -> Participant | None:
        """Whose session this is; None for an unknown token."""
        row = self._one(
            "SELECT p.*, s.id AS own FROM sessions s JOIN participants p "
            "ON p.id = s.participant WHERE s.token_digest = ?",
            (_digest(token),),
        )
        if row is None:
            return None
        return Participant(
            row["id"],
            tuple(json.loads(row["parts"])),
            row["seed"],
            row["consented"] is not None,
            row["own"] == row["session"],
        )

    def take_over(self, token: str) -> None:
        """Makes an older session of a code the current one again."""
        with self._writing() as connection:
            connection.execute(
                "UPDATE participants SET session = (SELECT id FROM sessions WHERE "
                "token_digest = ?) WHERE id = (SELECT participant FROM sessions WHERE "
                "token_digest = ?)",
                (_digest(token), _digest(token)),
            )

    def consent(self, participant: int) -> None:
        """Notes when a participant first agreed."""
        with self._writing() as connection:
            connection.execute(
                "UPDATE participants SET consented = ? "
                "WHERE id = ? AND consented IS NULL",
                (_now(), participant),
            )

    def answered(self, participant: int) -> set[str]:
        """The questions that a participant has answered."""
        rows = self._all(
            "SELECT question FROM answers WHERE participant = ?", (participant,)
        )
        return {row["question"] for row in rows}

    def record(
        self,
        participant: int,
        question: str,
        answer: Any,
        client_ms: int | None,
        server_ms: int | None,
    ) -> str:
        """Stores an answer; it is on the disk when this returns. The first one stays.

        Args:
            participant: int. Who.
            question: str. Its name.
            answer: what JSON can hold.
            client_ms: milliseconds by the browser's clock, None where it told none.
            server_ms: milliseconds since the page was sent, None where not known.

        Returns:
            "stored"; "repeated" when the same answer is there already; "different" when
            another one is.
        """
        text = json.dumps(answer)
        with self._writing() as connection:
            added = connection.execute(
                "INSERT INTO answers VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (participant, question, text, _now(), client_ms, server_ms),
            ).rowcount
            if added:
                return "stored"
            row = connection.execute(
                "SELECT answer FROM answers WHERE participant = ? AND question = ?",
                (participant, question),
            ).fetchone()
        return "repeated" if row["answer"] == text else "different"

    def participants(self) -> list[dict[str, Any]]:
        """dicts of id, label, parts, consented (time or None), answers (count)."""
        rows = self._all(
            "SELECT id, label, parts, consented, (SELECT count(*) FROM answers WHERE "
            "participant = id) AS answers FROM participants ORDER BY id"
        )
        return [dict(row) | {"parts": json.loads(row["parts"])} for row in rows]

    def answers(self) -> list[dict[str, Any]]:
        """dicts of participant, question, answer, answered, client_ms, server_ms."""
        rows = self._all("SELECT * FROM answers ORDER BY participant, answered")
        return [dict(row) | {"answer": json.loads(row["answer"])} for row in rows]

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def _one(self, query: str, values: tuple = ()) -> sqlite3.Row | None:
        with self._lock:
            return self._connection.execute(query, values).fetchone()

    def _all(self, query: str, values: tuple = ()) -> list[sqlite3.Row]:
        with self._lock:
            return self._connection.execute(query, values).fetchall()


def append_participants(
    path: str | os.PathLike, rows: list[tuple[str, str, tuple[str, ...]]]
) -> None:
    """Adds (code, label, parts) to participants.csv; only its owner may read it."""
    new = not os.path.exists(path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    with open(os.open(path, flags, 0o600), "a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(("code", "label", "parts"))
        for code, label, parts in rows:
            writer.writerow((code, label, "+".join(parts)))


def _connect(path: pathlib.Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=_BUSY_SECONDS,
        isolation_level=None,  # transactions begin where the code says so
        check_same_thread=False,  # a lock guards it
    )
    connection.row_factory = sqlite3.Row
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def _digest(secret: str) -> str:
    # The secrets are random, so that a plain hash cannot be tried through.
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
