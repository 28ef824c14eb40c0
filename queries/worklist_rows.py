"""What a row of the worklist says of an image, and the figures above the list."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from queries.worklist import is_read_blind, max_wait, reason
from queries.worklist_page import Viewer
from shared.base.lanes import SOURCE_LANES, Lane
from shared.base.settings import Settings
from shared.database import (
    AuditSample,
    DicomHeader,
    DrawMember,
    Prediction,
    ReadingItem,
    ReadingLease,
    Review,
    Screening,
    Sighting,
    WaitsFor,
)
from shared.ledger.latest import IS_RESULT

MAX_COUNTED = 10_000


@dataclass(frozen=True)
class Row:
    """An image of the list. `why` and `label` are None where this reader is not to know the model's answer yet."""

    sighting: int
    source: str
    lane: str
    seen_at: datetime
    waits: timedelta
    is_overdue: bool
    state: str  # of the sighting
    reason: str | None  # of a quarantined one
    waits_for: WaitsFor | None
    readers: tuple[str, ...]
    why: str | None
    label: str | None
    accession_number: str | None
    is_outside_population: bool
    reading_now: str | None  # another reader, who has it open


@dataclass(frozen=True)
class LaneCount:
    lane: Lane
    unread: int  # counted no further than MAX_COUNTED
    oldest: timedelta | None = None  # for how long the longest waits

    @property
    def text(self) -> str:
        return f"{self.unread:,}" if self.unread < MAX_COUNTED else f"{MAX_COUNTED:,} or more"


@dataclass(frozen=True)
class Summary:
    lanes: Sequence[LaneCount]
    oldest_urgent: timedelta | None
    is_urgent_overdue: bool
    mine_today: int


def rows(session: Session, settings: Settings, sightings: Sequence[int], viewer: Viewer, now: datetime) -> list[Row]:
    """In the order of `sightings`; those that are gone are left out."""
    query = (
        select(Sighting, Screening, Prediction.outside_population, DicomHeader.accession_number)
        .add_columns(ReadingItem.waits_for, ReadingLease.reader, ReadingLease.until)
        .select_from(Sighting)
        .outerjoin(Screening, IS_RESULT)
        .outerjoin(Prediction, Prediction.id == Screening.prediction_id)
        .outerjoin(DicomHeader, DicomHeader.sha256 == Sighting.sha256)
        .outerjoin(ReadingItem, ReadingItem.sighting_id == Sighting.id)
        .outerjoin(ReadingLease, ReadingLease.sha256 == Sighting.sha256)
        .where(Sighting.id.in_(sightings))
    )
    found = {row[0].id: row for row in session.execute(query)}
    contents = {row[0].sha256 for row in found.values() if row[0].sha256}
    readers, drawn = _readers(session, contents), drawn_contents(session, contents)
    listed = []
    for number in sightings:
        if number not in found:
            continue
        sighting, screening, outside, accession, waits_for, reader, until = found[number]
        names = readers.get(sighting.sha256, ())
        is_hidden = viewer.name not in names and (
            is_read_blind(settings, sighting.source, waits_for, is_drawn=sighting.sha256 in drawn)
        )
        why = label = None
        if screening is not None and not is_hidden:
            label = screening.label
            figures = (screening.probability, screening.threshold, screening.label)
            why = reason(*figures, unfamiliar=bool(screening.unfamiliar))
        lane = sighting.lane or Lane.ROUTINE
        listed.append(
            Row(
                sighting=number,
                source=sighting.source,
                lane=lane,
                seen_at=sighting.seen_at,
                waits=now - sighting.seen_at,
                is_overdue=waits_for is not None and now - sighting.seen_at > max_wait(lane),
                state=sighting.state,
                reason=sighting.reason,
                waits_for=WaitsFor(waits_for) if waits_for else None,
                readers=names,
                why=why,
                label=label,
                accession_number=accession,
                is_outside_population=bool(outside),
                reading_now=reader if until is not None and until > now and reader != viewer.name else None,
            )
        )
    return listed


def drawn_contents(session: Session, contents: set[str]) -> set[str]:
    samples = select(AuditSample.sha256).where(AuditSample.sha256.in_(contents))
    return set(session.scalars(samples.union(select(DrawMember.sha256).where(DrawMember.sha256.in_(contents)))))


def _readers(session: Session, contents: set[str]) -> Mapping[str, tuple[str, ...]]:
    query = (
        select(Review.sha256, Review.reviewer)
        .where(Review.sha256.in_(contents), Review.withdrawn_at.is_(None))
        .order_by(Review.id)
    )
    names: dict[str, dict[str, None]] = defaultdict(dict)
    for content, reader in session.execute(query):
        names[str(content)][reader] = None
    return {content: tuple(found) for content, found in names.items()}


def summary(session: Session, viewer: Viewer, now: datetime) -> Summary:
    lanes = [LaneCount(lane, _unread(session, lane), _oldest_wait(session, lane, now)) for lane in SOURCE_LANES]
    wait = next(lane.oldest for lane in lanes if lane.lane == Lane.STAT)
    return Summary(
        lanes=lanes,
        oldest_urgent=wait,
        is_urgent_overdue=wait is not None and wait > max_wait(Lane.STAT),
        mine_today=count_today(session, viewer.name, now),
    )


def _oldest_wait(session: Session, lane: Lane, now: datetime) -> timedelta | None:
    waits = (ReadingItem.lane == lane) & ReadingItem.waits_for.is_not(None)
    oldest = session.scalar(select(ReadingItem.seen_at).where(waits).order_by(ReadingItem.seen_at).limit(1))
    return None if oldest is None else now - oldest


def count_today(session: Session, reader: str, now: datetime) -> int:
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    mine = (Review.reviewer == reader) & (Review.created_at >= midnight) & Review.withdrawn_at.is_(None)
    return session.scalar(select(func.count()).select_from(Review).where(mine)) or 0


def _unread(session: Session, lane: Lane) -> int:
    some = select(ReadingItem.sighting_id).where(ReadingItem.lane == lane, ReadingItem.waits_for.is_not(None))
    return session.scalar(select(func.count()).select_from(some.limit(MAX_COUNTED).subquery())) or 0
