"""Makes messages of unsent jobs whose time has come."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import and_, bindparam, exists, func, literal, or_, select, union_all, update
from sqlalchemy.orm import Session

from shared.base.lanes import Lane
from shared.database import OPEN_JOB, Job, JobState
from shared.database.among import among
from shared.ledger.register import JOBS
from shared.queue.messages import Message

AHEAD = timedelta(minutes=15)
"""Timestamps further ahead than this come from a clock that was later corrected; treat them as due.

It is more than the clocks of hosts differ, and more than a job is ever put off.
"""
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
DUE = and_(
    OPEN_JOB,
    Job.state == JobState.UNSENT,
    or_(
        Job.not_before.is_(None),
        Job.not_before <= bindparam("now"),
        func.coalesce(Job.sent_at, Job.created_at) > bindparam("ahead"),
        and_(Job.problem.is_not(None), Job.not_before > bindparam("ahead")),
    ),
)
"""Unsent and due. Jobs that were sent or put off by a clock that was set back since are due at once.

Built once, since it runs many times a second.
"""
DUE_LANES = union_all(*(select(literal(lane.value)).where(exists().where(DUE, Job.lane == lane)) for lane in Lane))
SEND = (
    update(JOBS)
    .where(among(JOBS.c.id, "jobs"))
    .values(state=JobState.SENT, attempt=bindparam("next"), sent_at=bindparam("now"), not_before=None)
)


@dataclass(frozen=True)
class Backlog:
    """Jobs that wait in SQL for a place in one lane: at least `jobs` of them, the oldest since `since`.

    `since` is LONG_AGO where the stored time is in the future, after the clock was set back.
    """

    jobs: int
    since: datetime


def due_lanes(session: Session, now: datetime) -> set[Lane]:
    """The lanes that have an unsent job that is due."""
    return {Lane(lane) for lane in session.scalars(DUE_LANES, _times(now))}


def backlog(session: Session, lane: Lane, most: int, now: datetime) -> Backlog | None:
    """A lane's due jobs, counted up to `most`; None if there are none."""
    first = select(Job.created_at).where(DUE, Job.lane == lane).order_by(Job.id).limit(most)
    rows = session.execute(first, _times(now)).all()
    if not rows:
        return None
    since = rows[0][0]
    return Backlog(len(rows), since if since <= now else LONG_AGO)


def take(session: Session, lane: Lane, most: int, now: datetime) -> Message | None:
    """Mark up to `most` due jobs of a lane as sent, under the next attempt number; None if there are none.

    All ask for the same model version as the oldest one, so that one version screens a message, and all were sent
    equally often, so that the attempt number holds for each. How often a worker took them is counted apart.
    """
    order = (Job.deaths, Job.id) if lane is Lane.SUSPECT else (Job.id,)
    chosen = session.execute(
        select(Job.id, Job.attempt, Job.model_version)
        .where(DUE, Job.lane == lane)
        .order_by(*order)
        .limit(most)
        .with_for_update(skip_locked=True),
        _times(now),
    ).all()
    if not chosen:
        return None
    first = chosen[0]
    alike = [row for row in chosen if (row.model_version, row.attempt) == (first.model_version, first.attempt)]
    attempt = 1 + first.attempt
    jobs = tuple(row.id for row in alike)
    session.connection().execute(SEND, {"jobs": jobs, "next": attempt, "now": now})
    return Message(attempt, jobs)


def take_back(session: Session, message: Message) -> None:
    """Mark the jobs of a message that could not be published as unsent again.

    The attempt number stays raised, so that workers drop the message if it reached Redis after all.
    """
    session.execute(
        update(Job)
        .where(Job.id.in_(message.jobs), Job.state == JobState.SENT, Job.attempt == message.attempt)
        .values(state=JobState.UNSENT)
    )


def _times(now: datetime) -> dict[str, datetime]:
    """The parameters of DUE."""
    return {"now": now, "ahead": now + AHEAD}
