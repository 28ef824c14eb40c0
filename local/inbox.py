"""The folder that `up --inbox` names, which stands as `inbox` in each result: one folder in a home, for good."""

import os
from pathlib import Path

from queries.sources import has_sightings
from shared.base import settings
from shared.base.errors import WrongSettings
from shared.base.filesystem import MARKER, replace_file
from shared.base.settings import Settings
from shared.database import Database

INBOX = "inbox"


def with_inbox(chosen: Settings, inbox: Path) -> Settings:
    """Raises WrongSettings if it is a file, or a setting names another folder so: the services would watch that one."""
    named, home = chosen.sources.get(INBOX), chosen.home
    chosen = settings.load(home, sources={**chosen.sources, INBOX: {"path": inbox}})
    path = chosen.sources[INBOX].path
    if file := next((part for part in (path, *path.parents) if part.is_file()), None):
        raise WrongSettings(f"{file} is a file, not a folder: choose another with --inbox.")
    if named and not _is_same(named.path, path):
        raise WrongSettings(
            f"The settings name {named.path} as the folder {INBOX}: leave out --inbox, or give {inbox} "
            f"a name of its own in {home}/pneumoscreen.toml ([sources.NAME] path = ...)."
        )
    return chosen


def remember(chosen: Settings, with_database: Database) -> None:
    """Raises WrongSettings if `inbox` meant another folder: a file would hide the result of its namesake there."""
    path, file = chosen.sources[INBOX].path, chosen.home / "inbox.path"
    before = os.fsdecode(file.read_bytes()) if file.exists() else ""
    if before == str(path):
        return
    was_moved = (path / MARKER).exists() and not (Path(before) / MARKER).exists()
    if before and not _is_same(Path(before), path) and not was_moved:
        with with_database.read() as session:
            has_results = has_sightings(session, INBOX)
        if has_results:
            raise WrongSettings(
                f"The folder {INBOX} of {chosen.home} was {before} so far, and results stand under its name: watch "
                f"that one again, and give a second folder, as {path}, a name of its own in "
                f"{chosen.home}/pneumoscreen.toml ([sources.NAME] path = ...). If it is the same folder in another "
                f"place, an empty file {MARKER} in it says so, if there is none in the old place."
            )
    replace_file(file, os.fsencode(path))


def _is_same(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)
