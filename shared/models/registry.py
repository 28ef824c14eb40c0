"""Which model versions exist, which one is live, and how that changes: published, promoted, rejected, rolled back."""

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
from shared.database import AuditEntry, Database, ModelVersion, Promotion, VersionState
from shared.ledger.register import insert_new
from shared.models import engines, manifest
from shared.models.manifest import Manifest
from shared.models.published import Published as Published
from shared.models.published import live as live
from shared.models.published import published as published

BUNDLED = Path(__file__).parent / "bundled"


@dataclass(frozen=True)
class Loaded:
    """A version in memory, verified and warmed up."""

    manifest: Manifest
    network: engines.Network


def load(models: Path, version: Published, key: SecretStr | None = None, engine: EngineName = "tensorflow") -> Loaded:
    """Verify a version's files against its row, and against the signature where a key is set, and load it.

    Raises BrokenModel.
    """
    folder = models / version.version
    found = manifest.read(folder, version.manifest_sha256, key)
    return Loaded(found, engines.load(folder, found, engine))


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


def bundled() -> Path:
    """The folder of the version that comes with the program."""
    (folder,) = [path for path in BUNDLED.iterdir() if path.is_dir() and not path.name.startswith(".")]
    return folder


def install_bundled(database: Database, models: Path, now: datetime, key: SecretStr | None = None) -> None:
    """Where no version was ever live, take the one that comes with the program; a further host gets its folder too.

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
    found = manifest.read(source)
    if not target.exists():
        copy_aside(source, target, key)
    manifest.read(target, digest, key)  # what an earlier try left there may be damaged
    with database.write() as session:
        if not live(session):
            session.merge(ModelVersion(version=found.version, manifest_sha256=digest, created_at=found.created_at))
            session.flush()
            session.add(Promotion(version=found.version, promoted_by="installation", promoted_at=now))


def _sign_whole(folder: Path, digest: str, key: SecretStr) -> None:
    """Sign a version if it is the one whose manifest has this checksum; where it is used is told what it is else."""
    try:
        manifest.read(folder, digest)
    except BrokenModel:
        return
    manifest.sign(folder, key)


def publish(
    database: Database,
    models: Path,
    folder: Path,
    now: datetime,
    by: str = "pneumoscreen",
    key: SecretStr | None = None,
) -> Published:
    """Verify a version's folder, copy it into `models` and make it known; it is not live before it is promoted.

    With a key it is signed, also if it was published before. Safe to repeat: whatever an earlier try left undone is
    done. Raises what `place` and `make_known` do.
    """
    row, found = place(database, models, folder, key)
    with database.write() as session:
        make_known(session, row, found.created_at, by, now)
    return row


def place(database: Database, models: Path, folder: Path, key: SecretStr | None = None) -> tuple[Published, Manifest]:
    """Verify a version's folder and copy it into `models`; nobody knows of it before `make_known`. Safe to repeat.

    Raises BrokenModel for a folder that is not whole, WorkFailed if another version has the same name, or if `models`
    is no place to write to.
    """
    try:
        digest = manifest.sha256((folder / manifest.NAME).read_bytes())
    except OSError as error:
        raise BrokenModel(f"the model version in {folder} cannot be read: {error}") from error
    found = manifest.read(folder, digest)
    row = Published(found.version, digest)
    with database.read() as session:
        _check_name(session, row)
    target = models / row.version
    try:
        if not target.exists():
            copy_aside(folder, target, key)
    except OSError as error:
        raise WorkFailed(
            f"The model version {row.version} could not be written into {models}: {error}. "
            "Is that folder there, has it room, and may this user write to it?"
        ) from error
    manifest.read(target, digest)  # what lay there already may be damaged, or another version
    if key is not None:
        manifest.sign(target, key)
    return row, found


def make_known(session: Session, row: Published, created_at: datetime, by: str, now: datetime) -> None:
    """The row of a version whose folder was placed; raises WorkFailed if another version has the same name."""
    values = {"version": row.version, "manifest_sha256": row.manifest_sha256, "created_at": created_at}
    new = insert_new(session, ModelVersion).values(**values).returning(ModelVersion.version)
    if session.execute(new).all():
        session.add(AuditEntry(at=now, actor=by, action="publish", detail=row.version))
    _check_name(session, row)


def _check_name(session: Session, row: Published) -> None:
    known = session.get(ModelVersion, row.version)
    if known is not None and known.manifest_sha256 != row.manifest_sha256:
        raise WorkFailed(
            f"A version {row.version} was published already, and it is another one: "
            "a published version is never written again, so give the new one a name of its own."
        )


def promote(
    database: Database, version: str, by: str, now: datetime, reason: str | None = None, verdict: str | None = None
) -> None:
    """Make a version live in a transaction of its own: see `make_live`."""
    with database.write() as session:
        make_live(session, version, by, now, reason, verdict)


def make_live(
    session: Session, version: str, by: str, now: datetime, reason: str | None = None, verdict: str | None = None
) -> None:
    """Make a version live, which changes no result; one that is live already stays so.

    `verdict` is the JSON of a gate that it passed; a rejected version needs that or a reason. Raises BrokenModel for
    a version that was never published, WorkFailed for a rejected one.
    """
    published(session, version)
    if _newest_promotion(session) == version:
        return
    row = session.get_one(ModelVersion, version)
    if verdict is not None:
        row.state, row.verdict = VersionState.PUBLISHED, verdict
    elif row.state == VersionState.REJECTED and not reason:
        raise WorkFailed(
            f"{version} was rejected: it lost to a version before it. A person can promote it all the same, "
            "with a reason, which is recorded."
        )
    session.add(Promotion(version=version, promoted_by=by, promoted_at=now, reason=reason))
    detail = version if reason is None else f"{version}: {reason}"
    session.add(AuditEntry(at=now, actor=by, action="promote", detail=detail))


def reject(session: Session, version: str, by: str, now: datetime, verdict: str) -> None:
    """A version lost at the gate: it is kept, with the figures that decided. Raises BrokenModel."""
    published(session, version)
    row = session.get_one(ModelVersion, version)
    row.state, row.verdict = VersionState.REJECTED, verdict
    session.add(AuditEntry(at=now, actor=by, action="reject", detail=version))


def rollback(database: Database, by: str, now: datetime, reason: str) -> str:
    """Make the version live again that was live before the present one; returns its name.

    A second rollback goes one further back, not forward again. Raises WorkFailed if there was none.
    """
    with database.write() as session:
        back = before(session)
        if back is None:
            raise WorkFailed("No version was live before this one: `pneumoscreen models list` shows all there are.")
        session.add(Promotion(version=back, promoted_by=by, promoted_at=now, reason=reason))
        session.add(AuditEntry(at=now, actor=by, action="rollback", detail=f"{back}: {reason}"))
    return back


def before(session: Session) -> str | None:
    """The version that was live before the present one; going back to a version undoes what came after it."""
    way: list[str] = []
    for version in session.scalars(select(Promotion.version).order_by(Promotion.id)):
        if len(way) > 1 and way[-2] == version:
            way.pop()
        elif not way or way[-1] != version:
            way.append(version)
    return way[-2] if len(way) > 1 else None


def _newest_promotion(session: Session) -> str | None:
    return session.scalar(select(Promotion.version).order_by(Promotion.id.desc()).limit(1))


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
