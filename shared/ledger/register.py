"""A file becomes a sighting and a job."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import FromClause, Select, func, insert, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from shared.base.lanes import Lane
from shared.database import Job, JobState, Prediction, Sighting, SightingState
from shared.ledger.latest import is_newest

MAX_ROWS = 1000
"""Rows a transaction, so that it stays short and the parameters of a statement within SQLite's limit."""
REMOVED = "the file was removed before it was read"


@dataclass(frozen=True, slots=True)
class Found:
    """One state of one image in a source: its path there, as Python names files, and its revision.

    `revision` is the source's own text; only that source can read it.
    """

    path: str
    revision: str
    size: int


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

    A file that was removed before it was read, and is back, has not been screened yet.
    """
    texts = [as_text(file.path)[0] for file in files]
    mine = (Sighting.source == source) & Sighting.path.in_(texts)
    was_there = or_(Sighting.state != SightingState.QUARANTINED, Sighting.reason != REMOVED)
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
    return new


def retry(session: Session, sightings: Sequence[int], lane: str, now: datetime) -> int:
    """Have quarantined sightings screened again; returns how many there were."""
    again = session.scalars(
        update(Sighting)
        .where(Sighting.id.in_(sightings), Sighting.state == SightingState.QUARANTINED)
        .values(state=SightingState.WAITING, reason=None, finished_at=None)
        .returning(Sighting.id)
    ).all()
    add_jobs(session, again, lane, now)
    return len(again)


def rescreen(
    session: Session, version: str, now: datetime, after: int, source: str | None = None, since: datetime | None = None
) -> tuple[int, int, int | None]:
    """Have a version screen again the next MAX_ROWS results that another one made, of sightings above `after`.

    Returns how many it had seen before, whose result is now its own; how many jobs were added; and where to go on,
    None at the end. What was done stays done, with its old result, until the new one is there.
    """
    chosen = _others(version, source, since).add_columns(Sighting.sha256)
    rows = session.execute(chosen.where(Sighting.id > after).order_by(Sighting.id).limit(MAX_ROWS)).all()
    ids = [sighting for sighting, _ in rows]
    contents = select(Prediction.sha256).where(Prediction.model_version == version)
    known = set(session.scalars(contents.where(Prediction.sha256.in_({digest for _, digest in rows}))))
    seen = [sighting for sighting, digest in rows if digest in known]
    own = select(Prediction.id).where(Prediction.sha256 == Sighting.sha256, Prediction.model_version == version)
    if seen:
        result = update(Sighting).where(Sighting.id.in_(seen), Sighting.state == SightingState.DONE)
        session.execute(
            result.values(prediction_id=own.scalar_subquery(), finished_at=now),
            execution_options={"synchronize_session": False},
        )
    open_jobs = select(Job.sighting_id).where(
        Job.sighting_id.in_(ids), Job.model_version == version, Job.state != JobState.FINISHED
    )
    waits = set(session.scalars(open_jobs))
    new = [sighting for sighting, digest in rows if digest not in known and sighting not in waits]
    add_jobs(session, new, Lane.BACKGROUND, now, model_version=version)
    return len(seen), len(new), ids[-1] if len(ids) == MAX_ROWS else None


def count_others(session: Session, version: str, source: str | None = None, since: datetime | None = None) -> int:
    """How many paths have a result of another version than this one."""
    return session.scalar(select(func.count()).select_from(_others(version, source, since).subquery())) or 0


def _others(version: str, source: str | None, since: datetime | None) -> Select[int]:
    """The newest sighting of each path, where it is done with the result of another version."""
    query = (
        select(Sighting.id)
        .join(Prediction, Prediction.id == Sighting.prediction_id)
        .where(Sighting.state == SightingState.DONE, Prediction.model_version != version, is_newest())
    )
    if source is not None:
        query = query.where(Sighting.source == source)
    return query if since is None else query.where(Sighting.seen_at >= since)


def add_jobs(
    session: Session,
    sightings: Sequence[int],
    lane: str,
    now: datetime,
    not_before: datetime | None = None,
    model_version: str | None = None,
) -> None:
    if sightings:
        row = {"lane": lane, "state": JobState.UNSENT, "attempt": 0, "deaths": 0, "model_version": model_version}
        times = {"created_at": now, "not_before": not_before}
        session.execute(insert(Job), [{**row, **times, "sighting_id": sighting} for sighting in sightings])


def insert_new(session: Session, table: type | FromClause) -> "sqlite.Insert | postgresql.Insert":
    """An INSERT that leaves rows alone which exist already, in the words of the session's database."""
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    statement: sqlite.Insert | postgresql.Insert = dialect.insert(table).on_conflict_do_nothing()
    return statement
