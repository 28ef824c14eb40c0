"""`status`: one screen for the person who watches the system."""

import json
import shutil
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import typer
from redis.exceptions import RedisError
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from cli.console import out, table
from cli.counts import count, workers
from cli.opened import opened
from shared import broker, registry
from shared.database import (
    OPEN_JOB,
    DeadLetter,
    Job,
    JobState,
    Lane,
    ModelVersion,
    Prediction,
    Promotion,
    RunState,
    Sighting,
    SightingState,
    TrainingRun,
    Worker,
)
from shared.errors import DiskLow, ServiceUnavailable
from shared.filesystem import MARKER, check_room
from shared.settings import Settings
from trainer import runs

LONGEST_WAIT = {Lane.STAT: timedelta(minutes=1), Lane.BACKGROUND: timedelta(days=7)}
LONGEST_WAIT_ELSE = timedelta(minutes=15)
SPANS = {"last minute": timedelta(minutes=1), "last hour": timedelta(hours=1), "last day": timedelta(days=1)}


@dataclass
class Report:
    """What was found: lines to print, and what needs a person."""

    now: datetime
    needs: list[str] = field(default_factory=list)


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
        _workers(session, live, report)
        _folders(settings, report)
        _quarantined(session)
        _troubles(session, report)
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
    live = registry.live(session)
    promotion = session.scalars(select(Promotion).order_by(Promotion.id.desc()).limit(1)).first()
    trained = session.scalar(select(func.max(ModelVersion.created_at)))
    if not live or promotion is None:
        report.needs.append("no model version is live: `pneumoscreen db upgrade` installs the bundled one")
        return None
    since = f"since {promotion.promoted_at:%Y-%m-%d %H:%M} by {promotion.promoted_by}"
    out.print(
        f"Model     {live[0].version} is live {since}; last training {trained:%Y-%m-%d %H:%M} (UTC)", markup=False
    )
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
        if report.now - running.heartbeat_at > runs.ALIVE:
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
    epochs = runs.progress(settings, run)
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
    rows = [(lane, state, number, _duration(report.now - oldest)) for lane, state, number, oldest in lanes]
    table(("lane", "state", "images", "oldest waits since"), rows, "Backlog")
    for lane in sorted({lane for lane, *_ in lanes}):
        waits = report.now - min(oldest for other, _, _, oldest in lanes if other == lane)
        if waits > LONGEST_WAIT.get(Lane(lane), LONGEST_WAIT_ELSE):
            report.needs.append(f"the oldest image in the {lane} lane waits since {_duration(waits)}")


def _workers(session: Session, live: str | None, report: Report) -> None:
    alive = workers(session)
    if not alive:
        report.needs.append(
            "no worker process gives a sign of life: `pneumoscreen up` or `pneumoscreen worker` starts one"
        )
        return
    columns = ("host", "process", "device", "holds version", "up since", "error")
    rows = [(w.host, w.pid, w.device, w.model_version, _duration(report.now - w.started_at), w.error) for w in alive]
    table(columns, rows, "Workers")
    report.needs += [_trouble(worker, live) for worker in alive if worker.error]


def _trouble(worker: Worker, live: str | None) -> str:
    """What a worker process complains of; and the way out, if it does not hold the live version for that reason."""
    text = f"{worker.host}, process {worker.pid}: {worker.error}"
    if live is None or worker.model_version == live or live not in (worker.error or ""):
        return text
    if worker.model_version is None:
        return f"{text}. It screens nothing: restore that version's folder from a backup or another host"
    return (
        f"{text}. {worker.model_version} goes on serving there: restore the folder of {live} from a backup or another "
        "host, or go back with `pneumoscreen models rollback --by NAME --reason TEXT`"
    )


def _folders(settings: Settings, report: Report) -> None:
    for name, folder in settings.folders.items():
        if not (folder.path / MARKER).exists():
            report.needs.append(
                f"the folder {name} ({folder.path}) is out of reach of this host: is its share mounted?"
            )


def _quarantined(session: Session) -> None:
    quarantined = session.execute(
        select(Sighting.reason, func.count())
        .where(Sighting.state == SightingState.QUARANTINED)
        .group_by(Sighting.reason)
        .order_by(func.count().desc())
        .limit(10)
    ).all()
    if quarantined:
        table(("reason", "images"), quarantined, "Quarantined (`pneumoscreen results --state quarantined`)")


def _troubles(session: Session, report: Report) -> None:
    problems = session.execute(
        select(Job.problem, func.count())
        .where(OPEN_JOB, Job.state == JobState.UNSENT, Job.problem.is_not(None))
        .group_by(Job.problem)
    ).all()
    report.needs += [f"{number} images wait: {problem}" for problem, number in problems]
    day = report.now - timedelta(days=1)
    if letters := session.scalar(select(func.count()).select_from(DeadLetter).where(DeadLetter.received_at > day)):
        report.needs.append(f"{letters} messages of the last day were not understood: table dead_letters")


def _duration(span: timedelta) -> str:
    seconds = max(0, round(span.total_seconds()))
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"
