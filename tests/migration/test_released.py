"""Every schema that was ever released, with rows in each of its tables, is brought up to date, also after a kill."""

import os
import random
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import Column, Connection, MetaData, Table, event, inspect, text, types

from shared.database import Database
from shared.database.connection import _alembic

REVISIONS = sorted(script.revision for script in ScriptDirectory.from_config(_alembic()).walk_revisions())
RELEASED = REVISIONS[:-1]
ROWS = 3
KILLS = int(os.environ.get("FAULT_STRIKES", "3"))
SEED = int(os.environ.get("FAULT_SEED", "1"))
LABELS = ("NORMAL", "PNEUMONIA")
DAY = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
MIGRATE = """
import os, signal, sys
from sqlalchemy import event
from shared.database import connect

database, left = connect(sys.argv[1]), int(sys.argv[2])

@event.listens_for(database.engine, "before_cursor_execute")
def count(*_):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)

database.upgrade()
"""
TOP = Path(__file__).parents[2]
Rows = dict[str, list[dict[str, Any]]]


@pytest.fixture
def old(database: Database) -> Database:
    """A database without any table."""
    empty(database)
    return database


def empty(database: Database) -> None:
    if database.engine.dialect.name == "postgresql":
        with database.write() as session:
            session.execute(text("DROP SCHEMA public CASCADE"))
            session.execute(text("CREATE SCHEMA public"))
    database.close()
    if database.engine.dialect.name == "sqlite":
        for suffix in ("", "-wal", "-shm"):
            Path(f"{database.engine.url.database}{suffix}").unlink(missing_ok=True)


def make(database: Database, revision: str) -> Rows:
    """Bring a database to a revision and put rows into every table that it has then; returns them."""
    with database._writing.connect() as connection:
        config = _alembic()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        connection.commit()
    with database._writing.begin() as connection:
        tables = reflected(connection)
        for table in tables:
            allowed = choices(connection, table.name)
            for number in range(1, ROWS + 1):
                connection.execute(table.insert().values({c.name: value(c, number, allowed) for c in table.columns}))
    return rows_of(database, {table.name: [column.name for column in table.columns] for table in tables})


def reflected(connection: Connection) -> list[Table]:
    """The tables, those first that others refer to."""
    found = MetaData()
    found.reflect(connection, views=False)
    return [table for table in found.sorted_tables if table.name != "alembic_version"]


def choices(connection: Connection, table: str) -> dict[str, list[str]]:
    """By column: the values that a check of the form `column IN (...)` allows, as SQLite and PostgreSQL tell it."""
    return {
        check["name"].removeprefix(f"ck_{table}_"): str(check["sqltext"]).split("'")[1::2]
        for check in inspect(connection).get_check_constraints(table)
        if check["name"]
    }


def value(column: Column[Any], number: int, allowed: dict[str, list[str]]) -> Any:
    """The same for columns of one name, so that rows of several tables belong together."""
    if column.name == "label":  # a review's and a prediction's: no check of the database restricts it
        return LABELS[number % len(LABELS)]
    if column.name in allowed:
        return allowed[column.name][number % len(allowed[column.name])]
    match column.type:
        case types.Integer():
            return number
        case types.Float() | types.Numeric():
            return number / 8
        case types.Boolean():
            return number % 2 == 0
        case types.DateTime():
            return DAY if column.type.timezone else DAY.replace(tzinfo=None)
        case types.LargeBinary():
            return bytes([0xFF, number])
        case types.String():
            return f"{'version' if 'version' in column.name else column.name}-{number}"[: column.type.length]
        case other:
            raise NotImplementedError(f"no rows of the type {other!r} are made yet")


def rows_of(database: Database, columns: dict[str, list[str]]) -> Rows:
    """In the order in which they were inserted: each table's first column counts up."""
    rows = {}
    with database.engine.connect() as connection:
        for table, names in columns.items():
            listed = ", ".join(f'"{name}"' for name in names)
            key = inspect(connection).get_pk_constraint(table)["constrained_columns"][0]
            result = connection.execute(text(f'SELECT {listed} FROM "{table}" ORDER BY "{key}"'))
            rows[table] = [dict(row) for row in result.mappings()]
    return rows


