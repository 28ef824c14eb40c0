"""The source `inbox`, which `up --inbox` names: one folder for good, since its name stands in each result."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, TypeVarTuple

from queries.sources import has_sightings
from shared.base import settings
from shared.base.errors import WrongSettings
from shared.base.filesystem import MARKER, replace_file
from shared.base.settings import Settings
from shared.database import Database
from shared.sources.answers import ask_all
from shared.sources.folder import looking
from shared.sources.folder.source import FolderSource

INBOX = "inbox"
ANSWER_SECONDS = 3.0
"""How long `up` waits for a folder: it starts also while a share hangs, and does without what that would say."""
Args = TypeVarTuple("Args")
T = TypeVar("T")


def with_inbox(chosen: Settings, inbox: Path) -> Settings:
    """The settings with this folder as the source `inbox`.

    Raises WrongSettings if it is a file, or if the settings give another folder this name, which the services would
    watch instead.
    """
    configured, home = chosen.sources.get(INBOX), chosen.home
    chosen = settings.load(home, sources={**chosen.sources, INBOX: {"path": inbox.expanduser().absolute()}})
    path = chosen.sources[INBOX].path
    if file := _ask(path, looking.file_in_path):
        raise WrongSettings(f"{file} is a file, not a folder: choose another with --inbox.")
    if configured and not _is_same(configured.path, path):
        raise WrongSettings(
            f"The settings name {configured.path} as the source {INBOX}: leave out --inbox, or give {inbox} "
            f"a name of its own in {home}/pneumoscreen.toml ([sources.NAME] path = ...)."
        )
    return chosen


def remember(chosen: Settings, with_database: Database) -> None:
    """Note which folder `inbox` means. Raises WrongSettings if it meant another one, with results.

    A file in the new folder would otherwise hide the result of its namesake in the old one.
    """
    path, file = chosen.sources[INBOX].path, chosen.home / "inbox.path"
    before = os.fsdecode(file.read_bytes()) if file.exists() else ""
    if before == str(path):
        return
    if before and not _is_same(Path(before), path) and not _was_moved(Path(before), path):
        with with_database.read() as session:
            has_results = has_sightings(session, INBOX)
        if has_results:
            raise WrongSettings(
                f"The source {INBOX} of {chosen.home} was {before} so far, and results stand under its name: watch "
                f"that one again, and give a second folder, as {path}, a name of its own in "
                f"{chosen.home}/pneumoscreen.toml ([sources.NAME] path = ...). If it is the same folder in another "
                f"place, an empty file {MARKER} in it says so, if there is none in the old place."
            )
    replace_file(file, os.fsencode(path))


def make(chosen: Settings) -> None:
    """Make the folder, unless a share hangs or is dead in its place. Raises OSError."""
    _ask(chosen.sources[INBOX].path, looking.make)


def _is_same(path: Path, other: Path) -> bool:
    if os.path.normpath(path) == os.path.normpath(other):
        return True
    real = [_ask(each, looking.real_path) for each in (path, other)]
    return real[0] is not None and real[0] == real[1]


def _was_moved(before: Path, path: Path) -> bool:
    return _ask(path, looking.is_in_reach, MARKER) is True and _ask(before, looking.is_in_reach, MARKER) is False


def _ask(path: Path, question: Callable[[Path, *Args], T], *args: *Args) -> T | None:
    """None if the folder does not answer."""
    source = FolderSource(INBOX, path, timeout=ANSWER_SECONDS)
    return ask_all({INBOX: source}, lambda source: source.ask(question, *args), ANSWER_SECONDS).get(INBOX)
