"""Attacks on the pages, tried against a real server."""

import contextlib
import http.client
import json
import re
import socket
import threading
import urllib.parse

import pytest

from dermgan_tf.apps.reader_study.study import read_key
from dermgan_tf.errors import InputError
from tests.helpers.study_pools import make_study

starlette = pytest.importorskip("starlette")
uvicorn = pytest.importorskip("uvicorn")

from dermgan_tf.apps.reader_study.pages import ReaderStudyPages  # noqa: E402
from dermgan_tf.apps.web import serving  # noqa: E402
from dermgan_tf.apps.web.access import kept_token, require_token  # noqa: E402
from dermgan_tf.apps.web.application import _STATIC, make_application  # noqa: E402

TOKEN = "a token of this test alone"


@contextlib.contextmanager
def running(study, store, token=""):
    """Serves in a thread; yields the port."""
    bound = serving.bind("127.0.0.1", 0)
    address = serving.address_of(bound, "127.0.0.1", token, "")
    pages = ReaderStudyPages(study, store)
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


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site") / "study"
    title = "<script>alert(1)</script>"
    made = make_study(
        folder, 6, title=title, introduction=("<img src=x onerror=alert(2)>",)
    )
    with running(made[0], made[1]) as port:
        yield port, *made
    made[1].close()


