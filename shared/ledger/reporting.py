"""Makes outbox rows of results and of readers' words: a sweep, so that none is missed, whoever wrote them.

A content in a source has one line of editions at each destination. Of several sightings of it, the newest speaks.
"""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import and_, exists, func, or_, select, text, tuple_, update
from sqlalchemy.orm import Session, aliased

from shared.base.derived_uid import derive
from shared.base.destination_settings import DestinationSettings, Event, EventDestination, ResultDestination, Rule
from shared.database import (
    DicomHeader,
    Installation,
    OperatingPoint,
    OutboxKind,
    OutboxMark,
    OutboxRow,
    OutboxState,
    Prediction,
    Review,
    Screening,
    Sighting,
    SightingState,
)
from shared.database.truth import counting_words
from shared.ledger.latest import IS_RESULT
from shared.ledger.register import insert_new
from shared.ledger.result_facts import ResultFacts
from shared.ledger.retention import hold_sightings

CHUNK = 250
"""Images that are looked at in one transaction."""
LATELY = timedelta(minutes=5)
"""What was finished since is looked at each time; the rest, in turn. A transaction is never open for so long."""
RECENT_WORDS = 200
MAKING = 7355611
"""The number of PostgreSQL's lock for whoever makes rows."""
OPEN = (OutboxState.WAITING, OutboxState.SENDING)
WORDS = "r.label <> 'NOT_READABLE'"


@dataclass(frozen=True)
class Wanted:
    """A destination, and since when it gets anything."""

    name: str
    settings: DestinationSettings
    since: datetime


@dataclass(frozen=True)
class Place:
    """Where a sweep stands: it goes by when images were finished."""

    finished_at: datetime
    sighting: int


@dataclass(frozen=True)
class _Result:
    sighting: int
    sha256: str
    finished_at: datetime
    facts: ResultFacts
    prediction: int
    fingerprint: str | None  # of the mark

    @property
    def subject(self) -> str:
        return f"{self.facts.source}:{self.sha256}"


