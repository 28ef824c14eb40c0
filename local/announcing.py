"""What a running `up` knows and a second shell needs: written into the home, for its owner alone."""

import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from shared.base.filesystem import replace_file
from shared.base.home import announcement
from shared.base.settings import Settings
from shared.base.source_settings import SourceSettings


def patient_secret(chosen: Settings) -> str:
    """The key for patients' ids: the one that is set, else the home's own, which is made once."""
    if chosen.patient_secret is not None:
        return chosen.patient_secret.get_secret_value()
    file = chosen.home / "patient.secret"
    if not file.exists():
        chosen.home.mkdir(parents=True, exist_ok=True)
        replace_file(file, secrets.token_urlsafe(32).encode(), mode=0o600)
    return file.read_text(encoding="utf-8").strip()


def known_secret(chosen: Settings) -> SecretStr | None:
    """The same key for those who only look: None where none is set and the home has none yet."""
    if chosen.patient_secret is not None or not (chosen.home / "patient.secret").exists():
        return chosen.patient_secret
    return SecretStr(patient_secret(chosen))


def announce(home: Path, values: dict[str, str], configured: Mapping[str, SourceSettings]) -> None:
    """Write the settings that a second shell cannot know, passwords among them, and the sources as they are watched."""
    lines = [f"{name} = {_as_toml(value)}" for name, value in values.items()]
    for name, source in configured.items():
        lines.append(f"[sources.{_as_toml(name)}]")
        chosen = source.model_dump(mode="json", exclude_none=True)
        lines += [f"{setting} = {_as_toml(value)}" for setting, value in chosen.items()]
    replace_file(announcement(home), ("\n".join(lines) + "\n").encode(), mode=0o600)


def _as_toml(value: Any) -> str:
    """Text, numbers, booleans and lists of them are written as JSON writes them, but for one character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
