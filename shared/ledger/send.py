"""Unsent jobs become a message."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, and_, or_, select, update
from sqlalchemy.orm import Session

from shared.database import OPEN_JOB, Job, JobState, Lane
from shared.messages import Message


@dataclass(frozen=True)
class Backlog:
    """What waits in SQL for a place in one lane: at least so many jobs, the first of them since then."""

    jobs: int
    since: datetime


def is_due(session: Session, now: datetime) -> bool:
    """Whether any lane has an unsent job whose time has come."""
    return session.scalar(select(Job.id).where(_due(now)).limit(1)) is not None


def backlog(session: Session, lane: Lane, most: int, now: datetime) -> Backlog | None:
    """A lane's unsent jobs whose time has come, counted up to `most`."""
    rows = session.execute(select(Job.created_at).where(_due(now), Job.lane == lane).order_by(Job.id).limit(most)).all()
    return Backlog(len(rows), rows[0][0]) if rows else None


def take(session: Session, lane: Lane, most: int, now: datetime) -> Message | None:
    """Mark up to `most` unsent jobs of a lane as sent, under one delivery number that none of them has had.

    All of them ask for the version that the oldest one asks for, so that no message is screened by two versions.
    """
    order = (Job.deaths, Job.id) if lane is Lane.SUSPECT else (Job.id,)
    chosen = session.execute(
        select(Job.id, Job.delivery, Job.model_version)
        .where(_due(now), Job.lane == lane)
        .order_by(*order)
        .limit(most)
        .with_for_update(skip_locked=True)
    ).all()
    if not chosen:
        return None
    alike = [row for row in chosen if row.model_version == chosen[0].model_version]
    delivery = 1 + max(row.delivery for row in alike)
    jobs = tuple(row.id for row in alike)
    session.execute(
        update(Job).where(Job.id.in_(jobs)).values(state=JobState.SENT, delivery=delivery, sent_at=now, not_before=None)
    )
    return Message(delivery, jobs)


def take_back(session: Session, message: Message) -> None:
    """The message could not be published: its jobs are unsent again.

    The delivery number stays raised, so that the message is worthless if it reached Redis after all.
    """
    session.execute(
        update(Job)
        .where(Job.id.in_(message.jobs), Job.state == JobState.SENT, Job.delivery == message.delivery)
        .values(state=JobState.UNSENT)
    )


def _due(now: datetime) -> ColumnElement[bool]:
    return and_(OPEN_JOB, Job.state == JobState.UNSENT) & or_(Job.not_before.is_(None), Job.not_before <= now)
