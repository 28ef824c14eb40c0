"""The producer pauses while the disk is low, and goes on by itself."""

import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import func, select

from producer.service import Producer
from shared.base.settings import Settings, load
from shared.base.source_settings import FolderSettings
from shared.database import Database, Job, JobState
from shared.ledger.source_states import read_states

PLENTY = 10**18


def settings(tmp_path: Path, broker_url: str, min_free_disk: int) -> Settings:
    (tmp_path / "ward").mkdir(exist_ok=True)
    folders = {"ward": FolderSettings(path=tmp_path / "ward")}
    quick = {"settle": 0, "linger": 0, "recover_every": 0.1, "sweep_every": 0.1}
    return load(tmp_path, broker_url=broker_url, sources=folders, min_free_disk=min_free_disk, **quick)


def run(producer: Producer, until: object = lambda: False, seconds: float = 2.0) -> None:
    stop = threading.Event()
    thread = threading.Thread(target=producer.run, args=[stop])
    thread.start()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not until():  # type: ignore[operator]
        time.sleep(0.05)
    stop.set()
    thread.join()
    producer.redis.close()


def states(database: Database) -> dict[str, int]:
    with database.read() as session:
        return {str(s): n for s, n in session.execute(select(Job.state, func.count()).group_by(Job.state))}


def test_nothing_is_registered_or_sent_while_the_disk_is_low_and_all_of_it_afterwards(
    tmp_path: Path, database: Database, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    low = Producer(settings(tmp_path, redis_url, PLENTY))
    (tmp_path / "ward" / "a.png").write_bytes(b"an image")
    run(low)
    assert states(database) == {}
    with database.read() as session:
        (said,) = read_states(session, datetime.now(UTC))
        assert said.source == "ward", "a producer that works no further is not taken for one that is gone"
    assert caplog.text.count("min_free_disk") == 1, "said once, not every second"
    run(Producer(settings(tmp_path, redis_url, 0)), lambda: states(database) == {JobState.SENT: 1}, 20)
    assert states(database) == {JobState.SENT: 1}
