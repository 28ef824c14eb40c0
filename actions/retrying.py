"""Quarantined images are screened again, after what was wrong with them has been mended."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.base.errors import InvalidRequest, WorkFailed
from shared.database import Database, Sighting, audit
from shared.ledger import lookup, register
from shared.ledger.quarantine import is_quarantined, is_unresolved


def choose(session: Session, names: Sequence[str], reason: str | None, everything: bool) -> list[int]:
    """The quarantined sightings that are meant; what is resolved is taken by its name alone.

    Raises InvalidRequest if nothing says which, WorkFailed for a name of no image or of several, or if none matches.
    """
    if not (names or reason or everything):
        raise InvalidRequest("Say which: images as `results` shows them, --reason TEXT, or --all.")
    chosen = named(session, names) if names else matching(session, reason)
    if names and reason:
        chosen = sorted(set(chosen) & set(matching(session, reason)))
    if not chosen:
        raise WorkFailed("Nothing that is quarantined matches: `pneumoscreen results --state quarantined` shows all.")
    return chosen


def named(session: Session, names: Sequence[str]) -> list[int]:
    """Those of the named images that are quarantined. Raises WorkFailed for a name of no image or of several."""
    meant = sorted({image.id for name in names for image in lookup.images(session, name)})
    chosen: list[int] = []
    for part in register.parts(meant):
        chosen += session.scalars(select(Sighting.id).where(Sighting.id.in_(part), is_quarantined()))
    return chosen


def matching(session: Session, reason: str | None) -> list[int]:
    """The unresolved ones, or those of them whose reason contains this."""
    query = select(Sighting.id).where(is_unresolved()).order_by(Sighting.id)
    if reason:
        query = query.where(Sighting.reason.contains(reason, autoescape=True))
    return list(session.scalars(query))


def retry(
    database: Database, names: Sequence[str], reason: str | None, everything: bool, actor: str, now: datetime
) -> int:
    """Have the quarantined images that are meant screened again; returns how many there were. Raises as `choose`."""
    with database.read() as session:
        chosen = choose(session, names, reason, everything)
    total = 0
    for part in register.parts(chosen):
        with database.write() as session:
            count = register.retry(session, part, now)
            if count:
                audit.record(session, actor, "retry", f"{count} quarantined images", at=now)
        total += count
    return total
