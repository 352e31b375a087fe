"""The reader study as people meet it: a real browser against a real server."""

import json
import os
import pathlib
import sqlite3

import pytest

from tests.helpers.browser import (
    DESKTOP,
    PHONE,
    Served,
    browser,
    serious_findings,
    wait_for,
)
from tests.helpers.study_pools import make_study

SHOTS = os.environ.get("SCREENSHOTS")  # a folder to keep pictures of all pages in
BY_CSS = "css selector"


@pytest.fixture
def study(tmp_path):
    made, store, codes = make_study(
        tmp_path / "study", 2, 2, 2, 1, image_size=32, title="Skin pictures"
    )
    yield made, store, codes
    store.close()


@pytest.fixture
def served(study):
    running = Served(study[0].folder).wait()
    yield running
    running.kill()


class Reader:
    """Someone in front of the browser."""

    def __init__(self, driver, size):
        self.driver, self.size = driver, size

    def find(self, selector):
        return wait_for(lambda: self.driver.find_element(BY_CSS, selector))

    def heading(self, text):
        wait_for(lambda: text in self.driver.find_element(BY_CSS, "h1").text)

    def click(self, selector):
        self.find(selector).click()

    def keys(self, *keys):
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def focused(self):
        return self.driver.switch_to.active_element

    def look(self, name):
        """Nothing is cut off, nothing is hard to use; and a picture for us."""
        width = self.driver.execute_script(
            "return document.documentElement.scrollWidth"
        )
        assert width <= self.size[0], f"{name} is {width} pixels wide"
        assert serious_findings(self.driver) == [], name
        if SHOTS:
            path = pathlib.Path(SHOTS) / f"{name}_{self.size[0]}.png"
            self.driver.save_screenshot(str(path))

    def ready(self):
        """Pictures are loaded, and a key is no longer taken for the page before's."""
        wait_for(
            lambda: self.driver.execute_script(
                "return shownAt !== null && performance.now() - shownAt > 260"
            )
        )

    def number(self):
        return self.find(".progress span").text


def answers(study):
    with sqlite3.connect(study.folder / "answers.sqlite") as connection:
        return connection.execute("SELECT * FROM answers").fetchall()


def test_a_journey_by_keyboard_with_a_pause(study, served):
    """Short enough for every day; what it leaves out is below."""
    from selenium.webdriver import Keys

    made, store, codes = study
    link = f"{served.url}/#code={codes[0]}"
    with browser(DESKTOP) as driver:
        me = Reader(driver, DESKTOP)
        driver.get(link)
        me.heading("Before you begin")
        assert codes[0] not in driver.current_url
        me.look("consent")
        me.keys(Keys.TAB, Keys.SPACE, Keys.TAB, Keys.ENTER)
        me.heading("Real or synthetic?")
        me.keys(Keys.TAB, Keys.ENTER)
        me.ready()
        me.look("turing")
        assert me.number() == "1 of 5"
        me.keys("r")
        wait_for(lambda: me.number() == "2 of 5")
        me.ready()
        me.keys("s")
        wait_for(lambda: me.number() == "3 of 5")
    assert len(answers(made)) == 2
    with browser(DESKTOP) as driver:  # closed, and opened again: another browser
        me = Reader(driver, DESKTOP)
        driver.get(link)
        wait_for(lambda: me.number() == "3 of 5")
        for number in ("4 of 5", None):
            me.ready()
            me.keys("r")
            if number:
                wait_for(lambda number=number: me.number() == number)
        me.heading("Which pictures show it?")
        me.keys(Keys.TAB, Keys.ENTER)
        me.ready()
        assert me.find("button").text == "None of them shows it"
        me.keys("2", "4")
        assert me.find("button").text == "Go on"
        me.look("recognition")
        me.keys("n")
        me.heading("Thank you")
        me.look("end")
    found = answers(made)
    assert len(found) == 5 and all(0 < row[4] <= row[5] + 1000 for row in found)
    question = made.questions["q01"]
    marked = next(row for row in found if row[1] == "q01")[2]
    assert [name in marked for name in question.images] == [False, True, False, True]


