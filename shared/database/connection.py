"""Opening the database, its transactions, and bringing its schema up to date."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, Connection, Engine, ExceptionContext, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import (
    ArgumentError,
    DatabaseError,
    InternalError,
    NoSuchModuleError,
    OperationalError,
    StatementError,
)
from sqlalchemy.orm import Session

from shared.base.errors import ServiceUnavailable, WorkFailed, WrongSettings
from shared.base.filesystem import network_filesystem
from shared.base.schema import SCHEMA as SCHEMA
from shared.database import table_locks
from shared.database.refusals import STALE, code

if TYPE_CHECKING:
    from alembic.config import Config

    from shared.base.settings import Settings

DEPENDENT_OBJECTS = "2BP01"
"""PostgreSQL's code for what cannot be dropped, since others depend on it."""
SQLITE_BUSY_SECONDS = 60
ALL_THREADS = {"pool_size": 5, "max_overflow": 35}
"""A connection for each of the 40 threads of the pages. Where there are fewer, the pool hands them out in no fair
order: one of twenty readers waited for longer than its limit of 30 s."""
REACH = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
"""Libpq's limits, under which a PostgreSQL that is cut off counts as out of reach; what `database_url` says wins."""
IDLE_SECONDS = 60
"""A client that was cut off or halted amid a writing transaction loses it after so long, and its locks with it."""


class Database:
    """An engine with two kinds of transaction. Make it after a fork, never before."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._reading = engine.execution_options(pneumoscreen_begin="BEGIN")
        self._writing = engine.execution_options(pneumoscreen_begin="BEGIN IMMEDIATE")

    @property
    def name(self) -> str:
        """The URL as anybody may see it: without password, and without options, of which one may be the password."""
        return self.engine.url.set(query={}).render_as_string(hide_password=True)

    @contextmanager
    def read(self) -> Iterator[Session]:
        with Session(self._reading) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Commits at the end, rolls back on an error. On SQLite it takes the write lock at once (see `docs/why.md`)."""
        with Session(self._writing, expire_on_commit=False) as session, session.begin():
            yield session

    def limit(self, session: Session, seconds: float) -> None:
        """Let PostgreSQL give up each statement of this transaction after so long."""
        if self.engine.dialect.name == "postgresql":  # not by an option of the connection, which poolers do not pass on
            session.execute(text(f"SET LOCAL statement_timeout = '{round(1000 * seconds)}ms'"))

    def upgrade(self) -> str | None:
        """Bring the schema up to date, one process at a time: Alembic takes no lock of its own.

        Returns the schema that was there before, None in an empty database. Raises ServiceUnavailable for a newer one,
        WorkFailed if somebody's own views stand in the way, or others hold the tables; then nothing was changed.
        """
        from alembic import command
        from alembic.migration import MigrationContext
        from alembic.util import CommandError

        config = _alembic()
        with self._writing.connect() as connection, _migrating(connection):
            config.attributes["connection"] = connection
            before = MigrationContext.configure(connection).get_current_revision()
            if before not in (None, SCHEMA):
                table_locks.take_all(connection)
            try:
                command.upgrade(config, "head")
            except CommandError as error:
                raise ServiceUnavailable(
                    f"The database cannot be brought up to date ({error}): a newer version of Pneumoscreen made it."
                ) from error
            except (InternalError, OperationalError) as error:
                reason = " ".join(str(error.orig).split())
                is_theirs = getattr(error.orig, "sqlstate", None) == DEPENDENT_OBJECTS or "error in view" in reason
                if not is_theirs:
                    raise
                raise WorkFailed(
                    f"The database cannot be brought up to date, and nothing was changed: {reason}. Drop what others "
                    "built on these views, upgrade, and make it anew."
                ) from error
            if before != SCHEMA and _has_dangling_rows(connection):
                raise WorkFailed(
                    "The database cannot be brought up to date, and nothing was changed: a row refers to one that is "
                    "missing. Restore a backup, or look for damage with `PRAGMA foreign_key_check`."
                )
            connection.commit()
        return before

    def check(self) -> None:
        """Raises ServiceUnavailable if the database cannot be reached or has another schema than this code."""
        name = self.name
        if self.engine.dialect.name == "sqlite" and not Path(self.engine.url.database or "").exists():
            raise ServiceUnavailable(f"There is no database at {name} yet: start `pneumoscreen up`.")
        try:
            with self._reading.connect() as connection:
                is_ours = inspect(connection).has_table("alembic_version")
                found = connection.scalar(text("SELECT version_num FROM alembic_version")) if is_ours else None
        except DatabaseError as error:  # out of reach, or no database at all
            reason = " ".join(str(error.orig).split())
            raise ServiceUnavailable(f"The database {name} cannot be opened: {reason}") from error
        if found != SCHEMA:
            raise ServiceUnavailable(
                f"The database {name} has schema {found or 'none'}, this version needs {SCHEMA}: "
                "run `pneumoscreen db upgrade` (or `pneumoscreen up`, which does it)."
            )

    def close(self) -> None:
        self.engine.dispose()


@contextmanager
def _migrating(connection: Connection) -> Iterator[None]:
    """One process at a time on PostgreSQL; on SQLite without checks of references, or no table could be made anew."""
    if connection.dialect.name == "postgresql":
        # Until the end of the transaction: behind a pooler, its end would release a lock of the session on another one.
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7355608)")
    else:
        _check_references(connection, "OFF")
    try:
        yield
    finally:
        connection.rollback()  # what was not committed; SQLite heeds the other only outside of a transaction
        if connection.dialect.name == "sqlite":
            _check_references(connection, "ON")


