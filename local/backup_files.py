"""Which files in the folder for backups a schedule made: their names, and deleting the old ones."""

import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

NAME = "pneumoscreen-%Y%m%dT%H%M%SZ.backup"
PATTERN = re.compile(r"pneumoscreen-\d{8}T\d{6}Z\.backup")
CLOCKS = timedelta(minutes=5)
"""A time further ahead than this comes from a clock that was later corrected."""
LEFTOVER = timedelta(days=1)


def made_in(folder: Path) -> dict[Path, datetime]:
    """The files that a schedule made, and when: anything else in the folder is left alone."""
    made = {}
    for file in folder.iterdir():
        if PATTERN.fullmatch(file.name):
            with suppress(ValueError):  # a name of that form, but no time
                made[file] = datetime.strptime(file.name, NAME).replace(tzinfo=UTC)
    return made


def prune(folder: Path, keep: int, newest: Path, now: datetime) -> int:
    """Delete the oldest; what is named after a time to come was made by a wrong clock, and counts as the oldest."""
    made = {file: at for file, at in made_in(folder).items() if file != newest}
    old = sorted(made, key=lambda file: (made[file] <= now + CLOCKS, made[file]), reverse=True)[keep - 1 :]
    for file in old:
        file.unlink(missing_ok=True)
    return len(old)


def delete_leftovers(folder: Path, now: datetime) -> None:
    """What a process that was killed wrote aside."""
    for part in folder.glob(".backup-*.part*"):
        with suppress(OSError):
            if now.timestamp() - part.stat().st_mtime > LEFTOVER.total_seconds():
                part.unlink()
