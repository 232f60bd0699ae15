"""A real browser for tests: Debian's chromium without a window, driven by selenium, without the network.

`missing` says what is not there, so that tests can skip themselves with the reason.
"""

from __future__ import annotations

import base64
import importlib.util
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-default-apps",
    "--disable-extensions",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)


def program() -> str | None:
    """Path of the browser, under one of the names that distributions give it."""
    found = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
    return next((path for path in found if path), None)


def missing() -> str:
    """What is not there for these tests, as a reason to skip; "" if all is."""
    if importlib.util.find_spec("selenium") is None:
        return "no selenium; pip install selenium"
    if program() is None or shutil.which("chromedriver") is None:
        return "no chromium or no chromedriver; apt-get install chromium chromium-driver"
    return ""


@contextmanager
def open_browser() -> Iterator[Browser]:
    """A browser with a profile of its own, ended (with all its processes) and wiped afterwards."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(program())
    with tempfile.TemporaryDirectory(prefix="c2d-web-", ignore_cleanup_errors=True) as profile:
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        driver = webdriver.Chrome(options=options, service=Service(str(shutil.which("chromedriver"))))
        try:
            yield Browser(driver)
        finally:
            driver.quit()


class Browser:
    """One window. Key presses and clicks are real events; `ask` only looks."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def show(self, page: Path, width: int = 1440, height: int = 900, dark: bool = False, script: bool = True) -> None:
        """Open a file at a width, in a look, with or without scripts, and forget what was logged before."""
        self.driver.get("about:blank")
        self.driver.get_log("browser")
        self.driver.get_log("performance")
        self.send("Emulation.setScriptExecutionDisabled", value=not script)
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        look = "dark" if dark else "light"
        self.send("Emulation.setEmulatedMedia", features=[
            {"name": "prefers-color-scheme", "value": look}, {"name": "prefers-reduced-motion", "value": "reduce"},
        ])  # fmt: skip
        self.driver.get(page.as_uri())

    def send(self, command: str, **parameters: Any) -> dict[str, Any]:
        """One command of the browser's own protocol."""
        return self.driver.execute_cdp_cmd(command, parameters)

    def ask(self, expression: str, *arguments: Any) -> Any:
        """The value of a JavaScript expression; `$` is querySelector, `$$` a list of all."""
        head = "const $ = (s) => document.querySelector(s), $$ = (s) => [...document.querySelectorAll(s)];"
        return self.driver.execute_script(f"{head} return ({expression});", *arguments)

    def wait(self, expression: str, seconds: float = 10.0) -> bool:
        """True as soon as a JavaScript expression is true, False if it never was: what a page does after an event."""
        end = time.monotonic() + seconds
        while not self.ask(expression):
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
        return True

    def click(self, selector: str) -> None:
        from selenium.webdriver.common.by import By

        found = self.driver.find_element(By.CSS_SELECTOR, selector)
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", found)
        found.click()

    def type(self, selector: str, text: str) -> None:
        from selenium.webdriver.common.by import By

        found = self.driver.find_element(By.CSS_SELECTOR, selector)
        found.clear()
        found.send_keys(text)

    def press(self, *names: str) -> None:
        """Keys by name ("TAB", "ENTER", "ESCAPE", "ARROW_DOWN", "SPACE") to whatever has the focus."""
        from selenium.webdriver.common.action_chains import ActionChains
        from selenium.webdriver.common.keys import Keys

        for name in names:
            ActionChains(self.driver).send_keys(getattr(Keys, name)).perform()

    def requests(self) -> list[str]:
        """Addresses that were asked for since `show`, the file itself and embedded data left out."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        asked = [
            message["params"]["request"]["url"]
            for message in messages
            if message["method"] == "Network.requestWillBeSent"
        ]
        return [url for url in asked if not url.startswith(("data:", "about:", "file:", "blob:"))]

    def complaints(self) -> list[str]:
        """What the console says since `show`."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def picture(self, path: Path, whole: bool = True) -> Path:
        """A screenshot of the whole page, or of the window."""
        clip = {}
        if whole:
            size = self.send("Page.getLayoutMetrics")["cssContentSize"]
            clip = {"clip": {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 15000), "scale": 1}}
        made = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole, **clip)
        path.write_bytes(base64.b64decode(made["data"]))
        return path

    def pdf(self) -> bytes:
        """The page as it is printed."""
        made = self.send("Page.printToPDF", preferCSSPageSize=True, printBackground=True)
        return base64.b64decode(made["data"])
