"""`db backup`: write a backup of the database, now or whenever one is due."""

import shlex
from datetime import UTC, datetime
from pathlib import Path

from actions.actor import named_or_user
from cli.console import out, progress, shown
from local import backup as backing_up
from local import backup_schedule
from local.backup import Written
from queries.backups import Backup
from shared.base import host, logs
from shared.base.errors import InvalidRequest, ServiceUnavailable, WorkFailed
from shared.base.settings import Settings


def backup(settings: Settings, file: Path) -> None:
    """To a file that is named."""
    file, now = file.absolute(), datetime.now(UTC)
    here = host.name()
    with progress() as bar:
        task = bar.add_task("copying", total=None)
        try:
            written = backing_up.backup(
                settings, file, lambda copied, total: bar.update(task, completed=copied, total=total)
            )
        except (WorkFailed, ServiceUnavailable) as error:
            backup_schedule.note(settings, named_or_user(None), Backup(now, str(file), here, problem=str(error)))
            raise
    noted = Backup(now, str(file), here, written.bytes, written.rows, written.unrestored)
    _print(file, written, backup_schedule.note(settings, named_or_user(None), noted))
    out.print(
        f"To restore it, stop producers and workers, then: pneumoscreen db restore {shlex.quote(str(file))}",
        markup=False,
    )
    out.print(
        f"Not in it, so back them up as files: {settings.models}, and in {settings.home} pneumoscreen.toml and "
        "patient.secret. Copies that `screen` made are in its folder submitted.",
        markup=False,
    )


def backup_into(settings: Settings, folder: Path | None, keep: int | None, *, scheduled: bool, repeat: bool) -> None:
    """Into the folder for backups, under a name of its time, deleting the oldest."""
    if repeat:
        if folder is not None or keep is not None:
            raise InvalidRequest("--repeat takes its folder from backup_dir, and how many to keep from backup_keep.")
        logs.configure(settings)
        backup_schedule.repeat(settings)
    actor = backup_schedule.SCHEDULE if scheduled else named_or_user(None)
    if scheduled:
        backup_schedule.step_back()
    with progress() as bar:
        task = bar.add_task("copying", total=None)
        kept = backup_schedule.make(
            settings,
            actor,
            folder,
            keep,
            if_due=scheduled,
            advance=lambda copied, total: bar.update(task, completed=copied, total=total),
        )
    if kept is None:
        out.print("No backup is due, or another process is writing it.")
        return
    _print(kept.file, kept.written, kept.unrecorded)
    if kept.deleted:
        out.print(f"Older backups deleted: {kept.deleted}.")
    if kept.is_on_same_disk:
        out.print("It lies on the disk of the database itself: set backup_dir to another disk.", style="yellow")


def _print(file: Path, written: Written, unrecorded: str | None) -> None:
    out.print(
        f"{shown(file)}: {written.bytes:,} bytes, for its owner alone to read, since results are in it.", markup=False
    )
    if written.unrestored is None:
        out.print(f"It was opened apart from the database, and holds all {written.rows:,} rows of its moment.")
    else:
        out.print(
            f"It was read through, but not restored to try it: {written.unrestored}.", style="yellow", markup=False
        )
    if unrecorded:
        out.print(
            f"It is not in the audit log, so `status` does not know it: {unrecorded}", style="yellow", markup=False
        )
