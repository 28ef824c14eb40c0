"""A worker claims jobs, keeps its lease, and finishes them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import cast

from sqlalchemy import Table, bindparam, select, update
from sqlalchemy.orm import Session

from shared.base.lanes import Lane
from shared.database import DicomHeader, Job, JobState, Prediction, Resolution, Sighting, SightingState
from shared.ledger.register import REMOVED, Found, as_path, insert_new, register
from shared.queue.messages import Message

ATTEMPT_EPOCH = 1_000_000
"""What a restored backup adds to attempt numbers, so that none is one that a worker holds; tries begin afresh."""
MAX_ATTEMPTS = 8
"""Attempts, about four minutes, after which the back-off is at its longest, and a failure counts as permanent."""


@dataclass(frozen=True)
class Claimed:
    """A job in this worker's hands, with the file it asks for."""

    job: int
    sighting: int
    attempt: int
    lane: str
    source: str
    path: str
    revision: str
    origin: str | None
    seen_at: datetime
    model_version: str | None

    @property
    def attempts(self) -> int:
        """How often the job was delivered, this time counted."""
        return self.attempt % ATTEMPT_EPOCH


@dataclass(frozen=True)
class Outcome:
    """What became of a claimed job; one of the four below."""

    claimed: Claimed


@dataclass(frozen=True)
class Identifiers:
    """What is kept of a DICOM header: enough to join a result to a PACS, nothing of the patient but a keyed hash."""

    study_uid: str | None = None
    sop_instance_uid: str | None = None
    accession_number: str | None = None
    patient_key: str | None = None


@dataclass(frozen=True)
class Screened(Outcome):
    sha256: str
    model_version: str
    probability: float
    threshold: float
    label: str
    outside_population: bool | None = None
    identifiers: Identifiers | None = None
    unfamiliar: bool | None = None
    unfamiliar_score: float | None = None


@dataclass(frozen=True)
class Quarantined(Outcome):
    reason: str
    sha256: str | None = None
    identifiers: Identifiers | None = None


@dataclass(frozen=True)
class Superseded(Outcome):
    """The image changed since it was registered; this is its new state, to be looked at when it may have settled."""

    found: Found
    not_before: datetime


@dataclass(frozen=True)
class PutOff(Outcome):
    """The world is at fault, or the file is still under way: to be tried again at `not_before`, `alone` if it must."""

    problem: str
    not_before: datetime
    alone: bool = False


def claim(session: Session, message: Message, now: datetime, lease: float) -> list[Claimed]:
    """Claim those of a message's jobs that are still under its attempt number; the others are dropped."""
    mine = session.scalars(
        update(Job)
        .where(Job.id.in_(message.jobs), Job.state == JobState.SENT, Job.attempt == message.attempt)
        .values(state=JobState.CLAIMED, lease_until=now + timedelta(seconds=lease))
        .returning(Job.id)
    ).all()
    jobs = (Job.id.label("job"), Job.sighting_id, Job.attempt, Job.lane, Job.model_version)
    files = (Sighting.source, Sighting.path, Sighting.path_bytes, Sighting.revision)
    rows = session.execute(
        select(*jobs, *files, Sighting.origin, Sighting.seen_at)
        .join(Sighting, Sighting.id == Job.sighting_id)
        .where(Job.id.in_(mine))
        .order_by(Job.id)
    )
    return [
        Claimed(
            job=row.job,
            sighting=row.sighting_id,
            attempt=row.attempt,
            lane=row.lane,
            source=row.source,
            path=as_path(row.path, row.path_bytes),
            revision=row.revision,
            origin=row.origin,
            seen_at=row.seen_at,
            model_version=row.model_version,
        )
        for row in rows
    ]


def renew(session: Session, message: Message, now: datetime, lease: float) -> None:
    session.execute(
        update(Job)
        .where(Job.id.in_(message.jobs), Job.state == JobState.CLAIMED, Job.attempt == message.attempt)
        .values(lease_until=now + timedelta(seconds=lease))
    )


