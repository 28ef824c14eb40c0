"""The steps of an image through the ledger, each in a transaction of its own, as the services take them."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select, text

from shared.base.found import Found
from shared.base.lanes import Lane
from shared.database import Database, Job, Sighting
from shared.ledger import register, send, work
from shared.ledger.work import Claimed, Outcome, Screened
from shared.queue.messages import Message
from shared.sources.folder.facts import SECOND, Facts

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
LEASE = 60.0


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def file(path: str = "a.png", size: int = 10, second: int = 1, inode: int = 1) -> Found:
    return Facts(size, second * SECOND, inode).found(path)


def drop(database: Database, *files: Found | str, lane: str = "routine", now: datetime = NOW) -> list[int]:
    """Register files in the source `ward`; returns the new sightings."""
    found = [f if isinstance(f, Found) else file(f, second=number) for number, f in enumerate(files, start=1)]
    with database.write() as session:
        return register.register(session, "ward", lane, found, now)


def take(database: Database, lane: Lane = Lane.ROUTINE, most: int = 1000, now: datetime = NOW) -> Message | None:
    with database.write() as session:
        return send.take(session, lane, most, now)


def send_all(database: Database, lane: Lane = Lane.ROUTINE, now: datetime = NOW) -> Message:
    message = take(database, lane, now=now)
    assert message is not None, f"nothing waits in the {lane} lane"
    return message


def claim(database: Database, message: Message, now: datetime = NOW) -> list[Claimed]:
    with database.write() as session:
        return work.claim(session, message, now, LEASE)


def in_hand(database: Database, *files: Found | str) -> list[Claimed]:
    """Files that were dropped, sent and claimed."""
    drop(database, *files)
    return claim(database, send_all(database))


def finish(database: Database, *outcomes: Outcome, now: datetime = NOW) -> list[Outcome]:
    with database.write() as session:
        return work.finish(session, outcomes, now)


def screened(claimed: Claimed, probability: float = 0.9, content: str = "a", version: str = "v1") -> Screened:
    label = "PNEUMONIA" if probability >= 0.5 else "NORMAL"
    return Screened(claimed, content * 64, version, probability, 0.5, label)


def jobs(database: Database) -> Sequence[Job]:
    with database.read() as session:
        return session.scalars(select(Job).order_by(Job.id)).all()


def sightings(database: Database) -> Sequence[Sighting]:
    with database.read() as session:
        return session.scalars(select(Sighting).order_by(Sighting.id)).all()


def rows(database: Database, view: str = "results") -> list[dict[str, Any]]:
    with database.read() as session:
        found = session.execute(text(f"SELECT * FROM {view} ORDER BY sighting_id, model_version"))
        return [dict(row) for row in found.mappings()]
