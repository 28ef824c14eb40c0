"""A reader takes a word back: it stays on record, and trains and counts no more."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, or_, update
from sqlalchemy.orm import Session

from shared.base.errors import WorkFailed
from shared.database import Review, ReviewLabel, audit
from shared.ledger import lookup, reading_list


@dataclass(frozen=True)
class Withdrawn:
    name: str
    reader: str
    words: int


def withdraw(session: Session, name: str, reader: str, now: datetime) -> Withdrawn:
    """Take back every word of this reader on an image that stands, so that no earlier one counts in its place.

    Raises WorkFailed for an image that is unknown or ambiguous, or on which this reader has no word.
    """
    meaning = lookup.sightings(session, {name}).get(name)
    image = lookup.single(name, meaning)
    sightings = [sighting.id for sighting in (meaning.sightings if meaning else ()) if sighting.sha256 == image.sha256]
    on_sighting = Review.label == ReviewLabel.NOT_READABLE
    is_of_image = or_(
        and_(~on_sighting, Review.sha256.is_not(None), Review.sha256 == image.sha256),
        and_(on_sighting, Review.sighting_id.in_(sightings)),
    )
    contents = {image.sha256} if image.sha256 else set()
    reading_list.hold(session, contents)
    taken_back = session.scalars(
        update(Review)
        .where(is_of_image, Review.reviewer == reader, Review.withdrawn_at.is_(None))
        .values(withdrawn_at=now, withdrawn_by=reader)
        .returning(Review.id)
    ).all()
    if not taken_back:
        raise WorkFailed(f"no word of {reader} stands on {name!r}: each reader takes back their own")
    reading_list.refresh(session, contents)
    numbers = ", ".join(map(str, sorted(taken_back)))
    audit.record(session, reader, "withdraw", f"sighting {image.id}: reviews {numbers}", at=now)
    return Withdrawn(name, reader, len(taken_back))
