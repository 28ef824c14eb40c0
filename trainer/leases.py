"""Decides when a training is due and who may run it: a lease with a heartbeat and a fencing number, in SQL."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from shared.base.settings import Settings
from shared.database import TRAINER_ALIVE, Review, RunState, TrainingRun
from shared.ledger import words
from shared.ledger.send import AHEAD

AFTER_FAILURE = timedelta(hours=1)


@dataclass(frozen=True)
class Lease:
    """The right to do a run; a trainer with an older fencing number has lost it."""

    run: int
    fence: int
    architecture: str


def take(session: Session, settings: Settings, has_data: bool, now: datetime) -> Lease | None:
    """Begin a run if one is due, or take over one that is dead; None if there is nothing to do.

    `has_data` says whether there are labelled folders; without them only reviews are learned from.
    """
    running = session.scalars(select(TrainingRun).where(TrainingRun.state == RunState.RUNNING)).one_or_none()
    if running is not None:
        age = now - running.heartbeat_at  # far below zero where a clock was wrong
        is_alive = -AHEAD < age <= TRAINER_ALIVE
        return None if is_alive else _take_over(session, running, now)
    cause = _cause(session, settings, has_data, now)
    return begin(session, settings.architecture, cause, now) if cause else None


def begin(session: Session, architecture: str, cause: str, now: datetime) -> Lease | None:
    """None if another trainer was faster: only one run can be running."""
    row = TrainingRun(
        architecture=architecture,
        cause=cause,
        state=RunState.RUNNING,
        fence=1,
        reviews=session.scalar(select(func.max(Review.id))) or 0,
        started_at=now,
        heartbeat_at=now,
    )
    try:
        with session.begin_nested():
            session.add(row)
    except IntegrityError:
        return None
    return Lease(row.id, 1, architecture)


def keep(session: Session, lease: Lease, now: datetime) -> bool:
    """Write the run's heartbeat; False if the lease is lost."""
    return _held(session, lease, heartbeat_at=now)


def has_ended(session: Session, lease: Lease) -> bool:
    """Whether the run was ended under this lease."""
    row = session.get(TrainingRun, lease.run)
    return row is not None and row.fence == lease.fence and row.state != RunState.RUNNING


def end(
    session: Session, lease: Lease, state: RunState, now: datetime, version: str | None, problem: str | None
) -> bool:
    """End a run, in the transaction that publishes; False if the lease is lost: then nothing may be published."""
    return _held(session, lease, state=state, finished_at=now, heartbeat_at=now, version=version, problem=problem)


def give_back(session: Session, lease: Lease) -> None:
    """Give up the lease of a run that was stopped on purpose: the next trainer resumes it without waiting."""
    _held(session, lease, heartbeat_at=datetime(2000, 1, 1, tzinfo=UTC))


def _held(session: Session, lease: Lease, **values: object) -> bool:
    mine = (TrainingRun.id == lease.run) & (TrainingRun.fence == lease.fence) & (TrainingRun.state == RunState.RUNNING)
    return bool(session.execute(update(TrainingRun).where(mine).values(**values).returning(TrainingRun.id)).all())


def _take_over(session: Session, dead: TrainingRun, now: datetime) -> Lease | None:
    fence = dead.fence + 1
    mine = (TrainingRun.id == dead.id) & (TrainingRun.fence == dead.fence) & (TrainingRun.state == RunState.RUNNING)
    taken = update(TrainingRun).where(mine).values(fence=fence, heartbeat_at=now).returning(TrainingRun.id)
    return Lease(dead.id, fence, dead.architecture) if session.execute(taken).all() else None


def _cause(session: Session, settings: Settings, has_data: bool, now: datetime) -> str | None:
    """Why a run is due: `labels` or `schedule`; None if it is not."""
    newest = select(TrainingRun).order_by(TrainingRun.id.desc()).limit(1)
    last = session.scalars(newest).first()
    if last is not None and last.state == RunState.FAILED and -AHEAD < now - (last.finished_at or now) < AFTER_FAILURE:
        return None
    not_failed = newest.where(TrainingRun.state != RunState.FAILED)
    learnt = session.scalars(not_failed).first()
    known = learnt.reviews if learnt else 0
    if words.count_new_labels(session, known) >= settings.retrain_after_labels:
        return "labels"
    is_fresh = learnt is not None and -AHEAD < now - learnt.started_at < timedelta(seconds=settings.retrain_every)
    return "schedule" if has_data and not is_fresh else None
