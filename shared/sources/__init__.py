"""Where images come from: the sources of the settings and the system's own, each of a kind that is registered here."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from shared.sources.protocol import Poller, Source, Unknown

if TYPE_CHECKING:
    from shared.base.dicom_settings import DicomSettings
    from shared.base.settings import Settings
    from shared.base.source_settings import FolderSettings

__all__ = ["KINDS", "OWN", "Poller", "Source", "Unknown", "build"]


# Imported where they are used: a helper process that asks a folder has this package, and starts without the rest.
def _folder(name: str, chosen: "FolderSettings", settings: "Settings") -> Source:
    from shared.sources.folder import source

    return source.from_settings(name, chosen, settings)


def _dicom(name: str, chosen: "DicomSettings", settings: "Settings") -> Source:
    from shared.sources import dicom

    return dicom.from_settings(name, chosen, settings)


def _submitted(settings: "Settings") -> Source:
    from shared.sources import submitted

    return submitted.from_settings(settings)


KINDS: "dict[str, Callable[[str, Any, Settings], Source]]" = {"folder": _folder, "dicom": _dicom}
"""How a source of the settings is made, by its `kind`."""
OWN: "dict[str, Callable[[Settings], Source]]" = {"submitted": _submitted}
"""The system's own sources, by their names, which the settings reserve."""


def build(settings: "Settings") -> dict[str, Source]:
    """Every source that this host knows, by its name: those of the settings, then the system's own."""
    configured = {name: KINDS[chosen.kind](name, chosen, settings) for name, chosen in settings.sources.items()}
    return {**configured, **{name: make(settings) for name, make in OWN.items()}}
