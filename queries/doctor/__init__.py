"""What goes wrong at a first installation, looked at one by one: `examine` is what `doctor` asks.

Each check is a function of the settings in a module of its own. It runs in a process of its own, with a deadline: a
share or a server that does not answer holds up nothing but its own line. To add one, write a module for it, and list
it in CHECKS.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from queries.doctor import backup, broker, clocks, database, disk, engine, folders, ports, programs, settings_file
from queries.doctor.deadline import Broken, Call, Late, run
from queries.doctor.finding import Finding, State, unknown
from shared.base.settings import Settings

__all__ = ["CHECKS", "Finding", "State", "examine"]
SECONDS = 15.0
"""For each check: longer than a server that is cut off takes to count as out of reach (10 s)."""
ENGINE_SECONDS = 180.0
"""TensorFlow alone takes ten seconds to import, and minutes on a disk that is cold."""
CHECKS: dict[str, tuple[Callable[[Settings], list[Finding]], float]] = {
    database.CHECK: (database.examine, SECONDS),
    broker.CHECK: (broker.examine, SECONDS),
    clocks.CHECK: (clocks.examine, SECONDS),
    disk.CHECK: (disk.examine, SECONDS),
    backup.CHECK: (backup.examine, SECONDS),
    ports.CHECK: (ports.examine, SECONDS),
    engine.CHECK: (engine.examine, ENGINE_SECONDS),
    programs.CHECK: (programs.examine, SECONDS),
}


def examine(home: Path, seconds: float | None = None) -> list[Finding]:
    """Every finding, in the order in which they are read. `seconds`: a shorter deadline for every check."""
    (loaded,) = run([Call(partial(settings_file.load, home), seconds or SECONDS)])
    if isinstance(loaded, Late | Broken):
        return [_silent(settings_file.CHECK, f"the home folder {home}", loaded)]
    findings, settings = loaded
    checks = [("secrets", f"the home folder {home}", partial(settings_file.secrets, home), SECONDS)]
    if settings is not None:
        for name, source in settings.sources.items():
            place = f"{source.path} (a share that hangs: mend or unmount it, `umount -f {source.path}`)"
            checks.append((f"source {name}", place, partial(folders.examine, name, source), SECONDS))
        checks += [(name, f"the {name}", partial(check, settings), limit) for name, (check, limit) in CHECKS.items()]
    answers = run([Call(check, min(limit, seconds or limit)) for _, _, check, limit in checks])
    for (name, what, _, _), answer in zip(checks, answers, strict=True):
        findings += [_silent(name, what, answer)] if isinstance(answer, Late | Broken) else answer
    if settings is None:
        findings += [unknown(name, "the settings cannot be read, so it was not looked at") for name in CHECKS]
    return findings


def _silent(name: str, what: str, answer: Late | Broken) -> Finding:
    if isinstance(answer, Late):
        return unknown(name, f"no answer within {answer.seconds:.0f} s from {what}")
    return unknown(name, f"the check itself failed: {answer.reason}")
