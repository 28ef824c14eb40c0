"""What producers say of the sources that they watch, and when a source's last image came."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from shared.base.source_report import SourceReport, WatchedBy
from shared.database import SourceArrival, SourceState
from shared.ledger.register import insert_new

OLD = timedelta(hours=1)
"""What a producer said that has been silent for so long is shown no more."""
FRESH = timedelta(minutes=3)
"""A producer that is alive says at least each minute how its sources are."""


@dataclass(frozen=True)
class Statement:
    """What the producer of one host says of one source, since when, and when it last did."""

    source: str
    host: str
    report: SourceReport
    began_at: datetime
    seen_at: datetime

    def is_fresh(self, now: datetime) -> bool:
        return now - self.seen_at < FRESH


def write_states(session: Session, host: str, now: datetime, reports: Mapping[str, SourceReport]) -> None:
    """Write what this host's producer says of each source, and remove what has long been silent."""
    session.execute(delete(SourceState).where(SourceState.seen_at < now - OLD))
    known = set(session.scalars(select(SourceState.source).where(SourceState.host == host)))
    for source, report in reports.items():
        values = {**_row(report), "seen_at": now}
        if source in known:
            mine = (SourceState.source == source) & (SourceState.host == host)
            session.execute(update(SourceState).where(mine).values(values))
        else:
            row = {"source": source, "host": host, "began_at": now, **values}
            session.execute(insert_new(session, SourceState).values(row))


def read_states(session: Session, now: datetime) -> list[Statement]:
    """What was said within the last hour, by source and host."""
    query = select(SourceState).where(SourceState.seen_at > now - OLD)
    rows = session.scalars(query.order_by(SourceState.source, SourceState.host))
    return [Statement(row.source, row.host, _report(row), row.began_at, row.seen_at) for row in rows]


def last_images(session: Session) -> dict[str, datetime]:
    """When the last image of each source was registered."""
    rows = session.execute(select(SourceArrival.source, SourceArrival.last_image_at))
    return dict(rows.all())


def _row(report: SourceReport) -> dict[str, object]:
    return {
        "watched_by": report.watched_by,
        "problem": report.problem,
        "remark": report.remark,
        "files": report.files,
        "unreadable": report.unreadable,
        "unreadable_names": json.dumps(report.unreadable_names),
        "links": report.links,
        "links_names": json.dumps(report.links_names),
        "ignored": json.dumps(dict(report.ignored)),
        "hung": report.hung,
        "swept_at": datetime.fromtimestamp(report.swept_at, UTC) if report.swept_at is not None else None,
    }


def _report(row: SourceState) -> SourceReport:
    return SourceReport(
        watched_by=WatchedBy(row.watched_by),
        problem=row.problem,
        remark=row.remark,
        files=row.files,
        unreadable=row.unreadable,
        unreadable_names=tuple(json.loads(row.unreadable_names)),
        links=row.links,
        links_names=tuple(json.loads(row.links_names)),
        ignored=json.loads(row.ignored),
        hung=row.hung,
        swept_at=row.swept_at.timestamp() if row.swept_at is not None else None,
    )
