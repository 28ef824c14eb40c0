"""A command's database: in reach, of this program's schema, and closed at the end."""

from collections.abc import Iterator
from contextlib import contextmanager

from shared.database import Database, connect
from shared.settings import Settings


@contextmanager
def opened(settings: Settings) -> Iterator[Database]:
    """Raises ServiceUnavailable if the database is out of reach or has another schema."""
    database = connect(settings.database)
    try:
        database.check()
        yield database
    finally:
        database.close()
