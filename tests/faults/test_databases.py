"""Databases killed, frozen, full of others' connections or locked by others; and a disk that is full."""

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from redis import Redis
from sqlalchemy import Connection, NullPool, create_engine, text
from sqlalchemy.exc import DBAPIError, OperationalError

from shared.database.connection import SQLITE_BUSY_SECONDS
from tests import pace
from tests.faults.trial import IS_LONG, STRIKES, Trial, struck
from tests.models import make_linear_version
from tests.servers import PostgreSQL, Servers
from tests.system import SECONDS, System

StartTrial = Callable[[System, str], Trial]
DOWN_SECONDS = 1.5
FROZEN_SECONDS = 30.0 if IS_LONG else pace.span(5)
"""Longer than the lease in either form; in the short one the suite has no half minute for each strike."""
HELD_SECONDS = 10.0 if IS_LONG else 3.0
"""How long nobody else gets a connection."""
LOCKED_SECONDS = 20.0 if IS_LONG else 4.0
FULL_SECONDS = 10.0 if IS_LONG else 3.0
DISK = 192 * 2**20
LOCK = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
connection.execute("BEGIN " + sys.argv[2])
time.sleep(float(sys.argv[3]))
connection.rollback()
"""


@pytest.fixture(scope="module")
def postgresql() -> Iterator[PostgreSQL]:
    """With few connections, and of this module's own: others' tests do not like theirs killed."""
    server = PostgreSQL(max_connections=20)
    yield server
    server.close()


@pytest.fixture(scope="module")
def on_postgresql(
    postgresql: PostgreSQL, redis_server: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    with Redis.from_url(redis_server) as redis:
        redis.flushall()
    with _connected(f"{postgresql.url}/postgres") as connection:
        connection.execute(text("CREATE DATABASE faults"))
    servers = Servers(f"{postgresql.url}/faults", redis_server)
    with struck(tmp_path_factory.mktemp("postgresql"), servers) as found:
        yield found


@pytest.fixture(scope="module")
def on_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Its home is a small disk where this may be mounted, and nothing makes it pause before that is full."""
    folder = tmp_path_factory.mktemp("sqlite")
    with _small_disk(folder / "home"), struck(folder, pace=0.05, PNEUMOSCREEN_MIN_FREE_DISK="0") as found:
        yield found


def test_a_postgresql_that_ends_amid_a_transaction_and_starts_again_loses_nothing(
    on_postgresql: System, postgresql: PostgreSQL, trial: StartTrial
) -> None:
    fault = trial(on_postgresql, "PostgreSQL killed, or ended at once, and started again")
    ways = itertools.cycle([postgresql.kill, postgresql.crash])

    def blow() -> None:
        with _connected(f"{postgresql.url}/postgres") as connection:
            backend = _halt_amid_a_transaction(connection)
            if (way := next(ways)) == postgresql.crash:  # which asks the backends to end
                backend.send_signal(signal.SIGQUIT)  # before it goes on, so that it does nothing else first
                backend.resume()
            way()
        time.sleep(DOWN_SECONDS)
        postgresql.start()

    for _ in range(STRIKES):
        fault.strike(blow)
    fault.end()


@pytest.mark.soak  # for work, it is a network that is cut: test_networks.py
def test_a_postgresql_that_freezes_for_longer_than_a_lease_loses_nothing(
    on_postgresql: System, postgresql: PostgreSQL, trial: StartTrial
) -> None:
    fault = trial(on_postgresql, f"PostgreSQL frozen for {FROZEN_SECONDS:.0f} s")

    def blow() -> None:
        with postgresql.frozen():
            time.sleep(FROZEN_SECONDS)

    for _ in range(STRIKES):
        fault.strike(blow, outlasts=True)
    fault.end()


@pytest.mark.soak  # one that is killed has none either
def test_a_postgresql_that_has_no_connection_left_loses_nothing(
    on_postgresql: System, postgresql: PostgreSQL, trial: StartTrial
) -> None:
    fault = trial(on_postgresql, "PostgreSQL without a connection left")

    def blow() -> None:
        with _all_connections(f"{postgresql.url}/faults"):
            time.sleep(HELD_SECONDS)

    for _ in range(STRIKES):
        fault.strike(blow, outlasts=True)
    fault.end()


def test_a_sqlite_database_that_another_process_locks_loses_nothing(on_sqlite: System, trial: StartTrial) -> None:
    fault = trial(on_sqlite, f"SQLite locked for {LOCKED_SECONDS:.0f} s")
    for number in range(STRIKES):
        kind = ("EXCLUSIVE", "IMMEDIATE")[number % 2]
        fault.strike(lambda kind=kind: _lock(on_sqlite, kind, LOCKED_SECONDS), outlasts=True)  # type: ignore[misc]
    fault.end()


@pytest.mark.soak  # takes minutes
def test_a_sqlite_database_locked_for_longer_than_anybody_waits_loses_nothing(
    on_sqlite: System, trial: StartTrial
) -> None:
    seconds = SQLITE_BUSY_SECONDS + 10.0
    fault = trial(on_sqlite, f"SQLite locked for {seconds:.0f} s, longer than its busy timeout")
    for _ in range(3):
        fault.strike(lambda: _lock(on_sqlite, "EXCLUSIVE", seconds), outlasts=True)
    fault.end()


