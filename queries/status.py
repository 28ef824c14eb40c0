"""The state of the whole system at one moment: what waits, what was done, who works, and what needs a person."""

import shutil
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from redis.exceptions import RedisError
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from queries import backups, needs, nodes, operating_points, outbox, producers, shadow, sources, trainings
from queries.backups import Backup
from queries.candidates import bundled_candidate
from queries.counts import Counts, count
from queries.needs import duration
from queries.outbox import DestinationOverview
from queries.shadow import ShadowOverview
from queries.starting import age_of_up
from queries.trainings import Training
from queries.workers import WorkerProcess, live_workers
from shared.base.errors import DiskLow, ServiceUnavailable
from shared.base.filesystem import check_room
from shared.base.lanes import LANES, Lane
from shared.base.settings import Settings
from shared.database import (
    OPEN_JOB,
    AuditSample,
    DriftCheck,
    Job,
    ModelVersion,
    Promotion,
    Screening,
    Sighting,
    SightingState,
)
from shared.ledger.latest import IS_RESULT
from shared.models import published
from shared.queue import broker

SPANS = {"last minute": timedelta(minutes=1), "last hour": timedelta(hours=1), "last day": timedelta(days=1)}


@dataclass(frozen=True)
class Disk:
    folder: Path
    free: int
    total: int
    problem: str | None  # too little is free


@dataclass(frozen=True)
class Broker:
    lengths: dict[Lane, int] | None  # None while it is out of reach
    problem: str | None = None  # it is out of reach, or refuses to store anything


@dataclass(frozen=True)
class Model:
    version: str
    promoted_at: datetime
    promoted_by: str
    last_training: datetime
    is_in_reach: bool
    candidate: str | None = None  # a version that came with the program, and that nobody has taken or rejected


@dataclass(frozen=True)
class Throughput:
    """What was finished in a span of time; `done` includes the positives."""

    name: str
    span: timedelta
    done: int
    positive: int
    quarantined: int


@dataclass(frozen=True)
class Backlog:
    lane: Lane
    state: str
    images: int
    waits: timedelta  # for how long the oldest has waited


@dataclass(frozen=True)
class Reason:
    text: str
    images: int


@dataclass(frozen=True)
class Status:
    now: datetime
    disk: Disk
    broker: Broker
    model: Model | None
    training: Training | None
    last_training: Training | None
    counts: Counts
    throughput: tuple[Throughput, ...]
    backlog: tuple[Backlog, ...]
    workers: tuple[WorkerProcess, ...]
    starting_for: timedelta | None  # no worker is alive yet, but `up` has only just begun
    quarantined: tuple[Reason, ...]  # what nobody has resolved, by reason
    backup: Backup | None  # the last one that was made
    needs: tuple[str, ...] = ()
    retried: tuple[str, ...] = ()  # what is tried again without anybody
    hints: tuple[str, ...] = ()  # what somebody may do at leisure
    shadows: tuple[ShadowOverview, ...] = ()  # versions that score beside the live one
    web: str | None = None  # where people find the pages, as it is set or as a running `up` says
    destinations: tuple[DestinationOverview, ...] = ()  # of what leaves the house


def status(session: Session, settings: Settings, now: datetime) -> Status:
    training, last_training = trainings.newest(session, settings.home, now)
    workers = tuple(live_workers(session, now))
    state = Status(
        now=now,
        disk=_disk(settings),
        broker=_broker(settings),
        model=_model(settings, session),
        training=training,
        last_training=last_training,
        counts=count(session),
        throughput=tuple(_throughput(session, name, span, now) for name, span in SPANS.items()),
        backlog=_backlog(session, now),
        workers=workers,
        starting_for=None if workers else age_of_up(settings, now),
        quarantined=_quarantined(session),
        backup=backups.newest(session, backups.MADE),
        shadows=tuple(shadow.overviews(session, open_only=True, newest=shadow.NEWEST)),
        web=settings.web_url,
        destinations=tuple(outbox.overview(session, settings, now)),
    )
    put_off_needs, retried = needs.put_off(session, now)
    overviews = sources.overview(session, settings, now)
    live = state.model.version if state.model else None
    source_needs, source_hints = needs.of_sources(overviews, now)
    audit_needs, audit_hints = _of_audit(session, settings, now)
    drift_needs, drift_hints = _of_drift(session, state.model, now)
    return replace(
        state,
        needs=(
            *_needs_of(settings, state),
            *needs.rights(session),
            *needs.sources_out_of_reach(settings, sources.with_problems(overviews, now)),
            *producers.needs(settings, overviews, now),
            *nodes.needs(settings, overviews, now),
            *source_needs,
            *audit_needs,
            *needs.quarantined(session, now),
            *put_off_needs,
            *operating_points.needs(session, live),
            *needs.dead_letters(session, now),
            *drift_needs,
            *backups.needs(session, settings, now),
            *outbox.needs(state.destinations, now),
        ),
        retried=(*retried, *outbox.retried(state.destinations, now)),
        hints=(
            *producers.hints(overviews, now),
            *source_hints,
            *audit_hints,
            *operating_points.hints(session, live, [source.name for source in overviews if source.last_image]),
            *drift_hints,
            *needs.older_decoder(session),
            *backups.hints(session, settings),
        ),
    )


