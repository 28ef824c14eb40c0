"""`db restore`: a backup takes the place of the database."""

import fcntl
import os
import re
import sqlite3
import stat
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import psutil
import typer
from alembic.script import ScriptDirectory
from sqlalchemy import func, select, text
from sqlalchemy.exc import DatabaseError

import shared.database
from cli.archive import Client, aside, connected, copy_sqlite, revision_of, sqlite_file
from cli.console import err, out
from queries.workers import live_workers
from shared.base.errors import ServiceUnavailable, WrongSettings
from shared.base.filesystem import sync
from shared.base.settings import Settings
from shared.database import AuditEntry, Database, Job, JobState, ModelVersion, connect
from shared.database.connection import SCHEMA
from shared.database.tables import Base
from shared.ledger.work import ATTEMPT_EPOCH

HEADERS = {b"SQLite format 3\0": "sqlite", b"PGDMP": "postgresql"}
KINDS = {"sqlite": "an SQLite", "postgresql": "a PostgreSQL"}
NEW_JOB_IDS = "SELECT setval(pg_get_serial_sequence('jobs', 'id'), (SELECT coalesce(max(id), 0) + 1000000 FROM jobs))"
"""For the same reason; with SQLite nobody can be cut off and come back: everything runs on this host."""


def start_over(revision: str) -> tuple[str, ...]:
    """The statements after which open jobs are sent again, for a database of that schema.

    The attempt number jumps far beyond what a job may have had since the backup, so that neither a message that is
    left in the broker nor a worker that was cut off counts for the restored job.
    """
    attempt = "attempt" if revision >= "0004" else "delivery"
    return (
        f"UPDATE jobs SET state = '{JobState.UNSENT}', lease_until = NULL, {attempt} = {attempt} + {ATTEMPT_EPOCH} "  # noqa: S608 - our own
        f"WHERE state <> '{JobState.FINISHED}'",
        "DELETE FROM broker_epoch",
        "DELETE FROM workers",
    )


def restore(settings: Settings, file: Path, yes: bool) -> None:
    file = file.absolute()
    with connected(settings) as with_database, _alone(settings, with_database):
        target = sqlite_file(with_database)
        _check_kind(file, "postgresql" if target is None else "sqlite")
        if not yes:
            kept = "keep a backup of it first, it is lost otherwise" if target is None else "it is kept beside"
            typer.confirm(f"Replace what is in {with_database.name} ({kept}) by {file}?", abort=True)
        if target is not None:
            kept_file = _restore_sqlite(with_database, target, file)
            before = f" What was there before is {kept_file}." if kept_file else ""
            out.print(f"{target} is restored.{before}", markup=False)
        else:
            _restore_postgresql(with_database, settings.home, file)
            out.print(f"{with_database.name} is restored.", markup=False)
        with with_database.read() as session:
            versions = session.scalars(select(ModelVersion.version)).all()
    if missing := [version for version in versions if not (settings.models / version).is_dir()]:
        names = ", ".join(missing)
        out.print(f"Model versions without a folder in {settings.models}: {names}. Bring them back too.", markup=False)
    out.print(
        "Start the system again: open jobs are sent again at once, and files dropped since the backup are found again. "
        "What `db forget` erased since the backup is back: erase it again."
    )


@contextmanager
def _alone(settings: Settings, database: Database) -> Iterator[None]:
    """Until the end no `up` can start in this home. Raises ServiceUnavailable if one runs, or a worker is alive."""
    target = sqlite_file(database)
    (settings.home / "run").mkdir(parents=True, exist_ok=True)
    with (settings.home / "run" / "up.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ServiceUnavailable(
                f"A system runs in {settings.home}: stop `pneumoscreen up` there, then restore."
            ) from error
        alive = []
        if target is None or target.exists():
            # A database that is damaged or empty has no workers to tell of; it may be why a backup is wanted.
            with suppress(DatabaseError), database.read() as session:
                alive = live_workers(session, datetime.now(UTC))
            database.close()
        if alive:
            names = ", ".join(f"{worker.host} (process {worker.pid})" for worker in alive)
            raise ServiceUnavailable(
                f"Workers gave a sign of life in the last half minute: {names}. "
                "Stop every worker and producer, wait half a minute if one was killed, then restore."
            )
        _check_nobody_is_connected(database)
        yield


def _check_nobody_is_connected(database: Database) -> None:
    """Producers give no sign of life of their own, but they are connected. Raises ServiceUnavailable."""
    target = sqlite_file(database)
    if target is None:
        query = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usename = current_user "
            "AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        with database.read() as session:
            others = session.scalar(text(query))
        if others:
            raise ServiceUnavailable(
                f"{others} other programs are connected to {database.name} as the same user: stop every producer, "
                "worker and query, then restore (pg_stat_activity shows who they are)."
            )
    elif target.exists():
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


