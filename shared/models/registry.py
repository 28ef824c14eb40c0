"""Which model versions exist, which one is live, and how they are loaded; `actions.promotion` changes that."""

import shutil
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import SecretStr
from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.base.errors import BrokenModel, ServiceUnavailable, WorkFailed
from shared.base.filesystem import sync
from shared.base.settings import EngineName
from shared.database import Database, ModelVersion, Promotion
from shared.models import engines, manifest
from shared.models.manifest import Manifest
from shared.models.published import Published as Published
from shared.models.published import bundled as bundled
from shared.models.published import live as live
from shared.models.published import newest_promotion as newest_promotion
from shared.models.published import out_of_service as out_of_service
from shared.models.published import published as published
from shared.models.published import rolled_back as rolled_back


@dataclass(frozen=True)
class Loaded:
    """A version in memory, verified and warmed up."""

    manifest: Manifest
    network: engines.Network
    folder: Path


def load(models: Path, version: Published, key: SecretStr | None = None, engine: EngineName = "tensorflow") -> Loaded:
    """Verify a version's files against its row, and against the signature where a key is set, and load it.

    Raises BrokenModel.
    """
    folder = models / version.version
    described = manifest.read(folder, version.manifest_sha256, key)
    return Loaded(described, engines.load(folder, described, engine), folder)


def load_bundled(engine: EngineName) -> Loaded:
    """Load the version that comes with the program from where it lies; raises BrokenModel."""
    folder = bundled()
    digest = manifest.sha256((folder / manifest.NAME).read_bytes())
    return load(folder.parent, Published(folder.name, digest), engine=engine)


def check(database: Database, models: Path, key: SecretStr | None = None) -> None:
    """Raises ServiceUnavailable if no version that is or was live lies whole in the folder `models`."""
    with database.read() as session:
        candidates = live(session)
    problem = "none was ever published: `pneumoscreen db upgrade` installs the one that comes with the program"
    for candidate in reversed(candidates):
        try:
            manifest.read(models / candidate.version, candidate.manifest_sha256, key)
        except BrokenModel as error:
            problem = str(error)
        else:
            return
    raise ServiceUnavailable(f"There is no model version to screen with: {problem}.")


def install_bundled(database: Database, models: Path, now: datetime, key: SecretStr | None = None) -> None:
    """Install the bundled version where no version was ever live; a further host gets its folder too.

    With a key it is signed, also where it was installed before there was one.
    """
    source = bundled()
    digest = manifest.sha256((source / manifest.NAME).read_bytes())
    with database.read() as session:
        versions = live(session)
    target = models / source.name
    if key is not None and target.exists():
        _sign_whole(target, digest, key)
    if versions and (versions[0].version != source.name or target.exists()):
        return
    described = manifest.read(source)
    if not target.exists():
        copy_aside(source, target, key)
    manifest.read(target, digest, key)  # what an earlier attempt left there may be damaged
    with database.write() as session:
        if not live(session):
            session.merge(
                ModelVersion(version=described.version, manifest_sha256=digest, created_at=described.created_at)
            )
            session.flush()
            first = "the first version: it comes with the program"
            session.add(Promotion(version=described.version, promoted_by="installation", promoted_at=now, reason=first))


def _sign_whole(folder: Path, digest: str, key: SecretStr) -> None:
    """Sign a version if it is the one whose manifest has this checksum; one that is not is refused where it is used."""
    try:
        manifest.read(folder, digest)
    except BrokenModel:
        return
    manifest.sign(folder, key)


def place(database: Database, models: Path, folder: Path, key: SecretStr | None = None) -> tuple[Published, Manifest]:
    """Verify a version's folder and copy it into `models`; it has no row before it is published. Safe to repeat.

    Raises BrokenModel for a folder that is not whole, WorkFailed if another version has the same name, or if `models`
    cannot be written to.
    """
    try:
        digest = manifest.sha256((folder / manifest.NAME).read_bytes())
    except OSError as error:
        raise BrokenModel(f"the model version in {folder} cannot be read: {error}") from error
    described = manifest.read(folder, digest)
    row = Published(described.version, digest)
    with database.read() as session:
        check_name(session, row)
    target = models / row.version
    try:
        if not target.exists():
            copy_aside(folder, target, key)
    except OSError as error:
        raise WorkFailed(
            f"The model version {row.version} could not be written into {models}: {error}. "
            "Is that folder there, has it room, and may this user write to it?"
        ) from error
    manifest.read(target, digest)  # what was there already may be damaged, or another version
    if key is not None:
        manifest.sign(target, key)
    return row, described


def check_name(session: Session, row: Published) -> None:
    """Raises WorkFailed if another version has the same name."""
    known = session.get(ModelVersion, row.version)
    if known is not None and known.manifest_sha256 != row.manifest_sha256:
        raise WorkFailed(
            f"A version {row.version} was published already, and it is another one: "
            "a published version is never written again, so give the new one a name of its own."
        )


def before(session: Session) -> str | None:
    """The version that was live before the present one; going back to a version undoes what came after it.

    One that was rolled back is never gone back to.
    """
    history: list[str] = []
    serving = select(Promotion.version).where(Promotion.undone_at.is_(None))
    for version in session.scalars(serving.order_by(Promotion.id)):
        if len(history) > 1 and history[-2] == version:
            history.pop()
        elif not history or history[-1] != version:
            history.append(version)
    return history[-2] if len(history) > 1 else None


def copy_aside(source: Path, target: Path, key: SecretStr | None = None) -> None:
    """Copy a version's folder under a temporary name, sign it, sync it, and only then give it its own name."""
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        try:
            shutil.copytree(source, aside, dirs_exist_ok=True)
        except shutil.Error as error:  # a list of what failed for each file: the first says why
            raise OSError(error.args[0][0][2]) from error
        if key is not None:
            manifest.sign(aside, key)
        for path in [*aside.rglob("*"), aside]:
            sync(path)
        manifest.read(aside)
        try:
            aside.rename(target)
        except OSError:
            if not target.exists():  # else another process was faster
                raise
        sync(target.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
