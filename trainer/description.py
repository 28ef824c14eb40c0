"""What a manifest says of its data that the files cannot tell: where they come from, and of whom they are."""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shared.base.errors import WrongSettings

FILE = "dataset.toml"
"""A file in the labelled folder with the tables `source` and `population`."""
NOT_STATED = {"description": f"not stated: {FILE} in the labelled folder can state it"}


@dataclass(frozen=True)
class Description:
    """The tables `source` and `population` of a manifest."""

    source: dict[str, Any] = field(default_factory=dict)
    population: dict[str, Any] = field(default_factory=lambda: dict(NOT_STATED))


def describe(data: Path | None) -> Description:
    """What `dataset.toml` in a labelled folder says, if there is one; raises WrongSettings where it cannot be read."""
    return read(data / FILE) if data is not None and (data / FILE).exists() else Description()


def read(file: Path) -> Description:
    """What a file of that form says; raises WrongSettings where it cannot be read."""
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise WrongSettings(f"{file} cannot be read: {error}") from error
    return Description(tables.get("source", {}), tables.get("population", dict(NOT_STATED)))
