"""What failed to leave the house is sent again, after what was wrong has been mended."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.orm import Session

from shared.base.errors import InvalidRequest, WorkFailed
from shared.database import audit
from shared.ledger import outbox


def retry(
    session: Session, ids: Sequence[int], destination: str | None, everything: bool, actor: str, now: datetime
) -> int:
    """Have failed rows sent again, by their numbers, of one destination, or all; returns how many there were.

    One whose later edition is there stays as it is. Raises InvalidRequest if nothing says which, WorkFailed if none
    matches.
    """
    if not (ids or destination or everything):
        raise InvalidRequest("Say which: numbers as `outbox list` shows them, --destination NAME, or --all.")
    count = outbox.retry(session, ids or None, destination, now)
    if not count:
        raise WorkFailed("Nothing that has failed matches: `pneumoscreen outbox list --state failed` shows all.")
    audit.record(session, actor, "outbox retry", f"{count} rows of the outbox", at=now)
    return count