def identity(session: Session) -> bytes:
    """The ledger's own, made at the first call. Until the transaction ends, no other courier makes rows.

    SQLite allows one writing transaction at a time anyway.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text(f"SELECT pg_advisory_xact_lock({MAKING})"))
    session.execute(insert_new(session, Installation).values(id=1, identity=secrets.token_bytes(16)))
    return session.scalars(select(Installation.identity)).one()


def recently_finished(session: Session, since: datetime, now: datetime) -> list[int]:
    """Sightings with a result of late, and not from before `since`, at which nobody has looked yet; at most CHUNK."""
    lately = max(since, now - LATELY)
    is_new = or_(OutboxMark.sighting_id.is_(None), OutboxMark.prediction_id != Sighting.prediction_id)
    finished = (
        select(Sighting.id)
        .outerjoin(OutboxMark, OutboxMark.sighting_id == Sighting.id)
        .where(Sighting.finished_at >= lately, Sighting.state == SightingState.DONE, is_new)
        .order_by(Sighting.id)
        .limit(CHUNK)
    )
    return list(session.scalars(finished))


def recently_read(session: Session, after: int, now: datetime) -> tuple[list[int], int]:
    """Sightings of contents with words that came after a review's number, or were withdrawn of late; the last number.

    Numbers may become visible out of their order, so those shortly before are looked at, too.
    """
    is_new = or_(Review.id > after - RECENT_WORDS, Review.withdrawn_at > now - LATELY)
    contents = select(Review.sha256).where(Review.sha256.is_not(None), is_new)
    found = session.scalars(
        select(Sighting.id).where(Sighting.sha256.in_(contents), Sighting.state == SightingState.DONE)
    )
    return list(found), session.scalar(select(func.max(Review.id))) or 0


def next_results(session: Session, after: Place) -> tuple[list[int], Place | None]:
    """The next CHUNK sightings with a result, by when they were finished; None at the end."""
    beyond = tuple_(Sighting.finished_at, Sighting.id) > tuple_(after.finished_at, after.sighting)
    rows = session.execute(
        select(Sighting.id, Sighting.finished_at)
        .where(Sighting.finished_at >= after.finished_at, beyond, Sighting.state == SightingState.DONE)
        .order_by(Sighting.finished_at, Sighting.id)
        .limit(CHUNK)
    ).all()
    return [row.id for row in rows], Place(rows[-1].finished_at, rows[-1].id) if rows else None


def find_changed(session: Session, since: datetime, sightings: Iterable[int]) -> list[int]:
    """Those of at most CHUNK sightings of which other rows would be made today than were made of them."""
    results = _results(session, sorted(set(sightings)))
    return [result.sighting for result in results if _is_changed(result, since)]


def _is_changed(result: "_Result", since: datetime) -> bool:
    return result.finished_at >= since and result.fingerprint != result.facts.fingerprint


def make_rows(session: Session, wanted: Sequence[Wanted], sightings: Iterable[int], now: datetime) -> int:
    """Make the rows of at most CHUNK sightings that differ from what was made of them; returns how many rows."""
    chosen = sorted(hold_sightings(session, set(sightings))) if wanted else []
    if not chosen:
        return 0
    own = identity(session)
    first = min(each.since for each in wanted)
    changed = [result for result in _results(session, chosen) if _is_changed(result, first)]
    speaking = _speaking(session, changed)
    before = _rows_by_line(session, {result.subject for result in changed})
    count = 0
    for result in changed:
        if result.sighting in speaking:
            for each in wanted:
                count += _make(session, own, each, result, before, now)
        _mark(session, result)
    return count


def _results(session: Session, sightings: Sequence[int]) -> list[_Result]:
    rows = session.execute(
        select(Sighting.id, Sighting.source, Sighting.lane, Sighting.sha256, Sighting.finished_at)
        .add_columns(Sighting.prediction_id, Screening.probability, Screening.threshold, Screening.label)
        .add_columns(Screening.unfamiliar, Screening.operating_point_id, Screening.created_at)
        .add_columns(Prediction.model_version, Prediction.outside_population, OperatingPoint.is_provisional)
        .add_columns(DicomHeader.study_uid, DicomHeader.sop_instance_uid, DicomHeader.accession_number)
        .add_columns(OutboxMark.fingerprint)
        .join(Screening, IS_RESULT)
        .join(Prediction, Prediction.id == Sighting.prediction_id)
        .outerjoin(OperatingPoint, OperatingPoint.id == Screening.operating_point_id)
        .outerjoin(DicomHeader, DicomHeader.sha256 == Sighting.sha256)
        .outerjoin(OutboxMark, OutboxMark.sighting_id == Sighting.id)
        .where(Sighting.id.in_(sightings), Sighting.state == SightingState.DONE)
        .order_by(Sighting.id)
    ).all()
    words = _words(session, sorted({row.sha256 for row in rows}))
    return [
        _Result(
            sighting=row.id,
            sha256=row.sha256,
            finished_at=row.finished_at,
            prediction=row.prediction_id,
            fingerprint=row.fingerprint,
            facts=_facts(row, words.get(row.sha256)),
        )
        for row in rows
    ]


def _facts(row: Any, word: str | None) -> ResultFacts:
    return ResultFacts(
        source=row.source,
        lane=row.lane,
        study_uid=row.study_uid,
        sop_instance_uid=row.sop_instance_uid,
        accession_number=row.accession_number,
        model_version=row.model_version,
        probability=row.probability,
        threshold=row.threshold,
        label=row.label,
        unfamiliar=row.unfamiliar,
        outside_population=row.outside_population,
        operating_point=row.operating_point_id,
        is_provisional=row.is_provisional,
        screened_at=row.created_at.isoformat(timespec="seconds"),
        word=word,
    )


def _words(session: Session, contents: Sequence[str]) -> dict[str, str]:
    """The word that counts on each content: a senior's, else that of most readers, else the newest."""
    if not contents:
        return {}
    names = {f"content_{number}": content for number, content in enumerate(contents)}
    among = ", ".join(f":{name}" for name in names)
    rows = session.execute(text(counting_words(f"{WORDS} AND r.sha256 IN ({among})")), names)
    return {row.sha256: row.label for row in rows if row.label}


def _speaking(session: Session, results: Sequence[_Result]) -> set[int]:
    """Those that are the newest sighting with a result of their content in their source."""
    newer = aliased(Sighting)
    is_newer = and_(newer.sha256 == Sighting.sha256, newer.source == Sighting.source, newer.id > Sighting.id)
    is_replaced = exists().where(is_newer, newer.state == SightingState.DONE).correlate(Sighting)
    ids = [result.sighting for result in results]
    return set(session.scalars(select(Sighting.id).where(Sighting.id.in_(ids), ~is_replaced)))


Line = tuple[str, str, str]
"""Destination, kind and subject: of each there is one line of editions."""


def _rows_by_line(session: Session, subjects: set[str]) -> dict[Line, list[OutboxRow]]:
    lines: dict[Line, list[OutboxRow]] = {}
    mine = (OutboxRow.subject.in_(subjects), OutboxRow.kind != OutboxKind.EVENT)
    for row in session.scalars(select(OutboxRow).where(*mine).order_by(OutboxRow.edition)):
        lines.setdefault((row.destination, row.kind, row.subject), []).append(row)
    return lines


