"""A file becomes a sighting and a job."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from sqlalchemy import FromClause, Select, exists, func, insert, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session, aliased

from shared.database import Job, JobState, Lane, Prediction, Sighting, SightingState

MOST_ROWS = 1000
"""Rows a transaction, so that it stays short and the parameters of a statement within SQLite's limit."""
REMOVED = "the file was removed before it was read"


@dataclass(frozen=True, slots=True)
class Facts:
    """What the file system says of one state of one file."""

    size: int
    mtime_ns: int
    inode: int

    @classmethod
    def of(cls, stat: os.stat_result) -> Self:
        return cls(stat.st_size, _signed(stat.st_mtime_ns), _signed(stat.st_ino))


def _signed(number: int) -> int:
    """The number as SQL's integers hold it: 64 bits, signed."""
    return (number + 2**63) % 2**64 - 2**63


@dataclass(frozen=True, slots=True)
class Found:
    """A file in a root: its path relative to the root, as Python names files, and its facts."""

    path: str
    facts: Facts


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


def unknown(session: Session, root: str, files: Sequence[Found]) -> list[Found]:
    """Those of at most MOST_ROWS files whose newest sighting does not show them as they are now.

    A file that was removed before it was read, and is back, has not been screened yet.
    """
    texts = [as_text(file.path)[0] for file in files]
    columns = (Sighting.path, Sighting.size, Sighting.mtime_ns, Sighting.inode)
    mine = (Sighting.root == root) & Sighting.path.in_(texts) & (Sighting.state != SightingState.SUPERSEDED)
    newest = select(func.max(Sighting.id)).where(mine).group_by(Sighting.path)
    was_there = or_(Sighting.state != SightingState.QUARANTINED, Sighting.reason != REMOVED)
    rows = session.execute(select(*columns).where(Sighting.id.in_(newest), was_there))
    known = {(path, Facts(size, mtime_ns, inode)) for path, size, mtime_ns, inode in rows}
    return [file for file, text in zip(files, texts, strict=True) if (text, file.facts) not in known]


def register(
    session: Session,
    root: str,
    lane: str,
    files: Sequence[Found],
    now: datetime,
    *,
    origin: str | None = None,
    not_before: datetime | None = None,
    model_version: str | None = None,
) -> list[int]:
    """Register at most MOST_ROWS files; returns the new sightings' ids. One that is known already stays as it is."""
    rows = []
    for file in unknown(session, root, files):
        text, raw = as_text(file.path)
        rows.append(
            {
                "root": root,
                "path": text,
                "path_bytes": raw,
                "size": file.facts.size,
                "mtime_ns": file.facts.mtime_ns,
                "inode": file.facts.inode,
                "origin": origin,
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
    session: Session, version: str, now: datetime, after: int, root: str | None = None, since: datetime | None = None
) -> tuple[int, int, int | None]:
    """Have a version screen again the next MOST_ROWS results that another one made, of sightings above `after`.

    Returns how many it had seen before, whose result is now its own; how many jobs were added; and where to go on,
    None at the end. What was done stays done, with its old result, until the new one is there.
    """
    chosen = _others(version, root, since).add_columns(Sighting.sha256)
    rows = session.execute(chosen.where(Sighting.id > after).order_by(Sighting.id).limit(MOST_ROWS)).all()
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
    return len(seen), len(new), ids[-1] if len(ids) == MOST_ROWS else None


def count_others(session: Session, version: str, root: str | None = None, since: datetime | None = None) -> int:
    """How many paths have a result of another version than this one."""
    return session.scalar(select(func.count()).select_from(_others(version, root, since).subquery())) or 0


def _others(version: str, root: str | None, since: datetime | None) -> Select[int]:
    """The newest sighting of each path, where it is done with the result of another version."""
    newer = aliased(Sighting)
    same = (newer.root == Sighting.root) & (newer.path == Sighting.path) & (newer.id > Sighting.id)
    query = (
        select(Sighting.id)
        .join(Prediction, Prediction.id == Sighting.prediction_id)
        .where(Sighting.state == SightingState.DONE, Prediction.model_version != version)
        .where(~exists().where(same, newer.state != SightingState.SUPERSEDED).correlate(Sighting))
    )
    if root is not None:
        query = query.where(Sighting.root == root)
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
        row = {"lane": lane, "state": JobState.UNSENT, "delivery": 0, "deaths": 0, "model_version": model_version}
        times = {"created_at": now, "not_before": not_before}
        session.execute(insert(Job), [{**row, **times, "sighting_id": sighting} for sighting in sightings])


def insert_new(session: Session, table: type | FromClause) -> "sqlite.Insert | postgresql.Insert":
    """An INSERT that leaves rows alone which exist already, in the words of the session's database."""
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    statement: sqlite.Insert | postgresql.Insert = dialect.insert(table).on_conflict_do_nothing()
    return statement
