"""What needs a person, what is retried without one, and what can wait: sentences for `status`."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from queries.rights import is_of_a_service, missing_rights
from queries.sources import SourceOverview, told
from queries.trainings import Training
from queries.workers import WorkerProcess
from shared import sources
from shared.base.decoder import DECODER_REVISION
from shared.base.settings import Settings
from shared.base.source_report import SourceReport
from shared.database import OPEN_JOB, DeadLetter, Job, Prediction, RunState, Screening, Sighting, SightingState
from shared.database.refusals import REFUSES
from shared.ledger.latest import IS_RESULT, is_newest
from shared.ledger.quarantine import is_unresolved
from shared.ledger.work import MAX_ATTEMPTS
from shared.sources.answers import ask_all

SOURCE_SECONDS = 3.0
"""How long `status` waits for sources to answer."""
MAX_COUNTED, MAX_NAMED = 10_000, 5
LATELY = timedelta(days=1)
"""Older problems are not reported: an alarm that never clears gets ignored."""


def sources_out_of_reach(settings: Settings, explained: Collection[str] = ()) -> Iterator[str]:
    """What this host cannot see; but not those of which a producer here has explained why."""
    watched = {
        name: source for name, source in sources.build(settings).items() if source.is_watched and name not in explained
    }
    answers = ask_all(watched, lambda source: source.is_in_reach(), SOURCE_SECONDS)
    for name, source in watched.items():
        if name not in answers:
            yield (
                f"the source {name} ({source.place}) does not answer this host within {SOURCE_SECONDS:g} s: its share "
                "hangs, or is very slow. Its images wait, and others go on. A share whose server is gone for good has "
                "to be unmounted (`umount -l`) and mounted again"
            )
        elif not answers[name]:
            yield f"the source {name} ({source.place}) is out of reach of this host: is it mounted?"


def of_sources(overviews: Iterable[SourceOverview], now: datetime) -> tuple[list[str], list[str]]:
    """What producers say of the sources, and which of these are silent: needs, and hints."""
    needs: list[str] = []
    hints: list[str] = []
    for source in overviews:
        name = f"the source {source.name}" + (f" ({source.place})" if source.place else "")
        needs += told(source, now, partial(_problem, name))
        needs += told(source, now, partial(_unreadable, name))
        if source.silent_since is not None:
            needs.append(_silence(name, source))
        hints += told(source, now, partial(_remark, name))
        hints += told(source, now, partial(_links, name))
    return needs, hints


def _problem(name: str, report: SourceReport) -> str | None:
    return f"{name} {report.problem}" if report.problem else None


def _remark(name: str, report: SourceReport) -> str | None:
    return f"{name} {report.remark}" if report.remark else None


def _unreadable(name: str, report: SourceReport) -> str | None:
    if not report.unreadable:
        return None
    folders = _count(report.unreadable, "folder", "folders")
    names = _names(report.unreadable, report.unreadable_names)
    return (
        f"{name}: {folders} cannot be listed ({names}), so no image in there is seen: give the service's user the "
        "right to read and enter what is to be screened, or add the rest to `ignore`"
    )


def _links(name: str, report: SourceReport) -> str | None:
    if not report.links:
        return None
    are = _count(report.links, "link is", "links are")
    names = _names(report.links, report.links_names)
    return (
        f"{name}: {are} not followed ({names}), since a link leads to a folder, out of the source, or to nothing: name "
        "a linked folder as a source of its own, and copy a linked file"
    )


def _silence(name: str, source: SourceOverview) -> str:
    assert source.quiet_after is not None
    since = f"since {source.last_image:%Y-%m-%d %H:%M} (UTC)" if source.last_image else "yet"
    expected = " of the hours in which images are expected" if source.expected else ""
    return (
        f"{name} is silent: no image has come {since}, for more than {duration(source.quiet_after)}{expected}. Is it "
        "still sent to?"
    )


def _names(count: int, first: Sequence[str]) -> str:
    shown = ", ".join(first[:MAX_NAMED])
    return shown if count <= MAX_NAMED else f"{shown} and {count - MAX_NAMED:,} more, see `pneumoscreen sources`"


def quarantined(session: Session, now: datetime) -> Iterator[str]:
    """The images of the last day that nobody retried, replaced, removed or dismissed."""
    number = session.scalar(
        select(func.count()).select_from(Sighting).where(is_unresolved(), Sighting.finished_at > now - LATELY)
    )
    if number:
        were = _count(number, "image was", "images were")
        yield (
            f"{were} quarantined within a day: `pneumoscreen results --state quarantined` says why; "
            "`pneumoscreen dismiss` resolves what needs nothing"
        )


def put_off(session: Session, now: datetime) -> tuple[list[str], list[str]]:
    """What waits after a transient failure: needs, and what is still retried with a shorter back-off.

    It becomes a need once the back-off is at its longest: what passes by itself has mostly passed by then. What the
    database refuses for good is one at once.
    """
    columns = (func.count(), func.min(Job.created_at), func.max(Job.tries), func.min(Job.id))
    # In every open state: a check must not turn green for as long as an attempt takes.
    # A check is no image that waits: its result stands, and it ends by itself.
    is_put_off = Job.problem.is_not(None) & ~Job.is_check
    waiting = select(Job.problem, *columns).where(OPEN_JOB, is_put_off).group_by(Job.problem)
    needs: list[str] = []
    retried: list[str] = []
    for problem, number, since, tries, first in session.execute(waiting).all():
        path = session.scalar(select(Sighting.path).join(Job, Job.sighting_id == Sighting.id).where(Job.id == first))
        wait = _count(number, "image waits", "images wait")
        sentence = f"{wait} for {duration(now - since)}: {problem} (first: {path})"
        (needs if tries >= MAX_ATTEMPTS or str(problem).startswith(REFUSES) else retried).append(sentence)
    return needs, retried


def rights(session: Session) -> Iterator[str]:
    """What the role that asks lacks, unless it writes nowhere: that one is no service's."""
    missing = missing_rights(session)
    if missing and is_of_a_service(missing):
        first = ", ".join(missing[:MAX_NAMED]) + (", …" if len(missing) > MAX_NAMED else "")
        yield f"the database does not permit its role all that the services do ({first}): `docs/roles.sql` grants it"


