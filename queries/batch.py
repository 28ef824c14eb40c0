"""The grid of plain negatives, of sources that show the model's answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session

from queries import worklist_page
from queries.worklist_page import Filters, Viewer
from queries.worklist_rows import rows
from shared.base.lanes import Lane
from shared.base.settings import Settings
from shared.database import ReadingItem, Review, WaitsFor

GRID = 12
LOOKED_AT = 60


@dataclass(frozen=True)
class Tile:
    sighting: int
    sha256: str
    source: str


def find(session: Session, settings: Settings, viewer: Viewer, now: datetime) -> list[Tile]:
    """At most GRID images, in the order of the worklist, which nobody else has open."""
    lanes = (Lane.ROUTINE, Lane.BACKGROUND)
    found: list[Tile] = []
    for lane in lanes:
        filters = Filters(state="unread", lane=lane, why="negative", label="NORMAL")
        part = worklist_page.page(session, settings, filters, viewer, now, limit=LOOKED_AT, free=True)
        found += tiles(session, settings, viewer, now, part.sightings)
        if len(found) >= GRID:
            break
    return found[:GRID]


def tiles(session: Session, settings: Settings, viewer: Viewer, now: datetime, sightings: Sequence[int]) -> list[Tile]:
    """Those that may be in the grid: not near, unfamiliar, outside, urgent, blind, drawn or to be read twice."""
    may = {
        row.sighting
        for row in rows(session, settings, sightings, viewer, now)
        if row.why == "negative"
        and row.label == "NORMAL"
        and not row.is_outside_population
        and row.lane != Lane.STAT
        and row.reading_now is None
    }
    said = exists().where(Review.sha256 == ReadingItem.sha256, Review.withdrawn_at.is_(None))
    once = (ReadingItem.readers_wanted == 1) & (ReadingItem.waits_for == WaitsFor.FIRST)
    query = select(ReadingItem.sighting_id, ReadingItem.sha256, ReadingItem.source).where(
        ReadingItem.sighting_id.in_(may), once, ~said
    )
    found = {row.sighting_id: Tile(*row) for row in session.execute(query)}
    return [found[number] for number in sightings if number in found]


def submitted(session: Session, viewer: Viewer, submission: str) -> list[int]:
    """The words that this reader has given with a batch's number before."""
    mine = (Review.reviewer == viewer.name) & func.substr(Review.submission, 1, len(submission) + 1).in_(
        [f"{submission}."]
    )
    return list(session.scalars(select(Review.id).where(mine).order_by(Review.id)))
