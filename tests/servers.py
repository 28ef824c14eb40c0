"""Real servers for tests, on free ports, in temporary folders, started and stopped by the tests."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from cli.private_broker import free_port


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
