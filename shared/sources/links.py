"""Sources may overlap by a link, which their paths do not show."""

import os
from pathlib import Path

from shared.base.errors import WrongSettings
from shared.base.settings import Settings
from shared.base.source_settings import overlap
from shared.sources import build
from shared.sources.answers import ask_all
from shared.sources.folder import looking
from shared.sources.folder.source import FolderSource

LINK_SECONDS = 3.0
"""How long a service that starts waits for sources to say where they lie."""


def check_links(settings: Settings) -> None:
    """Raises WrongSettings if sources overlap by a link: for the programs that look into them anyway.

    A source that does not answer is taken for where its path says.
    """
    folders = {name: source for name, source in build(settings).items() if isinstance(source, FolderSource)}
    places = ask_all(folders, lambda source: source.ask(looking.real_path), LINK_SECONDS)
    real = {str(source.root): places.get(name, os.path.normpath(source.root)) for name, source in folders.items()}

    def plain(path: Path) -> str:
        return real.get(str(path)) or os.path.realpath(path)

    if wrong := overlap(settings.home, settings.sources, plain):
        raise WrongSettings(f"Wrong setting: sources, with their links followed: {wrong}.")
