"""Who is reading an image now: so that two readers do not get the same one by chance."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete
from sqlalchemy.orm import Session

from shared.database import ReadingLease
from shared.ledger.register import insert_into

LEASE = timedelta(minutes=10)


@dataclass(frozen=True)
class Lease:
    reader: str
    until: datetime
    is_mine: bool


def take(session: Session, sighting: int, sha256: str, reader: str, now: datetime) -> Lease:
    """Take or renew the lease on an image; of two who ask at once, one gets it, and both are told who.

    Nobody is kept from looking: whoever opens an image by its number may read it, too.
    """
    row = {"sha256": sha256, "sighting_id": sighting, "reader": reader, "until": now + LEASE}
    is_free = (ReadingLease.reader == reader) | (ReadingLease.until <= now)
    # One statement, which holds the row even where it is another's: it could be given back before we look.
    session.connection().execute(
        insert_into(session, ReadingLease)
        .values(row)
        .on_conflict_do_update(index_elements=["sha256"], set_=row, where=is_free)
    )
    held = session.get_one(ReadingLease, sha256, populate_existing=True)
    return Lease(held.reader, held.until, held.reader == reader)


def release(session: Session, sha256: str, reader: str) -> None:
    mine = (ReadingLease.sha256 == sha256) & (ReadingLease.reader == reader)
    session.execute(delete(ReadingLease).where(mine).execution_options(synchronize_session=False))


def release_all(session: Session, reader: str) -> None:
    """Whoever logs out reads nothing any more."""
    mine = ReadingLease.reader == reader
    session.execute(delete(ReadingLease).where(mine).execution_options(synchronize_session=False))
