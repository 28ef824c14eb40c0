"""Which model versions exist, which one is live, and bringing one into service: the reading side of publishing."""

import os
import shutil
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from shared import inference, manifest
from shared.database import Database, ModelVersion, Promotion
from shared.errors import BrokenModel, ServiceUnavailable
from shared.manifest import Manifest

BUNDLED = Path(__file__).parent / "bundled"


@dataclass(frozen=True)
class Published:
    """A version's row: its name, and the checksum that its manifest must have."""

    version: str
    manifest_sha256: str


@dataclass(frozen=True)
class Loaded:
    """A version in memory, verified and warmed up."""

    manifest: Manifest
    network: inference.Network


def live(session: Session) -> list[Published]:
    """The live version first, then those that were live before it, latest first; empty before the first publication."""
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


def load(models: Path, version: Published) -> Loaded:
    """Verify a version's files against its row and load it; raises BrokenModel."""
    folder = models / version.version
    found = manifest.read(folder, version.manifest_sha256)
    return Loaded(found, inference.load(folder, found))


def check(database: Database, models: Path) -> None:
    """Raises ServiceUnavailable if no version that is or was live lies whole in the folder `models`."""
    with database.read() as session:
        candidates = live(session)
    problem = "none was ever published: `pneumoscreen db upgrade` installs the one that comes with the program"
    for candidate in reversed(candidates):
        try:
            manifest.read(models / candidate.version, candidate.manifest_sha256)
        except BrokenModel as error:
            problem = str(error)
        else:
            return
    raise ServiceUnavailable(f"There is no model version to screen with: {problem}.")


def bundled() -> Path:
    """The folder of the version that comes with the program."""
    (folder,) = [path for path in BUNDLED.iterdir() if path.is_dir() and not path.name.startswith(".")]
    return folder


def install_bundled(database: Database, models: Path, now: datetime) -> None:
    """Where no version was ever live, take the one that comes with the program; a further host gets its folder too."""
    source = bundled()
    with database.read() as session:
        versions = live(session)
    target = models / source.name
    if versions and (versions[0].version != source.name or target.exists()):
        return
    found = manifest.read(source)
    if not target.exists():
        copy_aside(source, target)
    digest = manifest.sha256((source / manifest.NAME).read_bytes())
    manifest.read(target, digest)  # what an earlier try left there may be damaged
    with database.write() as session:
        if not live(session):
            session.merge(ModelVersion(version=found.version, manifest_sha256=digest, created_at=found.created_at))
            session.flush()
            session.add(Promotion(version=found.version, promoted_by="installation", promoted_at=now))


def copy_aside(source: Path, target: Path) -> None:
    """Copy a version's folder under a temporary name, sync it, and only then give it its own name."""
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    shutil.copytree(source, aside, dirs_exist_ok=True)
    for file in [*aside.iterdir(), aside]:
        descriptor = os.open(file, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    try:
        aside.rename(target)
    except OSError:
        shutil.rmtree(aside)
        if not target.exists():  # else another process was faster
            raise
