"""Images by what somebody types: accession number, study UID, patient id, or (a part of) a file's name."""

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import Session

from shared.base.errors import InvalidRequest
from shared.base.settings import Settings
from shared.database import DicomHeader, Sighting
from shared.ledger import lookup
from shared.ledger.latest import is_newest
from shared.ledger.register import as_text

MAX_FOUND = 200
MIN_LENGTH, MAX_LENGTH = 2, 256


def find(session: Session, settings: Settings, text: str) -> list[int]:
    """Sightings, the newest first, at most MAX_FOUND. Raises InvalidRequest for a text that is too short or too long.

    A header's number counts before a file's name, which all rows have to be looked through for.
    """
    text = as_text(text.strip())[0]
    if not MIN_LENGTH <= len(text) <= MAX_LENGTH:
        raise InvalidRequest(f"Search for {MIN_LENGTH} to {MAX_LENGTH} characters.")
    keys = [DicomHeader.accession_number == text, DicomHeader.study_uid == text]
    if settings.patient_secret is not None:
        from shared.imaging.identifiers import patient_key  # brings decoders, which no other question needs

        keys.append(DicomHeader.patient_key == patient_key(text, None, settings.patient_secret))
    contents = set(session.scalars(select(DicomHeader.sha256).where(or_(*keys)).limit(MAX_FOUND)))
    condition: ColumnElement[bool]
    if contents:
        condition = Sighting.sha256.in_(contents)
    else:
        forms = sorted(lookup.forms_of({text}))
        condition = or_(*(Sighting.path.contains(form, autoescape=True) for form in forms))
    query = select(Sighting.id).where(condition, is_newest()).order_by(Sighting.id.desc()).limit(MAX_FOUND)
    return list(session.scalars(query))
