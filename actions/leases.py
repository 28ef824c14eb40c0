"""Who is reading an image now: so that two readers do not get the same one by chance."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import case, delete, select
from sqlalchemy.orm import Session

from queries.worklist_page import is_taken
from shared.database import ReadingItem, ReadingLease
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


def take_first(session: Session, sightings: Sequence[int], reader: str, now: datetime) -> int | None:
    """Take the first of these that waits for a word and that nobody else has; None where there is none.

    Readers who ask in the same moment each get another one, and none of them waits: a row that somebody has locked is
    being taken, or read.
    """
    if not sightings:
        return None
    order = case({number: place for place, number in enumerate(sightings)}, value=ReadingItem.sighting_id)
    free = (
        select(ReadingItem.sighting_id, ReadingItem.sha256)
        .where(ReadingItem.sighting_id.in_(sightings), ReadingItem.waits_for.is_not(None), ~is_taken(reader, now))
        .order_by(order)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    while (found := session.execute(free).one_or_none()) is not None:
        number, sha256 = found
        if take(session, number, sha256, reader, now).is_mine:  # else another took it while we looked
            return number
    return None


def release(session: Session, sha256: str, reader: str) -> None:
    mine = (ReadingLease.sha256 == sha256) & (ReadingLease.reader == reader)
    session.execute(delete(ReadingLease).where(mine).execution_options(synchronize_session=False))


def release_all(session: Session, reader: str) -> None:
    """Whoever logs out reads nothing any more."""
    mine = ReadingLease.reader == reader
    session.execute(delete(ReadingLease).where(mine).execution_options(synchronize_session=False))