def _check_references(connection: Connection, switch: str) -> None:
    connection.connection.cursor().execute(f"PRAGMA foreign_keys = {switch}")


def _has_dangling_rows(connection: Connection) -> bool:
    is_sqlite = connection.dialect.name == "sqlite"
    return is_sqlite and connection.exec_driver_sql("PRAGMA foreign_key_check").first() is not None


@dataclass(frozen=True)
class Migration:
    revision: str
    title: str
    rewrites: tuple[str, ...]
    """The tables of which it reads and writes every row."""


def migrations(schema: str | None) -> list[Migration]:
    """Those that lead from a schema (None: an empty database) to this program's, in their order."""
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory.from_config(_alembic()).walk_revisions("base" if schema is None else schema, "head")
    found = [Migration(script.revision, script.doc, script.module.rewrites) for script in scripts]
    return [migration for migration in reversed(found) if migration.revision != schema]


def connect(url: str) -> Database:
    """Open a database by its SQLAlchemy URL; nothing is created. Raises WrongSettings."""
    try:
        parsed = _parse(url)
        if parsed.get_backend_name() == "sqlite":
            _check_file(url, parsed)
            return Database(_sqlite(Path(parsed.database or ""), url))
        if parsed.get_backend_name() == "postgresql":
            return Database(_postgresql(parsed))
        raise WrongSettings("database_url is not usable: it must begin with sqlite:/// or postgresql+psycopg://.")
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        raise WrongSettings(f"database_url is not usable: {error}") from error


def _parse(url: str) -> URL:
    """Raises WrongSettings where a piece of the password would be taken for the host or the port, and shown as such."""
    try:
        parsed = make_url(url)
        is_clear = "@" not in (parsed.host or "")
    except ValueError:
        is_clear = False
    if not is_clear:
        raise WrongSettings(
            "database_url is not usable: it has no host, or a port that is no number "
            "(in the password, / is written %2F, : %3A, # %23, ? %3F and @ %40)."
        )
    return parsed


def _check_file(text: str, url: URL) -> None:
    """A relative path names another file in each working folder; what follows a question mark is cut off from it."""
    if "?" in text or not Path(url.database or "").is_absolute():
        raise WrongSettings(
            "database_url is not usable: for SQLite it names a file by its whole path, and nothing else, as "
            "sqlite:////srv/pneumoscreen/pneumoscreen.db (in the path, % is written %25 and ? %3F)."
        )


def is_refused(error: BaseException | None) -> bool:
    """Whether PostgreSQL refuses the role a right, or any writing."""
    return getattr(error, "sqlstate", None) in ("42501", "25006")  # insufficient_privilege, read_only_sql_transaction


def connect_checked(url: str) -> Database:
    """Raises ServiceUnavailable if it is out of reach or has another schema than this program."""
    database = connect(url)
    try:
        database.check()
    except Exception:
        database.close()
        raise
    return database


@contextmanager
def opened(settings: "Settings") -> Iterator[Database]:
    """The database of the settings, closed at the end. Raises as `connect_checked`."""
    database = connect_checked(settings.database)
    try:
        yield database
    finally:
        database.close()


@contextmanager
def opened_by_admin(settings: "Settings") -> Iterator[Database]:
    """The database by `admin_database_url` where it is set, for what the services' own roles may not do.

    Raises as `connect_checked`.
    """
    if settings.admin_database_url is None:
        with opened(settings) as database:
            yield database
        return
    database = connect_checked(settings.admin_database_url.get_secret_value())
    try:
        yield database
    finally:
        database.close()


def _postgresql(url: URL) -> Engine:
    limits = {name: value for name, value in REACH.items() if name not in url.query}
    options = {**limits, "prepare_threshold": None}  # a pooler may give each transaction another connection
    engine = create_engine(url, pool_pre_ping=True, connect_args=options, hide_parameters=True, **ALL_THREADS)

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        connection.execute("SET TIME ZONE 'UTC'")  # times read the same whatever the server's zone is
        connection.commit()

    @event.listens_for(engine, "handle_error")
    def leave(context: ExceptionContext) -> None:
        if code(context.original_exception) in STALE:
            context.is_disconnect = True  # the pool connects anew

    @event.listens_for(engine, "handle_error")
    def name_the_role(context: ExceptionContext) -> None:
        connection = context.connection.connection.dbapi_connection if context.connection else None
        if is_refused(context.original_exception) and isinstance(context.sqlalchemy_exception, StatementError):
            context.sqlalchemy_exception.add_detail(f"the role {connection.info.user}" if connection else "this role")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        if connection.get_execution_options().get("pneumoscreen_begin") == "BEGIN IMMEDIATE":
            connection.exec_driver_sql(f"SET LOCAL idle_in_transaction_session_timeout = '{IDLE_SECONDS}s'")

    return engine


def _sqlite(file: Path, url: str) -> Engine:
    kind = network_filesystem(file)
    if kind is not None:
        raise WrongSettings(
            f"The SQLite database {file} lies on a network share ({kind}), where its locks cannot be trusted: "
            "put the home folder on a local disk, or set PNEUMOSCREEN_DATABASE_URL to a PostgreSQL database."
        )
    # The driver keeps statements prepared: of those with a thousand values, a hundred would hold a hundred megabytes.
    options = {"timeout": SQLITE_BUSY_SECONDS, "cached_statements": 16}
    engine = create_engine(url, connect_args=options, hide_parameters=True, **ALL_THREADS)  # paths are in parameters

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # the driver must not begin transactions of its own
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # Deferred transactions that read before they write fail with "database is locked", whatever the timeout.
        connection.exec_driver_sql(connection.get_execution_options().get("pneumoscreen_begin", "BEGIN"))

    return engine


def _alembic() -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    return config
