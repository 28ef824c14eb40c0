"""Which rows may be deleted: those that are old, and those about an image that somebody wants erased.

Open jobs and waiting sightings are never old. Whether a file is gone, its source is asked (`actions.pruning`).
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Select, and_, delete, exists, func, or_, select, text, tuple_, update
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from shared.database import (
    AuditSample,
    DeadLetter,
    DicomHeader,
    DrawMember,
    Job,
    JobState,
    OutboxMark,
    OutboxRow,
    Prediction,
    ReadingItem,
    ReadingLease,
    Review,
    ReviewLabel,
    Screening,
    ShadowScore,
    Sighting,
    SightingState,
)
from shared.ledger.latest import is_newest
from shared.ledger.register import MAX_ROWS, parts

T = TypeVar("T")
Contents = type[Prediction] | type[DicomHeader] | type[Review] | type[DrawMember] | type[ShadowScore] | type[OutboxRow]
Place = tuple[str, str]
"""A source, and a path in it."""


def hold_work(session: Session) -> None:
    """Keep workers from finishing anything until the transaction ends, since they could point to a row that is deleted.

    SQLite allows one writing transaction at a time anyway.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("LOCK TABLE jobs IN SHARE ROW EXCLUSIVE MODE"))


def hold_sightings(session: Session, sightings: Collection[int]) -> set[int]:
    """Those that are still there, and stay until the transaction ends: no row may come behind an image's erasing."""
    held: set[int] = set()
    for part in parts(sorted(sightings)):
        held.update(session.scalars(_held(Sighting.id, Sighting.id.in_(part))))
    return held


def hold_contents(session: Session, contents: Collection[str]) -> set[str]:
    """Those that a sighting still has; their sightings stay until the transaction ends."""
    held: set[str] = set()
    for part in parts(sorted(contents)):
        held.update(str(content) for content in session.scalars(_held(Sighting.sha256, Sighting.sha256.in_(part))))
    return held


def _held(column: InstrumentedAttribute[T], condition: ColumnElement[bool]) -> Select[T]:
    return select(column).where(condition).order_by(Sighting.id).with_for_update(read=True, key_share=True)


def old_jobs(session: Session, cutoff: datetime, after: int) -> list[int]:
    """The next MAX_ROWS finished jobs of sightings that became final before the cutoff."""
    query = (
        select(Job.id)
        .join(Sighting, Sighting.id == Job.sighting_id)
        .where(Job.state == JobState.FINISHED, Sighting.state != SightingState.WAITING, Sighting.finished_at < cutoff)
    )
    return list(session.scalars(query.where(Job.id > after).order_by(Job.id).limit(MAX_ROWS)))


def replaced(session: Session, cutoff: datetime, after: int) -> list[int]:
    """The next old sightings that are no result any more: superseded, or followed by a newer one of the same path."""
    query = select(Sighting.id).where(_is_old(Sighting, cutoff), ~is_newest())
    return list(session.scalars(query.where(Sighting.id > after).order_by(Sighting.id).limit(MAX_ROWS)))


def results(session: Session, cutoff: datetime, after: int) -> Sequence[Sighting]:
    """The next old sightings that are their path's result, where all earlier sightings of the path are old too.

    An earlier one that stayed would become the path's result again.
    """
    other = aliased(Sighting)
    same = and_(other.source == Sighting.source, other.path == Sighting.path, other.state != SightingState.SUPERSEDED)
    query = select(Sighting).where(
        _is_old(Sighting, cutoff), is_newest(), ~exists().where(same, ~_is_old(other, cutoff)).correlate(Sighting)
    )
    return session.scalars(query.where(Sighting.id > after).order_by(Sighting.id).limit(MAX_ROWS)).all()


def old_letters(session: Session, cutoff: datetime, after: int) -> list[int]:
    query = select(DeadLetter.id).where(DeadLetter.received_at < cutoff, DeadLetter.id > after)
    return list(session.scalars(query.order_by(DeadLetter.id).limit(MAX_ROWS)))


def old_events(session: Session, cutoff: datetime, after: int) -> list[int]:
    """Settled outbox rows that are nobody's image; those of an image go with their sighting."""
    is_settled = and_(OutboxRow.sighting_id.is_(None), OutboxRow.settled_at < cutoff)
    query = select(OutboxRow.id).where(is_settled, OutboxRow.id > after)
    return list(session.scalars(query.order_by(OutboxRow.id).limit(MAX_ROWS)))


def unreferenced(
    session: Session, table: Contents, after: str, deleted: Collection[int]
) -> tuple[list[str], str | None]:
    """The contents among the table's next MAX_ROWS that no sighting has; and where to go on, None at the end.

    Sightings in `deleted` count as deleted already.
    """
    query = select(table.sha256).where(table.sha256 > after).distinct().order_by(table.sha256).limit(MAX_ROWS)
    contents = [str(content) for content in session.scalars(query)]
    rows = session.execute(select(Sighting.sha256, Sighting.id).where(Sighting.sha256.in_(contents))).all()
    referenced = {content for content, sighting in rows if sighting not in deleted}
    return [content for content in contents if content not in referenced], contents[-1] if contents else None


