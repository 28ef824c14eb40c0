"""The lanes: in what order images are screened, and how long one may wait before a person should know.

Everything that names a lane reads it here: the tables, the settings, the broker, `status` and the metrics.
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum


class Lane(StrEnum):
    STAT = "stat"
    SUSPECT = "suspect"
    ROUTINE = "routine"
    BACKGROUND = "background"


@dataclass(frozen=True)
class LaneRecord:
    """`priority` is Redis's: the lowest number first. A source may choose a lane only if `is_for_sources`."""

    lane: Lane
    meaning: str
    priority: int
    max_wait: timedelta
    is_for_sources: bool = True


LANES = {
    record.lane: record
    for record in (
        LaneRecord(Lane.STAT, "urgent, before everything", 0, timedelta(minutes=1)),
        # Before routine images, so that it ends soon instead of behind an endless backlog.
        LaneRecord(
            Lane.SUSPECT,
            "was in a message whose process died: alone in its message",
            3,
            timedelta(minutes=15),
            is_for_sources=False,
        ),
        LaneRecord(Lane.ROUTINE, "the usual one", 6, timedelta(minutes=15)),
        LaneRecord(Lane.BACKGROUND, "screened again by request, after everything", 9, timedelta(days=7)),
    )
}
SOURCE_LANES = tuple(lane for lane, record in LANES.items() if record.is_for_sources)
