"""A real browser for tests: Chromium without a window, driven by Selenium. Neither is ever downloaded by a test."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM, DRIVER = ("chromium", "chromium-browser", "google-chrome"), ("chromedriver",)
AXE = "AXE_CORE"
"""The environment variable with the path of axe.min.js."""
WAIT_SECONDS = 20


def _program(names: tuple[str, ...]) -> str | None:
    return next((path for name in names if (path := shutil.which(name))), None)


def _missing(what: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(f"CI installs {what}, and it is missing")
    pytest.skip(f"there is no {what} here")


@contextmanager
def browser(width: int = 1280, height: int = 800) -> Iterator[Any]:
    """A fresh browser with cookies of its own; in CI its absence is a failure, elsewhere the test is skipped."""
    chromium, driver = _program(CHROMIUM), _program(DRIVER)
    if chromium is None or driver is None:
        _missing("Chromium with chromedriver")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--no-proxy-server",
        "--disable-background-networking",
        "--disable-component-update",
        "--no-first-run",
        f"--window-size={width},{height}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    opened = webdriver.Chrome(options=options, service=Service(driver))  # type: ignore[call-arg]
    try:
        yield opened
    finally:
        opened.quit()


def wait_for(opened: Any, condition: Any, what: str = "") -> Any:
    """The condition's answer, once it is true; `condition` takes the driver. Fails with `what` after WAIT_SECONDS."""
    from selenium.common.exceptions import StaleElementReferenceException
    from selenium.webdriver.support.ui import WebDriverWait

    waiting = WebDriverWait(opened, WAIT_SECONDS, 0.05, ignored_exceptions=[StaleElementReferenceException])
    return waiting.until(condition, what)


def log_in(opened: Any, url: str, name: str, password: str) -> None:
    """By the page's own form; returns when the browser has left it, or the page says that it did not work."""
    opened.get(f"{url}/login")
    opened.find_element("name", "name").send_keys(name)
    opened.find_element("name", "password").send_keys(password)
    opened.find_element("css selector", "main button").click()
    wait_for(
        opened,
        lambda driver: "/login" not in driver.current_url or driver.find_elements("css selector", ".message.bad"),
        "the log-in did not end",
    )


def console_errors(opened: Any) -> list[str]:
    """What the browser complained of since the last call: a refused script or style of ours among it."""
    return [entry["message"] for entry in opened.get_log("browser") if entry["level"] == "SEVERE"]


def axe_violations(opened: Any) -> list[str]:
    """What axe-core finds against WCAG 2.2 AA on the page, a line each; skips where axe-core is missing."""
    path = os.environ.get(AXE)
    if not path or not Path(path).is_file():
        _missing(f"axe-core ({AXE})")
    assert path is not None
    opened.execute_script(Path(path).read_text(encoding="utf-8"))
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
    found = opened.execute_async_script(
        "const done = arguments[arguments.length - 1];"
        "axe.run(document, {runOnly: arguments[0]})"
        ".then(found => done(found.violations), error => done([{id: '' + error, nodes: []}]));",
        tags,
    )
    return [f"{each['id']}: {[node['html'] for node in each['nodes']]}" for each in found]
