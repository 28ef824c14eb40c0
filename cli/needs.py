"""What needs a person, and what goes on being tried without one: `status` tells them apart."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session, aliased

from cli.console import shown, table
from shared import sources
from shared.base.settings import Settings
from shared.database import OPEN_JOB, DeadLetter, Job, Sighting, SightingState, Worker
from shared.ledger.work import ATTEMPT_EPOCH
from worker.failures import MAX_ATTEMPTS

LATELY = timedelta(days=1)
"""What nobody sees to in that time is left as it is: a check that stays red for ever is one that nobody looks at."""


@dataclass
class Report:
    """What was found beside the tables: what needs a person, and notes on what does not, or not yet."""

    now: datetime
    needs: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def unseen_folders(settings: Settings, report: Report) -> None:
    for name, source in sources.build(settings).items():
        if source.is_watched and not source.is_in_reach():
            report.needs.append(f"the source {name} ({source.place}) is out of reach of this host: is it mounted?")


def quarantined(session: Session, report: Report) -> None:
    """All by their reasons; a need are those of late that were neither tried again nor replaced by a newer file."""
    reasons = session.execute(
        select(Sighting.reason, func.count())
        .where(Sighting.state == SightingState.QUARANTINED)
        .group_by(Sighting.reason)
        .order_by(func.count().desc())
        .limit(10)
    ).all()
    if reasons:
        table(("reason", "images"), reasons, "Quarantined (`pneumoscreen results --state quarantined`)")
    newer = aliased(Sighting)
    same = (newer.source == Sighting.source) & (newer.path == Sighting.path) & (newer.id > Sighting.id)
    number = session.scalar(
        select(func.count())
        .select_from(Sighting)
        .where(Sighting.state == SightingState.QUARANTINED, Sighting.finished_at > report.now - LATELY)
        .where(~exists().where(same, newer.state != SightingState.SUPERSEDED).correlate(Sighting))
    )
    if number:
        were = _many(number, "image was", "images were")
        report.needs.append(f"{were} quarantined within a day: `pneumoscreen results --state quarantined` says why")


def put_off(session: Session, report: Report) -> None:
    """A need once the back-off is at its longest: what passes by itself has mostly passed by then."""
    columns = (func.count(), func.min(Job.created_at), func.max(Job.attempt % ATTEMPT_EPOCH), func.min(Job.id))
    # In every open state: a check must not turn green for as long as a try takes.
    put_off = select(Job.problem, *columns).where(OPEN_JOB, Job.problem.is_not(None))
    for problem, number, since, tries, first in session.execute(put_off.group_by(Job.problem)).all():
        path = session.scalar(select(Sighting.path).join(Job, Job.sighting_id == Sighting.id).where(Job.id == first))
        wait = _many(number, "image waits", "images wait")
        line = f"{wait} for {duration(report.now - since)}: {problem} (first: {shown(path)})"
        (report.needs if tries >= MAX_ATTEMPTS else report.notes).append(line)


def dead_letters(session: Session, report: Report) -> None:
    lately = DeadLetter.received_at > report.now - LATELY
    if number := session.scalar(select(func.count()).select_from(DeadLetter).where(lately)):
        were = _many(number, "message of the last day was", "messages of the last day were")
        report.needs.append(f"{were} not understood: table dead_letters")


def complaint(worker: Worker, live: str | None) -> str:
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


def duration(span: timedelta) -> str:
    seconds = max(0, round(span.total_seconds()))
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"


def _many(number: int, one: str, more: str) -> str:
    return f"1 {one}" if number == 1 else f"{number:,} {more}"
