"""`demo`: the whole system for half a minute, on computer-generated specimens."""

import os
import shutil
import time
from pathlib import Path

from sqlalchemy import text

from cli.console import out, progress, table
from local import supervisor
from queries.counts import count
from shared import database
from shared.base.errors import WorkFailed, WrongSettings

SECONDS = 180
SUFFIXES = (".jpeg", ".jpg", ".png", ".tiff", ".tif", ".dcm")
COLUMNS = ("path", "state", "label", "probability", "threshold", "model_version", "reason")


def demo(home: Path, samples: Path) -> None:
    specimens = sorted(path for path in samples.glob("*") if path.suffix in SUFFIXES)
    if not specimens:
        raise WrongSettings(
            f"There are no specimens in {samples.absolute()}: run this in the repository, or name --samples."
        )
    home = home.absolute()
    if home.exists():
        if not (home / "run").is_dir():
            raise WrongSettings(f"{home} exists and is no home of an earlier demo: choose another --home.")
        shutil.rmtree(home)
    # A demo is by itself: settings of a real installation in this shell are not for it.
    for name in [name for name in os.environ if name.startswith("PNEUMOSCREEN_")]:
        del os.environ[name]
    out.print("Starting broker, producer, worker and Flower …")
    with supervisor.run(home, home / "inbox", supervisor.port_for_flower("auto")) as running:
        running.wait_until_ready(SECONDS)
        out.print(f"Flower shows the work at {running.flower} while this runs.")
        with_database = database.connect(running.settings.database)
        with progress() as bar:
            task = bar.add_task(f"screening {len(specimens)} specimens", total=len(specimens))
            for specimen in specimens:
                shutil.copy(specimen, home / "inbox")
            deadline = time.monotonic() + SECONDS
            finished = 0
            while finished < len(specimens):
                running.check()
                if time.monotonic() > deadline:
                    raise WorkFailed(f"Only {finished} of {len(specimens)} were screened: see {running.settings.logs}.")
                time.sleep(0.1)
                with with_database.read() as session:
                    finished = count(session).finished
                bar.update(task, completed=finished)
        with with_database.read() as session:
            rows = session.execute(text(f"SELECT {', '.join(COLUMNS)} FROM results ORDER BY path")).all()  # noqa: S608 - our own names
        with_database.close()
        table(COLUMNS, rows, title="Computer-generated specimens, read from the view `results`")
    out.print(
        "Screening aid, not a diagnosis. Two queries to try (any SQLite client; `python -m sqlite3` since Python 3.12):"
    )
    out.print("  SELECT label, count(*), avg(probability) FROM results GROUP BY label;", markup=False)
    out.print("  SELECT path, probability FROM results ORDER BY abs(probability - threshold) LIMIT 5;", markup=False)
    out.print("The database:")
    out.print(str(home / "pneumoscreen.db"), markup=False)
