"""Fixtures for every folder of tests."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.database import Database, connect


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty SQLite database with the newest schema, to be copied: migrating takes longer than most tests."""
    file = tmp_path_factory.mktemp("migrated") / "pneumoscreen.db"
    database = connect(f"sqlite:///{file}")
    database.upgrade()
    database.close()
    return file


@pytest.fixture
def database(migrated_file: Path, tmp_path: Path) -> Iterator[Database]:
    """A fresh migrated database, at the place where `tmp_path` as a home folder has it."""
    shutil.copyfile(migrated_file, tmp_path / "pneumoscreen.db")
    database = connect(f"sqlite:///{tmp_path / 'pneumoscreen.db'}")
    yield database
    database.close()