def delete_old(session: Session, sightings: Sequence[int], cutoff: datetime) -> tuple[int, int]:
    """Delete at most MAX_ROWS sightings, but none that has been taken up again meanwhile.

    Returns how many sightings and how many reviews of them alone there were.
    """
    still_old = list(session.scalars(select(Sighting.id).where(Sighting.id.in_(sightings), _is_old(Sighting, cutoff))))
    count, _, reviews = delete_sightings(session, still_old)
    return count, reviews


def delete_sightings(session: Session, sightings: Sequence[int]) -> tuple[int, int, int]:
    """Delete sightings with their jobs, screenings, audit samples, outbox rows and the reviews of them alone.

    A sample goes over to the newest other sighting of its content in its source, if there is one.
    Reviews of their contents stay, but name no sighting: SQLite gives the number of a deleted row to a new one.
    Returns how many sightings, jobs and reviews were deleted.
    """
    counts = [0, 0, 0]
    for part in parts(sightings):
        counts[1] += len(session.scalars(delete(Job).where(Job.sighting_id.in_(part)).returning(Job.id)).all())
        # Whoever adds a row about a sighting holds it: when it is ours, all that there will be is there.
        session.execute(select(Sighting.id).where(Sighting.id.in_(part)).order_by(Sighting.id).with_for_update())
        counts[2] += len(session.scalars(delete(Review).where(_is_of_sighting(part)).returning(Review.id)).all())
        session.execute(update(Review).where(Review.sighting_id.in_(part)).values(sighting_id=None))
        _pass_on_samples(session, part)
        for table in (Screening, ShadowScore, AuditSample, ReadingItem, ReadingLease, OutboxMark, OutboxRow):
            session.execute(delete(table).where(table.sighting_id.in_(part)))
        counts[0] += len(session.scalars(delete(Sighting).where(Sighting.id.in_(part)).returning(Sighting.id)).all())
    return counts[0], counts[1], counts[2]


def _pass_on_samples(session: Session, sightings: Sequence[int]) -> None:
    """A content is one sample: no other sighting of it would be drawn in the place of the one that goes."""
    other, taken = aliased(Sighting), aliased(AuditSample)
    same = and_(other.source == AuditSample.source, other.sha256 == AuditSample.sha256)
    stays = and_(other.id.not_in(sightings), other.state == SightingState.DONE)
    is_free = ~exists().where(taken.sighting_id == other.id).correlate(other)
    heir = select(func.max(other.id)).where(same, stays, is_free).correlate(AuditSample).scalar_subquery()
    session.execute(
        update(AuditSample)
        .where(AuditSample.sighting_id.in_(sightings), heir.is_not(None))
        .values(sighting_id=heir)
        .execution_options(synchronize_session=False)
    )


def count_reviews(session: Session, contents: Sequence[str], sightings: Sequence[int]) -> int:
    """How many reviews are of these contents, or of these sightings alone and go with them."""
    ids: set[int] = set()
    conditions: list[ColumnElement[bool]] = [Review.sha256.in_(part) for part in parts(contents)]
    conditions += [_is_of_sighting(part) for part in parts(sightings)]
    for condition in conditions:
        ids.update(session.scalars(select(Review.id).where(condition)))
    return len(ids)


def delete_rows(session: Session, table: Any, ids: Sequence[int]) -> int:
    return len(session.scalars(delete(table).where(table.id.in_(ids)).returning(table.id)).all())


def delete_contents(session: Session, table: Contents, contents: Sequence[str]) -> int:
    count = 0
    for part in parts(contents):
        if table is Prediction:
            gone = select(Prediction.id).where(Prediction.sha256.in_(part))
            session.execute(delete(Screening).where(Screening.prediction_id.in_(gone)))
        count += len(session.scalars(delete(table).where(table.sha256.in_(part)).returning(table.sha256)).all())
    return count


def sightings_at(session: Session, places: Collection[Place]) -> Sequence[Sighting]:
    """Every sighting at these places, the oldest first."""
    return session.scalars(select(Sighting).where(_is_at(places)).order_by(Sighting.id)).all()


def sightings_of(session: Session, places: Collection[Place], contents: Collection[str]) -> Sequence[Sighting]:
    """Every sighting at these places, and of these contents wherever, the oldest first."""
    mine = or_(Sighting.sha256.in_(contents), _is_at(places))
    return session.scalars(select(Sighting).where(mine).order_by(Sighting.id)).all()


def count_contents(session: Session, table: Contents, contents: Collection[str]) -> int:
    return len(session.scalars(select(table.sha256).where(table.sha256.in_(contents))).all())


def _is_at(places: Collection[Place]) -> ColumnElement[bool]:
    return tuple_(Sighting.source, Sighting.path).in_(sorted(places))


def _is_of_sighting(sightings: Sequence[int]) -> ColumnElement[bool]:
    return and_(Review.sighting_id.in_(sightings), Review.label == ReviewLabel.NOT_READABLE)


def _is_old(sighting: Any, cutoff: datetime) -> ColumnElement[bool]:
    is_open = exists().where(Job.sighting_id == sighting.id, Job.state != JobState.FINISHED)
    return and_(
        sighting.state != SightingState.WAITING,
        sighting.finished_at < cutoff,
        ~is_open.correlate(sighting),
    )
