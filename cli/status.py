"""`status`: one screen for the person who watches the system."""

import json
import shutil
from datetime import UTC, datetime, timedelta

import typer
from redis.exceptions import RedisError
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from cli.console import out, table
from cli.needs import Report, complaint, dead_letters, duration, put_off, quarantined, unseen_folders
from queries.candidates import bundled_candidate
from queries.counts import count, workers
from shared.base.errors import DiskLow, ServiceUnavailable
from shared.base.filesystem import check_room
from shared.base.home import announcement
from shared.base.lanes import LANES, Lane
from shared.base.settings import Settings
from shared.database import (
    OPEN_JOB,
    Job,
    ModelVersion,
    Prediction,
    Promotion,
    RunState,
    Sighting,
    SightingState,
    TrainingRun,
    Worker,
    opened,
)
from shared.models import published
from shared.queue import broker
from trainer import leases

STARTING = timedelta(minutes=2)
"""So long after `up` began its worker may still be loading its libraries and its model."""
SILENT = timedelta(seconds=10)
SPANS = {"last minute": timedelta(minutes=1), "last hour": timedelta(hours=1), "last day": timedelta(days=1)}


def status(settings: Settings) -> None:
    """Prints what there is; ends with exit code 1 if something needs a person."""
    report = Report(datetime.now(UTC))
    with opened(settings) as with_database, with_database.read() as session:
        _home(settings, report)
        out.print(f"Database  {with_database.name}")
        out.print(f"Broker    {_broker(settings, report)}")
        live = _model(settings, session, report)
        _training(settings, session, report)
        _images(session, report)
        _backlog(session, report)
        _workers(settings, session, live, report)
        unseen_folders(settings, report)
        quarantined(session, report)
        put_off(session, report)
        dead_letters(session, report)
    for note in report.notes:
        out.print(f"Tried again by itself: {note}", markup=False)
    for need in report.needs:
        out.print(f"Needs a person: {need}", style="yellow", markup=False)
    if report.needs:
        raise typer.Exit(1)
    out.print("Nothing needs a person.")


def _home(settings: Settings, report: Report) -> None:
    usage = shutil.disk_usage(settings.home)
    out.print(f"Home      {settings.home} ({usage.free / 1e9:.1f} of {usage.total / 1e9:.1f} GB free)")
    try:
        check_room(settings.home, settings.min_free_disk)
    except DiskLow as error:
        report.needs.append(str(error))


def _broker(settings: Settings, report: Report) -> str:
    try:
        lengths = broker.lengths(broker.client(settings))
    except (RedisError, ServiceUnavailable) as error:
        report.needs.append(f"the broker is out of reach: {error}")
        return "out of reach"
    return "in reach, messages: " + ", ".join(f"{lane} {length}" for lane, length in lengths.items())


def _model(settings: Settings, session: Session, report: Report) -> str | None:
    """Returns the live version."""
    live = published.live(session)
    promotion = session.scalars(select(Promotion).order_by(Promotion.id.desc()).limit(1)).first()
    trained = session.scalar(select(func.max(ModelVersion.created_at)))
    if not live or promotion is None:
        report.needs.append("no model version is live: `pneumoscreen db upgrade` installs the bundled one")
        return None
    since = f"since {promotion.promoted_at:%Y-%m-%d %H:%M} by {promotion.promoted_by}"
    out.print(
        f"Model     {live[0].version} is live {since}; last training {trained:%Y-%m-%d %H:%M} (UTC)", markup=False
    )
    if candidate := bundled_candidate(session):
        out.print(f"Candidate {candidate} comes with this program and is not live: `models evaluate`, `models promote`")
    if not (settings.models / live[0].version).is_dir():
        report.needs.append(
            f"the folder of {live[0].version} is out of reach in {settings.models}: workers that hold it go on, "
            "but none can start"
        )
    return live[0].version


def _training(settings: Settings, session: Session, report: Report) -> None:
    """The run under way, and the last one that ended."""
    newest = select(TrainingRun).order_by(TrainingRun.id.desc()).limit(1)
    running = session.scalars(newest.where(TrainingRun.state == RunState.RUNNING)).first()
    ended = session.scalars(newest.where(TrainingRun.state != RunState.RUNNING)).first()
    if running is not None:
        out.print(f"Training  {_named(running)} is under way{_progress(settings, running)}", markup=False)
        if report.now - running.heartbeat_at > leases.ALIVE:
            report.needs.append(
                f"{_named(running)} is not finished and no trainer works on it: `pneumoscreen trainer` (part of `up`) "
                "goes on with it"
            )
    if ended is not None:
        when = f"{ended.finished_at:%Y-%m-%d %H:%M}" if ended.finished_at else "an unknown time"
        out.print(f"Training  {_named(ended)} ended {when}: {_result(session, ended)}", markup=False)
        if ended.state == RunState.FAILED and running is None:
            report.needs.append(
                f"{_named(ended)} failed: {ended.problem}. The live version stays. Mend that; the trainer tries again "
                "when the next run is due, and `pneumoscreen train --data DIR` does it now"
            )


