"""The fault suite's fixtures, and the table that it prints at its end."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults.trial import Trial
from tests.system import System

COLUMNS = {
    "fault": "fault",
    "strikes": "strikes",
    "images": "images",
    "lost": "lost",
    "doubled": "doubled",
    "wrongly_quarantined": "wrongly quarantined",
    "longest": "seconds until work went on",
}


@pytest.fixture
def trial(record_property: Callable[[str, object], None]) -> Callable[[System, str], Trial]:
    """Begins the trial of a fault in a running system."""
    return lambda system, fault: Trial(system, fault, record_property)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Recovering takes its time: these tests may take longer than others."""
    for item in items:
        if item.path.parent == Path(__file__).parent and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(900))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The accounts of all trials as a table; as lines of JSON too, in the file that FAULT_ACCOUNTS names."""
    reports = [report for group in ("passed", "failed") for report in terminalreporter.stats.get(group, [])]
    accounts = [
        value for report in reports for name, value in getattr(report, "user_properties", []) if name == "fault"
    ]
    if not accounts:
        return
    rows = [[str(account[column]) for column in COLUMNS] for account in accounts]
    widths = [max(map(len, column)) for column in zip(COLUMNS.values(), *rows, strict=True)]
    terminalreporter.section("faults")
    for row in (list(COLUMNS.values()), *sorted(rows)):
        terminalreporter.write_line("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)))
    if file := os.environ.get("FAULT_ACCOUNTS"):
        with Path(file).open("a", encoding="utf-8") as lines:
            lines.writelines(json.dumps(account) + "\n" for account in accounts)
