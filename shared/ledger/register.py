"""A file becomes a sighting and a job."""

import os
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import TypeVar, cast

from sqlalchemy import FromClause, Table, bindparam, insert, literal, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from shared.base.found import Found
from shared.base.lanes import Lane
from shared.database import Job, JobState, Resolution, Sighting, SightingState, SourceArrival
from shared.database.among import among
from shared.ledger.latest import is_newest

MAX_ROWS = 1000
"""Rows a transaction, so that it stays short and the parameters of a statement within SQLite's limit."""
REMOVED = "the file is gone: it was removed from its source"
"""True of a file that was never read, and of one that is retried after somebody deleted it."""

JOBS, SIGHTINGS = cast(Table, Job.__table__), cast(Table, Sighting.__table__)
NEW_JOB = {
    "sighting_id": SIGHTINGS.c.id,
    "lane": bindparam("in_lane", type_=JOBS.c.lane.type),
    "model_version": bindparam("version", type_=JOBS.c.model_version.type),
    "state": literal(JobState.UNSENT.value),
    "attempt": literal(0),
    "deaths": literal(0),
    "created_at": bindparam("now", type_=JOBS.c.created_at.type),
    "not_before": bindparam("due", type_=JOBS.c.not_before.type),
    "if_differs": bindparam("differs", type_=JOBS.c.if_differs.type),
}
ADD_JOBS = insert(JOBS).from_select(
    list(NEW_JOB),
    select(*NEW_JOB.values()).where(among(SIGHTINGS.c.id, "sightings")).order_by(SIGHTINGS.c.id),
    include_defaults=False,
)
"""One statement for all of them, not one for each."""

T = TypeVar("T")


def parts(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    """At most MAX_ROWS at a time."""
    return (rows[start : start + MAX_ROWS] for start in range(0, len(rows), MAX_ROWS))


def as_text(path: str) -> tuple[str, bytes | None]:
    """The path as SQL text, and its bytes where it is not valid UTF-8: those are escaped in the text."""
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        raw = os.fsencode(path)
        return raw.decode("utf-8", "backslashreplace"), raw
    return path, None


def as_path(text: str, raw: bytes | None) -> str:
    return text if raw is None else os.fsdecode(raw)


def unknown(session: Session, source: str, files: Sequence[Found]) -> list[Found]:
    """Those of at most MAX_ROWS files whose newest sighting does not show them as they are now.

    A file that was removed and is back is looked at again: it may not have been read before.
    """
    texts = [as_text(file.path)[0] for file in files]
    mine = (Sighting.source == source) & Sighting.path.in_(texts)
    was_there = Sighting.resolution.is_distinct_from(Resolution.REMOVED)
    rows = session.execute(select(Sighting.path, Sighting.revision).where(mine, is_newest(), was_there))
    known = {(path, revision) for path, revision in rows}
    return [file for file, text in zip(files, texts, strict=True) if (text, file.revision) not in known]


def register(
    session: Session,
    source: str,
    lane: str,
    files: Sequence[Found],
    now: datetime,
    *,
    origin: str | None = None,
    not_before: datetime | None = None,
    model_version: str | None = None,
) -> list[int]:
    """Register at most MAX_ROWS files; returns the new sightings' ids. One that is known already stays as it is."""
    rows = []
    for file in unknown(session, source, files):
        text, raw = as_text(file.path)
        rows.append(
            {
                "source": source,
                "path": text,
                "path_bytes": raw,
                "revision": file.revision,
                "size": file.size,
                "origin": origin,
                "lane": lane,
                "state": SightingState.WAITING,
                "seen_at": now,
            }
        )
    if not rows:
        return []
    new = list(session.scalars(insert_new(session, Sighting).returning(Sighting.id), rows))
    add_jobs(session, new, lane, now, not_before, model_version)
    _note_arrival(session, source, now)
    return new


def _note_arrival(session: Session, source: str, now: datetime) -> None:
    """To the second, so that producers and workers do not wait for each other at this row."""
    is_older = SourceArrival.last_image_at < now - timedelta(seconds=1)
    mine = update(SourceArrival).where(SourceArrival.source == source, is_older).values(last_image_at=now)
    if not session.scalars(mine.returning(SourceArrival.source)).all():
        session.execute(insert_new(session, SourceArrival).values(source=source, last_image_at=now))


def retry(session: Session, sightings: Sequence[int], now: datetime) -> int:
    """Have quarantined sightings screened again, each in the lane of its arrival; returns how many there were."""
    again = session.execute(
        update(Sighting)
        .where(Sighting.id.in_(sightings), Sighting.state == SightingState.QUARANTINED)
        .values(state=SightingState.WAITING, reason=None, resolution=None, finished_at=None)
        .returning(Sighting.id, Sighting.lane)
    ).all()
    for lane in {lane for _, lane in again}:
        add_jobs(session, [sighting for sighting, other in again if other == lane], lane or Lane.ROUTINE, now)
    return len(again)


def add_jobs(
    session: Session,
    sightings: Sequence[int],
    lane: str,
    now: datetime,
    not_before: datetime | None = None,
    model_version: str | None = None,
    *,
    if_differs: bool = False,
) -> None:
    if sightings:
        asked = {"in_lane": lane, "version": model_version, "differs": if_differs}
        times = {"now": now, "due": not_before}
        session.connection().execute(ADD_JOBS, {"sightings": sightings, **asked, **times})


def insert_new(session: Session, table: type | FromClause) -> "sqlite.Insert | postgresql.Insert":
    """An INSERT that leaves rows alone which exist already, in the words of the session's database."""
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    statement: sqlite.Insert | postgresql.Insert = dialect.insert(table).on_conflict_do_nothing()
    return statement
