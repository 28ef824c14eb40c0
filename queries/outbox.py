"""What is on its way out of the house: rows of the outbox, and how each destination is."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from queries.needs import duration
from shared.base.errors import InvalidRequest
from shared.base.settings import Settings
from shared.database import OPEN_OUTBOX, DestinationState, OutboxRow, OutboxState

LATELY = timedelta(days=1)
"""Older failures are not reported: an alarm that never clears gets ignored."""
AWAY_TOO_LONG = timedelta(minutes=15)
COURIER_ALIVE = timedelta(minutes=2)
"""A courier says every few seconds that it has a destination."""


@dataclass(frozen=True)
class OutboxEntry:
    id: int
    destination: str
    kind: str
    event: str | None
    source: str | None
    sighting: int | None
    edition: int
    state: str
    attempts: int
    problem: str | None
    uid: str
    created_at: datetime
    not_before: datetime | None
    settled_at: datetime | None


@dataclass(frozen=True)
class DestinationOverview:
    name: str
    kind: str | None  # None: it is in no settings of this host any more
    waiting: int  # those that are being sent included
    failed: int  # of the last day, without those that a person has had sent again
    oldest: datetime | None  # since when the oldest open row is there
    away_since: datetime | None
    next_try: datetime | None
    problem: str | None
    last_sent_at: datetime | None
    seen_at: datetime | None  # when a courier last had it in its settings

    def has_courier(self, now: datetime) -> bool:
        return self.seen_at is not None and now - self.seen_at < COURIER_ALIVE


def entries(
    session: Session, state: str | None, destination: str | None, sighting: int | None, limit: int
) -> list[OutboxEntry]:
    """The newest first. Raises InvalidRequest for a state that does not exist."""
    query = select(OutboxRow).order_by(OutboxRow.id.desc()).limit(limit)
    if state is not None:
        if state not in (*OutboxState, "open"):
            raise InvalidRequest(f"a state is open, {', '.join(OutboxState)}, not {state!r}")
        query = query.where(OPEN_OUTBOX if state == "open" else OutboxRow.state == state)
    if destination is not None:
        query = query.where(OutboxRow.destination == destination)
    if sighting is not None:
        query = query.where(OutboxRow.sighting_id == sighting)
    return [
        OutboxEntry(
            id=row.id,
            destination=row.destination,
            kind=row.kind,
            event=row.event,
            source=row.source,
            sighting=row.sighting_id,
            edition=row.edition,
            state=row.state,
            attempts=row.attempts,
            problem=row.problem,
            uid=row.uid,
            created_at=row.created_at,
            not_before=row.not_before,
            settled_at=row.settled_at,
        )
        for row in session.scalars(query)
    ]


def overview(session: Session, settings: Settings, now: datetime) -> list[DestinationOverview]:
    """Each destination of the settings, and each other one for which rows are open. By indexes alone."""
    columns = (OutboxRow.destination, func.count(), func.min(OutboxRow.created_at))
    open_rows = session.execute(select(*columns).where(OPEN_OUTBOX).group_by(OutboxRow.destination)).all()
    waiting = {name: (count, oldest) for name, count, oldest in open_rows}
    failed_rows = session.execute(
        select(OutboxRow.destination, func.count())
        .where(OutboxRow.settled_at > now - LATELY, OutboxRow.state == OutboxState.FAILED)
        .group_by(OutboxRow.destination)
    )
    failed = dict(failed_rows.all())
    states = {state.name: state for state in session.scalars(select(DestinationState))}
    found = []
    for name in dict.fromkeys([*settings.destinations, *sorted({*waiting, *failed})]):
        chosen, state = settings.destinations.get(name), states.get(name)
        count, oldest = waiting.get(name, (0, None))
        found.append(
            DestinationOverview(
                name=name,
                kind=chosen.kind if chosen else None,
                waiting=count,
                failed=failed.get(name, 0),
                oldest=oldest,
                away_since=state.away_since if state else None,
                next_try=state.next_try if state else None,
                problem=state.problem if state else None,
                last_sent_at=state.last_sent_at if state else None,
                seen_at=state.seen_at if state else None,
            )
        )
    return found


def needs(destinations: Iterable[DestinationOverview], now: datetime) -> Iterator[str]:
    for each in destinations:
        if each.kind is None and each.waiting:
            yield (
                f"{_rows(each.waiting)} for the destination {each.name}, which is in no settings here any more: "
                "name it again, or its images are kept for ever"
            )
        elif each.kind is not None and not each.has_courier(now):
            yield (
                f"no courier works for the destination {each.name} ({_rows(each.waiting)}): "
                "start `pneumoscreen courier` (part of `up` and of Compose)"
            )
        elif each.away_since is not None and now - each.away_since > AWAY_TOO_LONG:
            yield (
                f"the destination {each.name} has been out of reach for {duration(now - each.away_since)} "
                f"({_rows(each.waiting)}): {each.problem}. Nothing is lost; it is tried again by itself"
            )
        if each.failed:
            yield (
                f"{each.failed:,} objects for the destination {each.name} failed for good within a day: "
                "`pneumoscreen outbox list --state failed` says why, `pneumoscreen outbox retry` sends them again"
            )


def retried(destinations: Iterable[DestinationOverview], now: datetime) -> Iterator[str]:
    """What passes by itself, as a rule."""
    for each in destinations:
        if each.away_since is not None and now - each.away_since <= AWAY_TOO_LONG:
            yield f"the destination {each.name} is out of reach ({_rows(each.waiting)}): {each.problem}"


def _rows(count: int) -> str:
    return "1 object waits" if count == 1 else f"{count:,} objects wait"
