"""What is asked many times a second must not read what was finished long ago."""

from typing import Any

import pytest
from sqlalchemy import event

from shared.base.lanes import Lane
from shared.database import Database
from shared.ledger import recover, register, send, work
from shared.ledger.work import Claimed, PutOff
from shared.queue.messages import Message
from tests.unit.steps import NOW, drop

CLAIMED = Claimed(1, 1, 1, Lane.ROUTINE, "ward", "a.png", "", None, NOW, None)

LOOKS: dict[str, Any] = {
    "which lanes have jobs that are due": lambda session: send.due_lanes(session, NOW),
    "a lane's backlog": lambda session: send.backlog(session, Lane.ROUTINE, 100, NOW),
    "taking a message": lambda session: send.take(session, Lane.ROUTINE, 100, NOW),
    "claiming a message": lambda session: work.claim(session, Message(1, (1, 2)), NOW, 60.0),
    "finishing a batch": lambda session: work.finish(session, [PutOff(CLAIMED, "", NOW)], NOW),
    "jobs for new sightings": lambda session: register.add_jobs(session, [1, 2], Lane.ROUTINE, NOW),
    "leases that ran out": lambda session: recover.recover_claimed(session, NOW, 60.0),
    "messages that were lost": lambda session: recover.recover_sent(session, NOW, 120.0),
    "a broker that came back empty": lambda session: recover.recover_all_sent(session, None, "new"),
}


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)  # PostgreSQL chooses by the table's size
@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS.keys())
def test_jobs_and_sightings_are_found_by_their_indexes(database: Database, look: Any) -> None:
    drop(database, "a.png")
    statements: list[tuple[str, Any]] = []

    def note(_c: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        statements.append((statement, parameters))

    event.listen(database.engine, "before_cursor_execute", note)
    with database.write() as session:
        look(session)
    event.remove(database.engine, "before_cursor_execute", note)
    connection = database.engine.raw_connection()
    for statement, parameters in statements:
        if "jobs" in statement.split("RETURNING")[0]:
            plan = str(connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall())  # type: ignore[attr-defined]
            assert "SCAN jobs" not in plan and "SCAN sightings" not in plan, f"{statement}\n{plan}"
    connection.close()
