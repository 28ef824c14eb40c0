"""Names of settings that are not read, or only for one release more: in HOME/pneumoscreen.toml and the environment."""

import json
import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shared.base import service_links
from shared.base.renamed import OLD_VARIABLE
from shared.base.settings import Settings
from shared.base.source_kinds import SETTINGS

PREFIX = "PNEUMOSCREEN_"


def sentences(home: Path) -> list[str]:
    """One for each name that is old or unknown, with what to write instead; empty if the file cannot be read."""
    return [*_of_file(home / "pneumoscreen.toml"), *_of_environment()]


def _of_file(file: Path) -> Iterator[str]:
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return
    for name, value in values.items():
        if name == "folders":
            yield f"{file}: [folders.NAME] is the old name of [sources.NAME]"
        elif name not in Settings.model_fields:
            yield f"{file}: there is no setting {name}"
        if name in ("folders", "sources"):
            yield from _of_sources(str(file), value)


def _of_environment() -> Iterator[str]:
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    others = service_links.find(os.environ)
    for name, text in sorted(os.environ.items()):
        if name in others:
            continue
        if name == OLD_VARIABLE:
            yield f"the variable {name} is the old name of {PREFIX}SOURCES"
        elif name.startswith(PREFIX) and name not in known:
            yield f"there is no setting for the variable {name}"
        if name in (OLD_VARIABLE, f"{PREFIX}SOURCES"):
            try:
                yield from _of_sources(f"the variable {name}", json.loads(text))
            except ValueError:  # `settings.load` says so
                continue


def _of_sources(place: str, value: Any) -> Iterator[str]:
    for source, chosen in value.items() if isinstance(value, dict) else ():
        if not isinstance(chosen, dict):
            continue
        known = SETTINGS.get(str(chosen.get("kind")), SETTINGS["folder"]).model_fields
        for name in chosen:
            if name not in known:
                yield f"{place}: a source has no setting {name}, but {source} has one"
