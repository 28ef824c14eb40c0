"""A worker claims jobs, keeps its lease, and finishes them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import bindparam, case, select, update
from sqlalchemy.orm import Session, aliased

from shared.base.decoder import DECODER_REVISION
from shared.base.errors import Removed
from shared.base.found import Found
from shared.base.lanes import Lane
from shared.base.source_settings import ReadingRule
from shared.database import DicomHeader, Job, JobState, Prediction, Resolution, Sighting, SightingState
from shared.database.among import among
from shared.ledger import audit_samples, checks, latest, reading_list, screenings
from shared.ledger.audit_samples import ShareOf
from shared.ledger.reading_list import RuleOf
from shared.ledger.register import JOBS, SIGHTINGS, add, as_path, as_text, insert_new
from shared.ledger.screenings import Known
from shared.queue.messages import Message

ATTEMPT_EPOCH = 1_000_000
"""A restore adds this to attempt numbers, so that no worker holds one of them."""
MAX_ATTEMPTS = 8
"""Attempts, about four minutes, after which the back-off is at its longest, and a failure counts as permanent."""
CHANGED = "the file changed since it was screened"


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
    if_differs: bool = False
    is_check: bool = False
    sha256: str | None = None
    """The content that the sighting tells of; None while it waits, or if nobody could read it."""
    tries: int = 1
    """How often a worker took the job, this time included; a message that was not sent or was lost does not count."""
    strikes: int = 0
    """How many of the earlier tries spoke against the image itself."""
    override: str | None = None
    """By whom and why a version that is not in service screens it."""


@dataclass(frozen=True)
class Outcome:
    """What became of a claimed job; one of the six below."""

    claimed: Claimed


@dataclass(frozen=True)
class Identifiers:
    """The part of a DICOM header that is stored: enough to join a result to a PACS, and a keyed hash of the patient."""

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
    logit: float | None = None
    evidence: bytes | None = None
    decoded_with: str | None = None
    decoder_revision: int = DECODER_REVISION
    operating_point_id: int | None = None
    """What gave probability, threshold and label; None: the version's own."""
    read: Callable[[float], tuple[float, str]] | None = None
    """Probability and label of a logit, by the same: for content of which there is a prediction already."""
    is_kept: bool = False
    """Another point reads the source by now, but the image keeps the reading of its day; `finish` sets it."""


@dataclass(frozen=True)
class Quarantined(Outcome):
    reason: str
    sha256: str | None = None
    identifiers: Identifiers | None = None
    is_refused: bool = False
    """The decoder read the content, and says that it is no picture to be screened."""

    @property
    def is_removed(self) -> bool:
        return self.reason == Removed.REASON


@dataclass(frozen=True)
class Superseded(Outcome):
    """The image changed since it was registered; `found` is its new state, to be read from `not_before` on."""

    found: Found
    not_before: datetime


@dataclass(frozen=True)
class PutOff(Outcome):
    """A transient failure, or a file that is still being written: retried at `not_before`, `alone` if it may kill."""

    problem: str
    not_before: datetime
    alone: bool = False
    is_strike: bool = False
    """It spoke against the image itself: after MAX_ATTEMPTS of these its failure is a permanent one."""


@dataclass(frozen=True)
class Checked(Outcome):
    """The content that was found where the file may be another one; None if there was none to be compared."""

    sha256: str | None


@dataclass(frozen=True)
class Refused(Outcome):
    """It asks for a version that may write no results any more: the sighting stays as it is, and the job tells why."""

    problem: str


HELD = among(JOBS.c.id, "jobs") & (JOBS.c.state == bindparam("held")) & (JOBS.c.attempt == bindparam("under"))
"""A message's jobs that are still as its holder left them."""
# Built once, since each part of a message runs some of them.
CLAIM = update(JOBS).where(HELD).values(state=JobState.CLAIMED, lease_until=bindparam("until")).returning(JOBS.c.id)
RELEASE = update(JOBS).where(HELD).values(state=JobState.FINISHED, lease_until=None, problem=None).returning(JOBS.c.id)
FILES = (
    select(JOBS.c.id.label("job"), *(JOBS.c[name] for name in ("sighting_id", "attempt", "lane")))
    .add_columns(
        *(JOBS.c[name] for name in ("model_version", "override", "if_differs", "is_check", "tries", "strikes"))
    )
    .add_columns(*(SIGHTINGS.c[name] for name in ("source", "path", "path_bytes", "revision", "origin", "seen_at")))
    .add_columns(case((SIGHTINGS.c.state != SightingState.WAITING, SIGHTINGS.c.sha256)).label("sha256"))
    .join_from(JOBS, SIGHTINGS)
    .where(among(JOBS.c.id, "jobs"))
    .order_by(JOBS.c.id)
)


