"""How a worker process follows promotions while it is idle, and leaves its network alone while it is not."""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from celery.signals import heartbeat_sent
from numpy.typing import NDArray
from sqlalchemy import select, update
from sqlalchemy.exc import InternalError

from queries.workers import count_live
from shared.base.settings import load
from shared.base.source_settings import FolderSettings
from shared.database import Database, ModelVersion, Worker, connection
from shared.models import registry
from shared.models.engines import LINEAR_FILE
from shared.models.engines.linear import LinearNetwork
from tests.models import go_live, make_linear_version, promote, published
from tests.unit.steps import rows
from tests.unit.test_screening import drop, message, png
from worker import models, pulse, tasks
from worker.process import WorkerProcess
from worker.screening import screen_message

SECONDS = 20


@pytest.fixture
def process(tmp_path: Path, database: Database) -> Iterator[WorkerProcess]:
    """It holds version v1, and looks for another one ten times a second."""
    go_live(database, make_linear_version(tmp_path / "models", "v1"))
    (tmp_path / "ward").mkdir()
    url = database.engine.url.render_as_string(hide_password=False)
    settings = load(tmp_path, database_url=url, sources={"ward": FolderSettings(path=tmp_path / "ward")}, lease=0.3)
    process = WorkerProcess(settings)
    yield process
    process.stop()
    process.threads.shutdown()
    process.database.close()


