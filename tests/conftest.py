"""Fixtures and rules for every folder of tests."""

import gc
import importlib
import os
import shutil
import uuid
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import pytest
from redis import Redis
from sqlalchemy import Connection, NullPool, create_engine, text
from sqlalchemy.exc import DBAPIError
from xdist.scheduler import LoadScopeScheduling

from shared.database import Database, connect
from tests import pace, plan
from tests.faults.accounts import pytest_terminal_summary  # noqa: F401
from tests.servers import RedisServer, Servers, postgresql, redis


def pytest_configure(config: pytest.Config) -> None:
    """Measure this machine before anything runs on it."""
    pace.factor()


def pytest_report_header() -> str:
    return f"pace: limits are {pace.factor():g} times those of the reference machine (tests/pace.py)"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadScopeScheduling | None:
    return plan.FilesInOrder(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Compile what is to be collected, a share in each worker, and look for no garbage: all that is made here stays."""
    gc.disable()
    try:
        for module in plan.share(session.config):
            with suppress(pytest.skip.Exception):
                importlib.import_module(module)
        return (yield)
    finally:
        gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Generator[None, None, None]:
    """Each test has its place and its markers; when all markers are set, its limit is scaled to this machine."""
    plan.put_longest_first(items)
    plan.mark(items)
    yield
    for item in items:
        marker = item.get_closest_marker("timeout")
        seconds = float(marker.args[0] if marker else config.getini("timeout"))
        item.add_marker(pytest.mark.timeout(pace.seconds(seconds)), append=False)


@pytest.fixture(scope="module", autouse=True)
def _imports_are_no_garbage() -> None:
    """What was imported so far stays: else each collection of garbage walks it, and the product asks for some."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty SQLite database with the newest schema, to be copied: migrating takes longer than most tests."""
    file = tmp_path_factory.mktemp("migrated") / "pneumoscreen.db"
    database = connect(f"sqlite:///{file}")
    database.upgrade()
    database.close()
    return file


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """A real PostgreSQL server for the whole session; in CI its absence is a failure."""
    if shutil.which("initdb") is None and not os.environ.get("CI"):
        pytest.skip("PostgreSQL is not installed: initdb is not on the PATH")
    with postgresql() as url:
        yield url


@pytest.fixture(scope="session")
def migrated_template(postgresql_url: str) -> str:
    """A PostgreSQL database with the newest schema, to be copied as a template."""
    _administer(postgresql_url, "CREATE DATABASE migrated")
    database = connect(f"{postgresql_url}/migrated")
    database.upgrade()
    database.close()
    return "migrated"


@pytest.fixture(scope="session")
def redis_server() -> Iterator[str]:
    """A Redis with a password, as a hospital's own would be, for the whole session; its URL."""
    with redis() as url:
        yield url


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """The same, emptied: what an earlier test left in the lanes would keep a producer from sending."""
    with Redis.from_url(redis_server) as client:
        client.flushall()
    return redis_server


@pytest.fixture(scope="session")
def make_servers(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Servers | None]]:
    """Gives the servers that a running system is to use: a fresh database in the session's PostgreSQL, and a Redis.

    None for "sqlite": then the system uses a file, and a broker of its own.
    """
    brokers: list[RedisServer] = []

    def make(kind: str) -> Servers | None:
        if kind == "sqlite":
            return None
        server = request.getfixturevalue("postgresql_url")
        brokers.append(RedisServer())  # not one for all: what another system left running would take its messages
        database = _copy_of(server, request.getfixturevalue("migrated_template"))
        return Servers(f"{server}/{database}", brokers[-1].url)

    yield make
    for broker in brokers:
        broker.close()


@pytest.fixture(scope="session")
def databases(postgresql_url: str, migrated_template: str) -> "Databases":
    return Databases(postgresql_url, migrated_template)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """A fresh migrated database that settings loaded now name: SQLite in `tmp_path` as a home, then PostgreSQL."""
    if request.param == "sqlite":
        shutil.copyfile(request.getfixturevalue("migrated_file"), tmp_path / "pneumoscreen.db")
        database = connect(f"sqlite:///{tmp_path / 'pneumoscreen.db'}")
        yield database
        database.close()
        return
    databases: Databases = request.getfixturevalue("databases")
    name = databases.take()
    url = f"{databases.server}/{name}"
    monkeypatch.setenv("PNEUMOSCREEN_DATABASE_URL", url)
    database = connect(url)
    yield database
    database.close()
    databases.give_back(name)


