"""`screen`: existing files are submitted, waited for and shown."""

import shutil
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typer
from sqlalchemy import select

from cli.console import out, progress, table
from queries.workers import live_workers
from shared.base.errors import ServiceUnavailable, WrongSettings
from shared.base.filesystem import MARKER, check_room, sync
from shared.base.settings import SUBMITTED, Folder, Settings
from shared.database import Database, Prediction, Sighting, SightingState, opened
from shared.ledger.register import MAX_ROWS, as_text, register
from shared.sources.folder.facts import Facts
from shared.sources.folder.sweep import look, sweep
from shared.sources.ignored import is_ignored

QUIET_SECONDS = 120
"""With no sign of life from any worker for so long, waiting makes no sense."""


def screen(settings: Settings, paths: list[Path]) -> None:
    """Ends with exit code 1 if an image was quarantined."""
    with opened(settings) as with_database:
        with with_database.read() as session:
            if not live_workers(session, datetime.now(UTC)):
                raise ServiceUnavailable(
                    "No worker is running: start `pneumoscreen up` in another shell, then try again."
                )
        check_room(settings.home, settings.min_free_disk)
        files = [file for path in paths for file in _files(path)]
        if not files:
            raise WrongSettings("There are no files there to screen (hidden and temporary names are ignored).")
        with progress() as bar:
            submitting = bar.add_task("submitting", total=len(files))
            sightings = []
            for file in files:
                sightings.append(_submit(settings, with_database, file))
                bar.advance(submitting)
            _wait(with_database, sightings, bar.add_task("screening", total=len(sightings)), bar)
        _show(with_database, sightings)


def _files(path: Path) -> Iterator[Path]:
    path = path.absolute()
    if path.is_dir():
        yield from sorted(path / found.path for found, _ in sweep(path))
    elif not is_ignored(path.name):
        yield path


def _submit(settings: Settings, with_database: Database, file: Path) -> int:
    """Register a file where it lies, if that is below a root, else a copy of it; returns its sighting."""
    inside = [(name, root) for name, root in settings.roots.items() if file.is_relative_to(root.path)]
    if inside:
        (name, root), origin = inside[0], None
        relative = str(file.relative_to(root.path))
    else:
        name, root, origin = SUBMITTED, settings.roots[SUBMITTED], as_text(str(file))[0]
        relative = _copy(file, root)
    stat = look(root.path / relative)
    if stat is None:
        raise WrongSettings(f"{file} is no readable file.")
    found = Facts.of(stat).found(relative)
    now = datetime.now(UTC)
    with with_database.write() as session:
        new = register(session, name, root.lane, [found], now, origin=origin)
        known = select(Sighting.id).where(
            Sighting.source == name,
            Sighting.path == as_text(relative)[0],
            Sighting.revision == found.revision,
        )
        return new[0] if new else session.scalars(known).one()


def _copy(file: Path, root: Folder) -> str:
    """Copy aside, then rename: a folder of its own for each file keeps its name and never meets another's."""
    folder = root.path / datetime.now(UTC).strftime("%Y-%m-%d") / uuid.uuid4().hex[:12]
    folder.mkdir(parents=True)
    (root.path / MARKER).touch()  # so that a copy that somebody deletes is told from a disk that is away
    aside = folder / ".copy.part"
    shutil.copyfile(file, aside)
    sync(aside)
    aside.rename(folder / file.name)
    return str((folder / file.name).relative_to(root.path))


def _wait(with_database: Database, sightings: list[int], task: int, bar) -> None:  # type: ignore[no-untyped-def]
    waiting, last_life = set(sightings), time.monotonic()
    while waiting:
        time.sleep(0.1)
        with with_database.read() as session:
            alive = bool(live_workers(session, datetime.now(UTC)))
            for start in range(0, len(sightings), MAX_ROWS):
                part = [s for s in sightings[start : start + MAX_ROWS] if s in waiting]
                open_ones = select(Sighting.id).where(Sighting.id.in_(part), Sighting.state == SightingState.WAITING)
                waiting -= set(part) - set(session.scalars(open_ones))
        last_life = time.monotonic() if alive else last_life
        if time.monotonic() - last_life > QUIET_SECONDS:
            raise ServiceUnavailable(
                f"No worker has been alive for {QUIET_SECONDS} s: {len(waiting)} images still wait."
            )
        bar.update(task, completed=len(sightings) - len(waiting))


def _show(with_database: Database, sightings: list[int]) -> None:
    rows: list[Any] = []
    with with_database.read() as session:
        for start in range(0, len(sightings), MAX_ROWS):
            rows += session.execute(
                select(Sighting, Prediction)
                .outerjoin(Prediction, Prediction.id == Sighting.prediction_id)
                .where(Sighting.id.in_(sightings[start : start + MAX_ROWS]))
                .order_by(Prediction.probability.desc())
            ).all()
    shown = [
        (
            s.origin or s.path,
            s.state,
            p and p.label,
            p and p.probability,
            p and p.threshold,
            "yes" if p and p.unfamiliar else None,
            s.reason,
        )
        for s, p in rows
    ]
    table(("path", "state", "label", "probability", "threshold", "unfamiliar", "reason"), shown)
    quarantined = sum(s.state == SightingState.QUARANTINED for s, _ in rows)
    positive = sum(bool(p) and p.label == "PNEUMONIA" for _, p in rows)
    unfamiliar = sum(bool(p) and bool(p.unfamiliar) for _, p in rows)
    found = f"{positive} PNEUMONIA, {f'{unfamiliar} unfamiliar, ' if unfamiliar else ''}{quarantined} quarantined"
    out.print(f"{len(rows)} images: {found}. A screening aid, not a diagnosis.")
    if quarantined:
        raise typer.Exit(1)