def _of_audit(session: Session, settings: Settings, now: datetime) -> tuple[list[str], list[str]]:
    """Needs and hints. NumPy is imported only where there is something to compute: that takes a while."""
    if session.scalar(select(AuditSample.sighting_id).limit(1)) is None:
        return [], []
    from queries import accuracy, accuracy_needs

    return accuracy_needs.of_accuracy(accuracy.in_service(session, settings, now))


def _of_drift(session: Session, model: Model | None, now: datetime) -> tuple[list[str], list[str]]:
    """Needs and hints; while a version is new, nobody need have looked yet."""
    is_new = model is None or now - model.promoted_at < timedelta(days=7)
    if is_new and session.scalar(select(DriftCheck.id).limit(1)) is None:
        return [], []
    from queries import drift

    return list(drift.needs(session)), [*drift.hints(session), *drift.overdue(session, now)]


def _disk(settings: Settings) -> Disk:
    usage = shutil.disk_usage(settings.home)
    problem = None
    try:
        check_room(settings.home, settings.min_free_disk)
    except DiskLow as error:
        problem = str(error)
    return Disk(settings.home, usage.free, usage.total, problem)


def _broker(settings: Settings) -> Broker:
    lengths = None
    try:
        with broker.client(settings) as client:
            lengths = broker.lengths(client)
            broker.check_writes(client)
    except RedisError as error:
        return Broker(lengths, broker.describe(error))
    except ServiceUnavailable as error:
        return Broker(None, f"the broker is out of reach: {error}")
    return Broker(lengths)


def _model(settings: Settings, session: Session) -> Model | None:
    live = published.live(session)
    promotion = session.scalars(select(Promotion).order_by(Promotion.id.desc()).limit(1)).first()
    last_training = session.scalar(select(func.max(ModelVersion.created_at)))
    if not live or promotion is None or last_training is None:
        return None
    version = live[0].version
    is_in_reach = (settings.models / version).is_dir()
    candidate = bundled_candidate(session)
    return Model(version, promotion.promoted_at, promotion.promoted_by, last_training, is_in_reach, candidate)


def _throughput(session: Session, name: str, span: timedelta, now: datetime) -> Throughput:
    states = (
        select(Sighting.state, Screening.label, func.count())
        .outerjoin(Screening, IS_RESULT)
        .where(Sighting.finished_at > now - span, Sighting.state != SightingState.SUPERSEDED)
        .group_by(Sighting.state, Screening.label)
    )
    numbers = {(str(state), label): number for state, label, number in session.execute(states)}
    quarantined = sum(number for (state, _), number in numbers.items() if state == SightingState.QUARANTINED)
    positive = numbers.get((str(SightingState.DONE), "PNEUMONIA"), 0)
    return Throughput(name, span, sum(numbers.values()) - quarantined, positive, quarantined)


def _backlog(session: Session, now: datetime) -> tuple[Backlog, ...]:
    rows = session.execute(
        select(Job.lane, Job.state, func.count(), func.min(Job.created_at))
        .where(OPEN_JOB)
        .group_by(Job.lane, Job.state)
        .order_by(Job.lane, Job.state)
    )
    return tuple(Backlog(Lane(lane), str(state), number, now - oldest) for lane, state, number, oldest in rows)


def _quarantined(session: Session) -> tuple[Reason, ...]:
    rows = session.execute(
        select(Sighting.reason, func.count())
        .where(Sighting.state == SightingState.QUARANTINED, Sighting.resolution.is_(None))
        .group_by(Sighting.reason)
        .order_by(func.count().desc())
        .limit(10)
    )
    return tuple(Reason(str(text), number) for text, number in rows)


def _needs_of(settings: Settings, state: Status) -> list[str]:
    """What needs a person of that which the status shows anyway."""
    sentences = [state.disk.problem] if state.disk.problem else []
    if state.broker.problem:
        sentences.append(state.broker.problem)
    if state.model is None:
        sentences.append("no model version is live: `pneumoscreen db upgrade` installs the bundled one")
    elif not state.model.is_in_reach:
        sentences.append(
            f"the folder of {state.model.version} is out of reach in {settings.models}: workers that hold it go on, "
            "but none can start"
        )
    sentences += needs.trainings(state.training, state.last_training)
    for lane in sorted({backlog.lane for backlog in state.backlog}):
        waits = max(backlog.waits for backlog in state.backlog if backlog.lane == lane)
        if waits > LANES[lane].max_wait:
            sentences.append(f"the oldest image in the {lane} lane waits for {duration(waits)}")
    if not state.workers and state.starting_for is None:
        sentences.append(
            "no worker process gives a sign of life: `pneumoscreen up` or `pneumoscreen worker` starts one"
        )
    live = state.model.version if state.model else None
    return sentences + [needs.complaint(worker, live) for worker in state.workers if worker.error]
