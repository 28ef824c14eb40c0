"""What the documents say holds."""

import re
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from shared.database import Database, Review
from shared.ledger.work import Claimed, Identifiers, Quarantined, Screened
from tests.unit.steps import NOW, claim, drop, file, finish, in_hand, send_all

TOP = Path(__file__).parents[2]
PAGE = (TOP / "docs" / "results.md").read_text()
QUERIES = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def filled(database: Database) -> Database:
    """Some of each: positive and negative, right and wrong by their reviewers, quarantined, waiting, from a PACS."""
    hit, missed, false_alarm, unseen, again, bad = in_hand(
        database, "hit", "missed", "false-alarm", "unseen", "again", "bad"
    )
    pacs = Identifiers("1.2.3", "1.2.3.4", "A-1", "k" * 64)
    finish(
        database,
        Screened(hit, "1" * 64, "v1", 0.9, 0.5, "PNEUMONIA", False, pacs),
        Screened(missed, "2" * 64, "v1", 0.2, 0.5, "NORMAL"),
        Screened(false_alarm, "3" * 64, "v1", 0.8, 0.5, "PNEUMONIA"),
        Screened(unseen, "4" * 64, "v1", 0.7, 0.5, "PNEUMONIA", True),
        Screened(again, "5" * 64, "v1", 0.6, 0.5, "PNEUMONIA", None, Identifiers("9.9", "9.9.1", "B-2", "k" * 64)),
        Quarantined(bad, "blank", "6" * 64),
    )
    with database.write() as session:
        for content, label in (("1", "PNEUMONIA"), ("2", "PNEUMONIA"), ("3", "NORMAL")):
            session.add(Review(sha256=content * 64, label=label, reviewer="Dr. Okafor", created_at=NOW))
            session.flush()
        for label in ("PNEUMONIA", "NORMAL", "NORMAL"):  # a change of mind
            session.add(Review(sha256="3" * 64, label=label, reviewer="Dr. Weiss", created_at=NOW))
            session.flush()
        session.add(Review(sha256="2" * 64, label="NORMAL", reviewer="Dr. Weiss", created_at=NOW))
        session.flush()
        session.add(Review(sha256="2" * 64, label="PNEUMONIA", reviewer="Dr. Okafor", note="sure", created_at=NOW))
    drop(database, "waiting")
    return database


def answer(database: Database, beginning: str) -> list[dict[str, Any]]:
    """What the query under a sentence of the page gives."""
    query = PAGE.split(beginning, 1)[1].split("```sql\n", 1)[1].split("```", 1)[0]
    with database.read() as session:
        return [dict(row._mapping) for row in session.execute(text(query))]


def test_there_are_ten_queries_and_more() -> None:
    assert len(QUERIES) >= 10


@pytest.mark.parametrize("query", QUERIES)
def test_every_query_of_the_documents_runs(filled: Database, query: str) -> None:
    with filled.read() as session:
        session.execute(text(query)).all()


def test_positives_to_review_are_those_that_nobody_has_seen(filled: Database) -> None:
    assert [row["path"] for row in answer(filled, "Positives to review first")] == ["unseen", "again"]


def test_counts_by_day_and_ward(filled: Database) -> None:
    ((row),) = answer(filled, "Counts by day and ward")
    assert row == {"day": str(NOW.date()), "ward": "ward", "images": 6, "positive": 4, "quarantined": 1}


def test_agreement_with_reviewers(filled: Database) -> None:
    cells = {(row["reviewed_label"], row["label"]): row["images"] for row in answer(filled, "Agreement with reviewers")}
    assert cells == {("NORMAL", "PNEUMONIA"): 1, ("PNEUMONIA", "NORMAL"): 1, ("PNEUMONIA", "PNEUMONIA"): 1}


def test_recall_and_specificity_as_reviewers_see_them(filled: Database) -> None:
    (row,) = answer(filled, "Recall and specificity of each version")
    assert (float(row["recall"]), float(row["specificity"]), row["reviewed"]) == (0.5, 0.0, 3)


