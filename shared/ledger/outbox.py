"""The outbox: a courier takes rows, sends them, and settles them. `reporting` makes the rows."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, and_, exists, or_, select, update
from sqlalchemy.orm import Session, aliased

from shared.base.destination_settings import DestinationSettings, ResultDestination
from shared.database import (
    OPEN_OUTBOX,
    DestinationState,
    OutboxKind,
    OutboxMark,
    OutboxRow,
    OutboxState,
    Sighting,
    SightingState,
)
from shared.ledger.register import as_path, insert_new, parts
from shared.ledger.send import AHEAD

FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=5), timedelta(minutes=10)
GIVE_UP_AFTER, GIVE_UP_ATTEMPTS = timedelta(days=3), 8
"""After so long and so many attempts, what a destination that is there still refuses for now fails for good."""
FAILED_KEEPS_FILE = timedelta(days=30)
"""So long after it failed for good, a report may be sent again, since its file is kept."""
EVENT_MEMORY = timedelta(days=31)
"""Rows of events that are nobody's image are kept for so long at least, and older events are never told: each is told
once, though its row is deleted some day."""


@dataclass(frozen=True)
class Taken:
    """An outbox row in this courier's hands."""

    id: int
    attempt: int
    destination: str
    kind: OutboxKind
    event: str | None
    source: str | None
    sighting: int | None
    sha256: str | None
    edition: int
    uid: str
    replaces: str | None
    facts: str
    created_at: datetime


def pause_after(attempts: int) -> timedelta:
    """Exponential back-off."""
    doublings = min(max(attempts, 1) - 1, 16)
    return min(LONGEST_PAUSE, FIRST_PAUSE * int(2**doublings))


def reported(
    session: Session, destinations: Mapping[str, DestinationSettings], sightings: Collection[int], now: datetime
) -> set[int]:
    """Those of these sightings of which every object is settled, and for which no object is still to be made.

    An image that waits is not reported; one that ended without a result never has anything to report. What failed is
    settled after FAILED_KEEPS_FILE, or with its next edition.
    """
    found: set[int] = set()
    since = _since_by_source(session, destinations)
    for part in parts(sorted(sightings)):
        columns = (Sighting.id, Sighting.source, Sighting.state, Sighting.finished_at, Sighting.prediction_id)
        rows = session.execute(
            select(*columns, OutboxMark.prediction_id.label("marked"), OutboxMark.sighting_id.label("mark"))
            .outerjoin(OutboxMark, OutboxMark.sighting_id == Sighting.id)
            .where(Sighting.id.in_(part))
        ).all()
        same = and_(OutboxRow.sha256 == Sighting.sha256, OutboxRow.source == Sighting.source)
        is_newly_failed = and_(
            OutboxRow.state == OutboxState.FAILED,
            OutboxRow.settled_at > now - FAILED_KEEPS_FILE,
            ~_has_later_edition(),
        )
        is_open = exists().where(same, OutboxRow.kind != OutboxKind.EVENT, or_(OPEN_OUTBOX, is_newly_failed))
        open_ones = set(session.scalars(select(Sighting.id).where(Sighting.id.in_(part), is_open)))
        for row in rows:
            if row.id in open_ones or row.state == SightingState.WAITING:
                continue
            first = since(row.source)
            is_made = row.mark is not None and row.marked == row.prediction_id
            if row.state != SightingState.DONE or first is None or row.finished_at < first or is_made:
                found.add(row.id)
    return found


class _SinceBySource:
    """From when on the results of a source are sent to somebody; None if they never are."""

    def __init__(self, known: Mapping[str, datetime], wanting: Mapping[str, ResultDestination], now: datetime) -> None:
        self._known, self._wanting, self._now = known, wanting, now

    def __call__(self, source: str) -> datetime | None:
        mine = [name for name, destination in self._wanting.items() if destination.wants(source)]
        return min((self._known.get(name, self._now) for name in mine), default=None)


def _since_by_source(session: Session, destinations: Mapping[str, DestinationSettings]) -> _SinceBySource:
    """A destination that no courier has had yet gets everything, for all that this knows."""
    known = _known_since(session)
    wanting = {name: each for name, each in destinations.items() if isinstance(each, ResultDestination)}
    return _SinceBySource(known, wanting, datetime.min.replace(tzinfo=UTC))


