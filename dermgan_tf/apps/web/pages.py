"""Renders pages: one layout, escaped text."""

from typing import Any

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import Scope

_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.PackageLoader("dermgan_tf.apps.web"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TITLES = {
    401: "Please enter first",
    403: "Not allowed",
    404: "Not found",
    405: "Not possible here",
    409: "Already done",
    413: "Too large",
    421: "Wrong address",
}


def page(template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A page of templates/; a value that it names and is not given is an error."""
    return HTMLResponse(_ENVIRONMENT.get_template(template).render(**values), status)


def error_response(scope: Scope, status: int, message: str) -> Response:
    """What went wrong: JSON for scripts that accept it alone, else a page."""
    if wants_json(Request(scope)):
        return JSONResponse({"message": message}, status)
    title = _TITLES.get(status, "That did not work")
    return page("error.html", status, title=title, message=message)


def wants_json(request: Request) -> bool:
    return request.headers.get("accept", "") == "application/json"
