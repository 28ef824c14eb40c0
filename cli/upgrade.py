"""`db upgrade`."""

from pathlib import Path

from cli.console import out
from shared import database
from shared.settings import Settings


def upgrade(settings: Settings) -> None:
    with_database = database.connect(settings.database)
    url = with_database.engine.url
    if url.get_backend_name() == "sqlite":
        Path(url.database or "").parent.mkdir(parents=True, exist_ok=True)
    with_database.upgrade()
    with_database.close()
    out.print(f"{url.render_as_string(hide_password=True)} is up to date.")