def wait(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited for {what}"
        time.sleep(0.02)


def publish_broken(database: Database, folder: Path, name: str) -> None:
    """A version whose files were damaged after it was published, before it goes live."""
    version = make_linear_version(folder / "models", name)
    row = published(version)
    (version / LINEAR_FILE).write_bytes(b"damaged")
    with database.write() as session:
        session.add(ModelVersion(version=name, manifest_sha256=row.manifest_sha256, created_at=datetime.now(UTC)))


def reported(database: Database) -> tuple[str | None, str]:
    """The version that the process says it holds, and its error."""
    with database.read() as session:
        worker = session.query(Worker).one_or_none()
        return (worker.model_version, worker.error or "") if worker else (None, "")


def test_an_idle_process_takes_a_promoted_version(process: WorkerProcess, database: Database, tmp_path: Path) -> None:
    go_live(database, make_linear_version(tmp_path / "models", "v2"))
    wait(lambda: reported(database) == ("v2", ""), "v2 to be in service without a message")


def test_an_idle_process_refuses_a_broken_version_says_so_once_and_follows_a_rollback(
    process: WorkerProcess, database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    publish_broken(database, tmp_path, "v2")
    promote(database, "v2", "Ada", datetime.now(UTC))
    wait(lambda: reported(database)[1] != "", "the refusal")
    version, error = reported(database)
    assert version == "v1"
    assert error.startswith("the model version v2 is refused: ") and "is damaged" in error
    time.sleep(0.5)
    assert caplog.text.count("v2 is refused") == 1, "it is not tried ten times a second"
    promote(database, "v1", "Ada", datetime.now(UTC))
    wait(lambda: reported(database) == ("v1", ""), "the error to be over")


def test_a_process_that_could_load_nothing_at_its_start_goes_on_trying(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "RETRY_SECONDS", 0.2)
    go_live(database, make_linear_version(tmp_path / "elsewhere", "v1"))
    process = WorkerProcess(load(tmp_path, lease=0.3))
    try:
        wait(lambda: "cannot be read" in reported(database)[1], "the reason")
        (tmp_path / "elsewhere").rename(tmp_path / "models")
        wait(lambda: reported(database) == ("v1", ""), "v1 to be loaded when it can be read")
    finally:
        process.stop()
        process.threads.shutdown()
        process.database.close()


def test_no_version_is_loaded_while_a_message_is_screened(
    process: WorkerProcess, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_running, may_end = threading.Event(), threading.Event()
    logits = LinearNetwork.logits

    def slow(network: LinearNetwork, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        if threading.current_thread().name == "task":
            is_running.set()
            assert may_end.wait(SECONDS)
        return logits(network, batch)

    monkeypatch.setattr(LinearNetwork, "logits", slow)
    drop(database, tmp_path / "ward" / "a.png", png())
    task = threading.Thread(target=screen_message, args=(process, message(database)), name="task")
    task.start()
    assert is_running.wait(SECONDS)
    go_live(database, make_linear_version(tmp_path / "models", "v2"))
    time.sleep(0.5)
    assert process.models.version == "v1"
    may_end.set()
    task.join()
    assert [row["model_version"] for row in rows(database)] == ["v1"]
    wait(lambda: process.models.version == "v2", "v2 to be taken after the message")


def test_a_message_that_comes_during_a_load_waits_for_it_and_gets_the_new_version(
    process: WorkerProcess, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_loading, may_end = threading.Event(), threading.Event()
    load, loads = registry.load, 0

    def slow(folder: Path, version: registry.Published, *_: object) -> registry.Loaded:
        nonlocal loads
        loads += 1
        is_loading.set()
        assert may_end.wait(SECONDS)
        return load(folder, version)

    monkeypatch.setattr(registry, "load", slow)
    go_live(database, make_linear_version(tmp_path / "models", "v2"))
    assert is_loading.wait(SECONDS)
    drop(database, tmp_path / "ward" / "a.png", png())
    task = threading.Thread(target=screen_message, args=(process, message(database)))
    task.start()
    task.join(0.3)
    assert task.is_alive()
    assert reported(database) == ("v1", ""), "the heartbeat goes on"
    may_end.set()
    task.join()
    assert [row["model_version"] for row in rows(database)] == ["v2"]
    assert loads == 1


def test_a_process_whose_parent_hands_out_nothing_says_so(
    process: WorkerProcess, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks.prepare()
    process._pulse = tasks._pulse
    monkeypatch.setattr(pulse, "SILENT_SECONDS", 0.5)
    wait(lambda: "has handed out no work for" in reported(database)[1], "a complaint of its parent")
    monkeypatch.setattr(pulse, "SILENT_SECONDS", 60.0)
    heartbeat_sent.send(sender=None)
    wait(lambda: reported(database)[1] == "", "the parent's sign of life")


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_processes_of_containers_with_equal_names_are_told_apart(process: WorkerProcess, database: Database) -> None:
    """Both have the host name and the process id of this test."""
    other = WorkerProcess(process.settings)
    try:
        wait(lambda: live(database) == 2, "two processes")
    finally:
        other.stop()
        other.database.close()
    assert live(database) == 1


def live(database: Database) -> int:
    with database.read() as session:
        return count_live(session, datetime.now(UTC))


def test_a_process_ends_although_the_database_does_not_answer(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = WorkerProcess(load(tmp_path, lease=0.3))
    wait(lambda: bool(_reports(database)), "its row")
    monkeypatch.setattr("worker.process.HEARTBEAT_SECONDS", 0.2)
    with database.write() as session:
        session.execute(update(Worker).values(error="locked"))
        ending = threading.Thread(target=process.stop)
        ending.start()
        ending.join(SECONDS)
        assert not ending.is_alive()
    for thread in threading.enumerate():
        if thread.name in ("heartbeat", "leave"):
            thread.join(SECONDS)
    process.threads.shutdown()
    process.database.close()


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_process_that_is_halted_amid_a_transaction_loses_its_locks(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "IDLE_SECONDS", 1)
    now = datetime.now(UTC)
    with database.write() as session:
        session.add(Worker(host="h", pid=1, device="", started_at=now, heartbeat_at=now))

    def be_halted() -> None:
        with database.write() as session:
            session.execute(update(Worker).values(error="halted"))
            with database.write() as other:  # would wait for ever
                other.execute(update(Worker).values(error="went on"))
            session.execute(select(1))

    with pytest.raises(InternalError, match="idle-in-transaction"):
        be_halted()
    assert reported(database)[1] == "went on"


def _reports(database: Database) -> list[Worker]:
    with database.read() as session:
        return list(session.scalars(select(Worker)))
