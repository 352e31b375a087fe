"""The drawing page, served in a thread of the test's own process."""

import contextlib
import http.client
import threading
import urllib.parse

import uvicorn

from dermgan_tf.apps.web import serving
from dermgan_tf.apps.web.application import make_application

FIELDS = {
    "condition": "melanoma",
    "fitzpatrick": "4",
    "boxes": "0.25,0.25,0.5,0.75",
    "seed": "7",
}
SCENE = FIELDS | {"series": "variants", "variants": "1"}


@contextlib.contextmanager
def running(pages, token=""):
    """Yields the port."""
    bound = serving.bind("127.0.0.1", 0)
    address = serving.address_of(bound, "127.0.0.1", token, "")
    application = make_application(pages.routes(), address)
    server = uvicorn.Server(serving.server_config(application))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
    thread.start()
    try:
        yield bound.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
        bound.close()


def send(port, method, path, body=None, **headers):
    """The response, with its `body`."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, named)
    response = connection.getresponse()
    response.body = response.read()
    connection.close()
    return response


def get(port, path, fields=None, **headers):
    query = f"?{urllib.parse.urlencode(fields)}" if fields else ""
    return send(port, "GET", path + query, **headers)


def post(port, fields, **headers):
    """Asks for a scene as the page does."""
    headers = {
        "Origin": f"http://127.0.0.1:{port}",
        "Content_Type": "application/x-www-form-urlencoded",
        "Accept": "application/json",
    } | headers
    given = {name: value for name, value in headers.items() if value is not None}
    body = fields if isinstance(fields, bytes) else urllib.parse.urlencode(fields)
    return send(port, "POST", "/paint", body, **given)
