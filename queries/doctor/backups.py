"""The folder for scheduled backups: there, writable, on another disk; and what makes them on PostgreSQL."""

import os
import shutil
from pathlib import Path

from sqlalchemy import make_url

from queries.doctor.finding import Finding, ok, problem, user
from shared.base.settings import Settings

CHECK = "backups"


def examine(settings: Settings) -> list[Finding]:
    if settings.backup_every is None:
        return [ok(CHECK, "none are scheduled on this host (backup_every)")]
    folder = settings.backup_dir or settings.home / "backups"
    if not folder.is_dir():
        if settings.backup_dir is None:
            return [ok(CHECK, f"there is no {folder} yet: the first backup makes it"), *_program(settings)]
        return [problem(CHECK, f"there is no folder {folder} (backup_dir)", f"make it, or mount its disk: {folder}")]
    if not os.access(folder, os.W_OK | os.X_OK):
        return [problem(CHECK, f"{user()} may not write in {folder} (backup_dir)", f"chown {user()} {folder}")]
    url = make_url(settings.database)
    file = Path(url.database or "") if url.get_backend_name() == "sqlite" else None
    if file is not None and file.exists() and file.stat().st_dev == folder.stat().st_dev:
        return [ok(CHECK, f"{folder} may be written, but is on the disk of the database itself")]
    return [ok(CHECK, f"{folder} may be written"), *_program(settings)]


def _program(settings: Settings) -> list[Finding]:
    if settings.database.startswith("sqlite") or shutil.which("pg_dump"):
        return []
    way_out = "install PostgreSQL's client programs, of the server's version or newer"
    return [problem(CHECK, "pg_dump is not installed on this host, which makes the backups", way_out)]
