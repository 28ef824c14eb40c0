"""Model versions: which exist, which one is live, and their figures with what these rest on."""

import json
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from pydantic import SecretStr
from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.base.errors import BrokenModel, WorkFailed
from shared.base.settings import EngineName, Settings
from shared.database import ModelVersion, Promotion, VersionNote, opened
from shared.models import engines, manifest, registry
from shared.models.manifest import Manifest
from shared.models.registry import Loaded, Published
from shared.statistics import metrics

FIGURES = ("auc", "recall", "specificity")


@dataclass(frozen=True)
class FigureWithInterval:
    """A figure; old manifests have no interval."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class VersionRow:
    """A published version; the fields of its manifest are None where that cannot be read, and `problem` says why.

    figures: those of FIGURES, on so many held-out images of so many patients.
    """

    version: str
    state: str
    created_at: datetime
    is_live: bool
    live_since: datetime | None = None
    architecture: str | None = None
    threshold: float | None = None
    images: int | None = None
    patients: int | None = None
    figures: tuple[FigureWithInterval | None, ...] = (None,) * len(FIGURES)
    source: str | None = None
    problem: str | None = None
    tags: tuple[str, ...] = ()
    note: str | None = None  # the last one
    notes: int = 0


@dataclass(frozen=True)
class Note:
    author: str
    created_at: datetime
    text: str


def list_versions(session: Session, models: Path, key: SecretStr | None = None) -> list[VersionRow]:
    """Every published version, newest first."""
    promotion = session.scalars(select(Promotion).order_by(Promotion.id.desc()).limit(1)).first()
    undone, notes = registry.rolled_back(session), _notes(session)
    rows = []
    for row in session.scalars(select(ModelVersion).order_by(ModelVersion.created_at.desc())):
        since = promotion.promoted_at if promotion and promotion.version == row.version else None
        state = "rolled back" if row.version in undone else row.state
        try:
            described = manifest.read(models / row.version, row.manifest_sha256, key)
        except BrokenModel as error:
            problem = str(error)
            found = VersionRow(row.version, state, row.created_at, since is not None, since, problem=problem)
        else:
            found = _describe(row, state, since, described)
        mine = notes.get(row.version, [])
        last = mine[-1].text if mine else None
        rows.append(replace(found, tags=tuple(json.loads(row.tags)), note=last, notes=len(mine)))
    return rows


def annotations(session: Session, version: str) -> tuple[list[str], list[Note]]:
    """A version's tags and notes, the oldest first."""
    row = session.get_one(ModelVersion, version)
    return json.loads(row.tags), _notes(session, version).get(version, [])


def _notes(session: Session, version: str | None = None) -> dict[str, list[Note]]:
    query = select(VersionNote).order_by(VersionNote.id)
    found: dict[str, list[Note]] = {}
    for row in session.scalars(query if version is None else query.where(VersionNote.version == version)):
        found.setdefault(row.version, []).append(Note(row.author, row.created_at, row.note))
    return found


def _describe(row: ModelVersion, state: str, since: datetime | None, described: Manifest) -> VersionRow:
    measured = described.metrics.get("validation", {})
    source = described.data.get("source")
    return VersionRow(
        row.version,
        state,
        row.created_at,
        since is not None,
        since,
        architecture=described.architecture,
        threshold=described.threshold,
        images=measured.get("images"),
        patients=measured.get("patients"),
        figures=tuple(_figure(measured.get(name)) for name in FIGURES),
        source=source if isinstance(source, str) else None,
    )


def _figure(figure: object) -> FigureWithInterval | None:
    value = metrics.value(figure)
    if value is None:
        return None
    return (
        FigureWithInterval(value, figure["low"], figure["high"])
        if isinstance(figure, dict)
        else FigureWithInterval(value)
    )


def find(session: Session, version: str | None) -> Published:
    """The version named, else the live one; raises BrokenModel or WorkFailed where there is none."""
    if version is not None:
        return registry.published(session, version)
    live = registry.live(session)
    if not live:
        raise WorkFailed("No model version is live.")
    return live[0]


def show_manifest(session: Session, models: Path, version: str | None, key: SecretStr | None = None) -> Manifest:
    """The verified manifest of the version named, else of the live one."""
    row = find(session, version)
    return manifest.read(models / row.version, row.manifest_sha256, key)


def load_named_or_live(settings: Settings, version: str | None, engine: EngineName | None = None) -> Loaded:
    """The version named, else the live one; where none was ever live, the one that comes with the program.

    The setting `engine` decides what runs it, unless one is given.
    """
    engine = engine or settings.engine
    row = None
    if settings.database_url is not None or (settings.home / "pneumoscreen.db").exists():
        with opened(settings) as database, database.read() as session:
            row = _find_or_bundled(session, version)
    elif version not in (None, registry.bundled().name):
        raise BrokenModel(f"There is no model version {version!r}: {settings.home} has no database yet.")
    if row is None:
        return registry.load_bundled(engine)
    return registry.load(settings.models, row, settings.signing_key, engine)


def load_for_measuring(settings: Settings, version: str | None) -> Loaded:
    """The same with the network as it was fitted; a version's folder, as `train` leaves it, can be named too.

    The threshold lies exactly on the probability of an image, so the rounding of another engine could change a figure.
    """
    if version is None or not (Path(version) / manifest.NAME).is_file():
        return load_named_or_live(settings, version, "tensorflow")
    described = manifest.read(Path(version))
    return Loaded(described, engines.load(Path(version), described, "tensorflow"), Path(version))


def folder_of(settings: Settings, version: str | None) -> Path:
    """The folder of what `load_for_measuring` loads."""
    if version is not None and (Path(version) / manifest.NAME).is_file():
        return Path(version)
    if settings.database_url is None and not (settings.home / "pneumoscreen.db").exists():
        return registry.bundled()
    with opened(settings) as database, database.read() as session:
        row = _find_or_bundled(session, version)
    return registry.bundled() if row is None else settings.models / row.version


def _find_or_bundled(session: Session, version: str | None) -> Published | None:
    """None means the bundled version, which was not published."""
    if version is None:
        return next(iter(registry.live(session)), None)
    if version == registry.bundled().name and session.get(ModelVersion, version) is None:
        return None
    return registry.published(session, version)
