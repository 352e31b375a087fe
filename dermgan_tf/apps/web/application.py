"""Puts the routes of a part together with what all parts share."""

import contextlib
import pathlib
from collections.abc import Sequence

from absl import logging
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from dermgan_tf.apps.web.access import Access
from dermgan_tf.apps.web.pages import error_response
from dermgan_tf.apps.web.safety import TOO_LARGE, Safety, TooLarge
from dermgan_tf.apps.web.serving import Address

_STATIC = pathlib.Path(__file__).with_name("static")
MAX_BODY = 64 << 10  # bytes: what the largest form of ours takes, many times over


def make_application(
    routes: Sequence[BaseRoute], address: Address, max_body: int = MAX_BODY
) -> ASGIApp:
    """Makes the ASGI application of a part.

    Args:
        routes: the part's own.
        address: where it is served; what other machines reach asks for its token.
        max_body: int. Bytes that a request may bring.
    """
    app: ASGIApp = Starlette(
        routes=[*routes, Mount("/static", StaticFiles(directory=_STATIC))],
        exception_handlers={
            HTTPException: _known_error,
            TooLarge: _too_large,
            Exception: _defect,
        },
    )
    app = _Guarded(app)
    if address.token:
        app = Access(app, address.token, address.secure)
    return Safety(app, address.hosts, max_body)


class _Guarded:
    """Keeps Starlette's outermost layer from raising again what it has answered."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope, receive, send) -> None:
        with contextlib.suppress(Exception):  # answered and logged by _defect
            await self._app(scope, receive, send)


async def _known_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    standard = {404: "There is no such page.", 405: "This cannot be done here."}
    message = standard.get(error.status_code) or error.detail
    response = error_response(request.scope, error.status_code, message)
    response.headers.update(error.headers or {})
    return response


async def _too_large(request: Request, error: Exception) -> Response:
    return error_response(request.scope, 413, TOO_LARGE)


async def _defect(request: Request, error: Exception) -> Response:
    logging.error("%s %s failed: %r", request.method, request.url.path, error)
    return error_response(
        request.scope,
        500,
        "Something went wrong here. What was stored stays stored; please try again.",
    )
