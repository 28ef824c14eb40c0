"""Results of another version or an older decoder become jobs; the old results stay until the new ones are there."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, func, select, update
from sqlalchemy.orm import Session

from shared.base.lanes import Lane
from shared.database import Job, JobState, Prediction, Screening, Sighting, SightingState
from shared.ledger import screenings
from shared.ledger.latest import is_newest
from shared.ledger.register import MAX_ROWS, add_jobs


@dataclass(frozen=True)
class Selection:
    """The paths whose result is another version's, or of a decoder before a revision; narrowed down by the others.

    Without `version`, each result's own version is to screen again; `if_differs` has it keep what is the same.
    `sightings` are at most MAX_ROWS.
    """

    version: str | None = None
    source: str | None = None
    since: datetime | None = None
    sightings: Sequence[int] | None = None
    decoded_before: int | None = None
    if_differs: bool = False

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
    added: int
    last: int | None
    """The sighting to go on after; None at the end."""


def count(session: Session, selection: Selection) -> int:
    return session.scalar(select(func.count()).select_from(selection.query().subquery())) or 0


def versions(session: Session, selection: Selection) -> list[str]:
    """Those that are to screen again."""
    if selection.version is not None:
        return [selection.version]
    found = selection.query().with_only_columns(Prediction.model_version).distinct()
    return sorted(session.scalars(found))


def rescreen_part(session: Session, selection: Selection, now: datetime, after: int) -> Part:
    """Have the next MAX_ROWS sightings above `after` screened again, in the background lane."""
    query = selection.query().add_columns(Sighting.sha256).where(Sighting.id > after)
    rows = session.execute(query.order_by(Sighting.id).limit(MAX_ROWS)).all()
    ids = [sighting for sighting, _, _ in rows]
    wanted = {sighting: (content, selection.version or version) for sighting, version, content in rows}
    seen = {} if selection.if_differs else _seen_before(session, wanted, selection.decoded_before or 0)
    _make_results(session, seen, now)
    open_jobs = select(Job.sighting_id, Job.model_version).where(
        Job.sighting_id.in_(ids), Job.state != JobState.FINISHED
    )
    waiting = {(sighting, version) for sighting, version in session.execute(open_jobs)}
    new: dict[str, list[int]] = {}
    for sighting, (_, version) in wanted.items():
        if sighting not in seen and (sighting, version) not in waiting:
            new.setdefault(version, []).append(sighting)
    for version, images in new.items():
        add_jobs(session, images, Lane.BACKGROUND, now, model_version=version, if_differs=selection.if_differs)
    added = sum(len(images) for images in new.values())
    return Part(len(seen), added, ids[-1] if len(ids) == MAX_ROWS else None)


def _seen_before(
    session: Session, wanted: dict[int, tuple[str, str]], revision: int
) -> dict[int, tuple[int, screenings.Said]]:
    """By sighting: the newest prediction on its content, of its version, by a decoder of at least a revision."""
    rows = session.execute(
        select(Prediction.sha256, Prediction.model_version, Prediction.id, *screenings.FIGURES)
        .join(Screening, Screening.prediction_id == Prediction.id)
        .join(Sighting, Sighting.id == Screening.sighting_id)
        .where(Sighting.sha256.in_({content for content, _ in wanted.values()}))
        .where(Prediction.decoder_revision >= revision)
        .order_by(Prediction.decoder_revision)
    )
    newest = {(row[0], row[1]): (row[2], screenings.Said(*row[3:])) for row in rows}
    return {sighting: newest[key] for sighting, key in wanted.items() if key in newest}


def _make_results(session: Session, seen: dict[int, tuple[int, screenings.Said]], now: datetime) -> None:
    """Make predictions that are there already the results of sightings."""
    if not seen:
        return
    screenings.add(session, seen, now)
    for sighting, (prediction, _) in seen.items():
        result = update(Sighting).where(Sighting.id == sighting, Sighting.state == SightingState.DONE)
        session.execute(
            result.values(prediction_id=prediction, finished_at=now), execution_options=screenings.UNSYNCHRONIZED
        )
