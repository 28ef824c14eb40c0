"""`db upgrade --check` says what an upgrade would do, and does none of it."""

import json
import re
import shutil
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import event, text

from queries import backups, upgrade
from queries.backups import Backup
from shared.base import settings
from shared.base.errors import ServiceUnavailable
from shared.base.schema import SCHEMA
from shared.base.settings import Settings
from shared.database import Database, connect
from shared.database.connection import Migration, _alembic, migrations
from shared.models import registry
from tests.models import DAY, go_live, make_linear_version
from tests.unit.conftest import Run
from tests.unit.steps import NOW, drop
from tests.unit.test_roles import apply

VERSIONS = Path(__file__).parents[2] / "shared" / "database" / "migrations" / "versions"
REVISIONS = sorted(file.name[:4] for file in VERSIONS.glob("0*.py"))

BUNDLED = registry.bundled().name
only_sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
only_postgresql = pytest.mark.parametrize("database", ["postgresql"], indirect=True)


@pytest.fixture
def chosen(database: Database, tmp_path: Path) -> Settings:
    return settings.load(tmp_path)


def begin_anew(database: Database, revision: str | None) -> None:
    """As a program of that schema would have; None: without any table."""
    if database.engine.dialect.name == "sqlite":
        database.close()
        for suffix in ("", "-wal", "-shm"):
            Path(f"{database.engine.url.database}{suffix}").unlink(missing_ok=True)
    else:
        with database.write() as session:
            session.execute(text("DROP SCHEMA public CASCADE"))
            session.execute(text("CREATE SCHEMA public"))
    if revision is not None:
        with database._writing.connect() as connection:
            config = _alembic()
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
            connection.commit()


def add_old_sightings(database: Database, number: int) -> None:
    with database.write() as session:
        for each in range(number):
            session.execute(
                text(
                    "INSERT INTO sightings (root, path, size, mtime_ns, inode, state, seen_at) "
                    f"VALUES ('ward', '{each}.png', 10, 2, 3, 'waiting', '2026-05-04 12:00:00')"
                )
            )


def give_rights(database: Database) -> None:
    """The roles are the whole server's: where another test has made them, they lack their rights in this database."""
    if database.engine.dialect.name == "postgresql":
        apply(database)


def test_there_is_nothing_to_do_where_everything_is_up_to_date(
    database: Database, chosen: Settings, run_command: Run
) -> None:
    registry.install_bundled(database, chosen.models, DAY)
    give_rights(database)
    code, out, _ = run_command("db", "upgrade", "--check", "--home", chosen.home)
    assert code == 0 and f"has schema {SCHEMA}, as this program needs" in out and "There is nothing to do." in out
    assert f"{BUNDLED} is live, which comes with this program" in out


def test_pending_migrations_are_told_with_title_rows_and_time_and_none_is_run(
    database: Database, chosen: Settings, run_command: Run
) -> None:
    begin_anew(database, "0003")
    add_old_sightings(database, 3)
    code, out, _ = run_command("db", "upgrade", "--check", "--home", chosen.home)
    assert code == 1 and f"would be migrated from 0003 to {SCHEMA}" in out
    assert "0004  Sources and revisions in place of roots and inodes" in out and "(3 rows are rewritten)" in out
    assert "It takes about 1 s" in out and "Backup    none is known" in out
    assert f"{BUNDLED}, which comes with this program, would be installed and live" in out
    with database.read() as session:
        assert session.scalar(text("SELECT version_num FROM alembic_version")) == "0003"
    assert not chosen.models.exists()


def test_an_empty_place_stays_empty(database: Database, chosen: Settings, run_command: Run) -> None:
    begin_anew(database, None)
    code, out, _ = run_command("db", "upgrade", "--check", "--home", chosen.home, "--format", "json")
    told = json.loads(out)
    assert (code, told["schema"], told["target"], told["is_needed"]) == (1, None, SCHEMA, True)
    assert [each["revision"] for each in told["migrations"]] == REVISIONS
    assert not list(chosen.home.glob("pneumoscreen.db*"))


def test_the_age_of_the_last_backup_is_told_before_a_migration(database: Database, chosen: Settings) -> None:
    begin_anew(database, "0005")
    assert upgrade.plan(chosen).backup is None
    with database.write() as session:
        backups.record(session, "schedule", Backup(NOW, "/backups/one.backup", "host"))
    told = upgrade.plan(chosen)
    assert told.backup is not None and told.backup.at == NOW
    begin_anew(database, "0001")  # from before there was an audit log
    assert upgrade.plan(chosen).backup is None


