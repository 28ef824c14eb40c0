"""Backups that nobody has to think of: into one folder, when one is due, tried out, and the oldest deleted."""

import fcntl
import logging
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import psutil
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from local.archive import Advance, connected, revision_of, sqlite_file
from local.backup import Written, backup
from local.backup_files import CLOCKS, NAME, delete_leftovers, made_in, prune
from queries import backups
from queries.backups import Backup
from shared.base import host
from shared.base.errors import InvalidRequest, PneumoscreenError, WorkFailed, WrongSettings
from shared.base.settings import Settings

log = logging.getLogger(__name__)
LOCK = ".pneumoscreen-backup.lock"
SCHEDULE = "schedule"
"""The actor in the audit log."""
RETRY_SECONDS = 900.0
LOOK_SECONDS = 600.0
"""So often `repeat` looks whether another host made one meanwhile, or the clock was set."""


@dataclass(frozen=True)
class Kept:
    """A backup that is in its folder now, and how many old ones were deleted for it."""

    file: Path
    written: Written
    deleted: int
    is_on_same_disk: bool
    unrecorded: str | None
    """Why it is not in the audit log, so that `status` does not know of it."""


def folder_of(settings: Settings, folder: Path | None = None) -> Path:
    """Where backups go: `folder`, else the setting.

    Raises InvalidRequest if it is missing, cannot be written, or lies in a source.
    """
    wanted = (folder or settings.backup_dir or settings.home / "backups").absolute()
    if wanted == settings.home / "backups":
        wanted.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not wanted.is_dir():  # never made here: it may be a disk that is not mounted
        raise InvalidRequest(f"There is no folder {wanted} for backups: make it, or mount its disk.")
    if not os.access(wanted, os.W_OK | os.X_OK):
        raise InvalidRequest(f"This user may not write into the folder {wanted} for backups: chown it.")
    for name, source in settings.sources.items():
        if wanted.resolve().is_relative_to(source.path.absolute()):
            raise InvalidRequest(f"Backups may not lie in {wanted}: it is in the source {name} ({source.path}).")
    return wanted


def make(
    settings: Settings,
    actor: str,
    folder: Path | None = None,
    keep: int | None = None,
    *,
    if_due: bool = False,
    advance: Advance = lambda _copied, _total: None,
) -> Kept | None:
    """Write one into the folder, try it out, delete what is older than the newest `keep`; None if none is due.

    Raises WorkFailed if another process writes one there now, or what `folder_of` and `backup` raise. What fails is
    noted, and deletes nothing.
    """
    now = datetime.now(UTC)
    try:
        folder = folder_of(settings, folder)
    except InvalidRequest as error:
        if if_due:  # else somebody mistyped it, and sees so
            note(settings, actor, Backup(now, str(folder or settings.backup_dir), host.name(), problem=str(error)))
        raise
    with _locked(folder) as is_mine:
        if if_due and (not is_mine or seconds_until_due(settings, folder, now) > 0):
            return None
        if not is_mine:
            raise WorkFailed(f"Another process writes a backup into {folder} now: wait for it.")
        while (file := folder / now.strftime(NAME)).exists():  # two by hand in one second, which is all that a name has
            time.sleep(0.1)
            now = datetime.now(UTC)
        try:
            delete_leftovers(folder, now)
            _check_room(settings, folder)
            written = backup(settings, file, advance)
        except (PneumoscreenError, SQLAlchemyError, OSError) as error:
            note(settings, actor, Backup(now, str(file), host.name(), problem=_reason(error)))
            raise
        is_on_same_disk = _disk(settings) == folder.stat().st_dev
        made = Backup(now, str(file), host.name(), written.bytes, written.rows, written.unrestored, is_on_same_disk)
        unrecorded = note(settings, actor, made)
        deleted = prune(folder, keep or settings.backup_keep, file, now)
        return Kept(file, written, deleted, is_on_same_disk, unrecorded)