def carried_forward(before: Rows) -> Rows:
    """The rows as the newest schema has them: what 0004 and 0005 renamed, moved and filled in."""
    rows = {table: [dict(row) for row in found] for table, found in before.items()}
    for sighting in rows["sightings"]:
        if "root" in sighting:
            sighting["source"] = sighting.pop("root")
            sighting["revision"] = f"{sighting['size']}:{sighting.pop('mtime_ns')}:{sighting.pop('inode')}"
            lanes = [job["lane"] for job in before["jobs"] if job["sighting_id"] == sighting["id"]]
            sighting["lane"] = next((lane for lane in lanes if lane in ("stat", "routine", "background")), None)
            sighting["resolution"] = None
    for job in rows["jobs"]:
        if "delivery" in job:
            job["attempt"] = job.pop("delivery")
        job.setdefault("if_differs", False)
    if "screenings" not in rows:
        rows["screenings"] = []
        for prediction in rows["predictions"]:
            said = {name: prediction.pop(name) for name in ("probability", "threshold", "label", "unfamiliar")}
            key = {"sighting_id": prediction["id"], "prediction_id": prediction["id"]}
            rows["screenings"].append({**key, **said, "created_at": prediction["created_at"]})
            prediction |= {"decoder_revision": 0, "decoded_with": None, "logit": None}
    for review in rows["reviews"]:
        if "sighting_id" not in review:
            review["sighting_id"] = next(s["id"] for s in before["sightings"] if s["sha256"] == review["sha256"])
    return rows


def check(database: Database, before: Rows) -> None:
    """Every row is carried forward, and the views show them."""
    database.check()
    assert all(len(rows) == ROWS for rows in before.values())
    expected = carried_forward(before)
    assert rows_of(database, {table: list(rows[0]) for table, rows in expected.items()}) == expected
    results = [row for row in before["sightings"] if row["state"] != "superseded"]
    columns = "path, state, label, probability, model_version, reviewed_label, reviewed_word"
    with database.read() as session:
        shown = session.execute(text(f"SELECT {columns} FROM results ORDER BY path")).all()
        assert [tuple(row) for row in shown] == [
            (row["path"], row["state"], label, n / 8, f"version-{n}", label, label)
            for row in results
            for n, label in [(row["id"], LABELS[row["id"] % len(LABELS)])]
        ]
        assert session.scalar(text("SELECT count(*) FROM results_history")) == ROWS
        states = dict(session.execute(text("SELECT state, count(*) FROM model_versions GROUP BY state")).all())
    if "state" not in before["model_versions"][0]:
        assert states == {"published": ROWS}, "what was published before anything was judged stays so"


def test_there_is_a_release_to_migrate_from() -> None:
    assert "0001" in RELEASED


@pytest.mark.parametrize("revision", REVISIONS)
def test_every_released_database_migrates_forward_with_its_rows(old: Database, revision: str) -> None:
    before = make(old, revision)
    old.upgrade()
    check(old, before)
    old.upgrade()
    check(old, before)


@pytest.mark.parametrize("revision", RELEASED)
def test_a_migration_killed_in_the_middle_is_finished_by_the_next_start(old: Database, revision: str) -> None:
    make(old, revision)
    statements = count_statements(old)
    empty(old)
    before = make(old, revision)
    old.close()
    url = old.engine.url.render_as_string(hide_password=False)
    moments = random.Random(f"{SEED} {revision}").sample(range(3, statements), min(KILLS, statements - 3))
    for moment in sorted(moments):
        process = subprocess.run([sys.executable, "-c", MIGRATE, url, str(moment)], cwd=TOP, timeout=120)
        assert process.returncode == -signal.SIGKILL, f"it was over before statement {moment} of {statements}"
    old.upgrade()
    check(old, before)


def count_statements(database: Database) -> int:
    """Migrate it, and return how many statements that took, up to the commit."""
    statements, until_commit = 0, 0

    def count(*_: object) -> None:
        nonlocal statements
        statements += 1

    def note(_: object) -> None:
        nonlocal until_commit
        until_commit = until_commit or statements

    event.listen(database.engine, "before_cursor_execute", count)
    event.listen(database.engine, "commit", note)
    try:
        database.upgrade()
    finally:
        event.remove(database.engine, "before_cursor_execute", count)
        event.remove(database.engine, "commit", note)
    return until_commit


def test_an_image_whose_file_was_removed_before_it_was_read_needs_nobody_after_the_upgrade(old: Database) -> None:
    make(old, "0003")
    reasons = {1: "the file was removed before it was read", 2: "blank"}
    with old.write() as session:
        for number, reason in reasons.items():
            session.execute(
                text("UPDATE sightings SET state = 'quarantined', reason = :reason WHERE id = :id"),
                {"reason": reason, "id": number},
            )
    old.upgrade()
    with old.read() as session:
        resolutions = dict(session.execute(text("SELECT id, resolution FROM sightings WHERE id < 3")).all())
    assert resolutions == {1: "removed", 2: None}
