"""`db forget`: every row about a file and its content is erased; that something was erased stays on record."""

import os
import re
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime

import typer
from sqlalchemy.orm import Session

from cli.console import out, table
from shared import sources
from shared.base.errors import WorkFailed, WrongSettings
from shared.base.filesystem import MARKER
from shared.base.settings import Settings
from shared.database import AuditEntry, Database, DicomHeader, Prediction, Review, Sighting, opened
from shared.ledger import retention
from shared.ledger.register import as_path, as_text

SHOWN = 50


@dataclass(frozen=True)
class Traces:
    """What there is about a file: sightings, and contents with what was said about them."""

    sightings: Sequence[Sighting]
    contents: Sequence[str]
    in_place: Sequence[Sighting]  # those whose file may lie in its folder still, and would come back as a new row
    predictions: int
    headers: int
    reviews: int


def forget(settings: Settings, target: str, by: str, yes: bool) -> None:
    """Raises WorkFailed if nothing matches, or several images do, or a file is still in its folder."""
    if not by.strip():
        raise WrongSettings("Say who asks for it: --by NAME.")
    with opened(settings) as with_database:
        with with_database.read() as session:
            traces = _find(session, as_text(target)[0])
        if not traces.sightings and not (traces.predictions or traces.headers or traces.reviews):
            raise WorkFailed(
                f"Nothing is known about {target!r}: `pneumoscreen results --path …` shows the paths that there are."
            )
        copies = _check_files(settings, traces)
        _show(traces, copies)
        if not yes:
            typer.confirm("Erase all of this for good?", abort=True)
        for copy in copies:
            sources.build(settings)[copy.source].delete(as_path(copy.path, copy.path_bytes))
        _erase(with_database, as_text(target)[0], by, traces, len(copies))
        is_sqlite = with_database.engine.dialect.name == "sqlite"
        if is_sqlite:
            _rewrite(with_database)
    out.print("Erased. Backups made before still hold these rows: delete those, or erase again after restoring one.")
    if not is_sqlite:
        out.print(
            "So do archives of PostgreSQL's log (WAL), and its files until their space is used again "
            "(VACUUM FULL writes them anew). Copies that `screen` made on other hosts are to be deleted there."
        )


def _find(session: Session, target: str) -> Traces:
    """Raises WorkFailed if a name stands for several images."""
    is_content = re.fullmatch(r"[0-9a-fA-F]{64}", target) is not None
    lay = [] if is_content else retention.lay(session, target)
    places = sorted({place for place, _ in lay})
    contents: set[str | None] = {target.lower()} if is_content else {content for _, content in lay}
    if len(places) > 1 and (len(contents) > 1 or None in contents):
        choice = ", ".join(f"{root}/{path} ({content or 'not read yet'})" for (root, path), content in lay)
        raise WorkFailed(f"Nothing was erased, since {target!r} stands for several images: name one of {choice}.")
    known = [content for content in contents if content is not None]
    found = retention.of_contents(session, places, known)
    ids = {sighting.id for sighting in found}
    in_place = []
    for root, name in sorted({(sighting.source, sighting.path) for sighting in found}):
        newest = retention.newest(session, root, name)
        # Where another content has taken the name, its row stays and no new one comes; unless nobody has read it yet.
        if newest is None or newest.id in ids or newest.sha256 is None:
            in_place.append(newest or next(s for s in found if (s.source, s.path) == (root, name)))
    said = (retention.count_contents(session, rows, known) for rows in (Prediction, DicomHeader, Review))
    return Traces(found, known, in_place, *said)


def _check_files(settings: Settings, traces: Traces) -> list[Sighting]:
    """Raises WorkFailed if a file would be registered again; returns the copies of ours that are to be deleted."""
    copies, there, hidden, known = [], [], set(), sources.build(settings)
    for sighting in traces.in_place:
        source, path = known.get(sighting.source), as_path(sighting.path, sighting.path_bytes)
        is_there = source.exists(path) if source else None
        if source is not None and source.is_owned:
            copies += [sighting] if is_there else []
        elif source is not None and is_there:
            there.append(str(source.local_copy(path)))
        elif is_there is None:
            hidden.add(sighting.source)
    if there:
        names = ", ".join(os.fsencode(name).decode("utf-8", "backslashreplace") for name in there[:SHOWN])
        raise WorkFailed(
            f"Nothing was erased, since the picture is still there and would be screened again: {names}. "
            "Delete it there first, then say `db forget` again."
        )
    if hidden:
        raise WorkFailed(
            f"Nothing was erased: this host cannot see whether the file is still in {', '.join(sorted(hidden))}, "
            f"from where it would be screened again. Run this where {MARKER} can be seen in that folder. If the folder "
            f"is gone for good, name an empty one with a file {MARKER} in its place in pneumoscreen.toml."
        )
    return copies


def _show(traces: Traces, copies: Sequence[Sighting]) -> None:
    rows = [(s.id, s.source, s.path, s.state, f"{s.seen_at:%Y-%m-%d %H:%M}") for s in traces.sightings]
    table(("sighting", "folder", "path", "state", "seen at"), rows[:SHOWN], "To be erased")
    out.print(
        f"{len(rows)} sightings of {len(traces.contents)} contents with their jobs; {traces.predictions} predictions, "
        f"{traces.headers} DICOM headers, {traces.reviews} reviews; {len(copies)} copies that `screen` made."
    )


def _erase(database: Database, target: str, by: str, traces: Traces, copies: int) -> None:
    with database.write() as session:
        if database.engine.dialect.name == "sqlite":
            session.connection().exec_driver_sql("PRAGMA secure_delete = ON")
        retention.hold_work(session)
        now = _find(session, target)
        if {s.id for s in now.sightings} != {s.id for s in traces.sightings}:
            raise WorkFailed("Nothing was erased: the file was seen again meanwhile. Say `db forget` again.")
        sightings, jobs = retention.delete_sightings(session, [s.id for s in now.sightings])
        predictions, headers, reviews = (
            retention.delete_contents(session, rows, now.contents) for rows in (Prediction, DicomHeader, Review)
        )
        detail = (
            f"{sightings} sightings, {jobs} jobs, {predictions} predictions, {headers} DICOM headers, "
            f"{reviews} reviews, {copies} copies"
        )
        session.add(AuditEntry(at=datetime.now(UTC), actor=by, action="forget", detail=detail))


def _rewrite(database: Database) -> None:
    """SQLite: rows that were changed earlier left traces in the file's unused bytes, which only a new file lacks."""
    try:
        with closing(database.engine.raw_connection()) as connection:
            cursor = connection.cursor()
            cursor.execute("VACUUM")
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            told = cursor.fetchone()
    except sqlite3.DatabaseError as error:
        raise WorkFailed(
            f"The rows are erased, but the database's file could not be rewritten ({error}), so that traces may be "
            "left in its unused bytes: make room on the disk, stop the system, and run `VACUUM` on it."
        ) from error
    if told and told[0]:
        raise WorkFailed(
            "The rows are erased, but a program that reads the database keeps its log (-wal) from being emptied: "
            "end that program, or stop and start the system, which empties it."
        )
