"""What people do by hand stands in the audit log if it was done, and only then."""

from contextlib import suppress

from sqlalchemy import select

from shared.database import AuditEntry, Database, audit
from tests.unit.steps import NOW


def entries(database: Database) -> list[tuple[str, str, str]]:
    with database.read() as session:
        return [(row.actor, row.action, row.detail) for row in session.scalars(select(AuditEntry))]


def test_an_entry_is_kept_with_what_it_tells_of(database: Database) -> None:
    with database.write() as session:
        audit.record(session, "Ada", "retry", "2 images", at=NOW)
    assert entries(database) == [("Ada", "retry", "2 images")]


def test_an_entry_is_gone_with_what_was_rolled_back(database: Database) -> None:
    with suppress(ZeroDivisionError), database.write() as session:
        audit.record(session, "Ada", "retry", "2 images")
        _ = 1 / 0
    assert entries(database) == []
