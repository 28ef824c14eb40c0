"""`db backup`: the whole database as one file, of SQLite's own kind or pg_dump's."""

import os
import shlex
from pathlib import Path

from cli.archive import Client, aside, connected, copy_sqlite, revision_of, sqlite_file
from cli.console import err, out
from shared.base.errors import ServiceUnavailable, WrongSettings
from shared.base.filesystem import sync
from shared.base.settings import Settings


def backup(settings: Settings, file: Path) -> None:
    """Raises WrongSettings if the file exists already."""
    file = file.absolute()
    if os.path.lexists(file):
        raise WrongSettings(f"{file} exists already: name a new file, no backup is ever overwritten.")
    if not file.parent.is_dir():
        raise WrongSettings(f"There is no folder {file.parent}: make it, or name another place for the backup.")
    with connected(settings) as with_database:
        if revision_of(with_database) is None:  # an older schema is fine: people make backups before an upgrade
            raise ServiceUnavailable(f"{with_database.name} holds no tables of Pneumoscreen yet: there is nothing.")
        with aside(file) as part:
            if (source := sqlite_file(with_database)) is not None:
                copy_sqlite(source, part, "copying")
            else:
                client = Client(with_database)
                with err.status("pg_dump writes the backup"):
                    client.run("pg_dump", "--format=custom", f"--file={part}", f"--dbname={client.conninfo}")
                client.run("pg_restore", "--list", str(part))
            sync(part)
            part.rename(file)
            sync(file.parent)
    out.print(
        f"{file}: {file.stat().st_size:,} bytes, for its owner alone to read, since results are in it.", markup=False
    )
    out.print(
        f"To restore it, stop producers and workers, then: pneumoscreen db restore {shlex.quote(str(file))}",
        markup=False,
    )
    out.print(
        f"Not in it, so back them up as files: {settings.models}, and in {settings.home} pneumoscreen.toml and "
        "patient.secret. Copies that `screen` made are in its folder submitted.",
        markup=False,
    )
