"""Couriers killed in every step of sending: the next one sends the same bytes under the same UID, and each row ends."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from shared.base.filesystem import MARKER
from shared.database import Database
from shared.ledger import outbox
from tests.faults.trial import BOUND, IS_LONG, LENGTHY, SEAMS, Account
from tests.peers import receiver, wait_for
from tests.servers import Servers
from tests.unit.outbox_steps import outbox_rows
from tests.unit.test_courier import pacs, screen

STEPS = ("taken", "sent", "settled")
"""After the row is taken, after the PACS has said yes, after that is written down. The short form: the second."""
AFTER_LEASE = 100.0
"""Seconds by which a clock is moved on: a lease is 60 s and three times the timeout, here 5 s."""


class Courier:
    """A courier as a process, started again when it was killed, as a supervisor does."""

    def __init__(self, home: Path, port: int, url: str | None) -> None:
        self._strikes, self._clock = home / "strikes", home / "clock"
        self._strikes.mkdir()
        variables = {
            "PNEUMOSCREEN_SOURCES": json.dumps({"ward": {"path": str(home / "ward")}}),
            "PNEUMOSCREEN_DESTINATIONS": json.dumps({"pacs": pacs(port)}),
            **({"PNEUMOSCREEN_DATABASE_URL": url} if url else {}),
        }
        seams = {"PYTHONPATH": str(SEAMS), "STRIKES": str(self._strikes), "CLOCK": str(self._clock)}
        self._environment = {**os.environ, **variables, **seams}
        self._command = [sys.executable, "-m", "cli.main", "courier", "--home", str(home)]
        self.starts = 0

    def start(self) -> None:
        """After the leases of the one before have run out."""
        self._clock.write_text(str(self.starts * AFTER_LEASE))
        self._process = subprocess.Popen(self._command, env=self._environment, stderr=subprocess.DEVNULL)
        self.starts += 1

    def die_when(self, step: str) -> None:
        (self._strikes / f"{step}-{self.starts}").touch()
        self.start()
        assert self._process.wait(BOUND) == -signal.SIGKILL

    def end(self) -> int:
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(BOUND)


def test_a_courier_killed_in_any_step_of_sending_leaves_each_object_in_the_pacs_once(
    tmp_path: Path,
    servers: Servers | None,
    database: Database,
    record_property: Callable[[str, object], None],
) -> None:
    ward = tmp_path / "ward"
    ward.mkdir()
    (ward / MARKER).touch()
    with database.write() as session:
        outbox.register_destinations(session, ["pacs"], datetime.now(UTC))
    kills = list(STEPS) * LENGTHY if IS_LONG else ["sent"]
    images = len(kills) + 1
    for number in range(1, images + 1):
        screen(database, ward, number)
    with receiver() as peer:
        courier = Courier(tmp_path, peer.port, servers.database_url if servers else None)
        for step in kills:
            courier.die_when(step)
        last = time.monotonic()
        courier.start()
        wait_for(lambda: {row.state for row in outbox_rows(database)} == {"sent"}, BOUND)
        longest = round(time.monotonic() - last, 1)
        assert courier.end() == 0
        rows = outbox_rows(database)
        held = {str(each.SOPInstanceUID): each for each in peer.received}
        lost = [row.uid for row in rows if row.uid not in held]
        account = Account(
            "courier killed while it sends", len(kills), images, len(lost), len(held) - images, 0, longest
        )
        record_property("fault", asdict(account))
        assert (len(rows), lost, len(held)) == (images, [], images)
        assert len(peer.received) == images + kills.count("sent"), "only what was sent and not settled comes again"
        assert all(each == held[each.SOPInstanceUID] for each in peer.received), "and it is the same"
