"""The whole system, as a user starts it: from files dropped into the inbox to rows in SQL."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import psutil
from sqlalchemy import select
from sqlalchemy.exc import DatabaseError

from shared import database
from shared.database import Database, Sighting, SightingState, Worker
from shared.errors import ServiceUnavailable, WorkFailed

START_SECONDS = 180
IDLE_SECONDS = 120


def main(files: Path, work: Path) -> None:
    """The files are moved into the inbox: a drop that takes no time of its own."""
    inbox = work / "inbox"
    with running(work, inbox) as (system, with_database):
        count = len(list(files.iterdir()))
        dropped = time.time()
        files.rename(inbox / "drop")
        try:
            finished, worker = _wait_until_finished(with_database, count, system)
        finally:
            (inbox / "drop").rename(files)
    # Steady state: between the first tenth and the last, start-up and end left out.
    first, last = finished[len(finished) // 10], finished[-len(finished) // 10]
    steady = sum(first < instant <= last for instant in finished) / (last - first)
    result = {
        "images_per_second": steady,
        "from_drop_to_last_row": count / (finished[-1] - dropped),
        "seconds_to_first_row": finished[0] - dropped,
        "worker_mb_at_a_tenth": worker[0],
        "worker_mb_at_the_end": worker[-1],
    }
    print(json.dumps(result))


@contextmanager
def running(work: Path, inbox: Path) -> Iterator[tuple["subprocess.Popen[bytes]", Database]]:
    """`up` in a home of its own, ready to screen."""
    home = work / "home"
    inbox.mkdir(parents=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PNEUMOSCREEN_")}
    command = [
        sys.executable,
        "-m",
        "cli.main",
        "up",
        "--home",
        str(home),
        "--inbox",
        str(inbox),
        "--flower-port",
        "off",
    ]
    with (work / "up.out").open("w") as output:
        system = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield system, _wait_until_ready(home, system)
    finally:
        system.send_signal(signal.SIGTERM)
        system.wait(120)


def megabytes(system: "subprocess.Popen[bytes]", part: str) -> float:
    """Resident memory of the largest process of the system whose command line has this part, in MB."""
    children = psutil.Process(system.pid).children(recursive=True)
    return max(child.memory_info().rss for child in children if part in " ".join(child.cmdline())) / 1e6


def _wait_until_ready(home: Path, system: "subprocess.Popen[bytes]") -> Database:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and system.poll() is None:
        time.sleep(0.5)
        if not (home / "pneumoscreen.db").exists():
            continue
        with_database = database.connect(f"sqlite:///{home / 'pneumoscreen.db'}")
        try:
            with_database.check()
            with with_database.read() as session:
                if session.scalar(select(Worker.pid).where(Worker.model_version.is_not(None))):
                    return with_database
        except (ServiceUnavailable, DatabaseError):  # the tables are being made
            with_database.close()
    raise WorkFailed(f"The system did not start: see {home / 'logs'}.")


def _wait_until_finished(
    with_database: Database, count: int, system: "subprocess.Popen[bytes]"
) -> tuple[list[float], list[float]]:
    """When each image was finished, in seconds, in order; the worker's memory in MB since a tenth was finished."""
    worker: list[float] = []
    finished: list[datetime] = []
    last_progress = time.monotonic()
    while len(finished) < count:
        if system.poll() is not None or time.monotonic() - last_progress > IDLE_SECONDS:
            raise WorkFailed(f"The system stopped after {len(finished)} of {count} images.")
        time.sleep(1.0)
        before = len(finished)
        with with_database.read() as session:
            done = select(Sighting.finished_at).where(Sighting.state == SightingState.DONE)
            finished = [instant for instant in session.scalars(done) if instant is not None]
        if len(finished) > before:
            last_progress = time.monotonic()
        if len(finished) > count / 10:
            worker.append(megabytes(system, "worker.app worker"))
    return sorted(instant.timestamp() for instant in finished), worker


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
