"""A worker process without Celery: real database, files, threads and network; messages are handed in directly."""

import hashlib
import os
import shutil
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from sqlalchemy import event, select, text, update
from sqlalchemy.orm import Session

from actions.promotion import rollback
from queries import needs
from shared.base.filesystem import MARKER
from shared.base.lanes import Lane
from shared.base.settings import load
from shared.base.source_settings import FolderSettings
from shared.database import Database, DeadLetter, Job, OperatingPoint, Sighting
from shared.database.refusals import REFUSES
from shared.ledger import work
from shared.ledger.register import add_jobs, register
from shared.ledger.send import take, take_back
from shared.ledger.work import MAX_ATTEMPTS, Claimed, Outcome, Screened
from shared.models import registry
from shared.queue.messages import SCHEMA
from shared.sources.folder.facts import Facts
from shared.sources.folder.source import FolderSource
from shared.sources.folder.sweep import sweep
from shared.statistics.platt import Line
from tests.dicom import make, written
from tests.models import go_live, make_linear_version
from tests.points import add_point
from tests.unit.steps import jobs, rows
from worker.failures import RUN_LENGTH
from worker.preparation import is_young
from worker.process import WorkerProcess
from worker.screening import screen_message


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "ward"
    root.mkdir()
    (root / MARKER).touch()
    return root


@pytest.fixture
def process(tmp_path: Path, database: Database, root: Path) -> Iterator[WorkerProcess]:
    go_live(database, make_linear_version(tmp_path / "models", "v1"))
    url = database.engine.url.render_as_string(hide_password=False)
    folders = {"ward": FolderSettings(path=root)}
    process = WorkerProcess(load(tmp_path, database_url=url, sources=folders, batch_size=4, decode_threads=2))
    yield process
    process.stop()
    process.threads.shutdown()
    process.database.close()


def png(seed: int = 0) -> bytes:
    file = BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (80, 80)).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def drop(database: Database, file: Path, data: bytes) -> None:
    file.write_bytes(data)
    register_now(database, file)


def register_now(database: Database, file: Path) -> None:
    with database.write() as session:
        register(session, "ward", "routine", [Facts.of(file.stat()).found(file.name)], datetime.now(UTC))


def message(database: Database, now: datetime | None = None) -> dict[str, Any]:
    with database.write() as session:
        found = take(session, Lane.ROUTINE, 1000, now or datetime.now(UTC))
    assert found is not None
    return found.encode()


def test_a_dropped_image_gets_its_row(process: WorkerProcess, database: Database, root: Path) -> None:
    drop(database, root / "a.png", png())
    assert screen_message(process, message(database)) == "1 images: 1 done"
    (row,) = rows(database)
    assert (row["path"], row["state"], row["model_version"], row["threshold"]) == ("a.png", "done", "v1", 0.5)
    assert row["sha256"] == hashlib.sha256(png()).hexdigest()
    assert 0 <= row["probability"] <= 1
    assert row["label"] == ("PNEUMONIA" if row["probability"] >= 0.5 else "NORMAL")
    assert (row["unfamiliar"], row["unfamiliar_score"]) == (None, None), "the version has no check"


def test_one_bad_image_costs_no_other_its_result(process: WorkerProcess, database: Database, root: Path) -> None:
    for number in range(9):
        drop(database, root / f"{number}.png", png(number))
    drop(database, root / "text.png", b"this is text" * 100)
    drop(database, root / "gone.png", png())
    (root / "gone.png").unlink()
    drop(database, root / "changed.png", png())
    (root / "changed.png").write_bytes(png(99) + b"more")
    said = screen_message(process, message(database))
    assert said == "12 images: 1 changed meanwhile, 9 done, 1 quarantined, 1 removed"
    found = {row["path"]: (row["state"], row["reason"]) for row in rows(database)}
    assert all(found[f"{number}.png"] == ("done", None) for number in range(9))
    assert "not an image" in (found["text.png"][1] or "")
    assert "removed" in (found["gone.png"][1] or "")
    assert found["changed.png"] == ("waiting", None)


