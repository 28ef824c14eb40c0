"""`db upgrade`."""

from datetime import UTC, datetime
from pathlib import Path

from cli.console import out
from shared import database
from shared.base.settings import Settings
from shared.models import registry


def upgrade(settings: Settings) -> None:
    """The schema; and, as `up` does, the bundled version into the home if no version was ever live."""
    with_database = database.connect(settings.database)
    url = with_database.engine.url
    if url.get_backend_name() == "sqlite":
        Path(url.database or "").parent.mkdir(parents=True, exist_ok=True)
    with_database.upgrade()
    registry.install_bundled(with_database, settings.models, datetime.now(UTC), settings.signing_key)
    with_database.close()
    out.print(f"{with_database.name} is up to date.")
