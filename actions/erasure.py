"""Erases every row about an image: `plan` says what there is and whether it may go, `erase` does it.

That something was erased stays on record, without a name or a hash.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from shared.base.errors import WorkFailed
from shared.base.filesystem import MARKER
from shared.database import Database, DicomHeader, DrawMember, OutboxRow, Prediction, Review, ShadowScore, Sighting
from shared.database.audit import record
from shared.database.rewriting import overwrite_deleted, rewrite
from shared.ledger import lookup, retention
from shared.ledger.latest import newest
from shared.ledger.lookup import Key
from shared.ledger.register import as_path, as_text
from shared.sources import Source

MAX_NAMED = 50


@dataclass(frozen=True)
class Traces:
    """What there is about an image: its sightings, its contents, and how many rows are about those."""

    sightings: Sequence[Sighting]
    contents: Sequence[str]
    predictions: int
    headers: int
    reviews: int
    drawn: int = 0
    """In how many draws they are."""
    scores: int = 0
    """How often a version in shadow scored them."""
    sent: int = 0
    """How many objects and messages about them are in the outbox: what was sent cannot be called back."""

    @property
    def is_empty(self) -> bool:
        rows = self.predictions + self.headers + self.reviews + self.drawn + self.scores + self.sent
        return not self.sightings and not rows


@dataclass(frozen=True)
class Plan:
    """What is to be erased; `copies` are files of sources of our own, by source and path."""

    name: str
    traces: Traces
    copies: Sequence[tuple[Source, str]]


def plan(database: Database, sources: Mapping[str, Source], name: str) -> Plan:
    """What there is about the image that a name means: all that ever lay under it, and its contents elsewhere.

    Raises WorkFailed if nothing is known, if the name may mean several images, or if a file is in its source still,
    or may be: it would be screened again.
    """
    with database.read() as session:
        traces = _find_traces(session, name)
        if traces.is_empty:
            raise WorkFailed(
                f"Nothing is known about {as_text(name)[0]!r}: `pneumoscreen results --path …` shows the paths that "
                "there are."
            )
        in_place = list(_in_place(session, traces))
    return Plan(name, traces, _check_files(sources, in_place))


def erase(database: Database, planned: Plan, actor: str, now: datetime) -> None:
    """Delete our own copies and the rows: the copies first, so that none is left that no row tells of.

    Raises WorkFailed if the image was seen again since it was planned, or if SQLite's file cannot be rewritten now.
    """
    with database.write() as session:
        overwrite_deleted(session)
        retention.hold_work(session)
        traces = _find_traces(session, planned.name)
        if {s.id for s in traces.sightings} != {s.id for s in planned.traces.sightings}:
            raise WorkFailed("Nothing was erased: the file was seen again meanwhile. Say `db forget` again.")
        for source, path in planned.copies:
            source.delete(path)
        sent = retention.delete_contents(session, OutboxRow, traces.contents)
        sightings, jobs, reviews = retention.delete_sightings(session, [s.id for s in traces.sightings])
        predictions, headers, more_reviews = (
            retention.delete_contents(session, table, traces.contents) for table in (Prediction, DicomHeader, Review)
        )
        drawn, scores = (
            retention.delete_contents(session, table, traces.contents) for table in (DrawMember, ShadowScore)
        )
        detail = (
            f"{sightings} sightings, {jobs} jobs, {predictions} predictions, {headers} DICOM headers, "
            f"{reviews + more_reviews} reviews, {len(planned.copies)} copies"
        )
        detail += f", {drawn} images of draws" if drawn else ""
        detail += f", {scores} scores of versions in shadow" if scores else ""
        detail += f", {sent} rows of the outbox" if sent else ""
        record(session, actor, "forget", detail, at=now)
    rewrite(database)


def _find_traces(session: Session, name: str) -> Traces:
    """Raises WorkFailed if a name stands for several images."""
    meaning = lookup.sightings(session, {name}).get(name)
    places: set[retention.Place] = set()
    if meaning is not None and meaning.key is not Key.CONTENT:
        places = {sighting.place for sighting in meaning.sightings}
    at_places = retention.sightings_at(session, places)
    contents = {sighting.sha256 for sighting in at_places}
    if len(places) > 1 and (len(contents) > 1 or None in contents):
        raise _ambiguous(name, at_places)
    known = sorted(content for content in contents if content is not None)
    if not places and re.fullmatch(r"[0-9a-fA-F]{64}", name):  # also one that no sighting has any more
        known = [name.lower()]
    sightings = retention.sightings_of(session, places, known)
    predictions, headers = (retention.count_contents(session, table, known) for table in (Prediction, DicomHeader))
    reviews = retention.count_reviews(session, known, [s.id for s in sightings])
    tables = (DrawMember, ShadowScore, OutboxRow)
    drawn, scores, sent = (retention.count_contents(session, table, known) for table in tables)
    return Traces(sightings, known, predictions, headers, reviews, drawn, scores, sent)


def _ambiguous(name: str, sightings: Sequence[Sighting]) -> WorkFailed:
    newest_first = {(s.source, s.path, s.sha256): s.id for s in sightings}
    choice = ", ".join(
        f"{number} is {source}/{path} ({content or 'not read yet'})"
        for (source, path, content), number in newest_first.items()
    )
    return WorkFailed(
        f"Nothing was erased, since {as_text(name)[0]!r} stands for several images: name one by its sighting_id, or by "
        f"its SHA-256: {choice}."
    )


def _in_place(session: Session, traces: Traces) -> Iterator[Sighting]:
    """One sighting of each place where the image may lie still, and where it would come back as a new row.

    Where another content has taken the name, its row stays and no new one comes; unless nobody has read it yet.
    """
    ids = {sighting.id for sighting in traces.sightings}
    for (source, path), sighting in {(s.source, s.path): s for s in traces.sightings}.items():
        last = newest(session, source, path)
        if last is None or last.id in ids or last.sha256 is None:
            yield last or sighting


def _check_files(sources: Mapping[str, Source], sightings: Sequence[Sighting]) -> list[tuple[Source, str]]:
    """Returns the copies of our own that are to be deleted.

    Raises WorkFailed if another file is there and would be registered again, or cannot be seen and may be there.
    """
    copies, present, unseen = [], [], set()
    for sighting in sightings:
        source, path = sources.get(sighting.source), as_path(sighting.path, sighting.path_bytes)
        is_there = source.exists(path) if source else None
        if source is not None and source.is_owned:
            if is_there:
                copies.append((source, path))
            elif is_there is None and source.is_in_reach():  # a copy that this host holds, but may not look at
                unseen.add(sighting.source)
        elif is_there is None:
            unseen.add(sighting.source)
        elif source is not None and is_there:
            present.append(str(source.local_copy(path)))
    if present:
        names = ", ".join(os.fsencode(name).decode("utf-8", "backslashreplace") for name in present[:MAX_NAMED])
        raise WorkFailed(
            f"Nothing was erased, since the image is still there and would be screened again: {names}. "
            "Delete it there first, then say `db forget` again."
        )
    if unseen:
        raise WorkFailed(
            f"Nothing was erased: this host cannot see whether the file is still in {', '.join(sorted(unseen))}, "
            f"from where it would be screened again. Run this where {MARKER}, or what the setting `marker` names, can "
            f"be seen in that folder. If the folder is gone for good, name an empty one with a file {MARKER} in its "
            "place in pneumoscreen.toml."
        )
    return copies
