"""The worklist as the page shows it: a part of the reading list, in its order, without looking at the rest.

The order: the urgent lane; then what waits beyond its lane's limit; then need (`shared/ledger/reading_list.py`).
`queries/worklist.py` has the rules, which `results --to-review` shares.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, exists, or_, select, tuple_
from sqlalchemy.orm import Session, aliased

from queries.worklist import OVERDUE, URGENT, URGENT_OVERDUE, max_wait, reason_in, segment_of, shows_answer
from shared.base.lanes import SOURCE_LANES, Lane
from shared.base.settings import Settings
from shared.database import (
    AuditSample,
    DrawMember,
    Prediction,
    ReadingItem,
    ReadingLease,
    Review,
    ReviewLabel,
    Role,
    Screening,
    Sighting,
    SightingState,
    WaitsFor,
)
from shared.ledger.latest import IS_RESULT, is_newest

PAGE_SIZE = 50
OPEN = "open"
STATES = (OPEN, "unread", "second", "disputed", "unclear", "mine", "quarantined")
Key = tuple[int, int, float, int]
"""Segment, need, place, sighting."""


@dataclass(frozen=True)
class Filters:
    """What is asked for; None does not restrict. `why` and `label` find nothing where they may not be seen."""

    state: str = OPEN
    source: str | None = None
    lane: str | None = None
    version: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    reader: str | None = None
    why: str | None = None
    label: str | None = None

    @property
    def tells_answer(self) -> bool:
        """Whoever reads by such a filter knows what the model says."""
        return self.why is not None or self.label is not None

    @property
    def is_shared_out(self) -> bool:
        """Each image is for one reader; what was read or quarantined is there for all who look it up."""
        return self.state not in ("mine", "quarantined") and self.reader is None


@dataclass(frozen=True)
class Viewer:
    """Who looks at the list."""

    name: str
    role: Role = Role.READER


@dataclass(frozen=True)
class Part:
    """Sightings in the order of the list, and whether there are more behind them."""

    sightings: Sequence[int]
    has_more: bool


def page(
    session: Session,
    settings: Settings,
    filters: Filters,
    viewer: Viewer,
    now: datetime,
    *,
    after: int | None = None,
    limit: int = PAGE_SIZE,
    free: bool = False,
) -> Part:
    """The sightings behind `after` (None: from the start). `free` leaves out what others are reading now."""
    if not filters.is_shared_out:
        found = list(session.scalars(_newest_first(filters, viewer, after).limit(limit + 1)))
        return Part(found[:limit], len(found) > limit)
    found = []
    for number in _open(session, settings, filters, viewer, now, _key_of(session, after, now), limit + 1, free=free):
        found.append(number)
        if len(found) > limit:
            break
    return Part(found[:limit], len(found) > limit)


def _key_of(session: Session, sighting: int | None, now: datetime) -> Key | None:
    item = session.get(ReadingItem, sighting) if sighting is not None else None
    if item is None:
        return None
    return segment_of(item.lane, item.seen_at, now), item.need, item.place, item.sighting_id


def _open(
    session: Session,
    settings: Settings,
    filters: Filters,
    viewer: Viewer,
    now: datetime,
    after: Key | None,
    limit: int,
    *,
    free: bool,
) -> Iterator[int]:
    """Each segment is a query or two in the order of an index; the lanes of one are merged."""
    conditions = [*_conditions(settings, filters, viewer)]
    if free:
        conditions.append(~is_taken(viewer.name, now))
    lanes = [lane for lane in SOURCE_LANES if filters.lane in (None, lane)]
    spans = _spans(session, lanes)
    for segment in range(4):
        if after is not None and segment < after[0]:
            continue
        behind = after[1:] if after is not None and segment == after[0] else None
        rows: list[tuple[int, float, int]] = []
        for lane in lanes:
            in_time = _in_time(lane, segment, spans.get(lane), now)
            if in_time is not None:
                rows += _rows(session, [ReadingItem.lane == lane, *in_time, *conditions], behind, limit)
        rows.sort()
        yield from (row[2] for row in rows[:limit])


def _spans(session: Session, lanes: Sequence[str]) -> dict[str, tuple[datetime, datetime]]:
    """When the oldest and the newest open image of each lane came, of those that have one.

    Most often they say that all are overdue, or none.
    """
    ends = []
    for lane in lanes:
        seen_at = select(ReadingItem.seen_at).where(ReadingItem.lane == lane, ReadingItem.waits_for.is_not(None))
        for order in (ReadingItem.seen_at, ReadingItem.seen_at.desc()):  # each is one step into an index
            ends.append(seen_at.order_by(order).limit(1).scalar_subquery())
    found = session.execute(select(*ends)).one()
    return {lane: (found[2 * n], found[2 * n + 1]) for n, lane in enumerate(lanes) if found[2 * n] is not None}


def _in_time(
    lane: str, segment: int, span: tuple[datetime, datetime] | None, now: datetime
) -> list[ColumnElement[bool]] | None:
    """What holds for a lane's images of a segment; None if there are none."""
    is_urgent = lane == Lane.STAT
    if span is None or is_urgent != (segment in (URGENT_OVERDUE, URGENT)):
        return None
    cutoff = now - max_wait(lane)
    if segment in (URGENT_OVERDUE, OVERDUE):
        if span[0] >= cutoff:
            return None
        return [] if span[1] < cutoff else [ReadingItem.seen_at < cutoff]
    if span[1] < cutoff:
        return None
    return [] if span[0] >= cutoff else [ReadingItem.seen_at >= cutoff]


