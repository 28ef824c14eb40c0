"""The worker processes that are alive."""

from dataclasses import dataclass, fields
from datetime import datetime

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from shared.database import WORKER_ALIVE, Worker


@dataclass(frozen=True)
class WorkerProcess:
    host: str
    pid: int
    device: str
    model_version: str | None  # None while it loads its first one
    error: str | None
    started_at: datetime
    heartbeat_at: datetime


def is_alive(now: datetime) -> ColumnElement[bool]:
    return Worker.heartbeat_at > now - WORKER_ALIVE


def live_workers(session: Session, now: datetime) -> list[WorkerProcess]:
    columns = [getattr(Worker, field.name) for field in fields(WorkerProcess)]
    rows = session.execute(select(*columns).where(is_alive(now)).order_by(Worker.host, Worker.pid))
    return [WorkerProcess(*row) for row in rows]


def count_live(session: Session, now: datetime) -> int:
    return session.scalar(select(func.count()).select_from(Worker).where(is_alive(now))) or 0


def count_complaining(session: Session, now: datetime) -> int:
    """How many report an error: those of which `status` says what it is."""
    wrong = select(func.count()).select_from(Worker).where(is_alive(now), Worker.error.is_not(None))
    return session.scalar(wrong) or 0


def count_live_by_version(session: Session, now: datetime) -> dict[str, int]:
    """How many hold each version; the key is empty for those that hold none yet."""
    version = func.coalesce(Worker.model_version, "")
    rows = session.execute(select(version, func.count()).where(is_alive(now)).group_by(version))
    return dict(rows.all())
