"""Makes outbox rows: looks at what is new each second, and at everything in turn, so that nothing is missed."""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy.orm import Session

from courier.events import EventWatch
from shared.base.settings import Settings
from shared.database import Database
from shared.ledger import outbox, reporting
from shared.ledger.reporting import CHUNK, Place, Wanted

log = logging.getLogger(__name__)
ROUND = timedelta(minutes=1)
"""Pause between two rounds through everything."""
BEAT = timedelta(seconds=20)
"""How often the courier says that it is there."""


class Maker:
    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings, self._database = settings, database
        self._wanted: list[Wanted] = []
        self._next_beat = self._next_round = datetime.min.replace(tzinfo=UTC)
        self._place: Place | None = None
        self._last_review = 0
        self._events = EventWatch(settings, database)

    def make(self, now: datetime) -> int:
        """Make the rows that are due; returns how many. What is out of reach raises, and costs nothing."""
        if now >= self._next_beat:
            self._register(now)
            self._next_beat = now + BEAT
        if not self._wanted:
            return 0
        since = min(each.since for each in self._wanted)
        with self._database.read() as session:
            finished = reporting.recently_finished(session, since, now)
            read, last_review = reporting.recently_read(session, self._last_review, now)
            in_turn = self._next_in_turn(session, since, now)
        count = self._make([*finished, *read, *in_turn], since, now)
        self._last_review = last_review
        return count + self._events.look(self._wanted, now)

    def _register(self, now: datetime) -> None:
        with self._database.write() as session:
            known = outbox.register_destinations(session, self._settings.destinations, now)
        self._wanted = [Wanted(name, self._settings.destinations[name], since) for name, since in known.items()]

    def _next_in_turn(self, session: Session, since: datetime, now: datetime) -> list[int]:
        if self._place is None:
            if now < self._next_round:
                return []
            self._place = Place(since, 0)
        sightings, self._place = reporting.next_results(session, self._place)
        if self._place is None:
            self._next_round = now + ROUND
        return sightings

    def _make(self, sightings: Sequence[int], since: datetime, now: datetime) -> int:
        count = 0
        chosen = sorted(set(sightings))
        for start in range(0, len(chosen), CHUNK):
            part = chosen[start : start + CHUNK]
            with self._database.read() as session:
                changed = reporting.find_changed(session, since, part)
            if changed:
                with self._database.write() as session:
                    count += reporting.make_rows(session, self._wanted, changed, now)
        return count
