"""The table of faults at the end of a run: `tests/conftest.py` hands it to pytest, which reads that one always."""

import json
import os
from pathlib import Path
from typing import Any

COLUMNS = {
    "fault": "fault",
    "strikes": "strikes",
    "images": "images",
    "lost": "lost",
    "doubled": "doubled",
    "wrongly_quarantined": "wrongly quarantined",
    "longest": "seconds until work went on",
}


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The accounts of all trials as a table; as lines of JSON too, in the file that FAULT_ACCOUNTS names."""
    if hasattr(terminalreporter.config, "workerinput"):  # pytest-xdist asks its workers too: each would be there twice
        return
    reports = [report for group in terminalreporter.stats.values() for report in group]
    ends = [report for report in reports if getattr(report, "when", None) == "teardown"]  # these know of each account
    accounts = [value for report in ends for name, value in report.user_properties if name == "fault"]
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
