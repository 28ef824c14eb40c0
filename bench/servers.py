"""A PostgreSQL and a Redis of one's own, on free ports, in temporary folders: where a running system finds them."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from sqlalchemy import NullPool, create_engine
from sqlalchemy.exc import OperationalError

from shared.base.errors import ServiceUnavailable
from shared.queue.broker import wait_until_ready

START_SECONDS = 60


@dataclass(frozen=True)
class Servers:
    """Where a running system finds a database and a broker that are not its own."""

    database_url: str
    broker_url: str

    @property
    def variables(self) -> dict[str, str]:
        return {"PNEUMOSCREEN_DATABASE_URL": self.database_url, "PNEUMOSCREEN_BROKER_URL": self.broker_url}


class PostgreSQL:
    """A PostgreSQL of its own, on a port that it keeps; `url` is its superuser's, without a database's name."""

    def __init__(self, **options: Any) -> None:
        """Raises ServiceUnavailable if this machine has none."""
        initdb = shutil.which("initdb")
        if initdb is None:
            raise ServiceUnavailable("No PostgreSQL was found on this machine: there is no initdb on the PATH.")
        self.folder = Path(mkdtemp(prefix="pg-"))  # short: a socket's path must be
        self.folder.chmod(0o755)
        self.url = f"postgresql+psycopg://postgres@127.0.0.1:{calm_port()}"
        self._options = {"listen_addresses": "127.0.0.1", **options}
        self._binary = Path(initdb).resolve().parent / "postgres"
        self._as_user: dict[str, Any] = {"cwd": "/", "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        if os.geteuid() == 0:  # initdb refuses root
            self._as_user["user"] = "postgres"
            shutil.chown(self.folder, "postgres")
        command = [initdb, "-D", str(self.folder / "data"), "-U", "postgres", "--auth=trust", "--encoding=UTF8"]
        subprocess.run([*command, "--locale=C"], check=True, **self._as_user)
        self.start()

    def start(self) -> None:
        """As a child of this process, which therefore sees it end; returns when it answers."""
        command = [str(self._binary), "-D", str(self.folder / "data"), "-p", self.url.rpartition(":")[2]]
        command += ["-k", str(self.folder)]
        command += [part for name, value in self._options.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("a") as log:
            self.process = subprocess.Popen(command, **{**self._as_user, "stderr": log})
        deadline, engine = time.monotonic() + START_SECONDS, create_engine(f"{self.url}/postgres", poolclass=NullPool)
        while True:
            try:
                engine.connect().close()
            except OperationalError as error:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    reason = (self.folder / "log").read_text(errors="replace")
                    raise ServiceUnavailable(f"PostgreSQL does not start: {reason}") from error
                time.sleep(0.05)
            else:
                return

    def crash(self) -> None:
        """What `pg_ctl stop -m immediate` does: it ends at once, and recovers when it is started again."""
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait()

    def close(self) -> None:
        if self.process.poll() is None:
            self.crash()
        shutil.rmtree(self.folder, ignore_errors=True)


class RedisServer:
    """A Redis of its own with a password, an append-only file and no eviction."""

    def __init__(self, program: str) -> None:
        """`program` is the path of a redis-server or valkey-server."""
        self._program = program
        self._password = secrets.token_urlsafe(16)
        self.folder = Path(mkdtemp(prefix="redis-"))
        self._port = calm_port()
        self.url = f"redis://:{self._password}@127.0.0.1:{self._port}/0"
        self.start()

    def start(self) -> None:
        """With what its folder holds; returns when it answers."""
        options = {"port": self._port, "bind": "127.0.0.1", "dir": self.folder, "requirepass": self._password}
        options |= {"appendonly": "yes", "maxmemory-policy": "noeviction", "save": ""}
        command = [self._program, *(str(part) for name in options for part in (f"--{name}", options[name]))]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        wait_until_ready(self.url, START_SECONDS)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        if self.process.poll() is None:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def started(stack: ExitStack, server: str) -> Servers:
    """A PostgreSQL and a Redis of its own, which end with the stack."""
    postgresql = PostgreSQL()
    stack.callback(postgresql.close)
    redis = RedisServer(server)
    stack.callback(redis.close)
    return Servers(f"{postgresql.url}/postgres", redis.url)


def calm_port() -> int:
    """A free port below those that Linux gives to outgoing connections, which could take it while a server is down."""
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port
