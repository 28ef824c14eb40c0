"""Clocks: leases and heartbeats are compared between hosts, so that theirs must agree."""

from collections.abc import Iterable
from contextlib import closing
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from queries.doctor.finding import Finding, ok, problem, reason, unknown
from shared.base.errors import PneumoscreenError
from shared.base.settings import Settings
from shared.database import Worker, connect

CHECK = "clocks"
MOST = timedelta(seconds=5)
"""A heartbeat counts for 30 s, a lease for 60: a difference of this size does no harm yet."""
WAY_OUT = "let every host keep time by NTP (chrony or systemd-timesyncd): `timedatectl` shows whether one does"


def examine(settings: Settings) -> list[Finding]:
    if settings.database.startswith("sqlite"):
        return [ok(CHECK, "the database is a file of this host, so there is one clock")]
    try:
        with closing(connect(settings.database)) as database, database.read() as session:
            return _ask(session)
    except (SQLAlchemyError, PneumoscreenError) as error:
        return [unknown(CHECK, f"the database does not tell its time: {reason(error)}")]


def _ask(session: Session) -> list[Finding]:
    session.connection()  # so that no time goes by for connecting between the two looks
    before = datetime.now(UTC)
    theirs = session.scalars(select(func.clock_timestamp())).one()
    after = datetime.now(UTC)
    findings = [compare("the database's", theirs, before, after)]
    if session.scalar(text("SELECT to_regclass('workers')")) is not None:
        newest = select(Worker.host, func.max(Worker.heartbeat_at)).group_by(Worker.host)
        findings += ahead([(host, last) for host, last in session.execute(newest)], datetime.now(UTC))
    return findings


def compare(whose: str, theirs: datetime, before: datetime, after: datetime) -> Finding:
    """`theirs` was read between two looks at this host's clock."""
    difference = theirs - before if theirs < before else theirs - after if theirs > after else timedelta()
    if abs(difference) > MOST:
        word = "ahead of" if difference > timedelta() else "behind"
        return problem(CHECK, f"{whose} clock is {abs(difference).total_seconds():.0f} s {word} this host's", WAY_OUT)
    return ok(CHECK, f"{whose} clock and this host's agree")


def ahead(newest: Iterable[tuple[str, datetime]], now: datetime) -> list[Finding]:
    """Workers whose heartbeat lies in the future; one in the past may be of a worker that was ended."""
    return [
        problem(CHECK, f"the clock of the worker {host} is {(last - now).total_seconds():.0f} s ahead", WAY_OUT)
        for host, last in newest
        if last - now > MOST
    ]
