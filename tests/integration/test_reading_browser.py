"""The worklist, the picture and the word in a real browser: each key, the mouse, fingers, and what goes wrong."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from actions import leases
from queries import evidence
from shared.base.lanes import Lane
from shared.base.settings import Settings
from shared.database import Database, Review, Role, connect
from tests import dicom
from tests.browser import axe_violations, browser, console_errors, log_in, wait_for
from tests.models import go_live, make_linear_version
from tests.reading_room import Specimen, home_of, screen, screen_anew
from tests.servers import PostgreSQL
from tests.web_server import PASSWORD, WebServer, add_account, serving
from web.pictures import Evidence

pytest.importorskip("selenium")
DX = "pneumonia-16.dcm"


class Room:
    """A server, a browser that Dr A is logged in with, and images that each test adds for itself."""

    def __init__(self, server: WebServer, driver: Any, settings: Settings, database: Database) -> None:
        self.server, self.driver, self.settings, self.database = server, driver, settings, database
        self._added = 0
        self.picture: int | None = None

    def add(self, *specimens: Specimen, **more: Any) -> list[int]:
        named = []
        for specimen in specimens:
            self._added += 1
            name = specimen.name or f"{self._added:03d}-{specimen.file}"
            named.append(Specimen(**{**specimen.__dict__, "name": name}))
        return list(screen(self.database, self.settings, named, **more))

    def open(self, sighting: int, query: str = "") -> None:
        before = self.driver.current_window_handle  # a new tab: Chromium loaded no page after some twenty in one
        self.driver.switch_to.new_window("tab")
        opened = self.driver.current_window_handle
        self.driver.switch_to.window(before)
        self.driver.close()
        self.driver.switch_to.window(opened)
        self.driver.get(f"{self.server.url}/read/{sighting}{query}")
        self.ready(sighting)

    def ready(self, sighting: int) -> None:
        wait_for(self.driver, lambda _: self.data().get("ready") == str(sighting), f"image {sighting} was not shown")

    def data(self) -> dict[str, str]:
        return self.driver.execute_script("return {...(document.getElementById('room') || {dataset: {}}).dataset}")

    def view(self) -> dict[str, Any]:
        return json.loads(self.data()["view"])

    def press(self, *keys: str) -> None:
        from selenium.webdriver.common.action_chains import ActionChains

        for key in keys:
            ActionChains(self.driver).send_keys(key).perform()

    def said(self, text: str) -> None:
        wait_for(
            self.driver, lambda driver: text in driver.find_element("id", "said").text, f"it does not say {text!r}"
        )

    def text(self, selector: str = "#panel") -> str:
        return self.driver.find_element("css selector", selector).text

    def words(self, sighting: int) -> list[Review]:
        with self.database.read() as session:
            return list(session.scalars(select(Review).where(Review.sighting_id == sighting).order_by(Review.id)))

    @contextmanager
    def database_away(self) -> Iterator[None]:
        """As a PostgreSQL that is restarted: every transaction that writes fails."""
        state = self.server.app.state
        there = state.database.write

        def refuse() -> Any:
            raise OperationalError("SELECT 1", {}, Exception("the server closed the connection unexpectedly"))

        state.database.write = refuse
        try:
            yield
        finally:
            state.database.write = there


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory, migrated_file: Path) -> Iterator[Room]:
    home = tmp_path_factory.mktemp("room")
    shutil.copyfile(migrated_file, home / "pneumoscreen.db")
    settings = home_of(home, second_reading_share=0.0)
    database = connect(settings.database)
    go_live(database, make_linear_version(settings.models, "v1"))
    with serving(settings, database) as server, browser() as driver:
        add_account(database, "Dr A")
        log_in(driver, server.url, "Dr A", PASSWORD)
        yield Room(server, driver, settings, database)
    database.close()


@pytest.fixture
def image(room: Room) -> Iterator[int]:
    """A DICOM file with a window; called PNEUMONIA."""
    (number,) = room.add(Specimen(DX, probability=0.95))
    room.open(number)
    yield number
    assert not [line for line in console_errors(room.driver) if "Content Security Policy" in line]


@pytest.mark.parametrize(
    ("keys", "name", "expected"),
    [
        ("i", "inverted", True),
        ("r", "turns", 1),
        ("l", "turns", 3),
        ("h", "flipX", True),
        ("v", "flipY", True),
        ("+", "zoom", 1.25),
        ("-", "zoom", 0.8),
        ("++=", "zoom", 1),
        ("zz", "zoom", 1),
        ("irh+ ", "inverted", False),
        ("w", "window", "full"),
        ("ww", "window", "percentile"),
        ("www", "window", "model"),
        ("wwww", "window", "dicom"),
    ],
)
def test_each_key_of_the_picture_does_what_the_help_says(room: Room, keys: str, name: str, expected: Any) -> None:
    if room.picture is None or room.data().get("sighting") != str(room.picture):
        (room.picture,) = room.add(Specimen(DX, probability=0.95))  # one for all of these
        room.open(room.picture)
    room.press(" ")
    for place, key in enumerate(keys):
        room.press(key)
        if key == "w":
            window = ("full", "percentile", "model", "dicom")[place]
            wait_for(room.driver, lambda _, window=window: room.view()["window"] == window, f"not {window}")
    wait_for(room.driver, lambda _: room.view()[name] == pytest.approx(expected), f"{keys}: {room.view()}")


def test_the_mouse_windows_zooms_pans_and_resets(room: Room, image: int) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    canvas = room.driver.find_element("id", "picture")
    before = room.view()
    ActionChains(room.driver).move_to_element(canvas).click_and_hold().move_by_offset(60, 40).release().perform()
    wait_for(room.driver, lambda _: room.view()["window"] == "own", "dragging did not window")
    dragged = room.view()
    assert dragged["high"] - dragged["low"] > before["high"] - before["low"]
    assert dragged["high"] + dragged["low"] > before["high"] + before["low"]
    from selenium.webdriver.common.actions.wheel_input import ScrollOrigin

    wheel: Any = ActionChains(room.driver)
    wheel.scroll_from_origin(ScrollOrigin.from_element(canvas), 0, -400).perform()
    wait_for(room.driver, lambda _: room.view()["zoom"] > 2, "the wheel did not zoom")
    wait_for(room.driver, lambda _: room.view()["zoom"] > 2 and room.view()["panX"] == pytest.approx(0, abs=2))
    fingers(room, "mouse", [(1, 1, 0, 0, 50, 30)])
    assert (room.view()["panX"], room.view()["panY"]) == (pytest.approx(50, abs=3), pytest.approx(30, abs=3))
    ActionChains(room.driver).double_click(canvas).perform()
    wait_for(room.driver, lambda _: (room.view()["zoom"], room.view()["window"]) == (1, "dicom"), "it did not reset")


FINGERS = """
const [kind, moves] = arguments, canvas = document.getElementById("picture"), box = canvas.getBoundingClientRect();
canvas.setPointerCapture = () => {};
const middleX = box.left + box.width / 2, middleY = box.top + box.height / 2;
const send = (name, move, x, y) => canvas.dispatchEvent(new PointerEvent(name, {
    pointerType: kind, pointerId: move[0], button: name === "pointermove" ? -1 : move[1],
    clientX: middleX + x, clientY: middleY + y, bubbles: true}));
