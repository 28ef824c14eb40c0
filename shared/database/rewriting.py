"""SQLite keeps copies of deleted rows in the unused bytes of its file: what erasing them for good takes.

PostgreSQL does not: its files are the server's, and it reuses or rewrites them by VACUUM.
"""

import sqlite3
from contextlib import closing

from sqlalchemy.orm import Session

from shared.base.errors import WorkFailed
from shared.database.connection import Database


def overwrite_deleted(session: Session) -> None:
    """Have SQLite overwrite what this session's connection deletes; does nothing on PostgreSQL."""
    if session.get_bind().dialect.name == "sqlite":
        session.connection().exec_driver_sql("PRAGMA secure_delete = ON")


def rewrite(database: Database) -> None:
    """Write SQLite's file anew, since rows that were changed earlier left copies in it; not needed on PostgreSQL.

    Raises WorkFailed if it cannot be done now.
    """
    if database.engine.dialect.name != "sqlite":
        return
    try:
        with closing(database.engine.raw_connection()) as connection:
            cursor = connection.cursor()
            cursor.execute("VACUUM")
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            checkpoint = cursor.fetchone()
    except sqlite3.DatabaseError as error:
        raise WorkFailed(
            f"The rows are erased, but the database's file could not be rewritten ({error}), so that traces may be "
            "left in its unused bytes: make room on the disk, stop the system, and run `VACUUM` on it."
        ) from error
    if checkpoint and checkpoint[0]:
        raise WorkFailed(
            "The rows are erased, but a program that reads the database keeps its log (-wal) from being emptied: "
            "end that program, or stop and start the system, which empties it."
        )
