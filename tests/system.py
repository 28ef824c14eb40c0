"""The real system as a process of its own, for tests: `up` in a temporary home, watched through its database."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import Engine, NullPool, create_engine, make_url, text
from sqlalchemy.exc import DBAPIError

from bench.files import numbered
from local.private_broker import free_port
from shared import database
from shared.base.settings import Settings, load
from tests import pace
from tests.models import go_live, make_linear_version
from tests.servers import Servers

SECONDS = pace.seconds(90)
SAMPLES = Path(__file__).parent.parent / "samples"
QUICK = {
    "PNEUMOSCREEN_SETTLE": "0.3",
    "PNEUMOSCREEN_SWEEP_EVERY": "1",
    "PNEUMOSCREEN_LEASE": pace.setting(3),
    "PNEUMOSCREEN_RESEND_AFTER": pace.setting(5),
    "PNEUMOSCREEN_RECOVER_EVERY": "0.5",
    "PNEUMOSCREEN_MESSAGE_SIZE": "16",
    "PNEUMOSCREEN_BATCH_SIZE": "8",
    "PNEUMOSCREEN_PROCESSES": "1",
}


def environment(home: Path, **more: str) -> dict[str, str]:
    """This process's environment less every setting of ours; the running systems of the user are not seen."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PNEUMOSCREEN_")}
    return {**kept, "XDG_STATE_HOME": str(home.parent / "state"), "COLUMNS": "200", **more}


