"""Writes into SQL what the pollers say of their sources, for `status`, `sources` and the metrics."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from shared.base import host
from shared.base.source_report import SourceReport
from shared.database import OUT_OF_REACH, Database, refusals
from shared.ledger.source_states import write_states
from shared.sources import Poller

log = logging.getLogger(__name__)
WRITE_EVERY = 60.0
"""Seconds after which what has not changed is said again: else the producer would count as silent."""


class Reporter:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._written: dict[str, SourceReport] = {}
        self._next = 0.0

    def report(self, now: float, pollers: Mapping[str, Poller]) -> None:
        """Write what changed, or what was said long ago; `now` is monotonic. Called every few seconds."""
        reports = {name: poller.report() for name, poller in pollers.items()}
        compared = {name: replace(report, swept_at=None) for name, report in reports.items()}
        if not reports or (compared == self._written and now < self._next):
            return
        try:
            with self._database.write() as session:
                write_states(session, host.name(), datetime.now(UTC), reports)
        except OUT_OF_REACH as error:
            refusal = refusals.find(error)
            if refusal is None or refusal.tries != 0:
                raise
            log.warning("what is to be said of the sources is not written: %s", refusal.sentence)  # images matter more
        self._written, self._next = compared, now + WRITE_EVERY
