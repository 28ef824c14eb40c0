"""The last backups: who made them when, whether they can be restored, and what a person should know of them.

They stand in the audit log, so that every host, `status` and the metrics know of them, wherever the files lie.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from shared.base.settings import Settings
from shared.database import AuditEntry, Promotion, audit

MADE, FAILED = "backup", "backup failed"


@dataclass(frozen=True)
class Backup:
    """One that was made, or tried: then `problem` says why there is none."""

    at: datetime
    file: str
    host: str
    bytes: int = 0
    rows: int = 0
    unrestored: str | None = None
    """Why it was only read through, and not restored to try it."""
    is_on_same_disk: bool = False
    problem: str | None = None


def record(session: Session, actor: str, backup: Backup) -> None:
    """Add it to the audit log. The file's name holds a time alone, or what an operator called it."""
    detail = {name: value for name, value in asdict(backup).items() if name != "at"}
    audit.record(session, actor, FAILED if backup.problem else MADE, json.dumps(detail), at=backup.at)


def newest(session: Session, *actions: str) -> Backup | None:
    """The last one of these kinds: MADE, FAILED."""
    query = select(AuditEntry.at, AuditEntry.detail).where(AuditEntry.action.in_(actions))
    row = session.execute(query.order_by(AuditEntry.id.desc()).limit(1)).first()
    return Backup(at=row.at, **json.loads(row.detail)) if row else None


def needs(session: Session, settings: Settings, now: datetime) -> Iterator[str]:
    """The last one failed, or is too old for the schedule of this host's settings."""
    last, made = newest(session, MADE, FAILED), newest(session, MADE)
    good = f"the last good one is of {made.at:%Y-%m-%d %H:%M} (UTC)" if made else "there is no good one"
    if last is not None and last.problem:
        yield f"the backup of {last.at:%Y-%m-%d %H:%M} (UTC) failed on {last.host}: {last.problem} ({good})"
    elif settings.backup_every and now - _since(session, made, now) > timedelta(seconds=2 * settings.backup_every):
        yield (
            f"no backup was made for more than twice backup_every ({good}): does `pneumoscreen up`, or what else runs "
            "`pneumoscreen db backup --scheduled`, still run?"
        )


def _since(session: Session, made: Backup | None, now: datetime) -> datetime:
    """The last backup; where there was none, the first start."""
    return made.at if made else session.scalar(select(func.min(Promotion.promoted_at))) or now


def hints(session: Session, settings: Settings) -> Iterator[str]:
    made = newest(session, MADE)
    if settings.backup_every is None and made is None:
        yield "no backup was ever made: set backup_every, or run `pneumoscreen db backup` by cron or systemd"
    if made is not None and made.is_on_same_disk:
        yield f"backups ({made.file}) lie on the disk of the database itself: set backup_dir to another one"
    if made is not None and made.unrestored:
        yield f"the last backup was read through, but not restored to try it: {made.unrestored}"
