"""Writes a backup: the whole database as one file, SQLite's own format or pg_dump's, tried out before it counts."""

import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import inspect, text

from local import verification
from local.archive import Advance, Client, aside, connected, copy_sqlite, revision_of, sqlite_file
from shared.base.errors import InvalidRequest, ServiceUnavailable
from shared.base.filesystem import sync
from shared.base.settings import Settings
from shared.database import Database
from shared.database.tables import Base


@dataclass(frozen=True)
class Written:
    """A backup that was written and tried out."""

    bytes: int
    rows: int
    unrestored: str | None
    """Why it could only be read through, and not restored into a database of its own; None if it was."""


def backup(settings: Settings, file: Path, advance: Advance = lambda _copied, _total: None) -> Written:
    """Raises InvalidRequest if the file exists already, or its folder does not; WorkFailed if it is no good."""
    if os.path.lexists(file):
        raise InvalidRequest(f"{file} exists already: name a new file, no backup is ever overwritten.")
    if not file.parent.is_dir():
        raise InvalidRequest(f"There is no folder {file.parent}: make it, or name another place for the backup.")
    with connected(settings) as database:
        revision = revision_of(database)  # an older schema is fine: people make backups before an upgrade
        if revision is None:
            raise ServiceUnavailable(f"There is nothing to back up: {database.name} holds no tables of Pneumoscreen.")
        tables = _tables(database)
        with aside(file) as part:
            if (source := sqlite_file(database)) is not None:
                counts: verification.Counts = {}
                copy_sqlite(source, part, advance, lambda reading: counts.update(_count(reading, tables)))
                sync(part)
                verification.check_sqlite(part, revision, counts)
                unrestored = None
            else:
                client = Client(database)
                counts = _dump(database, client, part, tables)
                sync(part)
                unrestored = verification.check_postgresql(database, client, part, revision, counts)
            part.rename(file)
            sync(file.parent)
    return Written(file.stat().st_size, sum(counts.values()), unrestored)


def _tables(database: Database) -> list[str]:
    """Those of ours that are there: an older schema has fewer."""
    there = set(inspect(database.engine).get_table_names())
    return sorted(there.intersection(Base.metadata.tables))


def _count(reading: sqlite3.Connection, tables: list[str]) -> dict[str, int]:
    return {table: reading.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables}  # noqa: S608


def _dump(database: Database, client: Client, part: Path, tables: list[str]) -> dict[str, int]:
    """Dumps what a snapshot shows, and returns how many rows each table has in it."""
    with database.engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        snapshot = connection.scalar(text("SELECT pg_export_snapshot()"))
        counts = verification.count(connection, tables)
        client.run(
            "pg_dump", "--format=custom", f"--snapshot={snapshot}", f"--file={part}", f"--dbname={client.conninfo}"
        )
    return counts
