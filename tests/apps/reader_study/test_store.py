"""Answers are kept once, for ever, and under nobody else's name."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading

import pytest

from dermgan_tf.apps.reader_study.store import AnswerStore, append_participants
from dermgan_tf.errors import InputError
from tests.helpers.browser import ROOT
from tests.helpers.study_pools import PARTS


@pytest.fixture
def store(tmp_path):
    made = AnswerStore.create(tmp_path / "answers.sqlite", "print")
    yield made
    made.close()


def test_the_first_answer_stays(store):
    store.invite("", PARTS)
    assert store.record(1, "q", "real", 900, 950) == "stored"
    assert store.record(1, "q", "real", 5000, 6000) == "repeated"
    assert store.record(1, "q", "synthetic", 900, 950) == "different"
    (answer,) = store.answers()
    assert answer["answer"] == "real" and answer["client_ms"] == 900
    assert store.answered(1) == {"q"} and store.answered(2) == set()


def test_codes_are_unguessable_and_kept_as_digests(store, tmp_path):
    codes = {store.invite("", PARTS) for _ in range(50)}
    assert len(codes) == 50 and min(map(len, codes)) >= 22
    data = b"".join(p.read_bytes() for p in tmp_path.iterdir())
    assert not any(code.encode() in data for code in codes)
    for wrong in ("", "x", next(iter(codes))[:-1], "' OR 1=1 --", "\udc80"):
        assert store.enter(wrong) is None


def test_one_session_at_a_time(store):
    code = store.invite("nurse", ("turing",))
    first, before = store.enter(code)
    assert not before and store.participant(first).current
    second, before = store.enter(code)
    assert before and store.participant(second).current
    assert not store.participant(first).current
    store.take_over(first)
    assert store.participant(first).current and not store.participant(second).current
    assert store.participant(first).parts == ("turing",)
    store.take_over("unknown")
    assert store.participant("unknown") is None
    for _ in range(30):
        token, _ = store.enter(code)
    assert store.participant(first) is None and store.participant(token).current


def test_consent_is_noted_once(store):
    token, _ = store.enter(store.invite("", PARTS))
    assert not store.participant(token).consented
    store.consent(1)
    assert store.participant(token).consented
    (person,) = store.participants()
    store.consent(1)
    assert store.participants() == [person] and person["answers"] == 0


def test_threads_and_processes_write_at_once(store, tmp_path):
    """Every answer once, whoever comes first."""
    store.invite("", PARTS)
    other = AnswerStore(tmp_path / "answers.sqlite", "print")
    told = []

    def write(which):
        told.extend(which.record(1, f"q{n}", n % 2, None, None) for n in range(40))

    threads = [threading.Thread(target=write, args=(s,)) for s in (store, other) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.close()
    assert sorted(set(told)) == ["repeated", "stored"] and told.count("stored") == 40
    assert len(store.answers()) == 40


def test_what_was_told_as_stored_survives_a_kill(tmp_path):
    path = tmp_path / "answers.sqlite"
    AnswerStore.create(path, "print").close()
    code = (
        "import itertools, sys\n"
        "from dermgan_tf.apps.reader_study.store import AnswerStore\n"
        "store = AnswerStore(sys.argv[1], 'print')\n"
        "store.invite('', ('turing',))\n"
        "for n in itertools.count():\n"
        "    store.record(1, f'q{n}', 'real', None, None)\n"
        "    print(n, flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, path], cwd=ROOT, stdout=subprocess.PIPE
    )
    told = [process.stdout.readline() for _ in range(100)]
    os.kill(process.pid, signal.SIGKILL)
    told += process.stdout.readlines()
    process.wait()
    count = sum(line.endswith(b"\n") for line in told)
    store = AnswerStore(path, "print")
    assert count <= len(store.answers()) <= count + 1
    assert store.record(1, "q0", "real", None, None) == "repeated"
    store.close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_files_that_are_none_of_ours(store, tmp_path):
    with pytest.raises(InputError, match="belongs to another study"):
        AnswerStore(tmp_path / "answers.sqlite", "other")
    (tmp_path / "text").write_text("no database, but long enough to be looked at" * 99)
    for name in ("text", "missing"):
        with pytest.raises(InputError, match=f"{name} is not a study's answers"):
            AnswerStore(tmp_path / name, "print")


def test_labels_and_parts(store, tmp_path):
    for label in ("=cmd()", "@x", "a\nb", "x" * 61):
        with pytest.raises(InputError, match="label"):
            store.invite(label, PARTS)
    for parts in ((), ("other",)):
        with pytest.raises(InputError, match="parts"):
            store.invite("", parts)
    path = tmp_path / "participants.csv"
    append_participants(path, [("c1", "", PARTS)])
    append_participants(path, [("c2", "nurse", PARTS[:1])])
    assert path.read_text().splitlines() == [
        "code,label,parts",
        "c1,,turing+recognition",
        "c2,nurse,turing",
    ]
    assert path.stat().st_mode & 0o077 == 0
