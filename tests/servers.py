"""Real servers for tests, on free ports, in temporary folders, started and stopped by the tests."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

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


@contextmanager
def postgresql() -> Iterator[str]:
    """A PostgreSQL of its own; yields the SQLAlchemy URL of its superuser, without a database's name."""
    folder = Path(mkdtemp(prefix="pg-"))  # short: a socket's path must be
    folder.chmod(0o755)
    data, port = folder / "data", free_port()
    as_user: dict[str, Any] = {"cwd": "/", "stdout": subprocess.DEVNULL, "check": True}
    if os.geteuid() == 0:  # initdb refuses root
        as_user["user"] = "postgres"
        shutil.chown(folder, "postgres")
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off -c max_connections=60"
    try:
        subprocess.run(
            ["initdb", "-D", data, "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"], **as_user
        )
        subprocess.run(["pg_ctl", "-D", data, "-o", options, "-w", "-l", folder / "log", "start"], **as_user)
        yield f"postgresql+psycopg://postgres@127.0.0.1:{port}"
        subprocess.run(["pg_ctl", "-D", data, "-m", "immediate", "stop"], **as_user)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def redis() -> Iterator[str]:
    """A Redis of its own with a password, an append-only file and no eviction; yields its URL."""
    folder, port = Path(mkdtemp(prefix="redis-")), free_port()
    options = {"port": port, "bind": "127.0.0.1", "dir": folder, "requirepass": "test", "appendonly": "yes"}
    options |= {"maxmemory-policy": "noeviction", "save": ""}
    command = [private_broker.server(), *(str(part) for name in options for part in (f"--{name}", options[name]))]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    url = f"redis://:test@127.0.0.1:{port}/0"
    try:
        wait_until_ready(url, 20)
        yield url
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)
