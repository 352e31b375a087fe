"""The pages of the reader study: enter, agree, answer question after question, end.

Nothing of the answer key comes here: all is made of `served/` and of the answers' file.
"""

import dataclasses
import functools
import random
import time
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from dermgan_tf.apps.reader_study.store import AnswerStore, Participant
from dermgan_tf.apps.reader_study.study import PARTS, Question, Study
from dermgan_tf.apps.web.forms import read_form
from dermgan_tf.apps.web.pages import page, wants_json
from dermgan_tf.photos.draws import shuffled

MAX_CODE = 100  # characters of a code that are looked at
_MONTH = 30 * 24 * 3600  # seconds that a browser may stay away
_DAY_MS = 24 * 3600 * 1000


@dataclasses.dataclass(frozen=True)
class _Place:
    """Where a participant stands.

    Args:
        question: the next one; None at the end.
        number, total: ints. Its place among all of theirs, from 1, and their count.
        first_of_part: bool. Whether the part begins with it.
        part: int. The part's number for people, from 1 among theirs.
        parts: int. How many parts are theirs.
    """

    question: Question | None
    number: int
    total: int
    first_of_part: bool
    part: int
    parts: int


class ReaderStudyPages:
    """The routes of one study.

    Args:
        study: what is shown.
        store: its answers.
        secure: bool. Whether the pages are reached by https.
    """

    def __init__(self, study: Study, store: AnswerStore, secure: bool = False):
        self._study, self._store, self._secure = study, store, secure
        # Cookies do not know ports: two studies on one machine keep apart by name.
        self._cookie = f"reader_study_{study.fingerprint[:12]}"
        self._shown: dict[int, tuple[str, float]] = {}
        self._order = functools.lru_cache(10_000)(self._order_of)

    def routes(self) -> list[Route]:
        return [
            Route("/", self.start),
            Route("/enter", self.enter, methods=["POST"]),
            Route("/study", self.show),
            Route("/consent", self.consent, methods=["POST"]),
            Route("/answer", self.answer, methods=["POST"]),
            Route("/continue", self.take_over, methods=["POST"]),
            Route("/image/{name}", self.image),
        ]

    async def start(self, request: Request) -> Response:
        if await self._who(request):
            return RedirectResponse("/study", 303)
        return self._page("enter.html", wrong=False)

    async def enter(self, request: Request) -> Response:
        form = await read_form(request)
        code = form.get("code", [""])[0].strip()[:MAX_CODE]
        entered = await run_in_threadpool(self._store.enter, code)
        if entered is None:
            return self._page("enter.html", 403, wrong=True)
        token, _ = entered
        response = RedirectResponse("/study", 303)
        response.set_cookie(
            *(self._cookie, token, _MONTH),
            secure=self._secure,
            httponly=True,
            samesite="strict",
        )
        return response

    async def show(self, request: Request) -> Response:
        who = await self._who(request)
        if who is None:
            return RedirectResponse("/", 303)
        if not who.current:
            return self._page("elsewhere.html", 409)
        if not who.consented:
            counts = [len(self._study.names(part)) for part in who.parts]
            introduction = self._study.introduction
            return self._page("consent.html", introduction=introduction, counts=counts)
        place = await self._place(who)
        if place.question is None:
            return self._page("end.html", total=place.total)
        part = place.question.part
        if place.first_of_part and "begin" not in request.query_params:
            return self._page(f"{part}_introduction.html", place=place)
        self._shown[who.id] = place.question.name, time.monotonic()
        return self._page(f"{part}.html", place=place, question=place.question)

    async def consent(self, request: Request) -> Response:
        who = await self._current(request)
        await read_form(request)
        await run_in_threadpool(self._store.consent, who.id)
        return RedirectResponse("/study", 303)

    async def answer(self, request: Request) -> Response:
        who = await self._current(request)
        form = await read_form(request)
        question = self._own_question(who, form)
        given = _answer_of(question, form)
        place = await self._place(who)
        if place.question != question:
            answered = await run_in_threadpool(self._store.answered, who.id)
            if question.name not in answered:
                raise HTTPException(409, "Another question comes first.")
        client_ms = _milliseconds(form)
        server_ms = None
        shown = self._shown.get(who.id)
        if shown and shown[0] == question.name:
            server_ms = round((time.monotonic() - shown[1]) * 1000)
        told = await run_in_threadpool(
            self._store.record, who.id, question.name, given, client_ms, server_ms
        )
        if told == "different":
            raise HTTPException(
                409, "You have answered this picture before; the first answer stays."
            )
        if wants_json(request):
            return JSONResponse({"stored": question.name})
        return RedirectResponse("/study", 303)

    async def take_over(self, request: Request) -> Response:
        await read_form(request)
        token = request.cookies.get(self._cookie, "")
        await run_in_threadpool(self._store.take_over, token)
        return RedirectResponse("/study", 303)

    async def image(self, request: Request) -> Response:
        """A picture of the question that the participant stands at, and of no other."""
        who = await self._current(request)
        name = request.path_params["name"]
        place = await self._place(who)
        if not who.consented or not place.question:
            raise HTTPException(404)
        if name not in place.question.images:
            raise HTTPException(404)
        data = await run_in_threadpool(self._study.image_path(name).read_bytes)
        # No Last-Modified and no ETag of the file: they could tell something.
        return Response(data, media_type="image/jpeg")

    async def _who(self, request: Request) -> Participant | None:
        token = request.cookies.get(self._cookie)
        if not token:
            return None
        return await run_in_threadpool(self._store.participant, token)

    async def _current(self, request: Request) -> Participant:
        who = await self._who(request)
        if who is None:
            raise HTTPException(401, "Please enter your code again.")
        if not who.current:
            raise HTTPException(
                409, "Your code was opened in another window, where you can go on."
            )
        return who

    async def _place(self, who: Participant) -> _Place:
        order = self._order(who.seed, who.parts)
        answered = await run_in_threadpool(self._store.answered, who.id)
        left = [name for name in order if name not in answered]
        if not left:
            return _Place(None, len(order), len(order), False, 0, len(who.parts))
        question = self._study.questions[left[0]]
        number = order.index(left[0]) + 1
        before = order[number - 2] if number > 1 else None
        first = before is None or self._study.questions[before].part != question.part
        part = who.parts.index(question.part) + 1
        return _Place(question, number, len(order), first, part, len(who.parts))

    def _order_of(self, seed: int, parts: tuple[str, ...]) -> list[str]:
        """A participant's own order: part after part, shuffled within."""
        rng = random.Random(seed)
        return [
            name
            for part in PARTS
            if part in parts
            for name in shuffled(self._study.names(part), rng)
        ]

    def _own_question(self, who: Participant, form: dict[str, list[str]]) -> Question:
        question = self._study.questions.get(form.get("question", [""])[0])
        if question is None or question.part not in who.parts or not who.consented:
            raise HTTPException(400, "There is no such question.")
        return question

    def _page(self, name: str, status: int = 200, **values: Any) -> Response:
        return page(f"reader_study/{name}", status, study=self._study, **values)


def _answer_of(question: Question, form: dict[str, list[str]]) -> Any:
    """What a form says to a question: "real", "synthetic", or names of images."""
    if question.part == "turing":
        given = form.get("answer", [])
        if len(given) != 1 or given[0] not in ("real", "synthetic"):
            raise HTTPException(400, "An answer is real or synthetic.")
        return given[0]
    marked = form.get("image", [])
    if len(set(marked)) != len(marked) or set(marked) - set(question.images):
        raise HTTPException(400, "An answer names pictures of the question.")
    return sorted(marked)


def _milliseconds(form: dict[str, list[str]]) -> int | None:
    text = form.get("elapsed_ms", [""])[0]
    if not (text.isascii() and text.isdecimal() and len(text) <= 9):
        return None
    return int(text) if int(text) <= _DAY_MS else None
