"""Deletes received files that nobody needs any more: screened, reported to every destination, and old enough."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice

from sqlalchemy import ColumnElement, exists, select
from sqlalchemy.orm import Session

from shared.base.destination_settings import DestinationSettings
from shared.database import OPEN_JOB, AuditSample, Database, Job, Resolution, Review, Sighting, SightingState
from shared.database.audit import record
from shared.ledger.latest import is_newest
from shared.ledger.outbox import reported
from shared.ledger.register import as_path, as_text
from shared.sources.dicom import DicomSource
from shared.sources.folder.sweep import sweep

MAX_FILES = 200
"""Files a transaction, which holds their rows."""
Stop = Callable[[], bool]


def release(
    database: Database,
    source: DicomSource,
    destinations: Mapping[str, DestinationSettings],
    keep: timedelta,
    audit: timedelta,
    actor: str,
    now: datetime,
    should_stop: Stop = lambda: False,
) -> int:
    """Delete the files of a source that came before `now - keep` and are done with; returns how many.

    Their rows stay. A quarantined file stays until a person dismisses it, and one that waits, is screened again or
    has a report under way, or one that failed of late, stays as well. One that was drawn to be read blind stays until
    it is, or for `audit`.
    """
    count, cutoff = 0, now - keep
    old = (found.path for found, stat in sweep(source.root) if datetime.fromtimestamp(stat.st_mtime, UTC) < cutoff)
    while not should_stop() and (part := list(islice(old, MAX_FILES))):
        with database.write() as session:
            gone = _deletable(session, source.name, destinations, part, cutoff, now - audit, now)
            for path in gone:
                source.delete(path)
            if gone:
                detail = f"{len(gone)} files of {source.name}, older than {keep.total_seconds() / 86400:g} days"
                record(session, actor, "release", detail, at=now)
        count += len(gone)
    return count


def _deletable(
    session: Session,
    source: str,
    destinations: Mapping[str, DestinationSettings],
    paths: Sequence[str],
    cutoff: datetime,
    drawn_since: datetime,
    now: datetime,
) -> list[str]:
    """Held until the transaction ends: a job or a report that somebody adds meanwhile waits, and finds no file then."""
    texts = [as_text(path)[0] for path in paths]
    has_work = exists().where(OPEN_JOB, Job.sighting_id == Sighting.id)
    is_done = (Sighting.state == SightingState.DONE) | (Sighting.resolution == Resolution.DISMISSED)
    rows = session.scalars(
        select(Sighting)
        .where(Sighting.source == source, Sighting.path.in_(texts), is_newest())
        .where(is_done, Sighting.finished_at < cutoff, ~has_work, ~_is_unread_sample(drawn_since))
        .order_by(Sighting.id)
        .with_for_update()
    ).all()
    settled = reported(session, destinations, [row.id for row in rows], now)
    return [as_path(row.path, row.path_bytes) for row in rows if row.id in settled]


def _is_unread_sample(drawn_since: datetime) -> ColumnElement[bool]:
    """Drawn since then to be read blind, and not read: without its file, nobody could."""
    of_it = (AuditSample.source == Sighting.source, AuditSample.sha256 == Sighting.sha256)
    has_word = exists().where(
        Review.sha256 == AuditSample.sha256, Review.is_blind.is_(True), Review.withdrawn_at.is_(None)
    )
    return exists().where(*of_it, AuditSample.drawn_at > drawn_since, ~has_word)
