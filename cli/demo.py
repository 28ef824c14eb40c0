"""`demo`: the whole system for half a minute, on computer-generated specimens."""

import os
import shlex
import shutil
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from cli.console import out, progress, table
from local import supervisor
from queries import results
from queries.counts import count
from queries.results import Filters
from shared import database
from shared.base.errors import InvalidRequest, WorkFailed
from shared.database import Database

MAX_SECONDS = 180
MARKER = "demo"
"""An empty file in the home of a demo, which the next demo deletes; no other home is ever deleted."""
SUFFIXES = (".jpeg", ".jpg", ".png", ".tiff", ".tif", ".dcm")
COLUMNS = ("path", "state", "label", "probability", "threshold", "model_version", "reason")


def demo(home: Path, samples: Path, *, keep: bool = False) -> None:
    specimens = sorted(path for path in samples.glob("*") if path.suffix in SUFFIXES)
    if not specimens:
        raise InvalidRequest(
            f"There are no specimens in {samples.absolute()}: run this in the repository, or name --samples."
        )
    home = home.absolute()
    _clear(home)
    out.print("Starting broker, producer, worker and Flower …")
    with supervisor.run(home, home / "inbox", supervisor.port_for_flower("auto"), "auto") as running:
        running.wait_until_ready(MAX_SECONDS)
        out.print(f"Flower shows the work at {running.flower} while this runs.")
        with_database = database.connect(running.settings.database)
        _screen(running, with_database, specimens, home / "inbox")
        with with_database.read() as session:
            listing = results.find(session, running.settings, Filters(), datetime.now(UTC))
            rows = sorted(([row[column] for column in COLUMNS] for row in listing.rows), key=lambda row: str(row[0]))
        with_database.close()
        table(COLUMNS, rows, title="Computer-generated specimens, read from the view `results`")
        if keep:
            _tell_of_queries(home)
            _keep(running)
            return
    _tell_of_queries(home)
    out.print("To see the pictures and say your word, start it again, and open the link, which works once:")
    out.print(f"  pneumoscreen up --home {shlex.quote(str(home))}", markup=False)
    out.print(f"  {running.first_link}", markup=False)


def _keep(running: supervisor.System) -> None:
    """Until Ctrl-C or SIGTERM, which the caller turns into the end of the program."""
    out.print(f"The pages are at {running.web}. Log in as admin, by this link, which works once:")
    out.print(f"  {running.first_link}", markup=False)
    out.print("Ctrl-C ends it.")
    while True:
        running.check()
        time.sleep(0.5)


def _tell_of_queries(home: Path) -> None:
    out.print(
        "Screening aid, not a diagnosis. Two queries to try (any SQLite client; `python -m sqlite3` since Python 3.12):"
    )
    out.print("  SELECT label, count(*), avg(probability) FROM results GROUP BY label;", markup=False)
    out.print("  SELECT path, probability FROM results ORDER BY abs(probability - threshold) LIMIT 5;", markup=False)
    out.print("The database:")
    out.print(str(home / "pneumoscreen.db"), markup=False)


def _clear(home: Path) -> None:
    """Remove an earlier demo, and the settings of a real installation from this process's environment."""
    if home.exists():
        if not (home / MARKER).is_file():
            raise InvalidRequest(f"{home} is no home of an earlier demo: delete it, or choose another --home.")
        shutil.rmtree(home)
    home.mkdir(mode=0o700, parents=True)
    (home / MARKER).touch()
    for name in [name for name in os.environ if name.startswith("PNEUMOSCREEN_")]:
        del os.environ[name]


def _screen(running: supervisor.System, with_database: Database, specimens: Sequence[Path], inbox: Path) -> None:
    """Drop the specimens and wait until each has its row. Raises WorkFailed if that takes too long."""
    deadline, finished = time.monotonic() + MAX_SECONDS, 0
    with progress() as bar:
        task = bar.add_task(f"screening {len(specimens)} specimens", total=len(specimens))
        for specimen in specimens:
            shutil.copy(specimen, inbox)
        while finished < len(specimens):
            running.check()
            if time.monotonic() > deadline:
                raise WorkFailed(f"Only {finished} of {len(specimens)} were screened: see {running.settings.logs}.")
            time.sleep(0.1)
            with with_database.read() as session:
                finished = count(session).finished
            bar.update(task, completed=finished)