def finish(session: Session, outcomes: Sequence[Outcome], now: datetime) -> list[Outcome]:
    """Write a message part's outcomes; returns those that counted: a job given to another meanwhile does not."""
    held = _release(session, outcomes)
    counted = [outcome for outcome in outcomes if outcome.claimed.job in held]
    _write_identifiers(session, [o for o in counted if isinstance(o, Screened | Quarantined)])
    _write_screened(session, [o for o in counted if isinstance(o, Screened)], now)
    done = _done(session, [o for o in counted if isinstance(o, Quarantined | Superseded)])
    for outcome in (o for o in counted if not isinstance(o, Screened)):
        sighting = update(Sighting).where(Sighting.id == outcome.claimed.sighting)
        job = update(Job).where(Job.id == outcome.claimed.job)
        is_done = outcome.claimed.sighting in done
        match outcome:
            case Quarantined(_, reason, _, _) if is_done:
                session.execute(job.values(problem=reason))
            case Quarantined(_, reason, digest, _):
                state = SightingState.QUARANTINED
                resolution = Resolution.REMOVED if reason == REMOVED else None
                values = {"state": state, "reason": reason, "resolution": resolution, "sha256": digest}
                session.execute(sighting.values(**values, finished_at=now))
            case Superseded(claimed, found, not_before):
                if is_done:
                    session.execute(job.values(problem="the file changed since it was screened"))
                else:
                    session.execute(sighting.values(state=SightingState.SUPERSEDED, finished_at=now))
                register(
                    session,
                    claimed.source,
                    claimed.lane,
                    [replace(found, path=claimed.path)],
                    now,
                    origin=claimed.origin,
                    not_before=not_before,
                    model_version=claimed.model_version,
                )
            case PutOff(_, problem, not_before, alone):
                lane = Lane.SUSPECT if alone else outcome.claimed.lane
                session.execute(job.values(state=JobState.UNSENT, lane=lane, problem=problem, not_before=not_before))
    return counted


def _done(session: Session, outcomes: Sequence[Outcome]) -> set[int]:
    """The sightings that have a result: what becomes of a rescreen never takes it from them."""
    if not outcomes:
        return set()
    sightings = Sighting.id.in_({outcome.claimed.sighting for outcome in outcomes})
    return set(session.scalars(select(Sighting.id).where(sightings, Sighting.state == SightingState.DONE)))


def _release(session: Session, outcomes: Sequence[Outcome]) -> set[int]:
    held = set()
    for attempt in {outcome.claimed.attempt for outcome in outcomes}:
        jobs = [outcome.claimed.job for outcome in outcomes if outcome.claimed.attempt == attempt]
        held |= set(
            session.scalars(
                update(Job)
                .where(Job.id.in_(jobs), Job.state == JobState.CLAIMED, Job.attempt == attempt)
                .values(state=JobState.FINISHED, lease_until=None, problem=None)
                .returning(Job.id)
            )
        )
    return held


def _write_identifiers(session: Session, outcomes: Sequence[Screened | Quarantined]) -> None:
    rows = {o.sha256: {"sha256": o.sha256, **asdict(o.identifiers)} for o in outcomes if o.sha256 and o.identifiers}
    if rows:
        session.execute(insert_new(session, DicomHeader).values(list(rows.values())))


def _write_screened(session: Session, screened: Sequence[Screened], now: datetime) -> None:
    """Predictions that exist stay as they are, so that a probability once read never changes."""
    if not screened:
        return
    rows = {
        (s.sha256, s.model_version): {
            "sha256": s.sha256,
            "model_version": s.model_version,
            "probability": s.probability,
            "threshold": s.threshold,
            "label": s.label,
            "outside_population": s.outside_population,
            "unfamiliar": s.unfamiliar,
            "unfamiliar_score": s.unfamiliar_score,
            "created_at": now,
        }
        for s in screened
    }
    # Row by row in the driver: of many rows in one statement, SQLAlchemy would compile each anew.
    session.connection().execute(insert_new(session, Prediction.__table__), list(rows.values()))
    stored = {
        (sha256, version): prediction
        for prediction, sha256, version in session.execute(
            select(Prediction.id, Prediction.sha256, Prediction.model_version).where(
                Prediction.sha256.in_({s.sha256 for s in screened})
            )
        )
    }
    table = cast(Table, Sighting.__table__)
    session.connection().execute(
        update(table)
        .where(table.c.id == bindparam("sighting"))
        .values(
            state=SightingState.DONE,
            sha256=bindparam("digest"),
            prediction_id=bindparam("prediction"),
            reason=None,
            finished_at=now,
        ),
        [
            {"sighting": s.claimed.sighting, "digest": s.sha256, "prediction": stored[s.sha256, s.model_version]}
            for s in screened
        ],
    )
