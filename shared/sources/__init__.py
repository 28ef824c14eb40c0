"""Where images come from: the sources of the settings and the system's own, each of a kind that is registered here."""

from collections.abc import Callable

from shared.base.settings import Settings
from shared.base.source_settings import FolderSettings
from shared.sources import submitted
from shared.sources.folder import source as folder
from shared.sources.protocol import Poller, Source, Unknown

__all__ = ["KINDS", "OWN", "Poller", "Source", "Unknown", "build"]
KINDS: dict[str, Callable[[str, FolderSettings, Settings], Source]] = {"folder": folder.from_settings}
"""How a source of the settings is made, by its `kind`."""
OWN: dict[str, Callable[[Settings], Source]] = {submitted.NAME: submitted.from_settings}
"""The system's own sources, by their names, which the settings reserve."""


def build(settings: Settings) -> dict[str, Source]:
    """Every source that this host knows, by its name: those of the settings, then the system's own."""
    configured = {name: KINDS[chosen.kind](name, chosen, settings) for name, chosen in settings.sources.items()}
    return {**configured, **{name: make(settings) for name, make in OWN.items()}}
