"""The audit log: who did what by hand. `record` is the only way to write to it."""

from datetime import UTC, datetime

from sqlalchemy.orm import Session

from shared.database.tables import AuditEntry


def record(session: Session, actor: str, action: str, detail: str, *, at: datetime | None = None) -> None:
    """Add an entry to the session's transaction, so that it is kept exactly if what it tells of was done.

    `detail` holds counts and row numbers, never the name of a file or a patient. `at` is now if left out.
    """
    session.add(AuditEntry(at=at or datetime.now(UTC), actor=actor, action=action, detail=detail))
