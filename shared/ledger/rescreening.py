"""Results that another version made become jobs for one version, and stay until its own results are there."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, func, select, update
from sqlalchemy.orm import Session

from shared.base.lanes import Lane
from shared.database import Job, JobState, Prediction, Sighting, SightingState
from shared.ledger.latest import is_newest
from shared.ledger.register import MAX_ROWS, add_jobs


@dataclass(frozen=True)
class Selection:
    """The paths whose result is another version's, narrowed down by a source, a time, or at most MAX_ROWS sightings."""

    version: str
    source: str | None = None
    since: datetime | None = None
    sightings: Sequence[int] | None = None

    def query(self) -> Select[int]:
        """The ids of the newest sightings of those paths."""
        query = (
            select(Sighting.id)
            .join(Prediction, Prediction.id == Sighting.prediction_id)
            .where(Sighting.state == SightingState.DONE, Prediction.model_version != self.version, is_newest())
        )
        if self.source is not None:
            query = query.where(Sighting.source == self.source)
        if self.since is not None:
            query = query.where(Sighting.seen_at >= self.since)
        if self.sightings is not None:
            query = query.where(Sighting.id.in_(self.sightings))
        return query


@dataclass(frozen=True)
class Part:
    """What became of the next MAX_ROWS sightings of a selection."""

    seen_before: int
    """The version had screened their content already, and its prediction is their result now."""
    added: int
    last: int | None
    """The sighting to go on after; None at the end."""


def count(session: Session, selection: Selection) -> int:
    return session.scalar(select(func.count()).select_from(selection.query().subquery())) or 0


def rescreen_part(session: Session, selection: Selection, now: datetime, after: int) -> Part:
    """Have the version screen the next MAX_ROWS sightings above `after` again, in the background lane."""
    query = selection.query().add_columns(Sighting.sha256).where(Sighting.id > after)
    rows = session.execute(query.order_by(Sighting.id).limit(MAX_ROWS)).all()
    ids = [sighting for sighting, _ in rows]
    contents = select(Prediction.sha256).where(Prediction.model_version == selection.version)
    known = set(session.scalars(contents.where(Prediction.sha256.in_({digest for _, digest in rows}))))
    seen = [sighting for sighting, digest in rows if digest in known]
    _take_predictions(session, seen, selection.version, now)
    open_jobs = select(Job.sighting_id).where(
        Job.sighting_id.in_(ids), Job.model_version == selection.version, Job.state != JobState.FINISHED
    )
    waiting = set(session.scalars(open_jobs))
    new = [sighting for sighting, digest in rows if digest not in known and sighting not in waiting]
    add_jobs(session, new, Lane.BACKGROUND, now, model_version=selection.version)
    return Part(len(seen), len(new), ids[-1] if len(ids) == MAX_ROWS else None)


def _take_predictions(session: Session, sightings: Sequence[int], version: str, now: datetime) -> None:
    """Make the prediction that the version has for a sighting's content its result."""
    if not sightings:
        return
    own = select(Prediction.id).where(Prediction.sha256 == Sighting.sha256, Prediction.model_version == version)
    result = update(Sighting).where(Sighting.id.in_(sightings), Sighting.state == SightingState.DONE)
    session.execute(
        result.values(prediction_id=own.scalar_subquery(), finished_at=now),
        execution_options={"synchronize_session": False},
    )
