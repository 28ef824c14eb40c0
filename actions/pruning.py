"""Deletes what is old: bookkeeping, replaced sightings, and the results of files that are gone from their source."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from shared.database import Database, DeadLetter, DicomHeader, Job, OutboxRow, Prediction, Sighting
from shared.database.audit import record
from shared.ledger import retention
from shared.ledger.outbox import EVENT_MEMORY
from shared.ledger.register import as_path
from shared.sources import Source

JOBS, REPLACED, GONE = "finished jobs", "replaced sightings", "sightings whose file is gone"
LETTERS, PREDICTIONS, HEADERS = "dead letters", "predictions", "DICOM headers"
REVIEWS = "reviews of deleted sightings alone"
EVENTS = "events that were told"
Advance = Callable[[str, int], None]
"""Called with what is being deleted, and how many more rows were looked at."""


@dataclass(frozen=True)
class Pruned:
    """How many rows were deleted, or would be; and which old rows stay."""

    counts: Mapping[str, int]
    kept: int
    """Old results whose file is still in its source."""
    out_of_reach: Mapping[str, int]
    """By source: old results of which this host cannot tell whether their file is gone."""


def prune(
    database: Database,
    sources: Mapping[str, Source],
    older_than: int,
    actor: str,
    now: datetime,
    *,
    dry_run: bool = False,
    advance: Advance = lambda _name, _rows: None,
) -> Pruned:
    """Delete, in short transactions, what became final more than `older_than` days ago."""
    run = _Run(database, sources, now - timedelta(days=older_than), dry_run, advance)
    run.delete_jobs()
    run.delete_replaced()
    run.delete_gone()
    run.delete_letters()
    run.delete_events(now - EVENT_MEMORY)
    run.delete_contents()
    if not dry_run:
        detail = ", ".join(f"{count} {name}" for name, count in run.counts.items())
        with database.write() as session:
            record(session, actor, "prune", f"older than {older_than} days: {detail}", at=now)
    return Pruned(run.counts, run.kept, run.out_of_reach)


class _Run:
    """A dry run notes the sightings that a real one would have deleted before it looks for their contents."""

    def __init__(
        self, database: Database, sources: Mapping[str, Source], cutoff: datetime, dry_run: bool, advance: Advance
    ) -> None:
        self.counts = dict.fromkeys((JOBS, REPLACED, GONE, LETTERS, PREDICTIONS, HEADERS, REVIEWS, EVENTS), 0)
        self.kept, self.out_of_reach = 0, Counter[str]()
        self._database, self._sources, self._cutoff = database, sources, cutoff
        self._dry_run, self._advance, self._deleted = dry_run, advance, set[int]()

    def delete_jobs(self) -> None:
        self._delete_all(JOBS, retention.old_jobs, lambda ids: self._delete_rows(JOBS, Job, ids))

    def delete_letters(self) -> None:
        self._delete_all(LETTERS, retention.old_letters, lambda ids: self._delete_rows(LETTERS, DeadLetter, ids))

    def delete_events(self, known_for: datetime) -> None:
        cutoff = min(self._cutoff, known_for)
        self._delete_all(
            EVENTS,
            lambda session, _, after: retention.old_events(session, cutoff, after),
            lambda ids: self._delete_rows(EVENTS, OutboxRow, ids),
        )

    def delete_replaced(self) -> None:
        self._delete_all(REPLACED, retention.replaced, lambda ids: self._delete_sightings(REPLACED, ids))

    def delete_gone(self) -> None:
        after = 0
        while True:
            with self._database.read() as session:
                results = retention.results(session, self._cutoff, after)
            if not results:
                break
            after = results[-1].id
            is_there = {sighting.id: self._is_there(sighting) for sighting in results}
            self.kept += sum(answer is True for answer in is_there.values())
            self.out_of_reach.update(sighting.source for sighting in results if is_there[sighting.id] is None)
            self._delete_sightings(GONE, [sighting for sighting, answer in is_there.items() if answer is False])
            self._advance(GONE, len(results))

    def _is_there(self, sighting: Sighting) -> bool | None:
        source = self._sources.get(sighting.source)
        return source.exists(as_path(sighting.path, sighting.path_bytes)) if source else None

    def delete_contents(self) -> None:
        """Delete predictions and headers that no sighting leads to; reviews of contents stay."""
        for name, table in ((PREDICTIONS, Prediction), (HEADERS, DicomHeader)):
            after: str | None = ""
            while after is not None:
                after = self._delete_next_contents(name, table, after)
                self._advance(name, 1)

    def _delete_next_contents(self, name: str, table: retention.Contents, after: str) -> str | None:
        with self._database.read() as session:
            contents, last = retention.unreferenced(session, table, after, self._deleted)
            if self._dry_run:
                self.counts[name] += retention.count_contents(session, table, contents)
        if contents and last is not None and not self._dry_run:
            with self._database.write() as session:
                retention.hold_work(session)
                contents, _ = retention.unreferenced(session, table, after, ())  # a sighting may have come meanwhile
                contents = [content for content in contents if content <= last]
                self.counts[name] += retention.delete_contents(session, table, contents)
        return last

    def _delete_all(
        self, name: str, find: Callable[[Session, datetime, int], list[int]], delete: Callable[[list[int]], None]
    ) -> None:
        after = 0
        while True:
            with self._database.read() as session:
                ids = find(session, self._cutoff, after)
            if not ids:
                break
            after = ids[-1]
            delete(ids)
            self._advance(name, len(ids))

    def _delete_rows(
        self, name: str, table: type[Job] | type[DeadLetter] | type[OutboxRow], ids: Sequence[int]
    ) -> None:
        if self._dry_run:
            self.counts[name] += len(ids)
            return
        with self._database.write() as session:
            self.counts[name] += retention.delete_rows(session, table, ids)

    def _delete_sightings(self, name: str, ids: Sequence[int]) -> None:
        if not ids:
            return
        if self._dry_run:
            with self._database.read() as session:
                sightings, reviews = len(ids), retention.count_reviews(session, [], ids)
            self._deleted.update(ids)
        else:
            with self._database.write() as session:
                sightings, reviews = retention.delete_old(session, ids, self._cutoff)
        self.counts[name] += sightings
        self.counts[REVIEWS] += reviews