SHAPE = """
    SELECT md5(string_agg(line, '|' ORDER BY line)) FROM (
        SELECT concat_ws(' ', 'relation', oid, relname, relkind, relowner, relacl) FROM pg_class
            WHERE relnamespace = 'public'::regnamespace
        UNION ALL SELECT concat_ws(' ', 'column', attrelid, attname, atttypid, attnotnull, attisdropped, attacl)
            FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid WHERE relnamespace = 'public'::regnamespace
        UNION ALL SELECT concat_ws(' ', 'version', version_num) FROM alembic_version
        UNION ALL SELECT concat_ws(' ', 'trigger', oid, tgname, tgenabled) FROM pg_trigger
        UNION ALL SELECT concat_ws(' ', 'function', oid, proname, proacl) FROM pg_proc
            WHERE pronamespace = 'public'::regnamespace
        UNION ALL SELECT concat_ws(' ', 'constraint', oid, conname) FROM pg_constraint
        UNION ALL SELECT concat_ws(' ', 'schema', nspname, nspowner, nspacl) FROM pg_namespace
            WHERE nspname NOT LIKE 'pg_%'
        UNION ALL SELECT concat_ws(' ', 'defaults', oid, defaclacl) FROM pg_default_acl
        UNION ALL SELECT concat_ws(' ', 'settings', setrole, setconfig) FROM pg_db_role_setting
        UNION ALL SELECT concat_ws(' ', 'database', datdba, datacl) FROM pg_database
            WHERE datname = current_database()
    ) AS lines (line)
"""
"""One text for all that a test may have changed of a database beside its rows."""
EMPTY = """
    SET session_replication_role = replica;
    DO $$ DECLARE each record; BEGIN
        IF EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()) THEN
            RAISE EXCEPTION 'somebody still works in it';
        END IF;
        FOR each IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version' LOOP
            EXECUTE 'DELETE FROM ' || quote_ident(each.tablename);
        END LOOP;
        PERFORM setval(oid::regclass, 1, false) FROM pg_class
            WHERE relkind = 'S' AND relnamespace = 'public'::regnamespace;
    END $$
"""
"""Deleting a few rows is faster than TRUNCATE, which makes a new file of each table and index."""


class Databases:
    """Migrated and empty databases of one server.

    One whose rows alone were changed is emptied and given out again: to copy the template for each test takes six times
    as long, and leaves thousands of files to delete at the end.
    """

    def __init__(self, server: str, template: str) -> None:
        self.server, self._template = server, template
        self._shapes: dict[str, str] = {}
        self._free: list[str] = []

    def after(self, prepare: Callable[[Database], None]) -> "Databases":
        """Databases that were prepared alike: once, in a template of their own."""
        template = _copy_of(self.server, self._template)
        database = connect(f"{self.server}/{template}")
        prepare(database)
        database.close()
        return Databases(self.server, template)

    def take(self) -> str:
        if self._free:
            return self._free.pop()
        name = _copy_of(self.server, self._template)
        with self._connected(name) as connection:
            self._shapes[name] = _shape(connection)
        return name

    def give_back(self, name: str) -> None:
        """To be given out again, unless its schema or its rights were changed, or somebody still works in it."""
        try:
            with self._connected(name) as connection:
                if _shape(connection) == self._shapes[name]:
                    connection.exec_driver_sql(EMPTY)
                    self._free.append(name)
        except DBAPIError:
            return

    def _connected(self, name: str) -> AbstractContextManager[Connection]:
        return create_engine(f"{self.server}/{name}", poolclass=NullPool, isolation_level="AUTOCOMMIT").connect()


def _shape(connection: Connection) -> str:
    return str(connection.exec_driver_sql(SHAPE.replace("%", "%%")).scalar())


def _copy_of(server: str, template: str) -> str:
    name = f"test_{uuid.uuid4().hex}"
    _administer(server, f"CREATE DATABASE {name} TEMPLATE {template}")
    return name


def _administer(server: str, statement: str) -> None:
    engine = create_engine(f"{server}/postgres", isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()
