"""The reading room beside a million open images: a page of the list, and many readers at once, who lose no word."""

import statistics
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import func, select, text

from actions import leases, reading
from bench import growth, servers
from queries import reading as query
from queries import upcoming, worklist_page, worklist_rows
from queries.reading import ReadingImage
from queries.worklist_page import Filters, Viewer
from shared import database
from shared.base.settings import Settings
from shared.database import Database, Review, ReviewLabel

ROWS, READERS, WORDS = 1_000_000, 20, 1000
FILL = """INSERT INTO reading_list
    (sighting_id, sha256, source, lane, seen_at, need, place, readers_wanted, waits_for, readers)
    SELECT id, sha256, source, CASE WHEN id % 100 = 0 THEN 'stat' ELSE 'routine' END, seen_at,
    CASE WHEN id % 10 = 0 THEN 2 ELSE 4 END, 0.1767 - id / 1e9, 1, 'first', 0 FROM sightings
    WHERE source = 'earlier'"""


def measure(files: Path, work: Path, server: str | None = None) -> dict[str, float]:
    """Milliseconds (medians) for a page of the list and for a word, and how many words were lost or doubled."""
    with ExitStack() as stack:
        work.mkdir(parents=True, exist_ok=True)
        url = f"sqlite:///{work / 'reading.db'}"
        if server is not None:
            url = servers.started(stack, server).database_url
        growth.fill(url, ROWS)
        opened = database.connect(url)
        stack.callback(opened.close)
        with opened.write() as session:
            session.execute(text(FILL))
        if server is not None:
            with opened.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.exec_driver_sql("VACUUM ANALYZE reading_list")
        settings = Settings(home=work, second_reading_share=0.0)
        return {**_pages(opened, settings), **_readers(opened, settings)}


def _timed(rounds: int, action: Callable[[int], object]) -> float:
    spans = []
    for number in range(rounds):
        began = time.perf_counter()
        action(number)
        spans.append(time.perf_counter() - began)
    return 1000 * statistics.median(spans)


def _pages(opened: Database, settings: Settings) -> dict[str, float]:
    """Each of the first pages, one behind the other, with everything that a row shows; and the line above the list."""
    viewer, last = Viewer("reader"), [0]

    def turn(number: int) -> None:
        with opened.read() as session:
            now = datetime.now(UTC)
            after = last[0] if number else None
            part = worklist_page.page(session, settings, Filters(), viewer, now, after=after)
            worklist_rows.rows(session, settings, part.sightings, viewer, now)
            last[0] = part.sightings[-1]

    def count(_number: int) -> None:
        with opened.read() as session:
            worklist_rows.summary(session, viewer, datetime.now(UTC))

    return {"ms_per_page": _timed(50, turn), "ms_for_the_counts": _timed(20, count)}


def _readers(opened: Database, settings: Settings) -> dict[str, float]:
    """Each reader takes the next free image, says a word, and sends it twice, as a page does that lost the answer."""
    left, lock, spans, failures = [WORDS], threading.Lock(), list[float](), list[BaseException]()

    def take_turn() -> bool:
        with lock:
            left[0] -= 1
            return left[0] >= 0

    def read(name: str) -> None:
        viewer = Viewer(name)
        try:
            while take_turn():
                began = time.perf_counter()
                _say(opened, settings, viewer)
                spans.append(time.perf_counter() - began)
        except BaseException as error:  # noqa: BLE001 - told at the end, by the thread that measures
            failures.append(error)

    threads = [threading.Thread(target=read, args=(f"reader {number}",)) for number in range(READERS)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - began
    if failures:
        raise failures[0]
    with opened.read() as session:
        rows = session.scalar(select(func.count()).select_from(Review)) or 0
        images = session.scalar(select(func.count(Review.sha256.distinct()))) or 0
    return {
        "ms_per_word": 1000 * statistics.median(spans),
        "words_per_second": WORDS / seconds,
        "words_lost": float(max(0, WORDS - rows)),
        "words_doubled": float(rows - images),
    }


def _say(opened: Database, settings: Settings, viewer: Viewer) -> None:
    now = datetime.now(UTC)
    image = _open(opened, settings, viewer, now)
    word = reading.Word(image.sighting, ReviewLabel.NORMAL, f"{viewer.name} {image.sighting} word", image.prediction)
    for _ in range(2):
        with opened.write() as session:
            reading.save(session, settings, word, viewer, now)


def _open(opened: Database, settings: Settings, viewer: Viewer, now: datetime) -> ReadingImage:
    """What the page asks for (`web/pages_reading.py`): the next free image, its lease, all that it shows."""
    while True:
        with opened.read() as session:
            found = upcoming.find(session, settings, Filters(), viewer, now, limit=upcoming.CANDIDATES)
        with opened.write() as session:
            number = leases.take_first(session, found, viewer.name, now)
        if number is None:  # more readers asked at once than there were candidates
            continue
        with opened.write() as session:
            leases.take(session, number, str(query.content(session, number)), viewer.name, now)
        with opened.read() as session:
            image = query.load(session, settings, number, viewer, now)
            upcoming.find(session, settings, Filters(), viewer, now, after=number)
            worklist_rows.count_today(session, viewer.name, now)
        return image
