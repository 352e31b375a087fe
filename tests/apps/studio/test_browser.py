"""The drawing page as people use it: a real browser against a real server."""

import io
import os
import pathlib
import threading
import urllib.parse
import zipfile

import numpy as np
import pytest
from PIL import Image

from tests.helpers.browser import DESKTOP, PHONE, browser, serious_findings, wait_for
from tests.helpers.tiny_saved_model import SIZE

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from dermgan_tf.apps.studio.pages import StudioPages  # noqa: E402
from dermgan_tf.apps.web.painting_queue import PaintingQueue  # noqa: E402
from dermgan_tf.generation.painting import paint_specs
from dermgan_tf.generation.plan import ImageSpec, parse_boxes  # noqa: E402
from dermgan_tf.models.dermgan.served import load_generator
from dermgan_tf.photos.photo_io import read_png_text  # noqa: E402
from tests.helpers.studio_site import get, running  # noqa: E402

SHOTS = os.environ.get("SCREENSHOTS")  # a folder to keep pictures of the page in
START = "condition=melanoma&fitzpatrick=2&boxes=0.25,0.25,0.5,0.5&seed=5&variants=2"


@pytest.fixture(scope="module")
def generator(vivid_saved_model):
    return load_generator(vivid_saved_model)


@pytest.fixture
def port(generator):
    with running(StudioPages(generator)) as port:
        yield port


class Drawer:
    """Someone in front of the browser."""

    def __init__(self, driver, port, size=DESKTOP):
        self.driver, self.port, self.size = driver, port, size

    def open(self, fragment=START):
        self.driver.get(f"http://127.0.0.1:{self.port}/#{fragment}")
        wait_for(lambda: self.driver.find_elements("css selector", "#strip img"))
        return self

    def find(self, selector):
        return wait_for(lambda: self.driver.find_element("css selector", selector))

    def script(self, text, *arguments):
        return self.driver.execute_script(text, *arguments)

    def settled(self):
        """Fields of the page's address, which is that of the pictures that are seen."""

        def shown():
            given = self.fields()
            main = self.script("return document.querySelector('#download').href")
            main = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(main).query))
            seed = int(given["seed"]) + int(given.get("pick", 0))
            same = main["seed"] == str(seed) and all(
                main[name] == given[name] for name in ("condition", "fitzpatrick")
            )
            return same and parse_boxes(main["boxes"]) == parse_boxes(given["boxes"])

        # The address follows a little later than the picture, or the other way round.
        wait_for(lambda: self.quiet() and shown())
        return self.fields()

    def quiet(self):
        """Nothing has changed for a while."""
        self.driver.execute_async_script("setTimeout(arguments[0], 350)")
        return self.script(
            "return document.querySelector('#shown').ariaBusy === 'false'"
        )

    def fields(self):
        text = urllib.parse.urlsplit(self.driver.current_url).fragment
        return dict(urllib.parse.parse_qsl(text))

    def box(self):
        """The last box in pixels of the map: [top, left, bottom, right]."""
        box = parse_boxes(self.settled()["boxes"])[-1]
        return [round(side * SIZE) for side in box]

    def inputs(self, row):
        """The numbers of a box in the list: top, left, height, width."""
        return self.driver.find_elements(
            "css selector", f"#boxes tbody tr:nth-child({row + 1}) input"
        )

    def picture(self):
        """The pixels that are seen, np.uint8 [S, S, 3]."""
        return np.array(
            self.script(
                "const image = document.querySelector('#shown img');"
                "const canvas = document.createElement('canvas');"
                f"canvas.width = canvas.height = {SIZE};"
                "const context = canvas.getContext('2d');"
                "context.drawImage(image, 0, 0);"
                f"return [...context.getImageData(0, 0, {SIZE}, {SIZE}).data]"
            ),
            np.uint8,
        ).reshape(SIZE, SIZE, 4)[..., :3]

    def map_colour(self, x, y):
        """The canvas' colour at a pixel of the map."""
        return self.script(
            "const c = document.querySelector('canvas');"
            f"const at = v => Math.floor((v + 0.5) * c.width / {SIZE});"
            "return [...c.getContext('2d').getImageData("
            "at(arguments[0]), at(arguments[1]), 1, 1).data].slice(0, 3)",
            *(x, y),
        )

    def drag(self, start, *ways, kind="mouse"):
        """Presses at `start` (x, y in pixels of the map), moves there, and lets go."""
        from selenium.webdriver.common.actions.action_builder import ActionBuilder
        from selenium.webdriver.common.actions.pointer_input import PointerInput

        canvas = self.find("canvas")
        self.script("arguments[0].scrollIntoView({block: 'center'})", canvas)
        scale = canvas.rect["width"] / SIZE
        hand = PointerInput(kind, kind)
        actions = ActionBuilder(self.driver, mouse=hand)
        middle = SIZE / 2

        def to(point):
            x, y = ((value - middle) * scale for value in point)
            hand.create_pointer_move(20, round(x), round(y), origin=canvas)

        to(start)
        hand.create_pointer_down(button=0)
        for way in ways:
            to(way)
        hand.create_pointer_up(button=0)
        actions.perform()

    def keys(self, *keys):
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def choose(self, selector):
        """By the label, as the input itself is not seen."""
        self.script(
            "arguments[0].scrollIntoView({block: 'center'})", self.find(selector)
        )
        self.find(f"label:has({selector})").click()

    def fetched(self, selector):
        """The file behind a link for downloads."""
        link = self.script("return document.querySelector(arguments[0]).href", selector)
        parts = urllib.parse.urlsplit(link)
        response = get(self.port, f"{parts.path}?{parts.query}")
        assert response.status == 200
        return response.body

    def look(self, name):
        width = self.script("return document.documentElement.scrollWidth")
        assert width <= self.size[0], f"{name} is {width} pixels wide"
        assert serious_findings(self.driver) == [], name
        log = [
            line
            for line in self.driver.get_log("browser")
            if line["level"] == "SEVERE" and " 503 " not in line["message"]
        ]
        assert not log, log  # a refused style, a missing file
        if SHOTS:
            path = pathlib.Path(SHOTS) / f"studio_{name}_{self.size[0]}.png"
            self.driver.save_screenshot(str(path))


