"""What the ledger knows of sources."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.database import Sighting


def has_sightings(session: Session, source: str) -> bool:
    """Whether an image of this source was ever registered."""
    return session.scalar(select(Sighting.id).where(Sighting.source == source).limit(1)) is not None
