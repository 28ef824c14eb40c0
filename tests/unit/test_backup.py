"""`db backup` while others write, and `db restore` into what is there, or into nothing."""

import fcntl
import os
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import pytest
from alembic import command
from sqlalchemy import create_engine, select, text

from cli import restore as restoring
from cli.backup import backup
from cli.restore import restore
from local import archive
from local import backup as backing_up
from local.restore import check_kind
from shared.base import settings
from shared.base.errors import InvalidRequest, ServiceUnavailable, WorkFailed, WrongSettings
from shared.base.settings import Settings
from shared.database import AuditEntry, BrokerEpoch, Database, ModelVersion, Worker, connect
from shared.database.connection import _alembic
from shared.ledger import recover
from tests.plan import short
from tests.unit.steps import NOW, claim, drop, file, finish, in_hand, jobs, rows, screened, send_all, sightings


@pytest.fixture
def chosen(database: Database, tmp_path: Path) -> Settings:
    return settings.load(tmp_path)


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """Where the backup goes."""
    (tmp_path / "backups").mkdir()
    return tmp_path / "backups" / "one.backup"


@pytest.fixture
def other_kind(chosen: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings that name a database of the other kind."""
    if chosen.database_url is None:
        monkeypatch.setenv("PNEUMOSCREEN_DATABASE_URL", "postgresql+psycopg://nobody@127.0.0.1:9/none")
    else:
        monkeypatch.delenv("PNEUMOSCREEN_DATABASE_URL")
    return settings.load(tmp_path)


only_sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
only_postgresql = pytest.mark.parametrize("database", ["postgresql"], indirect=True)
sqlite_first = pytest.mark.parametrize("database", short(["sqlite"], ["sqlite", "postgresql"]), indirect=True)
"""Of rules that lie above both kinds of databases: on PostgreSQL, whose programs take seconds, in `make soak`."""


def paths(database: Database) -> list[str]:
    return [sighting.path for sighting in sightings(database)]


def run(database: Database, *statements: str) -> None:
    with database.write() as session:
        for statement in statements:
            session.execute(text(statement))


def restored(database: Database, chosen: Settings, kept: Path) -> None:
    database.close()  # its connections would be somebody else's
    restore(chosen, kept, yes=True)


def test_a_backup_comes_back_as_it_was(
    database: Database, chosen: Settings, kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finish(database, screened(in_hand(database, 'it\'s, "odd"\n\t\\caf\udce9.png')[0], 0.9))
    before = rows(database)
    backup(chosen, kept)
    said = capsys.readouterr().out
    assert f"{kept.stat().st_size:,} bytes" in said and f"db restore {kept}" in said and str(chosen.models) in said
    drop(database, "later.png")
    restored(database, chosen, kept)
    assert rows(database) == before
    drop(database, "after.png")
    assert len(paths(database)) == 2


def test_a_backup_is_for_its_owner_alone_and_leaves_nothing_beside_it(
    database: Database, chosen: Settings, kept: Path
) -> None:
    backup(chosen, kept)
    assert kept.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in kept.parent.iterdir()] == ["one.backup"]


def test_a_backup_never_overwrites_a_file(database: Database, chosen: Settings, kept: Path) -> None:
    kept.write_text("precious")
    with pytest.raises(InvalidRequest, match=r"one\.backup exists already"):
        backup(chosen, kept)
    assert kept.read_text() == "precious"
    with pytest.raises(InvalidRequest, match="There is no folder"):
        backup(chosen, kept.parent / "none" / "one.backup")


def test_a_backup_while_others_write_holds_whole_transactions(
    database: Database, chosen: Settings, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "PAGES", 1)  # so that many writes fall between two steps of the copying
    drop(database, *(f"before-{number}.png" for number in range(1000)))
    stop, written = threading.Event(), 0

    def write() -> None:
        nonlocal written
        while not stop.is_set():
            drop(database, *(file(f"{written}-{part}.png", second=part) for part in range(10)))
            written += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        while written < 3:
            pass
        start = written
        backup(chosen, kept)
        during = written - start
    finally:
        stop.set()
        thread.join()
    assert during > 0, "nobody wrote meanwhile"
    assert len(paths(database)) == 1000 + 10 * written
    restored(database, chosen, kept)
    found = len(paths(database))
    assert found % 10 == 0 and 1000 + 10 * start <= found < 1000 + 10 * written
    assert len(jobs(database)) == found


@only_sqlite
def test_a_backup_ends_however_much_is_written_meanwhile(
    database: Database, chosen: Settings, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite starts a copying over that sees a write between two of its steps."""
    drop(database, *(f"before-{number}.png" for number in range(1000)))
    steps: list[int] = []

    def write(copied: int, _total: int) -> None:
        steps.append(copied)
        assert len(steps) < 1000, "it never ends"
        drop(database, file(f"{len(steps)}.png", second=len(steps)))

    monkeypatch.setattr(archive, "PAGES", 10)
    backing_up.backup(chosen, kept, write)
    assert len(steps) > 5
    assert steps == sorted(set(steps)), "the copying went back to its beginning"
    assert len(paths(database)) == 1000 + len(steps)
    with closing(sqlite3.connect(kept)) as connection:
        assert connection.execute("SELECT count(*) FROM sightings").fetchone() == (1000,)


def migrate(database: Database, revision: str) -> None:
    """Begin anew, as a program of that schema would have."""
    if database.engine.dialect.name == "sqlite":
        database.close()
        Path(database.engine.url.database or "").unlink()
    else:
        run(database, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    with database.engine.connect() as connection:
        config = _alembic()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        connection.commit()
    database.close()


def test_a_backup_of_an_older_schema_is_made_and_migrated_when_it_is_restored(
    database: Database, chosen: Settings, kept: Path
) -> None:
    """People make one before they upgrade; what the newer schema added is there already when they go back to it."""
    migrate(database, "0001")
    run(
        database,
        "INSERT INTO sightings (root, path, size, mtime_ns, inode, state, seen_at) "
        "VALUES ('ward', 'a.png', 10, 2, 3, 'waiting', '2026-05-04 12:00:00')",
        "INSERT INTO jobs (sighting_id, lane, state, delivery, created_at, deaths) "
        "VALUES (1, 'routine', 'unsent', 0, '2026-05-04 12:00:00', 0)",
    )
    backup(chosen, kept)
    database.upgrade()
    restored(database, chosen, kept)
    database.check()
    assert [(row["path"], row["source"]) for row in rows(database)] == [("a.png", "ward")]
    assert [(sighting.revision, sighting.lane) for sighting in sightings(database)] == [("10:0", "routine")]


def test_a_backup_of_a_newer_schema_is_refused_and_nothing_is_changed(
    database: Database, chosen: Settings, kept: Path
) -> None:
    with database.read() as session:
        current = session.scalar(text("SELECT version_num FROM alembic_version"))
    run(database, "UPDATE alembic_version SET version_num = '9999'")
    backup(chosen, kept)
    run(database, f"UPDATE alembic_version SET version_num = '{current}'")
    drop(database, "a.png")
    with pytest.raises(InvalidRequest, match=r"schema 9999, which a newer version of Pneumoscreen made"):
        restored(database, chosen, kept)
    assert paths(database) == ["a.png"]


def test_without_a_database_there_is_nothing_to_back_up(tmp_path: Path, kept: Path) -> None:
    with pytest.raises(ServiceUnavailable, match="no tables of Pneumoscreen"):
        backup(settings.load(tmp_path), kept)
    assert list(kept.parent.iterdir()) == [] and not (tmp_path / "pneumoscreen.db").exists()


def test_a_restore_fills_an_empty_place(database: Database, chosen: Settings, kept: Path) -> None:
    drop(database, "a.png")
    backup(chosen, kept)
    database.close()
    if database.engine.dialect.name == "sqlite":
        (chosen.home / "pneumoscreen.db").unlink()
    else:
        run(database, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    restored(database, chosen, kept)
    assert paths(database) == ["a.png"]


def test_open_jobs_are_sent_again_at_once_under_numbers_that_nobody_holds(
    database: Database, chosen: Settings, kept: Path
) -> None:
    (claimed,) = in_hand(database, "claimed.png")
    drop(database, file("sent.png", second=2))
    message = send_all(database)
    drop(database, file("unsent.png", second=3))
    with database.write() as session:
        session.add(BrokerEpoch(id=1, value="old"))
    backup(chosen, kept)
    for _ in range(3):  # life goes on: the job gets the numbers that a restored one would get too
        run(database, "UPDATE jobs SET state = 'unsent' WHERE state IN ('sent', 'claimed')")
        late = send_all(database)
        held = claim(database, late)
    restored(database, chosen, kept)
    assert {job.state for job in jobs(database)} == {"unsent"}
    assert {job.lane for job in jobs(database)} == {"routine"} and {job.deaths for job in jobs(database)} == {0}
    again, other = send_all(database, now=NOW), send_all(database, now=NOW)
    assert len(again.jobs) + len(other.jobs) == 3
    assert min(again.attempt, other.attempt) > late.attempt + 1000
    assert finish(database, screened(claimed), *(screened(each) for each in held)) == []
    assert claim(database, message) == [] and claim(database, late) == []
    assert len(claim(database, again) + claim(database, other)) == 3
    with database.read() as session:
        assert recover.epoch(session) is None


@only_postgresql
def test_a_job_made_after_a_restore_never_has_the_number_of_one_that_was_lost(
    database: Database, chosen: Settings, kept: Path
) -> None:
    """A worker that was cut off during the restore would write its result to another file's row."""
    backup(chosen, kept)
    (lost,) = in_hand(database, "lost.png")
    restored(database, chosen, kept)
    (other,) = in_hand(database, "other.png")
    assert other.sighting == lost.sighting and other.job != lost.job
    assert finish(database, screened(lost)) == []
    assert [row["state"] for row in rows(database)] == ["waiting"]


@sqlite_first
def test_a_restore_is_on_record(database: Database, chosen: Settings, kept: Path) -> None:
    drop(database, "a.png")
    backup(chosen, kept)
    restored(database, chosen, kept)
    with database.read() as session:
        (entry,) = session.scalars(select(AuditEntry)).all()
    assert (entry.action, entry.detail) == ("restore", "a backup was restored; 1 open jobs are sent again")


@sqlite_first
def test_without_a_yes_nothing_is_replaced(
    database: Database, chosen: Settings, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup(chosen, kept)
    drop(database, "a.png")
    database.close()

    def refuse(question: str, abort: bool) -> None:
        assert str(kept) in question and abort
        raise click.Abort

    monkeypatch.setattr(restoring.typer, "confirm", refuse)
    with pytest.raises(click.Abort):
        restore(chosen, kept, yes=False)
    assert paths(database) == ["a.png"]


def test_a_restore_waits_for_nobody_who_is_alive(database: Database, chosen: Settings, kept: Path) -> None:
    backup(chosen, kept)
    now = datetime.now(UTC)
    with database.write() as session:
        session.add(Worker(host="gpu-1", pid=77, device="cpu", started_at=now, heartbeat_at=now))
    with pytest.raises(ServiceUnavailable, match=r"gpu-1 \(process 77\)"):
        restored(database, chosen, kept)
    with database.write() as session:
        session.merge(Worker(host="gpu-1", pid=77, token="", heartbeat_at=now - timedelta(minutes=2)))
    restored(database, chosen, kept)


@sqlite_first
def test_a_restore_refuses_a_home_in_which_the_system_runs(database: Database, chosen: Settings, kept: Path) -> None:
    backup(chosen, kept)
    (chosen.home / "run").mkdir()
    with (chosen.home / "run" / "up.lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ServiceUnavailable, match="stop `pneumoscreen up`"):
            restored(database, chosen, kept)
    restored(database, chosen, kept)


def test_a_restore_refuses_while_a_producer_is_connected(database: Database, chosen: Settings, kept: Path) -> None:
    """A producer gives no sign of life; with SQLite it would go on writing to the file that was replaced."""
    drop(database, "a.png")
    backup(chosen, kept)
    database.close()
    producer = connect(chosen.database)
    assert paths(producer) == ["a.png"]  # its connection stays in its pool
    with pytest.raises(ServiceUnavailable, match="stop every producer"):
        restore(chosen, kept, yes=True)
    drop(producer, file("b.png", second=2))
    producer.close()
    restore(chosen, kept, yes=True)
    assert paths(database) == ["a.png"]


def test_a_file_of_another_kind_is_refused(
    database: Database, chosen: Settings, kept: Path, other_kind: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup(chosen, kept)
    database.close()
    if other_kind.database_url is None:
        with pytest.raises(
            InvalidRequest, match=r"backup of a PostgreSQL database, but the settings name an SQLite one"
        ):
            restore(other_kind, kept, yes=True)
    else:
        with pytest.raises(
            InvalidRequest, match=r"backup of an SQLite database, but the settings name a PostgreSQL one"
        ):
            check_kind(kept, "postgresql")
    (kept.parent / "notes").write_text("no backup")
    with pytest.raises(InvalidRequest, match="notes is no backup"):
        restore(chosen, kept.parent / "notes", yes=True)


def test_a_backup_that_was_cut_off_changes_nothing(database: Database, chosen: Settings, kept: Path) -> None:
    drop(database, *(f"{'long' * 20}-{number}.png" for number in range(2000)))
    backup(chosen, kept)
    os.truncate(kept, kept.stat().st_size // 2)
    drop(database, file("later.png", second=7))
    with pytest.raises(WorkFailed, match=r"nothing was changed|Nothing was changed"):
        restored(database, chosen, kept)
    assert len(paths(database)) == 2001
    assert not [path for path in chosen.home.iterdir() if path.name.startswith((".backup", ".restore"))]


@sqlite_first
def test_model_versions_whose_folder_is_missing_are_told_of(
    database: Database, chosen: Settings, kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with database.write() as session:
        session.add(ModelVersion(version="v7", manifest_sha256="0" * 64, created_at=NOW))
    backup(chosen, kept)
    restored(database, chosen, kept)
    assert "Model versions without a folder" in (said := capsys.readouterr().out) and "v7" in said


@only_sqlite
def test_the_database_that_was_replaced_is_kept_with_its_mode(database: Database, chosen: Settings, kept: Path) -> None:
    backup(chosen, kept)
    drop(database, "a.png")
    current = chosen.home / "pneumoscreen.db"
    current.chmod(0o640)
    restored(database, chosen, kept)
    (before,) = chosen.home.glob("pneumoscreen.db.replaced-*")
    assert current.stat().st_mode & 0o777 == 0o640
    with closing(sqlite3.connect(before)) as connection:
        assert connection.execute("SELECT path FROM sightings").fetchall() == [("a.png",)]
    assert paths(database) == []


@only_sqlite
def test_a_damaged_database_is_replaced(database: Database, chosen: Settings, kept: Path) -> None:
    drop(database, "a.png")
    backup(chosen, kept)
    database.close()
    (chosen.home / "pneumoscreen.db").write_bytes(b"no database" * 1000)
    restored(database, chosen, kept)
    assert paths(database) == ["a.png"]
    (before,) = chosen.home.glob("pneumoscreen.db.replaced-*")
    assert before.read_bytes().startswith(b"no database")


@only_sqlite
def test_the_log_of_a_lost_database_is_not_written_into_its_successor(
    database: Database, chosen: Settings, kept: Path
) -> None:
    drop(database, "a.png")
    backup(chosen, kept)
    drop(database, file("later.png", second=2))
    current, log = chosen.home / "pneumoscreen.db", chosen.home / "pneumoscreen.db-wal"
    left = log.read_bytes()
    database.close()
    current.unlink()
    log.write_bytes(left)
    assert left
    restored(database, chosen, kept)
    assert paths(database) == ["a.png"]
    with database.read() as session:
        assert session.scalar(text("PRAGMA integrity_check")) == "ok"
    assert [path.read_bytes() for path in chosen.home.glob("pneumoscreen.db.replaced-*-wal")] == [left]


@only_sqlite
def test_a_damaged_database_gives_no_backup(database: Database, chosen: Settings, kept: Path) -> None:
    drop(database, *(f"{'long' * 20}-{number}.png" for number in range(2000)))
    run(database, "CREATE TABLE filler (id INTEGER)")
    database.close()
    current = chosen.home / "pneumoscreen.db"
    with closing(sqlite3.connect(current, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        page = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'ix_sightings_path'").fetchone()[0]
    with current.open("r+b") as opened:
        opened.seek((page - 1) * 4096)
        opened.write(b"\xff" * 4096)
    with pytest.raises(WorkFailed, match=r"damaged|malformed"):
        backup(chosen, kept)
    assert list(kept.parent.iterdir()) == []


@only_postgresql
@pytest.mark.parametrize("name", ["pg_dump", "missing", "old"])
def test_client_programs_that_are_missing_or_older_than_the_server_are_told_of(
    database: Database, chosen: Settings, kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", f"{programs}")
    if name == "old":
        (programs / "pg_dump").write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 9.6.1'\n")
        (programs / "pg_dump").chmod(0o755)
        match = r"pg_dump is older \(pg_dump \(PostgreSQL\) 9\.6\.1\) than the server.*postgresql-client-"
    elif name == "missing":
        match = r"pg_dump is not installed.*postgresql-client-"
    else:
        (programs / "pg_dump").write_text(
            "#!/bin/sh\ntest $1 = --version && echo ') 99.1' || { echo full >&2; exit 1; }"
        )
        (programs / "pg_dump").chmod(0o755)
        match = "pg_dump failed, and nothing was changed: full"
    with pytest.raises(WorkFailed if name == "pg_dump" else WrongSettings, match=match):
        backup(chosen, kept)
    assert list(kept.parent.iterdir()) == []


@only_postgresql
def test_a_password_is_given_to_programs_by_the_environment_alone(
    database: Database, chosen: Settings, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PNEUMOSCREEN_DATABASE_URL", chosen.database.replace("postgres@", "postgres:s%40cret@"))
    real, seen = subprocess.run, []

    def look(words: list[str], **options: object) -> object:
        seen.append((words, options.get("env")))
        return real(words, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(archive.subprocess, "run", look)
    backup(settings.load(chosen.home), kept)
    words, environment = next((c, e) for c, e in seen if e and c[0].endswith("pg_dump"))
    assert isinstance(environment, dict) and environment["PGPASSWORD"] == "s@cret"
    assert not any("cret" in word for word in words)


@pytest.fixture
def reader(database: Database) -> Iterator[str]:
    """A role of a hospital's own, which may read the results."""
    run(database, "DROP ROLE IF EXISTS reader", "CREATE ROLE reader LOGIN", "GRANT SELECT ON results TO reader")
    yield "reader"
    run(database, "DROP OWNED BY reader", "DROP ROLE reader")


@only_postgresql
def test_what_others_may_read_they_may_still_read_after_a_restore(
    database: Database, chosen: Settings, kept: Path, reader: str
) -> None:
    drop(database, "a.png")
    backup(chosen, kept)
    restored(database, chosen, kept)
    engine = create_engine(database.engine.url.set(username=reader))
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT path FROM results")) == "a.png"
    engine.dispose()


@only_postgresql
def test_a_restore_that_fails_in_the_middle_changes_nothing(database: Database, chosen: Settings, kept: Path) -> None:
    drop(database, "a.png")
    backup(chosen, kept)
    drop(database, file("later.png", second=2))
    run(database, "CREATE VIEW mine AS SELECT path FROM results")
    with pytest.raises(WorkFailed, match=r"psql failed, and nothing was changed: .*view mine depends on view results"):
        restored(database, chosen, kept)
    assert paths(database) == ["a.png", "later.png"]
    run(database, "DROP VIEW mine")
    restored(database, chosen, kept)
    assert paths(database) == ["a.png"]


@only_postgresql
def test_a_database_of_a_newer_schema_is_not_restored_into(database: Database, chosen: Settings, kept: Path) -> None:
    """Tables that this program does not know would be left standing in the next upgrade's way."""
    backup(chosen, kept)
    run(database, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(InvalidRequest, match=r"schema 9999.*restore into an empty database"):
        restored(database, chosen, kept)