def register_destinations(session: Session, names: Iterable[str], now: datetime) -> dict[str, datetime]:
    """Note that a courier has these in its settings; returns since when each is known."""
    wanted = list(names)
    for name in wanted:
        session.execute(insert_new(session, DestinationState).values(name=name, since=now, seen_at=now))
    session.execute(update(DestinationState).where(DestinationState.name.in_(wanted)).values(seen_at=now))
    return {name: since for name, since in _known_since(session).items() if name in wanted}


def _known_since(session: Session) -> dict[str, datetime]:
    rows = session.execute(select(DestinationState.name, DestinationState.since))
    return {row.name: row.since for row in rows}


def take(session: Session, destination: str, most: int, now: datetime, lease: float) -> list[Taken]:
    """Take up to `most` rows of a destination that are due: urgent ones first, then the oldest.

    Rows whose courier died, so that their lease ran out, are taken again.
    """
    is_due = or_(OutboxRow.not_before.is_(None), OutboxRow.not_before <= now, OutboxRow.not_before > now + AHEAD)
    is_lost = or_(OutboxRow.lease_until < now, OutboxRow.lease_until > now + timedelta(seconds=lease) + AHEAD)
    rows = session.scalars(
        select(OutboxRow)
        .where(OPEN_OUTBOX, OutboxRow.destination == destination)
        .where(
            or_(
                and_(OutboxRow.state == OutboxState.WAITING, is_due),
                and_(OutboxRow.state == OutboxState.SENDING, is_lost),
            )
        )
        .order_by(OutboxRow.is_urgent.desc(), OutboxRow.id)
        .limit(most)
        .with_for_update(skip_locked=True)
    ).all()
    for row in rows:
        row.state, row.attempts = OutboxState.SENDING, row.attempts + 1
        row.lease_until = now + timedelta(seconds=lease)
        if row.replaces is None:
            row.replaces = _predecessor(session, row)
    return [
        Taken(
            id=row.id,
            attempt=row.attempts,
            destination=row.destination,
            kind=OutboxKind(row.kind),
            event=row.event,
            source=row.source,
            sighting=row.sighting_id,
            sha256=row.sha256,
            edition=row.edition,
            uid=row.uid,
            replaces=row.replaces,
            facts=row.facts,
            created_at=row.created_at,
        )
        for row in rows
    ]


def _predecessor(session: Session, row: OutboxRow) -> str | None:
    """The UID of the edition that the destination has."""
    same = and_(OutboxRow.destination == row.destination, OutboxRow.kind == row.kind, OutboxRow.subject == row.subject)
    sent = select(OutboxRow.uid).where(same, OutboxRow.edition < row.edition, OutboxRow.state == OutboxState.SENT)
    return session.scalar(sent.order_by(OutboxRow.edition.desc()).limit(1))


def places_of(session: Session, source: str, sha256: str, most: int = 20) -> list[tuple[str, str]]:
    """Path and revision of the sightings of a content in a source, the newest first."""
    rows = session.execute(
        select(Sighting.path, Sighting.path_bytes, Sighting.revision)
        .where(Sighting.sha256 == sha256, Sighting.source == source)
        .order_by(Sighting.id.desc())
        .limit(most)
    )
    return [(as_path(row.path, row.path_bytes), row.revision) for row in rows]


def settle_sent(session: Session, taken: Taken, now: datetime, remark: str | None = None) -> bool:
    """The destination has said yes, perhaps with a remark. False if another courier has the row by now."""
    values = {"state": OutboxState.SENT, "problem": remark, "settled_at": now}
    is_mine = _settle(session, taken, values)
    session.execute(
        update(DestinationState)
        .where(DestinationState.name == taken.destination)
        .values(last_sent_at=now, failures=0, away_since=None, next_try=None, problem=None)
    )
    return is_mine


def settle_failed(session: Session, taken: Taken, now: datetime, problem: str) -> bool:
    """It is never sent as it is."""
    return _settle(session, taken, {"state": OutboxState.FAILED, "problem": problem, "settled_at": now})


