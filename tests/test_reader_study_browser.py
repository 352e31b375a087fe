"""The reader study as people meet it: a real browser against a real server."""

import os
import pathlib
import sqlite3

import pytest
from browser import DESKTOP, PHONE, Served, browser, serious_findings, wait_for
from study_pools import make_study

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