def test_an_image_gets_the_same_probability_alone_and_in_a_batch(
    process: WorkerProcess, database: Database, root: Path, tmp_path: Path
) -> None:
    drop(database, root / "alone.png", png(3))
    screen_message(process, message(database))
    version = make_linear_version(tmp_path / "models", "v2")
    go_live(database, version)
    for number in range(6):
        drop(database, root / f"{number}.png", png(number))
    screen_message(process, message(database))
    found = {row["path"]: (row["model_version"], row["probability"]) for row in rows(database)}
    assert found["alone.png"][0] == "v1"
    assert found["3.png"] == ("v2", pytest.approx(found["alone.png"][1], abs=1e-5))


def test_a_message_that_comes_twice_is_screened_once(process: WorkerProcess, database: Database, root: Path) -> None:
    drop(database, root / "a.png", png())
    body = message(database)
    screen_message(process, body)
    assert screen_message(process, body) == "0 images: an old attempt, dropped"


def test_a_version_promoted_meanwhile_takes_the_next_message(
    process: WorkerProcess, database: Database, root: Path, tmp_path: Path
) -> None:
    drop(database, root / "before.png", png(1))
    screen_message(process, message(database))
    go_live(database, make_linear_version(tmp_path / "models", "v2", seed=2))
    drop(database, root / "after.png", png(2))
    screen_message(process, message(database))
    assert {row["path"]: row["model_version"] for row in rows(database)} == {"before.png": "v1", "after.png": "v2"}


def test_a_job_that_names_a_version_is_screened_by_that_one(
    process: WorkerProcess, database: Database, root: Path, tmp_path: Path
) -> None:
    go_live(database, make_linear_version(tmp_path / "models", "v2", seed=2))
    drop(database, root / "named.png", png(1))
    with database.write() as session:
        session.scalars(select(Job)).one().model_version = "v1"
    drop(database, root / "live.png", png(2))
    for _ in range(2):
        assert screen_message(process, message(database)) == "1 images: 1 done"
    assert {row["path"]: row["model_version"] for row in rows(database)} == {"named.png": "v1", "live.png": "v2"}


def test_a_version_that_is_not_in_service_any_more_changes_no_result_and_leaves_a_new_image_to_the_live_one(
    process: WorkerProcess, database: Database, root: Path, tmp_path: Path
) -> None:
    """As where it was rolled back between a rescreen and its images."""
    go_live(database, make_linear_version(tmp_path / "models", "v2", seed=2))
    drop(database, root / "a.png", png(1))
    screen_message(process, message(database))
    rollback(database, "Ada", datetime.now(UTC), "a mistake")
    drop(database, root / "b.png", png(2))
    with database.write() as session:
        job = session.scalars(select(Job).where(Job.id == 1)).one()
        add_jobs(session, [job.sighting_id], Lane.ROUTINE, datetime.now(UTC), model_version="v2")
        session.scalars(select(Job).where(Job.id == 2)).one().model_version = "v2"
    before = rows(database)[0]
    assert screen_message(process, message(database)) == "2 images: 1 done, 1 left as they were"
    after = {row["path"]: row for row in rows(database)}
    assert after["a.png"] == before, "v2 does not write it a second time"
    assert (after["b.png"]["model_version"], after["b.png"]["override"]) == ("v1", None)
    assert jobs(database)[-1].problem == "v2 is not in service: the result stays"


def test_an_image_that_was_quarantined_since_loses_nothing_to_a_version_that_is_not_in_service(
    process: WorkerProcess, database: Database, root: Path
) -> None:
    drop(database, root / "a.png", png(1))
    screen_message(process, message(database))
    values = {"state": "quarantined", "prediction_id": None, "reason": "blank", "resolution": "dismissed"}
    with database.write() as session:
        session.execute(update(Sighting).values(**values))
        add_jobs(session, [1], Lane.ROUTINE, datetime.now(UTC), model_version="v9")
    before = rows(database)
    screen_message(process, message(database))
    assert rows(database) == before
    states = ("refused", "quarantined")
    name = "pneumoscreen_images_total"
    counted = [process.metrics.registry.get_sample_value(name, {"state": s, "label": ""}) for s in states]
    assert counted == [1, 0]