class System:
    def __init__(
        self,
        home: Path,
        inbox: Path,
        environment: dict[str, str],
        process: "subprocess.Popen[str]",
        flower: str = "off",
    ) -> None:
        """`environment` is that of a second shell; `flower` the port on which Flower listens, or soon will, or off."""
        self.home, self.inbox, self.environment, self.process = home, inbox, environment, process
        self.flower = f"http://127.0.0.1:{flower}"

    @property
    def database_url(self) -> str:
        return self.environment.get("PNEUMOSCREEN_DATABASE_URL", Settings(home=self.home).database)

    @property
    def broker_url(self) -> str:
        """As `up` announced it to a second shell."""
        announced = (self.home / "run" / "up.toml").read_text()
        return str(tomllib.loads(announced)["broker_url"])

    def query(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows for SQL in which each `?` stands for a value."""
        for number in range(len(values)):
            sql = sql.replace("?", f":value_{number}", 1)
        with _engine(self.database_url).connect() as connection:
            rows = connection.execute(text(sql), {f"value_{number}": value for number, value in enumerate(values)})
            return [tuple(row) for row in rows]

    def row(self, path: str) -> dict[str, Any]:
        """The row of the view `results` for a path, once it is final."""
        columns = ("state", "label", "probability", "reason", "sha256", "root", "origin")
        sql = f"SELECT {', '.join(columns)} FROM results WHERE path = ? AND state <> 'waiting'"
        rows = self.wait(lambda: self.query(sql, path), f"{path} to be finished")
        return dict(zip(columns, rows[0], strict=True))

    def wait(self, condition: Callable[[], Any], what: str, seconds: float = SECONDS) -> Any:
        """Until a condition holds; fails when nothing in the logs or the database has moved for so many seconds."""
        if value := condition():
            return value
        patience = pace.Patience(seconds, self.traces)
        while not (value := condition()):
            assert self.process.poll() is None, f"the system ended while waiting for {what}:\n{self.logs()}"
            assert not patience.is_over(), f"waited in vain for {what}:\n{self.logs()}"
            time.sleep(0.1)
        return value

    def traces(self) -> tuple[object, ...]:
        """What changes while the system works: its logs grow, its jobs and training runs come from state to state."""
        sizes = [file.stat().st_size for file in sorted((self.home / "logs").glob("*.log"))]
        with suppress(DBAPIError):  # out of reach, or its tables are being made
            jobs = self.query("SELECT state, count(*), max(attempt) FROM jobs GROUP BY state ORDER BY state")
            runs = self.query("SELECT id, state, heartbeat_at FROM training_runs ORDER BY id")
            return tuple(sizes), tuple(jobs), tuple(runs)
        return tuple(sizes), None

    def wait_for_states(self, **counts: int) -> None:
        def matches() -> bool:
            return dict(self.query("SELECT state, count(*) FROM results GROUP BY state")) == counts

        self.wait(matches, f"{counts}, not {self.query('SELECT state, count(*) FROM results GROUP BY state')}")

    def command(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run `pneumoscreen` in a second shell."""
        command = [sys.executable, "-m", "cli.main", *arguments]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=SECONDS)

    def processes(self, part: str) -> list[psutil.Process]:
        """The system's processes whose command line contains a text; what dies meanwhile is none of them."""
        found = []
        for child in psutil.Process(self.process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # a zombie too
                if part in " ".join(child.cmdline()):
                    found.append(child)
        return found

    def halt(self, processes: Iterable[psutil.Process]) -> None:
        """Suspend processes, none of them amid a transaction: on SQLite nobody else could write until it goes on."""
        with ExitStack() as stack:
            url = make_url(self.database_url)
            if url.get_backend_name() == "sqlite":
                connection = sqlite3.connect(str(url.database), timeout=SECONDS, isolation_level=None)
                stack.enter_context(closing(connection)).execute("BEGIN IMMEDIATE")
            for process in processes:
                process.suspend()

    def traces_of_training(self) -> tuple[object, ...]:
        """What changes while the trainer works, whatever images are screened meanwhile."""
        log = self.home / "logs" / "trainer.log"
        size = log.stat().st_size if log.exists() else 0
        with suppress(DBAPIError):
            return size, tuple(self.query("SELECT id, state, fence, heartbeat_at FROM training_runs ORDER BY id"))
        return size, None

    def logs(self) -> str:
        files = [self.home.parent / "up.out", *sorted((self.home / "logs").glob("*.log"))]
        files = [file for file in files if file.exists()]
        return "\n".join(f"--- {file.name}\n{file.read_text(errors='replace')[-2000:]}" for file in files)

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(SECONDS)


@contextmanager
def running(
    folder: Path,
    *,
    flower: bool = False,
    web: bool = False,
    trainer: bool = False,
    inbox: bool = True,
    settings: dict[str, str] | None = None,
    servers: Servers | None = None,
    cwd: Path | None = None,
) -> Iterator[System]:
    """`up` in folder/home, ready to screen; ended with SIGTERM, and by force if a test left it hanging.

    It is started in the folder `cwd`. With `servers` it uses those instead of SQLite and a private broker. Where
    nothing is learnt it has no trainer, which takes a while to start; where nobody looks, no pages.
    """
    home, box, port = folder / "home", folder / "inbox", str(free_port()) if flower else "off"
    variables = environment(home, **(QUICK if settings is None else settings))
    if servers:
        variables |= servers.variables
    command = [sys.executable, "-P", "-m", "cli.main", "up", "--home", str(home), "--flower-port", port]
    command += ["--trainer" if trainer else "--no-trainer", "--web-port", str(free_port()) if web else "off"]
    if inbox:
        command += ["--inbox", str(box)]
    with (folder / "up.out").open("w") as output:
        process = subprocess.Popen(command, cwd=cwd, env=variables, stdout=output, stderr=subprocess.STDOUT, text=True)
    system = System(home, box, {**variables, "PNEUMOSCREEN_HOME": str(home)}, process, port)
    try:
        system.wait(lambda: _ready(system), "a worker that holds a model")
        yield system
    finally:
        try:
            system.stop()
        except subprocess.TimeoutExpired:
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
            process.kill()


@cache
def _engine(url: str) -> Engine:
    """Its connection to a PostgreSQL is kept, as a new one costs eight times as much, and tried first: servers go."""
    if make_url(url).get_backend_name() == "sqlite":
        return create_engine(url, poolclass=NullPool)
    return create_engine(url, pool_pre_ping=True)


def _ready(system: System) -> bool:
    try:
        return bool(system.query("SELECT 1 FROM workers WHERE model_version IS NOT NULL"))
    except DBAPIError:  # the tables are being made
        return False


def make_linear_home(home: Path, database_url: str | None = None) -> None:
    """A home in which a linear version is live already, so that `up` does not take the bundled network."""
    version = make_linear_version(home / "models", "linear-1")
    found = database.connect(database_url or load(home).database)
    found.upgrade()
    go_live(found, version)
    found.close()


def specimens() -> list[Path]:
    return [file for suffix in ("jpeg", "png", "dcm") for file in sorted(SAMPLES.glob(f"*.{suffix}"))]


def distinct(source: Path, target: Path, number: int) -> None:
    """A copy whose bytes are its own."""
    target.write_bytes(numbered(source.read_bytes(), number))


def drop(source: Path, target: Path) -> None:
    """As a person drops a file: copied under its own name."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


INSPECT = """
import json, sys
from concurrent.futures import ThreadPoolExecutor
from worker.app import app

def ask(kind):
    return json.dumps(getattr(app.control.inspect(timeout=5), kind)())

with ThreadPoolExecutor() as pool:
    print(*pool.map(ask, sys.argv[1:]), sep="\\n")
"""


def inspect(environment: dict[str, str], *kinds: str) -> dict[str, str]:
    """What `celery inspect` tells of each kind, as JSON; asked side by side, for each waits for late answers."""
    command = [sys.executable, "-c", INSPECT, *kinds]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stderr
    return dict(zip(kinds, done.stdout.splitlines(), strict=True))