def _check_kind(file: Path, wanted: str) -> None:
    with file.open("rb") as opened:
        start = opened.read(16)
    found = next((kind for header, kind in HEADERS.items() if start.startswith(header)), None)
    if found is None:
        raise WrongSettings(f"{file} is no backup: `pneumoscreen db backup` writes files that can be restored.")
    if found != wanted:
        raise WrongSettings(
            f"{file} is the backup of {KINDS[found]} database, but the settings name {KINDS[wanted]} one: "
            "set PNEUMOSCREEN_DATABASE_URL to a database of the backup's kind, or leave it unset for SQLite."
        )


def _check_revision(file: Path, revision: str | None) -> str:
    """Returns it. Raises WrongSettings for a schema that this program does not know."""
    if revision is None:
        raise WrongSettings(f"{file} holds no tables of Pneumoscreen: name a file that `db backup` wrote.")
    if not _is_known(revision):
        raise WrongSettings(
            f"{file} has schema {revision}, which a newer version of Pneumoscreen made: install that one to restore it."
        )
    return revision


def _is_known(revision: str) -> bool:
    folder = Path(shared.database.__file__).parent / "migrations"
    return revision in {known.revision for known in ScriptDirectory(str(folder)).walk_revisions()}


def _restore_sqlite(database: Database, target: Path, file: Path) -> Path | None:
    """Everything is made ready in a copy, so that a failure leaves what is there; returns what was there before."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with aside(target) as part:
        copy_sqlite(file, part, "restoring")
        url = database.engine.url.set(database=str(part)).render_as_string(hide_password=False)
        copy = connect(url)
        try:
            _check_revision(file, revision_of(copy))
            copy.upgrade()
            with copy.write() as session:
                for statement in start_over(SCHEMA):
                    session.execute(text(statement))
            _audit(copy)
        finally:
            copy.close()
        sync(part)
        kept = _keep(database, target, part)
        part.replace(target)
        sync(target.parent)
    return kept


def _keep(database: Database, target: Path, part: Path) -> Path | None:
    """Give the database that is replaced a second name, and its successor its mode and owner."""
    kept = target.with_name(f"{target.name}.replaced-{datetime.now(UTC):%Y%m%d-%H%M%S}")
    _check_nobody_is_connected(database)
    for left in ("-wal", "-shm"):  # of a damaged one; beside its successor, SQLite would write them into that
        if (log := Path(f"{target}{left}")).exists():
            log.rename(f"{kept}{left}")
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


def _restore_postgresql(database: Database, home: Path, file: Path) -> None:
    """In one transaction: a failure leaves what is there."""
    client = Client(database)
    listed = re.search(r" TABLE (\S+) alembic_version ", client.run("pg_restore", "--list", str(file)))
    with database.read() as session:
        schema = session.scalar(text("SELECT current_schema()"))
    if listed is None or listed[1] != schema:
        raise WrongSettings(f"{file} holds no tables of Pneumoscreen in the schema {schema}, where they should be.")
    version = client.run("pg_restore", "--data-only", "--table=alembic_version", "--file=-", str(file))
    row = re.search(r"^COPY .*\n(\S+)$", version, re.MULTILINE)
    revision = _check_revision(file, row[1] if row else None)
    if (current := revision_of(database)) is not None and not _is_known(current):
        raise WrongSettings(
            f"{database.name} has schema {current}, which a newer version of Pneumoscreen made, with tables that "
            "this one cannot replace: restore into an empty database."
        )
    tables = ", ".join(["alembic_version", *Base.metadata.tables])
    statements = (
        "SET client_min_messages = warning; SET lock_timeout = '30s'",
        f"DROP VIEW IF EXISTS results, results_history; DROP TABLE IF EXISTS {tables}",
        "DROP FUNCTION IF EXISTS audit_log_refuse",
    )
    with tempfile.TemporaryDirectory(dir=home, prefix=".restore-") as folder, err.status("the backup is restored"):
        # As a script: pg_restore itself would leave the tables that a newer schema added, and they stand in the way.
        script = Path(folder) / "backup.sql"
        client.run("pg_restore", "--no-owner", f"--schema={schema}", f"--file={script}", str(file))
        database.close()
        _check_nobody_is_connected(database)
        database.close()
        client.run(
            "psql",
            "--no-psqlrc",
            "--quiet",
            "--single-transaction",
            "--set=ON_ERROR_STOP=1",
            f"--dbname={client.conninfo}",
            *(f"--command={statement}" for statement in statements),
            f"--file={script}",
            *(f"--command={statement}" for statement in ("RESET search_path", *start_over(revision), NEW_JOB_IDS)),
        )
    database.upgrade()
    _audit(database)


def _audit(database: Database) -> None:
    with database.write() as session:
        jobs = session.scalar(select(func.count()).select_from(Job).where(Job.state != JobState.FINISHED))
        detail = f"a backup was restored; {jobs} open jobs are sent again"
        actor = psutil.Process().username()
        session.add(AuditEntry(at=datetime.now(UTC), actor=actor, action="restore", detail=detail))
