"""PgBouncer in transaction mode before a real PostgreSQL: each transaction may get another connection."""

import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import mkdtemp

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from bench.servers import calm_port
from shared.database import Database, connect
from tests.unit.steps import finish, in_hand, rows, screened

pytestmark = pytest.mark.skipif(shutil.which("pgbouncer") is None, reason="PgBouncer is not installed")
SECONDS = 20


@pytest.fixture
def pooler(postgresql_url: str) -> Iterator[str]:
    """The address of a server's pooler, without a database's name."""
    folder, port = Path(mkdtemp(prefix="pool-")), calm_port()
    settings = {
        "listen_addr": "127.0.0.1",
        "listen_port": port,
        "unix_socket_dir": "",
        "auth_type": "any",
        "pool_mode": "transaction",
        "default_pool_size": 5,
        "logfile": folder / "log",
    }
    lines = ["[databases]", f"* = host=127.0.0.1 port={postgresql_url.rpartition(':')[2]} user=postgres", "[pgbouncer]"]
    (folder / "ini").write_text("\n".join([*lines, *(f"{name} = {value}" for name, value in settings.items())]))
    folder.chmod(0o777)
    user = {"user": "postgres"} if os.geteuid() == 0 else {}  # it refuses root
    process = subprocess.Popen(["pgbouncer", str(folder / "ini")], stderr=subprocess.DEVNULL, **user)  # type: ignore[call-overload]
    try:
        yield f"postgresql+psycopg://postgres@127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder)


def opened(url: str) -> Database:
    """The database, when the pooler answers."""
    database, deadline = connect(url), time.monotonic() + SECONDS
    while True:
        try:
            with database.read() as session:
                session.execute(text("SELECT 1"))
        except OperationalError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        else:
            return database


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_statements_that_run_often_need_no_connection_of_their_own(database: Database, pooler: str) -> None:
    """Whoever holds a connection leaves the next transaction another one, on which nothing was prepared."""
    url = f"{pooler}/{database.engine.url.database}"
    mine, others = opened(url), opened(url)
    with closing(mine), closing(others):
        _work_in_turns(mine, others)


def _work_in_turns(mine: Database, others: Database) -> None:
    for number in range(8):
        finish(mine, screened(*in_hand(mine, f"{number}.png"), content=f"{number}"))
    with others.write() as session:
        session.execute(text("SELECT 1"))
        for number in range(8, 10):
            finish(mine, screened(*in_hand(mine, f"{number}.png"), content=f"{number}"))
    with mine.read() as session:
        assert session.scalar(text("SHOW timezone")) == "UTC"
    assert {row["state"] for row in rows(mine)} == {"done"}


def test_a_migration_through_a_pooler_leaves_no_lock_behind(postgresql_url: str, pooler: str) -> None:
    name = f"pooled_{secrets.token_hex(8)}"
    server = opened(f"{postgresql_url}/postgres")
    with server.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    for _ in range(2):
        database = opened(f"{pooler}/{name}")
        database.upgrade()
        database.check()
        database.close()
    locks = "SELECT count(*) FROM pg_locks JOIN pg_database ON database = pg_database.oid WHERE locktype = 'advisory'"
    with server.read() as session:
        assert session.scalar(text(f"{locks} AND datname = :name"), {"name": name}) == 0
    server.close()
