"""What the trainer service does with a run: a process of its own, a heartbeat, and a word on how it ended."""

import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from shared.base.settings import load
from shared.database import Database, RunState, TrainingRun
from tests.unit.steps import NOW
from trainer import leases, tasks
from trainer.leases import Lease


@pytest.fixture(autouse=True)
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PNEUMOSCREEN_HOME", str(tmp_path))
    monkeypatch.setenv("PNEUMOSCREEN_BROKER_URL", "redis://127.0.0.1:9/0")  # never spoken to
    monkeypatch.setattr(tasks, "HEARTBEAT_SECONDS", 0.1)


def program(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """What stands in for a training."""
    monkeypatch.setattr(tasks, "COMMAND", (sys.executable, "-c", code))


def begun(database: Database) -> Lease:
    with database.write() as session:
        lease = leases.begin(session, "screen", "Ada", NOW)
    assert lease is not None
    return lease


def row(database: Database) -> TrainingRun:
    with database.read() as session:
        return session.query(TrainingRun).one()


def train(lease: Lease) -> str:
    return str(tasks.train.run(lease.run, lease.fence, lease.architecture))


def test_a_run_that_ends_well_has_written_its_own_end(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    program(monkeypatch, "pass")
    assert train(begun(database)) == "run 1 has ended"
    assert row(database).problem is None


def test_a_run_that_fails_says_why(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    program(monkeypatch, "import sys; sys.exit('the labelled folder is empty')")
    assert train(begun(database)) == "run 1 failed: `pneumoscreen status` says why"
    assert (row(database).state, row(database).problem) == (RunState.FAILED, "the labelled folder is empty")


def test_a_run_killed_by_the_kernel_is_resumed_at_once_and_given_up_when_that_goes_on(
    database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sent: list[str] = []
    monkeypatch.setattr(tasks.app, "send_task", lambda name, queue: sent.append(name))
    program(monkeypatch, "import os; os.kill(os.getpid(), 9)")
    lease: Lease | None = begun(database)
    for fence in range(1, tasks.MAX_LEASES):
        assert lease == Lease(1, fence, "screen")
        assert train(lease) == "run 1 was stopped; it is resumed later"
        with database.write() as session:
            lease = leases.take(session, load(tmp_path), True, NOW)
    assert sent == ["pneumoscreen.training_tick"] * 4
    assert lease is not None
    train(lease)
    why = "its process was killed (signal 9), start number 5: is there enough memory?"
    assert (row(database).state, row(database).problem) == (RunState.FAILED, why)


def test_the_heartbeat_goes_on_while_it_trains(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    program(monkeypatch, "import time; time.sleep(1)")
    train(begun(database))
    assert row(database).heartbeat_at > NOW


def stopped(tmp_path: Path, result: list[Any], lease: Lease) -> None:
    thread = threading.Thread(target=lambda: result.append(train(lease)))
    thread.start()
    deadline = time.monotonic() + 20
    while not (tmp_path / "run" / "training.pid").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.2)
    tasks.stop_training()
    thread.join()


def test_a_process_that_goes_slowly_after_its_last_word_is_let_go_and_not_killed(
    database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    left = tmp_path / "tidied"
    program(monkeypatch, f"import pathlib, time; time.sleep(1); pathlib.Path({str(left)!r}).touch()")
    lease = begun(database)
    with database.write() as session:
        assert leases.end(session, lease, RunState.PUBLISHED, NOW, None, None)
    assert train(lease) == "run 1 has ended"
    assert left.exists()


def test_a_run_that_is_stopped_is_due_again_at_once(
    database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program(monkeypatch, "import time; time.sleep(60)")
    result: list[str] = []
    stopped(tmp_path, result, begun(database))
    assert result == ["run 1 was stopped; it is resumed later"]
    with database.write() as session:
        assert leases.take(session, load(tmp_path), True, NOW + timedelta(seconds=1)) == Lease(1, 2, "screen")


def test_a_trainer_that_lost_its_lease_ends_its_training(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    program(monkeypatch, "import time; time.sleep(60)")
    lease = begun(database)
    began = time.monotonic()
    assert train(Lease(lease.run, lease.fence + 1, "screen")) == "run 1 was stopped; it is resumed later"
    assert time.monotonic() - began < 30
    assert row(database).state == RunState.RUNNING, "it is the other's"


def test_stopping_without_a_training_does_nothing(tmp_path: Path) -> None:
    tasks.stop_training()
    (tmp_path / "run").mkdir()
    process = subprocess.Popen(["true"])
    process.wait()
    (tmp_path / "run" / "training.pid").write_text(str(process.pid))
    tasks.stop_training()


def test_a_tick_sends_a_run_that_is_due_and_no_second_one(
    database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sent: list[Any] = []
    monkeypatch.setenv("PNEUMOSCREEN_TRAINING_DATA", str(tmp_path / "labelled"))
    (tmp_path / "labelled").mkdir()
    monkeypatch.setattr(tasks.app, "send_task", lambda name, args, queue: sent.append((name, args)))
    assert tasks.tick.run() == "nothing is due", "the folder is empty"
    (tmp_path / "labelled" / "NORMAL").mkdir()
    assert tasks.tick.run() == "run 1 begins"
    assert tasks.tick.run() == "nothing is due"
    assert sent == [("pneumoscreen.train", [1, 1, "screen"])]
