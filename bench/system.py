"""The whole system, as a user starts it: from files dropped into the inbox to rows in SQL."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
from sqlalchemy import case, func, select
from sqlalchemy.exc import DatabaseError

from bench import growth, servers
from shared import database
from shared.base.errors import ServiceUnavailable, WorkFailed
from shared.base.settings import default_processes
from shared.database import Database, Sighting, SightingState, Worker

START_SECONDS = 180
END_SECONDS = 120
IDLE_SECONDS = 120
PLACES = tuple(f"PNEUMOSCREEN_{name}" for name in ("HOME", "DATABASE_URL", "BROKER_URL", "SOURCES"))
"""Settings of the caller's own system; what else is set is measured."""
OURS = Sighting.id > 0
"""Not those of `growth.fill`, which are never read: by their index on the state a million would be."""
PARTS = {
    "all": "",
    "producer": "cli.main producer",
    "worker": "cli.main worker",
    "trainer": "cli.main trainer",
    "broker": "-server ",
    "database": "postgres",
}
"""What the command lines of each part's processes have in them, its servers included."""


class System:
    """A running `up`, and its database."""

    def __init__(self, process: "subprocess.Popen[bytes]", inbox: Path, database: Database) -> None:
        self.process, self.inbox, self.database = process, inbox, database

    def megabytes(self, part: str) -> float:
        """Resident memory of the largest of its processes whose command line has this part, in MB."""
        return max(process.memory_info().rss for process in self.processes(part)) / 1e6

    def cpu_seconds(self) -> dict[str, float]:
        """What each part has used so far."""
        times = {part: [process.cpu_times() for process in self.processes(text)] for part, text in PARTS.items()}
        return {part: sum(each.user + each.system for each in cpu_times) for part, cpu_times in times.items()}

    def processes(self, part: str) -> list[psutil.Process]:
        """Of all that this process started, servers included."""
        children = psutil.Process().children(recursive=True)
        return [child for child in children if part in " ".join(child.cmdline())]

    def finished(self) -> list[float]:
        """When each image that is done was finished, in seconds, in order."""
        with self.database.read() as session:
            rows = session.execute(select(Sighting.state, Sighting.finished_at).where(OURS)).all()
        return sorted(at.timestamp() for state, at in rows if state == SightingState.DONE and at is not None)

    def wait_until_finished(self, count: int) -> None:
        last_progress, before = time.monotonic(), 0
        done = select(func.count(case((Sighting.state == SightingState.DONE, 1)))).where(OURS)
        while before < count:
            if self.process.poll() is not None or time.monotonic() - last_progress > IDLE_SECONDS:
                raise WorkFailed(f"The system stopped after {before} of {count} images.")
            time.sleep(0.5)
            with self.database.read() as session:
                finished = session.scalar(done) or 0
            if finished > before:
                last_progress, before = time.monotonic(), finished


def measure(
    files: Path,
    work: Path,
    variables: Mapping[str, str] | None = None,
    server: str | None = None,
    cores: Sequence[int] | None = None,
    rows: int = 0,
) -> dict[str, float]:
    """The files are moved into the inbox: a drop that takes no time of its own.

    With `server`, the path of a redis-server, it runs on PostgreSQL and Redis; on `cores` alone if they are named;
    beside so many rows of earlier images.
    """
    count = len(list(files.iterdir()))
    with running(work, variables, server, cores, rows) as system:
        dropped, before = time.time(), system.cpu_seconds()
        files.rename(system.inbox / "drop")
        try:
            system.wait_until_finished(count)
        finally:
            (system.inbox / "drop").rename(files)
        used = {part: seconds - before[part] for part, seconds in system.cpu_seconds().items()}
        memory = system.megabytes(PARTS["worker"])
        finished = system.finished()
    return {
        "images_per_second": steady(finished),
        "images_per_second_from_drop_to_last_row": count / (finished[-1] - dropped),
        "seconds_to_first_row": finished[0] - dropped,
        "worker_mb": memory,
        **{f"{part}_cpu_ms_per_image": 1000 * seconds / count for part, seconds in used.items()},
    }


def steady(finished: Sequence[float]) -> float:
    """Images per second between the first tenth and the last: start-up and end left out."""
    first, last = finished[len(finished) // 10], finished[-len(finished) // 10]
    return sum(first < instant <= last for instant in finished) / (last - first)


@contextmanager
def running(
    work: Path,
    variables: Mapping[str, str] | None = None,
    server: str | None = None,
    cores: Sequence[int] | None = None,
    rows: int = 0,
) -> Iterator[System]:
    """`up` in a home of its own, ready to screen; the arguments are those of `measure`."""
    home, inbox = work / "home", work / "inbox"
    for folder in (home, inbox):
        folder.mkdir(parents=True)
    environment = {name: value for name, value in os.environ.items() if name not in PLACES}
    environment |= variables or {}
    command = [sys.executable, "-m", "cli.main", "up", "--home", str(home), "--inbox", str(inbox)]
    with ExitStack() as stack:
        url = f"sqlite:///{home / 'pneumoscreen.db'}"
        if server is not None:
            found = servers.started(stack, server)
            environment |= found.variables
            url = found.database_url
        if rows:
            growth.fill(url, rows)
        output = stack.enter_context((work / "up.out").open("w"))
        process = subprocess.Popen(
            [*command, "--flower-port", "off"],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=None if cores is None else lambda: os.sched_setaffinity(0, cores),
        )
        try:
            with_database = _wait_until_ready(
                home, url, process, int(environment.get("PNEUMOSCREEN_PROCESSES", default_processes()))
            )
            stack.callback(with_database.close)
            yield System(process, inbox, with_database)
        finally:
            end(process)


def end(process: "subprocess.Popen[bytes] | psutil.Popen") -> None:
    """SIGTERM; what has not ended in time is killed with all that it started, or it would run beside the next row."""
    if process.poll() is not None:
        return
    started = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        for child in started:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        process.kill()
        process.wait()


def _wait_until_ready(home: Path, url: str, process: "subprocess.Popen[bytes]", processes: int) -> Database:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.5)
        if url.startswith("sqlite") and not (home / "pneumoscreen.db").exists():
            continue
        with_database = database.connect(url)
        try:
            with_database.check()
            with with_database.read() as session:
                held = session.scalar(select(func.count()).where(Worker.model_version.is_not(None)))
            if held == processes:
                return with_database
        except (ServiceUnavailable, DatabaseError):  # the tables are being made
            pass
        with_database.close()
    raise WorkFailed(f"The system did not start: see {home / 'logs'}.")
