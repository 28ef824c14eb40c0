"""Unsent jobs become a message."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import and_, bindparam, func, or_, select, update
from sqlalchemy.orm import Session

from shared.base.lanes import Lane
from shared.database import OPEN_JOB, Job, JobState
from shared.queue.messages import Message

AHEAD = timedelta(minutes=15)
"""More than the clocks of hosts differ and than a job is put off: a moment further ahead was written by a clock that
was wrong, and was set back since. Waiting for it could take a day."""
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
"""Unsent, and its time has come. What was sent or put off by a clock that has been set back since does not wait for
that clock's time. Made once, for it is asked many times a second."""
ANY_DUE = select(Job.id).where(DUE).limit(1)


@dataclass(frozen=True)
class Backlog:
    """What waits in SQL for a place in one lane: at least so many jobs, the first of them since then.

    LONG_AGO stands for a moment that is still to come: the clock was set back.
    """

    jobs: int
    since: datetime


def is_due(session: Session, now: datetime) -> bool:
    """Whether any lane has an unsent job whose time has come."""
    return session.scalar(ANY_DUE, _times(now)) is not None


def backlog(session: Session, lane: Lane, most: int, now: datetime) -> Backlog | None:
    """A lane's unsent jobs whose time has come, counted up to `most`."""
    first = select(Job.created_at).where(DUE, Job.lane == lane).order_by(Job.id).limit(most)
    rows = session.execute(first, _times(now)).all()
    if not rows:
        return None
    since = rows[0][0]
    return Backlog(len(rows), since if since <= now else LONG_AGO)


def take(session: Session, lane: Lane, most: int, now: datetime) -> Message | None:
    """Mark up to `most` unsent jobs of a lane as sent, under the next attempt number.

    All of them ask for the version that the oldest one asks for, so that no message is screened by two versions;
    and were delivered as often, so that the number tells how often each was tried.
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
    session.execute(
        update(Job).where(Job.id.in_(jobs)).values(state=JobState.SENT, attempt=attempt, sent_at=now, not_before=None)
    )
    return Message(attempt, jobs)


def take_back(session: Session, message: Message) -> None:
    """The message could not be published: its jobs are unsent again.

    The attempt number stays raised, so that the message is worthless if it reached Redis after all.
    """
    session.execute(
        update(Job)
        .where(Job.id.in_(message.jobs), Job.state == JobState.SENT, Job.attempt == message.attempt)
        .values(state=JobState.UNSENT)
    )


def _times(now: datetime) -> dict[str, datetime]:
    """What DUE asks for."""
    return {"now": now, "ahead": now + AHEAD}
