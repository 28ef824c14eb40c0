"""What a running `up` knows and a second shell needs: written into the home, for its owner alone."""

import json
import secrets
from pathlib import Path

from shared.base.filesystem import replace_file
from shared.base.home import announcement
from shared.base.settings import Settings
from shared.base.source_settings import FolderSettings


def patient_secret(chosen: Settings) -> str:
    """The key for patients' ids: the one that is set, else the home's own, which is made once."""
    if chosen.patient_secret is not None:
        return chosen.patient_secret.get_secret_value()
    file = chosen.home / "patient.secret"
    if not file.exists():
        replace_file(file, secrets.token_urlsafe(32).encode(), mode=0o600)
    return file.read_text(encoding="utf-8").strip()


def announce(home: Path, values: dict[str, str], configured: dict[str, FolderSettings]) -> None:
    """Write the settings that a second shell cannot know, passwords among them, and the sources as they are watched."""
    lines = [f"{name} = {_quoted(value)}" for name, value in values.items()]
    for name, source in configured.items():
        lines += [f"[sources.{_quoted(name)}]", f"path = {_quoted(str(source.path))}", f'lane = "{source.lane}"']
        lines += [f"polling = {str(source.polling).lower()}"] if source.polling is not None else []
        lines += [f"ignore = [{', '.join(map(_quoted, source.ignore))}]"]
    replace_file(announcement(home), ("\n".join(lines) + "\n").encode(), mode=0o600)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")  # a TOML string is JSON's, but for these
