import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text
from sqlalchemy.exc import DatabaseError, IntegrityError

from shared.base.errors import ServiceUnavailable, WorkFailed, WrongSettings
from shared.database import AuditEntry, Database, connect
from shared.database.connection import SCHEMA, _alembic
from shared.database.tables import Base


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Database]:
    database = connect(f"sqlite:///{tmp_path / 'pneumoscreen.db'}")
    yield database
    database.close()


def schema(database: Database) -> list[tuple[str, str]]:
    with database.read() as session:
        rows = session.execute(text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name"))
        return [(name, sql) for name, sql in rows]


def test_migrating_an_empty_database_gives_the_schema_of_the_models(empty: Database) -> None:
    empty.upgrade()
    with empty.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, Base.metadata) == []


def described(database: Database, table: str) -> dict[str, list[str]]:
    """Everything that the database knows about a table, in an order of no meaning."""
    with database.engine.connect() as connection:
        found = inspect(connection)
        indexes = found.get_indexes(table)
        for index in indexes:
            index["dialect_options"] = {name: str(value) for name, value in index["dialect_options"].items()}
        return {
            "columns": sorted(map(str, found.get_columns(table))),
            "checks": sorted(map(str, found.get_check_constraints(table))),
            "uniques": sorted(map(str, found.get_unique_constraints(table))),
            "indexes": sorted(map(str, indexes)),
            "references": sorted(map(str, found.get_foreign_keys(table))),
            "keys": [str(found.get_pk_constraint(table))],
        }


def test_migrating_gives_what_making_the_tables_afresh_gives(empty: Database, tmp_path: Path) -> None:
    """Also what Alembic does not compare on SQLite: checks, and the conditions of partial indexes."""
    empty.upgrade()
    fresh = connect(f"sqlite:///{tmp_path / 'fresh.db'}")
    Base.metadata.create_all(fresh.engine)
    for table in Base.metadata.tables:
        assert described(empty, table) == described(fresh, table), table
    fresh.close()


def test_migrating_twice_changes_nothing(empty: Database) -> None:
    empty.upgrade()
    before = schema(empty)
    empty.upgrade()
    assert schema(empty) == before


def test_migrating_a_database_in_use_keeps_its_rows(database: Database) -> None:
    with database.write() as session:
        session.execute(text("INSERT INTO broker_epoch (id, value) VALUES (1, 'kept')"))
    database.upgrade()
    with database.read() as session:
        assert session.scalar(text("SELECT value FROM broker_epoch")) == "kept"


@pytest.mark.parametrize("deed", ["UPDATE audit_log SET actor = 'nobody'", "DELETE FROM audit_log"])
def test_what_stands_in_the_audit_log_is_neither_changed_nor_deleted_by_anybody(database: Database, deed: str) -> None:
    with database.write() as session:
        session.add(AuditEntry(at=datetime.now(UTC), actor="me", action="retry", detail="1 image"))
    with pytest.raises(DatabaseError, match="audit_log is append-only"), database.write() as session:
        session.execute(text(deed))
    with database.read() as session:
        assert session.execute(text("SELECT actor FROM audit_log")).all() == [("me",)]


def test_the_views_exist_and_can_be_read_by_any_client(empty: Database, tmp_path: Path) -> None:
    empty.upgrade()
    connection = sqlite3.connect(f"file:{tmp_path / 'pneumoscreen.db'}?mode=ro", uri=True)
    for view in ("results", "results_history"):
        assert connection.execute(f"SELECT * FROM {view}").fetchall() == []
    connection.close()


def test_there_is_one_line_of_migrations_with_one_end() -> None:
    scripts = ScriptDirectory.from_config(_alembic())
    assert scripts.get_heads() == [SCHEMA]
    assert [script.revision for script in scripts.walk_revisions()][-1] == "0001"


def test_a_migrated_database_passes_the_check_and_no_other_does(empty: Database, tmp_path: Path) -> None:
    with pytest.raises(ServiceUnavailable, match="There is no database"):
        empty.check()
    (tmp_path / "pneumoscreen.db").touch()
    with pytest.raises(ServiceUnavailable, match=r"has schema none.*db upgrade"):
        empty.check()
    empty.upgrade()
    empty.check()


def from_the_future(database: Database) -> None:
    database.upgrade()
    with database.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))


def test_a_database_of_a_newer_version_is_refused(empty: Database) -> None:
    from_the_future(empty)
    with pytest.raises(ServiceUnavailable, match="has schema 9999"):
        empty.check()


def test_upgrading_a_database_of_a_newer_version_gives_a_sentence(empty: Database) -> None:
    from_the_future(empty)
    with pytest.raises((ServiceUnavailable, WrongSettings), match="9999"):
        empty.upgrade()


@pytest.mark.parametrize("url", ["nonsense", "nosuchdatabase://host/x", "postgres://host/x", "mysql://host/x", ""])
def test_an_address_that_is_none_gives_a_sentence(url: str) -> None:
    with pytest.raises(WrongSettings, match="database_url is not usable"):
        connect(url)


def test_a_database_with_a_row_that_refers_to_none_is_not_migrated_and_references_are_checked_again(
    empty: Database,
) -> None:
    with empty._writing.connect() as connection:
        config = _alembic()
        config.attributes["connection"] = connection
        command.upgrade(config, "0004")
        connection.commit()
    raw = empty.engine.raw_connection()
    columns = "sighting_id, lane, state, attempt, created_at, deaths"
    orphan = f"INSERT INTO jobs ({columns}) VALUES (99, 'routine', 'unsent', 0, 0, 0)"
    for statement in ("PRAGMA foreign_keys = OFF", orphan, "PRAGMA foreign_keys = ON"):
        raw.cursor().execute(statement)
    raw.close()
    with pytest.raises(WorkFailed, match="a row refers to one that is missing"):
        empty.upgrade()
    with empty.read() as session:
        assert session.scalar(text("SELECT version_num FROM alembic_version")) == "0004"
        assert session.scalar(text("PRAGMA foreign_keys")) == 1
    with empty.write() as session:
        session.execute(text("DELETE FROM jobs"))
    empty.upgrade()
    with pytest.raises(IntegrityError), empty.write() as session:
        session.execute(text(orphan))
