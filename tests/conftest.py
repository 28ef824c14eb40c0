"""Fixtures for every folder of tests."""

import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from shared.database import Database, connect
from tests.faults.accounts import pytest_terminal_summary  # noqa: F401
from tests.servers import RedisServer, Servers, postgresql, redis


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
def redis_url() -> Iterator[str]:
    """A Redis with a password, as a hospital's own would be, for the whole session."""
    with redis() as url:
        yield url


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


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """A fresh migrated database that settings loaded now name: SQLite in `tmp_path` as a home, then PostgreSQL."""
    if request.param == "sqlite":
        shutil.copyfile(request.getfixturevalue("migrated_file"), tmp_path / "pneumoscreen.db")
        database = connect(f"sqlite:///{tmp_path / 'pneumoscreen.db'}")
    else:
        server = request.getfixturevalue("postgresql_url")
        name = _copy_of(server, request.getfixturevalue("migrated_template"))
        database = connect(f"{server}/{name}")
        monkeypatch.setenv("PNEUMOSCREEN_DATABASE_URL", f"{server}/{name}")
    yield database
    database.close()


def _copy_of(server: str, template: str) -> str:
    name = f"test_{uuid.uuid4().hex}"
    _administer(server, f"CREATE DATABASE {name} TEMPLATE {template}")
    return name


def _administer(server: str, statement: str) -> None:
    engine = create_engine(f"{server}/postgres", isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()