def claim(session: Session, message: Message, now: datetime, lease: float) -> list[Claimed]:
    """Claim the message's jobs that are still under its attempt number, and drop the others."""
    until = now + timedelta(seconds=lease)
    sent = {"jobs": message.jobs, "held": JobState.SENT, "under": message.attempt, "until": until}
    connection = session.connection()
    mine = connection.execute(CLAIM, sent).scalars().all()
    rows = connection.execute(FILES, {"jobs": mine})
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
            if_differs=row.if_differs,
            is_check=row.is_check,
            sha256=row.sha256,
            tries=row.tries + 1,
            strikes=row.strikes,
            override=row.override,
        )
        for row in rows
    ]


def renew(session: Session, message: Message, now: datetime, lease: float) -> None:
    session.execute(
        update(Job)
        .where(Job.id.in_(message.jobs), Job.state == JobState.CLAIMED, Job.attempt == message.attempt)
        .values(lease_until=now + timedelta(seconds=lease))
    )


def finish(
    session: Session,
    outcomes: Sequence[Outcome],
    now: datetime,
    audit_share_of: ShareOf | None = None,
    reading_rule_of: RuleOf = lambda _: ReadingRule(),
) -> list[Outcome]:
    """Write outcomes of a message's jobs; returns those that count, with the figures that stand.

    Jobs that another worker got meanwhile do not count.
    `audit_share_of` says which share of a source's images is drawn to be read blind; None: none is.
    `reading_rule_of` says how the source's images are read.
    """
    held = _release(session, outcomes)
    counted = [_as_check(outcome) for outcome in outcomes if outcome.claimed.job in held]
    _write_identifiers(session, [o for o in counted if isinstance(o, Screened | Quarantined)])
    screened = [o for o in counted if isinstance(o, Screened)]
    results = screenings.write(session, screened, now)
    drawn = audit_samples.draw(session, screened, results, audit_share_of, now) if audit_share_of else set()
    reading_list.add(session, screened, results, drawn, reading_rule_of)
    screened_before = _screened_before(session, [o for o in counted if isinstance(o, Quarantined | Superseded)])
    for outcome in counted:
        match outcome:
            case Quarantined(claimed) | Superseded(claimed) if claimed.sighting in screened_before:
                _keep_result(session, outcome, now)
            case Quarantined():
                _quarantine(session, outcome, now)
            case Superseded():
                _supersede(session, outcome, now)
            case PutOff():
                _put_off(session, outcome)
            case Checked():
                _finish_check(session, outcome, now)
            case Refused():
                _note(session, outcome.claimed, outcome.problem)
    return [_as_it_stands(outcome, results) for outcome in counted]


def _as_it_stands(outcome: Outcome, results: Mapping[int, Known]) -> Outcome:
    known = results.get(outcome.claimed.sighting)
    if known is None or not isinstance(outcome, Screened):
        return outcome
    is_kept = known.figures.operating_point_id != outcome.operating_point_id
    return replace(outcome, **known.figures._asdict(), is_kept=is_kept)


def _as_check(outcome: Outcome) -> Outcome:
    """A check changes no result, whatever came of it. Nor does a rescreen that met another content: it is a check then.

    Else another image's result would stand under this sighting.
    """
    claimed = outcome.claimed
    if isinstance(outcome, Checked | PutOff):
        return outcome
    if claimed.is_check:
        return Checked(claimed, None)
    if isinstance(outcome, Screened) and claimed.sha256 not in (None, outcome.sha256):
        return Checked(claimed, outcome.sha256)
    return outcome


def _finish_check(session: Session, outcome: Checked, now: datetime) -> None:
    is_other = checks.finish(session, outcome.claimed, outcome.sha256, now)
    if is_other and not outcome.claimed.is_check:
        _note(session, outcome.claimed, CHANGED)


def _note(session: Session, claimed: Claimed, problem: str) -> None:
    session.execute(update(Job).where(Job.id == claimed.job).values(problem=problem))


