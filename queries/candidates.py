"""Which model version waits for somebody to try it and to take it."""

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from shared.database import ModelVersion, Promotion, VersionState
from shared.models import published


def bundled_candidate(session: Session) -> str | None:
    """The version that comes with the program, where it is installed, and neither was live yet nor was rejected."""
    was_live = exists().where(Promotion.version == ModelVersion.version)
    candidate = select(ModelVersion.version).where(
        ModelVersion.version == published.bundled().name, ModelVersion.state == VersionState.PUBLISHED, ~was_live
    )
    return session.scalar(candidate)