for (const move of moves) send("pointerdown", move, move[2], move[3]);
for (const move of moves) send("pointermove", move, move[4], move[5]);
for (const move of moves) send("pointerup", move, move[4], move[5]);
"""


def fingers(room: Room, kind: str, moves: list[tuple[int, int, int, int, int, int]]) -> None:
    """Pointers (id, button, from x, y, to x, y, from the middle) go down, move, and go up together."""
    room.driver.execute_script(FINGERS, kind, moves)


def test_two_fingers_zoom_and_pan_and_one_windows(room: Room, image: int) -> None:
    fingers(room, "touch", [(1, 0, -50, 0, -100, 0), (2, 0, 50, 0, 100, 0)])
    wait_for(room.driver, lambda _: room.view()["zoom"] == pytest.approx(2, rel=0.1), "pinching did not zoom")
    room.press(" ")
    fingers(room, "touch", [(1, 0, -50, 0, -20, 30), (2, 0, 50, 0, 80, 30)])
    wait_for(room.driver, lambda _: room.view()["panY"] > 20 and room.view()["panX"] > 20, "two fingers did not pan")
    room.press(" ")
    fingers(room, "touch", [(1, 0, 0, 0, 60, 0)])
    wait_for(room.driver, lambda _: room.view()["window"] == "own", "one finger did not window")


def test_beyond_its_own_pixels_the_full_picture_is_fetched_and_every_opening_is_on_record(room: Room) -> None:
    from io import BytesIO

    from PIL import Image

    from shared.database import AuditEntry

    stream = BytesIO()
    ramp = (np.arange(2600 * 2600, dtype=np.uint32).reshape(2600, 2600) // 400 % 256).astype(np.uint8)
    Image.fromarray(ramp).save(stream, "PNG")
    (number,) = room.add(Specimen("large.png", data=stream.getvalue()))
    room.open(number)
    assert not room.view()["isFull"]
    room.press("z", "+", "+")
    wait_for(room.driver, lambda _: room.view()["isFull"], "the full picture was not fetched")
    with room.database.read() as session:
        entries = list(session.scalars(select(AuditEntry).where(AuditEntry.detail.like(f"sighting {number}:%"))))
    assert [entry.detail.split(": ")[1] for entry in entries] == ["2048", "full"]
    assert {entry.actor for entry in entries} == {"Dr A"}


@pytest.mark.parametrize(
    ("key", "label"), [("1", "NORMAL"), ("2", "PNEUMONIA"), ("3", "UNCLEAR"), ("4", "NOT_READABLE")]
)
def test_each_word_has_its_key_and_enter_saves_it_and_goes_on(room: Room, key: str, label: str) -> None:
    from selenium.webdriver.common.keys import Keys

    probability = 0.02 if label == "NORMAL" else 0.95
    first, second = room.add(*(Specimen("normal-01.jpeg", probability=probability, lane=Lane.STAT) for _ in "ab"))
    room.open(first, "?lane=stat")
    room.press(key, "5") if label == "UNCLEAR" else room.press(key)
    room.press("n", "seen", Keys.ESCAPE, Keys.ENTER)
    room.ready(second)
    (word,) = room.words(first)
    assert (word.label, word.note, word.shown, word.method, word.reviewer) == (label, "seen", "blind", "page", "Dr A")
    assert bool(word.other_finding) is (label == "UNCLEAR")
    room.press("4", Keys.ENTER)
    wait_for(room.driver, lambda _: room.words(second), "the second was not saved")


def test_where_reader_and_model_differ_the_page_stays_shows_the_answer_and_asks_why(room: Room, image: int) -> None:
    from selenium.webdriver.common.keys import Keys

    assert "Pneumonia" not in room.text(".side .facts") and not room.driver.find_elements("id", "answer")
    assert "You speak first" in room.text("#mode")
    room.press("1", Keys.ENTER)
    wait_for(room.driver, lambda driver: driver.find_elements("id", "disagreement"), "it does not ask why")
    assert "Model: Pneumonia" in room.text("#answer") and "No percentage" in room.text("#answer")
    assert "95" not in room.text("#answer")
    room.driver.find_element("css selector", "[data-why=device]").click()
    wait_for(room.driver, lambda _: room.words(image)[0].disagreement == "device", "the reason was not saved")
    room.press("2", Keys.ENTER)
    wait_for(room.driver, lambda _: len(room.words(image)) == 2, "no second word")
    assert [(word.label, word.after_model, word.is_blind) for word in room.words(image)] == [
        ("NORMAL", False, True),
        ("PNEUMONIA", True, False),
    ]


def test_enter_without_a_word_says_so_and_saves_nothing(room: Room, image: int) -> None:
    from selenium.webdriver.common.keys import Keys

    room.press(Keys.ENTER)
    wait_for(room.driver, lambda _: "Choose a word first" in room.text("#said"), "nothing was said")
    assert not room.words(image)
    room.press("b")
    wait_for(room.driver, lambda _: "None is known" in room.text("#said"), "nothing was said of earlier images")


def test_undo_by_key_takes_the_last_word_back_and_shows_its_image_again(room: Room) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    first, second = room.add(*(Specimen("normal-02.jpeg", lane=Lane.STAT) for _ in "ab"))
    for undo in "key", "control":
        room.open(first, "?lane=stat")
        room.press("1", Keys.ENTER)
        room.ready(second)
        if undo == "key":
            room.press("u")
        else:
            ActionChains(room.driver).key_down(Keys.CONTROL).send_keys("z").key_up(Keys.CONTROL).perform()
        room.ready(first)
        assert all(word.withdrawn_at for word in room.words(first))
    with room.database.write() as session:
        for word in session.scalars(select(Review).where(Review.sighting_id == first)):
            word.withdrawn_at = None
            word.created_at = datetime.now(UTC) - timedelta(days=1)
    room.press("u")
    wait_for(room.driver, lambda driver: driver.find_element("id", "undo").is_displayed(), "an old word needs a reason")
    room.driver.find_element("id", "undo-reason").send_keys("the wrong key")
    room.driver.find_element("css selector", "#undo button").click()
    wait_for(
        room.driver, lambda _: "the wrong key" in {word.withdrawn_because for word in room.words(first)}, "not undone"
    )
    room.press("k")
    room.ready(second)
    room.press("4", Keys.ENTER)
    wait_for(room.driver, lambda _: room.words(second), "not saved")


def test_arrows_skip_help_search_and_the_way_back_to_the_list(room: Room) -> None:
    from selenium.webdriver.common.keys import Keys

    first, second = room.add(*(Specimen("normal-03.jpeg", lane=Lane.BACKGROUND) for _ in "ab"))
    room.open(first, "?lane=background")
    room.press(Keys.ARROW_RIGHT)
    room.ready(second)
    room.press(Keys.ARROW_LEFT)
    room.ready(first)
    room.press("k")
    room.ready(second)
    room.press("?")
    assert room.driver.find_element("id", "help").is_displayed()
    for keys in "1", "n", "Enter", "k", "u, Ctrl+Z", "m (hold)", "b", "/", "Esc", "z", "i r l h v", "Space":
        assert keys in room.text("#help")
    room.press(Keys.ESCAPE)
    room.press(Keys.ESCAPE)
    wait_for(room.driver, lambda driver: driver.current_url.endswith("/worklist?lane=background"), "not on the list")
    with room.database.read() as session:
        from shared.database import ReadingLease

        assert second not in {lease.sighting_id for lease in session.scalars(select(ReadingLease))}, "it was given back"
    room.press("/")
    field = room.driver.switch_to.active_element
    assert field.get_attribute("id") == "search"
    field.send_keys("003-", Keys.ENTER)
    wait_for(room.driver, lambda driver: "/worklist?search=" in driver.current_url, "no search")
    assert "003-" not in room.driver.current_url


AMBER = """
    const canvas = document.getElementById("picture"), ratio = devicePixelRatio;
    const row = canvas.getContext("2d").getImageData(0, Math.round(24 * ratio), canvas.width, 1).data;
    let length = 0;
    for (let x = 0; x < row.length; x += 4) if (row[x] > 230 && row[x + 1] > 170 && row[x + 2] < 130) length += 1;
    return length / ratio;"""


@pytest.mark.parametrize(("name", "text"), [("PixelSpacing", "50 mm"), ("ImagerPixelSpacing", "50 mm at the detector")])
def test_the_ruler_is_50_mm_by_the_pixel_spacing_at_any_zoom(room: Room, name: str, text: str) -> None:
    grain = np.random.default_rng(1).integers(0, 1000, (600, 800)).astype(np.uint16)
    data = dicom.written(dicom.make(grain, **{name: [0.4, 0.4]}))
    (number,) = room.add(Specimen("spaced.dcm", data=data))
    room.open(number)
    box = room.driver.find_element("id", "picture").rect
    fit = min(box["width"] / 800, box["height"] / 600)
    for keys, zoom in ("", 1), ("-", 0.8):
        room.press(*keys)
        wait_for(room.driver, lambda _, zoom=zoom: room.view()["zoom"] == pytest.approx(zoom), "no zoom")
        assert room.driver.execute_script(AMBER) == pytest.approx(50 / 0.4 * fit * zoom, abs=3)
        assert room.view()["ruler"] == text


def test_there_is_no_ruler_where_nobody_knows_how_large_a_pixel_is(room: Room, image: int) -> None:
    assert (room.view()["ruler"], room.driver.execute_script(AMBER)) == (None, 0)


def test_the_next_three_pictures_are_fetched_before_their_turn_and_not_again_when_it_comes(room: Room) -> None:
    asked = """
        return performance.getEntriesByType("resource").map((entry) => entry.name)
            .filter((name) => name.includes("/pixels")).map((name) => name.split("/images/")[1]);"""
    numbers = room.add(*(Specimen("normal-03.jpeg", lane=Lane.BACKGROUND) for _ in range(5)))
    room.open(numbers[0], "?lane=background")
    following = json.loads(room.data()["next"])
    assert len(following) == 3 and numbers[0] not in following
    ahead = {f"{number}/pixels?size=2048&ahead=1" for number in following}
    wait_for(room.driver, lambda driver: ahead <= set(driver.execute_script(asked)), "they were not fetched")
    room.press("k")
    room.ready(following[0])
    own = [name for name in room.driver.execute_script(asked) if name.startswith(f"{following[0]}/")]
    assert own == [f"{following[0]}/pixels?size=2048&ahead=1"], "its picture was there already"


def test_side_by_side_shows_the_patients_earlier_image(room: Room) -> None:
    old, new = room.add(
        *(Specimen(DX, patient="k" * 64, data=None) for _ in "a"),
        *(Specimen("normal-15.dcm", patient="k" * 64) for _ in "b"),
    )
    room.open(new)
    assert str(room.data()["earlier"]) == f"[{old}]"
    assert "not read" in room.text(".earlier")
    room.press("b")
    wait_for(room.driver, lambda _: room.data().get("beside") == str(old), "no earlier image beside it")
    room.press("b")
    assert not room.driver.find_element("id", "beside-pane").is_displayed()


def test_the_map_comes_after_the_word_with_its_caption_cells_and_slider(
    room: Room, image: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    values = np.linspace(-1, 2, 64, dtype=np.float32).reshape(8, 8)
    monkeypatch.setattr(evidence, "has_figures", lambda *_: True)
    monkeypatch.setattr(room.server.app.state.pictures, "evidence", lambda _: Evidence(values))
    monkeypatch.setattr(
        "web.pages_reading.evidence.refusal",
        lambda settings, image, _version: "The map comes after your word." if image.is_blind else None,
    )
    hold = ActionChains(room.driver).key_down("m")
    hold.perform()
    wait_for(
        room.driver, lambda driver: "after your word" in driver.find_element("id", "map-refusal").text, "no refusal"
    )
    assert not room.view()["evidence"]
    ActionChains(room.driver).key_up("m").perform()
    room.press("1", Keys.ENTER)
    wait_for(room.driver, lambda driver: driver.find_elements("id", "answer"), "no answer")
    room.driver.find_element("id", "picture").click()
    ActionChains(room.driver).key_down("m").perform()
    wait_for(room.driver, lambda _: room.view()["evidence"], "no map")
    assert "What moved this score, not where the disease is." in room.text("#map-box")
    assert "43 %" in room.text("#map-rim") or "%" in room.text("#map-rim")
    assert room.driver.find_element("id", "opacity").is_displayed()
    ActionChains(room.driver).key_up("m").perform()
    wait_for(room.driver, lambda _: not room.view()["evidence"], "the map stays")
    room.driver.find_element("id", "map-button").click()
    wait_for(room.driver, lambda _: room.view()["evidence"], "no map by its button")


def test_a_word_that_could_not_be_sent_stays_and_is_sent_once_when_the_database_is_back(room: Room, image: int) -> None:
    from selenium.webdriver.common.keys import Keys

    with room.database_away():
        room.press("2", Keys.ENTER)
        room.said("Not saved yet")
        assert room.words(image) == []
        room.press(Keys.ENTER)
    wait_for(room.driver, lambda _: room.words(image), "it was not sent again")
    wait_for(room.driver, lambda _: not room.data().get("unsent"), "it still says that it is not saved")
    assert len(room.words(image)) == 1


def test_a_word_said_while_postgresql_is_down_is_kept_in_the_page_and_written_once_when_it_is_back(
    tmp_path: Path,
) -> None:
    from selenium.webdriver.common.keys import Keys

    server = PostgreSQL(max_connections=20)
    try:
        settings = home_of(tmp_path, second_reading_share=0.0, database_url=f"{server.url}/postgres")
        database = connect(settings.database)
        database.upgrade()
        with serving(settings, database) as pages, browser() as driver:
            (number,) = screen(database, settings, [Specimen("normal-01.jpeg", probability=0.02)])
            add_account(database, "Dr A")
            log_in(driver, pages.url, "Dr A", PASSWORD)
            ward = Room(pages, driver, settings, database)
            ward.open(number)
            server.crash()
            ward.press("1", "n", "clear", Keys.ESCAPE, Keys.ENTER)
            ward.said("Not saved yet")
            assert driver.find_element("id", "note").get_attribute("value") == "clear"
            server.start()
            wait_for(driver, lambda _: "unsent" not in ward.data(), "it was not sent again")
            assert [(word.label, word.note) for word in ward.words(number)] == [("NORMAL", "clear")]
        database.close()
    finally:
        server.close()


def test_a_word_on_a_file_that_was_replaced_is_not_saved_and_both_pictures_are_shown(room: Room, image: int) -> None:
    from selenium.webdriver.common.keys import Keys

    (newer,) = screen(room.database, room.settings, [Specimen("normal-01.jpeg", name=f"{room._added:03d}-{DX}")])
    room.press("1", "n", "clear", Keys.ESCAPE, Keys.ENTER)
    room.said("replaced since you opened it")
    room.ready(newer)
    assert room.words(image) == []
    wait_for(
        room.driver, lambda _: room.data().get("beside") == str(image), "the old picture is not beside the new one"
    )
    assert room.driver.find_element("id", "beside-pane").is_displayed()
    assert room.driver.find_element("id", "note").get_attribute("value") == "clear", "what was typed is kept"


def test_where_a_later_version_says_otherwise_both_results_stand_beside_each_other(room: Room, image: int) -> None:
    """Screened anew while the reader looks, and again after the word."""
    from selenium.webdriver.common.keys import Keys

    screen_anew(room.database, image, "v2", 0.05)
    room.press("1", Keys.ENTER)
    wait_for(room.driver, lambda _: room.data().get("changed"), "the change was not seen")
    room.said("screened anew since you opened it")
    assert room.words(image) == [] and not room.driver.find_elements("id", "answer"), "the reader still speaks first"
    room.press("2", Keys.ENTER)
    wait_for(room.driver, lambda driver: driver.find_elements("id", "previous"), "the old result is not shown")
    assert "Model now: Normal" in room.text("#answer") and "v2" in room.text("#answer")
    assert "Before: Pneumonia" in room.text("#previous") and "v1" in room.text("#previous")
    assert not room.driver.find_elements("id", "changed")
    screen_anew(room.database, image, "v3", 0.97)
    room.open(image)
    assert "screened anew since your word" in room.text("#changed")
    answer, previous = (room.driver.find_element("id", name).rect for name in ("answer", "previous"))
    assert answer["y"] == previous["y"] and answer["x"] + answer["width"] <= previous["x"]
    assert "Pneumonia" in room.text("#answer") and "Normal" in room.text("#previous")


def test_a_16_bit_png_is_windowed_on_its_full_depth(room: Room) -> None:
    """Of a ramp of 1,024 values in the middle of 16 bits, 8 bits would leave five greys."""
    from io import BytesIO

    from PIL import Image

    stream = BytesIO()
    values = np.tile(np.arange(20_000, 21_024, dtype=np.uint16), (1024, 1))
    values[0, 0], values[0, -1] = 0, 65535
    Image.fromarray(values).save(stream, "PNG")
    (number,) = room.add(Specimen("deep.png", data=stream.getvalue()))
    room.open(number)
    assert (room.view()["window"], room.view()["high"] - room.view()["low"] < 1100) == ("percentile", True)
    greys = """
        const canvas = document.getElementById("picture"), context = canvas.getContext("2d");
        const row = context.getImageData(0, canvas.height / 2, canvas.width, 1).data;
        return new Set(row.filter((_, index) => index % 4 === 0)).size;"""
    assert room.driver.execute_script(greys) > 200
    room.press("w")
    wait_for(room.driver, lambda _: room.view()["window"] == "full", "no other window")
    assert room.driver.execute_script(greys) < 10, "the full range leaves these few"


def test_two_readers_at_once_do_not_get_the_same_image(room: Room, image: int) -> None:
    with browser() as second:
        add_account(room.database, "Dr B")
        log_in(second, room.server.url, "Dr B", PASSWORD)
        second.get(room.server.url + "/worklist")
        assert "Dr A is reading this" in second.find_element("css selector", f"tr[data-sighting='{image}']").text
        second.find_element("id", "start").click()
        wait_for(second, lambda driver: driver.find_elements("id", "room"), "no image")
        assert second.execute_script("return document.getElementById('room').dataset.sighting") != str(image)
        second.get(f"{room.server.url}/read/{image}")
        assert "Dr A is reading this" in second.find_element("id", "taken").text


def test_a_lease_that_was_lost_is_told_and_the_word_is_kept(room: Room, image: int) -> None:
    from selenium.webdriver.common.keys import Keys

    with room.database.write() as session:
        from shared.database import ReadingLease, Sighting

        content = session.get_one(Sighting, image).sha256
        session.get_one(ReadingLease, content).until = datetime.now(UTC) - timedelta(seconds=1)
        session.flush()
        assert leases.take(session, image, str(content), "Dr C", datetime.now(UTC)).is_mine
    room.press("2", Keys.ENTER)
    wait_for(room.driver, lambda _: "Dr C has this image open, too" in room.text(), "it does not say who took it over")
    assert len(room.words(image)) == 1


def test_a_hostile_picture_and_a_hostile_name_break_nothing(room: Room) -> None:
    from selenium.webdriver.common.keys import Keys

    name = "\"><img src=x onerror=document.title='pwned'><script>document.title='pwned'<\\script>{{7*7}}.jpeg"
    (number,) = room.add(Specimen(name=name, data=b"\xff\xd8\xff\xe0" + b"\0" * 5000))
    room.driver.get(room.server.url + "/worklist")
    room.open(number)
    assert room.driver.find_element("id", "picture-problem").is_displayed()
    assert name in room.text(".file") and "49" not in room.text(".file")
    assert "pwned" not in room.driver.title
    room.press("4", Keys.ENTER)
    wait_for(room.driver, lambda _: room.words(number), "it cannot be called not readable")


def test_the_batch_asks_for_a_look_at_each_and_takes_out_what_is_clicked(room: Room) -> None:
    settings = room.server.app.state.settings
    room.server.app.state.settings = settings.model_copy(update={"reading": "assisted"})
    try:
        numbers = room.add(*(Specimen("normal-05.jpeg", probability=0.03) for _ in range(3)))
        room.driver.get(room.server.url + "/batch")
        save = room.driver.find_element("id", "batch-save")
        assert not save.is_enabled()
        out = room.driver.find_element("css selector", f"li[data-sighting='{numbers[1]}'] button")
        room.driver.execute_script("arguments[0].scrollIntoView()", out)
        out.click()
        tiles = room.driver.find_elements("css selector", "#grid li")

        def scrolled(_: Any) -> bool:
            for tile in tiles:
                if "seen" not in (tile.get_attribute("class") or ""):
                    room.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", tile)
                    return False
            return save.is_enabled()

        wait_for(room.driver, scrolled, "the batch cannot be saved")
        room.driver.execute_script("arguments[0].click()", save)
        wait_for(room.driver, lambda _: room.words(numbers[0]) and room.words(numbers[2]), "nothing was saved")
        assert room.words(numbers[1]) == []
        assert {word.method for word in room.words(numbers[0])} == {"batch"}
    finally:
        room.server.app.state.settings = settings


def test_the_list_refreshes_itself_and_no_row_moves(room: Room) -> None:
    first, _second = room.add(*(Specimen("normal-06.jpeg", probability=0.9) for _ in "ab"))
    room.driver.get(room.server.url + "/worklist")
    order = "return [...document.querySelectorAll('#list tr[data-sighting]')].map(row => row.dataset.sighting)"
    before = room.driver.execute_script(order)
    room.driver.execute_script(
        "arguments[0].focus()", room.driver.find_element("css selector", f"tr[data-sighting='{first}'] a")
    )
    room.add(Specimen("normal-06.jpeg", probability=0.9, lane=Lane.STAT))
    with room.database.write() as session:
        from shared.database import Sighting

        leases.take(session, first, str(session.get_one(Sighting, first).sha256), "Dr D", datetime.now(UTC))
    room.driver.execute_script("window.refreshList()")
    wait_for(
        room.driver, lambda driver: driver.find_element("id", "news").is_displayed(), "the new one is not announced"
    )
    assert room.driver.execute_script(order) == before
    assert "Dr D is reading this" in room.text(f"tr[data-sighting='{first}']")
    assert room.driver.execute_script("return document.activeElement.closest('tr').dataset.sighting") == str(first)


SCREENS = ("/worklist", "/read/next", "/batch", "/overview")


@pytest.mark.parametrize("address", SCREENS)
def test_each_screen_is_usable_by_everyone(room: Room, address: str) -> None:
    room.add(Specimen("normal-07.png", probability=0.9))
    room.driver.get(room.server.url + address)
    if address == "/read/next":
        wait_for(room.driver, lambda _: room.data().get("ready"), "no picture")
    assert axe_violations(room.driver) == []


@pytest.mark.parametrize(("width", "height", "scale"), [(1280, 800, 1), (820, 1180, 1), (1280, 800, 2)])
def test_the_pages_fit_a_small_screen_a_tablet_and_twice_the_size(
    room: Room, width: int, height: int, scale: int
) -> None:
    room.add(Specimen("normal-08.jpeg", probability=0.9))
    metrics = {"width": width // scale, "height": height // scale, "deviceScaleFactor": scale, "mobile": False}
    room.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        for address in SCREENS:
            room.driver.get(room.server.url + address)
            overflow = room.driver.execute_script(
                "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )
            assert overflow <= 0, f"{address} is {overflow} pixels too wide"
    finally:
        room.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_senior_decides_between_two_words_without_names(room: Room) -> None:
    number = room.add(Specimen(DX, probability=0.95))[0]
    for name, label in ("Dr E", "NORMAL"), ("Dr F", "PNEUMONIA"):
        client = room.server.logged_in(name)
        page = client.get(f"/read/{number}/panel").json()
        said = {"label": label, "submission": f"{name}-{number}-word", "prediction": page["prediction"]}
        assert client.post(f"/read/{number}/word", data=said).status_code == 200
    add_account(room.database, "Dr S", Role.SENIOR)
    panel = room.server.logged_in("Dr S").get(f"/read/{number}/panel").json()["panel"]
    assert "Your word decides" in panel and "Dr E" not in panel and "Dr F" not in panel and 'id="answer"' not in panel
    assert panel.count("A reader: <strong>") == 2
