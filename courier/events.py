"""Events that are nobody's image: a silent source, a swapped version, a recall below what was promised."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from queries import accuracy, sources
from shared.base.destination_settings import Event, EventDestination
from shared.base.settings import Settings
from shared.database import Database, OutboxRow, Promotion
from shared.ledger import reporting
from shared.ledger.outbox import EVENT_MEMORY
from shared.ledger.reporting import Wanted

EVERY = timedelta(seconds=30)
ACCURACY_EVERY = timedelta(minutes=10)
"""It reads every audit sample of a year."""


@dataclass(frozen=True)
class Happened:
    event: Event
    about: str
    """Tells it from others of its kind: it is told once."""
    at: datetime
    facts: Mapping[str, object]


def events_of(wanted: Wanted) -> tuple[Event, ...]:
    return wanted.settings.events if isinstance(wanted.settings, EventDestination) else ()


class EventWatch:
    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings, self._database = settings, database
        self._next = self._next_accuracy = datetime.min.replace(tzinfo=UTC)

    def look(self, wanted: Sequence[Wanted], now: datetime) -> int:
        """Make rows of what has happened; returns how many."""
        listening = [each for each in wanted if isinstance(each.settings, EventDestination)]
        if not listening or now < self._next:
            return 0
        self._next = now + EVERY
        chosen = {event for each in listening for event in events_of(each)}
        with self._database.read() as session:
            since = max(min(each.since for each in listening), now - EVENT_MEMORY)
            happened = [each for each in self._find(session, chosen, since, now) if each.at >= since]
            happened = _untold(session, happened)
        if not happened:
            return 0
        with self._database.write() as session:
            return sum(_tell(session, listening, each, now) for each in happened)

    def _find(self, session: Session, chosen: set[Event], since: datetime, now: datetime) -> Iterator[Happened]:
        if Event.SOURCE_SILENT in chosen:
            yield from _silences(session, self._settings, now)
        if Event.VERSION_SWAPPED in chosen:
            yield from _swaps(session, since)
        if Event.ACCURACY_BROKEN in chosen and now >= self._next_accuracy:
            self._next_accuracy = now + ACCURACY_EVERY
            yield from _broken_bounds(session, self._settings, now)


def _untold(session: Session, happened: Sequence[Happened]) -> list[Happened]:
    """Those that nobody was told of yet; most looks find what is known, and take no lock then."""
    subjects = {reporting.subject_of_event(each.event, each.about) for each in happened}
    known = set(session.scalars(select(OutboxRow.subject).where(OutboxRow.subject.in_(subjects))))
    return [each for each in happened if reporting.subject_of_event(each.event, each.about) not in known]


def _silences(session: Session, settings: Settings, now: datetime) -> Iterator[Happened]:
    for source in sources.overview(session, settings, now):
        if source.silent_since is not None:
            last = source.last_image.isoformat(timespec="seconds") if source.last_image else None
            facts = {"source": source.name, "last_image": last}
            yield Happened(Event.SOURCE_SILENT, f"{source.name}:{last or 'never'}", source.silent_since, facts)


def _swaps(session: Session, since: datetime) -> Iterator[Happened]:
    rows = session.scalars(select(Promotion).where(Promotion.promoted_at >= since).order_by(Promotion.id))
    for row in rows:
        facts = {"model_version": row.version, "promotion_id": row.id}
        yield Happened(Event.VERSION_SWAPPED, str(row.id), row.promoted_at, facts)


def _broken_bounds(session: Session, settings: Settings, now: datetime) -> Iterator[Happened]:
    """Told once for a source, a version and a month: while it stays so, `status` says it."""
    for part in accuracy.in_service(session, settings, now):
        if part.is_below_promise:
            facts = {
                "source": part.source,
                "model_version": part.model_version,
                "recall": part.recall.value,
                "promised_recall": part.promised_recall,
                "missed": part.missed,
            }
            about = f"{part.source}:{part.model_version}:{now:%Y-%m}"
            yield Happened(Event.ACCURACY_BROKEN, about, now, facts)


def _tell(session: Session, listening: Sequence[Wanted], happened: Happened, now: datetime) -> int:
    own = reporting.identity(session)
    count = 0
    for each in listening:
        source = happened.facts.get("source")
        is_its = source is None or each.settings.wants(str(source))
        if happened.event in events_of(each) and is_its and happened.at >= each.since:
            facts = json.dumps(dict(happened.facts), sort_keys=True)
            count += reporting.add_event(session, own, each.name, happened.event, happened.about, facts, now)
    return count
