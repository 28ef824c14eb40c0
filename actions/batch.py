"""Many plain negatives at once: the grid of the page. Such words never train, calibrate or count."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from actions.reviews import Target, hold
from queries import batch
from queries.worklist_page import Viewer
from shared.base.errors import InvalidRequest
from shared.base.settings import Settings
from shared.database import Review, ReviewLabel, ReviewMethod, Role, Shown, audit
from shared.ledger import reading_list

MIN_VISIBLE_MS = 1000
"""An image that was in sight for less was not looked at."""


@dataclass(frozen=True)
class BatchSaved:
    reviews: Sequence[int]
    left_out: Sequence[int]  # no plain negative any more, or read meanwhile


def save(
    session: Session, settings: Settings, visible: Mapping[int, int], viewer: Viewer, submission: str, now: datetime
) -> BatchSaved:
    """Call these images NORMAL; `visible` is for how many milliseconds each was in sight.

    Raises InvalidRequest where one was not, or where there are more than a grid has.
    """
    if not visible or len(visible) > batch.GRID:
        raise InvalidRequest(f"A batch has 1 to {batch.GRID} images, not {len(visible)}.")
    if unseen := [number for number, ms in visible.items() if ms < MIN_VISIBLE_MS]:
        raise InvalidRequest(f"{len(unseen)} of the images were in sight for less than a second: look at them first.")
    if known := batch.submitted(session, viewer, submission):
        return BatchSaved(known, ())
    plain = {tile.sighting: tile.sha256 for tile in batch.tiles(session, settings, viewer, now, list(visible))}
    hold(session, [Target(number, content, is_content=True) for number, content in plain.items()])
    plain = {tile.sighting: tile.sha256 for tile in batch.tiles(session, settings, viewer, now, list(visible))}
    rows = [
        Review(
            sha256=content,
            sighting_id=number,
            label=ReviewLabel.NORMAL,
            reviewer=viewer.name,
            created_at=now,
            method=ReviewMethod.BATCH,
            is_blind=False,
            after_model=False,
            is_senior=viewer.role is Role.SENIOR,
            shown=Shown.ASSISTED,
            submission=f"{submission}.{place}",
        )
        for place, (number, content) in enumerate(plain.items())
    ]
    session.add_all(rows)
    session.flush()
    reading_list.refresh(session, set(plain.values()))
    numbers = ", ".join(map(str, plain))
    if rows:
        audit.record(session, viewer.name, "review", f"batch of {len(rows)}: NORMAL, sightings {numbers}", at=now)
    return BatchSaved([row.id for row in rows], [number for number in visible if number not in plain])
