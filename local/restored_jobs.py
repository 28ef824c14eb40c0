"""What a restored database needs before anybody works with it."""

from pathlib import Path

from alembic.script import ScriptDirectory
from sqlalchemy import func, select

import shared.database
from shared.base.errors import InvalidRequest
from shared.database import Database, Job, JobState
from shared.database.audit import record
from shared.ledger.work import ATTEMPT_EPOCH


def start_over(revision: str) -> tuple[str, ...]:
    """The statements after which open jobs are sent again, for a database of that schema.

    The attempt number jumps far beyond what a job may have had since the backup, so that neither a message that is
    left in the broker nor a worker that was cut off counts for the restored job.
    """
    attempt = "attempt" if revision >= "0004" else "delivery"
    counts = ", tries = 0, strikes = 0" if revision >= "0006" else ""
    return (
        f"UPDATE jobs SET state = '{JobState.UNSENT}', lease_until = NULL, "  # noqa: S608 - our own
        f"{attempt} = {attempt} + {ATTEMPT_EPOCH}{counts} WHERE state <> '{JobState.FINISHED}'",
        "DELETE FROM broker_epoch",
        "DELETE FROM workers",
    )


def check_revision(file: Path, revision: str | None) -> str:
    """Returns the schema of a backup. Raises InvalidRequest for one that this program does not know."""
    if revision is None:
        raise InvalidRequest(f"{file} holds no tables of Pneumoscreen: name a file that `db backup` wrote.")
    if not is_known(revision):
        raise InvalidRequest(
            f"{file} has schema {revision}, which a newer version of Pneumoscreen made: install that one to restore it."
        )
    return revision


def is_known(revision: str) -> bool:
    folder = Path(shared.database.__file__).parent / "migrations"
    return revision in {known.revision for known in ScriptDirectory(str(folder)).walk_revisions()}


def record_restore(database: Database, actor: str) -> None:
    with database.write() as session:
        jobs = session.scalar(select(func.count()).select_from(Job).where(Job.state != JobState.FINISHED))
        record(session, actor, "restore", f"a backup was restored; {jobs} open jobs are sent again")
