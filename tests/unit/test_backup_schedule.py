"""Backups by schedule: when one is due, tried out, pruned, and known to `status` and to Prometheus."""

import fcntl
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from sqlalchemy import text

from local import archive, backup_schedule, verification
from local import backup as backing_up
from local.backup_schedule import LOCK, NAME, SCHEDULE, make, seconds_until_due
from producer.metrics import Situation
from queries import backups
from queries.backups import Backup
from shared.base import settings
from shared.base.errors import InvalidRequest, ServiceUnavailable, WorkFailed, WrongSettings
from shared.base.settings import Settings
from shared.database import Database
from tests.models import go_live, make_linear_version
from tests.unit.conftest import Run
from tests.unit.steps import drop

HOUR = timedelta(hours=1)
TOP = Path(__file__).parents[2]
only_sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
only_postgresql = pytest.mark.parametrize("database", ["postgresql"], indirect=True)


@pytest.fixture
def chosen(database: Database, tmp_path: Path) -> Settings:
    return settings.load(tmp_path, backup_every=3600.0, backup_keep=2, min_free_disk=0)


def files(chosen: Settings) -> list[str]:
    return sorted(path.name for path in (chosen.home / "backups").iterdir() if path.name != LOCK)


def put(chosen: Settings, age: timedelta, content: str = "an older one") -> str:
    """A file as a schedule would have left it that long ago."""
    (chosen.home / "backups").mkdir(exist_ok=True)
    name = (datetime.now(UTC) - age).strftime(NAME)
    (chosen.home / "backups" / name).write_text(content)
    return name


def last(database: Database) -> Backup | None:
    with database.read() as session:
        return backups.newest(session, backups.MADE, backups.FAILED)


def needs(database: Database, chosen: Settings, now: datetime | None = None) -> list[str]:
    with database.read() as session:
        return list(backups.needs(session, chosen, now or datetime.now(UTC)))


def test_a_backup_is_made_when_one_is_due_tried_out_and_noted(database: Database, chosen: Settings) -> None:
    drop(database, "a.png", "b.png")
    kept = make(chosen, SCHEDULE, if_due=True)
    assert kept is not None and kept.unrecorded is None and kept.written.unrestored is None
    assert files(chosen) == [kept.file.name]
    assert (chosen.home / "backups").stat().st_mode & 0o777 == 0o700 and kept.file.stat().st_mode & 0o777 == 0o600
    noted = last(database)
    assert noted is not None and (noted.problem, noted.bytes) == (None, kept.file.stat().st_size)
    assert noted.rows >= 4  # two sightings with a job each
    assert make(chosen, SCHEDULE, if_due=True) is None, "none is due yet"
    assert 3500 < seconds_until_due(chosen, chosen.home / "backups", datetime.now(UTC)) <= 3600
    assert needs(database, chosen) == []


@only_sqlite
def test_another_host_with_a_folder_of_its_own_makes_no_second_backup(
    database: Database, chosen: Settings, tmp_path: Path
) -> None:
    assert make(chosen, SCHEDULE, if_due=True) is not None
    (tmp_path / "other").mkdir()
    assert make(chosen, SCHEDULE, tmp_path / "other", if_due=True) is None
    assert make(chosen, "Ada", tmp_path / "other") is not None, "but whoever asks for one gets it"


@only_sqlite
def test_two_that_people_ask_for_in_one_second_are_both_made(database: Database, chosen: Settings) -> None:
    for _ in range(2):
        assert make(chosen, "Ada") is not None
    assert len(files(chosen)) == 2