def _rows(
    session: Session, conditions: Sequence[ColumnElement[bool]], behind: Sequence[Any] | None, limit: int
) -> list[tuple[int, float, int]]:
    order = (ReadingItem.need, ReadingItem.place, ReadingItem.sighting_id)
    query = select(*order).where(ReadingItem.waits_for.is_not(None), *conditions)
    if behind is not None:
        query = query.where(tuple_(*order) > tuple_(*behind))
    return [(row[0], row[1], row[2]) for row in session.execute(query.order_by(*order).limit(limit))]


def _conditions(settings: Settings, filters: Filters, viewer: Viewer) -> Iterator[ColumnElement[bool]]:
    yield _is_listed()
    yield from _state(filters.state, viewer)
    if filters.source is not None:
        yield ReadingItem.source == filters.source
    if filters.since is not None:
        yield ReadingItem.seen_at >= filters.since
    if filters.until is not None:
        yield ReadingItem.seen_at < filters.until
    if filters.version is not None:
        yield _of_answer(Prediction.model_version == filters.version)
    if filters.tells_answer:
        yield _is_told(settings)
    if filters.label is not None:
        yield _of_answer(Screening.label == filters.label)
    if filters.why is not None:
        yield _of_answer(reason_in(Screening) == filters.why)


def _state(state: str, viewer: Viewer) -> Iterator[ColumnElement[bool]]:
    said = exists().where(
        Review.sha256 == ReadingItem.sha256, Review.reviewer == viewer.name, Review.withdrawn_at.is_(None)
    )
    is_new_to_me = or_(ReadingItem.readers == 0, ~said)
    unclear = exists().where(
        Review.sha256 == ReadingItem.sha256,
        Review.withdrawn_at.is_(None),
        or_(Review.label == ReviewLabel.UNCLEAR, Review.other_finding.is_(True)),
    )
    match state:
        case "unread":
            yield ReadingItem.waits_for == WaitsFor.FIRST
        case "second":
            yield ReadingItem.waits_for == WaitsFor.SECOND
            yield is_new_to_me
        case "disputed":
            yield ReadingItem.waits_for == WaitsFor.SENIOR
            yield ~unclear
        case "unclear":
            yield ReadingItem.waits_for == WaitsFor.SENIOR
            yield unclear
        case _:
            if viewer.role is not Role.SENIOR:
                yield ReadingItem.waits_for != WaitsFor.SENIOR
            yield or_(is_new_to_me, ReadingItem.waits_for == WaitsFor.FIRST)


@cache
def _is_listed() -> ColumnElement[bool]:
    """What every image of the list fulfils. It is made once: to make its aliases took longer than to ask by it."""
    return _is_there(ReadingItem) & ~_has_better_copy()


def _is_there(item: Any) -> ColumnElement[bool]:
    """The image is still its path's newest one, and has a result."""
    mine = aliased(Sighting)
    return exists().where(
        mine.id == item.sighting_id,
        mine.state == SightingState.DONE,
        mine.sha256 == item.sha256,
        is_newest(mine),
    )


def _has_better_copy() -> ColumnElement[bool]:
    """Copies have one picture: the most pressing is shown, else the newest."""
    other = aliased(ReadingItem)
    mine, theirs = (
        tuple_(case((item.lane == Lane.STAT, 0), else_=1), item.need, -item.sighting_id)
        for item in (ReadingItem, other)
    )
    is_other = (other.sha256 == ReadingItem.sha256) & (other.sighting_id != ReadingItem.sighting_id)
    return exists().where(is_other, other.waits_for.is_not(None), theirs < mine, _is_there(other))


def is_taken(reader: str, now: datetime) -> ColumnElement[bool]:
    """Another than this reader has the image open."""
    lease = ReadingLease
    return exists().where(lease.sha256 == ReadingItem.sha256, lease.reader != reader, lease.until > now)


def _of_answer(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    return exists(
        select(Sighting.id)
        .join(Screening, IS_RESULT)
        .join(Prediction, Prediction.id == Screening.prediction_id)
        .where(Sighting.id == ReadingItem.sighting_id, condition)
        .correlate(ReadingItem)
    )


def _is_told(settings: Settings) -> ColumnElement[bool]:
    """The model's answer may be seen before the word: a source that shows it, and no image of a random draw."""
    drawn = or_(
        exists().where(AuditSample.sha256 == ReadingItem.sha256),
        exists().where(DrawMember.sha256 == ReadingItem.sha256),
    )
    return and_(shows_answer(settings, ReadingItem.source), ~drawn)


def _newest_first(filters: Filters, viewer: Viewer, after: int | None) -> Select[Any]:
    query = select(Sighting.id).where(is_newest()).order_by(Sighting.id.desc())
    if filters.state == "quarantined":
        query = query.where(Sighting.state == SightingState.QUARANTINED)
    else:
        reader = filters.reader if filters.reader is not None else viewer.name
        read = select(Review.sighting_id).where(Review.reviewer == reader, Review.withdrawn_at.is_(None))
        query = query.where(Sighting.id.in_(read))
    if filters.source is not None:
        query = query.where(Sighting.source == filters.source)
    if filters.lane is not None:
        query = query.where(Sighting.lane == filters.lane)
    if filters.since is not None:
        query = query.where(Sighting.seen_at >= filters.since)
    if filters.until is not None:
        query = query.where(Sighting.seen_at < filters.until)
    return query if after is None else query.where(Sighting.id < after)
