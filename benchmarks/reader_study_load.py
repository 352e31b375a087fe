"""Many participants at once, and a server that is killed with −9 meanwhile.

Starts `reader_study serve` on this machine's loopback address, lets participants answer
as fast as they can but for a short pause, kills the server, starts it again, and then
compares what the participants were told with what the study holds. Stops by itself.
"""

import dataclasses
import http.client
import json
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

import numpy as np
from absl import flags

from dermgan_tf.apps.reader_study.build import Settings, build_study
from dermgan_tf.apps.reader_study.pools import Candidate
from dermgan_tf.apps.reader_study.store import AnswerStore
from dermgan_tf.apps.reader_study.study import ANSWERS_FILE, read_study
from pipelines.shared import program

RETRY_SECONDS, GIVE_UP_SECONDS = 0.2, 90.0
MAX_PARTICIPANTS, MAX_SECONDS = 500, 600


def define_flags():
    flags.DEFINE_integer(
        "participants", 100, "At once.", lower_bound=1, upper_bound=MAX_PARTICIPANTS
    )
    flags.DEFINE_integer("seconds", 120, "Of load.", 1, MAX_SECONDS)
    flags.DEFINE_integer("kills", 2, "Of the server, spread over the time.", 0, 20)
    flags.DEFINE_float("pause", 0.5, "Seconds of a participant between answers.", 0)


def main(args):
    with tempfile.TemporaryDirectory() as folder:
        study, codes = noise_study(
            pathlib.Path(folder) / "study", 400, args.participants
        )
        told = run_load(study, codes, args.seconds, args.kills, args.pause)
    for name, value in told.items():
        print(f"{name}: {value}")


def noise_study(folder, count, participants):
    """A study of 2 · count images without any meaning: (folder, codes)."""

    class Pool:
        def __init__(self, kind):
            shows = frozenset(["a"])
            self.candidates = [
                Candidate(kind, "a", shows, 1, str(i), "") for i in range(count)
            ]

        def images(self, places):
            for place in places:
                rng = np.random.default_rng(place)
                yield place, rng.integers(0, 255, (32, 32, 3), np.uint8)

    folder.mkdir()
    pools = {kind: Pool(kind) for kind in ("real", "synthetic")}
    build_study(folder, pools, Settings(count, count, 0))
    store = AnswerStore(folder / ANSWERS_FILE, read_study(folder).fingerprint)
    codes = [store.invite("", ("turing",)) for _ in range(participants)]
    store.close()
    return folder, codes


@dataclasses.dataclass
class Told:
    """What one participant was told."""

    stored: dict = dataclasses.field(default_factory=dict)
    retries: int = 0
    problems: list = dataclasses.field(default_factory=list)
    seconds: list = dataclasses.field(default_factory=list)  # of answers, when up


class Reader(threading.Thread):
    """One participant: enters, agrees, answers until the time is over."""

    def __init__(self, port, code, over, pause):
        super().__init__(daemon=True)
        self.told, self._cookie = Told(), ""
        self._port, self._code, self._over, self._pause = port, code, over, pause
        self._random = random.Random(code)
        self._connection = None

    def run(self):
        try:
            self._send("POST", "/enter", {"code": self._code})
            self._send("POST", "/consent", {})
            while not self._over.is_set():
                if not self._answer():
                    return
                time.sleep(self._pause * self._random.uniform(0.5, 1.5))
        except Exception as error:  # noqa: BLE001 - told of at the end
            self.told.problems.append(repr(error))

    def _answer(self):
        status, page = self._send("GET", "/study?begin=1")
        found = re.search(rb'name="question" value="([0-9a-f]+\.jpg)"', page)
        if not found:
            if b"Thank you" not in page:
                self.told.problems.append(f"{status}: {page[:200]!r}")
            return False
        question = found.group(1).decode()
        status, _ = self._send("GET", f"/image/{question}")
        if status != 200:
            self.told.problems.append(f"{status} for a picture")
        answer = self._random.choice(("real", "synthetic"))
        fields = {"question": question, "answer": answer, "elapsed_ms": "10"}
        before, retries = time.monotonic(), self.told.retries
        status, text = self._send("POST", "/answer", fields)
        if status != 200:
            self.told.problems.append(f"{status} for an answer: {text[:200]!r}")
            return True
        if retries == self.told.retries:
            self.told.seconds.append(time.monotonic() - before)
        self.told.stored[question] = answer
        return True

    def _send(self, method, path, fields=None):
        """(status, body); tries again, as the page's script does, until one comes."""
        body = None if fields is None else urllib.parse.urlencode(fields)
        headers = {
            "Origin": f"http://127.0.0.1:{self._port}",
            "Content-Type": "application/x-www-form-urlencoded",
            "Accept": "application/json" if path == "/answer" else "text/html",
            "Cookie": self._cookie,
        }
        end = time.monotonic() + GIVE_UP_SECONDS
        while True:
            try:
                if self._connection is None:
                    self._connection = http.client.HTTPConnection(
                        "127.0.0.1", self._port, timeout=30
                    )
                self._connection.request(method, path, body, headers)
                response = self._connection.getresponse()
                data = response.read()
                if response.status < 500:
                    break
                self.told.problems.append(f"{response.status} for {path}")
            except (OSError, http.client.HTTPException):
                if self._connection is not None:
                    self._connection.close()
                self._connection = None
            if time.monotonic() > end:
                raise TimeoutError(f"no answer to {method} {path}")
            self.told.retries += 1
            time.sleep(RETRY_SECONDS * self._random.uniform(0.5, 1.5))
        cookie = response.getheader("set-cookie")
        if cookie:
            self._cookie = cookie.split(";")[0]
        return response.status, data


