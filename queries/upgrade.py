"""What `db upgrade` would do, and what else an upgrade asks of an operator; nothing is changed."""

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, inspect, make_url, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from queries import backups, setting_names
from queries.backups import Backup
from queries.rights import OF_ACCOUNTS, REVIEWER, VIEWS, missing_rights
from shared.base.errors import ServiceUnavailable
from shared.base.schema import SCHEMA
from shared.base.settings import Settings
from shared.database import Database, connection
from shared.database.tables import Base
from shared.models import published

WORKER, READER = "pneumoscreen_worker", "pneumoscreen_reader"
"""The roles of docs/roles.sql."""
ROWS_PER_SECOND = 50_000
"""Of tables that a migration writes anew: measured 80,000 with SQLite on two busy cores."""


@dataclass(frozen=True)
class Migration:
    revision: str
    title: str
    rows: int
    """Of the tables that it writes anew."""


@dataclass(frozen=True)
class RoleGap:
    """What a role may not do after the upgrade, until docs/roles.sql is run again."""

    role: str
    lacks: tuple[str, ...]


@dataclass(frozen=True)
class Upgrade:
    database: str
    schema: str | None
    """None: there are no tables yet."""
    target: str
    migrations: tuple[Migration, ...]
    roles: tuple[RoleGap, ...]
    live: str | None
    bundled: str
    is_bundled_installed: bool
    """Here: it has a row, and its folder is in this host's home."""
    settings: tuple[str, ...]
    """Names that are old or unknown, each in a sentence."""
    backup: Backup | None
    """The last one."""

    @property
    def seconds(self) -> float:
        """A rough estimate of what the migrations take."""
        return sum(migration.rows for migration in self.migrations) / ROWS_PER_SECOND

    @property
    def is_needed(self) -> bool:
        """Whether there is anything to do, for the upgrade or for the operator."""
        return bool(self.migrations or self.roles or self.settings or not self.is_bundled_installed)


def plan(settings: Settings) -> Upgrade:
    """Raises ServiceUnavailable if the database is out of reach, or has the schema of a newer program."""
    database = connection.connect(settings.database)
    try:
        if database.engine.dialect.name == "sqlite" and not Path(make_url(settings.database).database or "").exists():
            return _upgrade(settings, database.name, None, connection.migrations(None), (), None)
        with database.read() as session:
            return _plan(settings, database, session)
    finally:
        database.close()


def _plan(settings: Settings, database: Database, session: Session) -> Upgrade:
    tables = set(inspect(session.connection()).get_table_names())
    schema = session.scalar(text("SELECT version_num FROM alembic_version")) if "alembic_version" in tables else None
    if schema is not None and schema > SCHEMA:
        raise ServiceUnavailable(
            f"The database {database.name} has schema {schema}, and this program knows {SCHEMA}: a newer version of "
            "Pneumoscreen made it. Install that one."
        )
    pending = connection.migrations(schema)
    roles = _gaps(session, tables, is_migrated=bool(pending))
    return _upgrade(settings, database.name, schema, pending, roles, session)


def _upgrade(
    settings: Settings,
    name: str,
    schema: str | None,
    pending: list[connection.Migration],
    roles: tuple[RoleGap, ...],
    session: Session | None,
) -> Upgrade:
    migrations = tuple(
        Migration(each.revision, each.title, _rows(session.connection(), each.rewrites) if session and schema else 0)
        for each in pending
    )
    bundled = published.bundled().name
    live = published.newest_promotion(session) if session and schema else None  # also of an older schema
    is_known = session is not None and schema is not None and _is_known(session, bundled)
    return Upgrade(
        database=name,
        schema=schema,
        target=SCHEMA,
        migrations=migrations,
        roles=roles,
        live=live,
        bundled=bundled,
        is_bundled_installed=is_known and (settings.models / bundled).exists(),
        settings=tuple(setting_names.sentences(settings.home)),
        backup=_last_backup(session) if session and schema else None,
    )


def _rows(reading: Connection, tables: tuple[str, ...]) -> int:
    there = set(inspect(reading).get_table_names())
    return sum(reading.scalar(text(f"SELECT count(*) FROM {table}")) or 0 for table in tables if table in there)  # noqa: S608


def _is_known(session: Session, version: str) -> bool:
    query = text("SELECT count(*) FROM model_versions WHERE version = :version")
    return bool(session.scalar(query, {"version": version}))


def _last_backup(session: Session) -> Backup | None:
    try:
        return backups.newest(session, backups.MADE)
    except SQLAlchemyError:  # a schema from before there was an audit log
        session.rollback()
        return None


def _gaps(session: Session, tables: set[str], *, is_migrated: bool) -> tuple[RoleGap, ...]:
    """Of the roles that this server has. A migration makes the views anew, and with them go the rights on them."""
    if session.get_bind().dialect.name != "postgresql":
        return ()
    new = [f"everything on {table} (new)" for table in sorted(set(Base.metadata.tables) - tables)]
    views = [f"SELECT on {view}" for view in VIEWS if is_migrated and view != "alembic_version"]
    lacking = {}
    if _exists(session, WORKER):
        ours = [right for right in new if not any(f" {table} " in right for table in OF_ACCOUNTS)]
        lacking[WORKER] = [*missing_rights(session, WORKER), *ours, *views]
    if _exists(session, REVIEWER):
        lacking[REVIEWER] = [*missing_rights(session, REVIEWER), *new, *views]
    if _exists(session, READER):
        lacking[READER] = [*_missing_to_read(session), *views]
    gaps = (RoleGap(role, tuple(dict.fromkeys(lacks))) for role, lacks in lacking.items())
    return tuple(gap for gap in gaps if gap.lacks)


def _exists(session: Session, role: str) -> bool:
    return session.scalar(text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": role}) is not None


def _missing_to_read(session: Session) -> list[str]:
    query = text(
        "SELECT name FROM unnest(CAST(:names AS text[])) AS wanted (name) WHERE to_regclass(name) IS NOT NULL "
        "AND NOT has_table_privilege(:role, name, 'SELECT') ORDER BY name"
    )
    return [f"SELECT on {name}" for name in session.scalars(query, {"names": list(VIEWS), "role": READER})]
