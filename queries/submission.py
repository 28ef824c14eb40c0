"""What became of images that somebody submitted."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import case, exists, func, select
from sqlalchemy.orm import Session, aliased

from shared.base.found import Found
from shared.database import OPEN_JOB, Job, Screening, Sighting, SightingState
from shared.ledger.latest import IS_RESULT
from shared.ledger.register import as_text, parts
from shared.ledger.work import ATTEMPT_EPOCH, MAX_ATTEMPTS


@dataclass(frozen=True)
class Outcome:
    """One submitted image; without a label unless it is done. `reason` says why it is quarantined, or still waits."""

    path: str
    state: str
    label: str | None
    probability: float | None
    threshold: float | None
    unfamiliar: bool | None
    reason: str | None


def sighting_of(session: Session, source: str, found: Found) -> int:
    """The sighting that tells of an image which is known: it waits at this revision, or else is its path's newest.

    The newest may have another revision, where two hosts see the image's time differently.
    """
    same = (Sighting.source == source) & (Sighting.path == as_text(found.path)[0])
    is_waiting = (Sighting.state == SightingState.WAITING) & (Sighting.revision == found.revision)
    order = (case((is_waiting, 0), else_=1), case((Sighting.state == SightingState.SUPERSEDED, 1), else_=0))
    return session.scalars(select(Sighting.id).where(same).order_by(*order, Sighting.id.desc()).limit(1)).one()


def waiting(session: Session, sightings: Sequence[int]) -> set[int]:
    """Those that are not final yet, nor is what took their place, and that may become so while somebody waits.

    What was put off for minutes needs a person first.
    """
    still: set[int] = set()
    for part in parts(sightings):
        replaced = _replaced(session, part)
        current = [replaced.get(sighting, sighting) for sighting in part]
        is_put_off = Job.problem.is_not(None) & (Job.attempt % ATTEMPT_EPOCH >= MAX_ATTEMPTS)
        is_stuck = exists().where(Job.sighting_id == Sighting.id, OPEN_JOB, is_put_off)
        is_waiting = Sighting.state == SightingState.WAITING
        found = select(Sighting.id).where(Sighting.id.in_(current), is_waiting, ~is_stuck)
        waits = set(session.scalars(found))
        still.update(sighting for sighting, now in zip(part, current, strict=True) if now in waits)
    return still


def _replaced(session: Session, sightings: Sequence[int]) -> dict[int, int]:
    """What took the place of those whose image changed before it was read."""
    newer = aliased(Sighting)
    is_newer = (newer.source == Sighting.source) & (newer.path == Sighting.path) & (newer.id > Sighting.id)
    rows = session.execute(
        select(Sighting.id, func.max(newer.id))
        .join(newer, is_newer & (newer.state != SightingState.SUPERSEDED))
        .where(Sighting.id.in_(sightings), Sighting.state == SightingState.SUPERSEDED)
        .group_by(Sighting.id)
    )
    return {row[0]: row[1] for row in rows}


def outcomes(session: Session, sightings: Sequence[int]) -> list[Outcome]:
    """Those that look most like pneumonia first, as they are now; named by where they were submitted from."""
    of_this = (Job.sighting_id == Sighting.id, OPEN_JOB, Sighting.state == SightingState.WAITING)
    problem = select(Job.problem).where(*of_this).order_by(Job.id.desc()).limit(1).scalar_subquery()
    figures = (Screening.label, Screening.probability, Screening.threshold, Screening.unfamiliar)
    of_image = (Sighting.origin, Sighting.path, Sighting.state)
    query = select(*of_image, *figures).add_columns(func.coalesce(Sighting.reason, problem))
    query = query.outerjoin(Screening, IS_RESULT)
    rows: list[Outcome] = []
    for part in parts(sightings):
        replaced = _replaced(session, part)
        current = {replaced.get(sighting, sighting) for sighting in part}
        found = session.execute(query.where(Sighting.id.in_(current)))
        for origin, path, state, label, probability, threshold, unfamiliar, reason in found:
            rows.append(Outcome(origin or path, state, label, probability, threshold, unfamiliar, reason))
    return sorted(rows, key=lambda row: -1.0 if row.probability is None else row.probability, reverse=True)
