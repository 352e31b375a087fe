"""How long the drawing page waits for its pictures, on this machine.

Serves a generator on the loopback address and asks as the page does: a form, then every
picture and map that the answer names, of a seed that was not painted before. Browsers
add decoding and drawing, a few milliseconds.
"""

import contextlib
import http.client
import json
import threading
import time
import urllib.parse

import numpy as np
from absl import flags

from pipelines.shared import program

BATCHES = {
    "1 picture": {"series": "variants", "variants": 1},
    "6 variants": {"series": "variants", "variants": 6},
    "6 skin types": {"series": "skin_color", "variants": 1},
    "16 variants": {"series": "variants", "variants": 16},
}


def define_flags():
    flags.DEFINE_string("saved_model", None, "A generator.", required=True)
    flags.DEFINE_integer("requests", 60, "Of each kind.", 5, 1000)


def main(args):
    program.load_tensorflow()
    from dermgan_tf.apps.studio.pages import StudioPages, require_painting
    from dermgan_tf.models.dermgan.served import load_generator

    generator = load_generator(args.saved_model)
    require_painting(generator, args.saved_model)
    size = generator.image_size
    print(f"{size} × {size} pixels, {args.requests} requests of each kind; ms: ")
    print("| | painting, median (95 %) | until all pictures are there, median (95 %) |")
    print("|---|---|---|")
    with served(StudioPages(generator)) as port:
        for name, batch in BATCHES.items():
            times = measure(port, generator, batch, args.requests)
            cells = (
                f"{np.median(one):.0f} ({np.quantile(one, 0.95):.0f})" for one in times
            )
            print(f"| {name} | {' | '.join(cells)} |", flush=True)


@contextlib.contextmanager
def served(pages):
    """Yields the port."""
    import uvicorn

    from dermgan_tf.apps.web import serving
    from dermgan_tf.apps.web.application import make_application

    bound = serving.bind("127.0.0.1", 0)
    address = serving.address_of(bound, "127.0.0.1", "", "")
    application = make_application(pages.routes(), address)
    server = uvicorn.Server(serving.server_config(application))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
    thread.start()
    try:
        yield bound.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


def measure(port, generator, batch, requests):
    """(painting, whole): np.float64 [requests] each, milliseconds."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    headers = {
        "Origin": f"http://127.0.0.1:{port}",
        "Content-Type": "application/x-www-form-urlencoded",
        "Accept": "application/json",
    }

    def read(method, path, body=None):
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        data = response.read()
        if response.status != 200:
            raise RuntimeError(f"{path}: {response.status} {data[:200]!r}")
        return data

    names = generator.vocabulary.conditions
    painting, whole = [], []
    for number in range(-2, requests):  # the first ones are not counted
        fields = {
            "condition": names[number % len(names)],
            "fitzpatrick": number % 6 + 1,
            "boxes": "0.25,0.25,0.6,0.7",
            # Far from each other, and from those of other batches.
            "seed": 1000 * (number + 3) + 10**6 * batch["variants"],
            **batch,
        }
        start = time.perf_counter()
        told = json.loads(read("POST", "/paint", urllib.parse.urlencode(fields)))
        items = [told["picture"], *told["series"]]
        for path in {item[kind] for item in items for kind in ("picture", "map")}:
            read("GET", path)
        if number >= 0:
            whole.append(1000 * (time.perf_counter() - start))
            painting.append(told["milliseconds"])
    connection.close()
    return np.array(painting), np.array(whole)


if __name__ == "__main__":
    program.run(define_flags, main)