def _reason(error: BaseException) -> str:
    return " ".join(str(getattr(error, "orig", None) or error).split())


def note(settings: Settings, actor: str, backup: Backup) -> str | None:
    """Write into the audit log, a failure that goes on only once.

    Returns why that could not be done, as in a schema from before there was an audit log.
    """
    try:
        with connected(settings) as database:
            if revision_of(database) is None:
                return f"there are no tables in {database.name}"
            with database.write() as session:
                _note(session, actor, backup)
    except (PneumoscreenError, SQLAlchemyError) as error:
        return _reason(error)
    return None


def _note(session: Session, actor: str, backup: Backup) -> None:
    last = backups.newest(session, backups.MADE, backups.FAILED)
    if backup.problem is None or last is None or (last.problem, last.host) != (backup.problem, backup.host):
        backups.record(session, actor, backup)


def seconds_until_due(settings: Settings, folder: Path, now: datetime) -> float:
    """0 if one is due: whichever host made the last one, in the audit log or in the folder."""
    if settings.backup_every is None:
        raise WrongSettings("No backups are scheduled: set backup_every to a number of seconds, such as 86400.0.")
    times = list(made_in(folder).values())
    with suppress(PneumoscreenError, SQLAlchemyError), connected(settings) as database:
        if revision_of(database) is not None:
            with database.read() as session:
                last = backups.newest(session, backups.MADE)
            times += [last.at] if last is not None else []
    ages = [(now - at).total_seconds() for at in times if at <= now + CLOCKS]
    return max(0.0, settings.backup_every - min(ages)) if ages else 0.0


def repeat(settings: Settings) -> NoReturn:
    """Make one whenever one is due, until a signal: within `stopping.in_order`. A failure is logged, noted, retried."""
    step_back()
    try:
        while True:
            time.sleep(_step(settings))
    except (SystemExit, KeyboardInterrupt):  # it went through what was under way, which removed what it wrote aside
        raise SystemExit(0) from None


def _step(settings: Settings) -> float:
    """Returns for how many seconds to wait."""
    try:
        kept = make(settings, SCHEDULE, if_due=True)
        if kept is not None:
            log.info("backup %s: %d bytes, %d older ones deleted", kept.file.name, kept.written.bytes, kept.deleted)
        due = seconds_until_due(settings, folder_of(settings), datetime.now(UTC))
        return min(LOOK_SECONDS, max(1.0, due))
    except WrongSettings:
        raise
    except (PneumoscreenError, SQLAlchemyError, OSError) as error:
        log.warning("the backup failed, and is tried again: %s", _reason(error))
        return min(RETRY_SECONDS, settings.backup_every or RETRY_SECONDS)


def step_back() -> None:
    """Everything else goes first."""
    process = psutil.Process()
    with suppress(psutil.Error, OSError):
        process.nice(10)
    if hasattr(psutil, "IOPRIO_CLASS_BE"):
        with suppress(psutil.Error, OSError):
            process.ionice(psutil.IOPRIO_CLASS_BE, 7)


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Whether this process alone, of all hosts that see the folder, writes into it."""
    with (folder / LOCK).open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        except OSError:  # a share without locks: the audit log alone tells hosts of each other's backups
            yield True
        else:
            yield True


def _check_room(settings: Settings, folder: Path) -> None:
    """So that a backup that cannot fit does not first take the room that images need."""
    with connected(settings) as database:
        file = sqlite_file(database)
    needed = (file.stat().st_size if file is not None and file.exists() else 0) + settings.min_free_disk
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise WorkFailed(
            f"The disk of {folder} has {free / 1e9:.2f} GB left, and the backup and min_free_disk need "
            f"{needed / 1e9:.2f} GB: make room, keep fewer (backup_keep), or set backup_dir to another disk."
        )


def _disk(settings: Settings) -> int | None:
    """Where an SQLite database lies; None for a server's."""
    with connected(settings) as database:
        file = sqlite_file(database)
    return file.stat().st_dev if file is not None else None
