"""The token that every page asks for once, where other machines can reach it."""

import hashlib
import hmac
import os
import pathlib
import secrets

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from dermgan_tf.apps.web.forms import read_form
from dermgan_tf.apps.web.pages import error_response, page
from dermgan_tf.errors import InputError

MIN_TOKEN = 16  # characters
COOKIE = "dermgan_access"
STATIC = "/static/"
ENTER = "/access"
_MONTH = 30 * 24 * 3600


class Access:
    """Lets through who has sent the token; asks all others for it.

    Args:
        app: what is protected.
        token: at least 16 characters.
        secure: bool. Whether pages are reached by https, and so the cookie may be
            kept from plain http.
    """

    def __init__(self, app: ASGIApp, token: str, secure: bool):
        self._app, self._token, self._secure = app, token, secure
        # Not the token itself: a cookie is easier to come by than the link.
        key = b"dermgan_tf access cookie"
        self._pass = hmac.new(key, token.encode(), hashlib.sha256).hexdigest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        if scope["path"].startswith(STATIC) or self._has_pass(request):
            await self._app(scope, receive, send)
            return
        try:
            response = await self._ask(request)
        except HTTPException as error:
            response = error_response(scope, error.status_code, error.detail)
        await response(scope, receive, send)

    def _has_pass(self, request: Request) -> bool:
        given = request.cookies.get(COOKIE, "")
        return hmac.compare_digest(given.encode(), self._pass.encode())

    async def _ask(self, request: Request) -> Response:
        wrong = False
        if request.method == "POST" and request.url.path == ENTER:
            form = await read_form(request)
            given = form.get("token", [""])[0].strip()
            if hmac.compare_digest(given.encode(), self._token.encode()):
                response = RedirectResponse("/", 303)
                response.set_cookie(
                    *(COOKIE, self._pass, _MONTH),
                    secure=self._secure,
                    httponly=True,
                    samesite="strict",
                )
                return response
            wrong = True
        return page("access.html", 401, wrong=wrong)


def require_token(token: str) -> str:
    """The token; InputError for one that could be guessed."""
    if len(token) < MIN_TOKEN or not token.isascii() or not token.isprintable():
        raise InputError(
            f"--token has {len(token)} characters, want {MIN_TOKEN} or more of ASCII; "
            "leave it out, and one is made"
        )
    return token


def kept_token(path: str | os.PathLike) -> str:
    """A token from a file, made where there is none, so that links stay good."""
    path = pathlib.Path(path)
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with open(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(24) + "\n")
    except FileExistsError:
        pass
    return require_token(path.read_text("ascii").strip())
