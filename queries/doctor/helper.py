"""The process that runs checks for `doctor`, which gives it up if a share or a server hangs. Started by `asking`.

A line on its input is a number, the name of one of CHECKS and its arguments, of which the first is the home folder.
Each check has a thread of its own, so one that hangs holds up no other. A line on its output is the answer to a number.
"""

import importlib
import json
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from queries.doctor import folders, receiving, settings_file
from queries.doctor.finding import Finding
from shared.base import settings
from shared.base.dicom_settings import DicomSettings
from shared.base.source_settings import received
from shared.sources.folder.helper import Lines, check_version, end_with_parent

IMPORTING = threading.Lock()
"""Threads that import modules which import each other may be told of a deadlock: so one imports at a time."""


def load(home: Path) -> dict[str, Any]:
    """The findings, and each source's place; None for the sources where the settings cannot be used."""
    findings, chosen = settings_file.load(home)
    places = {name: str(source.path) for name, source in chosen.sources.items()} if chosen else None
    return {"findings": _rows(findings), "sources": places}


def look_for_secrets(home: Path) -> list[dict[str, Any]]:
    return _rows(settings_file.secrets(home))


def look_into_source(home: Path, name: str) -> list[dict[str, Any]]:
    chosen = settings.load(home).sources[name]
    if isinstance(chosen, DicomSettings):
        return _rows(receiving.examine(name, chosen, is_at_home=chosen.path == received(home, name)))
    return _rows(folders.examine(name, chosen))


def examine(home: Path, check: str) -> list[dict[str, Any]]:
    """A check that needs nothing but the settings: its module is imported when it is asked for."""
    with IMPORTING:
        module = importlib.import_module(f"queries.doctor.{check}")
    return _rows(module.examine(settings.load(home)))


CHECKS: dict[str, Callable[..., Any]] = {
    check.__name__: check for check in (load, look_for_secrets, look_into_source, examine)
}


def _rows(findings: list[Finding]) -> list[dict[str, Any]]:
    return [asdict(finding) for finding in findings]


def _answer(lines: Lines, number: int, check: str, home: str, *arguments: str) -> None:
    try:
        answer = {"value": CHECKS[check](Path(home), *arguments)}
    except Exception as error:  # noqa: BLE001 - told to the other process
        answer = {"raises": f"{type(error).__name__}: {error}"}
    lines.write({"number": number, **answer})


def main() -> None:
    check_version()
    end_with_parent()
    lines = Lines(os.dup(sys.stdout.fileno()))
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # libraries chatter
    lines.sign()
    for request in sys.stdin.buffer:
        threading.Thread(target=_answer, args=[lines, *json.loads(request)], daemon=True).start()


if __name__ == "__main__":
    main()