def test_images_wait_where_only_a_version_loads_that_was_rolled_back(
    process: WorkerProcess, database: Database, root: Path, tmp_path: Path
) -> None:
    go_live(database, make_linear_version(tmp_path / "models", "v2", seed=2))
    process.take_live_version()
    rollback(database, "Ada", datetime.now(UTC), "a mistake")
    shutil.rmtree(tmp_path / "models" / "v1")
    drop(database, root / "a.png", png(1))
    assert screen_message(process, message(database)) == "1 images: 1 put off"
    assert "v1 is refused" in (jobs(database)[0].problem or "")


def test_a_job_that_names_a_version_that_does_not_exist_waits_and_says_so(
    process: WorkerProcess, database: Database, root: Path
) -> None:
    drop(database, root / "a.png", png(1))
    drop(database, root / "b.png", png(2))
    with database.write() as session:
        job = session.scalars(select(Job).where(Job.id == 1)).one()
        job.model_version, job.override = "v9", "Ada: a test"
    assert screen_message(process, message(database)) == "1 images: 1 put off"
    assert screen_message(process, message(database)) == "1 images: 1 done"
    assert "There is no model version 'v9'" in (jobs(database)[0].problem or "")


def test_images_of_a_root_out_of_reach_wait_longer_each_time(
    process: WorkerProcess, database: Database, root: Path
) -> None:
    drop(database, root / "a.png", png())
    root.rename(root.with_name("unmounted"))
    waits = []
    now = datetime.now(UTC)
    for _ in range(3):
        screen_message(process, message(database, now + timedelta(days=1)))
        (job,) = jobs(database)
        assert "is out of reach: there is no such folder" in (job.problem or "")
        assert job.not_before is not None
        waits.append(round((job.not_before - datetime.now(UTC)).total_seconds()))
    assert waits == [2, 4, 8]
    root.with_name("unmounted").rename(root)
    assert screen_message(process, message(database, now + timedelta(days=1))) == "1 images: 1 done"


def test_images_of_a_source_that_this_host_does_not_know_wait(process: WorkerProcess, database: Database) -> None:
    with database.write() as session:
        register(session, "clinic", "routine", [Facts(1, 1, 1).found("a.png")], datetime.now(UTC))
    assert screen_message(process, message(database)) == "1 images: 1 put off"
    assert "no source named 'clinic'" in (jobs(database)[0].problem or "")


def test_a_young_file_that_ends_too_early_is_looked_at_again_and_an_old_one_is_not(
    process: WorkerProcess, database: Database, root: Path
) -> None:
    drop(database, root / "young.png", png()[:3000])
    (root / "old.png").write_bytes(png()[:3000])
    os.utime(root / "old.png", (1_700_000_000, 1_700_000_000))
    register_now(database, root / "old.png")
    screen_message(process, message(database))
    found = {row["path"]: row["state"] for row in rows(database)}
    assert found == {"young.png": "waiting", "old.png": "quarantined"}


NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("written", "seen", "young"),
    [(-59, 0, True), (-61, 0, False), (0, 0, True), (3600, -59, True), (3600, -61, False), (-(10**10), 0, False)],
)
def test_a_file_is_as_old_as_its_last_write_unless_its_clock_runs_ahead(written: int, seen: int, young: bool) -> None:
    mtime_ns = int((NOW.timestamp() + written) * 1e9)
    claimed = Claimed(
        1, 1, 1, "routine", "ward", "a", Facts(1, mtime_ns, 1).revision, None, NOW + timedelta(seconds=seen), None
    )
    assert is_young(FolderSource("ward", Path("/srv")), claimed, NOW) is young


def test_many_files_in_a_row_that_are_damaged_alike_wait_and_say_so(
    process: WorkerProcess, database: Database, root: Path
) -> None:
    for number in range(30):
        drop(database, root / f"{number:02d}.png", b"\0" * 1000 if 3 <= number < 20 else png(number))
    assert screen_message(process, message(database)) == "30 images: 13 done, 17 put off"
    waiting = [job for job in jobs(database) if job.problem]
    assert len(waiting) == 17
    assert str(waiting[0].problem).startswith("17 files in a row fail alike: the content is not an image")
    for number in range(3, 20):
        (root / f"{number:02d}.png").write_bytes(png(number))
        register_now(database, root / f"{number:02d}.png")
    later = datetime.now(UTC) + timedelta(minutes=10)
    assert screen_message(process, message(database, later)) == "17 images: 17 changed meanwhile"
    assert screen_message(process, message(database, later)) == "17 images: 17 done"
    assert {row["state"] for row in rows(database)} == {"done"}


