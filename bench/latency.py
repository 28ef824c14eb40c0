"""How long a single file takes on an idle system, from the moment it is closed to its row."""

import statistics
import time
from pathlib import Path

from sqlalchemy import select

from bench.system import running
from shared.base.errors import WorkFailed
from shared.database import Sighting, SightingState

DROPS = 100
WARM_UP = 5
POLL_SECONDS = 0.004
MAX_SECONDS = 30


def measure(files: Path, work: Path) -> dict[str, float]:
    """Median and 99th percentile of single drops, one after the other."""
    seconds = []
    with running(work) as system:
        for number, source in enumerate(sorted(files.iterdir())[: WARM_UP + DROPS]):
            time.sleep(0.3)  # idle again
            target = system.inbox / f"single-{number}{source.suffix}"
            target.write_bytes(source.read_bytes())
            closed = time.monotonic()
            done = select(Sighting.id).where(Sighting.path == target.name, Sighting.state == SightingState.DONE)
            while True:
                with system.database.read() as session:
                    if session.scalar(done) is not None:
                        break
                if time.monotonic() - closed > MAX_SECONDS:
                    raise WorkFailed(f"A single file had no row after {MAX_SECONDS} s.")
                time.sleep(POLL_SECONDS)
            seconds.append(time.monotonic() - closed)
    seconds = seconds[WARM_UP:]
    return {
        "seconds_median": statistics.median(seconds),
        "seconds_99th_percentile": statistics.quantiles(seconds, n=100, method="inclusive")[98],
    }
