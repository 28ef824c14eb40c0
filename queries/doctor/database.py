"""The database: where it may lie, its version, its schema, and what this role may do in it."""

import os
from pathlib import Path

from sqlalchemy import inspect, make_url, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from queries.doctor.finding import Finding, ok, problem, reason, user
from queries.rights import is_of_a_service, missing_rights
from shared.base.errors import WrongSettings
from shared.base.schema import SCHEMA
from shared.base.settings import Settings
from shared.database import Database, connect

CHECK = "database"
LEAST_POSTGRESQL = 12
UPGRADE = "stop the services, back up, then: pneumoscreen db upgrade (`up` does it by itself)"


def examine(settings: Settings) -> list[Finding]:
    try:
        database = connect(settings.database)
    except WrongSettings as error:  # a URL that makes no sense, or SQLite on a network share
        return [problem(CHECK, str(error), "mend database_url")]
    if database.engine.dialect.name == "sqlite":
        file = Path(make_url(settings.database).database or "")
        if not file.exists():
            return [_without_file(file)]
        if not os.access(file, os.R_OK | os.W_OK) or not os.access(file.parent, os.W_OK):
            way_out = f"chown --recursive {user()} {file.parent}, or run it as the user who owns it"
            return [problem(CHECK, f"{user()} may not write {file} and its folder, as SQLite must", way_out)]
    try:
        with database.read() as session:
            return [*_server(session), _schema(database, session), *_rights(session)]
    except SQLAlchemyError as error:
        way_out = "start it, or mend database_url"
        return [problem(CHECK, f"{database.name} cannot be opened: {reason(error)}", way_out)]
    finally:
        database.close()


def _without_file(file: Path) -> Finding:
    folder = next(parent for parent in file.parents if parent.exists())
    if os.access(folder, os.W_OK):
        return ok(CHECK, f"there is none yet: `pneumoscreen up` or `db upgrade` makes {file}")
    return problem(CHECK, f"there is none yet, and {user()} may not make {file}", f"chown {user()} {folder}")


def _server(session: Session) -> list[Finding]:
    if session.get_bind().dialect.name == "sqlite":
        return [ok(CHECK, "it is SQLite, on a local disk, and this user may write it")]
    number = int(session.scalar(text("SHOW server_version_num")) or 0) // 10_000
    version = (
        problem(CHECK, f"it is PostgreSQL {number}", f"install PostgreSQL {LEAST_POSTGRESQL} or newer")
        if number < LEAST_POSTGRESQL
        else ok(CHECK, f"it is PostgreSQL {number}, in reach as the role {_role(session)}")
    )
    if session.scalar(text("SELECT pg_is_in_recovery()")):
        return [version, problem(CHECK, "it is a standby, which takes no rows", "name the primary in database_url")]
    return [version]


def _role(session: Session) -> str:
    return str(session.scalar(text("SELECT current_user")))


def _rights(session: Session) -> list[Finding]:
    """Nothing for a role that only looks, nor where nobody is refused anything."""
    missing = missing_rights(session)
    if not missing or not is_of_a_service(missing):
        return []
    text = f"the role {_role(session)} lacks what producers and workers do: {', '.join(missing)}"
    return [problem(CHECK, text, "run docs/roles.sql with psql, as the owner of the tables")]


def _schema(database: Database, session: Session) -> Finding:
    has_schema = inspect(session.connection()).has_table("alembic_version")
    schema = session.scalar(text("SELECT version_num FROM alembic_version")) if has_schema else None
    if schema is None:
        return problem(CHECK, f"there are no tables in {database.name}", "pneumoscreen db upgrade (`up` does it too)")
    if schema < SCHEMA:
        return problem(CHECK, f"it has schema {schema}, and this program needs {SCHEMA}", UPGRADE)
    if schema > SCHEMA:
        way_out = "install the version of Pneumoscreen that the other hosts run"
        return problem(CHECK, f"it has schema {schema}, of a newer program: this one knows {SCHEMA}", way_out)
    return ok(CHECK, f"it has schema {SCHEMA}, as this program needs")
