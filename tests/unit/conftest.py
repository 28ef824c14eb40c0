"""Unit tests see no setting and no running system of the person who runs them."""

import os
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    for name in [name for name in os.environ if name.startswith("PNEUMOSCREEN_")]:
        monkeypatch.delenv(name)
    outside: Path = tmp_path_factory.getbasetemp() / "outside"
    monkeypatch.setenv("HOME", str(outside / "home"))
    monkeypatch.setenv("XDG_STATE_HOME", str(outside / "state"))
