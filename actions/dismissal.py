"""Quarantined images that need nobody, because a person says so; they stay quarantined."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.orm import Session

from actions import retrying
from shared.base.errors import InvalidRequest, WorkFailed
from shared.database import Resolution, audit
from shared.ledger import quarantine
from shared.ledger.register import as_text


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
    dismissed = quarantine.resolve(session, sightings, Resolution.DISMISSED)
    if dismissed:
        which = f"sighting {dismissed[0]}" if len(dismissed) == 1 else f"{len(dismissed)} images"
        audit.record(session, actor, "dismiss", f"{which}: {reason}", at=now)
    return len(dismissed)