def _named(run: TrainingRun) -> str:
    return f"training run {run.id} ({run.architecture}, {run.cause}, since {run.started_at:%Y-%m-%d %H:%M})"


def _progress(settings: Settings, run: TrainingRun) -> str:
    """As far as this host can see it: the run's folder lies in the trainer's home."""
    epochs = leases.progress(settings, run)
    return "" if epochs is None else f", {epochs[0]} of at most {epochs[1]} epochs done"


def _result(session: Session, run: TrainingRun) -> str:
    if run.state == RunState.FAILED:
        return "failed"
    if run.state == RunState.PUBLISHED:
        return f"{run.version} passed the gate and went live"
    row = session.get(ModelVersion, run.version)
    reasons = json.loads(row.verdict)["failed"] if row is not None and row.verdict else []
    return " ".join([f"{run.version} was rejected.", *reasons])


def _images(session: Session, report: Report) -> None:
    counts = count(session)
    out.print(f"Images    {counts.waiting:,} waiting, {counts.done:,} done, {counts.quarantined:,} quarantined")
    rows = []
    for name, span in SPANS.items():
        states = (
            select(Sighting.state, Prediction.label, func.count())
            .outerjoin(Prediction, Prediction.id == Sighting.prediction_id)
            .where(Sighting.finished_at > report.now - span, Sighting.state != SightingState.SUPERSEDED)
            .group_by(Sighting.state, Prediction.label)
        )
        found = {(str(state), label): number for state, label, number in session.execute(states)}
        quarantined = sum(number for (state, _), number in found.items() if state == SightingState.QUARANTINED)
        done = sum(found.values()) - quarantined
        positive = found.get((str(SightingState.DONE), "PNEUMONIA"), 0)
        share = f"{positive / done:.0%}" if done else ""
        rows.append((name, done, f"{done / span.total_seconds():.2f}", positive, share, quarantined))
    table(("finished in the", "done", "images/s", "positive", "share", "quarantined"), rows)


def _backlog(session: Session, report: Report) -> None:
    lanes = session.execute(
        select(Job.lane, Job.state, func.count(), func.min(Job.created_at))
        .where(OPEN_JOB)
        .group_by(Job.lane, Job.state)
        .order_by(Job.lane, Job.state)
    ).all()
    if not lanes:
        return
    rows = [(lane, state, number, duration(report.now - oldest)) for lane, state, number, oldest in lanes]
    table(("lane", "state", "images", "oldest waits for"), rows, "Backlog")
    for lane in sorted({lane for lane, *_ in lanes}):
        waits = report.now - min(oldest for other, _, _, oldest in lanes if other == lane)
        if waits > LANES[Lane(lane)].max_wait:
            report.needs.append(f"the oldest image in the {lane} lane waits for {duration(waits)}")


def _workers(settings: Settings, session: Session, live: str | None, report: Report) -> None:
    alive = workers(session)
    if not alive and (age := _age_of_up(settings, report)) is not None:
        out.print(f"Workers   the worker is starting: `up` began {duration(age)} ago")
    elif not alive:
        report.needs.append(
            "no worker process gives a sign of life: `pneumoscreen up` or `pneumoscreen worker` starts one"
        )
    else:
        columns = ("host", "process", "device", "holds version", "up for", "error")
        table(columns, [_row(worker, report.now) for worker in alive], "Workers")
        report.needs += [complaint(worker, live) for worker in alive if worker.error]


def _age_of_up(settings: Settings, report: Report) -> timedelta | None:
    """How long ago an `up` began that runs in this home, if it may still be starting."""
    try:
        began = datetime.fromtimestamp(announcement(settings.home).stat().st_mtime, UTC)
    except OSError:
        return None
    age = report.now - began
    return age if abs(age) < STARTING else None  # a clock that was set back must not have it start for ever


def _row(worker: Worker, now: datetime) -> tuple[object, ...]:
    silence = now - worker.heartbeat_at
    marks = [f"silent for {duration(silence)}"] if silence > SILENT else []
    marks += [worker.error] if worker.error else []
    version, age = worker.model_version, duration(now - worker.started_at)
    return worker.host, worker.pid, worker.device, version, age, "; ".join(marks)