@pytest.mark.slow
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_journey_by_pointer(study, served, size):
    """Every page, also those that only mistakes lead to."""
    made, store, codes = study
    with browser(size) as driver:
        me = Reader(driver, size)
        driver.get(served.url)
        me.heading("Welcome")
        me.look("enter")
        me.find("#code").send_keys("no such code")
        me.click("button")
        wait_for(lambda: "not known" in me.find("[role=alert]").text)
        me.look("enter_wrong")
        driver.get(f"{served.url}/nowhere")
        me.heading("Not found")
        me.look("error")
        driver.get(f"{served.url}/#code={codes[1]}")
        me.heading("Before you begin")
        me.look("consent")
        me.click("button")  # without the tick the browser asks for it
        me.heading("Before you begin")
        me.click("input[type=checkbox]")
        me.click("button")
        me.heading("Real or synthetic?")
        me.look("turing_introduction")
        me.click("a.button")
        for number in range(1, 5):
            wait_for(lambda number=number: me.number() == f"{number} of 5")
            me.ready()
            me.look("turing")
            driver.execute_script("window.scrollTo(0, 9999)")
            box = me.find("button[value=real]").rect
            assert box["height"] >= 44 and box["width"] >= 44
            me.click("button[value=real]")
        me.heading("Which pictures show it?")
        me.look("recognition_introduction")
        me.click("a.button")
        me.ready()
        for tile in driver.find_elements(BY_CSS, ".tile img")[:3]:
            tile.click()
        driver.find_elements(BY_CSS, ".tile img")[0].click()  # and off again
        me.look("recognition")
        me.click("button")
        me.heading("Thank you")
        me.look("end")
    found = answers(made)
    assert len(found) == 5
    marked = next(row for row in found if row[1] == "q01")[2]
    assert len(json.loads(marked)) == 2


@pytest.mark.slow
def test_a_code_in_two_windows(study, served):
    made, store, codes = study
    link = f"{served.url}/#code={codes[0]}"
    with browser(DESKTOP) as driver, browser(PHONE) as other:
        one, two = Reader(driver, DESKTOP), Reader(other, PHONE)
        driver.get(link)
        one.heading("Before you begin")
        one.click("input[type=checkbox]")
        one.click("button")
        one.heading("Real or synthetic?")
        one.click("a.button")
        one.ready()
        other.get(link)
        wait_for(lambda: two.find("h1").text == "Real or synthetic?")
        one.keys("r")  # the first window answers, and hears that it is not its turn
        one.heading("another window")
        one.look("elsewhere")
        assert answers(made) == []
        two.click("a.button")
        two.ready()
        two.click("button[value=real]")
        wait_for(lambda: two.number() == "2 of 5")
        one.click("button")
        wait_for(lambda: one.number() == "2 of 5")
        two.ready()
        two.click("button[value=real]")
        two.heading("another window")
    assert len(answers(made)) == 1


@pytest.mark.slow
def test_a_server_that_is_killed_while_someone_answers(study):
    made, store, codes = study
    running = Served(made.folder).wait()
    with browser(PHONE) as driver:
        me = Reader(driver, PHONE)
        driver.get(f"{running.url}/#code={codes[0]}")
        me.heading("Before you begin")
        me.click("input[type=checkbox]")
        me.click("button")
        me.heading("Real or synthetic?")
        me.click("a.button")
        me.ready()
        running.kill()
        me.click("button[value=synthetic]")
        wait_for(lambda: "Trying again" in me.find(".status").text)
        me.look("trying_again")
        running = Served(made.folder, port=running.port).wait()
        wait_for(lambda: me.number() == "2 of 5")
    running.kill()
    assert [row[2] for row in answers(made)] == ['"synthetic"']


@pytest.mark.slow
def test_the_token_of_other_machines(study):
    made, store, codes = study
    running = Served(made.folder, "--public_url=http://127.0.0.1:8799", port=8799)
    running.wait()
    link = running.lines[1].split()[1]
    with browser(PHONE) as driver:
        me = Reader(driver, PHONE)
        driver.get(running.url)
        me.heading("Please enter")
        me.look("access")
        me.find("#token").send_keys("not the token at all")
        me.click("button")
        wait_for(lambda: "not right" in me.find("[role=alert]").text)
        driver.get(link.replace("CODE", codes[0]))
        me.heading("Before you begin")
        assert "#" not in driver.current_url
    running.kill()