def test_many_files_that_stay_damaged_are_quarantined_after_a_few_minutes(
    process: WorkerProcess, database: Database, root: Path
) -> None:
    for number in range(RUN_LENGTH):
        drop(database, root / f"{number:02d}.png", b"\0" * 1000)
    now, tries = datetime.now(UTC), 0
    while {row["state"] for row in rows(database)} == {"waiting"}:
        now, tries = now + timedelta(minutes=5), tries + 1
        screen_message(process, message(database, now))
    assert tries == MAX_ATTEMPTS
    assert {row["state"] for row in rows(database)} == {"quarantined"}
    assert all(str(row["reason"]).startswith("the content is not an image") for row in rows(database))


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_many_files_that_are_removed_while_they_wait_are_final_at_once_and_need_nobody(
    process: WorkerProcess, database: Database, root: Path
) -> None:
    (root / "day").mkdir()
    for number in range(200):
        (root / "day" / f"{number}.png").write_bytes(b"an image")
    with database.write() as session:
        register(session, "ward", "routine", [found for found, _ in sweep(root)], datetime.now(UTC))
    shutil.rmtree(root / "day")
    assert screen_message(process, message(database)) == "200 images: 200 removed"
    assert {(job.state, job.attempt) for job in jobs(database)} == {("finished", 1)}
    assert {(row["state"], row["resolution"]) for row in rows(database)} == {("quarantined", "removed")}
    with database.read() as session:
        now = datetime.now(UTC)
        assert list(needs.quarantined(session, now)) == []
        assert needs.put_off(session, now) == ([], [])


def test_a_file_that_is_renamed_while_it_waits_costs_no_attempt_and_is_screened_under_its_new_name(
    process: WorkerProcess, database: Database, root: Path
) -> None:
    drop(database, root / "old.png", png())
    (root / "old.png").rename(root / "new.png")
    register_now(database, root / "new.png")
    assert screen_message(process, message(database)) == "2 images: 1 done, 1 removed"
    assert {row["path"]: row["resolution"] for row in rows(database)} == {"old.png": "removed", "new.png": None}
    (root / "new.png").rename(root / "old.png")
    register_now(database, root / "old.png")
    assert screen_message(process, message(database)) == "1 images: 1 done"


def test_sound_files_of_something_else_are_quarantined_at_once_however_many(
    process: WorkerProcess, database: Database, root: Path
) -> None:
    file = BytesIO()
    Image.new("L", (8, 8)).save(file, "PNG")
    for number in range(2 * RUN_LENGTH):
        drop(database, root / f"{number:02d}.png", file.getvalue())
    assert screen_message(process, message(database)) == f"{2 * RUN_LENGTH} images: {2 * RUN_LENGTH} quarantined"