def _keep_result(session: Session, outcome: Quarantined | Superseded, now: datetime) -> None:
    """A rescreen failed: the sighting keeps its result, and the job tells why."""
    if isinstance(outcome, Quarantined):
        problem = outcome.reason
    else:
        problem = CHANGED
        _register_again(session, outcome, now)
    _note(session, outcome.claimed, problem)


def _quarantine(session: Session, outcome: Quarantined, now: datetime) -> None:
    session.execute(
        update(Sighting)
        .where(Sighting.id == outcome.claimed.sighting)
        .values(
            state=SightingState.QUARANTINED,
            reason=outcome.reason,
            resolution=Resolution.REMOVED if outcome.is_removed else None,
            sha256=outcome.sha256,
            prediction_id=None,
            override=None,
            finished_at=now,
        )
    )


def _supersede(session: Session, outcome: Superseded, now: datetime) -> None:
    sighting = update(Sighting).where(Sighting.id == outcome.claimed.sighting)
    session.execute(sighting.values(state=SightingState.SUPERSEDED, finished_at=now))
    _register_again(session, outcome, now)


def _register_again(session: Session, outcome: Superseded, now: datetime) -> None:
    """As it is now, unless somebody else did so. Also a revision that comes back and back: this host can read it."""
    claimed = outcome.claimed
    newest = latest.newest(session, claimed.source, as_text(claimed.path)[0])
    is_there = newest is not None and newest.resolution != Resolution.REMOVED
    if newest is not None and is_there and newest.revision == outcome.found.revision:
        return
    new = add(
        session,
        claimed.source,
        claimed.lane,
        {replace(outcome.found, path=claimed.path): 0},
        now,
        origin=claimed.origin,
        not_before=outcome.not_before,
        model_version=None if claimed.if_differs or claimed.override else claimed.model_version,
    )
    # A job may have changed its lane since: a suspect, or a rescreen in the background. The arrival's lane stays.
    before = aliased(Sighting)
    lane = select(before.lane).where(before.id == claimed.sighting).scalar_subquery()
    session.execute(update(Sighting).where(Sighting.id.in_(new)).values(lane=lane))


def _put_off(session: Session, outcome: PutOff) -> None:
    lane = Lane.SUSPECT if outcome.alone else outcome.claimed.lane
    claimed = outcome.claimed
    values = {"state": JobState.UNSENT, "lane": lane, "problem": outcome.problem, "not_before": outcome.not_before}
    counts = {"tries": claimed.tries, "strikes": claimed.strikes + outcome.is_strike}
    session.execute(update(Job).where(Job.id == claimed.job).values(**values, **counts))


def _screened_before(session: Session, outcomes: Sequence[Quarantined | Superseded]) -> set[int]:
    """The sightings whose result stays, since a failed rescreen never takes it away.

    But for content that an older decoder read, and that this one refuses: what was read was no radiograph, or garbled.
    """
    if not outcomes:
        return set()
    sightings = Sighting.id.in_({outcome.claimed.sighting for outcome in outcomes})
    rows = session.execute(
        select(Sighting.id, Sighting.sha256, Prediction.decoder_revision)
        .join(Prediction, Prediction.id == Sighting.prediction_id)
        .where(sightings, Sighting.state == SightingState.DONE)
    )
    refused = {o.claimed.sighting: o.sha256 for o in outcomes if isinstance(o, Quarantined) and o.is_refused}
    return {
        sighting
        for sighting, content, revision in rows
        if revision >= DECODER_REVISION or content != refused.get(sighting)
    }


def _release(session: Session, outcomes: Sequence[Outcome]) -> set[int]:
    held = set()
    for attempt in {outcome.claimed.attempt for outcome in outcomes}:
        jobs = [outcome.claimed.job for outcome in outcomes if outcome.claimed.attempt == attempt]
        claimed = {"jobs": jobs, "held": JobState.CLAIMED, "under": attempt}
        held |= set(session.connection().execute(RELEASE, claimed).scalars())
    return held


def _write_identifiers(session: Session, outcomes: Sequence[Screened | Quarantined]) -> None:
    rows = {o.sha256: {"sha256": o.sha256, **asdict(o.identifiers)} for o in outcomes if o.sha256 and o.identifiers}
    if rows:
        session.execute(insert_new(session, DicomHeader).values(list(rows.values())))
