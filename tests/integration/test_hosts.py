"""Two hosts that share PostgreSQL, Redis and storage, each with a home and a mount point of its own."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import NullPool, create_engine, text

from shared import database
from tests.models import go_live, make_linear_version
from tests.servers import Servers
from tests.system import QUICK, SECONDS, distinct, environment, specimens


@contextmanager
def service(name: str, home: Path, servers: Servers, log: Path) -> Iterator[None]:
    variables = environment(home, **QUICK, **servers.variables, PNEUMOSCREEN_HOME=str(home))
    with log.open("w") as output:
        command = [sys.executable, "-m", "cli.main", name]
        process = subprocess.Popen(command, env=variables, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()


def test_a_worker_on_another_host_finds_the_files_at_its_own_mount_and_the_shared_models(
    tmp_path: Path, make_servers: Callable[[str], Servers | None]
) -> None:
    servers = make_servers("postgresql")
    assert servers is not None
    storage = tmp_path / "storage"
    (storage / "xrays").mkdir(parents=True)
    ledger = database.connect(servers.database_url)
    go_live(ledger, make_linear_version(storage / "models", "linear-1"))
    ledger.close()
    for host in ("one", "two"):
        home, mount = tmp_path / host, tmp_path / f"mount-{host}"
        home.mkdir()
        mount.symlink_to(storage)  # each host's own path to the same storage
        (home / "models").symlink_to(storage / "models")
        (home / "pneumoscreen.toml").write_text(f'[sources.ward]\npath = "{mount}/xrays"\n')
    with (
        service("producer", tmp_path / "one", servers, tmp_path / "producer.log"),
        service("worker", tmp_path / "two", servers, tmp_path / "worker.log"),
    ):
        for number in range(5):
            distinct(specimens()[number], storage / "xrays" / f"{number}.jpeg", time.monotonic_ns() % 10**12)
        engine = create_engine(servers.database_url, poolclass=NullPool)
        deadline = time.monotonic() + SECONDS
        rows: list[tuple[str, str]] = []
        while len(rows) < 5:
            assert time.monotonic() < deadline, (tmp_path / "worker.log").read_text()
            time.sleep(0.1)
            with engine.connect() as connection:
                query = "SELECT root, path FROM results WHERE state = 'done' ORDER BY path"
                rows = [(root, path) for root, path in connection.execute(text(query))]
    assert rows == [("ward", f"{number}.jpeg") for number in range(5)]
