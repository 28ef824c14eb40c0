"""Quarantined images that need nobody, because a person says so; they stay quarantined."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from actions import retrying
from shared.base.errors import InvalidRequest, WorkFailed
from shared.database import Database, Resolution, audit
from shared.ledger import quarantine
from shared.ledger.register import as_text, parts


@dataclass(frozen=True)
class Dismissed:
    images: int
    resolved_before: int


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


def dismiss(
    database: Database, names: Sequence[str], matching: str | None, reason: str, actor: str, now: datetime
) -> Dismissed:
    """Mark the quarantined images that are meant as dismissed. Raises as `parse_reason` and `choose`."""
    reason = parse_reason(reason)
    with database.read() as session:
        chosen = choose(session, names, matching)
    images = 0
    for part in parts(chosen):
        with database.write() as session:
            dismissed = quarantine.resolve(session, part, Resolution.DISMISSED)
            if dismissed:
                which = f"sighting {dismissed[0]}" if len(dismissed) == 1 else f"{len(dismissed)} images"
                audit.record(session, actor, "dismiss", f"{which}: {reason}", at=now)
        images += len(dismissed)
    return Dismissed(images, len(chosen) - images)
