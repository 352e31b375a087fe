"""A real headless Chromium for tests of pages; skipped where there is none."""

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest

ROOT = pathlib.Path(__file__).parents[2]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
DRIVER = shutil.which("chromedriver")
DESKTOP, PHONE = (1280, 800), (360, 740)


@contextlib.contextmanager
def browser(size=DESKTOP):
    """Yields a Selenium driver whose page is `size` CSS pixels large."""
    if not (CHROMIUM and DRIVER):
        pytest.skip("needs Chromium: apt-get install chromium chromium-driver")
    selenium = pytest.importorskip("selenium.webdriver")
    options = selenium.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (
        "--headless=new",
        "--no-sandbox",  # root, as in containers, has none
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
        "--no-proxy-server",
        # The browser itself asks for updates and the like, which is none of the test's.
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
    ):
        options.add_argument(flag)
    service = selenium.ChromeService(DRIVER, log_output=subprocess.DEVNULL)
    driver = selenium.Chrome(options=options, service=service)
    try:
        driver.set_page_load_timeout(60)
        # Not the window's size, which has a least one.
        metrics = dict(zip(("width", "height"), size, strict=True))
        metrics |= {"deviceScaleFactor": 1, "mobile": size[0] < 600}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        yield driver
    finally:
        driver.quit()


def wait_for(condition, seconds=60):
    """The first true value of `condition()`; fails after `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(Exception):  # a page is being replaced
            if value := condition():
                return value
        time.sleep(0.05)
    raise AssertionError("waited in vain")


def serious_findings(driver):
    """What axe-core finds serious or critical on the page, as text.

    The script is the one that the package axe-core-python ships; AXE_CORE may name the
    file of another version.
    """
    path = os.environ.get("AXE_CORE")
    if not path:
        package = pytest.importorskip("axe_core_python")
        path = pathlib.Path(package.__file__).with_name("axe.min.js")
    # By the protocol, as the page's own policy lets no such script in.
    driver.execute_cdp_cmd(
        "Runtime.evaluate", {"expression": pathlib.Path(path).read_text("utf-8")}
    )
    found = driver.execute_async_script(
        "const done = arguments[0]; axe.run(document).then(done, e => done(String(e)))"
    )
    assert found["passes"], found
    return [
        f"{one['id']}: {one['help']}: {node['html']}: {node.get('failureSummary')}"
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


class Served:
    """`reader_study serve`, or another program of pages, in a process of its own.

    Attributes: process, lines (what it printed), url.
    """

    def __init__(self, study, *flags, port=0, program="reader_study"):
        shown = {
            "reader_study": ["serve", f"--study={study}"],
            "studio": [f"--saved_model={study}"],
        }
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", f"pipelines.{program}", *shown[program]),
                *(f"--port={port}", *flags),
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line)

    def wait(self, seconds=120):
        """Waits until it serves."""
        end = time.monotonic() + seconds
        while len(self.lines) < 3:
            if self.process.poll() is not None or time.monotonic() > end:
                self.kill()
                raise AssertionError(self.process.stderr.read())
            time.sleep(0.02)
        self.url = self.lines[1].split()[1].split("/#")[0].rstrip("/")
        return self

    @property
    def port(self):
        return int(self.url.rsplit(":", 1)[1])

    def kill(self, number=signal.SIGKILL):
        self.process.send_signal(number)
        self.process.wait(60)
        self._reader.join(10)