def test_an_image_that_memory_never_suffices_for_is_quarantined_in_the_end(
    process: WorkerProcess, database: Database, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhaust(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("worker.preparation.prepare", exhaust)
    drop(database, root / "huge.png", png())
    now = datetime.now(UTC)
    for _ in range(MAX_ATTEMPTS):
        assert rows(database)[0]["state"] == "waiting"
        now += timedelta(minutes=5)
        screen_message(process, message(database, now))
    assert rows(database)[0]["reason"] == "there is not enough memory to decode the image"


def test_images_on_which_the_network_fails_wait_in_their_lane_and_are_never_quarantined(
    process: WorkerProcess, database: Database, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        raise MemoryError("the card is full")

    with database.read() as session:
        network = process.models.live(registry.live(session)).network
    monkeypatch.setattr(network, "logits", fail)
    for name in ("a.png", "b.png"):
        drop(database, root / name, png(len(name)))
    now = datetime.now(UTC)
    for _ in range(3 * MAX_ATTEMPTS):
        now += timedelta(minutes=10)
        with database.write() as session:
            found = take(session, Lane.ROUTINE, 2, now)
        assert found is not None
        assert screen_message(process, found.encode()) == "2 images: 2 put off"
    assert {row["reason"] for row in rows(database)} == {None}


def test_what_nobody_foresaw_costs_only_the_image_that_causes_it(
    process: WorkerProcess, database: Database, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = work.finish

    def fail(session: Session, outcomes: list[Outcome], now: datetime, *more: Any) -> list[Outcome]:
        if any(isinstance(o, Screened) and o.claimed.path == "odd.png" for o in outcomes):
            raise ValueError("a row that the database refuses")
        return finish(session, outcomes, now, *more)

    monkeypatch.setattr(work, "finish", fail)
    for name in ("a.png", "odd.png", "z.png"):
        drop(database, root / name, png(len(name)))
    assert screen_message(process, message(database)) == "3 images: 3 put off"
    now = datetime.now(UTC)
    for _ in range(3 * MAX_ATTEMPTS):
        now += timedelta(minutes=10)
        with database.write() as session:
            found = take(session, Lane.SUSPECT, 1, now)
        if found:
            screen_message(process, found.encode())
    states = {row["path"]: (row["state"], row["reason"]) for row in rows(database)}
    assert states == {
        "a.png": ("done", None),
        "z.png": ("done", None),
        "odd.png": ("quarantined", "screening failed: ValueError"),
    }


def test_what_the_database_refuses_puts_images_off_and_quarantines_none(
    process: WorkerProcess, database: Database, root: Path
) -> None:
    """A rule that a later schema may bring, and that this program's rows break."""
    is_sqlite = database.engine.dialect.name == "sqlite"
    forbid = [
        "CREATE TRIGGER later BEFORE INSERT ON screenings BEGIN SELECT RAISE(ABORT, 'a later rule'); END"
        if is_sqlite
        else "ALTER TABLE screenings ADD COLUMN later int NOT NULL"
    ]
    permit = ["DROP TRIGGER later"] if is_sqlite else ["ALTER TABLE screenings DROP COLUMN later"]
    for name in ("a.png", "b.png"):
        drop(database, root / name, png(len(name)))
    administer(database, *forbid)
    now = datetime.now(UTC)
    for _ in range(3 * MAX_ATTEMPTS):
        now += timedelta(minutes=10)
        assert screen_message(process, message(database, now)) == "2 images: 2 put off"
    assert {job.lane for job in jobs(database)} == {Lane.ROUTINE}
    assert all(str(job.problem).startswith(REFUSES) for job in jobs(database))
    administer(database, *permit)
    assert screen_message(process, message(database, now + timedelta(minutes=10))) == "2 images: 2 done"


def administer(database: Database, *statements: str) -> None:
    with database.write() as session:
        for statement in statements:
            session.execute(text(statement))


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_messages_that_the_broker_refused_count_as_no_attempt(
    process: WorkerProcess, database: Database, root: Path
) -> None:
    for number in range(RUN_LENGTH):
        (root / f"{number:02d}.png").write_bytes(png(number)[:1000])
        os.utime(root / f"{number:02d}.png", (0, 0))  # not young any more
        register_now(database, root / f"{number:02d}.png")
    now = datetime.now(UTC) + timedelta(minutes=5)
    for _ in range(2 * MAX_ATTEMPTS):
        with database.write() as session:
            found = take(session, Lane.ROUTINE, 1000, now)
            assert found is not None
            take_back(session, found)
    sent = message(database, now)
    assert screen_message(process, found.encode()).endswith("an old attempt, dropped"), "it may be in Redis after all"
    screen_message(process, sent)
    assert {row["state"] for row in rows(database)} == {"waiting"}
    assert {(job.tries, job.strikes) for job in jobs(database)} == {(1, 1)}


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_attempts_that_failed_for_the_shares_sake_do_not_count_against_a_file(
    process: WorkerProcess, database: Database, root: Path
) -> None:
    for number in range(RUN_LENGTH):
        drop(database, root / f"{number:02d}.png", b"\0" * 1000)
    (root / MARKER).unlink()
    root.rename(root.with_name("away"))
    now = datetime.now(UTC)
    for _ in range(2 * MAX_ATTEMPTS):
        now += timedelta(minutes=5)
        screen_message(process, message(database, now))
    root.with_name("away").rename(root)
    (root / MARKER).touch()
    screen_message(process, message(database, now + timedelta(minutes=5)))
    assert {row["state"] for row in rows(database)} == {"waiting"}
    assert {(job.tries, job.strikes) for job in jobs(database)} == {(2 * MAX_ATTEMPTS + 1, 1)}


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_host_whose_installation_is_not_whole_quarantines_nothing(
    process: WorkerProcess, database: Database, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 65535, (80, 80)).astype(np.uint16)).save(file, "TIFF")
    drop(database, root / "a.tiff", file.getvalue())
    now = datetime.now(UTC)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "tifffile", None)  # Python's own way to say that there is none
        for _ in range(2 * MAX_ATTEMPTS):
            now += timedelta(minutes=10)
            assert screen_message(process, message(database, now)) == "1 images: 1 put off"
    assert "the installation on this host is not whole" in str(jobs(database)[0].problem)
    assert screen_message(process, message(database, now + timedelta(minutes=10))) == "1 images: 1 done"


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_host_that_starts_no_thread_quarantines_nothing(
    process: WorkerProcess, database: Database, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    drop(database, root / "a.png", png())
    now = datetime.now(UTC)
    with monkeypatch.context() as patch:
        patch.setattr(process.threads, "submit", refuse)
        for _ in range(2 * MAX_ATTEMPTS):
            now += timedelta(minutes=10)
            assert screen_message(process, message(database, now)) == "1 images: 1 put off"
    assert screen_message(process, message(database, now + timedelta(minutes=10))) == "1 images: 1 done"


def test_a_malformed_message_goes_to_the_dead_letters_and_touches_no_image(
    process: WorkerProcess, database: Database, root: Path
) -> None:
    drop(database, root / "a.png", png())
    message(database)
    assert screen_message(process, {"schema": SCHEMA, "jobs": "1; DROP TABLE"}).startswith("dead letter: ")
    with database.read() as session:
        letter = session.scalars(select(DeadLetter)).one()
        assert "DROP TABLE" in letter.body
        assert letter.reason
        assert session.scalars(select(Sighting.state)).all() == ["waiting"]
    assert [job.state for job in jobs(database)] == ["sent"]


def test_a_message_of_a_newer_producer_is_left_to_newer_workers(
    process: WorkerProcess, database: Database, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.screening.OUTDATED", timedelta(seconds=1))
    drop(database, root / "a.png", png())
    body = message(database)
    assert "upgrade the worker" in screen_message(process, body | {"schema": SCHEMA + 1})
    assert process.outdated is not None
    (job,) = jobs(database)
    assert job.state == "unsent"
    assert job.not_before is not None
    assert "upgrade the worker" in (job.problem or "")
    with database.read() as session:
        assert session.scalars(select(DeadLetter)).all() == []


def test_images_that_an_older_worker_gives_back_come_again_at_uneven_intervals(
    process: WorkerProcess, database: Database, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At even ones it could be the first to ask each time, and a newer worker beside it would never get them."""
    monkeypatch.setattr("worker.screening.OUTDATED", timedelta(minutes=10))
    monkeypatch.setattr("worker.screening.time.sleep", lambda _: None)
    for number in range(5):
        drop(database, root / f"{number}.png", png(number))
        screen_message(process, message(database) | {"schema": SCHEMA + 1})
    waits = [job.not_before - job.sent_at for job in jobs(database) if job.not_before and job.sent_at]
    assert len(waits) == 5
    assert max(waits) - min(waits) > timedelta(minutes=1)


def test_an_answer_that_is_not_a_number_puts_its_image_off_and_no_other(
    process: WorkerProcess, database: Database, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop(database, root / "a.png", png(1))
    drop(database, root / "b.png", png(2))
    with database.read() as session:
        network = process.models.live(registry.live(session)).network
    monkeypatch.setattr(network, "logits", lambda batch: np.array([np.nan, 1.0], np.float32))
    assert screen_message(process, message(database)) == "2 images: 1 done, 1 put off"


def test_a_sites_own_words_for_a_frontal_chest_radiograph_are_known_to_the_worker(
    process: WorkerProcess, database: Database, root: Path
) -> None:
    pixels = np.random.default_rng(0).integers(0, 4096, (80, 80)).astype(np.uint16)
    file = written(make(pixels, BodyPartExamined="FOOBARCHEST", ViewPosition="FOOBARFRONT"))
    drop(database, root / "a.dcm", file)
    screen_message(process, message(database))
    words = {"chest_words": ("foobarchest",), "frontal_words": ("foobarfront",)}
    process.settings = process.settings.model_copy(update=words)
    drop(database, root / "b.dcm", file)
    screen_message(process, message(database))
    assert [row["state"] for row in rows(database)] == ["quarantined", "done"]


def test_each_source_is_read_by_its_own_point_and_the_bytes_have_one_set_of_figures_under_each_name_of_a_source(
    process: WorkerProcess, database: Database, root: Path, tmp_path: Path
) -> None:
    drop(database, root / "before.png", png(1))
    screen_message(process, message(database))
    number = add_point(database, "ward", "v1", slope=2.0, intercept=-1.0, threshold=0.25)
    add_point(database, "ward", "v0", threshold=0.9)
    add_point(database, "ward", "v1", threshold=0.9, is_applied=False)
    for name, seed in (("after.png", 1), ("copy.png", 1), ("other.png", 2)):
        drop(database, root / name, png(seed))
    body = message(database)
    screen_message(process, body)
    found = {row["path"]: row for row in rows(database)}
    assert {name: (row["operating_point"], row["threshold"]) for name, row in found.items()} == {
        "before.png": (None, 0.5),
        "after.png": (number, 0.25),
        "copy.png": (number, 0.25),
        "other.png": (number, 0.25),
    }
    for name in ("after.png", "copy.png", "other.png"):
        row = found[name]
        assert row["probability"] == Line(2.0, -1.0).probability(row["logit"])
        assert row["label"] == ("PNEUMONIA" if row["probability"] >= 0.25 else "NORMAL")
        assert not row["is_provisional"]
    assert found["after.png"]["logit"] == found["before.png"]["logit"], "one prediction for one content"
    assert found["after.png"]["probability"] == found["copy.png"]["probability"] != found["before.png"]["probability"]
    with database.write() as session:
        session.get_one(OperatingPoint, number).retired_at = datetime.now(UTC)
    assert screen_message(process, body) == "0 images: an old attempt, dropped"
    drop(database, root / "later.png", png(1))
    screen_message(process, message(database))
    again = {row["path"]: (row["operating_point"], row["probability"]) for row in rows(database)}
    assert again["later.png"] == (None, found["before.png"]["probability"])
    assert again["after.png"] == (number, found["after.png"]["probability"]), "a result is never read anew"


def test_a_point_that_is_applied_while_a_batch_runs_holds_from_the_next_message_on(
    process: WorkerProcess, database: Database, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with database.read() as session:
        network = process.models.live(registry.live(session)).network
    answer, applied = network.logits, list[int]()

    def apply_and_answer(batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        if not applied:
            applied.append(add_point(database, "ward", "v1", threshold=0.25))
        return answer(batch)

    monkeypatch.setattr(network, "logits", apply_and_answer)
    for name, seed in (("during.png", 1), ("after.png", 2)):
        drop(database, root / name, png(seed))
        screen_message(process, message(database))
    found = {row["path"]: (row["operating_point"], row["threshold"]) for row in rows(database)}
    assert found == {"during.png": (None, 0.5), "after.png": (applied[0], 0.25)}


@pytest.mark.parametrize("is_provisional", [True, False])
def test_each_result_says_whether_the_point_that_gave_it_is_provisional(
    process: WorkerProcess, database: Database, root: Path, is_provisional: bool
) -> None:
    number = add_point(database, "ward", "v1", threshold=0.25, is_provisional=is_provisional)
    drop(database, root / "a.png", png(1))
    screen_message(process, message(database))
    for view in ("results", "results_history"):
        (row,) = rows(database, view)
        assert (row["operating_point"], bool(row["is_provisional"])) == (number, is_provisional)


def test_points_are_read_with_the_claim_and_cost_no_query_for_each_image(
    process: WorkerProcess, database: Database, root: Path
) -> None:
    add_point(database, "ward", "v1", threshold=0.25)
    for seed in range(9):
        drop(database, root / f"{seed}.png", png(seed))
    asked: list[str] = []
    event.listen(
        process.database.engine, "before_cursor_execute", lambda _c, _cursor, statement, *_: asked.append(statement)
    )
    screen_message(process, message(database))
    assert sum("FROM operating_points" in statement for statement in asked) == 1
