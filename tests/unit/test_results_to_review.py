"""`results --to-review`: what a reader should see first."""

import csv
import io
import json
from pathlib import Path

import pytest

from cli.results import Filters, results
from shared.base.errors import WrongSettings
from shared.base.settings import load
from shared.database import Database
from shared.database import Review as ReviewRow
from shared.ledger.work import Quarantined, Screened
from tests.unit.steps import NOW, drop, finish, in_hand

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
    drop(database, "waiting")
    return database


def listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], format: str, filters: Filters, limit: int | None = None
) -> str:
    results(load(tmp_path), filters, limit, format, False)
    return capsys.readouterr().out


ALL = Filters(to_review=True)


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
    results(load(tmp_path), ALL, None, "parquet", False)
    table = parquet.read_table(io.BytesIO(capfdbinary.readouterr().out))
    assert table.column("why").to_pylist() == WHY


def test_the_list_can_be_filtered_and_cut(filled: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads(listed(tmp_path, capsys, "json", Filters(to_review=True, label="NORMAL"), 4))
    assert [row["path"] for row in rows] == ["odd adult", "odd", "near adult", "nearest negative"]
    assert json.loads(listed(tmp_path, capsys, "json", Filters(to_review=True, state="waiting"))) == []


def test_the_list_for_readers_does_not_go_with_the_history(tmp_path: Path, database: Database) -> None:
    with pytest.raises(WrongSettings, match="--history"):
        results(load(tmp_path), ALL, None, "csv", True)