def painted(generator, fields):
    spec = ImageSpec(
        fields["condition"],
        int(fields["fitzpatrick"]),
        parse_boxes(fields["boxes"]),
        int(fields["seed"]) + int(fields.get("pick", 0)),
    )
    ((_, _, image),) = paint_specs(generator, [spec])
    return image


def near(box, wanted, within=1):
    assert np.abs(np.array(box) - wanted).max() <= within, (box, wanted)


def test_a_journey(generator, port):
    from selenium.webdriver import Keys
    from selenium.webdriver.support.select import Select

    with browser(DESKTOP) as driver:
        me = Drawer(driver, port).open()
        first = me.settled()
        np.testing.assert_array_equal(me.picture(), painted(generator, first))
        me.look("start")

        # By mouse: a new box, which is then moved, and made larger at its corner.
        me.drag((40, 40), (44, 45), (56, 60))
        near(me.box(), [40, 40, 60, 56])
        me.drag((48, 50), (44, 46), (32, 30))
        near(me.box(), [20, 24, 40, 40])
        before = me.picture()
        me.drag((40, 40), (42, 44), (50, 56))
        near(me.box(), [20, 24, 56, 50])
        fields = me.fields()
        assert len(parse_boxes(fields["boxes"])) == 2
        assert np.any(me.picture() != before)
        np.testing.assert_array_equal(me.picture(), painted(generator, fields))
        assert me.map_colour(60, 60) == [85, 0, 0]
        assert me.map_colour(44, 50) == [85, 128, 128]
        latency = me.find("#latency").text
        assert latency.split()[0].isdecimal() and latency.split()[1] == "ms"

        # By keys.
        box = me.box()
        me.find("canvas").send_keys(Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ARROW_LEFT)
        assert me.box() == [box[0] + 2, box[1] - 1, box[2] + 2, box[3] - 1]
        me.find("canvas").send_keys(Keys.SHIFT, Keys.ARROW_RIGHT, Keys.ARROW_UP)
        box = [box[0] + 2, box[1] - 1, box[2] + 1, box[3]]
        assert me.box() == box
        numbers = [cell.get_attribute("value") for cell in me.inputs(1)]
        assert numbers == [
            str(n) for n in (box[0], box[1], box[2] - box[0], box[3] - box[1])
        ]
        me.keys(Keys.SPACE, Keys.DELETE)  # the other box
        assert len(parse_boxes(me.settled()["boxes"])) == 1 and me.box() == box
        me.keys("n")
        assert len(parse_boxes(me.settled()["boxes"])) == 2
        me.find("#undo").click()
        assert len(parse_boxes(me.settled()["boxes"])) == 1
        width = me.inputs(0)[3]
        width.send_keys(Keys.CONTROL, "a", Keys.NULL, "12")
        assert me.box() == [box[0], box[1], box[2], box[1] + 12]

        # Another condition and skin type.
        before = me.picture()
        Select(me.find("#condition")).select_by_visible_text("SK/ISK")
        me.choose("input[name=fitzpatrick][value='6']")
        fields = me.settled()
        assert (fields["condition"], fields["fitzpatrick"]) == ("SK/ISK", "6")
        assert np.any(me.picture() != before)
        np.testing.assert_array_equal(me.picture(), painted(generator, fields))
        assert "SK/ISK, skin type VI, seed 5" in me.find("#told").text

        # Six skin types; one of them becomes the picture.
        me.choose("input[name=series][value=skin_color]")
        wait_for(
            lambda: len(driver.find_elements("css selector", ".thumb .map img")) == 6
        )
        badges = driver.find_elements("css selector", ".thumb .badge")
        assert [badge.text for badge in badges] == ["SYNTHETIC"] * 6
        me.look("skin_types")
        me.find("#strip li:nth-child(2) button").click()
        fields = me.settled()
        assert fields["fitzpatrick"] == "2"
        np.testing.assert_array_equal(me.picture(), painted(generator, fields))

        # What is downloaded.
        text = read_png_text(me.fetched("#download"))
        assert text["synthetic"] == "true" and text["condition"] == "SK/ISK"
        assert text["generator"] == generator.fingerprint
        seen = np.asarray(Image.open(io.BytesIO(me.fetched("#download"))))
        np.testing.assert_array_equal(seen, me.picture())
        with zipfile.ZipFile(io.BytesIO(me.fetched("#download_all"))) as archive:
            assert {"generated.jsonl", "sheet.png", "images/000005.png"} <= set(
                archive.namelist()
            )

        # The same address, the same picture.
        seen = me.picture()
        driver.refresh()
        wait_for(lambda: driver.find_elements("css selector", "#strip img"))
        assert me.settled() == fields
        np.testing.assert_array_equal(me.picture(), seen)


