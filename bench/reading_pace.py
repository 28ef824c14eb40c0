"""A reader at the keyboard, at a person's pace: `python -m bench.reading_pace --images 20 --seconds 16`.

Starts a service with specimens and a browser, looks at each image for so long, presses a key and Enter, and prints how
many images an hour that makes and how long the reader waited for the next picture.
"""

import argparse
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.database import connect
from tests.browser import browser, log_in, wait_for
from tests.reading_room import SAMPLES, Specimen, home_of, screen
from tests.web_server import PASSWORD, add_account, serving

KEY_SECONDS = 0.3
"""Between two keys, as people press them."""
DRAWN, KEYS = (
    f"return performance.getEntriesByName('{name}').map((mark) => mark.startTime)" for name in ("picture", "key")
)
"""When pictures were drawn, and keys pressed: milliseconds since the page was asked for."""
LISTED = """
    const thumbnails = [...document.querySelectorAll("#list img")].slice(0, 5);
    return thumbnails.length > 0 && thumbnails.every((image) => image.complete && image.naturalWidth);"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=16.0, help="how long an image is looked at")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings = home_of(Path(folder), second_reading_share=0.0)
        database = connect(settings.database)
        database.upgrade()
        files = sorted(file.name for file in SAMPLES.glob("*.jpeg"))
        screen(database, settings, [Specimen(files[n % len(files)], probability=0.1) for n in range(asked.images)])
        with serving(settings, database) as server, browser() as driver:
            add_account(database, "reader")
            application: Any = server.app
            application.state.pictures.warm_up()  # as `pneumoscreen web` does when it starts
            log_in(driver, server.url, "reader", PASSWORD)
            wait_for(driver, lambda _: driver.execute_script(LISTED), "no list with its thumbnails")
            driver.get(server.url + "/read/next")
            found = _read(driver, asked.images, asked.seconds)
        database.close()
    hour = 3600 * asked.images / found.seconds
    print(f"{asked.images} images in {found.seconds:.0f} s: {hour:.0f} an hour")
    print(f"the first picture: {found.first:.0f} ms after it was asked for")
    if found.waits:
        median, most = statistics.median(found.waits), max(found.waits)
        print(f"from the key to the next picture: median {median:.0f} ms, at most {most:.0f} ms")


@dataclass(frozen=True)
class Reading:
    """Milliseconds by the browser's own clock until pictures were drawn, and seconds for all images."""

    first: float
    waits: list[float]
    seconds: float


def _read(driver: Any, images: int, look: float) -> Reading:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    def press(key: str) -> None:
        keyboard: Any = ActionChains(driver)
        keyboard.send_keys(key).perform()

    wait_for(driver, lambda _: driver.execute_script(DRAWN), "no picture")
    (first,) = driver.execute_script(DRAWN)
    driver.execute_script("addEventListener('keydown', () => { performance.mark('key'); }, true)")
    waits: list[float] = []
    began = time.monotonic()
    for place in range(images):
        time.sleep(look)
        press("1")
        time.sleep(KEY_SECONDS)
        press(Keys.ENTER)
        if place < images - 1:
            wait_for(driver, lambda _, place=place: len(driver.execute_script(DRAWN)) > place + 1, "no next picture")
            waits.append(driver.execute_script(DRAWN)[-1] - driver.execute_script(KEYS)[-1])
        else:
            wait_for(driver, lambda _: "/worklist" in driver.current_url or "Saved" in _said(driver), "no word saved")
    return Reading(first, waits, time.monotonic() - began)


def _said(driver: Any) -> str:
    return str(driver.find_element("id", "said").text)  # which the list has not: then the address tells


if __name__ == "__main__":
    main()
