"""A file becomes a sighting and a job. What is known, `knowledge` decides."""

import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TypeVar, cast

from sqlalchemy import FromClause, Table, bindparam, insert, literal, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from shared.base import host
from shared.base.errors import Removed
from shared.base.found import MAX_ROWS, Found
from shared.base.lanes import Lane
from shared.database import OPEN_JOB, Job, JobState, Sighting, SightingState, SourceArrival
from shared.database.among import among
from shared.ledger import knowledge
from shared.ledger.knowledge import Compared, Seen

REMOVED = Removed.REASON

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
    "is_check": bindparam("check", type_=JOBS.c.is_check.type),
}
ADD_JOBS = insert(JOBS).from_select(
    list(NEW_JOB),
    select(*NEW_JOB.values()).where(among(SIGHTINGS.c.id, "sightings")).order_by(SIGHTINGS.c.id),
    include_defaults=False,
)
"""One statement for all of them, not one for each."""
OVERRIDING = {**NEW_JOB, "override": bindparam("override", type_=JOBS.c.override.type)}
ADD_OVERRIDING_JOBS = insert(JOBS).from_select(
    list(OVERRIDING),
    select(*OVERRIDING.values()).where(among(SIGHTINGS.c.id, "sightings")).order_by(SIGHTINGS.c.id),
    include_defaults=False,
)
"""A statement of its own, since on PostgreSQL the owner of the tables alone may write the column `override`."""
NOTE_HINTS = update(SIGHTINGS).where(SIGHTINGS.c.id == bindparam("sighting")).values(hint=bindparam("noted"))

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
    """Those of at most MAX_ROWS files that `register` would do something about: new ones, and those to be checked."""
    compared = _compare(session, source, files)
    wanted = {*compared.new, *compared.to_check.values()}
    return [file for file in files if file in wanted]


def register(
    session: Session,
    source: str,
    lane: str,
    files: Sequence[Found],
    now: datetime,
    *,
    origin: str | None = None,
    is_asked_for: bool = False,
) -> list[int]:
    """Register at most MAX_ROWS files; returns the new sightings' ids. One that is known already stays as it is.

    A file of which the hint alone changed is checked first; if a person asked for it, it is screened again at once.
    """
    compared = _compare(session, source, files)
    new = dict(compared.new)
    if is_asked_for:
        new |= dict.fromkeys(compared.to_check.values(), 0)
    else:
        _add_checks(session, compared.to_check, now)
    return add(session, source, lane, new, now, origin=origin)


def _compare(session: Session, source: str, files: Sequence[Found]) -> Compared:
    return knowledge.compare(session, source, [Seen(as_text(file.path)[0], file) for file in files])


def add(
    session: Session,
    source: str,
    lane: str,
    files: Mapping[Found, int],
    now: datetime,
    *,
    origin: str | None = None,
    not_before: datetime | None = None,
    model_version: str | None = None,
) -> list[int]:
    """Add a sighting of each file, with its count of checks, and a job for it; returns the new sightings' ids.

    One that waits already at this revision is left out.
    """
    rows = []
    for file, checks in files.items():
        text, raw = as_text(file.path)
        rows.append(
            {
                "source": source,
                "path": text,
                "path_bytes": raw,
                "revision": file.revision,
                "hint": file.hint,
                "hint_host": None if file.hint is None else host.identity(),
                "checks": checks,
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


def _add_checks(session: Session, files: Mapping[int, Found], now: datetime) -> None:
    """Have sightings' files read in the background, and note their hints: from now on, others are compared with these.

    Of producers that do so at once, one counts: the second sees the first one's jobs when it gets the rows.
    """
    if not files:
        return
    rows = select(Sighting.id).where(Sighting.id.in_(files)).order_by(Sighting.id).with_for_update()
    still = set(session.scalars(rows))
    under_way = select(Job.sighting_id).where(OPEN_JOB, Job.is_check, Job.sighting_id.in_(files))
    chosen = sorted(still - set(session.scalars(under_way)))
    if chosen:
        noted = [{"sighting": sighting, "noted": files[sighting].hint} for sighting in chosen]
        session.connection().execute(NOTE_HINTS, noted)
    add_jobs(session, chosen, Lane.BACKGROUND, now, is_check=True)


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
    is_check: bool = False,
    override: str | None = None,
) -> None:
    """Ask for at most MAX_ROWS sightings; `override` says by whom and why a version that is not in service screens."""
    if sightings:
        asked = {"in_lane": lane, "version": model_version, "differs": if_differs, "check": is_check}
        values = {"sightings": sightings, "now": now, "due": not_before, **asked}
        if override is None:
            session.connection().execute(ADD_JOBS, values)
        else:
            session.connection().execute(ADD_OVERRIDING_JOBS, {**values, "override": override})


def insert_new(session: Session, table: type | FromClause) -> "sqlite.Insert | postgresql.Insert":
    """An INSERT that leaves rows alone which exist already."""
    return insert_into(session, table).on_conflict_do_nothing()


def insert_into(session: Session, table: type | FromClause) -> "sqlite.Insert | postgresql.Insert":
    """An INSERT that can be told what to do with rows which exist already, in the words of the session's database."""
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    statement: sqlite.Insert | postgresql.Insert = dialect.insert(table)
    return statement
