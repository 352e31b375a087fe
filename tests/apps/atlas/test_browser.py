"""The atlas as people meet it: a real browser against a real server."""

import os
import pathlib

import pytest

from tests.helpers.atlas_images import ServedAtlas, small_atlas
from tests.helpers.browser import DESKTOP, PHONE, browser, serious_findings, wait_for
from tests.helpers.study_pools import noise_image

pytest.importorskip("lancedb")

from dermgan_tf.photos.photo_io import encode_jpeg

SHOTS = os.environ.get("SCREENSHOTS")  # a folder to keep pictures of all pages in
BY_CSS = "css selector"


@pytest.fixture(scope="module")
def atlas(tmp_path_factory):
    return small_atlas(tmp_path_factory.mktemp("atlas"), 40, 30)


@pytest.fixture(scope="module")
def served(atlas):
    running = ServedAtlas(atlas)
    yield running
    running.kill()


class Visitor:
    """Someone in front of the browser."""

    def __init__(self, driver, size):
        self.driver, self.size = driver, size

    def find(self, selector):
        return wait_for(lambda: self.driver.find_element(BY_CSS, selector))

    def all(self, selector):
        return self.driver.find_elements(BY_CSS, selector)

    def heading(self, text):
        wait_for(lambda: text in self.driver.find_element(BY_CSS, "h1").text)

    def keys(self, *keys):
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def entries(self):
        """(alternative text, what the mark says) of the images that are shown."""
        return [
            (
                one.find_element(BY_CSS, "img").get_attribute("alt"),
                one.find_element(BY_CSS, ".kind").text,
            )
            for one in self.all(".entry")
        ]

    def look(self, name):
        """Nothing is cut off, unmarked or hard to use; and a picture for us."""
        run = self.driver.execute_script
        width = run("return document.documentElement.scrollWidth")
        assert width <= self.size[0], f"{name} is {width} pixels wide"
        assert serious_findings(self.driver) == [], name
        for alternative, mark in self.entries():
            assert (mark == "SYNTHETIC") == alternative.startswith("Synthetic image")
        run("document.querySelectorAll('img').forEach(i => { i.loading = 'eager'; })")
        wait_for(
            lambda: run(
                "return [...document.images].every(i => i.complete && i.naturalWidth)"
            )
        )
        if SHOTS:
            path = pathlib.Path(SHOTS) / f"{name}_{self.size[0]}.png"
            self.driver.save_screenshot(str(path))


def test_a_journey_by_keyboard(served):
    """Filter, look at one, and at its condition on other skins."""
    from selenium.webdriver import Keys

    with browser(DESKTOP) as driver:
        me = Visitor(driver, DESKTOP)
        driver.get(served.url)
        me.heading("Images")
        assert len(me.entries()) == 24
        me.look("browse")
        me.keys(Keys.TAB, Keys.TAB, "ps")  # to the conditions
        me.keys(*[Keys.TAB] * 8, Keys.SPACE)  # over seven skin types to "Real"
        me.keys(Keys.ENTER)
        wait_for(lambda: "condition=psoriasis" in driver.current_url)
        assert "provenance=real" in driver.current_url
        assert {one[1] for one in me.entries()} == {"Real"}
        assert all("psoriasis" in one[0] for one in me.entries())
        me.look("browse_filtered")
        me.find(".look").send_keys(Keys.ENTER)
        me.heading("psoriasis")
        me.look("like")
        me.find("a.button.primary").send_keys(Keys.ENTER)
        me.heading("psoriasis on six skin colours")
        assert len(me.all("section")) == 6
        me.look("colours")


@pytest.mark.slow
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_journey_by_pointer(served, size, tmp_path):
    photo = tmp_path / "Mrs Plank.jpg"
    photo.write_bytes(encode_jpeg(noise_image(96, [0, 4])))
    wrong = tmp_path / "letter.jpg"
    wrong.write_text("Dear Sir")
    with browser(size) as driver:
        me = Visitor(driver, size)
        driver.get(served.url)
        me.heading("Images")
        me.look("browse")
        me.find("a[rel=next]").click()
        wait_for(lambda: "Page 2 of" in me.find(".pager").text)
        me.look("browse_second")
        me.find("a[rel=prev]").click()
        wait_for(lambda: "Page 1 of" in me.find(".pager").text)
        # One click from any image to its condition on other skin colours.
        me.find(".six").click()
        me.heading("on six skin colours")
        me.look("colours")
        for box in me.all(".pills input"):
            if box.get_attribute("value") == "synthetic":
                box.click()
        me.find("form button").click()
        wait_for(lambda: "provenance=synthetic" in driver.current_url)
        assert {one[1] for one in me.entries()} == {"SYNTHETIC"}
        me.look("colours_synthetic")
        me.find(".look").click()
        me.find("dl")
        me.look("like")
        driver.get(served.url + "/?condition=eczema&type=6&provenance=phantom")
        me.heading("Images")
        me.look("none")
        driver.get(served.url + "/?condition=acne")
        wait_for(lambda: "Unknown condition 'acne'" in driver.page_source)
        me.look("error")

        driver.get(served.url)
        me.find(".bring summary").click()
        me.look("bring")
        me.find("#photo").send_keys(str(wrong))
        me.find(".bring button").click()
        wait_for(lambda: "is not an image" in me.find(".bring .status").text)
        me.look("bring_wrong")
        me.find("#photo").send_keys(str(photo))
        me.find(".bring button").click()
        me.heading("Similar to your photo")
        assert "/photo/" in driver.current_url and "Plank" not in driver.current_url
        canvas = me.find("canvas")
        assert canvas.is_displayed() and canvas.size["width"] == 96
        me.look("photo")
        driver.refresh()
        me.heading("Similar to your photo")
        assert not me.find("canvas").is_displayed()  # nobody has kept it
        option = "#condition option[value=melanoma]"
        me.find(option).click()
        me.find(".filters button").click()
        wait_for(lambda: "condition=melanoma" in driver.current_url)
        me.find("a.button.primary").click()
        me.heading("melanoma on six skin colours")
        me.look("photo_colours")
        driver.back()
        me.heading("Similar to your photo")


@pytest.mark.slow
def test_the_token_of_other_machines(atlas):
    running = ServedAtlas(atlas, "--public_url=http://127.0.0.1:8798", "--port=8798")
    link = running.lines[1].split()[1]
    try:
        with browser(PHONE) as driver:
            me = Visitor(driver, PHONE)
            driver.get(f"{running.url}/like/x")
            me.heading("Please enter")
            driver.get(link)
            me.heading("Images")
            assert "#" not in driver.current_url
    finally:
        running.kill()
    assert (atlas / "access_token").stat().st_mode & 0o077 == 0