def test_a_candidate_that_would_be_installed_is_told_until_it_is(database: Database, chosen: Settings) -> None:
    go_live(database, make_linear_version(chosen.models, "mine"))
    told = upgrade.plan(chosen)
    assert (told.live, told.bundled, told.is_bundled_installed, told.is_needed) == ("mine", BUNDLED, False, True)
    from actions.installation import install_bundled

    install_bundled(database, chosen.models, DAY)
    give_rights(database)
    assert not upgrade.plan(chosen).is_needed
    shutil.rmtree(chosen.models / BUNDLED)
    assert upgrade.plan(chosen).is_needed, "a further host gets the folder"


def test_old_and_unknown_names_of_settings_are_told_also_where_they_keep_settings_from_being_loaded(
    database: Database, chosen: Settings, run_command: Run
) -> None:
    registry.install_bundled(database, chosen.models, DAY)
    (chosen.home / "pneumoscreen.toml").write_text(f'[folders.ward]\npath = "{chosen.home / "ward"}"\n')
    code, out, _ = run_command("db", "upgrade", "--check", "--home", chosen.home)
    assert code == 1 and "[folders.NAME] is the old name of [sources.NAME]" in out
    (chosen.home / "pneumoscreen.toml").write_text("watch_every = 5\nsetle = 1\n")
    code, out, errors = run_command("db", "upgrade", "--check", "--home", chosen.home)
    assert code == 2 and "no setting watch_every" in out and "no setting setle" in out and "Error: " in errors


def test_a_newer_schema_is_refused(database: Database, chosen: Settings) -> None:
    with database.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ServiceUnavailable, match="a newer version of Pneumoscreen made it"):
        upgrade.plan(chosen)


@only_postgresql
def test_rights_that_the_roles_lack_after_it_are_told(database: Database, chosen: Settings) -> None:
    registry.install_bundled(database, chosen.models, DAY)
    apply(database)
    assert upgrade.plan(chosen).roles == ()
    with database.write() as session:
        session.execute(text("REVOKE INSERT ON screenings FROM pneumoscreen_worker"))
        session.execute(text("REVOKE SELECT ON results FROM pneumoscreen_reader"))
    gaps = {gap.role: gap.lacks for gap in upgrade.plan(chosen).roles}
    assert gaps == {
        upgrade.WORKER: ("INSERT on screenings",),
        upgrade.READER: ("SELECT on results",),
    }
    assert upgrade.plan(chosen).is_needed


@only_postgresql
def test_a_migration_takes_the_rights_on_the_views_and_new_tables_have_none(
    database: Database, chosen: Settings
) -> None:
    apply(database)  # makes the roles
    begin_anew(database, "0004")
    with database.write() as session:
        session.execute(text("GRANT USAGE ON SCHEMA public TO PUBLIC"))
        session.execute(text("GRANT ALL ON ALL TABLES IN SCHEMA public TO pneumoscreen_worker, pneumoscreen_reader"))
        session.execute(text("GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO pneumoscreen_worker"))
    gaps = {gap.role: set(gap.lacks) for gap in upgrade.plan(chosen).roles}
    views = {"SELECT on results", "SELECT on results_history", "SELECT on accuracy", "SELECT on worklist"}
    assert gaps[upgrade.READER] == views
    assert gaps[upgrade.WORKER] >= {*views, "everything on screenings (new)"}


REWRITING = (
    r"^UPDATE (\w+)",
    r"^INSERT INTO _alembic_tmp_(\w+)",
    r"^ALTER TABLE (\w+) DROP COLUMN",
    r"^INSERT INTO \w+ .*SELECT .* FROM (\w+)",
    r"^INSERT INTO \w+ .*SELECT .* JOIN (\w+)",
)


@only_sqlite
@pytest.mark.parametrize("migration", migrations(None), ids=lambda migration: migration.revision)
def test_every_migration_names_the_tables_of_which_it_writes_every_row(
    database: Database, migration: Migration, tmp_path: Path
) -> None:
    """As its statements say on SQLite, which writes most tables anew."""
    other = connect(f"sqlite:///{tmp_path / 'other.db'}")
    known = migrations(None)
    before = known[known.index(migration) - 1].revision if known.index(migration) else None
    begin_anew(other, before)
    statements: list[str] = []

    @event.listens_for(other.engine, "before_cursor_execute")
    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(" ".join(statement.split()))

    with other._writing.connect() as connection:
        config = _alembic()
        config.attributes["connection"] = connection
        command.upgrade(config, migration.revision)
        connection.commit()
    other.close()
    found = {
        table.removeprefix("_alembic_tmp_")
        for statement in statements
        for pattern in REWRITING
        for table in re.findall(pattern, statement)
    }
    assert set(migration.rewrites) == found - {"alembic_version"}
    assert migration.title


def test_migrations_lead_from_a_schema_to_this_programs(database: Database, chosen: Settings) -> None:
    assert [each.revision for each in migrations("0004")] == [each for each in REVISIONS if each > "0004"]
    assert migrations(SCHEMA) == []
    drop(database, "a.png")
    assert [each.rows for each in upgrade.plan(chosen).migrations] == []
