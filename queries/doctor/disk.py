"""The home folder's disk: room, inodes, and whether what is written there reaches it."""

import os
import shutil
import tempfile
from pathlib import Path

from queries.doctor.finding import Finding, ok, problem, reason, user
from shared.base.filesystem import network_filesystem
from shared.base.settings import Settings

CHECK = "disk"
LEAST_INODES = 10_000
COMFORT = 5
"""As many times `min_free_disk` should be free at an installation: the alert for a low disk has the same figure."""


def examine(settings: Settings) -> list[Finding]:
    home = settings.home
    if not home.exists():
        folder = next(parent for parent in home.parents if parent.exists())
        if not os.access(folder, os.W_OK | os.X_OK):
            return [problem(CHECK, f"{user()} may not make the home folder {home}", _own(home))]
        return [ok(CHECK, f"there is no {home} yet: the first start makes it"), _room(settings, folder)]
    return [_write(home), _room(settings, home), *_inodes(home), *_logs(home)]


def _write(home: Path) -> Finding:
    try:
        descriptor, name = tempfile.mkstemp(dir=home, prefix=".doctor-")
    except PermissionError:
        return problem(CHECK, f"{user()} may not write in the home folder {home}", _own(home))
    except OSError as error:
        return problem(CHECK, f"nothing can be written in the home folder {home}: {reason(error)}", _make_room(home))
    try:
        os.write(descriptor, b"x" * 4096)
        os.fsync(descriptor)
    except OSError as error:
        return problem(CHECK, f"what is written in {home} does not reach the disk: {reason(error)}", _make_room(home))
    finally:
        os.close(descriptor)
        Path(name).unlink()
    kind = network_filesystem(home)
    where = f" (a network share: {kind})" if kind else ""
    return ok(CHECK, f"{user()} writes in {home}{where}, and it reaches the disk")


def _room(settings: Settings, folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    told = f"{free / 1e9:.1f} GB are free on the disk of {folder}"
    if free < settings.min_free_disk:
        text = f"{told}, less than min_free_disk ({settings.min_free_disk / 1e9:.1f} GB): nothing new is registered"
        return problem(CHECK, text, _make_room(folder))
    if free < COMFORT * settings.min_free_disk:
        return ok(CHECK, f"{told}: not much, below {settings.min_free_disk / 1e9:.1f} GB nothing new is registered")
    return ok(CHECK, told)


def _inodes(home: Path) -> list[Finding]:
    """Nothing on file systems that count none."""
    counts = os.statvfs(home)
    if counts.f_files == 0:
        return []
    if counts.f_favail < LEAST_INODES:
        return [problem(CHECK, f"room for {counts.f_favail:,} more files is left (inodes)", _make_room(home))]
    return [ok(CHECK, f"room for {counts.f_favail:,} more files is left (inodes)")]


def _logs(home: Path) -> list[Finding]:
    """Folders of the home's own that another user left there, as root does who tried it first."""
    closed = [
        folder
        for name in ("logs", "run", "models", "broker", "submitted", "backups")
        if (folder := home / name).is_dir() and not os.access(folder, os.W_OK | os.X_OK)
    ]
    return [problem(CHECK, f"{user()} may not write in {closed[0]}", _own(home))] if closed else []


def _own(home: Path) -> str:
    return f"chown --recursive {user()} {home}, or choose another folder with --home"


def _make_room(folder: Path) -> str:
    return f"make room on the disk of {folder}, or choose another folder with --home"
