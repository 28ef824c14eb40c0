"""Quarantined images that somebody should see to, and how one is resolved: dismissed by a person, or its file is gone.

A newer file of the same path replaces an image, so only the newest sighting of a path counts.
A retry clears the resolution.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.orm import Session

from shared.database import Resolution, Sighting, SightingState
from shared.ledger.latest import is_newest
from shared.ledger.register import MAX_ROWS, as_path


@dataclass(frozen=True)
class Quarantined:
    sighting_id: int
    path: str  # as Python names files


def is_quarantined() -> ColumnElement[bool]:
    return (Sighting.state == SightingState.QUARANTINED) & is_newest()


def is_unresolved() -> ColumnElement[bool]:
    return is_quarantined() & Sighting.resolution.is_(None)


def unresolved(session: Session, source: str, after: int) -> list[Quarantined]:
    """The next MAX_ROWS of a source above the sighting `after`; fewer at the end."""
    columns = (Sighting.id, Sighting.path, Sighting.path_bytes)
    query = select(*columns).where(Sighting.source == source, is_unresolved(), Sighting.id > after)
    rows = session.execute(query.order_by(Sighting.id).limit(MAX_ROWS))
    return [Quarantined(number, as_path(path, raw)) for number, path, raw in rows]


def resolve(session: Session, sightings: Sequence[int], resolution: Resolution) -> list[int]:
    """Of at most MAX_ROWS sightings, resolve those that are unresolved still; returns them."""
    still = (Sighting.state == SightingState.QUARANTINED) & Sighting.resolution.is_(None)
    chosen = update(Sighting).where(Sighting.id.in_(sightings), still)
    return sorted(session.scalars(chosen.values(resolution=resolution).returning(Sighting.id)))
