"""Unit tests see no setting and no running system of the person who runs them."""

import os
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import typer.main


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    for name in [name for name in os.environ if name.startswith("PNEUMOSCREEN_")]:
        monkeypatch.delenv(name)
    outside: Path = tmp_path_factory.getbasetemp() / "outside"
    monkeypatch.setenv("HOME", str(outside / "home"))
    monkeypatch.setenv("XDG_STATE_HOME", str(outside / "state"))
    monkeypatch.setenv("KERAS_HOME", str(outside / "keras"))  # set by commands, as is the working folder by services
    monkeypatch.chdir(Path.cwd())


_command = cache(typer.main.get_command)
"""All commands with their options, made once: a process makes them for one command, and that takes longer than it."""
Run = Callable[..., tuple[int, str, str]]
"""Takes the words after `pneumoscreen`; returns exit code, output and errors."""


@pytest.fixture
def run_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `pneumoscreen` in this process."""

    def run(*arguments: object) -> tuple[int, str, str]:
        from cli import main as cli

        monkeypatch.setattr(typer.main, "get_command", _command)
        monkeypatch.setattr(sys, "argv", ["pneumoscreen", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        printed = capsys.readouterr()
        return int(stop.value.code or 0), printed.out, printed.err

    return run
