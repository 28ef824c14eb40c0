"""Settings that were renamed: the older names are read for one release more, with a warning that says what to write."""

import json
import logging
import os
from functools import cache
from typing import Any

from pydantic_settings import EnvSettingsSource, PydanticBaseSettingsSource

from shared.base.errors import WrongSettings

log = logging.getLogger(__name__)
OLD_VARIABLE = "PNEUMOSCREEN_FOLDERS"
STILL = "write the new name, since the next release does not read the old one."


class SourceNames:
    """Under which of the two settings, `sources` or the older `folders`, each source stands."""

    def __init__(self) -> None:
        self._settings: dict[str, str] = {}

    def add(self, setting: str, sources: Any) -> None:
        for name in sources if isinstance(sources, dict) else ():
            if self._settings.setdefault(name, setting) != setting:
                raise WrongSettings(
                    f"Wrong setting: {name} stands under both sources and folders: folders is the older name, "
                    f"write [sources.{name}] alone."
                )


class Renaming(PydanticBaseSettingsSource):
    """Reads a layer of settings in which `folders` still may stand for `sources`, and warns of it."""

    def __init__(self, layer: PydanticBaseSettingsSource, names: SourceNames) -> None:
        super().__init__(layer.settings_cls)
        self._layer, self._names = layer, names

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        return self._layer.get_field_value(field, field_name)

    def __call__(self) -> dict[str, Any]:
        values = self._layer()
        folders = values.pop("folders", None)
        if isinstance(self._layer, EnvSettingsSource) and OLD_VARIABLE in os.environ:
            folders = _parse(os.environ[OLD_VARIABLE])
            _warn_once(f"The variable {OLD_VARIABLE} is now PNEUMOSCREEN_SOURCES: {STILL}")
        elif folders is not None:
            _warn_once(f"The setting [folders.NAME] is now [sources.NAME]: {STILL}")
        self._names.add("sources", values.get("sources"))
        self._names.add("folders", folders)
        if isinstance(folders, dict) and isinstance(values.get("sources", {}), dict):
            values["sources"] = {**values.get("sources", {}), **folders}
        elif folders is not None:
            values["sources"] = folders
        return values


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{OLD_VARIABLE} is not JSON: {error}") from error


@cache
def _warn_once(text: str) -> None:
    """In each process once, though its settings may be read several times."""
    log.warning(text)
