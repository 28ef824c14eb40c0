"""What goes wrong at a first installation, looked at one by one: `examine` is what `doctor` asks.

Each check is a function of the settings in a module of its own. It runs in a helper process, with a deadline: a share
or a server that does not answer holds up nothing but its own line. To add one, write a module for it, and list it in
CHECKS.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from queries.doctor.asking import Answer, Asking, Broken, Late, Question
from queries.doctor.finding import Finding, State, unknown

__all__ = ["CHECKS", "Finding", "State", "examine"]
SECONDS = 15.0
"""For each check: longer than a server that is cut off takes to count as out of reach (10 s)."""
ENGINE_SECONDS = 180.0
"""TensorFlow alone takes ten seconds to import, and minutes on a disk that is cold."""
ENGINE = "engine"
CHECKS = ("database", "broker", "clocks", "disk", "backups", "ports", ENGINE, "programs")
"""In the order in which they are read; each is the name of its module."""


@dataclass(frozen=True)
class _Line:
    """A check, what it asks, for people, and how."""

    check: str
    what: str
    question: Question


def examine(home: Path, seconds: float | None = None) -> list[Finding]:
    """Every finding, in the order in which they are read. `seconds`: a shorter deadline for every check."""
    # The engine in a process of its own: while a library is imported, it may let no other thread run.
    with Asking() as most, Asking() as engine, ThreadPoolExecutor(1) as beside:
        line = _Line("settings", f"the home folder {home}", Question("load", (str(home),), seconds or SECONDS))
        (loaded,) = most.ask([line.question])
        if isinstance(loaded, Late | Broken):
            return _findings([line], [loaded])
        lines = list(_lines(home, loaded["sources"], seconds))
        last = [line.question for line in lines if line.check == ENGINE]
        asked = beside.submit(engine.ask, last)
        answers = most.ask([line.question for line in lines if line.check != ENGINE])
        if last:
            answers[[line.check for line in lines].index(ENGINE) : 0] = asked.result()
    findings = _of_rows(loaded["findings"]) + _findings(lines, answers)
    if loaded["sources"] is None:
        findings += [unknown(name, "the settings cannot be read, so it was not looked at") for name in CHECKS]
    return findings


def _lines(home: Path, sources: Mapping[str, str] | None, seconds: float | None) -> Iterator[_Line]:
    """`sources` has the place of each; None if there are no settings to examine anything by."""
    patience, where = seconds or SECONDS, str(home)
    yield _Line("secrets", f"the home folder {home}", Question("look_for_secrets", (where,), patience))
    for name, path in (sources or {}).items():
        what = f"{path} (a share that hangs: mend or unmount it, `umount -f {path}`)"
        yield _Line(f"source {name}", what, Question("look_into_source", (where, name), patience))
    for name in CHECKS if sources is not None else ():
        limit = min(ENGINE_SECONDS if name == ENGINE else SECONDS, seconds or ENGINE_SECONDS)
        yield _Line(name, f"the {name}", Question("examine", (where, name), limit))


def _findings(lines: Sequence[_Line], answers: Sequence[Answer]) -> list[Finding]:
    findings: list[Finding] = []
    for line, answer in zip(lines, answers, strict=True):
        if isinstance(answer, Late):
            text = f"no answer within {answer.seconds:.0f} s from {line.what}"
            findings.append(unknown(line.check, text))
        elif isinstance(answer, Broken):
            findings.append(unknown(line.check, f"the check itself failed: {answer.reason}"))
        else:
            findings += _of_rows(answer)
    return findings


def _of_rows(rows: Sequence[dict[str, str]]) -> list[Finding]:
    return [Finding(row["check"], State(row["state"]), row["text"], row["way_out"]) for row in rows]
