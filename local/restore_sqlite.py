"""Replaces an SQLite database by a backup: everything is made ready in a copy, which then takes its place."""

import os
import sqlite3
import stat
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import text

from local.archive import Advance, aside, copy_sqlite, revision_of
from local.restored_jobs import check_revision, record_restore, start_over
from shared.base.errors import ServiceUnavailable
from shared.base.filesystem import sync
from shared.database import Database, connect
from shared.database.connection import SCHEMA


def check_nobody_is_connected(target: Path) -> None:
    """Raises ServiceUnavailable if another program has the file open: producers give no sign of life."""
    if target.exists():
        with suppress(sqlite3.DatabaseError):  # damaged: nobody can work with it
            _close_log(target)


def _close_log(target: Path) -> None:
    """Write the log into the file and remove it, which SQLite does only while nobody else has the file open."""
    try:
        with closing(sqlite3.connect(target, timeout=1, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise
        raise ServiceUnavailable(
            f"Another program has {target} open: stop every producer, worker and query, then restore."
        ) from error


def restore(database: Database, target: Path, file: Path, actor: str, advance: Advance) -> Path | None:
    """A failure leaves what is there. Returns where the database that was there before is kept."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with aside(target) as part:
        copy_sqlite(file, part, advance)
        url = database.engine.url.set(database=str(part)).render_as_string(hide_password=False)
        copy = connect(url)
        try:
            check_revision(file, revision_of(copy))
            copy.upgrade()
            with copy.write() as session:
                for statement in start_over(SCHEMA):
                    session.execute(text(statement))
            record_restore(copy, actor)
        finally:
            copy.close()
        sync(part)
        replaced = _keep(target, part)
        part.replace(target)
        sync(target.parent)
    return replaced


def _keep(target: Path, part: Path) -> Path | None:
    """Give the database that is replaced a second name, and its mode and owner to its successor."""
    kept = target.with_name(f"{target.name}.replaced-{datetime.now(UTC):%Y%m%d-%H%M%S}")
    check_nobody_is_connected(target)
    for suffix in ("-wal", "-shm"):  # of a damaged one; beside its successor, SQLite would write them into that
        if (log := Path(f"{target}{suffix}")).exists():
            log.rename(f"{kept}{suffix}")
    if not target.exists():
        return None
    before = target.stat()
    part.chmod(stat.S_IMODE(before.st_mode))
    if (part.stat().st_uid, part.stat().st_gid) != (before.st_uid, before.st_gid):
        os.chown(part, before.st_uid, before.st_gid)  # root restores what a service's user owns
    try:
        os.link(target, kept)
    except OSError:  # a file system without links: then there is no database for a moment
        target.rename(kept)
    return kept