def test_missed_pneumonias(filled: Database) -> None:
    assert [row["path"] for row in answer(filled, "Missed pneumonias")] == ["missed"]


def test_a_study_and_a_patient_over_time(filled: Database) -> None:
    assert [row["path"] for row in answer(filled, "A study's images")] == ["hit"]
    assert {row["path"] for row in answer(filled, "One patient's images")} == {"hit", "again"}


def test_what_the_model_was_not_made_for(filled: Database) -> None:
    assert [row["path"] for row in answer(filled, "What the model was not made for")] == ["unseen"]


def test_where_the_model_is_least_sure(filled: Database) -> None:
    assert [row["path"] for row in answer(filled, "Where the model is least sure")] == ["again", "unseen"]


def test_what_was_not_screened_and_what_waits(filled: Database) -> None:
    assert answer(filled, "What was not screened and") == [{"reason": "blank", "images": 1}]
    assert [row["path"] for row in answer(filled, "What waits longest")] == ["waiting"]


def test_copies_are_found_and_count_once_for_a_version(filled: Database) -> None:
    before = answer(filled, "How versions differ"), answer(filled, "Recall and specificity")
    (copy,) = in_hand_of_copies(filled)
    finish(filled, Screened(copy, "2" * 64, "v1", 0.2, 0.5, "NORMAL"))
    assert answer(filled, "Files with the same content") == [{"sha256": "2" * 64, "files": 2}]
    assert (answer(filled, "How versions differ"), answer(filled, "Recall and specificity")) == before
    assert before[0][0]["images"] == 5


def in_hand_of_copies(database: Database) -> list[Claimed]:
    drop(database, file("copy", second=77))
    return [claimed for claimed in claim(database, send_all(database)) if claimed.path == "copy"]


def test_how_often_each_reviewer_agrees(filled: Database) -> None:
    found = {row["reviewer"]: row for row in answer(filled, "How often each reviewer agrees")}
    counts = {name: (row["reviewed"], row["agreed"], row["missed_by_model"]) for name, row in found.items()}
    assert counts == {"Dr. Okafor": (3, 1, 1), "Dr. Weiss": (2, 1, 0)}
    assert [row["sha256"] for row in answer(filled, "What reviewers disagree about")] == ["2" * 64]


def test_every_column_of_the_view_is_explained(database: Database) -> None:
    explained = set(re.findall(r"`(\w+)`", PAGE))
    with database.read() as session:
        for view in ("results", "results_history"):
            assert set(session.execute(text(f"SELECT * FROM {view}")).keys()) <= explained


README = (TOP / "README.md").read_text()


def test_the_readme_names_the_transfer_syntaxes_that_are_read() -> None:
    from shared.imaging.dicom_file import SYNTAXES

    assert sorted(re.findall(r"1\.2\.840\.10008\.1\.2(?:\.\d+)*", README)) == sorted(SYNTAXES)


def test_every_reason_of_the_readme_is_one_that_the_decoders_give() -> None:
    table = README.split("| reason in the row |", 1)[1].split("\n\n", 1)[0]
    reasons = [reason for line in table.splitlines()[2:] for reason in re.findall(r"`([^`]+)`", line.split("|")[1])]
    code = "".join(file.read_text() for file in (TOP / "shared" / "imaging").glob("*.py"))
    assert len(reasons) > 20
    for reason in reasons:
        parts = [part.strip() for part in reason.split("…") if part.strip()]
        assert re.search(r"[^\n]*".join(map(re.escape, parts)), code), reason


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{page.name}" for page in sorted((TOP / "docs").glob("*.md")))])
def test_every_command_that_is_named_exists(page: str) -> None:
    from typer.main import get_command

    from cli.main import app

    commands = set(getattr(get_command(app), "commands"))  # noqa: B009 - click's types do not say so
    named = set(re.findall(r"`(?:\.venv/bin/)?pneumoscreen ([a-z]+(?:-[a-z]+)*)", (TOP / page).read_text()))
    assert named <= commands
