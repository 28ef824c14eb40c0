"""Replaces the tables of a PostgreSQL database by those of a backup, in one transaction."""

import re
import tempfile
import time
from pathlib import Path

from sqlalchemy import text

from local.archive import Client, revision_of
from local.restored_jobs import check_revision, is_known, record_restore, start_over
from shared.base.errors import InvalidRequest, ServiceUnavailable
from shared.database import Database
from shared.database.tables import Base
from shared.database.views import VIEWS

NEW_JOB_IDS = "SELECT setval(pg_get_serial_sequence('jobs', 'id'), (SELECT coalesce(max(id), 0) + 1000000 FROM jobs))"
"""No new job gets the number of one that was lost, whose result a worker that was cut off may still hold.

With SQLite everything runs on this host, so that nobody can be cut off and come back.
"""


LEAVING_SECONDS = 2.0
"""For so long the server may still list a program that has just ended."""


def check_nobody_is_connected(database: Database) -> None:
    """Raises ServiceUnavailable if another program stays connected: producers give no sign of life."""
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usename = current_user "
        "AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )
    deadline = time.monotonic() + LEAVING_SECONDS
    while True:
        with database.read() as session:
            others = session.scalar(text(query))
        if not others:
            return
        if time.monotonic() < deadline:
            time.sleep(0.1)
            continue
        raise ServiceUnavailable(
            f"{others} other programs are connected to {database.name} as the same user: stop every producer, "
            "worker and query, then restore (pg_stat_activity shows who they are)."
        )


def restore(database: Database, home: Path, file: Path, actor: str) -> None:
    """A failure leaves what is there."""
    client = Client(database)
    listed_table = re.search(r" TABLE (\S+) alembic_version ", client.run("pg_restore", "--list", str(file)))
    with database.read() as session:
        schema = session.scalar(text("SELECT current_schema()"))
    if listed_table is None or listed_table[1] != schema:
        raise InvalidRequest(f"{file} holds no tables of Pneumoscreen in the schema {schema}, where they should be.")
    version = client.run("pg_restore", "--data-only", "--table=alembic_version", "--file=-", str(file))
    row = re.search(r"^COPY .*\n(\S+)$", version, re.MULTILINE)
    revision = check_revision(file, row[1] if row else None)
    if (current := revision_of(database)) is not None and not is_known(current):
        raise InvalidRequest(
            f"{database.name} has schema {current}, which a newer version of Pneumoscreen made, with tables that "
            "this one cannot replace: restore into an empty database."
        )
    tables = ", ".join(["alembic_version", *Base.metadata.tables])
    statements = (
        "SET client_min_messages = warning; SET lock_timeout = '30s'",
        f"DROP VIEW IF EXISTS {', '.join(VIEWS)}; DROP TABLE IF EXISTS {tables}",
        "DROP FUNCTION IF EXISTS audit_log_refuse",
    )
    with tempfile.TemporaryDirectory(dir=home, prefix=".restore-") as folder:
        # As a script: pg_restore itself would leave the tables that a newer schema added, and they stand in the way.
        script = Path(folder) / "backup.sql"
        client.run("pg_restore", "--no-owner", f"--schema={schema}", f"--file={script}", str(file))
        database.close()
        check_nobody_is_connected(database)
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
    record_restore(database, actor)