@pytest.mark.slow
def test_by_touch_on_a_phone(generator, port):
    with browser(PHONE) as driver:
        driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
        me = Drawer(driver, port, PHONE).open("boxes=none")
        me.look("nothing")
        assert "without the condition" in me.find("#no_boxes").text
        me.drag((10, 12), (20, 20), (40, 34), kind="touch")
        near(me.box(), [12, 10, 34, 40])
        me.drag((25, 22), (30, 30), (35, 42), kind="touch")
        near(me.box(), [32, 20, 54, 50])
        me.drag((50, 54), (52, 56), (58, 60), kind="touch")
        near(me.box(), [32, 20, 60, 58])
        fields = me.settled()
        np.testing.assert_array_equal(me.picture(), painted(generator, fields))
        for series in ("size", "skin_color", "variants"):
            me.choose(f"input[name=series][value={series}]")
            me.settled()
            me.look(series)
        me.choose("#over")
        me.settled()
        assert me.find("#over_badge").text == "SYNTHETIC"
        me.look("over")
        for selector in ("#add", "#download", "#new_seed", ".type", ".choice label"):
            assert me.find(selector).rect["height"] >= 40


@pytest.mark.slow
def test_variants_sizes_and_healthy_skin(generator, port):
    from selenium.webdriver import Keys
    from selenium.webdriver.support.select import Select

    with browser(DESKTOP) as driver:
        me = Drawer(driver, port).open()
        me.find("#variants").send_keys(Keys.CONTROL, "a", Keys.NULL, "16")
        wait_for(lambda: len(driver.find_elements("css selector", "#strip li")) == 16)
        me.find("#strip li:nth-child(9) button").click()
        fields = me.settled()
        assert fields["pick"] == "8" and "seed 13" in me.find("#told").text
        np.testing.assert_array_equal(me.picture(), painted(generator, fields))
        me.look("sixteen")
        me.choose("input[name=series][value=size]")  # of the one that was picked
        fields = me.settled()
        assert fields["seed"] == "13" and "pick" not in fields
        me.find("#new_seed").click()
        wait_for(lambda: len(driver.find_elements("css selector", "#strip li")) == 6)
        me.find("#strip li:nth-child(6) button").click()
        near(me.box(), [0, 0, 48, 48])  # about the same centre, cut off at the edge
        Select(me.find("#condition")).select_by_visible_text("healthy skin")
        wait_for(lambda: "has no boxes" in me.find("#no_boxes").text)
        wait_for(lambda: len(driver.find_elements("css selector", "#strip li")) == 16)
        me.look("healthy")
        wait_for(lambda: "Healthy skin" in me.find("#told").text)
        Select(me.find("#condition")).select_by_visible_text("vitiligo")
        assert me.settled()["boxes"] != "none"