def older_decoder(session: Session) -> Iterator[str]:
    """The results whose picture may be another one today. Counted no further than MAX_COUNTED."""
    older = (
        select(Sighting.id)  # by way of indexes: where nothing is older, this reads nothing
        .select_from(Prediction)
        .join(Screening, Screening.prediction_id == Prediction.id)
        .join(Sighting, IS_RESULT)
        .where(Sighting.state == SightingState.DONE, Prediction.decoder_revision < DECODER_REVISION, is_newest())
    )
    number = session.scalar(select(func.count()).select_from(older.limit(MAX_COUNTED).subquery())) or 0
    if number:
        results = _count(number, "result", "results") if number < MAX_COUNTED else f"{MAX_COUNTED:,} results or more"
        yield (
            f"`pneumoscreen rescreen --decoded-before {DECODER_REVISION} --where-differs` reads again what an older "
            f"decoder may have read wrongly: {results}"
        )


def dead_letters(session: Session, now: datetime) -> Iterator[str]:
    lately = DeadLetter.received_at > now - LATELY
    if number := session.scalar(select(func.count()).select_from(DeadLetter).where(lately)):
        were = _count(number, "message of the last day was", "messages of the last day were")
        yield f"{were} not understood: table dead_letters"


def trainings(running: Training | None, ended: Training | None) -> Iterator[str]:
    if running is not None and not running.is_alive:
        yield (
            f"{running.name} is not finished and no trainer works on it: `pneumoscreen trainer` (part of `up`) "
            "goes on with it"
        )
    if ended is not None and ended.state == RunState.FAILED and running is None:
        yield (
            f"{ended.name} failed: {ended.problem}. The live version stays. Mend that; the trainer tries again "
            "when the next run is due, and `pneumoscreen train --data DIR` does it now"
        )


def complaint(worker: WorkerProcess, live: str | None) -> str:
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


def _count(number: int, singular: str, plural: str) -> str:
    return f"1 {singular}" if number == 1 else f"{number:,} {plural}"
