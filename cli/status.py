"""`status`: one screen for the person who watches the system."""

import shutil
from datetime import UTC, datetime

import typer
from redis.exceptions import RedisError
from sqlalchemy import func, select

from cli.console import out, table
from cli.counts import count, workers
from cli.opened import opened
from shared import broker, registry
from shared.database import DeadLetter, Job, JobState, Sighting, SightingState
from shared.errors import ServiceUnavailable
from shared.settings import Settings


def status(settings: Settings) -> None:
    """Prints what there is; ends with exit code 1 if something needs a person."""
    with opened(settings) as with_database:
        needs: list[str] = []
        with with_database.read() as session:
            counts, alive, live = count(session), workers(session), registry.live(session)
            quarantined = session.execute(
                select(Sighting.reason, func.count())
                .where(Sighting.state == SightingState.QUARANTINED)
                .group_by(Sighting.reason)
                .order_by(func.count().desc())
                .limit(10)
            ).all()
            problems = session.execute(
                select(Job.problem, func.count())
                .where(Job.state == JobState.UNSENT, Job.problem.is_not(None))
                .group_by(Job.problem)
            ).all()
            lanes = session.execute(
                select(Job.lane, Job.state, func.count(), func.min(Job.created_at))
                .where(Job.state != JobState.FINISHED)
                .group_by(Job.lane, Job.state)
            ).all()
            letters = session.scalar(select(func.count()).select_from(DeadLetter)) or 0
        now = datetime.now(UTC)
        free = shutil.disk_usage(settings.home).free
        out.print(f"Home      {settings.home} ({free / 1e9:.1f} GB free)")
        out.print(f"Database  {with_database.engine.url.render_as_string(hide_password=True)}")
        out.print(f"Broker    {_broker(settings, needs)}")
        out.print(f"Live      {live[0].version if live else 'no model version'}")
        out.print(f"Images    {counts.waiting:,} waiting, {counts.done:,} done, {counts.quarantined:,} quarantined")
        if lanes:
            rows = [
                (lane, state, number, f"{(now - oldest).total_seconds():.0f} s")
                for lane, state, number, oldest in lanes
            ]
            table(("lane", "state", "images", "oldest waits since"), rows, "Backlog")
        if alive:
            table(
                ("host", "process", "device", "holds version", "error"),
                [(w.host, w.pid, w.device, w.model_version, w.error) for w in alive],
                "Workers",
            )
        else:
            needs.append(
                "no worker process gives a sign of life: `pneumoscreen up` or `pneumoscreen worker` starts one"
            )
        if quarantined:
            table(("reason", "images"), quarantined, "Quarantined (`pneumoscreen results --state quarantined`)")
        needs += [f"{w.host}, process {w.pid}: {w.error}" for w in alive if w.error]
        needs += [f"{number} images wait: {problem}" for problem, number in problems]
        if letters:
            needs.append(f"{letters} messages were not understood: table dead_letters")
        for need in needs:
            out.print(f"Needs a person: {need}", style="yellow", markup=False)
        if needs:
            raise typer.Exit(1)


def _broker(settings: Settings, needs: list[str]) -> str:
    try:
        lengths = broker.lengths(broker.client(settings))
    except (RedisError, ServiceUnavailable) as error:
        needs.append(f"the broker is out of reach: {error}")
        return "out of reach"
    return "in reach, messages: " + ", ".join(f"{lane} {length}" for lane, length in lengths.items())
