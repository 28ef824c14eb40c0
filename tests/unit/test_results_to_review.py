"""`results --to-review`: what a reader should see first."""

import csv
import io
import json
from pathlib import Path

import pytest

from cli.results import results
from queries.results import Filters
from shared.base.errors import InvalidRequest
from shared.base.lanes import Lane
from shared.base.settings import load
from shared.base.source_settings import Reading, ReadingRule
from shared.database import Database
from shared.database import Review as ReviewRow
from shared.ledger import reading_list, work
from shared.ledger.work import Identifiers, Outcome, Quarantined, Screened
from tests.unit.steps import NOW, claim, drop, file, in_hand, send_all

THRESHOLD = 0.4
IMAGES = {  # name: probability, unfamiliar, outside the population; in the order in which a reader should see them
    "odd adult": (0.01, True, True),
    "odd positive": (0.95, True, False),
    "odd": (0.02, True, None),
    "near adult": (0.33, None, True),
    "nearest negative": (0.39, None, False),
    "near positive": (0.42, False, False),
    "near negative": (0.31, False, None),
    "adult": (0.6, False, True),
    "sure": (0.99, False, False),
    "likely": (0.7, None, None),
    "clear adult": (0.001, False, True),
    "clear": (0.2, False, False),
    "clearest": (0.003, None, None),
}
WHY = ["unfamiliar"] * 3 + ["near the threshold"] * 4 + ["positive"] * 3 + ["negative"] * 3


@pytest.fixture
def filled(database: Database) -> Database:
    """The images above, registered the other way round, and some that nobody needs to see."""
    for number, (name, (probability, unfamiliar, outside)) in enumerate(reversed(IMAGES.items())):
        (claimed,) = in_hand(database, name)
        label = "PNEUMONIA" if probability >= THRESHOLD else "NORMAL"
        values = (f"{number:064x}", "v1", probability, THRESHOLD, label, outside)
        finish(database, Screened(claimed, *values, unfamiliar=unfamiliar))
    seen, bad = in_hand(database, "seen", "bad")
    finish(database, Screened(seen, "e" * 64, "v1", 0.9, THRESHOLD, "PNEUMONIA"), Quarantined(bad, "blank", "f" * 64))
    with database.write() as session:
        session.add(ReviewRow(sha256="e" * 64, label="NORMAL", reviewer="Dr. Okafor", created_at=NOW))
        reading_list.refresh(session, {"e" * 64})
    drop(database, "waiting")
    return database


def listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], format: str, filters: Filters, limit: int | None = None
) -> str:
    results(load(tmp_path, reading="assisted"), filters, limit, format)
    return capsys.readouterr().out


ALL = Filters(to_review=True)
ASSISTED = ReadingRule(Reading.ASSISTED, 0.0)


def finish(database: Database, *outcomes: Outcome) -> None:
    """As in a source that shows the model's answer: its list has the finest order."""
    with database.write() as session:
        work.finish(session, outcomes, NOW, None, lambda _: ASSISTED)


