"""What became of a check: a file that may be another one at the same revision was read and hashed."""

from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import update
from sqlalchemy.orm import Session

from shared.base.found import Found
from shared.base.lanes import Lane
from shared.database import Sighting, SightingState
from shared.ledger import latest
from shared.ledger.register import add, as_text

if TYPE_CHECKING:
    from shared.ledger.work import Claimed

UNLIKE_ANY = ""
"""A hint that no file has."""


def finish(session: Session, claimed: "Claimed", content: str | None, now: datetime) -> bool:
    """Note that a sighting's file was found with this content, or with none that could be compared.

    Where it is another one, the file becomes a new sighting at the same revision, in the lane of its arrival, and the
    old result stays: then this is True. Where there was none to compare, the next look at the file asks again.
    A sighting that is not its path's newest any more tells of no file.
    """
    newest = latest.newest(session, claimed.source, as_text(claimed.path)[0])
    if newest is None or newest.id != claimed.sighting or newest.state == SightingState.WAITING:
        return False
    if content in (None, newest.sha256):
        newest.checks += claimed.is_check
        if claimed.is_check and content is None:
            newest.hint = UNLIKE_ANY
        return False
    found = Found(claimed.path, newest.revision, newest.size, newest.hint)
    new = add(session, claimed.source, newest.lane or Lane.ROUTINE, {found: 0}, now, origin=newest.origin)
    # The hint is of the host that sent the check, which need not be this one.
    session.execute(update(Sighting).where(Sighting.id.in_(new)).values(hint_host=newest.hint_host))
    return True
