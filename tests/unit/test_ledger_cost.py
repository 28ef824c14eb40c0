"""What is asked many times a second must not read what was finished long ago."""

import re
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.orm import Session

from queries import drift_images
from queries.sources import overview
from shared.base.lanes import Lane
from shared.base.settings import Settings
from shared.database import Database
from shared.ledger import recover, register, send, work
from shared.ledger.work import Checked
from tests.unit.steps import NOW, drop, file, screened


def take_claim_and_finish(session: Session) -> None:
    message = send.take(session, Lane.ROUTINE, 100, NOW)
    assert message is not None and len(message.jobs) == 2
    claimed = work.claim(session, message, NOW, 60.0)
    work.renew(session, message, NOW, 60.0)
    assert len(work.finish(session, [screened(one) for one in claimed], NOW)) == 2


def finish_and_look_again(session: Session) -> None:
    """Files that are known, that moved on, that may be others at the same revision, and that came back."""
    take_claim_and_finish(session)
    known, moved, doubtful = file("a.png"), file("b.png", second=3), file("a.png", inode=9)
    assert register.unknown(session, "ward", [known]) == []
    assert register.unknown(session, "ward", [moved, doubtful]) == [moved, doubtful]
    assert len(register.register(session, "ward", "routine", [moved, doubtful], NOW)) == 1
    assert register.unknown(session, "ward", [doubtful]) == []
    message = send.take(session, Lane.BACKGROUND, 100, NOW)
    assert message is not None
    (check,) = work.claim(session, message, NOW, 60.0)
    assert len(work.finish(session, [Checked(check, "c" * 64)], NOW)) == 1


def look_for_drift(session: Session) -> None:
    take_claim_and_finish(session)
    assert drift_images.count_after(session, "ward", 0, 100) == 2
    assert drift_images.last(session, "ward") == 2
    assert drift_images.first_since(session, NOW) == 1
    assert len(drift_images.first(session, "ward", "v1", 0, 100)) == 2
    assert len(drift_images.newest(session, "ward", "v1", 1, 100)) == 2


SETTINGS = Settings(home=Path("/nowhere"))
LOOKS: dict[str, Any] = {
    "files that a source sees again": finish_and_look_again,
    "which lanes have jobs that are due": lambda session: send.due_lanes(session, NOW),
    "a lane's backlog": lambda session: send.backlog(session, Lane.ROUTINE, 100, NOW),
    "a message on its way": take_claim_and_finish,
    "leases that ran out": lambda session: recover.recover_claimed(session, NOW, 60.0),
    "messages that were lost": lambda session: recover.recover_sent(session, NOW, 120.0),
    "what is shown of each source": lambda session: overview(session, SETTINGS, NOW),
    "what a source's drift is measured on": look_for_drift,
    "a broker that came back empty": lambda session: recover.recover_all_sent(session, None, "new"),
}


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)  # PostgreSQL chooses by the table's size
@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS.keys())
def test_jobs_and_sightings_are_found_by_an_index(database: Database, look: Any) -> None:
    statements: dict[str, Any] = {}

    def note(_c: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        statements[statement] = parameters[0] if isinstance(parameters, list) else parameters

    event.listen(database.engine, "before_cursor_execute", note)
    drop(database, "a.png", "b.png")
    with database.write() as session:
        look(session)
    event.remove(database.engine, "before_cursor_execute", note)
    connection = database.engine.raw_connection()
    for statement, parameters in statements.items():
        if not statement.startswith(("BEGIN", "PRAGMA", "SAVEPOINT", "RELEASE")):
            plan = str(connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall())  # type: ignore[attr-defined]
            assert not re.search("SCAN (jobs|sightings|predictions|screenings)", plan), f"{statement}\n{plan}"
    connection.close()
