"""The atlas' pages: what they show, and attacks on them, against a real server."""

import contextlib
import html
import http.client
import io
import json
import re
import socket
import struct
import threading
import time
import urllib.parse
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.helpers.atlas_images import ALL, small_atlas
from tests.helpers.browser import wait_for
from tests.helpers.study_pools import CONDITIONS, noise_image

pytest.importorskip("lancedb")
pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

import uvicorn

from dermgan_tf.apps.atlas import pages as atlas_pages
from dermgan_tf.apps.atlas.colour_texture import ColourTexture
from dermgan_tf.apps.atlas.filters import Filters
from dermgan_tf.apps.atlas.pages import MAX_UPLOAD, AtlasPages
from dermgan_tf.apps.atlas.store import AtlasStore
from dermgan_tf.apps.atlas.upload import UploadReader
from dermgan_tf.apps.web import serving
from dermgan_tf.apps.web.application import make_application
from dermgan_tf.photos.photo_io import encode_jpeg, encode_png, read_png_text

TOKEN = "a token of this test alone"


@contextlib.contextmanager
def running(pages, token=""):
    """Serves in a thread; yields the port."""
    bound = serving.bind("127.0.0.1", 0)
    address = serving.address_of(bound, "127.0.0.1", token, "")
    application = make_application(pages.routes(), address, MAX_UPLOAD)
    server = uvicorn.Server(serving.server_config(application))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
    thread.start()
    try:
        yield bound.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
        bound.close()
        pages.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """(client, store) of 24 photographs, 6 phantoms, 12 synthetic images."""
    store = AtlasStore(small_atlas(tmp_path_factory.mktemp("site")))
    with running(AtlasPages(store, ColourTexture())) as port:
        yield Client(port), store