def run_load(study, codes, seconds, kills, pause, at_least=0):
    """Puts a study under load, and compares what was told with what is stored.

    Args:
        study: a study's folder, all of whose participants answer part 1.
        codes: of the participants, in the order of their ids.
        seconds: float. How long they answer.
        kills: int. How often the server is killed with −9 and started again.
        pause: float. Mean seconds of a participant between two answers.
        at_least: int. Answers to wait for beyond that time, of which a kill waits for
            its share: a slow machine is put under load, too. Two minutes at most.

    Returns:
        dict of counts: participants, answers told as stored, lost (told and not there),
        changed (there with another value), doubled, stored without being told (at most
        one a participant: the last), retries, problems (list), answers a second, and
        milliseconds an answer took (median, 95 %).
    """
    server, port = start_server(study, 0)
    try:
        start, over = time.monotonic(), threading.Event()
        readers = [Reader(port, code, over, pause) for code in codes]
        for reader in readers:
            reader.start()
        for number in range(1, kills + 1):
            share = number / (kills + 1)
            _wait(readers, start + share * seconds, share * at_least)
            server.kill()
            server.wait()
            server, _ = start_server(study, port)
        _wait(readers, start + seconds, at_least)
        seconds = time.monotonic() - start
        over.set()
        for reader in readers:
            reader.join(2 * GIVE_UP_SECONDS)
        alive = sum(reader.is_alive() for reader in readers)
    finally:
        server.kill()
        server.wait()
    return _compared(study, readers, seconds, kills, alive)


def _wait(readers, until, answers):
    """Waits for a time and for a number of answers; for these two minutes at most."""
    end = max(until, time.monotonic() + 120)
    while (now := time.monotonic()) < end:
        count = sum(len(reader.told.stored) for reader in readers)
        if now >= until and count >= answers:
            return
        time.sleep(0.05)


def start_server(study, port):
    """(process, port) of a server that has said where it is."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "pipelines.reader_study", "serve"),
            *(f"--study={study}", f"--port={port}"),
        ],
        cwd=pathlib.Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        text=True,
    )
    for line in process.stdout:
        if found := re.match(r"open http://127\.0\.0\.1:(\d+)/", line):
            return process, int(found.group(1))
    raise RuntimeError("the server did not start")


def _compared(study, readers, seconds, kills, alive):
    store = AnswerStore(
        pathlib.Path(study) / ANSWERS_FILE, read_study(study).fingerprint
    )
    rows = store.answers()
    store.close()
    stored = [{} for _ in readers]
    for row in rows:
        stored[row["participant"] - 1][row["question"]] = row["answer"]
    told = [reader.told for reader in readers]
    both = list(zip(told, stored, strict=True))
    times = np.array([s for one in told for s in one.seconds] or [np.nan]) * 1000
    problems = [problem for one in told for problem in one.problems]
    count = sum(len(one.stored) for one in told)
    return {
        "participants": len(readers),
        "kills": kills,
        "answers told as stored": count,
        "lost": sum(len(set(t.stored) - set(s)) for t, s in both),
        "changed": sum(s.get(q, a) != a for t, s in both for q, a in t.stored.items()),
        "doubled": len(rows) - sum(map(len, stored)),
        "stored, not told": sum(len(set(s) - set(t.stored)) for t, s in both),
        "most of them of one participant": max(
            len(set(s) - set(t.stored)) for t, s in both
        ),
        "retries": sum(one.retries for one in told),
        "problems": json.dumps(problems[:5]) if problems else "none",
        "still waiting": alive,
        "answers a second": round(count / seconds, 1),
        "milliseconds an answer took, median": round(float(np.median(times)), 1),
        "milliseconds, 95 %": round(float(np.nanpercentile(times, 95)), 1),
    }


if __name__ == "__main__":
    program.run(define_flags, main)
