"""`db upgrade` says what it did to the schema, and what there is to do about a newer model version."""

from pathlib import Path

import pytest
import typer
from alembic import command
from sqlalchemy import select, text

from actions.installation import install_bundled
from cli.status import status
from cli.upgrade import upgrade
from queries.candidates import bundled_candidate
from shared.base import settings
from shared.base.errors import WorkFailed
from shared.base.settings import Settings
from shared.database import AuditEntry, Database, ModelVersion, VersionState, connect
from shared.database.connection import SCHEMA, _alembic
from shared.models import registry
from tests.models import DAY, go_live, make_linear_version, promote

BUNDLED = registry.bundled().name


@pytest.fixture
def chosen(database: Database, tmp_path: Path) -> Settings:
    return settings.load(tmp_path)


@pytest.fixture
def mine(database: Database, chosen: Settings) -> str:
    """A version of the hospital's own, which is live."""
    return go_live(database, make_linear_version(chosen.models, "mine")).version


def output(chosen: Settings, capsys: pytest.CaptureFixture[str]) -> str:
    upgrade(chosen)
    return capsys.readouterr().out


def candidate(database: Database) -> str | None:
    with database.read() as session:
        return bundled_candidate(session)


def test_a_new_database_gets_its_tables_and_the_bundled_version_goes_live(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = output(settings.load(tmp_path / "home"), capsys)
    assert f"the tables were made, with schema {SCHEMA}" in printed
    assert f"Model version {BUNDLED} is live." in printed
    assert "as a candidate" not in printed


def test_an_older_schema_is_named_when_it_was_migrated_and_the_present_one_when_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = settings.load(tmp_path)
    older = connect(chosen.database)
    with older._writing.connect() as connection:
        config = _alembic()
        config.attributes["connection"] = connection
        command.upgrade(config, "0003")
        connection.commit()
    older.close()
    assert f"was migrated from schema 0003 to {SCHEMA}" in output(chosen, capsys)
    assert f"is up to date, with schema {SCHEMA}" in output(chosen, capsys)


def test_a_newer_bundled_version_is_installed_as_a_candidate_with_the_way_to_try_and_to_take_it(
    database: Database, chosen: Settings, mine: str, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = output(chosen, capsys)
    assert f"Model version {mine} stays live. {BUNDLED} comes with this program and was installed as" in printed
    assert f"models evaluate {BUNDLED} --data DIR" in printed
    assert f"models promote {BUNDLED} --by NAME --data DIR" in printed
    with database.read() as session:
        assert registry.live(session)[0].version == mine
        assert session.get_one(ModelVersion, BUNDLED).state == VersionState.PUBLISHED
        entries = session.execute(select(AuditEntry.actor, AuditEntry.action, AuditEntry.detail)).all()
    assert entries == [("installation", "publish", BUNDLED)]
    assert "is installed as a candidate" in output(chosen, capsys)


def test_status_notes_a_candidate_until_somebody_decided(
    database: Database, chosen: Settings, mine: str, capsys: pytest.CaptureFixture[str]
) -> None:
    upgrade(chosen)
    with pytest.raises(typer.Exit):  # there is no broker, which needs a person
        status(chosen)
    assert BUNDLED in capsys.readouterr().out
    promote(database, BUNDLED, "Ada", DAY, "better")
    promote(database, mine, "Ada", DAY, "worse after all")
    assert candidate(database) is None
    assert "as a candidate" not in output(chosen, capsys)


def test_a_rejected_candidate_is_not_offered_again(database: Database, chosen: Settings, mine: str) -> None:
    upgrade(chosen)
    with database.write() as session:
        session.get_one(ModelVersion, BUNDLED).state = VersionState.REJECTED
    assert candidate(database) is None
    upgrade(chosen)
    assert candidate(database) is None


def test_a_further_host_gets_the_folder_of_a_candidate(database: Database, mine: str, tmp_path: Path) -> None:
    for host in ("one", "two"):
        installation = install_bundled(database, tmp_path / host, DAY)
        assert (tmp_path / host / BUNDLED / "manifest.json").exists()
        assert (installation.live, installation.candidate, installation.is_new) == (mine, BUNDLED, host == "one")


def test_a_candidate_that_cannot_be_installed_is_said_and_stops_nothing(
    database: Database, chosen: Settings, mine: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (chosen.models / BUNDLED).write_text("in the way")
    printed = output(chosen, capsys)
    assert f"Model version {mine} stays live." in printed
    assert "could not be installed as a candidate: " in printed


def test_views_that_others_built_on_ours_are_named_and_nothing_is_changed(database: Database, tmp_path: Path) -> None:
    if database.engine.dialect.name == "sqlite":
        database = connect(f"sqlite:///{tmp_path / 'old.db'}")
    else:
        with database.write() as session:
            session.execute(text("DROP SCHEMA public CASCADE"))
            session.execute(text("CREATE SCHEMA public"))
    with database._writing.connect() as connection:
        config = _alembic()
        config.attributes["connection"] = connection
        command.upgrade(config, "0003")
        connection.exec_driver_sql("CREATE VIEW mine AS SELECT path FROM results")
        connection.commit()
    with pytest.raises(WorkFailed, match=r"nothing was changed: .*view mine"):
        database.upgrade()
    with database.read() as session:
        assert session.scalar(text("SELECT version_num FROM alembic_version")) == "0003"
        session.execute(text("SELECT path FROM mine"))