class Client:
    """A browser without a screen."""

    def __init__(self, port):
        self.port = port

    def send(self, method, path, body=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        response.body = response.read()
        response.text = response.body.decode("utf-8", "replace")
        connection.close()
        return response

    def get(self, path, **headers):
        return self.send("GET", path, **headers)

    def bring(self, data, **headers):
        defaults = {
            "Origin": f"http://127.0.0.1:{self.port}",
            "Content_Type": "application/octet-stream",
            "Accept": "application/json",
        }
        given = {k: v for k, v in (defaults | headers).items() if v is not None}
        return self.send("POST", "/photo", data, **given)


def shown(text):
    """(id, provenance as the page says it, alternative text) of each image."""
    entries = re.findall(r'<li class="entry.*?</li>', text, re.DOTALL)
    return [
        (
            re.search(r'src="/image/([0-9a-f]{32})"', entry).group(1),
            re.search(r'class="kind kind-\w+">(\w+)<', entry).group(1).lower(),
            html.unescape(re.search(r'alt="([^"]*)"', entry).group(1)),
        )
        for entry in entries
    ]


def ask(**filters):
    return "?" + urllib.parse.urlencode(filters, doseq=True)


def test_browsing_shows_what_the_filters_admit(site):
    me, store = site
    for given, filters in (
        ({}, ALL),
        ({"condition": "eczema"}, Filters(("eczema",))),
        ({"type": ["1", "5"], "provenance": "real"}, Filters((), (1, 5), ("real",))),
        ({"condition": "", "type": "0"}, Filters((), (0,))),
    ):
        page = me.get("/" + ask(**given))
        wanted = store.browse(filters, 100)
        assert page.status == 200
        assert [one[0] for one in shown(page.text)] == [x.id for x in wanted[:24]]
        assert f"{len(wanted)} images" in page.text or len(wanted) == 42
    first, second = shown(me.get("/").text), shown(me.get("/?page=2").text)
    assert [one[0] for one in first + second] == [x.id for x in store.browse(ALL, 100)]
    assert 'href="/?page=2"' in me.get("/").text
    empty = me.get("/?page=3")
    assert empty.status == 200 and "only 2 pages" in empty.text
    none = me.get("/" + ask(condition="eczema", type="6", provenance="phantom"))
    assert none.status == 200 and "No image is like that" in none.text


def test_likeness_pages_agree_with_the_store(site):
    me, store = site
    origin = store.browse(Filters((), (3,), ("real",)), 1)[0]
    vector = store.vector(origin.id)
    page = me.get(f"/like/{origin.id}" + ask(condition="melanoma"))
    wanted = store.similar(vector, Filters(("melanoma",)), 24, without=origin.id)
    assert [one[0] for one in shown(page.text)] == [one.id for one in wanted]
    page = me.get(f"/colours/{origin.id}")
    assert page.status == 200
    sections = re.findall(r"<section.*?</section>", page.text, re.DOTALL)
    assert len(sections) == 6
    for number, section in enumerate(sections, start=1):
        filters = Filters((origin.condition,), (number,))
        wanted = store.similar(vector, filters, 4, without=origin.id)
        assert [one[0] for one in shown(section)] == [one.id for one in wanted]
        assert wanted or "No other image of this type" in section


def test_links_keep_the_provenance(site):
    me, store = site
    origin = store.browse(Filters((), (), ("real",)), 1)[0]
    kept = ask(provenance="real")
    for page in ("/", f"/like/{origin.id}", f"/colours/{origin.id}"):
        text = me.get(page + ask(provenance="real", type="3")).text
        links = re.findall(r'href="(/(?:like|colours)/[^"]*)"', text)
        links = [link for link in links if link != page]  # "Clear" drops the filters
        assert links and all("provenance=real" in link for link in links), page
    assert (
        f'href="/colours/{origin.id}{kept}"' in me.get(f"/like/{origin.id}{kept}").text
    )


def test_synthetic_images_are_marked_on_every_page(site):
    me, store = site
    known = {one.id: one for one in store.browse(ALL, 100)}
    painted = next(one for one in known.values() if one.synthetic)
    pages = ["/", "/?page=2", f"/like/{painted.id}", f"/colours/{painted.id}"]
    pages.append(json.loads(me.bring(encode_jpeg(noise_image(64, 5))).text)["page"])
    seen = 0
    for path in pages:
        text = me.get(path).text
        for image_id, said, alternative in shown(text):
            assert said == known[image_id].provenance
            is_synthetic = alternative.startswith("Synthetic image: ")
            assert is_synthetic == known[image_id].synthetic
            assert known[image_id].condition in alternative
            seen += is_synthetic
    assert seen > 12
    for path in (f"/like/{painted.id}", f"/colours/{painted.id}"):
        assert "kind-synthetic" in me.get(path).text.split("<form")[0]
    for one in known.values():
        data = me.get(f"/image/{one.id}").body
        assert (read_png_text(data).get("synthetic") == "true") == one.synthetic
        pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        band = (pixels[-1] == (255, 209, 102)).all()
        assert band == one.synthetic


def test_headers(site):
    me, store = site
    one = store.browse(Filters((), (), ("real",)), 1)[0]
    for path in ("/", f"/image/{one.id}", f"/like/{one.id}", "/nowhere"):
        headers = {n.lower(): v for n, v in me.get(path).headers.items()}
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert "default-src 'none'" in headers["content-security-policy"]
    picture = me.get(f"/image/{one.id}")
    assert picture.getheader("content-type") == "image/jpeg"
    painted = store.browse(Filters((), (), ("synthetic",)), 1)[0]
    assert me.get(f"/image/{painted.id}").getheader("content-type") == "image/png"
    assert "Our atlas &lt;b&gt;" in me.get("/").text


def test_paths_lead_nowhere_else(site):
    me, store = site
    one = store.browse(ALL, 1)[0]
    for name in (
        *("../about.lance", "%2e%2e%2fabout.lance", "..%5cabout.lance", "%00"),
        *("/etc/passwd", "%2fetc%2fpasswd", one.id.upper() + "0", one.id + "%00"),
        *(one.id[:-1], one.id + ".jpg", "x' OR '1'='1", "*", "%25", one.id + "/.."),
    ):
        for route in ("image", "like", "colours"):
            path = f"/{route}/{urllib.parse.quote(name, safe='/%')}"
            assert me.get(path).status == 404, path
    for path in ("/images.lance", "/access_token", "/run.json", "/rejects.csv"):
        assert me.get(path).status == 404
    assert me.get("/photo/../run.json").status in (404, 410)
    assert me.get("/photo/" + "x" * 22).status == 410


EVIL = (
    *("' OR '1'='1", "eczema'; DROP TABLE images; --", "eczema') OR true --"),
    *('"><script>alert(3)</script>', "{{7*7}}", "\x00", "../..", "-1", "1 OR 1=1"),
    *("9" * 500, "ｅczema", "1e3", "１"),
)


@pytest.mark.parametrize("text", EVIL)
def test_filters_that_are_none(site, text):
    me, store = site
    origin = store.browse(ALL, 1)[0]
    for route in ("/", f"/like/{origin.id}"):
        for name in ("condition", "type", "provenance", "page"):
            answer = me.get(route + ask(**{name: text}))
            assert answer.status == 400, (name, answer.text)
            assert "<script>alert" not in answer.text
    assert me.get(f"/colours/{origin.id}" + ask(provenance=text)).status == 400
    assert len(store) == 42


def test_too_many_filters_and_odd_pages(site):
    me, _ = site
    assert me.get("/?" + "type=1&" * 1900).status == 200
    assert me.get("/?" + "type=1&" * 2050).status == 400
    for number in ("0", "1.5", "99999999", "", "x"):
        assert me.get(f"/?page={number}").status == 400, number
    assert me.get("/?page=999999").status == 200
    assert me.get("/?unknown=1").status == 200


def test_a_photo_of_ones_own(site):
    me, store = site
    photo = encode_jpeg(noise_image(48, [0, 4]))  # as photo 4 of the atlas
    answer = me.bring(photo)
    assert answer.status == 200 and answer.getheader("content-type") == (
        "application/json"
    )
    path = json.loads(answer.text)["page"]
    page = me.get(path)
    best = shown(page.text)[0][0]
    facts = store.facts(best)
    assert facts.condition == CONDITIONS[4 % 3] and facts.case == "Plank 0 2"
    assert ">1.00<" in page.text
    only = me.get(path + ask(condition="psoriasis", provenance="synthetic"))
    known = {one[0] for one in shown(only.text)}
    wanted = store.browse(Filters(("psoriasis",), (), ("synthetic",)), 50)
    assert known == {one.id for one in wanted}
    six = me.get(f"{path}/colours" + ask(condition="eczema"))
    assert six.status == 200 and six.text.count("<section") == 6
    assert me.get(f"{path}/colours").status == 400
    assert me.get(f"{path}/colours" + ask(condition="acne")).status == 400
    again = json.loads(me.bring(photo).text)["page"]
    assert again != path  # nobody guesses another's
    said = encode_png(noise_image(48, 3), {"synthetic": "true"})
    text = me.get(json.loads(me.bring(said).text)["page"]).text
    assert "says of itself that it is synthetic" in text


def bomb(side):
    def chunk(kind, data):
        crc = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + crc

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(10_000_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body)


def test_uploads_that_are_no_photos(site, tmp_path):
    me, store = site
    photo = encode_jpeg(noise_image(48, 1))
    for data, reason in (
        (b"", "is empty"),
        (b"hello", "is not an image"),
        (b"<html><script>alert(1)</script>", "is HTML"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is not an image"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "is not an image"),
        (b"PK\x03\x04" + bytes(100), "is not an image"),
        (photo[:300], "truncated"),
        (bomb(60_000), "pixels"),
        (bomb(9_000), "pixels"),
        (encode_png(np.zeros((4, 4, 3), np.uint8)), "at least 16 a side"),
    ):
        answer = me.bring(data)
        message = json.loads(answer.text)["message"]
        assert answer.status == 400 and reason in message, (data[:20], message)
        assert "Traceback" not in message and "/" not in message.replace("SVG/", "")
    assert me.bring(b"x" * (MAX_UPLOAD + 1)).status == 413
    assert me.bring(photo, Content_Type="image/jpeg").status == 415
    assert me.bring(photo, Content_Type="multipart/form-data; boundary=x").status == 415
    for headers in (
        {"Origin": "http://evil.example"},
        {"Origin": None},
        {"Sec_Fetch_Site": "cross-site"},
    ):
        assert me.bring(photo, **headers).status == 403
    assert me.get("/photo").status == 405
    assert me.send("POST", "/", photo, Origin=f"http://127.0.0.1:{me.port}").status == (
        405
    )
    assert me.bring(photo).status == 200
    assert len(store) == 42


def test_nothing_of_a_photo_is_kept(site):
    """Neither on disk nor among what the server answers."""
    me, store = site
    before = {p: p.stat().st_mtime_ns for p in _files(store.where)}
    path = json.loads(me.bring(encode_jpeg(noise_image(48, 77))).text)["page"]
    assert {p: p.stat().st_mtime_ns for p in _files(store.where)} == before
    name = path.rsplit("/")[-1]
    assert me.get(f"/image/{name}").status == 404
    assert me.get(path).status == 200


def _files(folder):
    import pathlib

    return [p for p in pathlib.Path(folder).rglob("*") if p.is_file()]


def test_photos_are_forgotten(site, monkeypatch):
    me, _ = site
    monkeypatch.setattr(atlas_pages, "_PHOTO_SECONDS", 0.2)
    path = json.loads(me.bring(encode_jpeg(noise_image(48, 7))).text)["page"]
    time.sleep(0.3)
    assert me.get(path).status == 410
    monkeypatch.setattr(atlas_pages, "_PHOTO_SECONDS", 60)
    monkeypatch.setattr(atlas_pages, "_PHOTOS", 2)
    paths = [
        json.loads(me.bring(encode_jpeg(noise_image(48, place))).text)["page"]
        for place in range(3)
    ]
    assert [me.get(path).status for path in paths] == [410, 200, 200]


def test_a_slow_upload_and_many_at_once(site, monkeypatch):
    me, _ = site
    monkeypatch.setattr(atlas_pages, "_UPLOADS_AT_ONCE", 1)
    monkeypatch.setattr(atlas_pages, "_UPLOAD_SECONDS", 6)
    head = (
        f"POST /photo HTTP/1.1\r\nHost: 127.0.0.1:{me.port}\r\n"
        f"Origin: http://127.0.0.1:{me.port}\r\nContent-Length: 1000\r\n"
        "Content-Type: application/octet-stream\r\n\r\nabc"
    )
    with socket.create_connection(("127.0.0.1", me.port), timeout=30) as slow:
        slow.sendall(head.encode())
        wait_for(lambda: me.bring(encode_jpeg(noise_image(48, 1))).status == 503)
        assert b" 408 " in slow.recv(1000)[:20]
    assert me.bring(encode_jpeg(noise_image(48, 1))).status == 200


@pytest.mark.slow
def test_the_reader_outlives_its_process(monkeypatch):
    reader = UploadReader(64)
    photo = encode_jpeg(noise_image(48, 1))
    picture, synthetic = reader.read(photo)
    assert picture.shape == (48, 48, 3) and not synthetic
    for worker in reader._crew._workers:
        worker.process.kill()
    assert reader.read(photo)[0].shape == (48, 48, 3)
    reader.close()


@pytest.mark.slow
def test_an_atlas_that_breaks_while_it_is_shown(tmp_path):
    """A visitor is not told where it lies."""
    folder = small_atlas(tmp_path, photos=6, painted=3)
    store = AtlasStore(folder)
    one = store.browse(ALL, 1)[0]
    with running(AtlasPages(store, None)) as port:
        me = Client(port)
        assert me.get(f"/like/{one.id}").status == 200
        assert "photo of your own" not in me.get("/").text
        assert me.bring(b"x").status == 404
        for path in (folder / "images.lance/data").iterdir():
            path.write_bytes(b"broken")
        answers = [me.get(p) for p in ("/", f"/image/{one.id}", f"/like/{one.id}")]
        assert {answer.status for answer in answers} <= {200, 500}
        assert any(answer.status == 500 for answer in answers)
        for answer in answers:
            assert str(tmp_path) not in answer.text


def test_a_token_stands_before_every_page(site):
    _, store = site
    one = store.browse(ALL, 1)[0]
    with running(AtlasPages(store, ColourTexture()), TOKEN) as port:
        me = Client(port)
        for path in ("/", f"/image/{one.id}", f"/like/{one.id}", "/photo/x"):
            assert me.get(path).status == 401
        assert me.bring(encode_jpeg(noise_image(48, 1))).status == 401
        form = {"Content_Type": "application/x-www-form-urlencoded"}
        local = f"http://127.0.0.1:{port}"
        body = urllib.parse.urlencode({"token": TOKEN})
        entered = me.send("POST", "/access", body, Origin=local, **form)
        cookie = entered.getheader("set-cookie").split(";")[0]
        assert me.get("/", Cookie=cookie).status == 200
        assert me.get(f"/image/{one.id}", Cookie=cookie).status == 200
