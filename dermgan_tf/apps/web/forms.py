"""Reads the forms that our pages send."""

import urllib.parse

from starlette.exceptions import HTTPException
from starlette.requests import Request

FORM_TYPE = "application/x-www-form-urlencoded"
MAX_FIELDS = 200


async def read_form(request: Request) -> dict[str, list[str]]:
    """The fields of a form, each a list of its values.

    Raises:
        HTTPException: 415 for another content type, 400 for what is no form.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip() != FORM_TYPE:
        raise HTTPException(415, "Only the forms of these pages are read.")
    try:
        return urllib.parse.parse_qs(
            (await request.body()).decode("ascii"),
            keep_blank_values=True,
            strict_parsing=False,
            errors="strict",
            max_num_fields=MAX_FIELDS,
        )
    except ValueError:
        raise HTTPException(400, "This form cannot be read.") from None
