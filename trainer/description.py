"""What `dataset.toml` says of images that their files cannot tell: where they come from, and of whom they are."""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shared.base.errors import WrongSettings
from trainer.patients import Pattern, parse_pattern

FILE = "dataset.toml"
"""A file in the labelled folder with the tables `source`, `population` and `patients`."""
NOT_STATED = {"description": f"not stated: {FILE} in the labelled folder can state it"}


@dataclass(frozen=True)
class Description:
    """The tables `source` and `population` of a manifest, and the pattern that finds patients in names of files."""

    source: dict[str, Any] = field(default_factory=dict)
    population: dict[str, Any] = field(default_factory=lambda: dict(NOT_STATED))
    pattern: Pattern | None = None


def describe(data: Path | None) -> Description:
    """What `dataset.toml` in a labelled folder says, if there is one; raises WrongSettings where it cannot be read."""
    return read(data / FILE) if data is not None and (data / FILE).exists() else Description()


def read(file: Path) -> Description:
    """What a file of that form says; raises WrongSettings where it cannot be read."""
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise WrongSettings(f"{file} cannot be read: {error}") from error
    return Description(tables.get("source", {}), tables.get("population", dict(NOT_STATED)), _pattern(file, tables))


def _pattern(file: Path, tables: dict[str, Any]) -> Pattern | None:
    """A pattern in the wrong place would be passed over, and patients told apart wrongly: it is refused."""
    patients = tables.get("patients", {})
    for place, table in (("the top", tables), *((f"[{name}]", tables.get(name)) for name in ("source", "population"))):
        if isinstance(table, dict) and "pattern" in table:
            raise WrongSettings(f"{file}: pattern stands in {place}: move it into a table [patients]")
    if not isinstance(patients, dict) or set(patients) - {"pattern"}:
        raise WrongSettings(f"{file}: the table [patients] has the one key pattern")
    return parse_pattern(patients["pattern"], str(file)) if "pattern" in patients else None
