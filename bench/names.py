"""The producer alone: 100,000 files appear in its folder while it watches; its speed and its memory."""

import json
import sys
import time
from pathlib import Path

from sqlalchemy import func, select

from bench.system import IDLE_SECONDS, megabytes, running
from shared.database import Sighting
from shared.errors import WorkFailed

NAMES = 100_000


def main(_files: Path, work: Path) -> None:
    """The files are no images: the worker puts them aside unread, so that the time is the producer's."""
    inbox = work / "inbox"
    with running(work, inbox) as (system, with_database):
        began = time.monotonic()
        for number in range(NAMES):
            (inbox / f"{number}.txt").write_text(str(number))
        peak, registered = 0.0, 0
        deadline = time.monotonic() + IDLE_SECONDS
        while registered < NAMES:
            if time.monotonic() > deadline:
                raise WorkFailed(f"The producer registered {registered} of {NAMES} files in {IDLE_SECONDS} s.")
            time.sleep(0.2)
            peak = max(peak, megabytes(system, "cli.main producer"))
            with with_database.read() as session:
                registered = session.scalar(select(func.count()).select_from(Sighting)) or 0
        seconds = time.monotonic() - began
    print(json.dumps({"images_per_second": NAMES / seconds, "producer_mb_at_most": peak}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
