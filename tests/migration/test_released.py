"""Every schema that was ever released, with rows in each of its tables, is brought up to date, also after a kill."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import Column, Connection, MetaData, Table, event, inspect, text, types

from shared.base.errors import WorkFailed
from shared.base.found import Found
from shared.database import Database, table_locks
from shared.database.connection import _alembic
from shared.ledger.register import unknown
from shared.models import published
from tests.plan import short

REVISIONS = sorted(script.revision for script in ScriptDirectory.from_config(_alembic()).walk_revisions())
RELEASED = REVISIONS[:-1]
CHOSEN = {"0001", "0005", REVISIONS[-2], REVISIONS[-1]}
"""The first, the one after which rows of every table were written anew, and the newest two."""
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
    if column.name == "withdrawn_at":  # a word that was taken back is not shown
        return None
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
    """The rows as the newest schema has them: what 0004 to 0006 renamed, moved and filled in."""
    rows = {table: [dict(row) for row in found] for table, found in before.items()}
    for sighting in rows["sightings"]:
        if "root" in sighting:
            sighting["source"] = sighting.pop("root")
            sighting["revision"] = f"{sighting['size']}:0"  # the second of a few nanoseconds after 1970
            del sighting["mtime_ns"], sighting["inode"]
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


KINDS = {  # revisions of schema 0005, and what they become
    "10:1700000000123456789:77": "10:1700000000",
    "10:1700000000000000000:-5": "10:1700000000",
    "10:0:1": "10:0",
    "10:-1:1": "10:-1",
    "10:-1000000000:1": "10:-1",
    "10:-1000000001:1": "10:-2",
    f"10:{10_000_000_000_999_999_999 - 2**64}:1": "10:10000000000",  # the year 2286
    "10:9223372036854775807:1": "10:9223372036",
    "": "",
    "an-etag": "an-etag",
    "a:b:c": "a:b:c",
}


def test_revisions_of_every_kind_become_size_and_second_and_nothing_of_them_is_screened_again(old: Database) -> None:
    make(old, "0005")
    columns = "id, source, path, size, revision, state, seen_at, lane"
    with old.write() as session:
        for number, revision in enumerate(KINDS):
            for state, place in (("done", 100), ("waiting", 200), ("quarantined", 300)):
                session.execute(
                    text(f"INSERT INTO sightings ({columns}) VALUES (:id, 'ward', :path, 10, :r, :s, :now, 'stat')"),
                    {"id": place + number, "path": f"{state}/{number}", "r": revision, "s": state, "now": DAY},
                )
    old.upgrade()
    with old.read() as session:
        rows = session.execute(text("SELECT id, revision, hint, hint_host, checks FROM sightings WHERE id >= 100"))
        found = {row[0]: row[1:] for row in rows}
        expected = [(revision, None, None, 0) for revision in KINDS.values()]
        assert [found[place + n] for place in (100, 200, 300) for n in range(len(KINDS))] == expected * 3
        seen = [Found(f"done/{n}", revision, 10, "0:1:1") for n, revision in enumerate(KINDS.values())]
        assert unknown(session, "ward", seen) == []


def test_of_several_states_of_a_file_that_wait_and_are_one_now_the_newest_is_screened(old: Database) -> None:
    make(old, "0005")
    with old.write() as session:
        session.execute(text("DELETE FROM jobs"))
        for id, path, revision in (
            (101, "a", "10:1000000000:1"),
            (102, "a", "10:1000000000:2"),
            (103, "a", "10:1999999999:1"),
            (104, "a", "10:2000000000:1"),
            (105, "b", "10:1000000000:1"),
        ):
            columns = "id, source, path, size, revision, state, seen_at"
            values = {"id": id, "path": path, "r": revision, "now": DAY}
            session.execute(
                text(f"INSERT INTO sightings ({columns}) VALUES (:id, 'ward', :path, 10, :r, 'waiting', :now)"), values
            )
            columns = "id, sighting_id, lane, state, attempt, deaths, created_at, lease_until"
            state = "claimed" if id % 2 else "unsent"
            session.execute(
                text(f"INSERT INTO jobs ({columns}) VALUES (:id, :id, 'routine', :s, 1, 0, :now, :now)"),
                values | {"s": state},
            )
    old.upgrade()
    with old.read() as session:
        rows = session.execute(
            text(
                "SELECT s.id, s.state, j.state FROM sightings s JOIN jobs j ON j.sighting_id = s.id "
                "WHERE s.id > 100 ORDER BY s.id"
            )
        )
        assert [tuple(row) for row in rows] == [
            (101, "superseded", "finished"),
            (102, "superseded", "finished"),
            (103, "waiting", "claimed"),
            (104, "waiting", "unsent"),
            (105, "waiting", "claimed"),
        ]


def test_there_is_a_release_to_migrate_from() -> None:
    assert "0001" in RELEASED


@pytest.mark.parametrize("revision", REVISIONS)
def test_every_released_database_migrates_forward_with_its_rows(old: Database, revision: str) -> None:
    before = make(old, revision)
    old.upgrade()
    check(old, before)
    old.upgrade()
    check(old, before)


@pytest.mark.parametrize("revision", short(CHOSEN, RELEASED))
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


WRITES = {  # what workers and producers write, in their order
    "worker": ("UPDATE jobs SET tries = 1", "UPDATE sightings SET reason = 'x'"),
    "producer": ("UPDATE sightings SET reason = 'x'", "UPDATE jobs SET tries = 1"),
}


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
@pytest.mark.parametrize("who", WRITES)
def test_a_migration_and_those_who_still_work_with_the_database_do_not_hold_up_each_other(
    old: Database, who: str
) -> None:
    make(old, "0006")
    migration = threading.Thread(target=old.upgrade)
    with old.write() as session:
        first, second = WRITES[who]
        session.execute(text(first))
        migration.start()
        time.sleep(0.3)
        session.execute(text(second))
    migration.join(30.0)
    old.check()


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_migration_gives_up_where_others_do_not_leave_the_tables(
    old: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_locks, "TAKE_SECONDS", 0.1)
    monkeypatch.setattr(table_locks, "TRY_SECONDS", 0.1)
    make(old, "0006")
    with old.write() as session:
        session.execute(text("UPDATE sightings SET reason = 'x'"))
        with pytest.raises(WorkFailed, match="nothing was changed: other programs work with its tables"):
            old.upgrade()
    old.upgrade()
    old.check()


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


def test_what_was_rolled_back_before_the_upgrade_counts_no_more_unless_it_was_promoted_again(old: Database) -> None:
    make(old, "0006")
    deeds = (
        ("a", "promote", "the first"),
        ("b", "promote", "better"),
        ("a", "rollback", "too many missed"),
        ("c", "promote", "better"),
        ("a", "rollback", "worse"),
        ("c", "promote", "after all"),
    )
    with old.write() as session:
        for name in "abc":
            values = {"version": name, "digest": name * 64, "now": DAY}
            session.execute(
                text(
                    "INSERT INTO model_versions (version, manifest_sha256, created_at) VALUES (:version, :digest, :now)"
                ),
                values,
            )
        for number, (version, action, reason) in enumerate(deeds):
            values = {
                "version": version,
                "action": action,
                "reason": reason,
                "now": DAY + timedelta(days=number),
                "id": 100 + number,
            }
            values["detail"] = f"{version}: {reason}"
            session.execute(
                text(
                    "INSERT INTO promotions (id, version, promoted_by, promoted_at, reason) "
                    "VALUES (:id, :version, 'Ada', :now, :reason)"
                ),
                values,
            )
            session.execute(
                text(
                    "INSERT INTO audit_log (id, at, actor, action, detail) VALUES (:id, :now, 'Ada', :action, :detail)"
                ),
                values,
            )
    old.upgrade()
    with old.read() as session:
        assert published.rolled_back(session) == {"b": "too many missed"}
        assert [row.version for row in published.live(session)][:2] == ["c", "a"]
        assert published.newest_promotion(session) == "c"


def test_what_was_screened_before_the_upgrade_is_on_the_list_of_what_to_read(old: Database) -> None:
    """But for what somebody has read; of two images, the one that the model is unsure of comes first."""
    make(old, "0007")
    with old.write() as session:
        for table in ("audit_samples", "reviews"):
            session.execute(text(f"DELETE FROM {table}"))
        session.execute(
            text("UPDATE sightings SET state = 'done', sha256 = 'c' || id, prediction_id = id, lane = NULL")
        )
        session.execute(text("UPDATE screenings SET prediction_id = sighting_id, probability = 0.01, threshold = 0.5"))
        session.execute(text("UPDATE screenings SET label = 'NORMAL', unfamiliar = false"))
        session.execute(text("UPDATE screenings SET probability = 0.45 WHERE sighting_id = 2"))
        session.execute(
            text("INSERT INTO reviews (sha256, label, reviewer, created_at) VALUES ('c1', 'NORMAL', 'Ada', :now)"),
            {"now": DAY},
        )
    old.upgrade()
    with old.read() as session:
        query = "SELECT sighting_id, waits_for, need, lane, readers FROM reading_list ORDER BY sighting_id LIMIT 3"
        rows = [tuple(row) for row in session.execute(text(query))]
    assert rows[:2] == [(1, None, 4, "routine", 1), (2, "first", 2, "routine", 0)]
