"""Rows are erased: what grew old, and what somebody wants forgotten. Open jobs and waiting sightings never grow old."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, exists, or_, select, text, tuple_
from sqlalchemy.orm import Session, aliased

from shared.database import DeadLetter, DicomHeader, Job, JobState, Prediction, Review, Sighting, SightingState
from shared.ledger.lookup import bearing, known_sources
from shared.ledger.register import MAX_ROWS

Contents = type[Prediction] | type[DicomHeader] | type[Review]
Place = tuple[str, str]
"""A source, and a path in it."""


def hold_work(session: Session) -> None:
    """Until the transaction ends, no worker finishes anything: else it could point to a row that is just erased.

    SQLite lets one transaction write at a time anyway.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("LOCK TABLE jobs IN SHARE ROW EXCLUSIVE MODE"))


def old_jobs(session: Session, cutoff: datetime, after: int) -> list[int]:
    """The next finished jobs of sightings that became final before the cutoff."""
    query = (
        select(Job.id)
        .join(Sighting, Sighting.id == Job.sighting_id)
        .where(Job.state == JobState.FINISHED, Sighting.state != SightingState.WAITING, Sighting.finished_at < cutoff)
    )
    return list(session.scalars(query.where(Job.id > after).order_by(Job.id).limit(MAX_ROWS)))


def replaced(session: Session, cutoff: datetime, after: int) -> list[int]:
    """The next old sightings that are no result any more: superseded, or a newer one of the same path is there."""
    query = select(Sighting.id).where(_old(Sighting, cutoff), _is_replaced())
    return list(session.scalars(query.where(Sighting.id > after).order_by(Sighting.id).limit(MAX_ROWS)))


def results(session: Session, cutoff: datetime, after: int) -> Sequence[Sighting]:
    """The next old sightings that are their path's result, and whose older ones are all old too.

    An older one that stayed would otherwise become the path's result again.
    """
    other = aliased(Sighting)
    same = and_(other.source == Sighting.source, other.path == Sighting.path, other.state != SightingState.SUPERSEDED)
    query = select(Sighting).where(
        _old(Sighting, cutoff), ~_is_replaced(), ~exists().where(same, ~_old(other, cutoff)).correlate(Sighting)
    )
    return session.scalars(query.where(Sighting.id > after).order_by(Sighting.id).limit(MAX_ROWS)).all()


def old_letters(session: Session, cutoff: datetime, after: int) -> list[int]:
    query = select(DeadLetter.id).where(DeadLetter.received_at < cutoff, DeadLetter.id > after)
    return list(session.scalars(query.order_by(DeadLetter.id).limit(MAX_ROWS)))


def unseen(session: Session, table: Contents, after: str, gone: Collection[int]) -> tuple[list[str], str | None]:
    """Of the table's next contents, those that no sighting has, apart from `gone` ones; and where to go on."""
    query = select(table.sha256).where(table.sha256 > after).distinct().order_by(table.sha256).limit(MAX_ROWS)
    contents = [str(content) for content in session.scalars(query)]
    seen = session.execute(select(Sighting.sha256, Sighting.id).where(Sighting.sha256.in_(contents))).all()
    kept = {content for content, sighting in seen if sighting not in gone}
    return [content for content in contents if content not in kept], contents[-1] if contents else None


def delete_old(session: Session, sightings: Sequence[int], cutoff: datetime) -> int:
    """Delete at most MAX_ROWS sightings with their jobs, but none that has been taken up again meanwhile."""
    still = list(session.scalars(select(Sighting.id).where(Sighting.id.in_(sightings), _old(Sighting, cutoff))))
    delete_sightings(session, still)
    return len(still)


def delete_sightings(session: Session, sightings: Sequence[int]) -> tuple[int, int]:
    """Returns how many sightings and jobs there were."""
    counts = [0, 0]
    for start in range(0, len(sightings), MAX_ROWS):
        part = sightings[start : start + MAX_ROWS]
        counts[1] += len(session.scalars(delete(Job).where(Job.sighting_id.in_(part)).returning(Job.id)).all())
        counts[0] += len(session.scalars(delete(Sighting).where(Sighting.id.in_(part)).returning(Sighting.id)).all())
    return counts[0], counts[1]


def delete_rows(session: Session, table: Any, ids: Sequence[int]) -> int:
    return len(session.scalars(delete(table).where(table.id.in_(ids)).returning(table.id)).all())


def delete_contents(session: Session, table: Contents, contents: Sequence[str]) -> int:
    count = 0
    for start in range(0, len(contents), MAX_ROWS):
        part = contents[start : start + MAX_ROWS]
        found = session.scalars(delete(table).where(table.sha256.in_(part)).returning(table.sha256))
        count += len(found.all())
    return count


def lay(session: Session, name: str) -> list[tuple[Place, str | None]]:
    """Each place where a file of that name lay, with each content that lay there; None for one that nobody has read."""
    columns = (Sighting.source, Sighting.path, Sighting.sha256)
    places: set[Place] = set()
    for condition in bearing({name}, known_sources(session)):
        places |= {(row.source, row.path) for row in session.execute(select(*columns[:2]).where(condition).distinct())}
    query = select(*columns).where(_is_at(sorted(places))).distinct()
    return [((row.source, row.path), row.sha256) for row in session.execute(query.order_by(*columns))]


def of_contents(session: Session, places: Sequence[Place], contents: Sequence[str]) -> Sequence[Sighting]:
    """Every sighting at these places, and of these contents wherever."""
    mine = or_(Sighting.sha256.in_(contents), _is_at(places))
    return session.scalars(select(Sighting).where(mine).order_by(Sighting.id)).all()


def newest(session: Session, source: str, path: str) -> Sighting | None:
    """The sighting that tells of the file which lies there now, as far as it has been seen."""
    mine = (Sighting.source == source) & (Sighting.path == path) & (Sighting.state != SightingState.SUPERSEDED)
    return session.scalar(select(Sighting).where(mine).order_by(Sighting.id.desc()).limit(1))


def count_contents(session: Session, table: Contents, contents: Sequence[str]) -> int:
    return len(session.scalars(select(table.sha256).where(table.sha256.in_(contents))).all())


def _is_at(places: Sequence[Place]) -> ColumnElement[bool]:
    return tuple_(Sighting.source, Sighting.path).in_(places)


def _old(sighting: Any, cutoff: datetime) -> ColumnElement[bool]:
    is_open = exists().where(Job.sighting_id == sighting.id, Job.state != JobState.FINISHED)
    return and_(
        sighting.state != SightingState.WAITING,
        sighting.finished_at < cutoff,
        ~is_open.correlate(sighting),
    )


def _is_replaced() -> ColumnElement[bool]:
    newer = aliased(Sighting)
    same = (newer.source == Sighting.source) & (newer.path == Sighting.path) & (newer.id > Sighting.id)
    is_newer = exists().where(same, newer.state != SightingState.SUPERSEDED).correlate(Sighting)
    return or_(Sighting.state == SightingState.SUPERSEDED, is_newer)
