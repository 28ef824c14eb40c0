"""`retry`: quarantined images are screened again."""

from datetime import UTC, datetime

from sqlalchemy import select

from cli.console import out
from cli.versions import user
from shared.base.errors import WorkFailed, WrongSettings
from shared.base.lanes import Lane
from shared.base.settings import Settings
from shared.database import AuditEntry, Sighting, SightingState, opened
from shared.ledger.register import MAX_ROWS, as_text
from shared.ledger.register import retry as retry_sightings


def retry(settings: Settings, paths: list[str], reason: str | None, everything: bool, by: str | None = None) -> None:
    if not (paths or reason or everything):
        raise WrongSettings("Say which: paths as `results` shows them, --reason TEXT, or --all.")
    query = select(Sighting.id).where(Sighting.state == SightingState.QUARANTINED).order_by(Sighting.id)
    if paths:
        query = query.where(Sighting.path.in_([as_text(path)[0] for path in paths]))
    if reason:
        query = query.where(Sighting.reason.contains(reason, autoescape=True))
    with opened(settings) as with_database:
        with with_database.read() as session:
            found = list(session.scalars(query))
        if not found:
            raise WorkFailed(
                "Nothing that is quarantined matches: `pneumoscreen results --state quarantined` shows all."
            )
        count = 0
        for start in range(0, len(found), MAX_ROWS):
            with with_database.write() as session:
                if start == 0:
                    entry = {"actor": by or user(), "action": "retry", "detail": f"{len(found)} quarantined images"}
                    session.add(AuditEntry(at=datetime.now(UTC), **entry))
                count += retry_sightings(session, found[start : start + MAX_ROWS], Lane.ROUTINE, datetime.now(UTC))
        out.print(f"{count} images are screened again.")
