"""Real servers for tests, on free ports, in temporary folders, started and stopped by the tests."""

import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import psutil
from sqlalchemy import NullPool, create_engine
from sqlalchemy.exc import OperationalError

from cli import private_broker
from cli.private_broker import free_port
from shared.broker import wait_until_ready


@dataclass(frozen=True)
class Servers:
    """Where a running system finds a database and a broker that are not its own."""

    database_url: str
    broker_url: str

    @property
    def variables(self) -> dict[str, str]:
        return {"PNEUMOSCREEN_DATABASE_URL": self.database_url, "PNEUMOSCREEN_BROKER_URL": self.broker_url}


class PostgreSQL:
    """A PostgreSQL of its own, on a port that it keeps: it can be killed, frozen and started again."""

    def __init__(self, max_connections: int = 60) -> None:
        self.folder = Path(mkdtemp(prefix="pg-"))  # short: a socket's path must be
        self.folder.chmod(0o755)
        self.url = f"postgresql+psycopg://postgres@127.0.0.1:{free_port()}"
        self._max_connections = max_connections
        self._as_user: dict[str, Any] = {"cwd": "/", "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        if os.geteuid() == 0:  # initdb refuses root
            self._as_user["user"] = "postgres"
            shutil.chown(self.folder, "postgres")
        command = ["initdb", "-D", self.folder / "data", "-U", "postgres", "--auth=trust", "--encoding=UTF8"]
        subprocess.run([*command, "--locale=C"], check=True, **self._as_user)
        self.start()

    def start(self) -> None:
        """As a child of this process, which therefore sees it end; returns when it answers."""
        binary = Path(shutil.which("initdb") or "").resolve().parent / "postgres"
        options = {"listen_addresses": "127.0.0.1", "fsync": "off", "max_connections": self._max_connections}
        command = [binary, "-D", self.folder / "data", "-p", self.url.rpartition(":")[2], "-k", self.folder]
        command += [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("a") as log:
            self.process = subprocess.Popen(command, **{**self._as_user, "stderr": log})
        deadline, engine = time.monotonic() + 60, create_engine(f"{self.url}/postgres", poolclass=NullPool)
        while True:
            try:
                engine.connect().close()
            except OperationalError:
                log_text = (self.folder / "log").read_text(errors="replace")
                assert self.process.poll() is None and time.monotonic() < deadline, log_text
                time.sleep(0.05)
            else:
                return

    def kill(self) -> None:
        """SIGKILL to all of its processes."""
        found = self._halted()
        for process in found:
            process.kill()
        self.process.wait()
        while any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in found):
            time.sleep(0.01)

    def crash(self) -> None:
        """What `pg_ctl stop -m immediate` does: it ends at once, and recovers when it is started again."""
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It hears nothing and says nothing, but its connections stand: as on a machine whose disk hangs."""
        found = self._halted()
        try:
            yield
        finally:
            for process in found:
                with suppress(psutil.NoSuchProcess):
                    process.resume()

    def close(self) -> None:
        if self.process.poll() is None:
            self.crash()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _halted(self) -> list[psutil.Process]:
        """Its processes, halted: the first of them first, so that it makes no more."""
        first = psutil.Process(self.process.pid)
        first.suspend()
        found = [first, *first.children(recursive=True)]
        for process in found:
            with suppress(psutil.NoSuchProcess):
                process.suspend()
        return found


@contextmanager
def postgresql() -> Iterator[str]:
    """A PostgreSQL of its own; yields the SQLAlchemy URL of its superuser, without a database's name."""
    server = PostgreSQL()
    try:
        yield server.url
    finally:
        server.close()


def _calm_port() -> int:
    """A free port below those that Linux gives to outgoing connections."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port


class RedisServer:
    """A Redis of its own with a password, an append-only file and no eviction: it can be killed and started again.

    Its port is one that no outgoing connection is given, which could take it while the server is down.
    """

    def __init__(self) -> None:
        self.folder = Path(mkdtemp(prefix="redis-"))
        self._port = _calm_port()
        self.url = f"redis://:test@127.0.0.1:{self._port}/0"
        self.start()

    def start(self) -> None:
        """With what its folder holds; returns when it answers."""
        options = {"port": self._port, "bind": "127.0.0.1", "dir": self.folder, "requirepass": "test"}
        options |= {"appendonly": "yes", "maxmemory-policy": "noeviction", "save": ""}
        command = [private_broker.server(), *(str(part) for name in options for part in (f"--{name}", options[name]))]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        wait_until_ready(self.url, 20)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        if self.process.poll() is None:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def redis() -> Iterator[str]:
    """A Redis of its own; yields its URL."""
    server = RedisServer()
    try:
        yield server.url
    finally:
        server.close()
