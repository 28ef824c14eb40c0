"""What became of images that somebody submitted."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.base.found import Found
from shared.database import Screening, Sighting, SightingState
from shared.ledger.latest import IS_RESULT
from shared.ledger.register import as_text, parts


@dataclass(frozen=True)
class Outcome:
    """One submitted image; without a label unless it is done."""

    path: str
    state: str
    label: str | None
    probability: float | None
    threshold: float | None
    unfamiliar: bool | None
    reason: str | None


def sighting_of(session: Session, source: str, found: Found) -> int:
    """The newest sighting of an image as it is now. Raises NoResultFound if it was never registered."""
    same = (Sighting.source == source) & (Sighting.path == as_text(found.path)[0])
    query = select(Sighting.id).where(same, Sighting.revision == found.revision).order_by(Sighting.id.desc())
    return session.scalars(query.limit(1)).one()


def waiting(session: Session, sightings: Sequence[int]) -> set[int]:
    """Those that are not final yet."""
    still: set[int] = set()
    for part in parts(sightings):
        found = select(Sighting.id).where(Sighting.id.in_(part), Sighting.state == SightingState.WAITING)
        still.update(session.scalars(found))
    return still


def outcomes(session: Session, sightings: Sequence[int]) -> list[Outcome]:
    """Those that look most like pneumonia first; named by where they were submitted from."""
    columns = (Screening.label, Screening.probability, Screening.threshold, Screening.unfamiliar)
    query = select(Sighting.origin, Sighting.path, Sighting.state, *columns, Sighting.reason).outerjoin(
        Screening, IS_RESULT
    )
    rows: list[Outcome] = []
    for part in parts(sightings):
        found = session.execute(query.where(Sighting.id.in_(part)))
        for origin, path, state, label, probability, threshold, unfamiliar, reason in found:
            rows.append(Outcome(origin or path, state, label, probability, threshold, unfamiliar, reason))
    return sorted(rows, key=lambda row: -1.0 if row.probability is None else row.probability, reverse=True)
