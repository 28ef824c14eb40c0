"""Where the picture of a sighting lies, and which model version has spoken of it."""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.database import ModelVersion, Prediction, Sighting, SightingState
from shared.ledger.register import as_path
from shared.models.published import Published, live


@dataclass(frozen=True)
class Location:
    """A sighting's file, as its source knows it. `sha256` is None where it was never read.

    `version` is the one whose answer is the image's result, else the live one; None if there is none.
    """

    sighting: int
    source: str
    path: str
    revision: str
    sha256: str | None
    version: Published | None


def locate(session: Session, sighting: int) -> Location | None:
    """None for a number of no sighting, or of one that was superseded: its file is another one now."""
    row = session.execute(
        select(Sighting, ModelVersion)
        .outerjoin(Prediction, Prediction.id == Sighting.prediction_id)
        .outerjoin(ModelVersion, ModelVersion.version == Prediction.model_version)
        .where(Sighting.id == sighting, Sighting.state != SightingState.SUPERSEDED)
    ).first()
    if row is None:
        return None
    found, version = row
    used = Published(version.version, version.manifest_sha256) if version else next(iter(live(session)), None)
    path = as_path(found.path, found.path_bytes)
    return Location(found.id, found.source, path, found.revision, found.sha256, used)