def _make(
    session: Session,
    own: bytes,
    wanted: Wanted,
    result: _Result,
    before: Mapping[Line, list[OutboxRow]],
    now: datetime,
) -> int:
    if result.finished_at < wanted.since or not wanted.settings.wants(result.facts.source):
        return 0
    if isinstance(wanted.settings, EventDestination):
        return sum(_add_event(session, own, wanted, event, result, now) for event in _events(wanted.settings, result))
    if result.facts.study_uid is None or result.facts.sop_instance_uid is None:
        return 0  # no DICOM file: there is no study to which a report could belong
    count = 0
    for kind in wanted.settings.objects:
        rows = before.get((wanted.name, kind, result.subject), [])
        count += _add_edition(session, own, wanted.name, wanted.settings, OutboxKind(kind), result, rows, now)
    return count


def _add_edition(
    session: Session,
    own: bytes,
    name: str,
    settings: ResultDestination,
    kind: OutboxKind,
    result: _Result,
    rows: Sequence[OutboxRow],
    now: datetime,
) -> int:
    """A new edition, unless the newest one states the same; those that were not sent yet are dropped."""
    facts = result.facts.dump()
    current = next((row for row in reversed(rows) if row.state != OutboxState.SUPERSEDED), None)
    if current is not None and current.facts == facts:
        return 0
    _supersede(session, [row.id for row in rows], now)
    holding = next((row for row in reversed(rows) if row.state in (OutboxState.SENT, OutboxState.SENDING)), None)
    if holding is not None and holding.facts == facts:
        return 0
    if holding is None and not _fits(settings.rule, result.facts):
        return 0
    edition = 1 + max((row.edition for row in rows), default=0)
    parts = (result.facts.sop_instance_uid, result.sha256, result.facts.source, name, kind.value, edition, facts)
    _insert(
        session,
        destination=name,
        kind=kind,
        subject=result.subject,
        edition=edition,
        source=result.facts.source,
        sighting_id=result.sighting,
        sha256=result.sha256,
        uid=derive(own, *parts),
        facts=facts,
        is_urgent=result.facts.is_urgent,
        created_at=now,
    )
    return 1


def _fits(rule: Rule, facts: ResultFacts) -> bool:
    match rule:
        case Rule.ALL:
            return True
        case Rule.POSITIVES:
            return facts.is_positive
        case Rule.URGENT:
            return facts.is_urgent
        case Rule.AFTER_READING:
            return facts.word is not None


def _events(settings: EventDestination, result: _Result) -> list[Event]:
    facts = result.facts
    happened = []
    if facts.is_urgent:
        happened.append(Event.URGENT_POSITIVE)
    if facts.disagrees:
        happened.append(Event.DISAGREEMENT)
    return [event for event in happened if event in settings.events]


def _add_event(session: Session, own: bytes, wanted: Wanted, event: Event, result: _Result, now: datetime) -> int:
    word = f":{result.facts.word}" if event is Event.DISAGREEMENT else ""
    return add_event(
        session,
        own,
        wanted.name,
        event,
        f"{result.subject}{word}",
        result.facts.dump(),
        now,
        source=result.facts.source,
        sighting_id=result.sighting,
        sha256=result.sha256,
        is_urgent=event is Event.URGENT_POSITIVE,
    )


def subject_of_event(event: Event, about: str) -> str:
    return f"{event}:{about}"


def add_event(
    session: Session, own: bytes, destination: str, event: Event, about: str, facts: str, now: datetime, **of: Any
) -> int:
    """A message of an event, once: `about` tells it from others of its kind. Returns how many were added."""
    subject = subject_of_event(event, about)
    return _insert(
        session,
        destination=destination,
        kind=OutboxKind.EVENT,
        event=event,
        subject=subject,
        edition=1,
        uid=derive(own, destination, subject),
        facts=facts,
        created_at=now,
        **of,
    )


def _insert(session: Session, **values: Any) -> int:
    row = insert_new(session, OutboxRow).values(state=OutboxState.WAITING, **values).returning(OutboxRow.id)
    return len(session.execute(row).all())


def _supersede(session: Session, rows: Sequence[int], now: datetime) -> None:
    session.execute(
        update(OutboxRow)
        .where(OutboxRow.id.in_(rows), OutboxRow.state == OutboxState.WAITING)
        .values(state=OutboxState.SUPERSEDED, settled_at=now)
    )


def _mark(session: Session, result: _Result) -> None:
    values = {"prediction_id": result.prediction, "fingerprint": result.facts.fingerprint}
    new = insert_new(session, OutboxMark).values(sighting_id=result.sighting, **values)
    if not session.execute(new.returning(OutboxMark.sighting_id)).all():
        session.execute(update(OutboxMark).where(OutboxMark.sighting_id == result.sighting).values(**values))
