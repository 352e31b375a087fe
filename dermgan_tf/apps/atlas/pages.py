"""The pages of the image atlas: browse, search by likeness, one condition on six skins.

Pages show what the store holds and change nothing. A photo that someone brings is
decoded in another process and compared; only its vector stays, in memory, for an hour.
"""

import asyncio
import collections
import dataclasses
import secrets
import threading
import time
import urllib.parse
from collections.abc import Callable
from typing import Any

import numpy as np
from absl import logging
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dermgan_tf.apps.atlas.about import PROVENANCES
from dermgan_tf.apps.atlas.filters import ROMAN, Filters, parse_filters
from dermgan_tf.apps.atlas.query import (
    admitted_by,
    described,
    on_skin_colours,
    vector_of,
)
from dermgan_tf.apps.atlas.store import AtlasStore, Facts
from dermgan_tf.apps.atlas.upload import UploadReader
from dermgan_tf.apps.web.pages import page
from dermgan_tf.errors import InputError

MAX_UPLOAD = 20 << 20  # bytes of a photo
PER_PAGE = 24
MAX_SIMILAR = 10 * PER_PAGE  # beyond, nothing is like it any more
EACH_COLOUR = 4
MAX_PAGE = 1_000_000
_UPLOAD_TYPE = "application/octet-stream"
_UPLOADS_AT_ONCE, _UPLOAD_SECONDS = 4, 60
_PHOTOS, _PHOTO_SECONDS = 500, 3600


@dataclasses.dataclass(frozen=True)
class _Photo:
    """What is kept of a photo that someone brought."""

    vector: np.ndarray
    synthetic: bool
    since: float