class Client:
    """A browser without a screen: cookies, and headers as a browser sends them."""

    def __init__(self, port, code=None, consent=True):
        self.port, self.cookies = port, {}
        if code:
            assert self.post("/enter", code=code).status == 303
            if consent:
                assert self.post("/consent").status == 303

    def send(self, method, path, body=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.cookies:
            pairs = "; ".join(f"{k}={v}" for k, v in self.cookies.items())
            headers.setdefault("Cookie", pairs)
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        response.body = response.read()
        response.text = response.body.decode("utf-8", "replace")
        connection.close()
        for cookie in response.headers.get_all("set-cookie") or ():
            name, value = cookie.split(";")[0].split("=", 1)
            self.cookies[name] = value
        return response

    def get(self, path, **headers):
        return self.send("GET", path, **headers)

    def post(self, path, fields=(), headers=None, **more):
        body = urllib.parse.urlencode([*fields, *more.items()])
        defaults = {
            "Origin": f"http://127.0.0.1:{self.port}",
            "Content_Type": "application/x-www-form-urlencoded",
        }
        given = {k: v for k, v in (defaults | (headers or {})).items() if v is not None}
        return self.send("POST", path, body, **given)

    def question(self):
        text = self.get("/study?begin=1").text
        name = re.search(r'name="question" value="([^"]+)"', text).group(1)
        return name, re.findall(r'src="/image/([^"]+)"', text)


def test_headers_of_every_answer(site):
    port, study, _, codes = site
    me = Client(port, codes[0])
    _, (image, *_) = me.question()
    paths = ("/", "/study", "/nowhere", "/static/style.css", f"/image/{image}")
    for response in (*map(me.get, paths), me.post("/answer", {"x": "y"}.items())):
        headers = {name.lower(): value for name, value in response.headers.items()}
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy and "*" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cache-control"] == "no-store"
        assert headers["referrer-policy"] == "same-origin"
        assert "server" not in headers and "access-control-allow-origin" not in headers
    picture = me.get(f"/image/{image}")
    assert picture.getheader("content-type") == "image/jpeg"
    assert not {"etag", "last-modified"} & {n.lower() for n in picture.headers}


def test_cookies_are_out_of_reach(site):
    port, _, _, codes = site
    response = Client(port).post("/enter", code=codes[0])
    cookie = response.getheader("set-cookie").lower()
    assert "httponly" in cookie and "samesite=strict" in cookie
    assert codes[0].lower() not in cookie


def test_pages_have_nothing_inline():
    for path in _STATIC.with_name("templates").rglob("*.html"):
        text = path.read_text("utf-8")
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", text)
        assert not re.search(r"(src|href|action)=\"(?!/)", text), path


def test_html_is_escaped(site):
    port, _, _, codes = site
    me = Client(port, codes[1], consent=False)
    text = me.get("/study").text
    assert "&lt;script&gt;alert(1)" in text and "<script>alert" not in text
    assert "&lt;img src=x" in text and "<img" not in text
    evil = '"><script>alert(3)</script>'
    for response in (
        Client(port).post("/enter", code=evil),
        me.post("/answer", question=evil, answer=evil),
        me.get("/" + urllib.parse.quote(evil)),
        me.get("/study?begin=" + urllib.parse.quote(evil)),
    ):
        assert "alert(3)" not in response.text


def test_requests_of_other_sites(site):
    port, study, store, codes = site
    me = Client(port, codes[2])
    name, _ = me.question()
    evil = "http://evil.example"
    for headers in (
        {"Origin": evil},
        {"Origin": "null"},
        {"Origin": f"http://127.0.0.1:{port + 1}"},
        {"Origin": f"http://127.0.0.1:{port}.evil.example"},
        {"Origin": None},
        {"Origin": None, "Sec_Fetch_Site": "cross-site"},
        {"Origin": None, "Sec_Fetch_Site": "same-site"},
        {"Origin": None, "Sec_Fetch_Site": "none"},
        {"Sec_Fetch_Site": "cross-site"},
    ):
        response = me.post("/answer", headers=headers, question=name, answer="real")
        assert response.status == 403, headers
        assert me.post("/enter", headers=headers, code=codes[2]).status == 403
    assert store.answered(3) == set()
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS"):
        assert me.send(method, "/study").status == 403
    for method in ("PUT", "DELETE"):
        ours = me.send(method, "/study", Origin=f"http://127.0.0.1:{port}")
        assert ours.status == 405
    assert me.get("/answer").status == 405
    same = {"Origin": None, "Sec_Fetch_Site": "same-origin"}
    answer = me.post("/answer", headers=same, question=name, answer="real")
    assert answer.status == 303 and store.answered(3) == {name}


def test_other_names_for_this_machine(site):
    """DNS rebinding: a name of another site that points here."""
    port, *_ = site
    me = Client(port)
    for host in (
        f"evil.example:{port}",
        "evil.example",
        "127.0.0.1",
        f"x@127.0.0.1:{port}",
    ):
        assert me.get("/", Host=host).status == 421
    for host in (f"localhost:{port}", f"LOCALHOST:{port}", f"127.0.0.1:{port}"):
        assert me.get("/", Host=host).status == 200
    for lines in (b"", b"Host: 127.0.0.1:%d\r\nHost: evil.example\r\n" % port):
        text = raw(port, b"GET / HTTP/1.1\r\n" + lines + b"\r\n")
        assert b" 400 " in text[:20] or b" 421 " in text[:20]


def raw(port, data, wait=30):
    with socket.create_connection(("127.0.0.1", port), timeout=wait) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(data)
        received = b""
        with contextlib.suppress(ConnectionResetError, TimeoutError):
            connection.shutdown(socket.SHUT_WR)
            while block := connection.recv(65536):
                received += block
    return received


def test_paths_lead_nowhere_else(site):
    port, study, _, codes = site
    me = Client(port, codes[3])
    for path in (
        "/static/../../reader_study/store.py",
        "/static/%2e%2e/%2e%2e/errors.py",
        "/static/..%2f..%2ferrors.py",
        "/static//etc/passwd",
        "/static/%2fetc%2fpasswd",
        "/static/",
        "/image/../key.csv",
        "/image/%2e%2e%2f%2e%2e%2fkey.csv",
        "/image/..%5c..%5ckey.csv",
        "/image//etc/passwd",
        "/image/study.json",
        "/image/%00",
        "/served/study.json",
        "/key.csv",
        "/answers.sqlite",
        "/participants.csv",
    ):
        response = me.get(path)
        assert response.status == 404, path
        assert "case_id" not in response.text and "root:" not in response.text


def test_pictures_of_other_questions_are_out_of_reach(site):
    port, study, _, codes = site
    me = Client(port, codes[3])
    _, own = me.question()
    everything = {image for q in study.questions.values() for image in q.images}
    found = {image for image in everything if me.get(f"/image/{image}").status == 200}
    assert found == set(own)
    assert Client(port).get(f"/image/{own[0]}").status == 401
    before = Client(port, codes[5], consent=False)
    assert before.get(f"/image/{own[0]}").status == 404


def test_too_large_requests(site):
    port, *_ = site
    me = Client(port)
    big = "x" * (65 << 10)
    assert me.post("/enter", code=big).status == 413
    origin = f"Origin: http://127.0.0.1:{port}\r\nHost: 127.0.0.1:{port}\r\n".encode()
    form = b"Content-Type: application/x-www-form-urlencoded\r\n"
    head = b"POST /enter HTTP/1.1\r\n" + origin + form
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    body = b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 3 + b"0\r\n\r\n"
    assert b" 413 " in raw(port, head + body)[:20]
    told = b"Content-Length: 99999999999\r\n\r\n"
    assert b" 413 " in raw(port, head + told)[:20]
    assert b" 400 " in raw(port, b"GET / HTTP/1.1\r\nX: " + b"y" * 99999)[:20]
    assert b" 400 " in raw(port, b"GET /" + b"y" * 99999 + b" HTTP/1.1\r\n")[:20]
    many = "&".join(f"a{n}=1" for n in range(300))
    headers = {"Content_Type": "application/x-www-form-urlencoded"}
    local = f"http://127.0.0.1:{port}"
    assert me.send("POST", "/enter", many, Origin=local, **headers).status == 400
    json_body = json.dumps({"code": "x"})
    other = {"Content_Type": "application/json", "Origin": local}
    assert me.send("POST", "/enter", json_body, **other).status == 415
    assert me.send("POST", "/enter", b"\xff\xfe", Origin=local, **headers).status == 400
    assert me.get("/").status == 200


def test_sql_is_no_code(site):
    port, study, store, codes = site
    me = Client(port, codes[4])
    before = store.participants()
    for text in (
        "' OR '1'='1",
        "'; DROP TABLE answers; --",
        '" UNION SELECT * FROM participants --',
        "\x00",
        "%",
    ):
        assert Client(port).post("/enter", code=text).status == 403
        assert me.post("/answer", question=text, answer="real").status == 400
        assert me.post("/answer", question=me.question()[0], answer=text).status == 400
        assert me.get("/image/" + urllib.parse.quote(text, safe="")).status == 404
        stranger = Client(port)
        stranger.cookies = {name: text.replace('"', "") for name in me.cookies}
        if text != "\x00":
            assert stranger.get("/study").status == 303
    assert store.participants() == before


def test_answers_and_sessions_of_others(site):
    """With a code one answers one's own next question, and learns of nobody's."""
    port, study, store, codes = site
    me = Client(port, codes[4])
    name, _ = me.question()
    later = [q for q in study.questions if q != name]
    assert me.post("/answer", question=later[0], answer="real").status in (400, 409)
    assert me.post("/answer", question=later[-1], answer="real").status == 409
    stored = me.post("/answer", question=name, answer="real", participant="1")
    assert stored.status == 303 and store.answered(5) == {name}
    again = me.post("/answer", question=name, answer="real")
    assert again.status == 303  # a retry
    changed = me.post("/answer", question=name, answer="synthetic")
    assert changed.status == 409 and "first answer stays" in changed.text
    assert Client(port).post("/answer", question=name, answer="real").status == 401
    asking = Client(port, codes[0], consent=False)
    asking.post("/consent")
    assert name not in store.answered(1)


def test_no_page_tells_the_key(tmp_path):
    """What a participant is sent is the same but for names and order."""
    study, store, codes = make_study(tmp_path / "study", 1)
    key = read_key(study)
    (study.folder / "key.csv").unlink()  # it need not even be there
    seen = {"real": set(), "synthetic": set()}
    with running(study, store) as port:
        me = Client(port, codes[0])
        while "Thank you" not in (page := me.get("/study?begin=1")).text:
            name = re.search(r'name="question" value="([^"]+)"', page.text).group(1)
            images = re.findall(r'src="/image/([^"]+)"', page.text)
            if study.questions[name].part == "turing":
                plain = page.text.replace(name, "NAME")
                plain = re.sub(r'value="\d+"|\d+ of \d+|Picture \d+', "", plain)
                picture = me.get(f"/image/{images[0]}")
                headers = [h for h in picture.getheaders() if h[0] != "date"]
                told = plain, tuple(headers)
                seen[key[images[0]].kind].add(told)
                me.post("/answer", question=name, answer="real")
            else:
                me.post("/answer", [("image", i) for i in images], question=name)
    assert len(seen["real"]) == 1 and seen["real"] == seen["synthetic"]
    assert len(store.answered(1)) == 14
    store.close()


def test_a_token_stands_before_every_page(tmp_path):
    study, store, codes = make_study(tmp_path / "study", 1)
    with running(study, store, TOKEN) as port:
        me = Client(port)
        for path in ("/", "/study", "/image/x.jpg", "/nowhere"):
            assert me.get(path).status == 401
        assert me.post("/enter", code=codes[0]).status == 401
        for wrong in ("", TOKEN[:-1], TOKEN + "x", "ä"):
            assert me.post("/access", token=wrong).status == 401
        assert (
            me.send("POST", "/access", "{}", Origin=f"http://127.0.0.1:{port}").status
            == 415
        )
        assert me.post("/access", headers={"Origin": None}, token=TOKEN).status == 403
        assert me.get("/static/style.css").status == 200
        me.cookies = {"dermgan_access": TOKEN}
        assert me.get("/").status == 401
        me.cookies = {}
        response = me.post("/access", token=TOKEN)
        assert response.status == 303
        cookie = response.getheader("set-cookie")
        assert "HttpOnly" in cookie and TOKEN not in urllib.parse.unquote(cookie)
        assert me.get("/").status == 200
        assert me.post("/enter", code=codes[0]).status == 303
    store.close()


def test_tokens(tmp_path):
    with pytest.raises(InputError, match="want 16 or more"):
        require_token("short")
    path = tmp_path / "token"
    token = kept_token(path)
    assert len(token) >= 32 and kept_token(path) == token
    assert path.stat().st_mode & 0o077 == 0


def test_addresses():
    for host in ("127.0.0.1", "localhost", "::1", "[::1]", "127.8.9.1"):
        assert serving.is_loopback(host)
    for host in ("0.0.0.0", "::", "192.168.1.5", "example.org", ""):
        assert not serving.is_loopback(host)
    with serving.bind("127.0.0.1", 0) as bound:
        port = bound.getsockname()[1]
        local = serving.address_of(bound, "localhost", "", "")
        assert f"127.0.0.1:{port}" in local.hosts and not local.secure
        with pytest.raises(InputError, match=f"port {port} of 127.0.0.1 is in use"):
            serving.bind("127.0.0.1", port)
        with pytest.raises(InputError, match="every address of this machine"):
            serving.address_of(bound, "0.0.0.0", "t", "")
        for url in ("study.example.org", "ftp://x", "http://x/path"):
            with pytest.raises(InputError, match="without a path"):
                serving.address_of(bound, "0.0.0.0", "t", url)
        proxied = serving.address_of(bound, "0.0.0.0", "t", "https://Study.example/")
        assert proxied.secure and proxied.hosts == {"study.example"}
    with pytest.raises(InputError, match="no address of this machine|cannot serve"):
        serving.bind("no such host.invalid", 0)
