"""The rows of published versions, apart from their files: whoever only asks which one is live needs no NumPy."""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.base.errors import BrokenModel
from shared.database import ModelVersion, Promotion


@dataclass(frozen=True)
class Published:
    """A version's row: its name, and the checksum that its manifest must have."""

    version: str
    manifest_sha256: str


def live(session: Session) -> list[Published]:
    """The live version first, then those that were live before it, latest first; empty where none ever was."""
    rows = session.execute(
        select(ModelVersion.version, ModelVersion.manifest_sha256)
        .join(Promotion, Promotion.version == ModelVersion.version)
        .order_by(Promotion.id.desc())
    )
    return list(dict.fromkeys(Published(version, digest) for version, digest in rows))


def published(session: Session, version: str) -> Published:
    """Raises BrokenModel for a version that was never published."""
    row = session.get(ModelVersion, version)
    if row is None:
        raise BrokenModel(f"There is no model version {version!r}: `pneumoscreen models list` shows those that exist.")
    return Published(row.version, row.manifest_sha256)