@only_sqlite
def test_while_another_process_writes_one_none_is_due(database: Database, chosen: Settings) -> None:
    (chosen.home / "backups").mkdir()
    with (chosen.home / "backups" / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert make(chosen, SCHEDULE, if_due=True) is None
        with pytest.raises(WorkFailed, match="Another process writes"):
            make(chosen, "Ada")
    assert make(chosen, SCHEDULE, if_due=True) is not None


@only_sqlite
def test_old_ones_of_our_naming_alone_are_deleted_and_only_after_a_new_one(
    database: Database, chosen: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, newer = put(chosen, 30 * HOUR), put(chosen, 20 * HOUR)
    wrong_clock = put(chosen, -9000 * HOUR)
    others = ["before-the-upgrade.backup", "pneumoscreen-20261399T000000Z.backup", "pneumoscreen.db"]
    for name in others:
        (chosen.home / "backups" / name).write_text("precious")
    with monkeypatch.context() as broken:
        broken.setattr(verification, "_compare", lambda *_: (_ for _ in ()).throw(WorkFailed("no good")))
        with pytest.raises(WorkFailed, match="no good"):
            make(chosen, SCHEDULE, if_due=True)
    assert files(chosen) == sorted([old, newer, wrong_clock, *others])
    kept = make(chosen, SCHEDULE, if_due=True)
    assert kept is not None and kept.deleted == 2
    assert files(chosen) == sorted([newer, kept.file.name, *others])


@only_sqlite
def test_what_a_killed_process_left_is_removed_a_day_later(database: Database, chosen: Settings) -> None:
    put(chosen, 30 * HOUR)
    left, young = (chosen.home / "backups" / f".backup-{name}.part" for name in ("left", "young"))
    for part in (left, young):
        part.write_text("half")
    os.utime(left, (time.time() - 90_000,) * 2)
    make(chosen, SCHEDULE)
    assert not left.exists() and young.exists()


@only_sqlite
def test_a_copy_that_lacks_rows_is_no_backup(
    database: Database, chosen: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop(database, "a.png")

    def lossy(source: Path, target: Path, *rest: object) -> None:
        archive.copy_sqlite(source, target, *rest)
        with closing(sqlite3.connect(target)) as connection, connection:
            connection.execute("DELETE FROM jobs")

    monkeypatch.setattr(backing_up, "copy_sqlite", lossy)
    with pytest.raises(WorkFailed, match="look at the table jobs"):
        make(chosen, SCHEDULE)
    assert files(chosen) == []
    (need,) = needs(database, chosen)
    assert "look at the table jobs" in need and "there is no good one" in need


@only_postgresql
def test_an_archive_is_restored_into_a_database_that_is_dropped_again(
    database: Database, chosen: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop(database, "a.png")
    commands: list[tuple[str, ...]] = []
    ran = archive.Client.run
    monkeypatch.setattr(archive.Client, "run", lambda self, *words: commands.append(words) or ran(self, *words))
    leftover = f"{verification.PREFIX}1000_left"
    administer(database, f"CREATE DATABASE {leftover}")
    kept = make(chosen, SCHEDULE)
    assert kept is not None and kept.written.unrestored is None
    assert any(words[0] == "pg_restore" and "--exit-on-error" in words for words in commands)
    with database.read() as session:
        names = session.scalars(text("SELECT datname FROM pg_database")).all()
    assert not [name for name in names if name.startswith(verification.PREFIX)]


@only_postgresql
def test_a_role_that_may_make_no_database_reads_the_archive_through_and_says_so(
    database: Database, chosen: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for statement in (
        "CREATE ROLE keeper LOGIN NOCREATEDB",
        f'GRANT CONNECT ON DATABASE "{database.engine.url.database}" TO keeper',
        "GRANT pg_read_all_data TO keeper",
        "GRANT INSERT ON audit_log TO keeper",
        "GRANT USAGE ON SEQUENCE audit_log_id_seq TO keeper",
    ):
        administer(database, statement)
    try:
        url = database.engine.url.set(username="keeper").render_as_string(hide_password=False)
        monkeypatch.setenv("PNEUMOSCREEN_DATABASE_URL", url)
        kept = make(settings.load(chosen.home, backup_every=3600.0, min_free_disk=0), SCHEDULE)
        assert kept is not None and kept.unrecorded is None
        assert kept.written.unrestored is not None and "ALTER ROLE keeper CREATEDB" in kept.written.unrestored
        with database.read() as session:
            assert any("not restored to try it" in hint for hint in backups.hints(session, chosen))
        archive_file = kept.file.read_bytes()
        monkeypatch.setattr(backing_up, "sync", lambda part: part.write_bytes(archive_file[: len(archive_file) // 2]))
        with pytest.raises(WorkFailed, match="pg_restore failed"):
            make(settings.load(chosen.home, min_free_disk=0), "Ada", keep=9)
    finally:
        for statement in ("DROP OWNED BY keeper", "DROP ROLE keeper"):
            administer(database, statement)


def administer(database: Database, statement: str) -> None:
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(statement))


def test_a_failure_is_noted_once_and_needs_a_person_until_the_next_backup(
    database: Database, chosen: Settings, tmp_path: Path
) -> None:
    away = settings.load(tmp_path, backup_every=3600.0, backup_dir=tmp_path / "away", min_free_disk=0)
    for _ in range(3):
        with pytest.raises(InvalidRequest, match=r"no folder .*away for backups: make it, or mount its disk"):
            make(away, SCHEDULE, if_due=True)
    (need,) = needs(database, away)
    assert "failed on" in need and "mount its disk" in need and "there is no good one" in need
    with database.read() as session:
        assert session.scalar(text("SELECT count(*) FROM audit_log")) == 1
    assert not (tmp_path / "away").exists()
    (tmp_path / "away").mkdir()
    assert make(away, SCHEDULE, if_due=True) is not None
    assert needs(database, away) == []


@only_sqlite
def test_backups_that_stopped_need_a_person(database: Database, chosen: Settings) -> None:
    now = datetime.now(UTC)
    assert needs(database, chosen, now) == [], "nothing was ever started here"
    go_live(database, make_linear_version(chosen.models, "v1"))
    assert "there is no good one" in needs(database, chosen, now)[0]
    with database.write() as session:
        backups.record(session, SCHEDULE, Backup(now - 1.9 * HOUR, "f", "h"))
    assert needs(database, chosen, now) == []
    (need,) = needs(database, chosen, now + HOUR)
    assert "more than twice backup_every" in need and "db backup --scheduled" in need
    assert needs(database, settings.load(chosen.home), now + 900 * HOUR) == [], "this host schedules none"


def test_status_hints_that_there_is_no_backup_and_that_it_lies_on_the_same_disk(
    database: Database, chosen: Settings
) -> None:
    unscheduled = settings.load(chosen.home)

    def hints() -> str:
        with database.read() as session:
            return "\n".join(backups.hints(session, unscheduled))

    assert "no backup was ever made: set backup_every" in hints()
    make(chosen, "Ada")
    on_same_disk = database.engine.dialect.name == "sqlite"
    assert ("lie on the disk of the database itself" in hints()) == on_same_disk
    assert "no backup" not in hints()


def test_where_there_is_no_database_yet_none_is_made(tmp_path: Path) -> None:
    with pytest.raises(ServiceUnavailable, match="nothing to back up"):
        make(settings.load(tmp_path, backup_every=60.0, min_free_disk=0), SCHEDULE, if_due=True)
    assert not (tmp_path / "pneumoscreen.db").exists()


@only_sqlite
def test_a_mistyped_folder_is_no_failed_backup(database: Database, chosen: Settings) -> None:
    with pytest.raises(InvalidRequest, match="no folder"):
        make(chosen, "Ada", chosen.home / "none")
    assert last(database) is None


@only_sqlite
def test_a_disk_without_room_gets_no_backup_and_keeps_the_old_ones(database: Database, chosen: Settings) -> None:
    old = put(chosen, 30 * HOUR)
    full = settings.load(chosen.home, backup_every=3600.0, backup_keep=1, min_free_disk=10**18)
    with pytest.raises(WorkFailed, match="make room, keep fewer"):
        make(full, SCHEDULE, if_due=True)
    assert files(chosen) == [old]


@only_sqlite
def test_a_time_that_a_wrong_clock_wrote_puts_no_backup_off(database: Database, chosen: Settings) -> None:
    now = datetime.now(UTC)
    with database.write() as session:
        backups.record(session, SCHEDULE, Backup(now + 900 * HOUR, "f", "h"))
    put(chosen, -900 * HOUR)
    assert seconds_until_due(chosen, chosen.home / "backups", now) == 0


@only_sqlite
def test_prometheus_sees_when_the_last_one_was_made_and_0_while_a_scheduled_one_is_missing(
    database: Database, chosen: Settings, redis_url: str
) -> None:
    name = "pneumoscreen_backup_last_success_timestamp_seconds"

    def value(**more: object) -> float | None:
        registry = CollectorRegistry()
        registry.register(Situation(settings.load(chosen.home, broker_url=redis_url, **more)))
        assert generate_latest(registry)
        return registry.get_sample_value(name)

    assert value() is None and value(backup_every=3600.0) == 0
    make(chosen, SCHEDULE)
    noted = last(database)
    assert noted is not None and value() == pytest.approx(noted.at.timestamp())


def test_the_folder_may_not_lie_in_a_source(tmp_path: Path) -> None:
    (tmp_path / "ward" / "backups").mkdir(parents=True)
    sources = {"ward": {"path": tmp_path / "ward"}}
    with pytest.raises(WrongSettings, match=r"backup_dir: backups may not lie in a source, .* in ward"):
        settings.load(tmp_path / "home", sources=sources, backup_dir=tmp_path / "ward" / "backups")
    (tmp_path / "link").symlink_to(tmp_path / "ward" / "backups")
    chosen = settings.load(tmp_path / "home", sources=sources, backup_dir=tmp_path / "link")
    with pytest.raises(InvalidRequest, match="is in the source ward"):
        backup_schedule.folder_of(chosen)


@only_sqlite
def test_the_command_makes_one_now_or_if_due_and_takes_a_file_or_a_folder(
    run_command: Run, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PNEUMOSCREEN_MIN_FREE_DISK", "0")
    code, _, errors = run_command("db", "backup", "--home", tmp_path, "--scheduled")
    assert code == 2 and "set backup_every" in errors
    monkeypatch.setenv("PNEUMOSCREEN_BACKUP_EVERY", "3600")
    code, out, _ = run_command("db", "backup", "--home", tmp_path)
    assert code == 0 and "holds all" in out and "rows of its moment" in out
    code, out, _ = run_command("db", "backup", "--home", tmp_path, "--scheduled")
    assert (code, out) == (0, "No backup is due, or another process is writing it.\n")
    code, _, errors = run_command("db", "backup", tmp_path / "one.backup", "--home", tmp_path, "--keep", "3")
    assert code == 2 and "not both" in errors
    code, _, errors = run_command("db", "backup", "--home", tmp_path, "--dir", tmp_path / "none")
    assert code == 2 and "make it, or mount its disk" in errors


@only_sqlite
def test_the_process_that_stays_makes_one_at_once_and_ends_on_sigterm(
    database: Database, chosen: Settings, tmp_path: Path
) -> None:
    environment = {**os.environ, "PNEUMOSCREEN_BACKUP_EVERY": "60", "PNEUMOSCREEN_MIN_FREE_DISK": "0"}
    command = [sys.executable, "-m", "cli.main", "db", "backup", "--repeat", "--home", str(tmp_path)]
    process = subprocess.Popen(command, env=environment, cwd=TOP, stderr=subprocess.PIPE)
    try:
        while last(database) is None:
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0, errors
    assert len(files(chosen)) == 1 and b"Traceback" not in errors


@only_sqlite
def test_the_audit_log_holds_no_name_of_an_image(database: Database, chosen: Settings) -> None:
    drop(database, "SECRET-NAME.png")
    make(chosen, SCHEDULE)
    with database.read() as session:
        detail = session.scalars(text("SELECT detail FROM audit_log")).one()
    assert "SECRET" not in detail and set(json.loads(detail)) >= {"file", "host", "bytes", "rows"}