class AtlasPages:
    """The routes of one atlas. To be closed.

    Args:
        store: what is shown.
        embedding: of the atlas, for photos that people bring; None = they cannot.
    """

    def __init__(self, store: AtlasStore, embedding=None):
        self._store, self._embedding = store, embedding
        self._reader = UploadReader(store.about.picture_size)
        self._photos: collections.OrderedDict[str, _Photo] = collections.OrderedDict()
        self._lock = threading.Lock()  # of the embedding
        self._uploads = 0
        self._counted: tuple[int, collections.Counter] | None = None

    def routes(self) -> list[Route]:
        return [
            Route("/", self.browse),
            Route("/like/{id}", self.like),
            Route("/colours/{id}", self.colours),
            Route("/photo", self.bring, methods=["POST"]),
            Route("/photo/{name}", self.like_photo),
            Route("/photo/{name}/colours", self.colours_of_photo),
            Route("/image/{id}", self.image),
        ]

    def close(self) -> None:
        self._reader.close()

    async def browse(self, request: Request) -> Response:
        counts, filters, number = await self._asked_for(request)
        admitted = admitted_by(counts, filters)
        found = await _stored(
            self._store.browse, filters, PER_PAGE, (number - 1) * PER_PAGE
        )
        return self._page(
            "browse.html", request, filters, found, number, admitted, counts
        )

    async def like(self, request: Request) -> Response:
        origin = await self._origin(request)
        vector = await _stored(self._store.vector, origin.id)
        return await self._similar(request, "like.html", vector, origin)

    async def like_photo(self, request: Request) -> Response:
        photo = self._photo(request)
        return await self._similar(request, "photo.html", photo.vector, photo=photo)

    async def colours(self, request: Request) -> Response:
        origin = await self._origin(request)
        vector = await _stored(self._store.vector, origin.id)
        return await self._colours(request, vector, origin.condition, origin)

    async def colours_of_photo(self, request: Request) -> Response:
        photo = self._photo(request)
        given = request.query_params.getlist("condition")
        filters = _filters(self._store.about.conditions, given)
        if len(filters.conditions) != 1:
            raise HTTPException(400, "Choose one condition first.")
        return await self._colours(request, photo.vector, filters.conditions[0])

    async def image(self, request: Request) -> Response:
        """A picture as it is kept: without metadata, a synthetic one with its mark."""
        kept = await _stored(self._store.picture, request.path_params["id"])
        if kept is None:
            raise HTTPException(404)
        return Response(kept[0], media_type=kept[1])

    async def bring(self, request: Request) -> Response:
        """Takes a photo, as the bare bytes of its file; tells where its like are."""
        if self._embedding is None:
            raise HTTPException(404)
        # No form's type: no other site's page can send it unasked.
        if request.headers.get("content-type") != _UPLOAD_TYPE:
            raise HTTPException(415, "Only this page's own script sends photos.")
        if self._uploads >= _UPLOADS_AT_ONCE:
            raise HTTPException(503, "Others are searching just now; please try again.")
        self._uploads += 1
        try:
            data = await asyncio.wait_for(request.body(), _UPLOAD_SECONDS)
            vector, synthetic = await run_in_threadpool(self._vector_of, data)
        except asyncio.TimeoutError:
            raise HTTPException(408, "The photo took too long to come.") from None
        except InputError as error:
            message = f"{str(error)[:1].upper()}{str(error)[1:]}."
            raise HTTPException(400, message) from None
        finally:
            self._uploads -= 1
        name = secrets.token_urlsafe(16)
        self._photos[name] = _Photo(vector, synthetic, time.monotonic())
        while len(self._photos) > _PHOTOS:
            self._photos.popitem(last=False)
        return JSONResponse({"page": f"/photo/{name}"})

    def _vector_of(self, data: bytes) -> tuple[np.ndarray, bool]:
        picture, synthetic = self._reader.read(data)
        size = self._store.about.picture_size
        with self._lock:
            return vector_of(picture, self._embedding, size), synthetic

    def _photo(self, request: Request) -> _Photo:
        photo = self._photos.get(request.path_params["name"])
        if photo is None or time.monotonic() - photo.since > _PHOTO_SECONDS:
            raise HTTPException(
                410, "This photo is forgotten by now. Please bring it once more."
            )
        return photo

    async def _similar(
        self,
        request: Request,
        template: str,
        vector: np.ndarray,
        origin: Facts | None = None,
        photo: _Photo | None = None,
    ) -> Response:
        counts, filters, number = await self._asked_for(request)
        admitted = admitted_by(counts, filters)
        if origin is not None and filters.admits(
            origin.condition, origin.fitzpatrick, origin.provenance
        ):
            admitted -= 1
        total = min(admitted, MAX_SIMILAR)
        offset = (number - 1) * PER_PAGE
        found = []
        if offset < total:
            found = await _stored(
                lambda: self._store.similar(
                    vector,
                    filters,
                    min(PER_PAGE, total - offset),
                    offset,
                    without=origin.id if origin else "",
                )
            )
        return self._page(
            template,
            request,
            filters,
            found,
            number,
            total,
            counts,
            origin=origin,
            photo=photo,
        )

    async def _colours(
        self,
        request: Request,
        vector: np.ndarray,
        condition: str,
        origin: Facts | None = None,
    ) -> Response:
        counts = await self._counts()
        given = request.query_params.getlist("provenance")
        filters = _filters(self._store.about.conditions, provenances=given)
        found = await _stored(
            lambda: on_skin_colours(
                self._store,
                vector,
                condition,
                EACH_COLOUR,
                filters.provenances,
                without=origin.id if origin else "",
            )
        )
        return self._page(
            "colours.html",
            request,
            filters,
            [],
            1,
            0,
            counts,
            origin=origin,
            condition=condition,
            by_type=found,
        )

    async def _origin(self, request: Request) -> Facts:
        found = await _stored(self._store.facts, request.path_params["id"])
        if found is None:
            raise HTTPException(404)
        return found

    async def _counts(self) -> collections.Counter:
        """What there is by labels; counted again when images were added."""
        version = await _stored(lambda: self._store.version)
        if self._counted is None or self._counted[0] != version:
            self._counted = version, await _stored(self._store.counts)
        return self._counted[1]

    async def _asked_for(
        self, request: Request
    ) -> tuple[collections.Counter, Filters, int]:
        """What there is; which of it is asked for, and which page of that."""
        counts = await self._counts()
        query = request.query_params
        filters = _filters(
            self._store.about.conditions,
            query.getlist("condition"),
            query.getlist("type"),
            query.getlist("provenance"),
        )
        text = query.get("page", "1")
        if not (text.isascii() and text.isdecimal() and len(text) < 8):
            raise HTTPException(400, "There is no such page.")
        number = int(text)
        if not 1 <= number <= MAX_PAGE:
            raise HTTPException(400, "There is no such page.")
        return counts, filters, number

    def _page(
        self,
        template: str,
        request: Request,
        filters: Filters,
        found: list[Facts],
        number: int,
        total: int,
        counts: collections.Counter,
        **values: Any,
    ) -> Response:
        by_condition: collections.Counter = collections.Counter()
        for (condition, _, _), count in counts.items():
            by_condition[condition] += count
        return page(
            f"atlas/{template}",
            about=self._store.about,
            here=request.url.path.removeprefix("/"),
            filters=filters,
            found=found,
            number=number,
            total=total,
            first=(number - 1) * PER_PAGE + 1,
            links=_page_links(request.url.path, filters, number, total),
            asked=_query(filters),
            same_provenance=_query(Filters(provenances=filters.provenances)),
            everything=sum(by_condition.values()),
            by_condition=by_condition,
            roman=ROMAN,
            provenances=PROVENANCES,
            described=described,
            uploads=self._embedding is not None,
            max_upload=MAX_UPLOAD,
            **values,
        )


async def _stored(work: Callable, *arguments: Any) -> Any:
    """What the store answers; a visitor is not told where it lies."""
    try:
        return await run_in_threadpool(work, *arguments)
    except InputError as error:
        logging.error("%s", error)
        message = "The atlas cannot be read just now."
        raise HTTPException(500, message) from None


def _filters(known, conditions=(), types=(), provenances=()) -> Filters:
    try:
        return parse_filters(known, conditions, types, provenances)
    except InputError as error:
        message = f"{str(error)[:1].upper()}{str(error)[1:]}."
        raise HTTPException(400, message) from None


def _query(filters: Filters, number: int = 1) -> str:
    """The filters, and the page, as the query of a link."""
    pairs = [("condition", name) for name in filters.conditions]
    pairs += [("type", str(one)) for one in filters.fitzpatrick]
    pairs += [("provenance", name) for name in filters.provenances]
    if number > 1:
        pairs.append(("page", str(number)))
    return f"?{urllib.parse.urlencode(pairs)}" if pairs else ""


def _page_links(path: str, filters: Filters, number: int, total: int) -> dict[str, str]:
    """The number of pages, and the links to those beside, without their first slash."""
    pages = max(1, -(-total // PER_PAGE))
    path = path.removeprefix("/")
    links = {"pages": str(pages)}
    if 1 < number <= pages + 1:
        links["previous"] = path + _query(filters, number - 1)
    if number < pages:
        links["next"] = path + _query(filters, number + 1)
    return links
