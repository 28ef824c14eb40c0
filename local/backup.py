"""Writes a backup: the whole database as one file, SQLite's own format or pg_dump's."""

import os
from pathlib import Path

from local.archive import Advance, Client, aside, connected, copy_sqlite, revision_of, sqlite_file
from shared.base.errors import InvalidRequest, ServiceUnavailable
from shared.base.filesystem import sync
from shared.base.settings import Settings


def backup(settings: Settings, file: Path, advance: Advance = lambda _copied, _total: None) -> int:
    """Returns the bytes of the backup. Raises InvalidRequest if the file exists already, or its folder does not."""
    if os.path.lexists(file):
        raise InvalidRequest(f"{file} exists already: name a new file, no backup is ever overwritten.")
    if not file.parent.is_dir():
        raise InvalidRequest(f"There is no folder {file.parent}: make it, or name another place for the backup.")
    with connected(settings) as database:
        if revision_of(database) is None:  # an older schema is fine: people make backups before an upgrade
            raise ServiceUnavailable(f"There is nothing to back up: {database.name} holds no tables of Pneumoscreen.")
        with aside(file) as part:
            if (source := sqlite_file(database)) is not None:
                copy_sqlite(source, part, advance)
            else:
                client = Client(database)
                client.run("pg_dump", "--format=custom", f"--file={part}", f"--dbname={client.conninfo}")
                client.run("pg_restore", "--list", str(part))
            sync(part)
            part.rename(file)
            sync(file.parent)
    return file.stat().st_size