def test_the_most_urgent_come_first_and_say_why(
    filled: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = json.loads(listed(tmp_path, capsys, "json", ALL))
    assert [row["path"] for row in rows] == list(IMAGES)
    assert [row["why"] for row in rows] == WHY


def test_a_list_for_a_spreadsheet_says_why_too(
    filled: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = list(csv.DictReader(io.StringIO(listed(tmp_path, capsys, "csv", ALL))))
    assert [row["why"] for row in rows] == WHY
    assert {"path", "sighting_id", "sha256", "reviewed_label"} <= set(rows[0])


def test_the_table_says_why_and_names_the_image_by_its_number(
    filled: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head, *_ = (line for line in listed(tmp_path, capsys, "table", ALL).splitlines() if "why" in line)
    assert head.split("┃")[1].strip() == "why"
    assert "sighting_id" in head


def test_parquet_says_why_too(filled: Database, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    results(load(tmp_path, reading="assisted"), ALL, format="parquet")
    table = parquet.read_table(io.BytesIO(capfdbinary.readouterr().out))
    assert table.column("why").to_pylist() == WHY


def test_the_list_can_be_filtered_and_cut(filled: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads(listed(tmp_path, capsys, "json", Filters(to_review=True, label="NORMAL"), 4))
    assert [row["path"] for row in rows] == ["odd adult", "odd", "near adult", "nearest negative"]
    assert json.loads(listed(tmp_path, capsys, "json", Filters(to_review=True, state="waiting"))) == []


def test_urgent_images_come_before_all_others_and_among_them_the_order_is_the_same(
    database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The clear negative of an urgent patient waits for a person; the routine one that is unfamiliar does not."""
    for number, (name, probability, unfamiliar) in enumerate(
        [("odd", 0.9, True), ("clear", 0.01, False), ("positive", 0.9, False)]
    ):
        for lane in Lane.ROUTINE, Lane.STAT:
            drop(database, file(f"{name} {lane}", second=number), lane=lane)
            (claimed,) = claim(database, send_all(database, lane))
            label = "PNEUMONIA" if probability >= THRESHOLD else "NORMAL"
            digest = f"{number * 2 + (lane is Lane.STAT):064x}"
            finish(
                database, Screened(claimed, digest, "v1", probability, THRESHOLD, label, False, unfamiliar=unfamiliar)
            )
    rows = json.loads(listed(tmp_path, capsys, "json", ALL))
    order = ["odd", "positive", "clear"]
    assert [row["path"] for row in rows] == [f"{name} stat" for name in order] + [f"{name} routine" for name in order]


@pytest.mark.parametrize("word", ["UNCLEAR", "NORMAL", "NOT_READABLE"])
def test_an_image_with_any_word_is_off_the_list(
    filled: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str], word: str
) -> None:
    rows = json.loads(listed(tmp_path, capsys, "json", ALL))
    with filled.write() as session:
        first = rows[0]
        session.add(
            ReviewRow(
                sha256=first["sha256"], sighting_id=first["sighting_id"], label=word, reviewer="me", created_at=NOW
            )
        )
        reading_list.refresh(session, {first["sha256"]})
    assert json.loads(listed(tmp_path, capsys, "json", ALL)) == rows[1:]


def test_the_table_shows_when_an_image_came_by_which_lane_and_for_which_order(
    database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (claimed,) = in_hand(database, "a.dcm")
    pacs = Identifiers("1.2.3", "1.2.3.4", "A-1", None)
    finish(database, Screened(claimed, "1" * 64, "v1", 0.9, 0.5, "PNEUMONIA", False, pacs))
    out = listed(tmp_path, capsys, "table", ALL)
    (row,) = (line for line in out.splitlines() if "a.dcm" in line)
    assert {"routine", "2026-05-04 12:00", "A-1"} <= {cell.strip() for cell in row.split("│")}


def test_the_list_for_readers_does_not_go_with_the_history(tmp_path: Path, database: Database) -> None:
    with pytest.raises(InvalidRequest, match="--history"):
        results(load(tmp_path), Filters(to_review=True, history=True), format="csv")


def test_copies_of_one_content_are_listed_once_by_the_most_pressing_or_the_newest(
    database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As after a folder was renamed: a word on one is on all."""
    for path, lane, content in (
        ("old/a.png", Lane.ROUTINE, "a"),
        ("old/b.png", Lane.STAT, "b"),
        ("new/a.png", Lane.ROUTINE, "a"),
        ("new/b.png", Lane.ROUTINE, "b"),
    ):
        drop(database, file(path), lane=lane)
        (claimed,) = claim(database, send_all(database, lane))
        finish(database, Screened(claimed, content * 64, "v1", 0.9, THRESHOLD, "PNEUMONIA"))
    rows = json.loads(listed(tmp_path, capsys, "json", ALL))
    assert [row["path"] for row in rows] == ["old/b.png", "new/a.png"]
    assert [row["path"] for row in json.loads(listed(tmp_path, capsys, "json", ALL, 1))] == ["old/b.png"]
    rows = json.loads(listed(tmp_path, capsys, "json", Filters(to_review=True, path="new")))
    assert [row["path"] for row in rows] == ["new/a.png", "new/b.png"]
