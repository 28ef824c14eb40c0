"""The training run under way, and the last one that ended."""

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.database import TRAINER_ALIVE, ModelVersion, RunState, TrainingRun


@dataclass(frozen=True)
class Training:
    """`epochs` is how many are done and how many there are at most, as far as this host can see it."""

    id: int
    architecture: str
    cause: str
    state: RunState
    started_at: datetime
    finished_at: datetime | None
    version: str | None
    problem: str | None
    is_alive: bool
    rejected_for: tuple[str, ...] = ()
    epochs: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        return f"training run {self.id} ({self.architecture}, {self.cause}, since {self.started_at:%Y-%m-%d %H:%M})"


def newest(session: Session, home: Path, now: datetime) -> tuple[Training | None, Training | None]:
    """The one that is running, and the last one that ended."""
    rows = select(TrainingRun).order_by(TrainingRun.id.desc()).limit(1)
    running = session.scalars(rows.where(TrainingRun.state == RunState.RUNNING)).first()
    ended = session.scalars(rows.where(TrainingRun.state != RunState.RUNNING)).first()
    return tuple(row and _training(session, home, row, now) for row in (running, ended))  # type: ignore[return-value]


def progress(home: Path, run: int, started_at: datetime) -> tuple[int, int] | None:
    """Epochs done, and how many there are at most; None where what the run writes is not, or not yet, on this host."""
    since = started_at.timestamp()  # one by hand may have the same number as its seed
    files = (home / "training").glob(f"*-[0-9]*-{run}-????????/epochs.jsonl")
    try:
        written = {time: file for file in files if (time := file.stat().st_mtime) >= since}
        if not written:
            return None
        last = written[max(written)]
        return len(last.read_text(encoding="utf-8").splitlines()), int(last.parent.name.split("-")[-3])
    except FileNotFoundError:  # the run is just over
        return None


def _training(session: Session, home: Path, row: TrainingRun, now: datetime) -> Training:
    is_running = row.state == RunState.RUNNING
    return Training(
        id=row.id,
        architecture=row.architecture,
        cause=row.cause,
        state=RunState(row.state),
        started_at=row.started_at,
        finished_at=row.finished_at,
        version=row.version,
        problem=row.problem,
        is_alive=is_running and now - row.heartbeat_at <= TRAINER_ALIVE,
        rejected_for=_reasons(session, row.version) if row.state == RunState.REJECTED else (),
        epochs=progress(home, row.id, row.started_at) if is_running else None,
    )


def _reasons(session: Session, version: str | None) -> tuple[str, ...]:
    row = session.get(ModelVersion, version) if version else None
    return tuple(json.loads(row.verdict)["failed"]) if row is not None and row.verdict else ()
