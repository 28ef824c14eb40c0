"""Quarantined images that need nobody: a person says so, or their file is gone."""

from collections.abc import Callable, Sequence
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from actions import retrying
from shared.base.errors import InvalidRequest, WorkFailed
from shared.database import Resolution, Sighting, SightingState, audit
from shared.ledger.register import MAX_ROWS, as_text


def parse_reason(reason: str) -> str:
    text = as_text(reason.strip())[0]
    if not text:
        raise InvalidRequest("missing reason: use --reason TEXT")
    return text


def choose(session: Session, names: Sequence[str], reason: str | None) -> list[int]:
    """The quarantined sightings that are meant, by their names or by what their quarantine reason contains.

    Raises InvalidRequest if nothing says which, WorkFailed for a name of no image or of several, or if none matches.
    """
    if bool(names) == bool(reason):
        raise InvalidRequest("Say which: images as `results` shows them, or --all-matching TEXT.")
    chosen = retrying.named(session, names) if names else retrying.matching(session, reason)
    if not chosen:
        raise WorkFailed("Nothing that is quarantined matches: `pneumoscreen results --state quarantined` shows all.")
    return chosen


def dismiss(session: Session, sightings: Sequence[int], reason: str, actor: str, now: datetime) -> int:
    """Mark at most MAX_ROWS quarantined sightings as dismissed; returns how many were not resolved before."""
    dismissed = _resolve(session, sightings, Resolution.DISMISSED)
    if dismissed:
        which = f"sighting {dismissed[0]}" if len(dismissed) == 1 else f"{len(dismissed)} images"
        audit.record(session, actor, "dismiss", f"{which}: {reason}", at=now)
    return len(dismissed)


def resolve_removed(session: Session, source: str, is_gone: Callable[[Sighting], bool], after: int = 0) -> int | None:
    """Mark the next MAX_ROWS unresolved images of a source whose file is gone; returns where to go on, None at the end.

    Their number is that of files that nobody has seen to, so looking at each is affordable now and then.
    """
    unresolved = retrying.IS_QUARANTINED & Sighting.resolution.is_(None) & (Sighting.source == source)
    query = select(Sighting).where(unresolved, Sighting.id > after).order_by(Sighting.id).limit(MAX_ROWS)
    rows = session.scalars(query).all()
    _resolve(session, [row.id for row in rows if is_gone(row)], Resolution.REMOVED)
    return rows[-1].id if len(rows) == MAX_ROWS else None


def _resolve(session: Session, sightings: Sequence[int], resolution: Resolution) -> list[int]:
    unresolved = (Sighting.state == SightingState.QUARANTINED) & Sighting.resolution.is_(None)
    return list(
        session.scalars(
            update(Sighting)
            .where(Sighting.id.in_(sightings), unresolved)
            .values(resolution=resolution)
            .returning(Sighting.id)
        )
    )
