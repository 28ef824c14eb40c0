"""`doctor`: one line for each thing that goes wrong at a first installation, with its way out."""

import json
from dataclasses import asdict
from pathlib import Path

import typer

from cli.console import out, shown
from queries import doctor as query
from queries.doctor import Finding, State
from shared.base.errors import InvalidRequest

MARKS = {State.OK: "✓", State.PROBLEM: "✗", State.UNKNOWN: "?"}
PLAIN_MARKS = {State.OK: "ok", State.PROBLEM: "PROBLEM", State.UNKNOWN: "?"}
STYLES = {State.OK: "green", State.PROBLEM: "red", State.UNKNOWN: "yellow"}


def doctor(home: Path, format: str) -> None:
    """Ends with exit code 1 if there is a problem; what could not be told is none."""
    if format not in ("table", "json"):
        raise InvalidRequest(f"--format must be table or json, not {format!r}.")
    findings = query.examine(home)
    if format == "json":
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        _print(findings)
    if any(finding.state == State.PROBLEM for finding in findings):
        raise typer.Exit(1)


def _print(findings: list[Finding]) -> None:
    marks = MARKS if _can_print("".join(MARKS.values())) else PLAIN_MARKS
    width = max(len(finding.check) for finding in findings)
    indent = max(map(len, marks.values()))
    for finding in findings:
        mark, style = marks[finding.state], STYLES[finding.state]
        out.print(f"{mark:<{indent}} {finding.check:<{width}}  {shown(finding.text)}", style=style, markup=False)
        if finding.way_out:
            out.print(f"{'':<{indent}} {'':<{width}}  -> {shown(finding.way_out)}", markup=False)
    problems = sum(finding.state == State.PROBLEM for finding in findings)
    out.print(f"{problems} {'problem' if problems == 1 else 'problems'}." if problems else "No problem was found.")


def _can_print(text: str) -> bool:
    try:
        text.encode(out.encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True
