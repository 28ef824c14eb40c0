"""Pictures of the pages for the docs, from computer-generated specimens alone: `python -m tests.screenshots`."""

import argparse
import tempfile
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from shared.base.lanes import Lane
from shared.database import Role, connect
from tests.browser import browser, log_in, wait_for
from tests.models import go_live, make_linear_version
from tests.reading_room import SAMPLES, Specimen, home_of, screen
from tests.web_server import PASSWORD, WebServer, add_account, serving

FOLDER = Path(__file__).parents[1] / "docs" / "pictures"
COLORS = 64
"""Enough for grey pictures and a few colours; a file is a quarter of its size."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=FOLDER)
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        settings = home_of(Path(folder), second_reading_share=0.0)
        database = connect(settings.database)
        database.upgrade()
        go_live(database, make_linear_version(settings.models, "screen-example"))
        numbers = screen(database, settings, _specimens(), version="screen-example")
        with serving(settings, database) as server, browser() as driver:
            _said(server, numbers[5:])
            add_account(database, "Dr. Okafor", Role.SENIOR)
            log_in(driver, server.url, "Dr. Okafor", PASSWORD)
            _shoot(driver, server, out, numbers)
        database.close()


def _specimens() -> list[Specimen]:
    named = [
        Specimen(
            "pneumonia-16.dcm", probability=0.94, lane=Lane.STAT, accession="A-1042", patient="k" * 64, outside=True
        ),
        Specimen("normal-15.dcm", probability=0.08, accession="A-1007", patient="k" * 64),
    ]
    files = sorted(file.name for file in SAMPLES.glob("*.jpeg"))
    return named + [Specimen(file, probability=0.9 if "pneumonia" in file else 0.1) for file in files[:10]]


def _said(server: WebServer, numbers: list[int]) -> None:
    """Some words of two readers, so that there is something to see on the page of figures."""
    for reader in ("Dr. Weiss", "Nurse Kim"):
        client = server.logged_in(reader)
        for place, number in enumerate(numbers):
            prediction = client.get(f"/read/{number}/panel").json()["prediction"]
            label = "PNEUMONIA" if (place + (reader == "Nurse Kim" and place == 2)) % 3 == 0 else "NORMAL"
            word = {"label": label, "prediction": prediction, "submission": f"{reader} {number} word"}
            client.post(f"/read/{number}/word", data=word).raise_for_status()


def _shoot(driver: Any, server: WebServer, out: Path, numbers: list[int]) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    def is_ready(_: Any) -> bool:
        return driver.execute_script("return Boolean(document.getElementById('room')?.dataset.ready)")

    all_there = "return [...document.images].every(image => image.complete && image.naturalWidth)"
    driver.get(server.url + "/worklist")
    wait_for(driver, lambda _: driver.execute_script(all_there), "the thumbnails did not come")
    _save(driver, out / "worklist.png")
    driver.get(f"{server.url}/read/{numbers[0]}")
    wait_for(driver, is_ready, "no picture")
    _save(driver, out / "reading.png")
    ActionChains(driver).send_keys("1", Keys.ENTER).perform()
    wait_for(driver, lambda _: driver.find_elements("id", "disagreement"), "no answer")
    _save(driver, out / "answer.png")
    driver.get(server.url + "/overview")
    _save(driver, out / "overview.png")


def _save(driver: Any, file: Path) -> None:
    picture = Image.open(BytesIO(driver.get_screenshot_as_png())).convert("RGB")
    picture.quantize(COLORS, dither=Image.Dither.NONE).save(file, optimize=True)


if __name__ == "__main__":
    main()
