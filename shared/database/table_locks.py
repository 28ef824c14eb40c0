"""Takes every table for a migration, where other programs may still work with them (PostgreSQL alone)."""

import time

from sqlalchemy import Connection, inspect
from sqlalchemy.exc import OperationalError

from shared.base.errors import WorkFailed
from shared.database.refusals import code
from shared.database.tables import Base
from shared.database.views import VIEWS

TRY_SECONDS = 0.5
"""How long one try waits for a table: less than the second after which PostgreSQL looks for deadlocks."""
PAUSE_SECONDS = 0.2
TAKE_SECONDS = 30.0
BUSY = ("55P03", "40P01")  # lock_not_available, deadlock_detected


def take_all(connection: Connection) -> None:
    """Take our tables and views until the transaction ends; raises WorkFailed if others hold one for too long.

    All at once, or none: a worker takes jobs before sightings and a producer sightings before jobs, so that a
    migration that took one table after the other would wait for one of them while that one waits for it.
    """
    names = _names(connection)
    if connection.dialect.name != "postgresql" or not names:
        return
    deadline = time.monotonic() + TAKE_SECONDS
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{round(1000 * TRY_SECONDS)}ms'")
    while not _try_to_take(connection, names):
        if time.monotonic() > deadline:
            raise WorkFailed(
                "The database cannot be brought up to date, and nothing was changed: other programs work with its "
                f"tables, and did not leave them for a moment within {TAKE_SECONDS:.0f} s. Stop producers, workers, "
                "backups and long queries (pg_stat_activity shows who they are), then upgrade."
            )
        time.sleep(PAUSE_SECONDS)
    connection.exec_driver_sql("SET LOCAL lock_timeout TO DEFAULT")


def _try_to_take(connection: Connection, names: list[str]) -> bool:
    try:
        with connection.begin_nested():  # what it got is given back where it does not get all
            connection.exec_driver_sql(f"LOCK TABLE {', '.join(names)} IN ACCESS EXCLUSIVE MODE")
    except OperationalError as error:
        if code(error.orig) not in BUSY:
            raise
        return False
    return True


def _names(connection: Connection) -> list[str]:
    """Views first, as those who read them take them."""
    found = inspect(connection)
    views, tables = found.get_view_names(), found.get_table_names()
    return [name for name in VIEWS if name in views] + [name for name in Base.metadata.tables if name in tables]