@pytest.mark.slow
def test_links_that_do_not_fit(port):
    with browser(DESKTOP) as driver:
        me = Drawer(driver, port).open("condition=mole&boxes=1,2,3;0.5,0.5,0.7,0.7&x=1")
        said = me.find("#link_note")
        wait_for(lambda: "does not know “mole”" in said.text)
        assert "no boxes" in said.text
        me.open("generator=12345678")
        wait_for(lambda: "made with generator 12345678" in me.find("#link_note").text)
        me.look("link")
        me.open("condition=%3Cimg%20src%3Dx%3E&seed=-1&variants=99&fitzpatrick=9")
        assert me.settled()["seed"] == "0"
        assert not driver.find_elements("css selector", "#link_note img")


@pytest.mark.slow
def test_only_the_newest_is_shown_and_a_busy_painter_is_waited_for(generator):
    """While nothing is painted, changes do not pile up; then the last one is shown."""
    begun, go_on = threading.Event(), threading.Event()
    asked = []

    class Slow(type(generator)):
        def __init__(self):
            self.__dict__.update(generator.__dict__)

        def paint(self, maps, seeds):
            asked.append(list(seeds))
            if len(asked) == 2:
                begun.set()
                assert go_on.wait(60)
            return generator.paint(maps, seeds)

    class Busy(PaintingQueue):
        refused = 0

        async def run(self, work):
            from starlette.exceptions import HTTPException

            if len(asked) == 2 and self.refused < 2:
                self.refused += 1
                raise HTTPException(503, "8 requests are waiting already; try again.")
            return await super().run(work)

    queue = Busy()
    with running(StudioPages(Slow(), queue=queue)) as port, browser() as driver:
        me = Drawer(driver, port).open(START.replace("variants=2", "variants=1"))
        before = me.picture()
        canvas = me.find("canvas")
        canvas.send_keys("n")
        assert begun.wait(60)
        for _ in range(5):
            canvas.send_keys("n")
        np.testing.assert_array_equal(me.picture(), before)
        go_on.set()
        fields = me.settled()
        assert len(parse_boxes(fields["boxes"])) == 7
        np.testing.assert_array_equal(me.picture(), painted(generator, fields))
        assert len(asked) == 3 and queue.refused == 2
        assert me.find("#status").text == ""


@pytest.mark.slow
def test_a_link_behind_a_token_keeps_what_it_says(generator):
    token = "a token of this test alone"
    with running(StudioPages(generator), token) as port, browser() as driver:
        me = Drawer(driver, port)
        url = f"http://127.0.0.1:{port}/"
        driver.get(f"{url}#{START}")
        me.find("#token").send_keys(token)
        me.find("button").click()
        wait_for(lambda: me.find("#condition"))
        assert me.settled()["seed"] == "5"
        driver.delete_all_cookies()
        driver.get("about:blank")
        text = urllib.parse.quote(token)
        me.open(f"token={text}&seed=9")
        assert me.settled()["seed"] == "9" and "token" not in me.fields()
