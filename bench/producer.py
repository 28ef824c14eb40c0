"""The producer alone: files appear in its folder, and again it is started beside files that it knows."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from sqlalchemy import func, select

from bench.servers import RedisServer
from bench.system import PLACES, end
from shared import database
from shared.base.errors import WorkFailed
from shared.database import Database, Sighting

MAX_SECONDS = 900
SETTLED_SECONDS = 3.0
"""More than the setting `settle`: after it a producer takes a file at its first look."""


def measure(files: Path, work: Path, server: str, names: int = 100_000) -> dict[str, float]:
    """`server` is the path of a redis-server. No worker takes what the producer sends: the time is its own."""
    inbox = work / "inbox"
    inbox.mkdir(parents=True)
    with_database = database.connect(f"sqlite:///{work / 'pneumoscreen.db'}")
    with_database.upgrade()
    redis = RedisServer(server)
    try:
        (inbox / "first.jpeg").write_text("first")
        with _producer(work, inbox, redis.url) as process:
            start, _ = _wait_for(with_database, 1, process)
            began = time.monotonic()
            for number in range(names):
                (inbox / f"{number}.jpeg").write_text(str(number))
            made = time.monotonic() - began
            _, peak = _wait_for(with_database, names + 1, process)
            seconds = time.monotonic() - began
        # What lies in a folder of the root is looked at after what lies in the root itself.
        (inbox / "later").mkdir()
        (inbox / "later" / "new.jpeg").write_text("new")
        with _producer(work, inbox, redis.url) as process:
            restart, again = _wait_for(with_database, names + 2, process)
    finally:
        redis.close()
        with_database.close()
    return {
        "names_per_second": names / seconds,
        "names_written_per_second": names / made,
        "mb_at_most": max(peak, again),
        "restart_seconds": restart - start,
    }


@contextmanager
def _producer(work: Path, inbox: Path, broker_url: str) -> Iterator[psutil.Popen]:
    """Started when all that lies in the inbox has settled, so that no start includes the wait for it."""
    time.sleep(SETTLED_SECONDS)
    kept = {name: value for name, value in os.environ.items() if name not in PLACES}
    settings = {"SOURCES": f'{{"inbox": {{"path": "{inbox}"}}}}', "BROKER_URL": broker_url}
    environment = kept | {f"PNEUMOSCREEN_{name}": value for name, value in settings.items()}
    command = [sys.executable, "-m", "cli.main", "producer", "--home", str(work)]
    with (work / "producer.out").open("a") as output:
        process = psutil.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        end(process)


def _wait_for(with_database: Database, files: int, process: psutil.Popen) -> tuple[float, float]:
    """Seconds until so many files are registered, and the producer's memory in MB at its largest meanwhile."""
    began, peak = time.monotonic(), 0.0
    while True:
        peak = max(peak, process.memory_info().rss / 1e6)
        with with_database.read() as session:
            registered = session.scalar(select(func.max(Sighting.id))) or 0
        if registered >= files:
            return time.monotonic() - began, peak
        if process.poll() is not None or time.monotonic() - began > MAX_SECONDS:
            raise WorkFailed(f"The producer registered {registered} of {files} files.")
        time.sleep(0.1)
