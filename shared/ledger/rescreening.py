"""Results of another version or an older decoder become jobs; the old results stay until the new ones are there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Select, bindparam, func, select, update
from sqlalchemy.orm import Session

from shared.base.decoder import DECODER_REVISION
from shared.base.lanes import Lane
from shared.database import Job, JobState, Prediction, Sighting, SightingState
from shared.ledger import operating_points, screenings
from shared.ledger.latest import is_newest
from shared.ledger.register import MAX_ROWS, SIGHTINGS, add_jobs


@dataclass(frozen=True)
class Selection:
    """The paths whose result is another version's, or of a decoder before a revision; narrowed down by the others.

    Without `version`, each result's own version is to screen again, but for those in `without`; `if_differs` has it
    keep what is the same. `sightings` are at most MAX_ROWS.
    """

    version: str | None = None
    source: str | None = None
    since: datetime | None = None
    sightings: Sequence[int] | None = None
    decoded_before: int | None = None
    if_differs: bool = False
    without: Sequence[str] = ()
    overrides: Mapping[str, str] = field(default_factory=dict)
    """By version that is not in service: by whom and why its answers become results all the same."""

    def query(self) -> Select[int, str]:
        """The newest sightings of those paths, and the versions of their results."""
        query = (
            select(Sighting.id, Prediction.model_version)
            .join(Prediction, Prediction.id == Sighting.prediction_id)
            .where(Sighting.state == SightingState.DONE, is_newest())
        )
        if self.decoded_before is not None:
            query = query.where(Prediction.decoder_revision < self.decoded_before)
        else:
            query = query.where(Prediction.model_version != self.version)
        if self.without:
            query = query.where(Prediction.model_version.not_in(self.without))
        if self.source is not None:
            query = query.where(Sighting.source == self.source)
        if self.since is not None:
            query = query.where(Sighting.seen_at >= self.since)
        if self.sightings is not None:
            query = query.where(Sighting.id.in_(self.sightings))
        return query


@dataclass(frozen=True)
class Part:
    """What became of the next MAX_ROWS sightings of a selection."""

    seen_before: int
    """The version had screened their content already, and its prediction is their result now."""
    kept: int
    """As before, but by another operating point than their source has today: they keep the reading of their day."""
    added: int
    waiting: int
    """They had been asked for already, and wait."""
    last: int | None
    """The sighting to go on after; None at the end."""


def counts(session: Session, selection: Selection) -> dict[str, int]:
    """How many images there are, by the version that is to screen them again."""
    found = selection.query().with_only_columns(Prediction.model_version, func.count())
    by_version = {str(version): number for version, number in session.execute(found.group_by(Prediction.model_version))}
    return by_version if selection.version is None else {selection.version: sum(by_version.values())}


def rescreen_part(session: Session, selection: Selection, now: datetime, after: int) -> Part:
    """Have the next MAX_ROWS sightings above `after` screened again, in the background lane."""
    query = selection.query().add_columns(Sighting.sha256, Sighting.source).where(Sighting.id > after)
    rows = session.execute(query.order_by(Sighting.id).limit(MAX_ROWS)).all()
    ids = [row.id for row in rows]
    wanted = {row.id: (row.sha256, selection.version or row.model_version) for row in rows}
    seen: dict[int, screenings.Known] = {}
    kept = 0
    if not selection.if_differs:
        seen, kept = _seen_before(session, wanted, {row.id: row.source for row in rows})
    _make_results(session, seen, now, {sighting: selection.overrides.get(wanted[sighting][1]) for sighting in seen})
    _override_waiting(session, ids, selection.overrides)
    waiting = _waiting(session, ids, is_always=not selection.if_differs)
    new: dict[str, list[int]] = {}
    for sighting, (_, version) in wanted.items():
        if sighting not in seen and (sighting, version) not in waiting:
            new.setdefault(version, []).append(sighting)
    for version, images in new.items():
        override = selection.overrides.get(version)
        differs = selection.if_differs
        add_jobs(session, images, Lane.BACKGROUND, now, model_version=version, if_differs=differs, override=override)
    added = sum(len(images) for images in new.values())
    waits = len(rows) - added - len(seen)
    return Part(len(seen) - kept, kept, added, waits, ids[-1] if len(ids) == MAX_ROWS else None)


def _override_waiting(session: Session, ids: Sequence[int], overrides: Mapping[str, str]) -> None:
    """What was asked for while a version was in service is asked for by whoever overrides that it is not any more."""
    for version, override in overrides.items():
        mine = (Job.sighting_id.in_(ids), Job.state != JobState.FINISHED, Job.model_version == version)
        statement = update(Job).where(*mine, Job.override.is_(None)).values(override=override)
        session.execute(statement, execution_options=screenings.UNSYNCHRONIZED)


def _waiting(session: Session, ids: Sequence[int], *, is_always: bool) -> set[tuple[int, str | None]]:
    """Which sightings wait for which versions; with `is_always` also where the answer is the same."""
    is_open = (Job.sighting_id.in_(ids), Job.state != JobState.FINISHED)
    if is_always:
        unconditional = update(Job).where(*is_open, Job.if_differs).values(if_differs=False)
        session.execute(unconditional, execution_options=screenings.UNSYNCHRONIZED)
    return {(row[0], row[1]) for row in session.execute(select(Job.sighting_id, Job.model_version).where(*is_open))}


def _seen_before(
    session: Session, wanted: dict[int, tuple[str, str]], sources: dict[int, str]
) -> tuple[dict[int, screenings.Known], int]:
    """By sighting: its version's prediction on its content, if it is of this program's decoder.

    And if it was read before by the operating point that the sighting's source has today: else a worker does that. But
    a sighting that the version has screened itself keeps the reading of that day; also returns how many of these were
    read by another point than today's.
    """
    columns = (Prediction.sha256, Prediction.model_version, Prediction.id)
    found = session.execute(
        select(*columns).where(
            Prediction.sha256.in_({content for content, _ in wanted.values()}),
            Prediction.decoder_revision == DECODER_REVISION,
        )
    )
    asked = set(wanted.values())
    numbers = {(row[0], row[1]): row[2] for row in found if (row[0], row[1]) in asked}
    points = operating_points.applied(session)
    meanings: dict[int, screenings.Meaning] = {}
    for sighting, key in wanted.items():
        if key in numbers:
            point = points.get((sources[sighting], key[1]))
            meanings[sighting] = numbers[key], point.number if point else None
    known = screenings.first_figures(session, set(meanings.values()))
    own = screenings.standing(session, {sighting: number for sighting, (number, _) in meanings.items()})
    kept = sum(read.figures.operating_point_id != meanings[sighting][1] for sighting, read in own.items())
    return {sighting: known[meaning] for sighting, meaning in meanings.items() if meaning in known} | own, kept


def _make_results(
    session: Session, seen: dict[int, screenings.Known], now: datetime, overrides: Mapping[int, str | None]
) -> None:
    """Make predictions that are there already the results of sightings."""
    if not seen:
        return
    screenings.add(session, seen, now, overrides)
    session.connection().execute(
        update(SIGHTINGS)
        .where(SIGHTINGS.c.id == bindparam("sighting"), SIGHTINGS.c.state == SightingState.DONE)
        .values(
            prediction_id=bindparam("prediction"),
            override=bindparam("why", type_=SIGHTINGS.c.override.type),
            finished_at=now,
        ),
        [{"sighting": number, "prediction": known.number, "why": overrides[number]} for number, known in seen.items()],
    )