def test_a_full_disk_for_database_broker_models_and_logs_loses_nothing(
    on_sqlite: System, tmp_path: Path, trial: StartTrial
) -> None:
    _skip_unless_small(on_sqlite.home)
    fault = trial(on_sqlite, "disk full: database, broker, models, logs")
    version = make_linear_version(tmp_path, "linear-2")
    is_refused = False

    def blow() -> None:
        nonlocal is_refused
        _empty_log(on_sqlite)
        with _filled(on_sqlite.home):
            time.sleep(FULL_SECONDS)
            if not is_refused:
                found = on_sqlite.command("models", "publish", str(version))
                is_refused = True
                assert found.returncode == 1, found.stderr
                said = " ".join(found.stderr.split())  # lines are cut anywhere
                assert "No space left on device" in said or "database or disk is full" in said, said
                assert "[(" not in said, "a sentence, not a list"

    for _ in range(STRIKES):
        fault.strike(blow, outlasts=True)
    fault.end()
    found = on_sqlite.command("models", "publish", str(version))
    assert found.returncode == 0, found.stderr
    logs = [(on_sqlite.home / "logs" / f"{name}.log").read_text() for name in ("producer", "worker")]
    assert any("database or disk is full" in log for log in logs), "SQLite found room all the time"


@pytest.mark.soak  # takes another system
def test_a_disk_that_runs_low_makes_the_producer_pause_and_loses_nothing(tmp_path: Path, trial: StartTrial) -> None:
    low = DISK // 4
    with _small_disk(tmp_path / "home"), struck(tmp_path, PNEUMOSCREEN_MIN_FREE_DISK=str(low)) as system:
        _skip_unless_small(system.home)
        fault = trial(system, "disk low: below min_free_disk")

        log = system.home / "logs" / "producer.log"
        for _ in range(STRIKES):
            before = fault.drop()
            fault.wait(lambda before=before: fault.finished(before), "work to go on")  # type: ignore[misc]
            said = log.read_text().count("min_free_disk")
            with _filled(system.home, left=low // 2):
                fault.wait(lambda said=said: log.read_text().count("min_free_disk") > said, "it to pause")  # type: ignore[misc]
                folder = fault.drop()
                time.sleep(FULL_SECONDS)
                assert fault.finished(folder) == 0
            fault.strikes += 1
        fault.end()


@contextmanager
def _connected(url: str) -> Iterator[Connection]:
    """Each statement is a transaction of its own; at the end the server may be gone."""
    engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    connection = engine.connect()
    try:
        yield connection
    finally:
        with suppress(DBAPIError):
            connection.close()


def _halt_amid_a_transaction(connection: Connection) -> psutil.Process:
    """Halt a backend that has written and not committed."""
    writing = text("SELECT pid FROM pg_stat_activity WHERE datname = 'faults' AND backend_xid IS NOT NULL")
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:  # without a pause: such transactions are short
        for pid in connection.execute(writing).scalars():
            with suppress(psutil.NoSuchProcess):
                backend = psutil.Process(pid)
                backend.suspend()
                if pid in connection.execute(writing).scalars().all():  # else it ended before it was halted
                    return backend
                backend.resume()
    raise AssertionError("no transaction writes")


@contextmanager
def _all_connections(url: str) -> Iterator[None]:
    """Every connection that the server has, those of the running system too: they are terminated and taken."""
    engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    held = [engine.connect()]
    others = text("SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND NOT pid = ANY(:ours)")
    try:
        while True:
            with suppress(OperationalError):  # refused: none is left, but for those of others
                while True:
                    held.append(engine.connect())
            ours = {"ours": [connection.connection.dbapi_connection.info.backend_pid for connection in held]}
            if not (pids := held[0].execute(others, ours).scalars().all()):
                break
            for pid in pids:
                held[0].execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
        yield
    finally:
        for connection in held:
            connection.close()


def _lock(system: System, kind: str, seconds: float) -> None:
    database = str(system.home / "pneumoscreen.db")
    subprocess.run([sys.executable, "-c", LOCK, database, kind, str(seconds)], check=True)


@contextmanager
def _small_disk(home: Path) -> Iterator[None]:
    """Mount a small disk as a home, with what `up` says in it too; where that takes rights, it stays a folder."""
    home.mkdir()
    with suppress(FileNotFoundError):
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", home], capture_output=True)
    (home.parent / "up.out").symlink_to(home / "up.out")
    try:
        yield
    finally:
        if home.is_mount():
            subprocess.run(["umount", "--lazy", home], check=True)


def _skip_unless_small(home: Path) -> None:
    if not home.is_mount():
        pytest.skip("a small disk is needed to be filled, and mounting one takes root")


def _empty_log(system: System) -> None:
    """Let SQLite's write-ahead log begin anew: a large one holds many more rows without room for any more."""
    engine = create_engine(system.database_url, poolclass=NullPool, connect_args={"timeout": 60})
    with engine.connect() as connection:
        while connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()[0]:
            time.sleep(0.01)


@contextmanager
def _filled(disk: Path, left: int = 0) -> Iterator[None]:
    """Keep a disk full, but for some bytes, whatever others delete; and make room again."""
    assert disk.is_mount(), "never that of the machine"
    filler, is_over = disk / "filler", threading.Event()

    def keep() -> None:
        with filler.open("wb", buffering=0) as file:
            while not is_over.wait(0.005):
                if (free := psutil.disk_usage(str(disk)).free - left) > 0:
                    with suppress(OSError):
                        os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), free)

    thread = threading.Thread(target=keep)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
        filler.unlink()
