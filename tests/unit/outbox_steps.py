"""The steps of a result on its way out of the house, each in a transaction of its own."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import select

from shared.base.destination_settings import DestinationSettings
from shared.base.lanes import Lane
from shared.database import Database, OutboxRow, Review
from shared.ledger import outbox, reporting
from shared.ledger.outbox import Taken
from shared.ledger.reporting import Wanted
from shared.ledger.work import Claimed, Identifiers
from tests.unit.steps import NOW, after, claim, file, finish, screened, send_all
from tests.unit.steps import drop as drop_files

PARSE: TypeAdapter[DestinationSettings] = TypeAdapter(DestinationSettings)
BEFORE = NOW - timedelta(hours=1)


def pacs(**more: Any) -> DestinationSettings:
    return PARSE.validate_python({"kind": "dicom", "host": "127.0.0.1", "port": 104, "ae_title": "PACS", **more})


def webhook(**more: Any) -> DestinationSettings:
    chosen = {"kind": "webhook", "url": "http://127.0.0.1:9", "secret": "a secret of some length", **more}
    return PARSE.validate_python(chosen)


def wanted(since: datetime = BEFORE, **destinations: DestinationSettings) -> list[Wanted]:
    return [Wanted(name, settings, since) for name, settings in destinations.items()]


def identifiers(content: str) -> Identifiers:
    return Identifiers(f"1.2.{ord(content)}", f"1.2.{ord(content)}.1", f"ACC-{content}", None)


def done(
    database: Database,
    content: str = "a",
    probability: float = 0.9,
    *,
    path: str | None = None,
    lane: str = "routine",
    now: datetime = NOW,
    version: str = "v1",
    of_dicom: bool = True,
) -> Claimed:
    """An image that was screened; of another path it is another drop of the same content."""
    found = file(path or f"{content}.dcm", second=1 + int((now - NOW).total_seconds()))
    drop_files(database, found, lane=lane, now=now)
    (claimed,) = claim(database, send_all(database, Lane(lane), now=now), now)
    outcome = screened(claimed, probability, content, version)
    finish(database, replace(outcome, identifiers=identifiers(content) if of_dicom else None), now=now)
    return claimed


def make(database: Database, destinations: Sequence[Wanted], now: datetime = NOW) -> int:
    """What the courier's maker does in one turn through everything."""
    with database.write() as session:
        outbox.register_destinations(session, [each.name for each in destinations], min(e.since for e in destinations))
    with database.read() as session:
        sightings, _ = reporting.next_results(session, reporting.Place(BEFORE - timedelta(days=365), 0))
        changed = reporting.find_changed(session, min(each.since for each in destinations), sightings)
    with database.write() as session:
        return reporting.make_rows(session, destinations, changed, now)


def say(database: Database, content: str, label: str, reader: str = "Dr. Okafor", seconds: float = 0) -> int:
    with database.write() as session:
        word = Review(sha256=content * 64, label=label, reviewer=reader, created_at=after(seconds), method="cli")
        session.add(word)
        session.flush()
        return word.id


def withdraw(database: Database, review: int) -> None:
    with database.write() as session:
        session.get_one(Review, review).withdrawn_at = after(60)


def take(database: Database, destination: str = "pacs", now: datetime = NOW, most: int = 10) -> list[Taken]:
    with database.write() as session:
        return outbox.take(session, destination, most, now, 60.0)


def sent(database: Database, destination: str = "pacs", now: datetime = NOW) -> list[Taken]:
    """Every row that is due, sent."""
    rows = take(database, destination, now, 1000)
    for row in rows:
        with database.write() as session:
            assert outbox.settle_sent(session, row, now)
    return rows


def outbox_rows(database: Database) -> Sequence[OutboxRow]:
    with database.read() as session:
        return session.scalars(select(OutboxRow).order_by(OutboxRow.id)).all()


def told(database: Database) -> list[tuple[str, str, int, str]]:
    """(destination, kind or event, edition, state) of each row."""
    return [(row.destination, row.event or row.kind, row.edition, row.state) for row in outbox_rows(database)]
