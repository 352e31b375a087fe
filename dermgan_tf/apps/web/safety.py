"""What stands between the network and every page: hosts, origins, sizes, headers."""

from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dermgan_tf.apps.web.pages import error_response

# No inline script or style, nothing from elsewhere, in no frame. `img-src blob:` is
# left out on purpose: a part that needs it says so.
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
# "same-origin", not "no-referrer": under that browsers send `Origin: null` with forms
# (Fetch standard, "append a request Origin header"), which could not be told from
# another site's.
HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), payment=()",
    "x-robots-tag": "noindex, nofollow",
    # Pages and pictures may be patients': no copy stays in a browser's cache.
    "cache-control": "no-store",
}
SAFE_METHODS = ("GET", "HEAD")
TOO_LARGE = "That is too much to send."


class TooLarge(Exception):
    """The body of a request is longer than allowed."""


class Safety:
    """Refuses what no page of ours would send, and sets headers on every answer.

    - Host must be one of ours: else another site's name that is made to point here (DNS
      rebinding) could read pages as its own.
    - What changes something must come from our own pages, by Origin or, where that is
      absent, Sec-Fetch-Site: the check against cross-site request forgery that OWASP's
      cheat sheet and Go's net/http.CrossOriginProtection describe. Whoever sends
      neither is refused.
    - Bodies are read up to `max_body` bytes, whatever Content-Length says.

    Args:
        app: what is protected.
        hosts: values of the Host header that are ours, "name:port" in lower case.
        max_body: int. Bytes.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str], max_body: int):
        self._app, self._hosts, self._max_body = app, frozenset(hosts), max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        started = False

        async def send_safely(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = self._refusal(scope)
        if refusal:
            await error_response(scope, *refusal)(scope, receive, send_safely)
            return
        left = self._max_body

        async def receive_bounded() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise TooLarge
            return message

        try:
            await self._app(scope, receive_bounded, send_safely)
        except TooLarge:
            if started:
                raise
            await error_response(scope, 413, TOO_LARGE)(scope, receive, send_safely)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """(status, what to say) for a request that is not served."""
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            return 421, "This address is not served here. Use the one you were given."
        if scope["method"] not in SAFE_METHODS and not self._is_ours(headers):
            return 403, "This request did not come from one of these pages."
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length[:20]) > self._max_body:
            return 413, TOO_LARGE
        return None

    def _is_ours(self, headers: Headers) -> bool:
        site = headers.get("sec-fetch-site")
        if site is not None and site != "same-origin":
            return False
        origin = headers.get("origin")
        if origin is None:
            return site == "same-origin"
        scheme, _, host = origin.partition("://")
        return scheme in ("http", "https") and host.lower() == headers["host"].lower()
