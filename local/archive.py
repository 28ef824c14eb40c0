"""What backing up and restoring share: copies of SQLite files, and PostgreSQL's own programs."""

import os
import re
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from alembic.migration import MigrationContext
from sqlalchemy.exc import DatabaseError

from shared.base.errors import ServiceUnavailable, WorkFailed, WrongSettings
from shared.base.settings import Settings
from shared.database import Database, connect

PAGES = 1000
"""SQLite copies so many at a time."""
Advance = Callable[[int, int], None]
"""Called with the number of pages that are copied, and of all."""


@contextmanager
def connected(settings: Settings) -> Iterator[Database]:
    """The database of the settings, whatever schema it has, or none."""
    database = connect(settings.database)
    try:
        yield database
    finally:
        database.close()


@contextmanager
def aside(file: Path) -> Iterator[Path]:
    """A new file in the same folder, readable by its owner alone; removed at the end unless it was renamed."""
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=".backup-", suffix=".part")
    os.close(descriptor)
    try:
        yield Path(name)
    finally:
        for suffix in ("", "-journal", "-wal", "-shm"):
            Path(name + suffix).unlink(missing_ok=True)


def copy_sqlite(
    source: Path, target: Path, advance: Advance, look: Callable[[sqlite3.Connection], None] = lambda _reading: None
) -> None:
    """Copy an SQLite database as it is at one moment, while others may write to it, and check the copy.

    `look` is called with a connection that sees that moment.
    """
    try:
        with (
            closing(sqlite3.connect(f"{source.as_uri()}?mode=rw", uri=True, isolation_level=None)) as reading,
            closing(sqlite3.connect(target, isolation_level=None)) as copy,
        ):
            reading.execute("BEGIN")  # without a transaction, each write of others would start the copying over
            reading.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            look(reading)
            reading.backup(copy, pages=PAGES, progress=lambda _, left, total: advance(total - left, total))
            copy.execute("PRAGMA journal_mode = DELETE")  # one file, without a log beside it
            problems = [row[0] for row in copy.execute("PRAGMA integrity_check(5)")]
    except sqlite3.DatabaseError as error:
        raise WorkFailed(f"{source} cannot be copied: {error}. Nothing was changed.") from error
    if problems != ["ok"]:
        raise WorkFailed(f"{source} is damaged ({'; '.join(problems)}): nothing was changed. Restore an older backup.")


def revision_of(database: Database) -> str | None:
    """The schema that a database has, None for an empty one; raises ServiceUnavailable if it cannot be opened."""
    target = sqlite_file(database)
    if target is not None and not target.exists():
        return None
    try:
        with database.engine.connect() as connection:
            return MigrationContext.configure(connection).get_current_revision()
    except DatabaseError as error:
        raise ServiceUnavailable(f"The database {database.name} cannot be opened: {error.orig}") from error


def sqlite_file(database: Database) -> Path | None:
    url = database.engine.url
    return Path(url.database or "").absolute() if url.get_backend_name() == "sqlite" else None


class Client:
    """PostgreSQL's own programs; no password stands on a command line, where others could read it."""

    def __init__(self, database: Database) -> None:
        from psycopg.conninfo import make_conninfo

        engine = database.engine
        with engine.connect() as connection:
            self._server = int((connection.dialect.server_version_info or (0,))[0])
        _, options = engine.dialect.create_connect_args(engine.url)
        options.pop("context", None)  # SQLAlchemy's, for the driver
        self._environment = {**os.environ, "PGCONNECT_TIMEOUT": "10"}
        if password := options.pop("password", None):
            self._environment["PGPASSWORD"] = str(password)
        self._options = options
        self.conninfo = make_conninfo(**options)

    def conninfo_of(self, database: str) -> str:
        """Of another database of the same server."""
        from psycopg.conninfo import make_conninfo

        return make_conninfo(**{**self._options, "dbname": database})

    def run(self, name: str, *arguments: str) -> str:
        """What the program prints; raises WrongSettings if it is missing or too old, WorkFailed if it fails."""
        program = shutil.which(name)
        way_out = (
            f"install PostgreSQL's client programs of version {self._server} or newer "
            f"(postgresql-client-{self._server} on Debian and Ubuntu), or put their folder first in PATH."
        )
        if program is None:
            raise WrongSettings(f"{name} is not installed on this machine: {way_out}")
        printed = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
        version = re.search(r"\) (\d+)", printed)
        if version is None or int(version[1]) < self._server:
            raise WrongSettings(
                f"{program} is older ({printed.strip()}) than the server, version {self._server}: {way_out}"
            )
        done = subprocess.run(
            [program, *arguments], env=self._environment, capture_output=True, text=True, errors="replace", check=False
        )
        if done.returncode:
            reason = " ".join(done.stderr.split("\n")[-6:]).strip() or f"exit code {done.returncode}"
            raise WorkFailed(f"{name} failed, and nothing was changed: {reason}")
        return done.stdout
