"""Other hosts: do their programs fit to this one. No table says which version of the program a worker or producer is.

What can be told: which decoder read the newest images, which model version each worker holds, and what it complains of.
"""

from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from queries.doctor.finding import Finding, ok, problem, reason, unknown
from queries.workers import WorkerProcess, live_workers
from shared.base.decoder import DECODER_REVISION
from shared.base.errors import PneumoscreenError
from shared.base.settings import Settings
from shared.database import Prediction, opened
from shared.models import published

CHECK = "programs"


def examine(settings: Settings) -> list[Finding]:
    try:
        with opened(settings) as database, database.read() as session:
            workers = live_workers(session, datetime.now(UTC))
            return [_decoder(session), *_workers(session, workers)]
    except (PneumoscreenError, SQLAlchemyError) as error:
        return [unknown(CHECK, f"the database does not tell which workers there are: {reason(error)}")]


def _decoder(session: Session) -> Finding:
    revision = session.scalar(select(Prediction.decoder_revision).order_by(Prediction.id.desc()).limit(1))
    if revision is None:
        return ok(CHECK, "nothing was screened yet, so no other program can have read it otherwise")
    if revision > DECODER_REVISION:
        text = f"the newest image was read by decoder {revision}, of a newer program: this one has {DECODER_REVISION}"
        return problem(CHECK, text, "install the version of Pneumoscreen that the other hosts run")
    if revision < DECODER_REVISION:
        text = f"the newest image was read by the older decoder {revision}: this program has {DECODER_REVISION}"
        return unknown(CHECK, text, "if a worker of the older program still runs, replace it")
    return ok(CHECK, f"the newest image was read by this program's decoder, {revision}")


def _workers(session: Session, workers: list[WorkerProcess]) -> list[Finding]:
    if not workers:
        return [ok(CHECK, "no worker is alive")]
    versions = published.live(session)
    live = versions[0].version if versions else None
    findings = [
        problem(CHECK, f"worker {worker.host}, process {worker.pid}: {worker.error}", "`pneumoscreen status` says more")
        for worker in workers
        if worker.error
    ]
    others = [worker for worker in workers if worker.model_version not in (None, live) and not worker.error]
    findings += [
        unknown(CHECK, f"worker {worker.host}, process {worker.pid} holds {worker.model_version}; {live} is live")
        for worker in others
    ]
    hosts = ", ".join(sorted({worker.host for worker in workers}))
    return findings or [ok(CHECK, f"{len(workers)} worker processes on {hosts} hold {live}")]
