"""`status`: one screen for the person who watches the system."""

from datetime import UTC, datetime, timedelta

import typer

from cli.console import out, shown, table
from queries import status as query
from queries.needs import duration
from queries.status import Status
from queries.trainings import Training
from queries.workers import WorkerProcess
from shared.base.settings import Settings
from shared.database import RunState, opened

SILENT = timedelta(seconds=10)


def status(settings: Settings) -> None:
    """Prints what there is; ends with exit code 1 if something needs a person."""
    with opened(settings) as database, database.read() as session:
        state = query.status(session, settings, datetime.now(UTC))
    _print_services(state, database.name)
    if state.web is not None:
        out.print(f"Pages     {state.web}", markup=False)
    _print_shadows(state)
    _print_backup(state)
    _print_destinations(state)
    _print_trainings(state)
    _print_images(state)
    _print_workers(state)
    if state.quarantined:
        rows = [(reason.text, reason.images) for reason in state.quarantined]
        table(("reason", "images"), rows, "Quarantined (`pneumoscreen results --state quarantined`)")
    for sentence in state.retried:
        out.print(f"Retried automatically: {shown(sentence)}", markup=False)
    for sentence in state.hints:
        out.print(f"Whenever it suits: {shown(sentence)}", markup=False)
    for need in state.needs:
        out.print(f"Needs a person: {shown(need)}", style="yellow", markup=False)
    if state.needs:
        raise typer.Exit(1)
    out.print("Nothing needs a person.")


def _print_services(state: Status, database: str) -> None:
    disk, broker, model = state.disk, state.broker, state.model
    out.print(f"Home      {disk.folder} ({disk.free / 1e9:.1f} of {disk.total / 1e9:.1f} GB free)", markup=False)
    out.print(f"Database  {database}", markup=False)
    if broker.lengths is None:
        out.print("Broker    out of reach")
    else:
        lengths = ", ".join(f"{lane} {length}" for lane, length in broker.lengths.items())
        out.print(f"Broker    {'refuses to work' if broker.problem else 'in reach'}, messages: {lengths}")
    if model is not None:
        since = f"since {model.promoted_at:%Y-%m-%d %H:%M} by {model.promoted_by}"
        last = f"last training {model.last_training:%Y-%m-%d %H:%M} (UTC)"
        out.print(f"Model     {model.version} is live {since}; {last}", markup=False)
        if model.candidate is not None:
            way = "try it with `models evaluate`, take it with `models promote`"
            out.print(f"Candidate {model.candidate} comes with this program: {way}", markup=False)


def _print_shadows(state: Status) -> None:
    for run in state.shadows:
        images = f"of the newest {run.images:,} images" if run.is_of_newest else f"{run.images:,} images,"
        out.print(
            f"Shadow    {run.version} scores {run.share:.0%} of {run.source} since {run.started_at:%Y-%m-%d %H:%M} "
            f"(UTC): {images} {run.disagreements:,} with another label",
            markup=False,
        )


def _print_backup(state: Status) -> None:
    if state.backup is not None:
        how = "read through" if state.backup.unrestored else "tried out"
        when = f"{state.backup.at:%Y-%m-%d %H:%M} (UTC)"
        out.print(
            f"Backup    {when}, {state.backup.bytes / 1e6:.1f} MB, {how}: {shown(state.backup.file)}", markup=False
        )


def _print_destinations(state: Status) -> None:
    for each in state.destinations:
        last = f"last sent {each.last_sent_at:%Y-%m-%d %H:%M} (UTC)" if each.last_sent_at else "nothing sent yet"
        away = f", out of reach for {duration(state.now - each.away_since)}" if each.away_since else ""
        name = f"{each.name} ({each.kind or 'in no settings here'})"
        out.print(f"Outbox    {name}: {each.waiting:,} waiting, {last}{away}", markup=False)


def _print_trainings(state: Status) -> None:
    if state.training is not None:
        epochs = state.training.epochs
        progress = f", {epochs[0]} of at most {epochs[1]} epochs done" if epochs else ""
        out.print(f"Training  {state.training.name} is under way{progress}", markup=False)
    if (ended := state.last_training) is not None:
        when = f"{ended.finished_at:%Y-%m-%d %H:%M}" if ended.finished_at else "an unknown time"
        out.print(f"Training  {ended.name} ended {when}: {_outcome(ended)}", markup=False)


def _outcome(run: Training) -> str:
    if run.state == RunState.FAILED:
        return "failed"
    if run.state == RunState.PUBLISHED:
        return f"{run.version} passed the gate and went live"
    return " ".join([f"{run.version} was rejected.", *run.rejected_for])


def _print_images(state: Status) -> None:
    counts = state.counts
    out.print(f"Images    {counts.waiting:,} waiting, {counts.done:,} done, {counts.quarantined:,} quarantined")
    rows = []
    for part in state.throughput:
        share = f"{part.positive / part.done:.0%}" if part.done else ""
        rate = f"{part.done / part.span.total_seconds():.2f}"
        rows.append((part.name, part.done, rate, part.positive, share, part.quarantined))
    table(("finished in the", "done", "images/s", "positive", "share", "quarantined"), rows)
    if state.backlog:
        waiting = [(part.lane, part.state, part.images, duration(part.waits)) for part in state.backlog]
        table(("lane", "state", "images", "oldest waits for"), waiting, "Backlog")


def _print_workers(state: Status) -> None:
    if state.workers:
        columns = ("host", "process", "device", "holds version", "up for", "error")
        table(columns, [_row(worker, state.now) for worker in state.workers], "Workers")
    elif state.starting_for is not None:
        out.print(f"Workers   the worker is starting: `up` began {duration(state.starting_for)} ago")


def _row(worker: WorkerProcess, now: datetime) -> tuple[object, ...]:
    silence = now - worker.heartbeat_at
    remarks = [f"silent for {duration(silence)}"] if silence > SILENT else []
    remarks += [worker.error] if worker.error else []
    age = duration(now - worker.started_at)
    return worker.host, worker.pid, worker.device, worker.model_version, age, "; ".join(remarks)