def put_back(
    session: Session, taken: Taken, now: datetime, problem: str | None, *, fails_after_days: bool = True
) -> bool:
    """Refused for now: it is tried again later, and fails for good after days. A newer edition takes its place.

    `problem` None: the row itself was not tried, and is due at once.
    """
    if _has_newer(session, taken):
        return _settle(session, taken, {"state": OutboxState.SUPERSEDED, "settled_at": now})
    if problem is None:
        return _settle(session, taken, {"state": OutboxState.WAITING, "attempts": taken.attempt - 1})
    if fails_after_days and taken.attempt >= GIVE_UP_ATTEMPTS and now - taken.created_at > GIVE_UP_AFTER:
        return settle_failed(session, taken, now, f"refused for {GIVE_UP_AFTER.days} days, the last time: {problem}")
    later = {"state": OutboxState.WAITING, "problem": problem, "not_before": now + pause_after(taken.attempt)}
    return _settle(session, taken, later)


def put_behind(session: Session, taken: Taken, now: datetime, problem: str) -> bool:
    """The destination broke off over this row: the others go first, since else one bad object would hold up all.

    It fails for good as what is refused does, but only where the destination took something else of late: else it is
    the destination that fails, however long.
    """
    last = session.get_one(DestinationState, taken.destination).last_sent_at
    took_others = last is not None and last > now - 2 * LONGEST_PAUSE
    return put_back(session, taken, now, problem, fails_after_days=took_others)


def note_away(session: Session, destination: str, now: datetime, problem: str) -> datetime:
    """The destination is out of reach: nothing is tried until the time that is returned."""
    state = session.get_one(DestinationState, destination)
    state.failures += 1
    state.away_since = state.away_since or now
    state.problem = problem
    state.next_try = now + pause_after(state.failures)
    return state.next_try


def retry(session: Session, ids: Collection[int] | None, destination: str | None, now: datetime) -> int:
    """Have failed rows sent again, unless a later edition took their place; returns how many."""
    condition = and_(OutboxRow.state == OutboxState.FAILED, ~_has_later_edition())
    if ids is not None:
        condition = and_(condition, OutboxRow.id.in_(ids))
    if destination is not None:
        condition = and_(condition, OutboxRow.destination == destination)
    again = {"state": OutboxState.WAITING, "problem": None, "not_before": None, "attempts": 0, "settled_at": None}
    chosen = list(session.scalars(select(OutboxRow.id).where(condition)))
    for part in parts(chosen):  # GIVE_UP_AFTER counts from its making, but the attempts begin anew
        session.execute(update(OutboxRow).where(OutboxRow.id.in_(part)).values(**again))
    names = select(OutboxRow.destination).where(OutboxRow.id.in_(chosen[:1000])).distinct()
    session.execute(
        update(DestinationState)
        .where(DestinationState.name.in_(list(session.scalars(names))))
        .values(next_try=None)
        .execution_options(synchronize_session=False)
    )
    return len(chosen)


def has_work(session: Session, destination: str, now: datetime) -> bool:
    """Whether a destination has open rows, and may be tried: a look that takes no lock."""
    next_try = session.scalar(select(DestinationState.next_try).where(DestinationState.name == destination))
    if next_try is not None and now < next_try < now + AHEAD + LONGEST_PAUSE:
        return False
    mine = (OPEN_OUTBOX, OutboxRow.destination == destination)
    is_due = or_(OutboxRow.not_before.is_(None), OutboxRow.not_before <= now, OutboxRow.not_before > now + AHEAD)
    return session.scalar(select(OutboxRow.id).where(*mine, is_due).limit(1)) is not None


def _has_newer(session: Session, taken: Taken) -> bool:
    return bool(session.scalar(select(OutboxRow.id).where(OutboxRow.id == taken.id, _has_later_edition())))


def _has_later_edition() -> ColumnElement[bool]:
    """Of an OutboxRow: another took its place."""
    newer = aliased(OutboxRow)
    return (
        exists()
        .where(
            newer.destination == OutboxRow.destination,
            newer.kind == OutboxRow.kind,
            newer.subject == OutboxRow.subject,
            newer.edition > OutboxRow.edition,
            newer.state != OutboxState.SUPERSEDED,
        )
        .correlate(OutboxRow)
    )


def _settle(session: Session, taken: Taken, values: Mapping[str, object]) -> bool:
    mine = and_(OutboxRow.id == taken.id, OutboxRow.state == OutboxState.SENDING, OutboxRow.attempts == taken.attempt)
    changed = update(OutboxRow).where(mine).values(lease_until=None, **values).returning(OutboxRow.id)
    return bool(session.execute(changed, execution_options={"synchronize_session": False}).all())
