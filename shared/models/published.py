"""The rows of published versions, apart from their files: whoever only asks which one is live needs no NumPy."""

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.base.errors import BrokenModel
from shared.database import ModelVersion, Promotion, VersionState

BUNDLED = Path(__file__).parent / "bundled"


@dataclass(frozen=True)
class Published:
    """A version's row: its name, and the checksum that its manifest must have."""

    version: str
    manifest_sha256: str


def live(session: Session) -> list[Published]:
    """The live version first, then those that were live before it, latest first; empty where none ever was.

    What was rolled back is not among them: it serves nowhere, not even where nothing else loads, and counts in no
    comparison. These versions alone may write results.
    """
    rows = session.execute(
        select(ModelVersion.version, ModelVersion.manifest_sha256)
        .join(Promotion, Promotion.version == ModelVersion.version)
        .where(Promotion.undone_at.is_(None))
        .order_by(Promotion.id.desc())
    )
    return list(dict.fromkeys(Published(version, digest) for version, digest in rows))


def newest_promotion(session: Session) -> str | None:
    """The version that is live: a rollback adds a row for the version that it goes back to."""
    return session.scalar(select(Promotion.version).order_by(Promotion.id.desc()).limit(1))


def hold(session: Session, version: str) -> None:
    """Have a version's row to oneself until the transaction ends: what is applied to it and what retires it take turns.

    On SQLite there is one writer at any time.
    """
    session.execute(select(ModelVersion.version).where(ModelVersion.version == version).with_for_update())


def rolled_back(session: Session) -> dict[str, str]:
    """The versions that were live and were rolled back for good, with the reason."""
    serving = select(Promotion.version).where(Promotion.undone_at.is_(None))
    rows = session.execute(
        select(Promotion.version, Promotion.undone_because)
        .where(Promotion.undone_at.is_not(None), Promotion.version.not_in(serving))
        .order_by(Promotion.id)
    )
    return {version: reason or "" for version, reason in rows}


def out_of_service(session: Session, version: str) -> str | None:
    """Why a published version's answers may not become results, such as "was never live"; None where they may."""
    if version in {row.version for row in live(session)}:
        return None
    if (reason := rolled_back(session).get(version)) is not None:
        return f"was rolled back ({reason})"
    row = session.get(ModelVersion, version)
    return "was rejected" if row is not None and row.state == VersionState.REJECTED else "was never live"


def published(session: Session, version: str) -> Published:
    """Raises BrokenModel for a version that was never published."""
    row = session.get(ModelVersion, version)
    if row is None:
        raise BrokenModel(f"There is no model version {version!r}: `pneumoscreen models list` shows those that exist.")
    return Published(row.version, row.manifest_sha256)


def bundled() -> Path:
    """The folder of the version that comes with the program."""
    (folder,) = [path for path in BUNDLED.iterdir() if path.is_dir() and not path.name.startswith(".")]
    return folder
