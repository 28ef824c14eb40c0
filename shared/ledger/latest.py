"""The newest sighting of a path: the one that tells of the file which lies there now. Superseded ones never count.

The view `results` has the same condition in SQL text (`shared/database/views.py`); a test holds the two together.
"""

from typing import Any

from sqlalchemy import ColumnElement, and_, exists, select
from sqlalchemy.orm import Session, aliased

from shared.database import Screening, Sighting, SightingState

IS_RESULT = (Screening.sighting_id == Sighting.id) & (Screening.prediction_id == Sighting.prediction_id)
"""Joins a sighting with the screening that counts: all others of it are history."""


def is_newest(sighting: Any = Sighting) -> ColumnElement[bool]:
    """The condition on `sighting`, which is Sighting or an alias of it; uses the index on (source, path, id)."""
    newer = aliased(Sighting)
    is_newer = (newer.source == sighting.source) & (newer.path == sighting.path) & (newer.id > sighting.id)
    is_replaced = exists().where(is_newer, newer.state != SightingState.SUPERSEDED).correlate(sighting)
    return and_(sighting.state != SightingState.SUPERSEDED, ~is_replaced)


def newest(session: Session, source: str, path: str) -> Sighting | None:
    """The newest sighting of one path; None if there is none."""
    mine = (Sighting.source == source) & (Sighting.path == path) & (Sighting.state != SightingState.SUPERSEDED)
    return session.scalar(select(Sighting).where(mine).order_by(Sighting.id.desc()).limit(1))
