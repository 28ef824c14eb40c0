"""Tries a backup out: it is opened or restored apart from the database, and must hold every row of its moment."""

import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from local.archive import Client
from shared.base.errors import WorkFailed
from shared.database import Database, connect

Counts = dict[str, int]
"""The rows of each table."""
PREFIX = "pneumoscreen_check_"
LEFT_SECONDS = 24 * 3600
"""A database of ours that is older was left by a process that was killed."""


def count(connection: Connection, tables: list[str]) -> Counts:
    return {table: connection.scalar(text(f"SELECT count(*) FROM {table}")) or 0 for table in tables}  # noqa: S608


def check_sqlite(part: Path, revision: str, wanted: Counts) -> None:
    """Opens the copy, whose pages were checked when it was made. Raises WorkFailed if it is not what was copied."""
    try:
        with closing(sqlite3.connect(f"{part.as_uri()}?mode=ro", uri=True)) as copy:
            schema = copy.execute("SELECT version_num FROM alembic_version").fetchone()[0]
            counts = {table: copy.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in wanted}  # noqa: S608
    except sqlite3.DatabaseError as error:
        raise WorkFailed(f"The backup cannot be opened: {error}. It was thrown away.") from error
    _compare(schema, revision, counts, wanted)


def check_postgresql(database: Database, client: Client, part: Path, revision: str, wanted: Counts) -> str | None:
    """Restores the archive into a database of its own, which is dropped again.

    Returns why there can be none: then the archive was only read through. Raises WorkFailed if it cannot be restored,
    or holds something else than what was dumped.
    """
    with database.read() as session:
        may_create = session.scalar(text("SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user"))
        role, schema = session.execute(text("SELECT current_user, current_schema()")).one()
    if not may_create:
        client.run("pg_restore", "--file=/dev/null", str(part))
        return f"the role {role} may not make a database to restore it into (ALTER ROLE {role} CREATEDB lets it)"
    try:
        with _scratch(database) as scratch:
            name = str(scratch.engine.url.database)
            if schema != "public":
                with scratch.write() as session:
                    session.execute(text(f'CREATE SCHEMA "{schema}"'))
            options = ("--no-owner", "--no-privileges", "--no-comments", "--exit-on-error", f"--schema={schema}")
            client.run("pg_restore", *options, f"--dbname={client.conninfo_of(name)}", str(part))
            with scratch.read() as session:
                session.execute(text(f'SET search_path TO "{schema}"'))
                counts = count(session.connection(), list(wanted))
                restored = session.scalar(text("SELECT version_num FROM alembic_version"))
    except DBAPIError as error:
        client.run("pg_restore", "--file=/dev/null", str(part))
        return f"there could be no database to restore it into: {' '.join(str(error.orig).split())}"
    _compare(restored, revision, counts, wanted)
    return None


def _compare(schema: str | None, wanted_schema: str, counts: Counts, wanted: Counts) -> None:
    differing = [table for table in wanted if counts[table] != wanted[table]]
    if schema == wanted_schema and not differing:
        return
    table = differing[0] if differing else "alembic_version"
    raise WorkFailed(
        f"The backup holds something else than the database did: look at the table {table}. It was thrown away."
    )


@contextmanager
def _scratch(database: Database) -> Iterator[Database]:
    """An empty database on the same server, of the same encoding and order, dropped at the end."""
    name = f"{PREFIX}{int(time.time())}_{secrets.token_hex(4)}"
    with _administering(database) as connection:
        _drop_leftovers(connection)
        encoding, collate, ctype = connection.execute(
            text(
                "SELECT pg_encoding_to_char(encoding), datcollate, datctype FROM pg_database "
                "WHERE datname = current_database()"
            )
        ).one()
        connection.exec_driver_sql(
            f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LC_COLLATE '{collate}' LC_CTYPE '{ctype}'"
        )
    scratch = connect(database.engine.url.set(database=name).render_as_string(hide_password=False))
    try:
        yield scratch
    finally:
        scratch.close()
        with suppress(DBAPIError), _administering(database) as connection:
            connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {name}")


@contextmanager
def _administering(database: Database) -> Iterator[Connection]:
    """Databases are made and dropped outside of transactions."""
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        yield connection


def _drop_leftovers(connection: Connection) -> None:
    names = connection.scalars(
        text("SELECT datname FROM pg_database WHERE starts_with(datname::text, :prefix)"), {"prefix": PREFIX}
    )
    for name in names.all():
        began = name.removeprefix(PREFIX).partition("_")[0]
        if began.isdecimal() and time.time() - int(began) > LEFT_SECONDS:
            with suppress(DBAPIError):  # another role's, or somebody is connected
                connection.exec_driver_sql(f'DROP DATABASE "{name}"')
