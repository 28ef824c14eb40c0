"""What the documents say holds."""

import re
from pathlib import Path

import pytest
from sqlalchemy import text

from shared.database import Database

TOP = Path(__file__).parents[2]
QUERIES = re.findall(r"```sql\n(.*?)```", (TOP / "docs" / "results.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("query", QUERIES)
def test_every_query_of_the_documents_runs(database: Database, query: str) -> None:
    with database.read() as session:
        session.execute(text(query)).all()


def test_every_column_of_the_view_is_explained(database: Database) -> None:
    explained = set(re.findall(r"`(\w+)`", (TOP / "docs" / "results.md").read_text()))
    with database.read() as session:
        for view in ("results", "results_history"):
            assert set(session.execute(text(f"SELECT * FROM {view}")).keys()) <= explained


def test_every_command_of_the_readme_exists() -> None:
    from typer.main import get_command

    from cli.main import app

    commands = set(getattr(get_command(app), "commands"))  # noqa: B009 - click's types do not say so
    named = set(re.findall(r"pneumoscreen ([a-z]+)", (TOP / "README.md").read_text())) - {"git"}
    assert named <= commands
