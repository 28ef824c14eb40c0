"""`db upgrade`: bring the schema up to date, and install the model version that comes with the program."""

from datetime import UTC, datetime
from pathlib import Path

from actions.installation import Installation, install_bundled
from cli.console import out
from shared import database
from shared.base.settings import Settings
from shared.database.connection import SCHEMA


def upgrade(settings: Settings) -> None:
    with_database = database.connect(settings.database)
    url = with_database.engine.url
    if url.get_backend_name() == "sqlite":
        Path(url.database or "").parent.mkdir(parents=True, exist_ok=True)
    try:
        before = with_database.upgrade()
        out.print(describe_schema(with_database.name, before), markup=False)
        installation = install_bundled(with_database, settings.models, datetime.now(UTC), settings.signing_key)
    finally:
        with_database.close()
    for line in describe(installation):
        out.print(line, markup=False)


def describe_schema(name: str, before: str | None) -> str:
    if before is None:
        return f"{name}: the tables were made, with schema {SCHEMA}."
    if before == SCHEMA:
        return f"{name} is up to date, with schema {SCHEMA}."
    return f"{name} was migrated from schema {before} to {SCHEMA}."


def describe(installation: Installation) -> list[str]:
    """What there is to say about a candidate: that it came, how to try it, and how to take it."""
    candidate = installation.candidate
    if installation.problem is not None:
        return [
            f"Model version {installation.live} stays live. The one that comes with this program could not be "
            f"installed as a candidate: {installation.problem}"
        ]
    if candidate is None:
        return [f"Model version {installation.live} is live."]
    verb = "was installed" if installation.is_new else "is installed"
    return [
        f"Model version {installation.live} stays live. {candidate} comes with this program and {verb} as a candidate.",
        f"To try it: pneumoscreen models evaluate {candidate} --data DIR",
        f"To take it: pneumoscreen models promote {candidate} --by NAME --data DIR",
    ]
