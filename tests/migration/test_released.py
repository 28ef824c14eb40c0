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

from shared.database import Database, connect
from shared.database.connection import _alembic

REVISIONS = sorted(script.revision for script in ScriptDirectory.from_config(_alembic()).walk_revisions())
RELEASED = REVISIONS[:-1]
ROWS = 3
KILLS = int(os.environ.get("FAULT_STRIKES", "3"))
SEED = int(os.environ.get("FAULT_SEED", "1"))
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
    if database.engine.dialect.name == "postgresql":
        with database.write() as session:
            session.execute(text("DROP SCHEMA public CASCADE"))
            session.execute(text("CREATE SCHEMA public"))
    else:
        database.close()
        Path(database.engine.url.database or "").unlink()
    return database


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
    found = {}
    with database.engine.connect() as connection:
        for table, names in columns.items():
            listed = ", ".join(f'"{name}"' for name in names)
            rows = connection.execute(text(f'SELECT {listed} FROM "{table}" ORDER BY {listed}'))
            found[table] = [dict(row) for row in rows.mappings()]
    return found


def check(database: Database, before: Rows) -> None:
    """Every row is as it was, and the views show them."""
    database.check()
    assert all(len(rows) == ROWS for rows in before.values())
    assert rows_of(database, {table: list(rows[0]) for table, rows in before.items()}) == before
    kept = [row for row in before["sightings"] if row["state"] != "superseded"]
    columns = "path, state, label, probability, model_version, reviewed_label"
    with database.read() as session:
        shown = session.execute(text(f"SELECT {columns} FROM results ORDER BY path")).all()
        assert [tuple(row) for row in shown] == [
            (row["path"], row["state"], f"label-{n}", n / 8, f"version-{n}", f"label-{n}")
            for row in kept
            for n in [row["id"]]
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
def test_a_migration_killed_in_the_middle_is_finished_by_the_next_start(
    old: Database, tmp_path: Path, revision: str
) -> None:
    before = make(old, revision)
    old.close()
    statements = count_statements(revision, tmp_path / "counted.db")
    moments = random.Random(f"{SEED} {revision}").sample(range(3, statements), min(KILLS, statements - 3))
    for moment in sorted(moments):
        url = old.engine.url.render_as_string(hide_password=False)
        process = subprocess.run([sys.executable, "-c", MIGRATE, url, str(moment)], cwd=TOP, timeout=120)
        assert process.returncode == -signal.SIGKILL, f"it was over before statement {moment}"
    old.upgrade()
    check(old, before)


def count_statements(revision: str, file: Path) -> int:
    """How many statements the migration from a revision takes, on SQLite."""
    counted, statements = connect(f"sqlite:///{file}"), 0
    make(counted, revision)

    @event.listens_for(counted.engine, "before_cursor_execute")
    def count(*_: object) -> None:
        nonlocal statements
        statements += 1

    counted.upgrade()
    counted.close()
    return statements
