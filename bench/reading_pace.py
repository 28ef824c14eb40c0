"""A reader at the keyboard, at a person's pace: `python -m bench.reading_pace --images 20 --seconds 16`.

Starts a service with specimens and a browser, looks at each image for so long, presses a key and Enter, and prints how
many images an hour that makes and how long the reader waited for the next picture.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from shared.database import connect
from tests.browser import browser, log_in, wait_for
from tests.reading_room import SAMPLES, Specimen, home_of, screen
from tests.web_server import PASSWORD, add_account, serving

KEY_SECONDS = 0.3
"""Between two keys, as people press them."""


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
            log_in(driver, server.url, "reader", PASSWORD)
            driver.get(server.url + "/read/next")
            waits, seconds = _read(driver, asked.images, asked.seconds)
        database.close()
    hour = 3600 * asked.images / seconds
    print(f"{asked.images} images in {seconds:.0f} s: {hour:.0f} an hour")
    if waits:
        print(
            f"from the key to the next picture: median {statistics.median(waits):.0f} ms, at most {max(waits):.0f} ms"
        )


def _read(driver: Any, images: int, look: float) -> tuple[list[float], float]:
    """Milliseconds that the reader waited for each picture, and seconds for all."""
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    state = "return document.getElementById('room')?.dataset.ready"
    wait_for(driver, lambda _: driver.execute_script(state), "no picture")
    waits: list[float] = []
    began = time.monotonic()
    for place in range(images):
        shown = driver.execute_script(state)
        time.sleep(look)
        keyboard: Any = ActionChains(driver)
        keyboard.send_keys("1").perform()
        time.sleep(KEY_SECONDS)
        pressed = time.monotonic()
        keyboard = ActionChains(driver)
        keyboard.send_keys(Keys.ENTER).perform()
        if place < images - 1:
            wait_for(
                driver, lambda _, shown=shown: driver.execute_script(state) not in (None, shown), "no next picture"
            )
            waits.append(1000 * (time.monotonic() - pressed))
        else:
            wait_for(
                driver, lambda _: "Saved" in driver.find_element("id", "said").text or "/worklist" in driver.current_url
            )
    return waits, time.monotonic() - began


if __name__ == "__main__":
    main()
