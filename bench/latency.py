"""How long a single file takes, from the moment it is closed to its row: on an idle system, or beside a backlog."""

import json
import os
import statistics
import time
from itertools import count
from pathlib import Path

from sqlalchemy import func, select

from bench.system import System, running
from shared.base.errors import WorkFailed
from shared.base.lanes import Lane
from shared.database import OPEN_JOB, Job, JobState, Sighting, SightingState

SOURCE = "single"
WARM_UP = 5
POLL_SECONDS = {False: 0.004, True: 0.02}
"""By whether there is a backlog, whose images the looks must not hold up."""
MAX_SECONDS = 30


def measure(files: Path, work: Path, drops: int = 100, *, backlog: bool = False) -> dict[str, float]:
    """Median and 99th percentile of single drops, one after the other.

    With `backlog` they are urgent, while more routine images wait in SQL than there are files.
    """
    folder, lane = work / SOURCE, Lane.STAT if backlog else Lane.ROUTINE
    folder.mkdir(parents=True)
    sources = {SOURCE: {"path": str(folder), "lane": lane}}
    seconds, copies = [], count()
    with running(work, {"PNEUMOSCREEN_SOURCES": json.dumps(sources)}) as system:
        for number, source in enumerate(sorted(files.iterdir())[: WARM_UP + drops]):
            while backlog and _unsent(system) < len(list(files.iterdir())):
                _lengthen(files, system.inbox / f"copy-{next(copies)}")
                time.sleep(1)  # it is found and registered meanwhile
            time.sleep(0.3)  # idle again
            target = folder / f"{number}{source.suffix}"
            seconds.append(_drop(system, target, source.read_bytes(), POLL_SECONDS[backlog]))
    seconds = seconds[WARM_UP:]
    return {
        "seconds_median": statistics.median(seconds),
        "seconds_99th_percentile": statistics.quantiles(seconds, n=100, method="inclusive")[98],
    }


def _drop(system: System, target: Path, data: bytes, pause: float) -> float:
    """Seconds from closing the file to its row."""
    target.write_bytes(data)
    closed = time.monotonic()
    of_it = (Sighting.source == SOURCE) & (Sighting.path == target.name)
    done = select(Sighting.id).where(of_it, Sighting.state == SightingState.DONE)
    while True:
        with system.database.read() as session:
            if session.scalar(done) is not None:
                return time.monotonic() - closed
        if time.monotonic() - closed > MAX_SECONDS:
            raise WorkFailed(f"A single file had no row after {MAX_SECONDS} s.")
        time.sleep(pause)


def _unsent(system: System) -> int:
    with system.database.read() as session:
        return session.scalar(select(func.count()).where(OPEN_JOB, Job.state == JobState.UNSENT)) or 0


def _lengthen(files: Path, target: Path) -> None:
    """The files once more, under other names: each is read and classified again."""
    aside = files.with_name(target.name)
    aside.mkdir()
    for file in files.iterdir():
        os.link(file, aside / file.name)
    aside.rename(target)
