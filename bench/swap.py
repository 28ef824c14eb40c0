"""Another version goes live while a drop is screened: how long until it is in service, and how long nothing came."""

import time
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from sqlalchemy import func, select

from actions import promotion
from bench.system import running
from shared.database import Prediction, Sighting
from shared.models import manifest, registry
from shared.models.registry import copy_aside

NAME = "second"


def measure(files: Path, work: Path) -> dict[str, float]:
    """Seconds from the promotion to the first row of the new version, and the longest pause between two rows."""
    count = len(list(files.iterdir()))
    with running(work) as system:
        promotion.publish(system.database, work / "home" / "models", _second(work), datetime.now(UTC))
        files.rename(system.inbox / "drop")
        try:
            system.wait_until_finished(count // 3)
            promoted = time.time()
            with system.database.write() as session:
                promotion.make_live(session, NAME, "bench", datetime.now(UTC), reason="it measures a swap")
            system.wait_until_finished(count)
        finally:
            (system.inbox / "drop").rename(files)
        finished = system.finished()
        with system.database.read() as session:
            swapped = session.scalar(
                select(func.min(Sighting.finished_at))
                .join(Prediction, Prediction.id == Sighting.prediction_id)
                .where(Prediction.model_version == NAME)
            )
    assert swapped is not None
    return {
        "seconds_to_first_row": swapped.timestamp() - promoted,
        "longest_pause_seconds": max(after - before for before, after in pairwise(finished)),
    }


def _second(work: Path) -> Path:
    """The bundled version under another name."""
    folder = work / NAME
    copy_aside(registry.bundled(), folder)
    described = manifest.read(folder)
    manifest.write(folder, described.model_copy(update={"version": NAME}))
    return folder
